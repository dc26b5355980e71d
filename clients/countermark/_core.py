"""The one implementation of every call, for both clients.

It is asynchronous; `AsyncClient` awaits it in the caller's event loop, `Client` in a loop of its own
(`_portal`). It lays requests, attempts and deadlines over a `Transport`; what a request says and what an
answer means is decided in `_items`, `_call` and `_decode`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import quote

from ._call import ScoreCall
from ._decode import (
    read_detail,
    read_error,
    read_json,
    read_release_detail,
    read_release_summaries,
    read_release_summary,
    read_summaries,
)
from ._errors import (
    ApiError,
    ConnectError,
    CountermarkClientError,
    DeadlineExceededError,
    InvalidInputError,
    ProtocolError,
)
from ._http import Reply, Request, Transport
from ._items import Part, encode_document, encode_text, split_batch
from ._options import Settings, check_seconds
from ._retry import is_retryable, retry_after_seconds
from ._subject import Subject
from ._types import (
    Item,
    JudgeMode,
    OnFailure,
    Probe,
    ReleaseDetail,
    ReleaseSummary,
    ScoreResult,
    VerifierDetail,
    VerifierSummary,
)
from ._version import __version__

MAX_REPLY_BYTES = 512 * 2**20
"""No answer to a request of this client is larger; one that is, is not read on."""

PATIENCE = 4
"""Attempts from which on a call says in the log what it is waiting for."""

LONG_WAIT_SECONDS = 10.0
"""A wait of this length is told at once: a service that asks for an hour must not look like one that hangs."""

NO_ITEMS = Part(start=0, ids=(), pieces=())

T = TypeVar("T")
log = logging.getLogger("countermark")


class Deadline:
    """The moment by which a call must be over, on the running loop's clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = asyncio.get_running_loop().time() + seconds

    def remaining(self) -> float:
        """Seconds that are left; infinite if there is no limit, negative if it has passed."""
        return self._at - asyncio.get_running_loop().time()

    def sooner(self, seconds: float) -> Deadline:
        """Return the deadline that is `seconds` away, or this one if it comes first."""
        return Deadline(seconds) if seconds < self.remaining() else self

    def guard(self) -> asyncio.Timeout:
        """Return a context that is cancelled when the time has come."""
        return asyncio.timeout_at(None if math.isinf(self._at) else self._at)


class Core:
    """Calls to one service."""

    def __init__(self, settings: Settings, transport: Transport) -> None:
        self.settings = settings
        self._transport = transport
        self._headers = {
            # An answer is small beside what making it cost, and the network is mostly a local one.
            "accept-encoding": "identity",
            "user-agent": f"countermark-python/{__version__}",
        }
        if settings.api_key is not None:
            self._headers["authorization"] = f"Bearer {settings.api_key}"

    def batch_parts(self, items: Iterable[Item | Mapping[str, Any]]) -> Iterator[Part]:
        """Cut the input of `score` into requests, checking every item on the way."""
        limits = self.settings
        return split_batch(
            items, max_items=limits.max_items_per_request, max_bytes=limits.max_bytes_per_request
        )

    def seconds(self, deadline: float | None) -> float:
        """Return the seconds that a call may take."""
        return self.settings.timeout if deadline is None else check_seconds("deadline", deadline)

    async def score(
        self,
        subject: Subject,
        parts: Sequence[Part],
        on_failure: OnFailure | None,
        seconds: float | Deadline,
        *,
        receipt: bool = False,
        judge_mode: JudgeMode | None = None,
    ) -> ScoreResult:
        """Score all parts and return their verdicts as one result; see `AsyncClient.score`."""
        deadline = seconds if isinstance(seconds, Deadline) else Deadline(seconds)
        parts = parts or [NO_ITEMS]  # an empty batch too is answered by a verifier, and has its pin
        call = ScoreCall(subject, parts, on_failure, receipt=receipt, judge_mode=judge_mode)
        unsent = iter(parts)

        async def lane() -> None:
            for part in unsent:
                try:
                    await self._score_part(call, part, deadline)
                except CountermarkClientError as error:
                    call.fail(part, error)
                if call.stopped:
                    return

        async with asyncio.TaskGroup() as lanes:
            for _ in range(min(self.settings.concurrency, len(parts))):
                lanes.create_task(lane())
        return call.result()

    async def verifiers(self, seconds: float) -> list[VerifierSummary]:
        """Return the service's verifiers."""
        return await self._get("/v1/verifiers", read_summaries, "listing the verifiers", Deadline(seconds))

    async def verifier(self, ref: str, seconds: float) -> VerifierDetail:
        """Return what the service tells about `ref`."""
        path = f"/v1/verifiers/{_path_of('verifier', ref)}"
        return await self._get(path, read_detail, f"looking up {ref}", Deadline(seconds))

    async def releases(self, seconds: float) -> list[ReleaseSummary]:
        """Return the service's releases."""
        return await self._get(
            "/v1/releases", read_release_summaries, "listing the releases", Deadline(seconds)
        )

    async def release(self, ref: str, seconds: float) -> ReleaseDetail:
        """Return what the service tells about the release `ref`."""
        path = f"/v1/releases/{_path_of('release', ref)}"
        return await self._get(path, read_release_detail, f"looking up {ref}", Deadline(seconds))

    async def register(self, card: Mapping[str, Any], seconds: float) -> ReleaseSummary:
        """Register a release card; see `AsyncClient.register`."""
        body = encode_document("card", card)

        async def send() -> ReleaseSummary:
            async with self.exchange("POST", "/v1/releases", body) as reply:
                await self.expect_ok(reply, 201)
                summary = read_release_summary(read_json(await read_all(reply), "the answer"))
                return dataclasses.replace(summary, new=reply.status == 201)

        return await self.attempt(send, "registering the release", Deadline(seconds))

    async def receipt_keys(self, seconds: float) -> dict[str, Any]:
        """Return the document of the keys that sign the service's receipts, as it came."""
        return await self._get("/v1/receipts/keys", dict, "getting the keys of receipts", Deadline(seconds))

    async def resolve(
        self, subject: Subject, on_failure: OnFailure | None, deadline: Deadline
    ) -> ScoreResult:
        """Return the verifier, with its digest, that `subject` means at this service, and what goes with it.

        It asks by a batch without items: that needs no other right than scoring, and the answer is small.
        """
        call = ScoreCall(subject, [NO_ITEMS], on_failure)
        await self._score_part(call, NO_ITEMS, deadline)
        return call.result()

    async def probe(self, path: str, seconds: float) -> Probe:
        """Ask a probe once, without further attempts."""
        guard = Deadline(seconds).guard()
        try:
            async with guard, self.exchange("GET", path) as reply:
                await self.expect_ok(reply)
                return Probe(True, reply.status, "")
        except TimeoutError:
            if not guard.expired():
                raise
            return Probe(False, None, f"no answer within {seconds:g} s")
        except ApiError as error:
            error.conceal(self.settings.api_key)
            return Probe(False, error.status, error.detail)
        except ConnectError as error:
            return Probe(False, None, str(error))

    async def attempt(self, send: Callable[[], Awaitable[T]], what: str, deadline: Deadline) -> T:
        """Await ``send()`` until it succeeds, within the deadline and the number of attempts.

        Args:
            send: Makes one attempt.
            what: Names the call in messages.
            deadline: Holds over all attempts and the waits between them.

        Raises:
            DeadlineExceededError: The time ran out while an attempt was under way.
            CountermarkClientError: The error of the last attempt.
        """
        attempts, last = 0, None
        while True:
            attempts += 1
            guard = deadline.guard()
            try:
                async with guard:
                    return await send()
            except TimeoutError as exc:
                if not guard.expired():
                    raise
                late = DeadlineExceededError(what, deadline.seconds)
                late.attempts = attempts
                raise late from last or exc
            except CountermarkClientError as error:
                error.conceal(self.settings.api_key)
                error.attempts = attempts
                last = error
                wait = self._wait(error, deadline)
                if wait is None:
                    raise
            told = attempts >= PATIENCE or wait >= LONG_WAIT_SECONDS
            level = logging.WARNING if told else logging.DEBUG
            log.log(level, "%s: attempt %d failed (%s), next in %.3f s", what, attempts, last, wait)
            await asyncio.sleep(wait)

    @asynccontextmanager
    async def exchange(
        self, method: str, path: str, body: bytes | None = None, content_type: str = "application/json"
    ) -> AsyncIterator[Reply]:
        """Send one request and give its reply, whatever its status."""
        headers = self._headers if body is None else {**self._headers, "content-type": content_type}
        async with self._transport.exchange(
            Request(method, self.settings.base_url + path, headers, body)
        ) as reply:
            yield reply

    async def expect_ok(self, reply: Reply, *also: int) -> None:
        """Raise the `ApiError` in `reply` unless its status is 200 or one of `also`."""
        if reply.status == 200 or reply.status in also:
            return
        data = await read_all(reply)
        if 300 <= reply.status < 400:
            data = (
                b"a redirect, which is not followed, to " + reply.headers.get("location", "nowhere").encode()
            )
        raise read_error(reply.status, data, retry_after=retry_after_seconds(reply.headers))

    async def aclose(self) -> None:
        """Give back the connections."""
        await self._transport.aclose()

    def _wait(self, error: CountermarkClientError, deadline: Deadline) -> float | None:
        """Return how long to wait before the attempt after `error`, None if there is to be none."""
        if not is_retryable(error) or error.attempts > self.settings.max_retries:
            return None
        return self.settings.backoff.wait(
            error.attempts, at_least=getattr(error, "retry_after", None), room=deadline.remaining()
        )

    async def _score_part(self, call: ScoreCall, part: Part, deadline: Deadline) -> None:
        """Send `part` until it is answered."""

        async def send() -> None:
            async with self.exchange("POST", "/v1/score", call.body(part)) as reply:
                await self.expect_ok(reply)
                call.accept(part, read_json(await read_all(reply), "the answer"))

        what = f"scoring {len(part.ids)} items with" if part.ids else "resolving"
        await self.attempt(send, f"{what} {call.subject}", deadline)

    async def _get(self, path: str, read: Callable[[dict[str, Any]], T], what: str, deadline: Deadline) -> T:
        """Return what `read` makes of the answer to a request without a body."""

        async def send() -> T:
            async with self.exchange("GET", path) as reply:
                await self.expect_ok(reply)
                return read(read_json(await read_all(reply), "the answer"))

        return await self.attempt(send, what, deadline)


def _path_of(name: str, ref: str) -> str:
    """Return a ref as part of a path.

    Raises:
        InvalidInputError: It cannot be one.
    """
    encode_text(name, ref)
    if not all(segment.strip(".") for segment in ref.split("/")):
        raise InvalidInputError(
            f"{name} is {ref!r}; it must have the form [namespace/]name:version[@digest]."
        )
    return quote(ref, safe="/:@")


async def read_all(reply: Reply) -> bytes:
    """Return the whole body of `reply`."""
    pieces, size = [], 0
    async for chunk in reply.chunks:
        size += len(chunk)
        if size > MAX_REPLY_BYTES:
            raise ProtocolError(f"the answer is larger than {MAX_REPLY_BYTES} bytes")
        pieces.append(chunk)
    return b"".join(pieces)
