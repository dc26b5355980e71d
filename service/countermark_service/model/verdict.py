"""What came out: an outcome, a score where there is one, and what made it.

A failure is never a zero. `scored`, `no_answer` and `bad_reference` are facts
about the item: deterministic, and kept for ever. `timeout`, `error` and
`abstain` are facts about a run: never kept, and without a score.
"""

from enum import StrEnum
from typing import Any

import msgspec


class Outcome(StrEnum):
    """The six ways an item can end."""

    SCORED = "scored"
    NO_ANSWER = "no_answer"
    BAD_REFERENCE = "bad_reference"
    TIMEOUT = "timeout"
    ERROR = "error"
    ABSTAIN = "abstain"


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

    The encoded form (`encode`) is what the store keeps and what replies carry, so
    the two JSON parts stay raw: they are read only by whoever looks at them.
    """

    outcome: Outcome
    score: float | None
    """In [0, 1], or None for the outcomes of `FAILURES`."""
    detail: msgspec.Raw
    """JSON object: what the verifier found, or the `code` and `message` of a failure."""
    surroundings: msgspec.Raw
    """JSON object: interpreter, platform and containment that the verdict was made in."""

    @classmethod
    def of(
        cls,
        outcome: Outcome,
        score: float | None,
        detail: dict[str, Any],
        surroundings: dict[str, Any] | None = None,
    ) -> "Verdict":
        """Build a verdict from plain values."""
        return cls(outcome, score, msgspec.Raw(msgspec.json.encode(detail)), _raw(surroundings or {}))

    @classmethod
    def failure(
        cls, outcome: Outcome, code: str, message: str, surroundings: msgspec.Raw | None = None
    ) -> "Verdict":
        """Build a verdict without a score; `code` is stable, `message` is for people."""
        return cls(outcome, None, _raw({"code": code, "message": message}), surroundings or _EMPTY)

    def encode(self) -> bytes:
        """Return the verdict as a JSON object."""
        return _encoder.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> "Verdict":
        """Read `encode`'s bytes.

        Raises:
            msgspec.MsgspecError: The bytes are no verdict.
        """
        verdict = _decoder.decode(data)
        if (verdict.score is None) is not (verdict.outcome in FAILURES):
            raise msgspec.ValidationError(f"outcome {verdict.outcome} with score {verdict.score}")
        return verdict

    def detail_dict(self) -> dict[str, Any]:
        """Return `detail` as plain values."""
        found: dict[str, Any] = msgspec.json.decode(self.detail)
        return found


def _raw(value: dict[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


_EMPTY = msgspec.Raw(b"{}")
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Verdict)
