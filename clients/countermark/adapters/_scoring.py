"""How an adapter reaches its rewards: which verifier judges, where, how long it may take, and what a failed
verdict becomes.

An adapter turns its framework's arguments into `Ask`s and the `Verdict`s that come back into what its
framework reads; all between is `RewardSource`:

>>> source = RewardSource(verifier="math-verify:0.9.0-r2", on_failure="null")
>>> ask = source.ask(response, reference, row=row.get("verifier"), data_source=row.get("data_source"))
>>> source.verdict(ask).reward                  # blocking code, any thread, any process
>>> (await source.verdict_async(ask)).reward    # any event loop; single calls at one time share a request
>>> source.verdicts(asks)                       # a batch: one request for each verifier it names
>>> await source.verdicts_async(asks)

**Which verifier.** The most specific name counts: the row's, then that of its data source in `by_source`,
then `verifier`, then ``COUNTERMARK_VERIFIER``. None of them is `InvalidInputError`: there is no default. In
place of `verifier` a run may name a registered `release`, whose card says which verifier judges a task: `task`,
or else the row's data source.

**Where.** `base_url` and `api_key`, else ``COUNTERMARK_URL`` and ``COUNTERMARK_API_KEY``, read when a call is
made, in the process that makes it.

**How long.** `deadline` seconds over everything; then `DeadlineExceededError`. No call waits without a limit.

**What a failed verdict becomes** (outcomes ``timeout``, ``error``, ``abstain``, ``bad_reference``):
`on_failure`, by which a user says it in so many words. ``"raise"``: `VerdictFailedError`. ``"null"``: a reward
of None, where the framework can carry one. ``"zero"`` or a number: that reward. The default is for the adapter
to choose: ``"null"`` where its framework leaves such a sample out, else ``"raise"``; never a number. Where a
release's card fixes the policy, the card's counts. That no service could be reached is no verdict on an item:
it raises under every policy.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from .._errors import InvalidInputError, VerdictFailedError
from .._options import address, check_seconds
from .._subject import ReleaseTask, Subject
from .._types import IndexedVerdict, Item, Outcome, Verdict
from ._channel import Channel, ChannelSettings, Result, arrival, blames, channel, wait
from ._plain import plain, text_of

FailurePolicy: TypeAlias = Literal["raise", "null", "zero"] | float
"""What the reward of a failed verdict becomes: an error, None, 0.0, or a number of the user's."""
ReferenceFormat: TypeAlias = Literal["value", "json"]
"""Whether a data set holds references as they are, or as JSON text to be read first."""

DEADLINE_SECONDS = 300.0
"""Half of what torch's collectives wait for a process that is late."""
GATHER_SECONDS = 0.004
"""A rollout engine's samples come in bursts; this catches a burst and is nothing beside a generation."""
GATHER_ITEMS = 256

VERIFIER_VARIABLE = "COUNTERMARK_VERIFIER"
ON_FAILURE_VARIABLE = "COUNTERMARK_ON_FAILURE"
DEADLINE_VARIABLE = "COUNTERMARK_DEADLINE"


class Ask(NamedTuple):
    """One thing to score, and who is to judge it."""

    verifier: Subject
    """Ref of the verifier, or a task of a release."""
    item: Item
    """What to score."""
    fault: Verdict | None = None
    """What is known without asking: the reference cannot be read."""


@dataclass(frozen=True, kw_only=True)
class RewardSource:
    """Where an adapter's rewards come from. Holds settings only, so it may be pickled and forked.

    Raises:
        InvalidInputError: A setting cannot be used.
    """

    verifier: str | None = None
    """Ref of the verifier of the run, ``[namespace/]name:version``, with ``@sha256:…`` as a pin."""
    release: str | None = None
    """In place of `verifier`: a registered release, ``[namespace/]name:version``, with a digest as a pin."""
    task: str | None = None
    """With `release`: the task of its card for every row; else each row's data source is it."""
    by_source: Mapping[str, str] = field(default_factory=dict)
    """Refs by data source, for data sets that mix several."""
    on_failure: FailurePolicy = "raise"
    """What the reward of a failed verdict becomes."""
    reference_format: ReferenceFormat = "value"
    """``json`` if references are JSON texts, as data sets of code problems often hold them."""
    params: Mapping[str, Any] | None = None
    """The verifier's declared parameters for every item, None for its defaults."""
    base_url: str | None = None
    """Address of the service; else ``COUNTERMARK_URL``, else the client's default."""
    api_key: str | None = field(default=None, repr=False)
    """Bearer key; else ``COUNTERMARK_API_KEY``, else none."""
    deadline: float = DEADLINE_SECONDS
    """Seconds that one call may take in all."""
    gather_seconds: float = GATHER_SECONDS
    """Seconds that a single call waits for others to share a request with."""
    gather_items: int = GATHER_ITEMS
    """Single calls in one request at most."""

    def __post_init__(self) -> None:
        if self.verifier is not None:
            check_ref("verifier", self.verifier)
        if self.release is not None:
            check_ref("release", self.release)
        if (self.verifier and self.release) or (self.task is not None and not self.release):
            raise InvalidInputError("name a verifier, or a release and perhaps its task; not both.")
        by_source = plain(self.by_source)
        if not isinstance(by_source, dict):
            raise InvalidInputError(
                f"the map of verifiers by data source is {self.by_source!r:.200}; it must be a mapping."
            )
        for source, ref in by_source.items():
            check_ref(f"the verifier of data source {source!r}", ref)
        params = plain(self.params)
        if params is not None and not isinstance(params, dict):
            raise InvalidInputError(f"params is {self.params!r:.200}; it must be a mapping or None.")
        if self.reference_format not in get_args(ReferenceFormat):
            raise InvalidInputError(
                f"reference_format is {self.reference_format!r}; it must be 'value' or 'json'."
            )
        check_seconds("deadline", self.deadline)
        check_seconds("gather_seconds", self.gather_seconds)
        object.__setattr__(self, "by_source", by_source)
        object.__setattr__(self, "params", params)
        object.__setattr__(self, "on_failure", check_policy(self.on_failure))

    def ask(
        self,
        response: Any,
        reference: Any,
        *,
        row: Any = None,
        data_source: Any = None,
        prompt: Any = None,
        params: Mapping[str, Any] | None = None,
    ) -> Ask:
        """Return what to score, from values as the framework hands them out (see `_plain`).

        Args:
            response: Text, or chat messages of which the last one of the assistant counts.
            reference: What it is held against.
            row: Ref that the row names, if it names one.
            data_source: The row's data source, if it has one.
            prompt: What the model was asked, as text; counts only with verifiers whose manifest says so.
            params: Parameters for this item, laid over those of the source.

        Raises:
            InvalidInputError: Nothing says which verifier judges, or `response` is neither.
        """
        verifier = self.pin(row=row, data_source=data_source)
        text = text_of(response)
        if not isinstance(text, (str, list)):
            raise InvalidInputError(
                f"a response is a {type(response).__name__}; it must be text or a list of chat messages."
            )
        merged = {**(self.params or {}), **(plain(params) or {})} or None
        reference, fault = plain(reference), None
        if self.reference_format == "json":
            reference, fault = _read_reference(reference, verifier)
        return Ask(verifier, Item(text, reference, prompt=plain(prompt), params=merged), fault)

    def pin(self, *, row: Any = None, data_source: Any = None) -> Subject:
        """Return who judges a row, by the most specific name there is.

        Raises:
            InvalidInputError: There is none, or it is no text.
        """
        if row is not None and row != "":
            return check_ref("the verifier that the row names", row)
        if isinstance(data_source, str) and data_source in self.by_source:
            return self.by_source[data_source]
        if self.release is not None:
            task = data_source if self.task is None else self.task
            if not isinstance(task, str):
                raise InvalidInputError(
                    f"a row has the data source {data_source!r:.200}, which is no task of release "
                    f"{self.release}. Name the task for the run, or the column that holds it."
                )
            return ReleaseTask(self.release, task)
        ref = self.verifier or os.environ.get(VERIFIER_VARIABLE)
        if not ref:
            known = (
                f" Verifiers are given for {', '.join(map(repr, self.by_source))}." if self.by_source else ""
            )
            raise InvalidInputError(
                f"no verifier is named for a row with data source {data_source!r}. Name one for the run "
                f"(verifier=, or {VERIFIER_VARIABLE}), for the data source, or in the row.{known}"
            )
        return ref

    def verdict(self, ask: Ask) -> Verdict:
        """Score one item and return its verdict, its reward by the policy; blocks.

        Raises:
            VerdictFailedError: It failed, and the policy is ``raise``.
            DeadlineExceededError: The time ran out.
            CountermarkClientError: Any other of the client's errors: the call failed, not the item.
        """
        if ask.fault is not None:
            return self._rewarded([ask], [ask.fault])[0]
        return self._rewarded([ask], [wait(self._single(ask))])[0]

    async def verdict_async(self, ask: Ask) -> Verdict:
        """Do the same in an event loop."""
        if ask.fault is not None:
            return self._rewarded([ask], [ask.fault])[0]
        return self._rewarded([ask], [await arrival(self._single(ask))])[0]

    def verdicts(self, asks: Iterable[Ask]) -> list[Verdict]:
        """Score a batch and return one verdict for each, in order, rewards by the policy; blocks.

        Every verifier that is named gets one request (more beyond 1,024 items), all at the same time.

        Raises:
            VerdictFailedError: Items failed, and the policy is ``raise``; it names them.
            CountermarkClientError: See `verdict`.
        """
        asks = list(asks)
        groups = _groups(asks)
        futures = self._batches(asks, groups)
        try:
            return self._rewarded(asks, _ordered(asks, groups, [wait(future) for future in futures]))
        finally:
            _give_up(futures)

    async def verdicts_async(self, asks: Iterable[Ask]) -> list[Verdict]:
        """Do the same in an event loop."""
        asks = list(asks)
        groups = _groups(asks)
        futures = self._batches(asks, groups)
        try:
            came = await asyncio.gather(*map(arrival, futures))
        finally:
            _give_up(futures)
        return self._rewarded(asks, _ordered(asks, groups, came))

    def close(self) -> None:
        """Give back the thread and the connections that calls with these settings share in this process."""
        self._channel().close()

    def _channel(self) -> Channel:
        """Return the channel of this process for these settings."""
        base_url, api_key = address(self.base_url, self.api_key)
        return channel(ChannelSettings(base_url, api_key, self.gather_seconds, self.gather_items))

    def _single(self, ask: Ask) -> Future[Result]:
        return self._channel().single(ask.verifier, ask.item, self.deadline)

    def _batches(
        self, asks: Sequence[Ask], groups: Mapping[Subject, list[int]]
    ) -> list[Future[list[Result]]]:
        """Start one batch for each verifier."""
        there = self._channel()
        return [
            there.batch(verifier, [asks[i].item for i in places], self.deadline)
            for verifier, places in groups.items()
        ]

    def _rewarded(self, asks: Sequence[Ask], results: Sequence[Result]) -> list[Verdict]:
        """Return the verdicts with their rewards.

        Raises:
            VerdictFailedError: Items failed, and the policy is ``raise``.
            CountermarkClientError: An item could not be scored for a reason that is in the call.
        """
        verdicts = [_as_verdict(ask, result) for ask, result in zip(asks, results, strict=True)]
        failed = tuple(
            IndexedVerdict(i, verdict)
            for i, verdict in enumerate(verdicts)
            if verdict.failed and verdict.reward is None  # a release's card may have said what it is
        )
        if failed and self.on_failure == "raise":
            raise VerdictFailedError(failed, total=len(verdicts))
        for i, verdict in failed:
            verdicts[i] = replace(verdict, reward=reward_of_failure(self.on_failure))
        return verdicts


def check_policy(policy: Any, *, null: bool = True) -> FailurePolicy:
    """Return a failure policy, a number as a float.

    Args:
        policy: What the user gave.
        null: Whether the framework can carry a reward of None.

    Raises:
        InvalidInputError: It is none.
    """
    policy = plain(policy)
    if policy in ("raise", "zero") or (policy == "null" and null):
        return policy  # type: ignore[no-any-return]  # one of the literals
    if isinstance(policy, (int, float)) and not isinstance(policy, bool) and math.isfinite(policy):
        return float(policy)
    reason = ", as this framework has no way to carry 'null'" if policy == "null" else ""
    choices = "'raise', 'null', 'zero'" if null else "'raise', 'zero'"
    raise InvalidInputError(f"on_failure is {policy!r}; it must be {choices} or a finite number{reason}.")


def reward_of_failure(policy: FailurePolicy) -> float | None:
    """Return the reward of a failed verdict under a policy other than ``raise``."""
    if isinstance(policy, str):
        return 0.0 if policy == "zero" else None
    return policy


def check_ref(name: str, ref: Any) -> str:
    """Return a ref, if it is a text that says something; what it says, the service decides.

    Raises:
        InvalidInputError: It is none.
    """
    if not isinstance(ref, str) or not ref.strip():
        raise InvalidInputError(f"{name} is {ref!r:.200}; it must be a ref like 'math-verify:0.9.0-r2'.")
    return str(ref)


def environment_options(**defaults: Any) -> dict[str, Any]:
    """Return arguments of `RewardSource` for hooks whose framework passes none.

    ``COUNTERMARK_ON_FAILURE`` (``raise``, ``null``, ``zero`` or a number) and ``COUNTERMARK_DEADLINE``
    (seconds) are laid over `defaults`; the verifier is looked up at each call.

    Raises:
        InvalidInputError: The deadline is no number.
    """
    found = dict(defaults)
    policy = os.environ.get(ON_FAILURE_VARIABLE)
    if policy:
        found["on_failure"] = _number(policy, policy)
    seconds = os.environ.get(DEADLINE_VARIABLE)
    if seconds:
        found["deadline"] = _number(seconds, math.nan)  # which RewardSource refuses
        if math.isnan(found["deadline"]):
            raise InvalidInputError(f"{DEADLINE_VARIABLE} is {seconds!r}; it must be a number of seconds.")
    return found


def _number(text: str, otherwise: Any) -> Any:
    try:
        return float(text)
    except ValueError:
        return otherwise


def _read_reference(reference: Any, verifier: Subject) -> tuple[Any, Verdict | None]:
    """Return what a reference that is JSON text says; one that is not text was read already."""
    if not isinstance(reference, str):
        return reference, None
    try:
        return json.loads(reference), None
    except (ValueError, RecursionError) as exc:
        message = f"the reference is not JSON, as reference_format='json' promises: {exc}"
        return None, no_verdict(Outcome.BAD_REFERENCE, verifier, "reference_not_json", message)


def _groups(asks: Sequence[Ask]) -> dict[Subject, list[int]]:
    """Return the places of the asks that have to be sent, by verifier."""
    groups: dict[Subject, list[int]] = {}
    for i, ask in enumerate(asks):
        if ask.fault is None:
            groups.setdefault(ask.verifier, []).append(i)
    return groups


def _ordered(
    asks: Sequence[Ask], groups: Mapping[Subject, list[int]], came: Sequence[Sequence[Result]]
) -> list[Result]:
    """Return the results of all groups in the order of the asks."""
    found: dict[int, Result] = {i: ask.fault for i, ask in enumerate(asks) if ask.fault is not None}
    for places, results in zip(groups.values(), came, strict=True):
        found.update(zip(places, results, strict=True))
    return [found[i] for i in range(len(asks))]


def _give_up(futures: Iterable[Future[Any]]) -> None:
    """Cancel what is still under way; after a whole answer that is nothing."""
    for future in futures:
        future.cancel()


def _as_verdict(ask: Ask, result: Result) -> Verdict:
    """Return the verdict on an item.

    An item whose response cannot be judged, being larger than the service takes or no text at all, got no
    verdict: that is the outcome ``error``. One whose reference cannot be sent has a bad reference. Any other
    refusal is about the call.

    Raises:
        CountermarkClientError: The call is wrong.
    """
    if isinstance(result, Verdict):
        return result
    for part, outcome in (("response", Outcome.ERROR), ("reference", Outcome.BAD_REFERENCE)):
        if blames(result, part):
            return no_verdict(outcome, ask.verifier, result.code, result.message)
    raise result


def no_verdict(outcome: Outcome, verifier: Subject, code: str, message: str) -> Verdict:
    """Return the verdict on an item that no verifier saw."""
    return Verdict(None, outcome, None, None, False, {"code": code, "message": message}, {}, str(verifier))
