"""`vectors.jsonl`: the verdicts that a bundle must give, on every machine, for ever.

One case a line: an id that says why the case is there, the item, and what must
come out. `detail` in an expectation is a subset: keys that it does not name are
free.
"""

from typing import Annotated, Any

import msgspec

from countermark_service.errors import VectorsError
from countermark_service.model import FAILURES, Item, Outcome


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must come out for one vector."""

    outcome: Outcome
    score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    detail: dict[str, Any] = {}

    def difference(self, outcome: Outcome, score: float | None, detail: dict[str, Any]) -> str | None:
        """Return what differs, as one line for a person, or None where all holds."""
        if outcome is not self.outcome:
            return f"outcome: expected {self.outcome}, got {outcome} ({_short(detail)})"
        if score != self.score:
            return f"score: expected {self.score}, got {score} ({_short(detail)})"
        for key, value in self.detail.items():
            if key not in detail:
                return f"detail.{key}: expected {_short(value)}, not there"
            if detail[key] != value:
                return f"detail.{key}: expected {_short(value)}, got {_short(detail[key])}"
        return None


class Vector(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One case: an item and its expectation, under an id that says why."""

    id: str
    item: Item
    expect: Expectation


_decoder = msgspec.json.Decoder(Vector)


def read_vectors(content: bytes, *, file: str = "vectors.jsonl") -> tuple[Vector, ...]:
    """Read every vector of a bundle.

    Raises:
        VectorsError: A line that is no vector, an id used twice, or an expected
            score that does not fit the outcome; the message names the line.
    """
    vectors: list[Vector] = []
    seen: set[str] = set()
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            vector = _decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise VectorsError(file, number, str(exc)) from exc
        expect = vector.expect
        if vector.id in seen:
            raise VectorsError(file, number, f"the id {vector.id!r} is used twice")
        fits = (expect.score is None) is (expect.outcome in FAILURES)
        if not fits or (expect.outcome is Outcome.NO_ANSWER and expect.score != 0):
            raise VectorsError(file, number, f"outcome {expect.outcome} cannot have the score {expect.score}")
        seen.add(vector.id)
        vectors.append(vector)
    return tuple(vectors)


def _short(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 160 else text[:157] + "..."
