"""Scores of the same questions, side by side: from the work files of audits to one row per question.

Only what every verifier scored can be compared: an output that one verifier failed on
is left out for all of them, and a question that is left without outputs on one side is
left out on all. Nothing that has no score becomes a number; it is counted, by outcome.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from countermark_service.audit.attribution.errors import AttributionError
from countermark_service.audit.work_file import WorkFile

_encode = msgspec.json.Encoder(order="deterministic").encode
_SHOWN = 3
_TEXTS = 512


@dataclass
class SideScores:
    """The outputs of one side under every verifier."""

    name: str
    rows: int = 0
    used: int = 0
    """Rows that every verifier gave a score."""
    without_score: list[Counter[str]] = field(default_factory=list)
    """Per verifier, rows without a score by outcome; ``refused`` where it does not take them."""
    no_answer: list[int] = field(default_factory=list)
    """Per verifier, rows in which it found no answer: they have the score 0 and are used."""
    published_rows: int = 0
    published_mean: float | None = None
    """Mean of the rows' own published scores, whoever made them."""
    unusable: Mapping[str, int] = field(default_factory=dict)
    """Rows of the file that could not be read, by reason."""
    questions: dict[tuple[str, str], tuple[float, ...]] = field(default_factory=dict)
    """Per question its mean score under each verifier, over the rows that are used."""
    references: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """Digest of what a question's outputs are held against."""
    lost: set[tuple[str, str]] = field(default_factory=set)
    """Questions of which no row could be used."""

    def document(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        return {
            "name": self.name,
            "rows": self.rows,
            "used": self.used,
            "without_score": [dict(one) for one in self.without_score],
            "no_answer": self.no_answer,
            "unusable": dict(self.unusable),
            "published": {"rows": self.published_rows, "mean": self.published_mean},
            "questions": len(self.questions) + len(self.lost),
        }


@dataclass(frozen=True)
class Crossed:
    """The questions that all sides answered."""

    scores: NDArray[np.float64]
    """``(questions, sides, verifiers)``, without gaps."""
    sides: Sequence[SideScores]
    common: int
    """Questions that all sides have, by name."""
    other_reference: int
    """Of these, left out: what they are held against differs between the sides."""
    without_score: int
    """Of these, left out: on some side no output has a score under every verifier."""

    def document(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        return {
            "questions": len(self.scores),
            "in_common": self.common,
            "left_out": {"without_score": self.without_score, "other_reference": self.other_reference},
            "sides": [side.document() for side in self.sides],
        }


def read_side(name: str, work: WorkFile) -> SideScores:
    """Read what a work file says; every row is there under every verifier, or refused by it.

    Raises:
        AttributionError: The rows are of several models or variants.
    """
    verifiers = len(work.verifiers)
    side = SideScores(
        name, without_score=[Counter() for _ in range(verifiers)], no_answer=[0] * verifiers,
        unusable=work.unusable_counts(),
    )  # fmt: skip
    groups = work.groups()
    for part, place in (("variants", 1), ("models", 2)):
        kinds = sorted({str(group[place]) for group in groups})
        if len(kinds) > 1:
            raise AttributionError(
                f"{name} holds outputs of {len(kinds)} {part} ({', '.join(kinds[:8])}): a mean over them says "
                "nothing of any. Keep one of them in the file."
            )
    side.published_rows, side.published_mean = work.published()
    sums: dict[tuple[str, str], list[float]] = {}
    counts: Counter[tuple[str, str]] = Counter()
    seen: dict[tuple[str, str], int] = {}
    for row in work.judged():
        key = (row.task, row.sample)
        seen.setdefault(key, row.index)
        side.rows += 1
        scores = []
        for place, mark in enumerate(row.marks):
            if mark is None or mark.score is None:
                side.without_score[place]["refused" if mark is None else mark.outcome.value] += 1
            else:
                scores.append(mark.score)
                side.no_answer[place] += mark.outcome == "no_answer"
        if len(scores) == verifiers:
            side.used += 1
            counts[key] += 1
            total = sums.setdefault(key, [0.0] * verifiers)
            for place, score in enumerate(scores):
                total[place] += score
    side.questions = {key: tuple(one / counts[key] for one in total) for key, total in sums.items()}
    side.lost = seen.keys() - side.questions.keys()
    side.references = _references(work, seen)
    return side


def cross(sides: Sequence[SideScores]) -> Crossed:
    """Return the questions that all sides have, in the order of the first.

    Raises:
        AttributionError: There is none, or none of them has scores everywhere.
    """
    first = sides[0]
    known = [side.questions.keys() | side.lost for side in sides]
    common = [key for key in first.references if all(key in keys for keys in known)]
    if not common:
        raise AttributionError(_nothing_in_common(sides))
    same = [key for key in common if len({side.references[key] for side in sides}) == 1]
    usable = [key for key in same if all(key in side.questions for side in sides)]
    if not usable:
        raise AttributionError(
            f"of {len(common)} questions in common, {len(common) - len(same)} are held against different references "
            f"and {len(same)} have no output that every verifier scored on every side: nothing is left to compare."
        )
    scores = np.array([[side.questions[key] for side in sides] for key in usable])
    return Crossed(scores, sides, len(common), len(common) - len(same), len(same) - len(usable))


def _references(work: WorkFile, rows: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], bytes]:
    places = {row: key for key, row in rows.items()}
    order = sorted(places)
    found: dict[tuple[str, str], bytes] = {}
    for begin in range(0, len(order), _TEXTS):
        for texts in work.texts(order[begin : begin + _TEXTS]):
            found[places[texts.row]] = hashlib.sha256(_encode(texts.reference)).digest()
    return {key: found[key] for key in rows}


def _nothing_in_common(sides: Sequence[SideScores]) -> str:
    shown = "; ".join(
        f"{side.name} has {', '.join(repr(sample) for _, sample in list(side.references)[:_SHOWN])}, …"
        for side in sides
    )
    return (
        f"no question was answered on all sides ({shown}). Questions are matched by the id of their rows, else by "
        "their prompt: name the column that holds the id in the card (`outputs.columns.id`), or in a column `id`."
    )
