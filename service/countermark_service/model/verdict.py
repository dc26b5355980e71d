"""What came out: an outcome, a score where there is one, and what made it.

A failure is never a zero. `scored`, `no_answer` and `bad_reference` are facts
about the item: deterministic, and kept for ever. `timeout`, `error` and
`abstain` are facts about a run: never kept, and without a score.
"""

from enum import StrEnum
from typing import Annotated, Any

import msgspec


class Outcome(StrEnum):
    """The six ways an item can end."""

    SCORED = "scored"
    NO_ANSWER = "no_answer"
    BAD_REFERENCE = "bad_reference"
    TIMEOUT = "timeout"
    ERROR = "error"
    ABSTAIN = "abstain"

    __hash__ = str.__hash__  # an Enum's own is Python code, and verdicts are counted by the thousand


CACHEABLE = frozenset({Outcome.SCORED, Outcome.NO_ANSWER, Outcome.BAD_REFERENCE})
"""Outcomes that the item alone decides."""

FAILURES = frozenset({Outcome.BAD_REFERENCE, Outcome.TIMEOUT, Outcome.ERROR, Outcome.ABSTAIN})
"""Outcomes without a score."""


class OnFailure(StrEnum):
    """What the caller wants in place of a score that does not exist."""

    NULL = "null"
    ZERO = "zero"
    RAISE = "raise"


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """The verifier's answer for one item.

    `json` is what the store keeps and what replies carry: the whole verdict, encoded
    once, when it is made. The other two are what scoring itself must know of it.
    """

    outcome: Outcome
    score: float | None
    """In [0, 1], or None for the outcomes of `FAILURES`."""
    json: bytes
    """JSON object of outcome, score, detail and surroundings, in this order."""
    lasting: bool = True
    """False where something that may be otherwise another time took part, so that it is not kept."""

    @property
    def keepable(self) -> bool:
        """Whether it may be stored: the item alone decides it."""
        return self.lasting and self.outcome in CACHEABLE

    def passing(self) -> "Verdict":
        """Return this verdict, marked as one that is not kept."""
        return Verdict(self.outcome, self.score, self.json, False)

    @classmethod
    def made(cls, outcome: Outcome, score: float | None, detail: bytes, surroundings: bytes) -> "Verdict":
        """Build a verdict.

        Args:
            outcome: How the item ended.
            score: In [0, 1], or None for a failure.
            detail: JSON object: what the verifier found, or `code` and `message` of a failure.
            surroundings: JSON object: interpreter, platform and containment it was made in.
        """
        number = b"null" if score is None else msgspec.json.encode(score)
        head = b'{"outcome":"%b","score":%b' % (outcome.value.encode(), number)
        return cls(outcome, score, b'%b,"detail":%b,"surroundings":%b}' % (head, detail, surroundings))

    @classmethod
    def failure(cls, outcome: Outcome, code: str, message: str, surroundings: bytes = b"{}") -> "Verdict":
        """Build a verdict without a score; `code` is stable, `message` is for people."""
        detail = msgspec.json.encode({"code": code, "message": message})
        return cls.made(outcome, None, detail, surroundings)

    @classmethod
    def decode(cls, data: bytes) -> "Verdict":
        """Read a verdict's `json`.

        Raises:
            msgspec.MsgspecError: The bytes are no verdict.
        """
        parts = _decoder.decode(data)
        if (parts.score is None) is not (parts.outcome in FAILURES):
            raise msgspec.ValidationError(f"outcome {parts.outcome} with score {parts.score}")
        return cls(parts.outcome, parts.score, data)

    def detail(self) -> dict[str, Any]:
        """Return what the verifier found, as plain values."""
        return dict(_decoder.decode(self.json).read_detail())


class _Parts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A verdict's JSON, its two objects unread."""

    outcome: Outcome
    score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None
    detail: msgspec.Raw
    surroundings: msgspec.Raw

    def read_detail(self) -> dict[str, Any]:
        return msgspec.json.decode(self.detail, type=dict[str, Any])


_decoder = msgspec.json.Decoder(_Parts)
