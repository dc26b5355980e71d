"""The values that go in and come out of a call.

All are frozen. They ignore fields that they do not know, so that this client can talk to a later service; the
service refuses fields that it does not know. That is why the two packages define their values apart.
"""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

OnFailure: TypeAlias = Literal["null", "zero", "raise"]

JudgeMode: TypeAlias = Literal["auto", "replay", "fresh"]
"""What the reward of an item without a verdict becomes: None, 0.0, or a `VerdictFailedError`."""

Message: TypeAlias = Mapping[str, Any]
"""One chat message, ``{"role": …, "content": …}``."""


class Outcome(enum.StrEnum):
    """How scoring an item ended. The first three are deterministic; the others may differ the next time."""

    SCORED = "scored"
    """The verifier judged; the score is in [0, 1]."""
    NO_ANSWER = "no_answer"
    """The response holds nothing the verifier can read; score 0, and it is a verdict."""
    BAD_REFERENCE = "bad_reference"
    """The reference cannot be read; score None."""
    TIMEOUT = "timeout"
    """The verifier's own budget ran out; score None."""
    ERROR = "error"
    """Verifier crash, out of memory, judge unreachable, sandbox failure; score None."""
    ABSTAIN = "abstain"
    """A judge declined, or its votes tie; score None."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to score. A plain dict with the same keys does as well."""

    response: str | Sequence[Message]
    """What the model said: text, or chat messages of which the last assistant message counts."""
    reference: Any
    """What it is held against: any JSON value that the verifier understands."""
    id: str | int | None = None
    """A name that comes back in the verdict; unique within a call."""
    prompt: str | None = None
    """What the model was asked; counts only with verifiers whose manifest says so."""
    params: Mapping[str, Any] | None = None
    """The verifier's declared parameters; None for its defaults."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one verifier said about one item."""

    id: str | int | None
    """The item's id, None if it had none."""
    outcome: Outcome
    """How it ended."""
    score: float | None
    """What the verifier said, in [0, 1]; None exactly if it reached no verdict."""
    reward: float | None
    """`score` after `on_failure`."""
    cached: bool
    """Whether the service had this verdict from an earlier item."""
    detail: Mapping[str, Any]
    """What the verifier tells about how it judged; for a failure ``code`` and ``message``."""
    surroundings: Mapping[str, Any]
    """What could differ between machines: interpreter patch version, platform, containment."""
    pin: str
    """The ref with digest of the verifier that made it."""

    @property
    def failed(self) -> bool:
        """Whether there is no score. A failure is never a zero."""
        return self.score is None


class IndexedVerdict(NamedTuple):
    """A verdict with the position of its item in the input."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls on a pair
    """Position in the input, from 0."""
    verdict: Verdict
    """What came out for that item."""


@dataclass(frozen=True, slots=True)
class VerifierInfo:
    """The verifier that answered, named so that it can be found again."""

    ref: str
    """The pin, ``[namespace/]name:version@sha256:…``."""
    name: str
    """Name with its namespace, if it has one."""
    version: str
    """Version; opaque."""
    digest: str
    """Digest of the bundle, ``sha256:<64 hex digits>``."""


@dataclass(frozen=True, slots=True)
class ReleaseInfo:
    """The release that was asked for in place of a verifier, and what of its card held."""

    ref: str
    """Name, version and digest of the card, ``[namespace/]name:version@sha256:…``."""
    name: str
    """Name with its namespace, if it has one."""
    version: str
    """Version; opaque."""
    digest: str
    """Digest of the card."""
    task: str
    """Task or data source, as it was asked for."""
    on_failure: OnFailure
    """What the reward of an item without a verdict became."""


@dataclass(frozen=True, slots=True)
class Advisory:
    """What became known of a verifier or a release after it was published."""

    id: str
    """Stable name."""
    kind: str
    """``yanked``: no longer to be used. ``warning``: to be used knowing this."""
    pin: str
    """What it is about."""
    reason: str
    """Why."""
    date: str
    """When it became known."""
    replacement: str = ""
    """What to use instead; empty where there is nothing."""
    url: str = ""
    """Where more is to be read; may be empty."""


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts over one call."""

    items: int
    """Items scored."""
    cached: int
    """Of these, how many the service had verdicts of already."""
    failed: int
    """Of these, how many have no score."""
    seconds: float
    """The service's own time, added up over the requests that the call took."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The service's signed statement of what came out for the items of one request.

    It is checked without the service: ``countermark receipt verify FILE --keys KEYS``.
    """

    document: Mapping[str, Any]
    """The receipt as the service sent it."""
    start: int
    """Position of its first item in the input of the call."""
    items: int
    """How many items it is about."""

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write it as JSON."""
        text = json.dumps(self.document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        Path(file).write_text(text, encoding="utf-8")


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """One verdict per item, in the order of the items, all made by one verifier."""

    verifier: VerifierInfo
    """Who judged."""
    verdicts: tuple[Verdict, ...]
    """What came out, in the order of the items."""
    stats: Stats
    """Counts over the call."""
    degraded: tuple[str, ...] = ()
    """What the service had to do without, e.g. ``store_unavailable``; the verdicts are good all the same."""
    receipts: tuple[Receipt, ...] = ()
    """Where they were asked for: one for each request that the call took, in the order of the items."""
    release: ReleaseInfo | None = None
    """Where a release was asked for: which, and what of its card held."""
    advisories: tuple[Advisory, ...] = ()
    """What stands against the verifier or the release; a yanked one still scores, so look here."""

    @property
    def rewards(self) -> list[float | None]:
        """The rewards, in the order of the items; None where an item failed and `on_failure` is ``null``."""
        return [verdict.reward for verdict in self.verdicts]

    @property
    def failed(self) -> tuple[IndexedVerdict, ...]:
        """The items without a score, with their positions."""
        return tuple(IndexedVerdict(i, verdict) for i, verdict in enumerate(self.verdicts) if verdict.failed)


@dataclass(frozen=True, slots=True)
class StreamSummary:
    """What is known once a stream has ended."""

    verifier: VerifierInfo
    """Who judged."""
    stats: Stats
    """Counts over the stream."""
    degraded: tuple[str, ...] = ()
    """What the service had to do without."""
    release: ReleaseInfo | None = None
    """Where a release was asked for: which, and what of its card held."""
    advisories: tuple[Advisory, ...] = ()
    """What stands against the verifier or the release."""


@dataclass(frozen=True, slots=True)
class Partial:
    """What arrived of a call that failed."""

    verifier: VerifierInfo | None
    """Who judged; None if nothing arrived."""
    verdicts: tuple[Verdict | None, ...]
    """One place per item, in order; None where no verdict arrived."""
    errors: tuple[Exception, ...] = ()
    """Every error of the call, the one that was raised first."""

    @property
    def arrived(self) -> int:
        """How many verdicts arrived."""
        return len(self.verdicts) - self.verdicts.count(None)

    @property
    def missing(self) -> list[int]:
        """Positions of the items that still have to be scored."""
        return [i for i, verdict in enumerate(self.verdicts) if verdict is None]


@dataclass(frozen=True, slots=True)
class VerifierSummary:
    """One line of the service's list of verifiers."""

    ref: str
    """The pin."""
    name: str
    """Name with its namespace, if it has one."""
    version: str
    """Version; opaque."""
    digest: str
    """Digest of the bundle."""
    runtime: str
    """``python``, ``sandbox``, ``judge`` or ``composite``."""
    summary: str
    """What it does, in one line."""


@dataclass(frozen=True, slots=True)
class VerifierDetail(VerifierSummary):
    """Everything the service tells about one verifier."""

    description: str = ""
    """What counts as equal, what is ignored, what is not attempted."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """JSON Schema of `Item.params`."""
    vectors: tuple[Mapping[str, Any], ...] = ()
    """Items with the verdict that they must get."""
    advisories: tuple[Advisory, ...] = ()
    """What became known about this version after it was published."""
    document: Mapping[str, Any] = field(default_factory=dict)
    """The whole answer, with the manifest's fields that have no place above."""


@dataclass(frozen=True, slots=True)
class ReleaseSummary:
    """One registered release."""

    ref: str
    """Name, version and digest of the card."""
    name: str
    """Name with its namespace, if it has one."""
    version: str
    """Version; opaque."""
    digest: str
    """Digest of the card."""
    grade: str
    """How complete the card is, ``A`` to ``F``: that of its weakest factor."""
    tasks: tuple[str, ...]
    """Tasks that have a route; a route may have data sources as further names."""
    summary: str | None = None
    """What it is, in one line."""
    new: bool = False
    """After `Client.register`: whether it was not there before."""


@dataclass(frozen=True, slots=True)
class ReleaseDetail(ReleaseSummary):
    """Everything the service tells about one release."""

    card: Mapping[str, Any] = field(default_factory=dict)
    """The card, as it was registered."""
    completeness: Mapping[str, Any] = field(default_factory=dict)
    """Grade by factor, and what is missing and why that matters."""
    advisories: tuple[Advisory, ...] = ()
    """What stands against the card or its verifiers."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The answer of a probe; true if the service said yes."""

    ok: bool
    """Whether the service answered with 200."""
    status: int | None
    """HTTP status; None if the service could not be reached."""
    detail: str
    """What it said, or why it could not be reached."""

    def __bool__(self) -> bool:
        return self.ok
