"""The rows of an audit as columns of numbers, without a word of text.

Statistics want arrays, and a million rows must fit: a row takes 25 bytes here and 10 more
for each verifier. The texts stay in the work file until a row is shown.
"""

import hashlib
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from countermark_service.audit.flips import RIGHT
from countermark_service.audit.work_file import Ready, WorkFile, at_once
from countermark_service.model import Outcome

OUTCOMES = tuple(Outcome)
"""Outcomes by their number in `Table.outcomes`."""

NONE = -1
"""Number of "no verdict"."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Small = npt.NDArray[np.int8]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, order=True)
class Part:
    """The rows of one task, variant and model: what a published score is the mean of."""

    task: str
    variant: str
    model: str


@dataclass(frozen=True)
class Scale:
    """What was made of the published scores of one metric."""

    metric: str
    rows: int
    low: float
    high: float
    used: bool
    """False where they are on no scale from 0 to 1."""
    shifted: bool = False
    """Whether they were -1 and 1 and are taken as 0 and 1."""


@dataclass(frozen=True)
class Table:
    """One entry per row; two-dimensional arrays have the verifier first."""

    parts: Sequence[Part]
    part: Integers
    """Place of the row's part in `parts`."""
    items: Integers
    """Number of the question that a row answers, the same for all its answers of all models."""
    published: Floats
    """In [0, 1], or NaN."""
    outcomes: Small
    """Number of the outcome, or `NONE`."""
    scores: Floats
    """In [0, 1], or NaN."""
    due: Flags
    """Whether the verifier is to score the row."""
    refused: Flags
    """Whether the verifier does not take the row."""
    scales: Sequence[Scale] = field(default=())
    unscaled: Flags = field(default_factory=lambda: np.zeros(0, np.bool_))
    """Rows whose published score is on no usable scale."""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.part)

    @property
    def pins(self) -> int:
        """How many verifiers there are."""
        return len(self.scores)

    @cached_property
    def right(self) -> Small:
        """Per column, the published one first: 1 right, 0 wrong, `NONE` without a score."""
        scores = np.vstack([self.published[None, :], self.scores])
        return np.where(np.isnan(scores), NONE, (scores >= RIGHT).astype(np.int8)).astype(np.int8)

    @cached_property
    def there(self) -> Flags:
        """Per column, the published one first: whether it says anything about a row."""
        return np.vstack([~np.isnan(self.published)[None, :], self.outcomes != NONE])

    def disagreeing(self, first: int, second: int) -> Flags:
        """Return the rows on which two columns disagree; column 0 is the published one."""
        both = self.there[first] & self.there[second]
        found: Flags = both & (self.right[first] != self.right[second])
        return found


def read_table(work: WorkFile, ready: Ready = at_once) -> Table:
    """Read what statistics need of a work file, in one pass over the rows; `ready` says how far they are scored."""
    numbers = {outcome: number for number, outcome in enumerate(OUTCOMES)}
    pins = len(work.verifiers)
    parts: dict[Part, int] = {}
    metrics: dict[str, int] = {}
    part, metric, items = array("q"), array("q"), array("q")
    published = array("d")
    outcomes = [array("b") for _ in range(pins)]
    scores = [array("d") for _ in range(pins)]
    nothing = math.nan
    for row in work.judged(ready):
        part.append(parts.setdefault(Part(row.task, row.variant, row.model), len(parts)))
        metric.append(metrics.setdefault(row.metric or "", len(metrics)))
        items.append(_item(row.task, row.sample))
        published.append(nothing if row.published is None else row.published)
        for mark, outcome, score in zip(row.marks, outcomes, scores, strict=True):
            outcome.append(NONE if mark is None else numbers[mark.outcome])
            score.append(nothing if mark is None or mark.score is None else mark.score)
    rows = len(part)
    shape = (pins, rows)
    part_of = np.frombuffer(part, np.int64) if rows else np.zeros(0, np.int64)
    refused = np.zeros(shape, np.bool_)
    for refusal in work.refusals():
        refused[refusal.pin, refusal.row] = True
    routed = np.zeros((pins, len(parts)), np.bool_)
    tasks: dict[str, list[int]] = {}
    for place, one in enumerate(parts):
        tasks.setdefault(one.task, []).append(place)
    for task, route in work.routes():
        routed[route.pin, tasks.get(task, [])] = True
    said = np.array(published, np.float64)
    scales, usable = _scaled(said, np.array(metric, np.int64), list(metrics))
    return Table(
        parts=list(parts),
        part=part_of,
        items=np.array(items, np.int64),
        published=usable,
        outcomes=np.array(outcomes, np.int8).reshape(shape),
        scores=np.array(scores, np.float64).reshape(shape),
        due=routed[:, part_of] if rows else np.zeros(shape, np.bool_),
        refused=refused,
        scales=scales,
        unscaled=~np.isnan(said) & np.isnan(usable),
    )


def _item(task: str, sample: str) -> int:
    """Return a number for a question: 63 bits of a hash, so that a million of them need no table of names."""
    digest = hashlib.blake2b(f"{len(task)}:{task}{sample}".encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "little") >> 1


def _scaled(published: Floats, metric: Integers, names: list[str]) -> tuple[list[Scale], Floats]:
    """Bring published scores to [0, 1], metric by metric; those on another scale become NaN."""
    usable = published.copy()
    scales = []
    for number, name in enumerate(names):
        rows = (metric == number) & ~np.isnan(published)
        values = published[rows]
        if not len(values):
            continue
        low, high = float(values.min()), float(values.max())
        shifted = low == -1.0 and bool(np.isin(values, (-1.0, 1.0)).all())
        used = shifted or (low >= 0.0 and high <= 1.0)
        if not used:
            usable[rows] = np.nan
        elif shifted:
            usable[rows] = (values + 1) / 2
        scales.append(Scale(name, len(values), low, high, used, shifted))
    return scales, usable


def pairs_of(columns: int) -> Iterator[tuple[int, int]]:
    """Yield every two of `columns` columns, the lower first."""
    for first in range(columns):
        for second in range(first + 1, columns):
            yield first, second
