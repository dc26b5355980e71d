"""math-verify 0.7.0, with its wall clock taken out.

The verdict is the library's: both texts are read with its patterns and its
readers under its default options, and its `verify` compares what was read.

What counts as equal: whatever math-verify 0.7.0 calls equal with
latex2sympy2-extended 1.10.1 and sympy 1.14.0, its mistakes included. What is
ignored: all but the best match of the library's patterns. What is not
attempted: option letters, tolerances, any word for "answer" but the English.

Of its own kind in this version: **a tautology equals any assignment** (``x=x`` or
``0=0`` for ``x=3``), ``20\\%`` is not 20, ``\\text{12}`` is not 12. On 18,860 pairs
of texts it never differed from 0.6.1.

The reference is text, or a JSON number, taken as its decimal text. One that has
math mode or a box already is read as it is; any other is put into ``\\boxed{}``
first. Math mode is a pair of dollars, ``\\(``, ``\\[`` or a display environment;
``\\$`` is currency and opens nothing. A reference in which the library finds
nothing is a bad reference; a response in which it finds nothing is no answer.

What differs from 0.7.0: nothing of one item is left to the next. There, an item that chains relations
(``3 \\ge x > 1``, ``x = 2y = 4``) could get another verdict after a like item in the same worker.

Five things differ from calling the library, none of them in a verdict of a process that has just started:

1. No SIGALRM. The library gives up after five seconds of wall time, so its answer
   depends on the load of the machine. Here the worker's CPU budget stops it, and
   that is a timeout, not a zero.
2. sympy draws from a random generator that it seeds from the operating system.
   Here it is seeded before each reading and each comparison.
3. The recursion limit counts from the caller of `verify` or `reduce`. The
   parser gives up where it would in a script that calls the library, however
   deep the harness is.
4. The search. The library runs thirteen patterns from every character of the
   response; here each is tried only where a match can begin, which finds the
   same matches in a small part of the time.
5. What sympy keeps of earlier calls is dropped before each item. It hands out one object for all chains of
   the same relations, and the library writes the order of the chain onto that object: the last chain that was
   read decides for all. A chain is read anew in each item for that reason, and no reading of it is kept.

Why the same matches. `finditer` tries positions from left to right, takes the
first that matches and goes on behind the match. Leaving out positions at which a
pattern cannot match therefore changes nothing. A pattern that begins with
``(?i:answer)`` or ``(?i:final answer`` matches at those words only, one that ends
in ``I hope`` needs those letters too. A pattern for boxes in math mode matches at
an opener (``$``, ``\\(``, ``\\[``, or white space and ``[``) from which it can
reach a box, and by way of the first box behind the opener. On that way no
alternative may pass certain text: ``$``, ``\\(`` and ``[`` no line break,
``\\[`` no ``\\]``, ``$$`` no ``$$``. So of all that lies between two boxes only the
openers behind the last such barrier count. The bare box takes all from the first
box to the last brace, and if it fails there, it fails everywhere: the brace is too
near. Plain LaTeX needs an opener with its closer, or a fraction, somewhere in the
text. The two patterns for bare numbers are run as they are.

Why `reduce` is sound. `verify` is a function of the gold text and of what the
library makes of the response: a sympy object and the first text that any match
gave, either of which may be missing. The library makes them of the named groups
of a match alone. For one LaTeX environment, that is a function of the normalized
LaTeX and the percent sign behind it; for a number, of its digits and the percent
sign; for anything else the groups themselves are the key. Matches that cannot be
read leave nothing but that first text. The reduction holds exactly these and the
gold text; `detail` is made of nothing else.
"""

from __future__ import annotations

import logging
import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from latex2sympy2_extended.logic import And
from math_verify import grader, parser
from sympy import Basic, MatrixBase
from sympy.core.cache import clear_cache
from sympy.core.random import seed

MATH_MODE = re.compile(
    r"\\boxed"
    r"|(?<!\\)\$.+?(?<!\\)\$"
    r"|(?<!\\)\\[(\[]"
    r"|\\begin\{(?:math|displaymath|equation|align|alignat|flalign|gather|multline|eqnarray)\*?\}",
    re.DOTALL,
)
"""What makes a reference mathematics already, so that no box is put around it."""

BOX = "\\boxed{"
OPENER = re.compile(r"\$|\\[(\[]|\s\[")
FOLDED_INTO_ASCII = "\u0130\u0131\u017f"
"""The characters beyond ASCII that ``(?i:final answer)`` takes for one of its letters (i, i, s)."""

RECURSION_LIMIT = 1000
"""Frames that the library may use, counted from the caller; Python's default."""
SHOWN_CHARACTERS = 200
"""Length at which a text in `detail` is cut off."""
REMEMBERED = 2048
"""How many readings are kept for the next item."""
REMEMBERED_CHARACTERS = 256
"""Longest text whose reading is kept, so that memory stays small whatever comes."""
REDUCED_CHARACTERS = 4096
"""Longest text worth a reduction; longer answers do not repeat."""

Starts = Callable[[str], Iterator[int]]


class _OutOfMemoryError(BaseException):
    """Carries a MemoryError past the library, which would make a False of it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the library makes of one match."""

    expression: Any
    """The sympy object, or None when the match could not be read."""
    text: str
    """The extracted text as the library normalized it."""
    key: list[Any]
    """A JSON value that determines `expression`."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What `parse` of the library returns for one text, and where it came from."""

    values: list[Any]
    """What the library's `verify` takes: the sympy object, then the first text; either may be missing."""
    texts: list[str]
    """The text of the sympy object and, where it is another, the first text."""
    key: list[Any]
    """A JSON value that determines `values` and `texts`."""


def verify(item: dict[str, Any]) -> dict[str, Any]:
    """Return the library's verdict on one item.

    Raises:
        MemoryError: The memory limit was met while two expressions were read or compared.
    """
    gold_text = _gold_text(item["reference"])
    if gold_text is None:
        return _verdict("bad_reference", None, reason="the reference must be text or a finite number")
    outer = sys.getrecursionlimit()
    sys.setrecursionlimit(RECURSION_LIMIT + _frames_outside())
    clear_cache()
    try:
        gold = _parse(gold_text)
        if not gold.values:
            return _verdict("bad_reference", None, reason="nothing in the reference can be read")
        answer = _parse(item["response"])
        shown = {"gold": _shown(gold.texts), "answer": _shown(answer.texts)}
        if not answer.values:
            return _verdict("no_answer", 0.0, **shown)
        seed(0)
        return _verdict("scored", float(grader.verify(gold.values, answer.values)), **shown)
    except _OutOfMemoryError as exc:
        raise MemoryError("out of memory while comparing two expressions") from exc
    finally:
        sys.setrecursionlimit(outer)


def reduce(item: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the verdict depends on: the gold text and what the response was read as.

    It costs the search and, for an answer that was not met lately, its reading;
    nothing is compared. None for a bad reference and for answers too long to repeat.
    """
    gold_text = _gold_text(item["reference"])
    if gold_text is None:
        return None
    outer = sys.getrecursionlimit()
    sys.setrecursionlimit(RECURSION_LIMIT + _frames_outside())
    clear_cache()
    try:
        answer = _parse(item["response"])
    except _OutOfMemoryError as exc:
        raise MemoryError("out of memory while reading the response") from exc
    finally:
        sys.setrecursionlimit(outer)
    texts = (gold_text, *answer.texts)
    if sum(map(len, texts)) > REDUCED_CHARACTERS or not all(map(_is_unicode, texts)):
        return None
    return {"gold": gold_text, "answer": answer.key}


def _verdict(outcome: str, score: float | None, **detail: Any) -> dict[str, Any]:
    return {"outcome": outcome, "score": score, "detail": detail}


def _shown(texts: list[str]) -> list[str]:
    """Return the texts cut to a bounded length and free of lone surrogates."""
    cut = (text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…" for text in texts)
    return [text.encode("utf-8", "backslashreplace").decode() for text in cut]


def _is_unicode(text: str) -> bool:
    """Tell whether the text has a UTF-8 form, that is, no lone surrogate."""
    return text.isascii() or text == text.encode("utf-8", "replace").decode()


def _gold_text(reference: Any) -> str | None:
    """Return the text that the gold is read from, or None when the reference is neither text nor a number."""
    if isinstance(reference, bool) or not isinstance(reference, (str, int, float)):
        return None
    if isinstance(reference, float):
        if not math.isfinite(reference):
            return None
        reference = format(Decimal(repr(reference)), "f")
    if isinstance(reference, int):
        reference = format(Decimal(reference), "f")
    return reference if MATH_MODE.search(reference) else f"\\boxed{{{reference}}}"


def _frames_outside() -> int:
    """Return the depth of our caller's caller.

    A call of the library from a function of a script and a call of `verify` from depth one then leave
    the library the same number of frames, both for reading and for comparing.
    """
    frame, depth = sys._getframe(2), 0
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


# ---- the library without its clock ------------------------------------------------------------------------


def _untimed(timeout_seconds: int | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Stand in for the library's decorator `timeout`: the same call depth, but no alarm."""
    return _letting_memory_errors_out


def _letting_memory_errors_out(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except MemoryError as exc:
            raise _OutOfMemoryError from exc

    return call


def _remembering(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function of one text with its results kept, in the place of the library's cache of twenty."""
    remembered: dict[str, Any] = {}

    def call(text: str) -> Any:
        if text in remembered:
            return remembered[text]
        try:
            expression = function(text)
        except MemoryError as exc:
            raise _OutOfMemoryError from exc
        _remember(remembered, text, expression, expression, len(text))
        return expression

    return call


def _remember(known: dict[Any, Any], key: Any, value: Any, expression: Any, characters: int) -> None:
    """Keep a value for the next item, unless it is long or its expression can change under its holder."""
    if characters > REMEMBERED_CHARACTERS or _has_order(expression):
        return
    if len(known) >= REMEMBERED:
        known.clear()
    known[key] = value


def _has_order(expression: Any) -> bool:
    """Tell whether an expression holds a chain of relations, whose order the library writes onto a shared object."""
    return isinstance(expression, (Basic, MatrixBase)) and bool(expression.has(And))


grader.timeout = _untimed
parser.parse_latex_cached = _remembering(parser.parse_latex_cached.__wrapped__)
for _name in ("math_verify", "latex2sympy2_extended"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


# ---- where each pattern can match -------------------------------------------------------------------------


def _words(text: str, word: str) -> Iterator[int]:
    """Yield where the lower-case ASCII `word` stands in the text, in whatever case."""
    if not text.isascii() and any(odd in text for odd in FOLDED_INTO_ASCII):
        yield from (match.start() for match in re.finditer(word, text, re.IGNORECASE))
        return
    folded, sought = text.encode("ascii", "replace").lower(), word.encode("ascii")
    position = folded.find(sought)
    while position >= 0:
        yield position
        position = folded.find(sought, position + 1)


def _at_hope(text: str) -> Iterator[int]:
    return _words(text, "final answer is") if "I hope" in text else iter(())


def _at_final_answer(text: str) -> Iterator[int]:
    return _words(text, "final answer")


def _at_answer(text: str) -> Iterator[int]:
    return _words(text, "answer")


def _at_first_box(text: str) -> Iterator[int]:
    position = text.find(BOX)
    return iter((position,) if position >= 0 else ())


def _at_opener_of_box(text: str) -> Iterator[int]:
    """Yield the openers from which the next box can be reached."""
    behind, box = 0, text.find(BOX)
    while box >= 0:
        barrier = max(text.rfind("\n", behind, box), behind)
        dollars = text.rfind("$$", behind, box)
        if dollars >= 0:
            barrier = min(barrier, max(dollars - 1, behind))
        bracket = text.find("\\[", max(text.rfind("\\]", behind, box), behind), box)
        if bracket >= 0:
            barrier = min(barrier, bracket)
        yield from (match.start() for match in OPENER.finditer(text, barrier, box))
        behind = box + 1
        box = text.find(BOX, behind)


def _has_math(text: str) -> bool:
    """Tell whether the plain LaTeX pattern can match at all."""
    return (
        "$" in text or ("\\(" in text and "\\)" in text) or ("[" in text and "]" in text) or "\\frac{" in text
    )


def _finder(pattern: re.Pattern[str]) -> Callable[[str], Iterator[re.Match[str]]]:
    """Return a function that finds what ``pattern.finditer`` finds."""
    source = pattern.pattern
    if source.startswith("(?i:final answer is)"):
        starts: Starts = _at_hope
    elif source.startswith("(?i:final answer"):
        starts = _at_final_answer
    elif source.startswith("(?i:answer)"):
        starts = _at_answer
    elif source.startswith("(?P<first_latexBoxed>"):
        starts = _at_first_box
    elif "\\\\boxed{" in source:
        starts = _at_opener_of_box
    elif "latexFraction" in source:
        return lambda text: pattern.finditer(text) if _has_math(text) else iter(())
    else:
        return pattern.finditer

    def find(text: str) -> Iterator[re.Match[str]]:
        behind = 0
        for start in starts(text):
            if start >= behind and (match := pattern.match(text, start)):
                yield match
                behind = match.end()

    return find


def _groups() -> list[list[tuple[Callable[[str], Iterator[re.Match[str]]], Any]]]:
    """Return the library's patterns in its order of priority, each as a finder with its target."""
    by_priority: dict[int, list[tuple[Callable[[str], Iterator[re.Match[str]]], Any]]] = {}
    targets = (parser.LatexExtractionConfig(), parser.ExprExtractionConfig())
    for patterns, target in parser.get_extraction_regexes(targets):
        for pattern, priority in patterns:
            by_priority.setdefault(priority, []).append((_finder(pattern), target))
    return [by_priority[priority] for priority in sorted(by_priority)]


GROUPS = _groups()


def _candidates(text: str) -> Iterator[tuple[re.Match[str], Any]]:
    """Yield matches in the order in which the library tries them: by priority, then from the right."""
    for group in GROUPS:
        found = [(match, target) for find, target in group for match in find(text)]
        found.sort(key=lambda pair: (pair[0].end(), -pair[0].start()), reverse=True)
        yield from found


# ---- reading ----------------------------------------------------------------------------------------------

_readings: dict[tuple[tuple[str, str], ...], Reading] = {}


def _parse(text: str) -> Parsed:
    """Return what the library's `parse` returns: the first match that can be read, and the first text."""
    first_text = ""
    for match, target in _candidates(text):
        try:
            reading = _read(match, target)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001  the library's own rule: an error while reading leaves nothing at all
            return Parsed([], [], [])
        first_text = first_text or reading.text
        if reading.expression is not None:
            values = [reading.expression, first_text] if first_text else [reading.expression]
            texts = [reading.text] if reading.text == first_text else [reading.text, first_text]
            return Parsed(values, texts, [*reading.key, first_text])
    texts = [first_text] if first_text else []
    return Parsed(list(texts), texts, list(texts))


def _read(match: re.Match[str], target: Any) -> Reading:
    """Return what the library reads from one match; it depends on the named groups alone."""
    groups = tuple((name, value) for name, value in match.groupdict().items() if value)
    reading = _readings.get(groups)
    if reading is None:
        reading = _read_anew(match, target, groups)
        characters = sum(len(value) for _, value in groups)
        _remember(_readings, groups, reading, reading.expression, characters)
    return reading


def _read_anew(match: re.Match[str], target: Any, groups: tuple[tuple[str, str], ...]) -> Reading:
    seed(0)
    expression, text = parser.extract_match(match, target)
    return Reading(expression, text, _key(groups, text))


def _key(groups: tuple[tuple[str, str], ...], text: str) -> list[Any]:
    """Return what determines the sympy object made of these groups, `text` being the text made of them."""
    names = [name for name, _ in groups]
    environments = sum("_latex" in name for name in names)
    if environments == 1:
        return ["latex", text, any(name.endswith("_percent") for name in names)]
    if not environments and "expr" not in names:
        return ["number", text, "percent" in names]
    return [[name, value] for name, value in groups]
