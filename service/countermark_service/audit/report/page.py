"""The page: what the document says, laid out for somebody who has never heard of Countermark.

The order is that of the questions: what was claimed, what holds, why not; then the
evidence; then what it was made with and how to make it again. The file is whole in itself:
no script, no reference to anything outside, and a content policy that forbids both, so
that nothing in a response can act even where escaping had failed.
"""

import base64
import hashlib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from countermark_service.audit.claims import column_of, met, unmet_sentence
from countermark_service.audit.document import (
    PUBLISHED,
    Claim,
    Column,
    Comparison,
    Document,
    Example,
    Kind,
    Slice,
    Standing,
)
from countermark_service.audit.findings import finding_over, mark_clause
from countermark_service.audit.flips import RIGHT
from countermark_service.audit.report import plots
from countermark_service.audit.report.visible import attribute, shown, shown_with
from countermark_service.audit.wording import (
    plural,
    points_range,
    shown_count,
    shown_points,
    shown_score,
    shown_share,
)
from countermark_service.model import FAILURES, Outcome

MOST_TABLE_ROWS = 200
"""Parts, tasks or models that a table shows; the machine-readable file has all."""
MOST_PLOTTED = 8
"""Parts in the plot of scores."""
FIRST_EXAMPLES = 3
"""Examples of each kind that are open; the others are folded away."""

STANDINGS: dict[Standing, str] = {
    "reproduced": "reproduced",
    "agrees": "holds up",
    "differs": "does not hold",
    "too_few": "too few answers",
    "undecided": "undecided",
    "unpublished": "nothing published",
    "unscored": "not scored again",
}

SEVERAL: dict[Standing, str] = {
    **STANDINGS,
    "agrees": "hold up",
    "differs": "do not hold",
}

_ENDINGS: dict[Outcome, str] = {
    Outcome.SCORED: "Scored",
    Outcome.NO_ANSWER: "No answer (scores 0)",
    Outcome.BAD_REFERENCE: "Reference unreadable",
    Outcome.TIMEOUT: "Timeout",
    Outcome.ERROR: "Error",
    Outcome.ABSTAIN: "Abstained",
}

_LONG_NAME = 120


@dataclass(frozen=True)
class Row:
    """A part of the audit as a line of a table."""

    name: str
    slice: Slice
    published: Column | None
    main: Column | None
    pair: Comparison | None
    others: Sequence[Column]


@dataclass(frozen=True)
class Cell:
    """One field of the matrix of disagreements."""

    disagreements: int
    rows: int
    heat: int

    @property
    def share(self) -> float:
        """Part of the rows on which the two disagree."""
        return self.disagreements / self.rows if self.rows else 0.0


def render_report(document: Document) -> str:
    """Return the report as one HTML file."""
    style = _text("report.css")
    policy = (
        "default-src 'none'; "
        f"style-src 'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    view = _View(document)
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            d=document,
            v=view,
            style=Markup(style),  # noqa: S704 - a file of this package
            policy=Markup(policy),  # noqa: S704 - made here
        )
    )


class _View:
    """What the page shows, in the shape it shows it."""

    def __init__(self, document: Document) -> None:
        self._document = document
        overall = document.overall
        self.labels = {column.id: column.label for column in overall.columns}
        self.published = overall.column(PUBLISHED)
        self.verifiers = [column for column in overall.columns if column.id != PUBLISHED]
        self.main = self.verifiers[0] if self.verifiers else None
        standings = [part.finding.standing for part in document.parts]
        self.standings = [(one, standings.count(one)) for one in STANDINGS if one in standings]
        self.question = _question(standings, len(self.verifiers))
        self.missing = any(column.bounds or column.score is None for column in self.verifiers)
        self.refused = any(column.refused for column in self.verifiers)
        self.alike = not any(pair.disagreements or pair.changed for pair in overall.comparisons)
        self.alone = any(pair.first_alone + pair.second_alone for pair in overall.comparisons)
        self.several = len(document.parts) > 1
        self.together = finding_over(document.parts) is None
        self.command = _wrapped(document.command)

    @property
    def forest(self) -> plots.Forest | None:
        """Scores of the whole, and of the parts that moved most where there are several."""
        if not self.several:
            return plots.forest([("", self._document.overall)])
        moved_most = _first(self._document.parts, MOST_PLOTTED, _moved)
        return plots.forest([(_name(part), part) for part in moved_most])

    @property
    def matrix(self) -> list[tuple[Column, list[Cell | None]]]:
        """How often every two columns disagree."""
        columns = self._document.overall.columns
        return [(row, [self._cell(row, column) for column in columns]) for row in columns]

    def _cell(self, row: Column, column: Column) -> Cell | None:
        overall = self._document.overall
        pair = overall.comparison(row.id, column.id) or overall.comparison(column.id, row.id)
        if pair is None:
            return None
        rows = pair.rows + pair.first_alone + pair.second_alone
        share = pair.disagreements / rows if rows else 0.0
        return Cell(pair.disagreements, rows, plots.heat(share))

    def rows(self, slices: Sequence[Slice]) -> list[Row]:
        """Return slices as lines of a table, at most `MOST_TABLE_ROWS`, the largest."""
        return [self._row(one) for one in _first(slices, MOST_TABLE_ROWS, lambda one: one.rows)]

    def _row(self, one: Slice) -> Row:
        verifiers = [column for column in one.columns if column.id != PUBLISHED]
        main = verifiers[0] if verifiers else None
        pair = one.comparison(PUBLISHED, main.id) if main else None
        return Row(_name(one), one, one.column(PUBLISHED), main, pair, verifiers[1:])

    def kind_width(self, kind: Kind) -> float:
        """Return the length of a kind's bar, in percent."""
        return round(100 * kind.rows / max(one.rows for one in self._document.kinds), 2)

    @property
    def endings(self) -> list[tuple[str, str]]:
        """Outcomes and their names, those that are always told and those that occur."""
        occurring = {outcome for column in self.verifiers for outcome in column.outcomes}
        return [
            (str(outcome), name)
            for outcome, name in _ENDINGS.items()
            if outcome in occurring or outcome not in FAILURES
        ]

    def verdict(self, example: Example, column: str) -> dict[str, Any] | None:
        """Return what a column says about a row, in words."""
        side = next((side for side in example.sides if side.column == column), None)
        if side is None:
            return None
        if side.score is None:
            word, style = (side.outcome or "no score").replace("_", " "), "none"
        elif side.outcome == Outcome.NO_ANSWER:
            word, style = "no answer", "wrong"
        elif side.score >= RIGHT:
            word, style = "right", "right"
        elif side.score == 0:
            word, style = "wrong", "wrong"
        else:
            word, style = f"{side.score:g}", "wrong"
        return {"word": word, "style": style, "read": side.extracted, "reason": side.reason}

    def response(self, example: Example) -> Markup:
        """Return the end of a response with what was read from it set off."""
        read = {text for side in example.sides for text in side.extracted or ()}
        return shown_with(example.response, read)

    def recomputed(self, claim: Claim) -> Column | None:
        """Return the column that a card's result is held against, if there is one."""
        return column_of(claim, self._document.parts, [one.sha256 for one in self._document.inputs])

    def met(self, claim: Claim) -> str:
        """Return whether the recomputed score is the stated one, to the decimals that are stated."""
        found = met(claim, self.recomputed(claim))
        return "cannot be told" if found is None else "yes" if found else "no"

    @property
    def unmet(self) -> str:
        """A sentence on the results of the card that do not hold; empty where none is such."""
        return unmet_sentence(
            self._document.claims, self._document.parts, [one.sha256 for one in self._document.inputs]
        )


def _question(standings: Sequence[Standing], verifiers: int) -> str:
    """Return what the third answer answers."""
    if any(one in ("differs", "undecided", "unscored") for one in standings):
        return "Why not"
    if any(one in ("agrees", "too_few") for one in standings):
        return "What differs"
    if "reproduced" in standings:
        return "Under other verifiers" if verifiers > 1 else "Why"
    return "Do the verifiers agree"


def _first(slices: Sequence[Slice], most: int, key: Callable[[Slice], Any]) -> list[Slice]:
    """Return the `most` slices with the greatest keys, in their own order."""
    places = sorted(range(len(slices)), key=lambda place: key(slices[place]), reverse=True)[:most]
    return [slices[place] for place in sorted(places)]


def _moved(part: Slice) -> tuple[float, int]:
    pairs = [one for one in part.comparisons if one.first == PUBLISHED and one.difference is not None]
    return (max((abs(one.difference.value) for one in pairs if one.difference), default=0.0), part.rows)


def _name(one: Slice) -> str:
    names = [name for name in (one.task, one.variant, one.model) if name]
    return " \u00b7 ".join(_short(name) for name in names) or "not named"


def _short(text: str) -> str:
    return text if len(text) <= _LONG_NAME else text[: _LONG_NAME - 1] + "\u2026"


def _wrapped(command: Sequence[str]) -> str:
    """Write a command for a shell, each option on a line of its own."""
    lines: list[list[str]] = [[]]
    for word in command:
        if word.startswith("--") and lines[-1]:
            lines.append([])
        lines[-1].append(shlex.quote(word))
    return " \\\n  ".join(" ".join(line) for line in lines)


def _sentence(text: str) -> str:
    """Return a message as a sentence of its own."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _p_value(p: float | None) -> str:
    if p is None:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _bytes(size: int) -> str:
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _finalised(value: Any) -> Any:
    """Make every text that the template prints safe and visible; nothing can be forgotten."""
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_text),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalised,
    )
    environment.filters.update(
        score=shown_score, points=shown_points, range=points_range, count=shown_count, share=shown_share, p=_p_value,
        bytes=_bytes, sentence=_sentence, attr=attribute, short=_short, mark_clause=mark_clause,
    )  # fmt: skip
    environment.globals.update(
        plural=plural, PUBLISHED=PUBLISHED, STANDINGS=STANDINGS, SEVERAL=SEVERAL, FIRST=FIRST_EXAMPLES,
        LIMIT=MOST_TABLE_ROWS, PLOTTED=MOST_PLOTTED,
    )  # fmt: skip
    return environment


def _text(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text("utf-8")
