"""Where marks stand in a plot: numbers from 0 to 100 across its width, and nothing about looks.

Plots are SVG without a view box, with positions in percent: they take the width of
their place and their text keeps its size, on a phone as on paper. Colours come from the
style sheet, so a plot follows the theme of the page.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from countermark_service.audit.document import PUBLISHED, Column, Slice

_STEPS = (1, 2, 2.5, 5, 10)
_MOST_TICKS = 6
_LEFT, _RIGHT = 3.0, 97.0
"""Percent of the width between which the scale runs, so that labels of the ends have room."""


@dataclass(frozen=True)
class Tick:
    """A labelled place on the scale."""

    at: float
    label: str


@dataclass(frozen=True)
class Axis:
    """A scale of scores."""

    low: float
    high: float
    ticks: Sequence[Tick]

    def at(self, value: float) -> float:
        """Return where a score stands, in percent of the width."""
        return round(_place(value, self.low, self.high), 3)

    @classmethod
    def over(cls, values: Iterable[float]) -> "Axis":
        """Return a scale that holds all of `values`, between round numbers within [0, 1]."""
        found = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        span = max(max(found) - min(found), 0.02)
        step = _step(span * 1.1)
        low = max(0.0, math.floor((min(found) - span * 0.05) / step) * step)
        high = min(1.0, math.ceil((max(found) + span * 0.05) / step) * step)
        digits = max(1, -math.floor(math.log10(step) + 1e-9))
        digits += round(step * 10**digits, 6) != round(step * 10**digits)
        count = round((high - low) / step)
        ticks = [low + number * step for number in range(count + 1)]
        return cls(low, high, [Tick(round(_place(t, low, high), 3), f"{t:.{digits}f}") for t in ticks])


def _place(value: float, low: float, high: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * (min(max(value, low), high) - low) / (high - low)


def _step(span: float) -> float:
    rough = span / _MOST_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return float(next(step for one in _STEPS if (step := one * power) >= rough - 1e-12))


@dataclass(frozen=True)
class Line:
    """One score with its interval."""

    label: str
    published: bool
    value: float
    low: float
    high: float
    at: float
    left: float
    right: float
    worst: float | None
    """Where the mean would be were all rows without a score wrong; None where every row has one."""
    best: float | None


@dataclass(frozen=True)
class Group:
    """The lines of one part of the audit."""

    title: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class Forest:
    """Scores with their intervals, one below the other on one scale."""

    axis: Axis
    groups: Sequence[Group]

    @property
    def reaches(self) -> bool:
        """Whether some line shows how far answers without a score could move it."""
        return any(line.worst is not None for group in self.groups for line in group.lines)


def forest(slices: Sequence[tuple[str, Slice]]) -> Forest | None:
    """Return the plot of the scores of some slices, each with its title; None where nothing has a score."""
    columns = [column for _, one in slices for column in one.columns if column.score is not None]
    if not columns:
        return None
    ends = [end for column in columns for end in _ends(column)]
    axis = Axis.over(ends)
    return Forest(
        axis,
        [
            Group(title, [_line(column, axis) for column in one.columns if column.score is not None])
            for title, one in slices
        ],
    )


def _ends(column: Column) -> list[float]:
    score = column.score
    ends = [score.low, score.high] if score else []
    return ends + ([column.bounds.low, column.bounds.high] if column.bounds else [])


def _line(column: Column, axis: Axis) -> Line:
    score, bounds = column.score, column.bounds
    assert score is not None  # noqa: S101 - the caller has left out the others
    return Line(
        label=column.label,
        published=column.id == PUBLISHED,
        value=score.value,
        low=score.low,
        high=score.high,
        at=axis.at(score.value),
        left=axis.at(score.low),
        right=axis.at(score.high),
        worst=axis.at(bounds.low) if bounds else None,
        best=axis.at(bounds.high) if bounds else None,
    )


def heat(share: float) -> int:
    """Return a step from 0 to 9 for a share of rows; the root, so that small shares are told apart."""
    if share <= 0:
        return 0
    return max(1, min(9, math.ceil(9 * math.sqrt(share))))
