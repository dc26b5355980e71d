"""The findings as one page: no network, no script, readable on a phone, in print, light and dark."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from countermark_service import __version__
from countermark_service.audit.attribution.pair import Estimate
from countermark_service.audit.attribution.words import PairFinding, RunsFinding, interval
from countermark_service.audit.verdict_files import whole
from countermark_service.audit.wording import shown_points
from countermark_service.releases import FACTORS

_WIDTH = 720
_LABEL = 270
_ROW = 30

_LABELS = {
    "gap": "the gap",
    "verifier": "the verifier",
    "outputs": "the outputs",
    "verifier_on_first_outputs": "verifier, on the first outputs",
    "verifier_on_second_outputs": "verifier, on the second outputs",
    "outputs_under_first_verifier": "outputs, under the first verifier",
    "outputs_under_second_verifier": "outputs, under the second verifier",
    "interaction": "difference of the two orders",
}


@dataclass(frozen=True)
class Mark:
    """One line of the drawing; places are in its units."""

    label: str
    text: str
    interval: str
    y: float
    value: float
    low: float
    high: float
    clear: bool


@dataclass(frozen=True)
class Drawing:
    """Estimates with their intervals on one scale."""

    width: int
    height: int
    zero: float
    marks: Sequence[Mark]


def write_page(findings: Sequence[PairFinding | RunsFinding], file: Path) -> None:
    """Write the page; every text of a card or a file is escaped.

    Raises:
        OutputError: The file cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("countermark_service.audit.attribution"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    pairs = [(one, _pair_drawing(one)) for one in findings if isinstance(one, PairFinding)]
    runs = [(one, _runs_drawing(one)) for one in findings if isinstance(one, RunsFinding)]
    title = "What of the gap is the verifier" if pairs else "What each factor does to the score"
    text = environment.get_template("attribution.html.j2").render(
        title=title,
        pairs=pairs,
        runs=runs,
        points=shown_points,
        version=__version__,
        factors=FACTORS,
        again=any(one.crossed for one in findings),
    )
    with whole(file) as page:
        page.write(text.encode())


def _pair_drawing(one: PairFinding) -> Drawing:
    return _drawing([(_LABELS[name], each) for name, each in one.decomposition.effects.items()])


def _runs_drawing(one: RunsFinding) -> Drawing:
    rows = []
    for each in one.analysis.effects:
        low, high = each.interval or (None, None)
        rows.append(
            (each.term, one.over_questions.get(each.term) or Estimate(each.estimate, low, high, "none"))
        )
    return _drawing(rows) if one.crossed else _drawing(rows, one.shown, _between(one.shown))


def _between(shown: Callable[[float], str]) -> Callable[[Estimate], str]:
    """Return how intervals of a table's own scores are written."""

    def text(one: Estimate) -> str:
        if one.low is None or one.high is None:
            return "no interval"
        return f"{shown(one.low)} to {shown(one.high)}"

    return text


def _drawing(
    rows: Sequence[tuple[str, Estimate]],
    shown: Callable[[float], str] = shown_points,
    between: Callable[[Estimate], str] = interval,
) -> Drawing:
    ends = [0.0]
    for _, one in rows:
        ends += [one.value, *(end for end in (one.low, one.high) if end is not None)]
    least, most = min(ends), max(ends)
    room = (most - least) or 1.0
    least, most = least - room * 0.05, most + room * 0.05

    def place(value: float) -> float:
        return round(_LABEL + (value - least) / (most - least) * (_WIDTH - _LABEL - 130), 1)

    marks = []
    for number, (label, one) in enumerate(rows):
        low, high = (one.value if end is None else end for end in (one.low, one.high))
        y = _ROW * number + _ROW / 2
        marks.append(
            Mark(
                label,
                shown(one.value),
                between(one),
                y,
                place(one.value),
                place(low),
                place(high),
                one.clear,
            )
        )
    return Drawing(_WIDTH, _ROW * len(rows) + 6, place(0.0), marks)
