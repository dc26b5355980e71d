"""The one connection of a process to a service, shared by every adapter in it.

Frameworks call for rewards in every way there is: a whole batch from an event loop, one sample at a time from
two hundred tasks, from a thread pool, from plain code, from a process forked off a trainer. All of them end in
one `Channel`, whose event loop runs in a thread of its own (`countermark._portal`):

* Single calls wait a few milliseconds for others that name the same verifier, and travel with them in one
  request. One that fills a request does not wait.
* Every call has a deadline over everything: waiting for others, retries, the waits between them. Broken
  connections and a full queue are retried for as long as the deadline allows, because a service that is
  restarted in the middle of a run must cost seconds, not the run. Nothing here waits without a limit.
* An item that cannot be sent, or that the service refuses, fails alone: its neighbours in the request are
  sent again without it.
* The digest that answered first for a ref is the one that every later request of the process names.

A channel is found by address and key, at each call and in the process that calls, so whatever is handed from
process to process carries settings only. A forked process begins anew; what its parent was waiting for stays
with the parent.
"""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .. import _options
from .._call import PART_STATUSES
from .._core import Core, Deadline
from .._errors import (
    ApiError,
    CountermarkClientError,
    DeadlineExceededError,
    InvalidItemError,
    TransportError,
    VerifierMismatchError,
)
from .._portal import Portal
from .._subject import Answered, ReleaseTask, Subject
from .._transport import HttpxTransport
from .._types import Item, OnFailure, Verdict

Result: TypeAlias = Verdict | CountermarkClientError
"""What came of one item: its verdict, or the error that concerns it alone."""

UNTIL_THE_DEADLINE = 2**31
"""Attempts after the first; more than fit in any deadline."""
MOST_REFUSALS = 32
"""Refused requests of one call, those on account of a response left out, after which the call itself is taken
to be wrong. Ten narrow a single item down among a thousand."""


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """What calls must agree in to share a channel."""

    base_url: str
    api_key: str | None = field(repr=False)
    gather_seconds: float
    """How long a single call waits for others, at most."""
    gather_items: int
    """Single calls that travel together, at most."""


@dataclass(slots=True)
class _Gathering:
    """Single calls that will travel together."""

    items: list[Item]
    futures: list[asyncio.Future[Result]]
    deadline: Deadline
    """That of the first; the others joined within milliseconds."""
    timer: asyncio.TimerHandle | None = None


class Channel:
    """Carries items to one service and verdicts back; see `channel` for how to get one."""

    def __init__(self, settings: ChannelSettings) -> None:
        self._settings = settings
        self._core = Core(
            _options.settings(
                base_url=settings.base_url,
                api_key=settings.api_key or "",  # an empty one, so that the environment is not asked again
                timeout=_options.DEFAULT_TIMEOUT_SECONDS,
                max_retries=UNTIL_THE_DEADLINE,
                max_items_per_request=_options.DEFAULT_ITEMS,
                max_bytes_per_request=_options.DEFAULT_BYTES,
                concurrency=_options.DEFAULT_CONCURRENCY,
                backoff=None,
            ),
            HttpxTransport(),
        )
        self._portal = Portal(at_end=self._core.aclose)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gatherings: dict[tuple[Subject, float], _Gathering] = {}
        self._requests: set[asyncio.Task[None]] = set()
        self._pins: dict[Subject, Subject] = {}

    def batch(self, verifier: Subject, items: Sequence[Item], seconds: float) -> Future[list[Result]]:
        """Score `items` now, in one request as long as they fit in one; one result per item, in order."""
        return self._portal.submit(self._batch(verifier, items, seconds))

    def single(self, verifier: Subject, item: Item, seconds: float) -> Future[Result]:
        """Score `item` together with others that are asked for at the same time."""
        return self._portal.submit(self._single(verifier, item, seconds))

    def close(self) -> None:
        """Give back thread and connections; calls under way fail. A later call begins anew."""
        self._portal.stop()

    async def _batch(self, verifier: Subject, items: Sequence[Item], seconds: float) -> list[Result]:
        return await self._judge(verifier, items, Deadline(seconds))

    async def _single(self, verifier: Subject, item: Item, seconds: float) -> Result:
        """Join the calls that are gathering for `verifier`, or be the first of them."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # the first call, or the first one after a fork or a close
            self._loop, self._gatherings, self._requests = loop, {}, set()
        key = (verifier, seconds)
        gathering = self._gatherings.get(key)
        if gathering is None:
            gathering = self._gatherings[key] = _Gathering([], [], Deadline(seconds))
            gathering.timer = loop.call_later(self._settings.gather_seconds, self._depart, key)
        future: asyncio.Future[Result] = loop.create_future()
        gathering.items.append(item)
        gathering.futures.append(future)
        if len(gathering.items) >= self._settings.gather_items:
            self._depart(key)
        return await future

    def _depart(self, key: tuple[Subject, float]) -> None:
        """Send what has gathered; calls that were given up meanwhile stay behind."""
        gathering = self._gatherings.pop(key)
        if gathering.timer is not None:
            gathering.timer.cancel()
        wanted = [i for i, future in enumerate(gathering.futures) if not future.done()]
        if not wanted:
            return
        items, futures = [gathering.items[i] for i in wanted], [gathering.futures[i] for i in wanted]
        task = asyncio.create_task(self._deliver(key[0], items, futures, gathering.deadline))
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)
        waiting = len(futures)

        def given_up(future: asyncio.Future[Result]) -> None:
            """End the request when nobody waits for it any more."""
            nonlocal waiting
            waiting -= 1
            if not waiting:
                task.cancel()  # does nothing to one that has ended, which is how most of them come here

        for future in futures:
            future.add_done_callback(given_up)

    async def _deliver(
        self,
        verifier: Subject,
        items: Sequence[Item],
        futures: Sequence[asyncio.Future[Result]],
        deadline: Deadline,
    ) -> None:
        """Score what gathered and hand each call its own."""
        results: Sequence[Result]
        try:
            results = await self._judge(verifier, items, deadline)
        except CountermarkClientError as error:
            results = [error] * len(items)
        except BaseException:  # cancelled, or a bug: nobody may wait for ever for what does not come
            for future in futures:
                future.cancel()
            raise
        for future, result in zip(futures, results, strict=True):
            if future.done():
                continue
            if isinstance(result, CountermarkClientError):
                # Each call raises an error of its own: a traceback grows with every thread that raises it.
                result = _own(result)
            future.set_result(result)

    async def _judge(self, verifier: Subject, items: Sequence[Item], deadline: Deadline) -> list[Result]:
        """Score `items`, and find those that cannot be scored because of what is in them.

        Raises:
            CountermarkClientError: The call as a whole failed.
        """
        results: dict[int, Result] = {}
        groups, refusals = [list(range(len(items)))], 0
        while groups:
            group = groups.pop()
            try:
                verdicts = await self._request(verifier, [items[i] for i in group], deadline)
                results.update(zip(group, verdicts, strict=True))
            except InvalidItemError:
                faults = {i: fault for i in group if (fault := self._fault(items[i])) is not None}
                results.update(faults)
                groups.append([i for i in group if i not in faults])
            except ApiError as error:
                refusals += not blames(error, "response")
                if error.status not in PART_STATUSES or refusals > MOST_REFUSALS:
                    raise
                groups += _separated(group, error, results)
            groups = [group for group in groups if group]
        return [results[i] for i in range(len(items))]

    async def _request(
        self, verifier: Subject, items: Sequence[Item], deadline: Deadline
    ) -> Sequence[Verdict]:
        """Score `items` with the digest that `verifier` has meant in this process so far."""
        if deadline.remaining() <= 0:
            raise DeadlineExceededError(f"scoring {len(items)} items with {verifier}", deadline.seconds)
        parts = list(self._core.batch_parts(items))
        # Of a release's task the card may fix what a failure becomes; so that is left to the card.
        policy: OnFailure | None = None if isinstance(verifier, ReleaseTask) else "null"
        result = await self._core.score(self._pins.get(verifier, verifier), parts, policy, deadline)
        answered = Answered(result.verifier, result.release).subject
        # Two first requests may be under way at once, and reach two services behind one address.
        if self._pins.setdefault(verifier, answered) != answered:
            raise VerifierMismatchError(str(self._pins[verifier]), str(answered))
        return result.verdicts

    def _fault(self, item: Item) -> InvalidItemError | None:
        """Return what keeps `item` from being sent."""
        try:
            list(self._core.batch_parts([item]))
        except InvalidItemError as error:
            return error
        return None


def channel(settings: ChannelSettings) -> Channel:
    """Return this process's channel with `settings`."""
    found = _channels.get(settings)
    # Two threads may both make one; the second is dropped before it has a thread or a connection.
    return found if found is not None else _channels.setdefault(settings, Channel(settings))


def wait(future: Future[Any]) -> Any:
    """Return the result of `future` in code that blocks; an interrupt gives the call up."""
    try:
        return future.result()
    except CancelledError as exc:
        raise _closed() from exc
    except BaseException:  # an interrupt of the waiting thread ends the work too
        future.cancel()
        raise


async def arrival(future: Future[Any]) -> Any:
    """Return the result of `future` in any event loop; cancelling gives the call up."""
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise _closed() from exc


def _closed() -> TransportError:
    return TransportError("the connection to the service was closed while this call was under way.")


def blames(error: CountermarkClientError, part: str) -> bool:
    """Say whether `error` lies in `part` of an item, ``response`` or ``reference``."""
    if isinstance(error, InvalidItemError):
        place = error.field
    elif isinstance(error, ApiError):
        place = str(error.problem.get("field") or error.code.removesuffix("_too_large"))
    else:
        return False
    return re.match(rf"{part}(?!\w)", place) is not None


def _separated(group: list[int], error: ApiError, results: dict[int, Result]) -> list[list[int]]:
    """Return what to send next of `group`, of which the service refused a request; keep what did arrive.

    A refusal that names its item settles that item. One that does not is narrowed down by halves, so that the
    error of a single item is told only of that item.
    """
    arrived = error.partial.verdicts if error.partial is not None else ()
    results.update((i, verdict) for i, verdict in zip(group, arrived, strict=False) if verdict is not None)
    refused = error.items if error.items is not None else range(len(group))
    if error.item is not None or len(refused) == 1:
        results[group[error.item if error.item is not None else refused[0]]] = _own(error)
        return [[i for i in group if i not in results]]
    missing = [i for i in group if i not in results]
    middle = len(missing) // 2
    return [missing[:middle], missing[middle:]]


def _own(error: CountermarkClientError) -> CountermarkClientError:
    """Return a copy of `error` that tells nothing of the other items of its request."""
    own = copy.copy(error)
    own.partial = own.items = own.item = None
    own.__cause__ = error.__cause__
    return own


_channels: dict[ChannelSettings, Channel] = {}
