"""Why two verifiers disagree about a row: rules over outcomes and what each of them read.

Two columns disagree about a row where one says right and the other does not, or where
only one has a score. A score counts as right from `RIGHT` on. The kind is the first of
these that holds:

* ``timeout``: one ran out of its budget, or its candidate program did.
* ``reference``: one cannot read the reference.
* ``failure``: one crashed, was unreachable, or abstained.
* ``format``: one finds nothing in the response that it can read, the other does.
* ``extraction``: both say what they read, and it is not the same.
* ``equivalence``: both read the same, and only one takes it for the reference.
* ``other``: none of these.

What a verifier read stands in its `detail` under one of the `ANSWER_KEYS`. Two readings are
the same where their `plain` forms are: without dollar and percent signs, text wrappers,
thousands separators, spaces and a full stop.

A published score often comes without what was read. Then the kind is a conclusion from
the one reading there is (*inferred*): a verifier that read the reference itself and says
wrong, or takes something else for it, differs in equivalence; one that read the very text of
the reference while the publisher says wrong, or something else although the reference stands
in the response, differs in extraction.

Nothing here reads a file or counts; the rules are pure.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

from countermark_service.model import Outcome

RIGHT = 1.0
"""Score from which on a row counts as right."""

ANSWER_KEYS = ("answer", "extracted", "matched", "group", "prediction", "pred")
"""Where a verifier's `detail` may say what it read, the first that is there."""

_LONGEST_READING = 2000
"""Characters of a reading that are compared; what is longer is cut."""


class FlipKind(StrEnum):
    """Why two columns disagree."""

    FORMAT = "format"
    EXTRACTION = "extraction"
    EQUIVALENCE = "equivalence"
    TIMEOUT = "timeout"
    REFERENCE = "reference"
    FAILURE = "failure"
    OTHER = "other"


TITLES: Mapping[FlipKind, str] = {
    FlipKind.FORMAT: "Format",
    FlipKind.EXTRACTION: "Extraction",
    FlipKind.EQUIVALENCE: "Equivalence",
    FlipKind.TIMEOUT: "Timeout",
    FlipKind.REFERENCE: "Reference unreadable",
    FlipKind.FAILURE: "Failure",
    FlipKind.OTHER: "Other",
}

MEANINGS: Mapping[FlipKind, str] = {
    FlipKind.FORMAT: "One verifier finds no answer in a form that it can read; the other reads one.",
    FlipKind.EXTRACTION: "Both read an answer from the response, but not the same one.",
    FlipKind.EQUIVALENCE: "Both read the same answer, and only one takes it as equal to the reference.",
    FlipKind.TIMEOUT: "One ran out of its time budget, so it has no score; that is not a wrong answer.",
    FlipKind.REFERENCE: "One cannot read the reference answer, so it has no score; that is not a wrong answer.",
    FlipKind.FAILURE: "One crashed, was unreachable or abstained, so it has no score; that is not a wrong answer.",
    FlipKind.OTHER: "The verdicts do not say what was read, so the reason cannot be told.",
}


@dataclass(frozen=True, slots=True)
class Said:
    """What one column says about a row."""

    score: float | None
    outcome: Outcome | None = None
    """None for a published score."""
    read: tuple[str, ...] | None = None
    """What it read from the response; None where it does not say."""
    class_: str | None = None
    """How a candidate program ended, for verifiers that run one."""

    @property
    def right(self) -> bool | None:
        """Right, wrong, or None without a score."""
        return None if self.score is None else self.score >= RIGHT


@dataclass(frozen=True, slots=True)
class Judgement:
    """The kind of a disagreement."""

    kind: FlipKind
    inferred: bool = False
    """Whether one side does not say what it read."""


def disagree(one: Said, other: Said) -> bool:
    """Whether two columns disagree: on right and wrong, or on whether there is a score."""
    return one.right is not other.right


def kind_of(one: Said, other: Said, *, reference: Iterable[str], response: str) -> Judgement:
    """Return why two columns that disagree do.

    Args:
        one: What one says.
        other: What the other says; the order does not matter.
        reference: Texts that the reference amounts to, as far as they are known.
        response: The whole response.
    """
    outcomes = {one.outcome, other.outcome}
    if Outcome.TIMEOUT in outcomes or (one.class_ == "time_limit") is not (other.class_ == "time_limit"):
        return Judgement(FlipKind.TIMEOUT)
    if Outcome.BAD_REFERENCE in outcomes:
        return Judgement(FlipKind.REFERENCE)
    if outcomes & {Outcome.ERROR, Outcome.ABSTAIN}:
        return Judgement(FlipKind.FAILURE)
    if Outcome.NO_ANSWER in outcomes:
        return Judgement(FlipKind.FORMAT)
    if one.read and other.read:
        same = bool({*map(plain, one.read)} & {*map(plain, other.read)})
        return Judgement(FlipKind.EQUIVALENCE if same else FlipKind.EXTRACTION)
    known = one if one.read else other
    if known.read and known.right is not None:
        kind = _inferred(known.read, known.right, list(reference), response)
        if kind is not None:
            return Judgement(kind, inferred=True)
    return Judgement(FlipKind.OTHER)


def is_about(kind: FlipKind, one: Said) -> bool:
    """Whether a disagreement of this kind is about the column that said `one`, and not about the other.

    It is about the column that takes what the other refuses (equivalence), that finds no answer (format), or
    that has no score. Where both read something else there is no telling: False either way round.
    """
    if kind is FlipKind.EQUIVALENCE:
        return one.right is True
    if kind is FlipKind.FORMAT:
        return one.outcome == Outcome.NO_ANSWER
    if kind in (FlipKind.TIMEOUT, FlipKind.REFERENCE, FlipKind.FAILURE):
        return one.score is None or one.class_ == "time_limit"
    return False


def _inferred(read: tuple[str, ...], right: bool, reference: list[str], response: str) -> FlipKind | None:
    """Conclude from one reading and its verdict; the other side says the opposite and not what it read."""
    if not reference:
        return None
    wanted = {plain(text) for text in reference}
    found = {plain(text) for text in read}
    if right:
        # Whoever reads this very text and compares it says right; so the other read something else.
        verbatim = {text.strip() for text in read} & {text.strip() for text in reference}
        return FlipKind.EXTRACTION if verbatim else FlipKind.EQUIVALENCE
    if wanted & found:
        return FlipKind.EQUIVALENCE
    tail = _without_notation(response[-_LONGEST_READING:])
    stands = any(re.search(rf"(?<![\w.]){re.escape(text)}(?!\w|\.\d)", tail) for text in wanted if text)
    return FlipKind.EXTRACTION if stands else FlipKind.EQUIVALENCE


def reading(detail: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return what a verdict's `detail` says was read from the response; None where it says nothing."""
    for key in ANSWER_KEYS:
        if key in detail:
            value = detail[key]
            parts = value if isinstance(value, list | tuple) else [value]
            texts = tuple(_text(part) for part in parts if isinstance(part, str | int | float))
            if texts:
                return texts
    return None


def reference_texts(reference: Any, details: Iterable[Mapping[str, Any]] = ()) -> list[str]:
    """Return what the reference amounts to: as verifiers read it (`gold`), else what it is."""
    read = [
        text
        for detail in details
        for text in (detail["gold"] if isinstance(detail.get("gold"), list) else [])
        if isinstance(text, str) and text
    ]
    if read:
        return [*dict.fromkeys(read)]
    if isinstance(reference, str | int | float) and not isinstance(reference, bool):
        return [_text(reference)]
    if isinstance(reference, list):
        return [_text(part) for part in reference if isinstance(part, str | int | float)]
    if isinstance(reference, dict):
        return [
            _text(reference[k])
            for k in ("value", "answer")
            if isinstance(reference.get(k), str | int | float)
        ]
    return []


def _text(value: str | float) -> str:
    return value[:_LONGEST_READING] if isinstance(value, str) else f"{value}"


_WRAPPER = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|boxed)\s*\{([^{}]*)\}")
_NOTATION = re.compile(r"\\[,;:! ]|\\[()\[\]]|\\left|\\right|\\?[$%]|[*`]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def _without_notation(text: str) -> str:
    text = unicodedata.normalize("NFKC", text)
    text = _WRAPPER.sub(r"\1", text.replace("dfrac", "frac").replace("tfrac", "frac"))
    return _THOUSANDS.sub("", _NOTATION.sub("", text)).casefold()


def plain(text: str) -> str:
    """Return the form in which two readings are compared; numbers as their shortest decimal."""
    bare = "".join(_without_notation(text[:_LONGEST_READING]).split()).strip(".")
    try:
        number = Decimal(bare)
    except InvalidOperation:
        return bare
    if not number.is_finite() or abs(number.adjusted()) > _LONGEST_READING:
        return bare
    digits = f"{number:f}"  # exact, unlike `normalize`, which rounds to the context's 28 digits
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return "0" if number == 0 else digits


MARKS: Mapping[str, re.Pattern[str]] = {
    "a percent sign": re.compile(r"%"),
    "a currency sign": re.compile(r"\\\$|(?<![\\$])\$(?=\s*\d)|[€£¥]"),
    "a thousands separator": re.compile(r"\d(?:,|\\,|\{,\}|[ \u202f\u00a0])\d{3}(?!\d)"),
    "a unit or word behind the number": re.compile(r"\d\s*(?:\\text\s*\{\s*)?(?!e\d|x\b|i\b)[A-Za-z]{2,}"),
    "a LaTeX text wrapper": re.compile(r"\\(?:text|textbf|mathrm|mbox|operatorname)\b"),
    "a degree sign": re.compile(r"°|\\circ|\\degree"),
    "a fraction": re.compile(r"\\[dt]?frac|\d\s*/\s*\d"),
    "a root": re.compile(r"\\sqrt|√"),
    "an equation": re.compile(r"(?<![<>=!\\])=(?!=)"),
    "an inequality": re.compile(r"[<>≤≥≠]|\\(?:le|ge|lt|gt|leq|geq|neq?)\b"),
    "a plus-minus sign": re.compile(r"±|\\pm"),
    "an interval, a pair or a set": re.compile(r"[(\[{]\s*[^()\[\]{}]+,[^()\[\]{}]+[)\]}]"),
    "several values": re.compile(r"(?:\d|[A-Za-z])\s*(?:, +|\band\b|\bor\b)\s*(?:\d|[A-Za-z\\])"),
    "scientific notation": re.compile(r"\d[eE][+-]?\d|\\times\s*10|10\s*\^"),
    "Markdown emphasis": re.compile(r"\*\*|__"),
    "a decimal point": re.compile(r"\d\.\d"),
    "a leading minus": re.compile(r"^\s*(?:\$)?[-\u2212]"),
    "characters beyond ASCII": re.compile(r"[^\x00-\x7f]"),
    "words and no number": re.compile(r"^[^\d\\]*[A-Za-z]{2}[^\d\\]*$"),
    "an option letter": re.compile(r"^\s*\(?[A-J]\)?\.?\s*$"),
}
"""Ways of writing an answer that tell verifiers apart, as they are named to people."""


def marks_of(texts: Iterable[str]) -> list[str]:
    """Return the names of the marks that an answer has."""
    shortened = [text[:200] for text in texts]
    return [name for name, pattern in MARKS.items() if any(map(pattern.search, shortened))]
