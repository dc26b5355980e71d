"""One number against another, in exact arithmetic, under tolerances and roundings that the item declares.

What counts as equal: the number read from the response and the reference have the same value, or differ by no
more than a declared tolerance, or agree after a declared rounding. Values are fractions of whole numbers,
never floats: 0.1 is one tenth, and a tolerance of 0.1 admits 3.2 for 3.1. What is ignored: text, currency and
(unless the reference names one) units around the number. What is not attempted: evaluating expressions; a
number that is only a piece of one (an operand, a root, a bound, half of a range) is no answer. The manifest's
description has the rules in full.

What differs from 1.3.0: a number that is understood in part only is refused, where its first or last part was
read. 1.3.0 listed what makes a number a piece of an expression; now what may touch a number is listed
(`_LEFT`, `_RIGHT`, `_UNIT`), and anything else is a piece of an expression. So 1_000 is 1000, 5 hundred is 500; 5k,
0x1F, 2x, 101_2, |-5|, 5+ and 5‰ are refused. The manifest lists both kinds. A refusal is no answer and no wrong one:
a composite may ask a judge then, which it does not where a wrong number was read.

How it works: the place the answer stands in is found first (`_answer`), its LaTeX, Unicode and Markdown are
rewritten into one plain notation (`_plain`), one pattern finds everything that looks like a number in it
(`_NUMBER`), and each find is read, passed over (an exponent or a name such as x_2) or refused (`_read`): by what
touches it on the left (`_check_left`) and on the right (`_check_right`), each looked at through a window of `_REACH`.

There is no `reduce`: reading the number is most of the work. Standard library only. Linear in the length of
the response: patterns with more than one repetition only ever see `MAX_TAIL` characters.
"""

# ruff: noqa: RUF001 - the tables name the very characters that they rewrite

from __future__ import annotations

import html
import math
import re
import unicodedata
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, NamedTuple

MAX_TAIL = 10_000
"""Characters from the end of a response that are searched for its last number."""

MAX_FIELD = 1_000
"""Characters that a box, a marked answer, a whole answer or a reference text may have."""

MAX_DIGITS = 1_000
"""Digits of one number, and the largest power of ten."""

MAX_SHOWN = 80
"""Characters of an answer that a verdict's detail repeats."""

REFERENCE_KEYS = {"value", "absolute_tolerance", "relative_tolerance", "decimals", "significant", "unit"}


class UnreadableError(Exception):
    """There is no single number where one was looked for; `code` is stable, the message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Number(NamedTuple):
    """A number as read."""

    value: Fraction
    """The value, with a scale word (million) applied and a percent sign not applied."""
    percent: bool
    """A percent sign or the word percent followed."""
    currency: str
    """The currency sign before it, or nothing."""
    rest: str
    """The plain text behind the digits, where a unit would stand."""
    text: str
    """The digits as they were read."""


class Target(NamedTuple):
    """A reference, with what counts as near to it."""

    number: Number
    absolute: Fraction
    relative: Fraction
    decimals: int | None
    significant: int | None
    units: tuple[str, ...]


# ---- the verdict


def verify(item: dict[str, Any]) -> dict[str, Any]:
    """Score 1 when the response's number equals the reference as declared, else 0.

    Args:
        item: `response` (str), `reference` (number, text, or object as the manifest says), `params`.

    Returns:
        The verdict; `detail` has the number as it was read and, when equal, by which rule.
    """
    params = item.get("params") or {}
    try:
        target = _target(item["reference"], params)
    except UnreadableError as problem:
        return {"outcome": "bad_reference", "score": None, "detail": _explain(problem)}
    try:
        number = _answer(item["response"], params, target.units)
    except UnreadableError as problem:
        return {"outcome": "no_answer", "score": 0.0, "detail": _explain(problem)}
    detail = {"answer": _shown(number.text)}
    if target.units and not any(_has_unit(number, unit) for unit in target.units):
        return {"outcome": "scored", "score": 0.0, "detail": detail | {"code": "unit_missing"}}
    rule = _equal_by(number, target, params)
    return {
        "outcome": "scored",
        "score": 1.0 if rule else 0.0,
        "detail": detail | ({"by": rule} if rule else {}),
    }


def _equal_by(number: Number, target: Target, params: dict[str, Any]) -> str | None:
    """Return the name of the first rule under which the two are equal, or None."""
    for value, goal in _pairs(number, target.number, params.get("percent", "drop")):
        gap = abs(value - goal)
        if gap == 0:
            return "value"
        if gap <= target.absolute:
            return "absolute_tolerance"
        if gap <= target.relative * abs(goal):
            return "relative_tolerance"
        mode = params.get("rounding", "half_up")
        if target.decimals is not None and _rounded(value, target.decimals, mode) == _rounded(
            goal, target.decimals, mode
        ):
            return "decimals"
        if target.significant is not None and goal != 0:
            places = target.significant - 1 - _magnitude(goal)
            if _rounded(value, places, mode) == _rounded(goal, places, mode):
                return "significant"
    return None


def _pairs(number: Number, goal: Number, percent: str) -> list[tuple[Fraction, Fraction]]:
    """Return the pairs of values to compare under the declared meaning of a percent sign."""
    plain = (number.value, goal.value)
    scaled = tuple(n.value / 100 if n.percent else n.value for n in (number, goal))
    if percent == "drop" or number.percent == goal.percent:
        return [plain]
    hundredth = (scaled[0], scaled[1])
    return [hundredth] if percent == "hundredth" else [plain, hundredth]


def _rounded(value: Fraction, places: int, mode: str) -> int:
    """Return `value` in units of 10 to the minus `places`, rounded half away from zero or half to even."""
    scaled = value * Fraction(10) ** places
    if mode == "half_even":
        return round(scaled)
    whole = math.floor(abs(scaled) + Fraction(1, 2))
    return -whole if scaled < 0 else whole


def _magnitude(value: Fraction) -> int:
    """Return the exponent of the first digit of a value that is not 0: 2 for 345, -3 for 0.0012."""
    value = abs(value)
    guess = len(str(value.numerator)) - len(str(value.denominator))
    return guess if value >= Fraction(10) ** guess else guess - 1


def _has_unit(number: Number, unit: str) -> bool:
    """Tell whether `unit` (in plain notation) stands at the number and ends there."""
    if number.currency == unit:
        return True
    rest = number.rest.replace("{", "").replace("}", "").lstrip(f" {THIN}")
    return rest.startswith(unit) and not _MORE_OF_A_UNIT.match(rest, len(unit))


def _explain(problem: UnreadableError) -> dict[str, Any]:
    return {"code": problem.code, "message": _shown(str(problem))}


def _shown(text: str) -> str:
    """Cut a text for the detail and replace lone surrogates, which no JSON reader is bound to accept."""
    return text[:MAX_SHOWN].encode("utf-8", "replace").decode("utf-8")


# ---- the reference


def _target(reference: Any, params: dict[str, Any]) -> Target:
    """Read a reference; what it says itself wins over the parameters."""
    given: dict[str, Any] = reference if isinstance(reference, dict) else {"value": reference}
    if "value" not in given or not given.keys() <= REFERENCE_KEYS:
        known = ", ".join(sorted(REFERENCE_KEYS))
        raise UnreadableError("bad_object", f"a reference object needs `value` and may have only {known}")
    wanted = {**params, **given}
    return Target(
        _reference_number(given["value"], params),
        _tolerance(wanted.get("absolute_tolerance", 0), "absolute_tolerance"),
        _tolerance(wanted.get("relative_tolerance", 0), "relative_tolerance"),
        _places(wanted.get("decimals"), "decimals", -100),
        _places(wanted.get("significant"), "significant", 1),
        () if params.get("units") == "ignore" else _units(given.get("unit")),
    )


def _reference_number(value: Any, params: dict[str, Any]) -> Number:
    if isinstance(value, str):
        if len(value) > MAX_FIELD:
            raise UnreadableError("too_long", f"a reference text has at most {MAX_FIELD} characters")
        box = _last_box(value)
        return _single(value[box.start : box.end] if box else value, params)
    return Number(_json_number(value, "the reference"), False, "", "", "")


def _json_number(value: Any, what: str) -> Fraction:
    """Return a JSON number exactly; a float means the decimal digits that it is written with."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= 3 * MAX_DIGITS:
        return Fraction(value)
    if isinstance(value, float) and math.isfinite(value):
        return Fraction(Decimal(repr(value)))
    raise UnreadableError("not_a_number", f"{what} must be a finite number of at most {MAX_DIGITS} digits")


def _tolerance(value: Any, name: str) -> Fraction:
    if isinstance(value, str) and len(value) <= MAX_SHOWN:
        try:
            value = float(Decimal(value)) if abs(Decimal(value)) < 10 else int(Decimal(value))
        except (InvalidOperation, ValueError, OverflowError):
            value = None
    tolerance = _json_number(value, name)
    if tolerance < 0:
        raise UnreadableError("bad_tolerance", f"{name} must not be negative")
    return tolerance


def _places(value: Any, name: str, least: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 100:
        raise UnreadableError("bad_rounding", f"{name} must be a whole number from {least} to 100")
    return value


def _units(value: Any) -> tuple[str, ...]:
    spellings = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(unit, str) and 0 < len(unit) <= MAX_SHOWN and unit.strip() for unit in spellings):
        raise UnreadableError(
            "bad_unit", f"unit must be a text of 1 to {MAX_SHOWN} characters, or a list of such"
        )
    return tuple(_plain(unit).replace("{", "").replace("}", "").strip() for unit in spellings)


# ---- where the answer stands


def _answer(response: str, params: dict[str, Any], units: tuple[str, ...] = ()) -> Number:
    """Read the response's number from the place that `extract` declares; `units` are what may stand at it."""
    how = params.get("extract", "boxed_else_last")
    if how in ("boxed", "boxed_else_last"):
        box = _last_box(response)
        if box is not None:
            number = _single(_bounded(response[box.start : box.end], "the box"), params, units)
            _check_alone(response, box, number, params)
            return number
        if how == "boxed":
            raise UnreadableError("no_box", "the response has no complete box")
    if how == "after_marker":
        marker = params.get("marker", "Answer:")
        _, found, rest = response.rpartition(marker)
        if not found:
            raise UnreadableError("no_marker", f"the response has no {marker!r}")
        return _single(_bounded(rest.partition("\n")[0], "the marked answer"), params, units)
    if how == "whole":
        return _single(_bounded(response, "the response"), params, units)
    return _last(response, params, units)


def _check_alone(response: str, box: Box, number: Number, params: dict[str, Any]) -> None:
    """Refuse the last box where another one is joined to it, or stands beside it and holds another number."""
    if box.other is None:
        return
    start, end, behind = box.other
    gap = response[behind : box.start][:MAX_JOINT]
    if _JOINED.fullmatch(gap):
        raise UnreadableError("several_numbers", "the last box is joined to another one")
    if _BESIDE.fullmatch(gap):
        try:
            other = _single(_bounded(response[start:end], "the box"), params)
        except UnreadableError:
            return
        if (other.value, other.percent) != (number.value, number.percent):
            raise UnreadableError("several_numbers", "another box stands beside the last one")


def _bounded(text: str, what: str) -> str:
    text = text.strip()
    if len(text) > MAX_FIELD:
        raise UnreadableError("too_long", f"{what} has more than {MAX_FIELD} characters")
    return text


_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox)[ \t]{0,8}\{|\\.|[{}]", re.DOTALL)


MAX_JOINT = 120
"""Characters between two boxes that may join them."""

_GAP = (
    r"(?:[\s$,;~{}]|\\[ ,;:!()\[\]]|\\q?quad|\\(?:text|textbf|textit|textrm|mathrm|mbox)(?![A-Za-z])){0,16}"
)
_JOINED = re.compile(
    rf"{_GAP}(?:or|and|oder|und|ou|et|o|y|或|和|或者|\\(?:lor|vee)){_GAP}(?:\\(?:boxed|fbox)\s?\{{)+",
    re.IGNORECASE,
)
_BESIDE = re.compile(rf"{_GAP}[./&|]?{_GAP}(?:\\(?:boxed|fbox)\s?\{{)+")


class Box(NamedTuple):
    """A complete box."""

    start: int
    """Where its content begins."""
    end: int
    """Where its content ends."""
    other: tuple[int, int, int] | None
    """Of the box that was complete before it began: the content, and where that box ended."""


def _last_box(text: str) -> Box | None:
    """Return the complete box that begins last. One pass with a stack."""
    open_braces: list[int] = []
    last: Box | None = None
    closed: tuple[int, int, int] | None = None
    for token in _BOX_TOKEN.finditer(text):
        brace = token.group()
        if brace == "}":
            if open_braces and (begin := open_braces.pop()) >= 0:
                if last is None or begin > last.start:
                    last = Box(begin, token.start(), closed)
                closed = (begin, token.start(), token.end())
        elif brace == "{":
            open_braces.append(-1)
        elif brace.endswith("{") and brace != "\\{":
            open_braces.append(token.end())
    return last


def _single(text: str, params: dict[str, Any], units: tuple[str, ...] = ()) -> Number:
    """Return the only number of a short text. Behind the last equals sign, if one name stands before it."""
    plain = _plain(text).strip()
    left, equals, right = _EQUALS.sub("=", plain).rpartition("=")
    if (
        equals and not _LIST.search(left) and not _NUMBER.fullmatch(left.strip(" ({+-"))
    ):  # 36 = 36 says nothing
        plain = right.strip()
        if _DENIED.search(left):
            raise UnreadableError("expression", "the equals sign before the answer is denied")
    finds = [_read(plain, found, params, units, field=True) for found in _NUMBER.finditer(plain)]
    numbers = [number for number in finds if number is not None]
    if len(numbers) > 1:
        raise UnreadableError("several_numbers", "there is more than one number where one answer is expected")
    if not numbers:
        raise UnreadableError("no_number", "there is no number where the answer should stand")
    if _UNKNOWNS.search(plain):
        raise UnreadableError("several_numbers", "something stands beside the number that is no number")
    return numbers[0]


def _last(response: str, params: dict[str, Any], units: tuple[str, ...] = ()) -> Number:
    """Return the last number of a response that is not passed over."""
    plain = _plain(response[-MAX_TAIL:])
    cut = len(response) > MAX_TAIL
    for found in reversed(list(_NUMBER.finditer(plain))):
        if cut and found.start() == 0:
            break
        number = _read(plain, found, params, units, field=False)
        if number is not None:
            return number
    raise UnreadableError("no_number", f"the last {MAX_TAIL} characters of the response have no number")


# ---- one plain notation

THIN = "\u2009"  # a grouping space: stands for every no-break and narrow space, and for LaTeX's \,
JOIN = "\u2064"  # stands before a fraction that was drawn as one piece, so that 1½ is not 11/2

_DRAWN = {
    "½": "1∕2", "⅓": "1∕3", "⅔": "2∕3", "¼": "1∕4", "¾": "3∕4", "⅕": "1∕5", "⅖": "2∕5", "⅗": "3∕5", "⅘": "4∕5",
    "⅙": "1∕6", "⅚": "5∕6", "⅛": "1∕8", "⅜": "3∕8", "⅝": "5∕8", "⅞": "7∕8", "⅐": "1∕7", "⅑": "1∕9", "⅒": "1∕10",
}  # fmt: skip
_CHARACTERS = {
    **{ord(c): THIN for c in "\u00a0\u2007\u2009\u202f"},
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212\ufe63"), "-"),
    **dict.fromkeys(map(ord, "\u00b7\u22c5\u2217\u2715\u2219\u2a2f"), "×"),
    **dict.fromkeys(map(ord, "\u223c\u301c"), "~"),
    **{ord(c): JOIN + fraction for c, fraction in _DRAWN.items()},
    **{0x2080 + digit: f"_{{{digit}}}" for digit in range(10)},
    # drawn as nothing: zero-width characters and marks of the reading direction, save those that turn digits round
    **dict.fromkeys([0xAD, 0x61C, *range(0x200B, 0x2010), 0x202A, 0x202B, 0x202C, *range(0x2060, 0x206A), 0xFEFF], ""),
    0x066B: ".", 0x066C: ",", 0x066A: "%", 0xFE6A: "%", 0xFFE5: "¥", 0xFFE1: "£", 0x2044: "∕", 0x2215: "∕", 0x2213: "±",
    0x2019: "'", 0x2236: ":", 0x3BC: "µ", 0x2126: "Ω",
}  # fmt: skip
_NOTHING = frozenset(
    [
        "text",
        "textbf",
        "textit",
        "textrm",
        "textsf",
        "texttt",
        "mathrm",
        "mathbf",
        "mathit",
        "mathsf",
        "mathtt",
        "mbox",
        "boxed",
        "fbox",
        "operatorname",
        "bf",
        "rm",
        "displaystyle",
        "textstyle",
        "left",
        "right",
        "big",
        "Big",
        "bigl",
        "bigr",
        "Bigl",
        "Bigr",
        "!",
        "limits",
    ]
)
_COMMANDS = {
    **dict.fromkeys(["dfrac", "tfrac", "cfrac", "frac"], "\\frac"),
    **dict.fromkeys(["quad", "qquad", ";", ":", " ", "(", ")", "[", "]", "\\", "\n", "_"], " "),
    **dict.fromkeys(["times", "cdot", "ast"], "×"),
    **dict.fromkeys(["approx", "simeq", "sim", "thickapprox"], "≈"),
    **dict.fromkeys(["le", "leq", "leqslant"], "≤"),
    **dict.fromkeys(["ge", "geq", "geqslant"], "≥"),
    **dict.fromkeys(["ne", "neq"], "≠"),
    **dict.fromkeys(["pm", "mp"], "±"),
    **dict.fromkeys(["ldots", "dots", "cdots"], "…"),
    **dict.fromkeys(["circ", "degree"], "°"),
    "infty": "∞",
    **dict.fromkeys(["vert", "lvert", "rvert", "mid", "|"], "∣"),
    ",": THIN, "%": "%", "$": "$", "#": "#", "{": "(", "}": ")", "div": "÷", "lt": "<", "gt": ">",
    "sqrt": "√", "pi": "π", "pounds": "£", "euro": "€", "yen": "¥", "mu": "µ", "Omega": "Ω",
}  # fmt: skip
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")

_STYLED = re.compile("[\uff02-\uff5e\U0001d400-\U0001d7ff]")
"""Full-width signs, save the exclamation mark of Chinese prose, and letters and digits of mathematical fonts."""
_DIGIT = re.compile(r"(?![0-9])\d")
_TOUCHED = re.compile(rf"([{''.join(_DRAWN)}])(?=[0-9])")
"""A fraction of one sign with a digit behind it."""
_LAID_OUT = re.compile(r"\\(?:begin|end)\{(?:align(?:ed)?|equation|gather(?:ed)?|split|multline)\*?\}")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")

_DASH = re.compile(r"(?<=[0-9])[\u2014\u2015](?=[$€£¥₹]?[0-9])")
"""A long dash: a range between two digits, and punctuation anywhere else."""
_COMMAND = re.compile(r"\\([A-Za-z]+|.)", re.DOTALL)
_DRAWN_FRACTION = re.compile(
    r"\\frac ?(?:\{ ?([+-]?)([0-9][0-9.,\u2009]*) ?\}|()([0-9]))"
    r" ?(?:\{ ?([+-]?)([0-9][0-9.,\u2009]*) ?\}|()([0-9]))(?![0-9])"
)
_SUPERSCRIPT = re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+")
_BOLD = re.compile(r"(?<![A-Za-z0-9)\]}])\*\*|\*\*(?![A-Za-z0-9(\\]|[+-][0-9])")
_TAG = re.compile(r"(?<![A-Za-z0-9)}\]])<[A-Za-z][A-Za-z0-9_-]{0,30}>|</[A-Za-z][A-Za-z0-9_-]{0,30}>")
_REWRITES = (
    (re.compile(rf"(?<=[0-9])(?: ?(?:{_TAG.pattern}))+ ?(?=[0-9])"), "\n"),
    (re.compile(r"<sup>([+-]?[0-9]{1,9})</sup>", re.IGNORECASE), r"^\1"),
    (re.compile(r"<sub>([A-Za-z0-9]{1,9})</sub>", re.IGNORECASE), r"_\1"),
    (re.compile(r"</?(?:del|strike)>", re.IGNORECASE), "~~"),
    (re.compile(r"(?m)^ ?=>"), "→"),
    (re.compile(r"<br ?/?>", re.IGNORECASE), " "),
    (re.compile(r"<\|[^<>|\n]{1,40}\|>"), " "),
    (re.compile(r"\^\{ ?([+-]) ([0-9]+) ?\}"), r"^\1\2"),
    (_TAG, " "),
    (re.compile(r"[-=]{2,9}>|->|[⇒⟶⟹⇨➜➡]|\\(?:Rightarrow|implies)(?![A-Za-z])"), "→"),
    (re.compile(r"\+ ?/ ?-|-/\+"), "±"),
    (re.compile(r">="), "≥"),
    (re.compile(r"<="), "≤"),
    (re.compile(r"\^\{? ?° ?\}?"), "°"),
    (re.compile(r"\{([,+-])\}"), r"\1"),
    (re.compile(r"\^\{ ?([+-]?[0-9]+) ?\}"), r"^\1"),
    (re.compile(r"[ \t]+"), " "),
    (
        re.compile(r"(?<![0-9A-Za-z_.,])[1-9][0-9]{0,2}(?:_[0-9]{3})+(?![0-9A-Za-z_])"),
        lambda f: f[0].replace("_", ""),
    ),
    (
        re.compile(r"(?<![0-9.,_^])(?<![0-9] )[1-9][0-9]{0,2}(?: [0-9]{3})+(?![0-9/∕]| [0-9])"),
        lambda f: f[0].replace(" ", THIN),
    ),
)
_EQUALS = re.compile(r"[=≈]")
_DENIED = re.compile(r"(?:[!/]|\\not ?|≠ ?)\Z")
_LIST = re.compile(r"[,;]|\b(?:or|and|oder|ou|o|y|und|et)\b|或|和")


def _plain(text: str) -> str:
    """Rewrite LaTeX, Unicode and Markdown spellings of numbers into one notation."""
    text = _TOUCHED.sub(r"\1^", _ENTITY.sub(lambda found: html.unescape(found[0]), text)).translate(
        _CHARACTERS
    )
    if not text.isascii():
        text = _STYLED.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
        text = _DIGIT.sub(lambda found: str(int(found[0])), text)
    text = _LAID_OUT.sub(" ", _DASH.sub("-", text))
    text = _COMMAND.sub(lambda found: _command(found[1]), text)
    text = _BOLD.sub("", _SUPERSCRIPT.sub(lambda found: "^" + found[0].translate(_SUPERSCRIPTS), text))
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return _DRAWN_FRACTION.sub(_drawn, text)


def _drawn(found: re.Match[str]) -> str:
    """Return a fraction as one piece; two signs of its parts cancel, or are one."""
    signs = {found[1] or "+", found[5] or "+"}
    sign = "-" if len(signs) == 2 else "+" if found[1] and found[5] != "-" and found[1] == "+" else ""
    return f"{sign}{JOIN}{found[2] or found[4]}∕{found[6] or found[8]}"


def _command(name: str) -> str:
    """Return what a LaTeX command becomes; an unknown one stays, and makes what it touches unreadable."""
    return "" if name in _NOTHING else _COMMANDS.get(name, f"\\{name}")


# ---- one number

_RUN = r"[.,]?[0-9](?:[0-9.,'\u2009]*[0-9])?"
_NUMBER = re.compile(
    rf"(?P<run>{_RUN})"
    r"(?:[eE](?P<exponent>[+-]?[0-9]+)(?![0-9A-Za-z])"
    r"| ?[×x*] ?10(?:\^|\*\*)\(?(?P<power>[+-]?[0-9]+)\)?"
    r"|(?:\^|\*\*)\(?(?P<raised>[+-]?[0-9]+)\)?"
    rf"|(?:[ {THIN}]?{JOIN}| )(?P<top>[0-9]+)[/∕](?P<bottom>[0-9]+)"
    rf"| ?[/∕] ?(?P<divisor>{_RUN}))?"
)
_GROUPED = r"[1-9][0-9]{0,2}(?:\u2009[0-9]{3})+|[1-9][0-9]{0,2}(?:'[0-9]{3})+"
_SHAPES = {
    "point": re.compile(rf"([1-9][0-9]{{0,2}}(?:,[0-9]{{3}})+|{_GROUPED}|[0-9]*)(?:\.([0-9]+))?"),
    "comma": re.compile(rf"([1-9][0-9]{{0,2}}(?:\.[0-9]{{3}})+|{_GROUPED}|[0-9]*)(?:,([0-9]+))?"),
}
_MONEY = "[$¢£¤¥฿\u20a0-\u20c0]"
_LEAD = re.compile(rf"([+-]?)([ {THIN}]?)[{{(]?({_MONEY}?)[ {{]?([+-]?)[{{{JOIN}]*\Z")
_CURRENCY_CODE = re.compile(
    r"(?<![A-Za-z])(?P<sign>[+-]?)(?:USD|US|EUR|GBP|CNY|RMB|INR|Rs|RM|CHF|AUD|CAD|HK|A|C) ?\Z"
)
_ALONE = frozenset({"US", "HK", "A", "C"})
"""What is a currency only with a sign behind it: A4 is a name."""
_PASSED_OVER = re.compile(r"(?:[A-Za-z]|(?:\^|[A-Za-z0-9)}\]](?:_|\*\*))[{(]?[+-]?)\Z")
_FUNCTION = re.compile(
    r"(?:\\[A-Za-z]+(?:_(?:[A-Za-z0-9]|\{[A-Za-z0-9]{1,10}\}))? ?"
    r"|(?<![A-Za-z\\])(?:log|ln|lg|lb|sqrt|cbrt|exp|(?:arc|a)?(?:sin|cos|tan|cot)h?|sec|csc)(?:_?[0-9]{1,10})?)\Z"
)
"""What stands before an argument. A function in words that touches a number is a name, which is passed over."""

_SCALES = {
    "hundred": 10**2, "thousand": 10**3, "lakh": 10**5, "million": 10**6, "crore": 10**7, "billion": 10**9,
    "trillion": 10**12, "quadrillion": 10**15, "quintillion": 10**18,
    "万": 10**4, "萬": 10**4, "만": 10**4, "亿": 10**8, "億": 10**8, "억": 10**8,
    "k": 10**3, "K": 10**3, "M": 10**6, "bn": 10**9, "B": 10**9,
}  # fmt: skip
_SCALE_WORD = r"(?:hundred|thousand|lakh|million|crore|(?:b|tr|quadr|quint)illion)s?"
_SCALE = re.compile(
    rf"[ {THIN}{{]*(?:(?P<word>{_SCALE_WORD})(?![A-Za-z-])|(?P<sign>[万萬만亿億억]))", re.IGNORECASE
)
_SHORT_SCALE = re.compile(r"(?:[kKMB]|bn)(?![A-Za-z0-9])")
"""Read behind a sum of money only: elsewhere 5K are kelvins, and 5M may be anything."""

_NEGATED = re.compile(
    r"(?:\b(?:minus|negative|moins|menos|meno|минус|eksi|not|isn't|nicht|twice|double|triple|than|half of|third of"
    r"|quarter of)[ {(]*|(?:负|負|マイナス|마이너스|不是|大于|小于|超过|大於|小於|超過|分之) ?)\Z",
    re.IGNORECASE,
)
"""Words that make of a number another one, or say that it is not the one."""
_JOINED_WORDS = re.compile(
    r"[0-9][%°]?[)}\]{$]*(?:"
    r" (?:plus|minus|times|point|over|by|(?:divided|multiplied) by|mod|modulo|choose|to|bis|vs\.?|versus|(?:out )?of"
    r"|per|or|and|oder|und|ou|et|à|o|y|или|и|veya|atau|hoặc|또는|أو)(?: the)?(?: (?:[A-Za-z] ?[=≈] ?)?|[ {}]*)"
    r"| ?(?:和|或者?|到|至|、|または|~|…|\.{2,}) ?| and [A-Za-z] ?= ?)\Z"
)
"""A number and what joins it to the next: the two are a range, a list, or operands."""
_OTHER = re.compile(
    r"[)\]}$]*(?: (?:or|and|oder|und|ou|et|или|и) (?:[A-Za-z] ?= ?)?[+-]?\$?[0-9]"
    r"| (?:or|oder|ou|или) [+-]?[A-Za-z](?![A-Za-z]))"
)
"""The same, seen from the number before, in a field."""
_ADDED_TO = re.compile(rf"\b{_SCALE_WORD}(?: and)? \Z|[0-9][万萬亿億만억千百十仟佰]\Z", re.IGNORECASE)
"""5 thousand 200 is one number, of which 200 is a piece."""
_LARGER_UNIT = re.compile(
    r"[0-9] ?(?:h|hrs?|hours?|ft|feet|foot|lbs?|pounds?|°|degrees?|days?|weeks?|months?|years?|m|km|kg|mins?|minutes?"
    r"|yards?|dollars?|euros?|'|′|小时|米|分|元)(?: and)? ?\Z"
)
_SMALLER_UNIT = re.compile(
    r"[ {]*(?:(?:mins?|minutes?|s|secs?|seconds?|cents?|in|inch|inches|oz|ounces?|hours?|days?|weeks?|months?"
    r"|g|grams?|cm|m|mm)(?![A-Za-z])|['\"′″]|分|秒|角)"
)
"""Behind a number with its larger unit: 5 hours 30 minutes is one quantity, of which 30 is a piece."""
_LISTED = re.compile(r"[(\[{] ?[+-]?(?:[0-9][0-9.]*|∞|[A-Za-z])[ ,;]+\Z")
_CLOSED = re.compile(r" ?[)\]}]")
"""A pair, an interval or a set: (3, 5), [3, 5], {3, 5}."""
_PIECE = re.compile(
    r"(?:[√±≠<>≤≥∛∜] ?[{(]?"  # a root, a bound, an error
    r"|(?:[0-9)\]}%°π!∞]|(?<![A-Za-z])[A-Za-z]) ?[-+*÷/∕&%×] ?[{(]?|[A-Za-z] ?[+×÷∕] ?|[A-Za-z)\]][*/-]"
    r"|[0-9)] ?[xX] [{(]?|[0-9)][)\]} ]*[x×^] ?\^? ?|\^ ?|\bmod(?:ulo)? ?"  # an operand
    r"|(?:[!/]|=/|\\not ?)= ?|[0-9)}\]] ?∣ ?|[-+*/×^|∣][|∣]"  # a denial, a divisor, a multiple of a size
    r"|[0-9]:|[0-9] : |[0-9.] ?[eE] ?[+-]?|[/∕]_"  # the rest of a number
    r"|(?<![0-9])[0-9]{1,3} |[0-9][_`;،•]+|[0-9][^\s0-9=≈→,;:]"
    r"|[\u0370-\u03ff]|-[~\u2009]|~~)\Z"  # a factor, a minus or a dash, text struck out
)
"""What makes the number behind it a piece of something."""
_LEFT = re.compile(
    r"(?:\A|[\s\x00-\x1f({\[\"'“”‘«»「『【《〈⟨`*_#=≈~≃≅≐≡→:;,.?…|$№°—―]|[A-Za-z]!"
    r"|(?<!\{[A-Za-z0-9])\}|(?<![A-Za-z0-9])\)|(?P<symbol>[^\x00-\x7f]))\Z"
)
"""What may touch a number, its sign and its brackets on the left, as far as nothing above has refused it."""
_SIGNED_BARS = re.compile(r"[|∣]\Z")
_FACTOR = re.compile(r"[0-9)\u0370-\u03ff]\.?[(\[]+\Z|\}\{[{( +-]*\Z|_\{\Z")

_CLOSERS = r"[)\]}\"'”’»」』】》⟩]*"
_BEHIND = re.compile(
    "|".join(
        [
            r"\.?[eE][+-]?[0-9]| ?[eE] ?[+-]?[0-9]",  # an exponent that is not read
            r", ?[+-]?(?:∞|[A-Za-z][)\]])",  # the other end of an interval
            # the rest may stand behind brackets and quotation marks; first, an operator or a factor
            rf"{_CLOSERS}(?: ?(?:√|∛|∜|π|∞|\\[A-Za-z]|\^|\*\*(?! |\Z)|[+×÷±∣]|\* ?[A-Za-z0-9\\(])",
            r":[0-9]| : ?[0-9]|%? ?%? ?%[0-9A-Za-z(]|% ?[0-9]|_+[0-9A-Za-z({\\]|&[0-9]|~ ?[0-9~]|…[0-9]",
            r"[/∕](?![A-Za-z]{2}| ?[0-9A-Za-z]{2})| ?[/∕] ?[0-9(\\√π]| [/∕] ?[A-Za-z](?![A-Za-z])",  # a quotient
            r"-(?:[^\w\s]|[0-9_]|\s|\Z|[A-Za-z](?![A-Za-z])|(?:hundred|thousand|million|billion))",
            r" ?- ?(?:[0-9(\\√π∞$]|[A-Za-z](?![A-Za-z'’]))| ?\([A-Za-z] ?[-+*/^=]",
            r"!(?:\$|!*[0-9a-z(=])| ?\(? ?(?:mod|modulo)\b",
            r" (?:squared|cubed|factorial|choose)\b| to the (?:[a-z]{1,12} )?power\b",
            r" point (?:[0-9]|(?:one|two|three|four|five|six|seven|eight|nine|zero|oh)\b)",
            r" ?(?:halves|thirds|fourths|fifths|sixths|sevenths|eighths|ninths|tenths|hundredths|thousandths)\b",
            r" and (?:a|an|one|two|three) (?:half|third|quarters?|fourth|fifth)",
            r" ?(?:mil|mille|mill[oó]n(?:es)?|milh(?:ão|ões)|milioni|miliardi?|milliards?|milliarden?|millionen)\b",
            r" ?(?:tausend|mio|mrd|bn|mln|mld|тыс\w{0,5}|млн|млрд|миллион\w{0,3}|миллиард\w{0,3})\b",
            r" ?(?:bin|milyon|ribu|juta|nghìn|triệu|per ?mille?)\b",
            r"[多余餘兆]|[千百十仟佰](?![克米瓦卡帕赫伏])",  # scales that are not read; but 千克 is a kilogram
        ]
    )
    + ")",
    re.IGNORECASE,
)
"""What makes the number before it a piece of something."""
_CALLED = re.compile(r"[(\[]+ ?(?:[0-9+\\√π-]|(?P<name>[A-Za-z])(?![A-Za-z]))|\{ ?[0-9+√π-]")
_RIGHT = re.compile(
    rf"{_CLOSERS}(?:\Z|[\s\x00-\x1f.,:;?!%°*_~`$¢£€¥'\"’”′″…|#=≈≃≅≐≡→←&{THIN}/∕({{\[-]|[A-Za-z]"
    r"|(?P<symbol>[^\x00-\x7f]))"
)
"""What may touch a number on the right, as far as `_BEHIND` has not refused it."""
_OPERATOR = re.compile(r" (?P<symbol>[^\x00-\x7f]|[<>+^])")
_OPERATOR_BEFORE = re.compile(r"(?P<symbol>[^\x00-\x7f]|[<>+^]) \Z")
_PUNCTUATION = frozenset("≃≅≐≡≈∼→←⇐↔∎∴∵⋯")
"""Mathematical symbols that are no operators: about, so that, and the end of a proof."""
_LETTERS = re.compile(
    rf"(?P<gap>[ {THIN}{{]*)(?P<word>[^\W\d_]+)(?P<next>(?:[0-9]+|_[0-9A-Za-z{{])?)(?P<more> [^\W\d_]{{2}})?"
)
_UNIT = frozenset({
    "m", "s", "g", "h", "l", "L", "N", "J", "W", "V", "A", "K", "C", "F", "T", "Ω", "Å", "µ", "cm", "mm", "km", "dm",
    "nm", "µm", "um", "pm", "fm", "kg", "mg", "µg", "ug", "ng", "gm", "lb", "oz", "ml", "mL", "dl", "dL", "cl", "cL",
    "kl", "kL", "µl", "µL", "uL", "ms", "ns", "µs", "us", "ps", "hr", "yr", "Hz", "Pa", "eV", "kJ", "kN", "kV", "kW",
    "mW", "MW", "GW", "mA", "mV", "kA", "mJ", "MJ", "GJ", "MN", "mN", "kB", "MB", "GB", "TB", "KB", "kb", "Mb", "Gb",
    "ft", "in", "yd", "mi", "sq", "cc", "px", "pt", "pc", "ha", "am", "ly", "AU", "dB", "Wh", "Ah", "rd", "th", "st",
    "nd", "kt", "mM", "µM", "nM", "kΩ", "MΩ", "kK", "Ci", "Bq", "Gy", "Sv", "Wb", "lm", "lx", "cd", "hp", "kn", "pg",
    "fl", "ct", "yo", "RM", "Rs", "kr", "zł", "Kč",
})  # fmt: skip
"""Units and endings of one or two letters that may touch a number; any other one is a variable or unknown."""
_FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "cot", "sec", "csc", "log", "exp", "sqrt", "mod", "div", "xyz", "pi"}
)
_AREA = frozenset({"m", "cm", "mm", "km", "in", "ft", "dm", "yd", "mi"})
"""Units that 2 and 3 are written behind: m2, cm3."""
_UNKNOWNS = re.compile(r"∞|[,;] ?[+-]?(?:[A-Za-z]|π)(?![A-Za-z'’])|(?<![A-Za-z'’])[A-Za-zπ] ?[,;]")
"""In a field: what is no number, where a list or an interval has its other part."""
_MORE_OF_A_UNIT = re.compile(r"[A-Za-z0-9^°µΩ/]")
_PERCENT = re.compile(rf"[ {THIN}{{]*(?:%|per ?cent\b)")
_REACH = 48  # characters before and behind a number that decide what it is


def _read(
    text: str, found: re.Match[str], params: dict[str, Any], units: tuple[str, ...], *, field: bool
) -> Number | None:
    """Read one find of `_NUMBER` in plain text.

    Returns:
        The number; None when it is to be passed over (an exponent, an index, a name such as CO2).

    Raises:
        UnreadableError: It is a piece of an expression, or no well-formed number.
    """
    start, end = found.span()
    before = text[max(0, start - _REACH) : start]
    mark = params.get("decimal_mark", "point")
    run = found["run"]
    if run[0] in ".," and (run[0] != (".,"[mark == "comma"]) or before[-1:].isalnum() or before[-1:] == "."):
        if before[-1:].isdigit() or (not before[-1:].strip()):
            raise UnreadableError("malformed", f"{_shown(before[-9:] + found[0])!r} is no number")
        run = run[1:]  # the end of what stood before: "Rs.500", "x,5"
        before += found["run"][0]
    lead = _LEAD.search(before)
    assert lead is not None, "every part of the pattern may be empty"
    ahead = before[: lead.start()]
    sign = lead[1] or lead[4]
    if lead[1] and (lead[2] or not lead[4]) and not _is_sign(ahead, lead[2], field):
        ahead, sign = ahead + lead[1] + lead[2], lead[4]
    touched = ahead if not lead[2] or lead[1] else ahead + " "
    if _FUNCTION.search(ahead) or (ahead.endswith("}") and "{" in lead[0]):
        raise UnreadableError("expression", f"{_shown(found[0])!r} stands in a command that is not evaluated")
    code = _CURRENCY_CODE.search(touched)
    if code and (lead[3] or code[0].strip("+- ") not in _ALONE):
        sign, touched = sign or code["sign"], touched[: code.start()]
    elif _PASSED_OVER.search(touched):
        return None
    behind = text[end : end + _REACH]
    value = _value(run, found, mark)
    if _JOINED_WORDS.search(touched) or (field and _OTHER.match(behind)):
        raise UnreadableError("several_numbers", f"{_shown(found[0])!r} is joined to another number")
    if run[0] == "0" and run[1:2].isdigit() and re.search(r"[0-9][ .,]{1,3}\Z", before):
        raise UnreadableError("malformed", f"{_shown(before[-9:] + found[0])!r} is no number")
    scale, behind_scale = _scale(behind, bool(lead[3]))
    if lead[1] and lead[4] and not lead[2]:
        raise UnreadableError("expression", f"{_shown(found[0])!r} has two signs")
    if (
        _is_piece_before(touched, before, behind, bool(sign))
        or _is_piece_behind(_behind_unit(behind_scale, units), bool(lead[3]))
        or (field and re.match(rf"{_CLOSERS}!", behind))
    ):
        raise UnreadableError(
            "expression", f"{_shown(found[0])!r} is a piece of an expression, which is not evaluated"
        )
    digits = found[0] if run == found["run"] else found[0][1:]
    shown = f"{sign}{digits}".replace(JOIN, " ").replace(THIN, " ").replace("∕", "/").strip()
    percent = bool(_PERCENT.match(behind))
    value *= -scale if sign == "-" else scale
    return Number(value, percent, lead[3], text[end : end + 2 * MAX_SHOWN], shown)


def _is_sign(ahead: str, gap: str, field: bool) -> bool:
    """Tell whether a plus or minus belongs to the number behind it, from what stands before the sign."""
    if gap:  # "x = - 5"; but "- 5" opens a list entry and "total - 5" has a dash
        return ahead.rstrip(" ").endswith(("=", "≈", "(")) or (field and not ahead.strip(" "))
    return not re.search(r"[A-Za-z0-9)\]}%π∞°]\Z", ahead)  # "8-5" and "10-12" are no numbers with a sign


def _scale(behind: str, money: bool) -> tuple[int, str]:
    """Return what the words or letters of scale behind a number multiply it by, and what follows them."""
    short = _SHORT_SCALE.match(behind) if money else None
    if short:
        return _SCALES[short[0]], behind[short.end() :]
    factor = 1
    while scale := _SCALE.match(behind):
        word = scale["word"]
        factor *= _SCALES[word.lower().rstrip("s") if word else scale["sign"]]
        behind = behind[scale.end() :]
    return factor, behind


def _is_piece_before(touched: str, before: str, behind: str, signed: bool) -> bool:
    """Tell whether what stands before a number, its sign and its brackets makes it a piece of something else."""
    if _FACTOR.search(before) or (signed and _SIGNED_BARS.search(touched)):
        return True
    if any(one.search(touched) for one in (_PIECE, _NEGATED, _ADDED_TO)):
        return True
    if (_LISTED.search(touched) and _CLOSED.match(behind)) or (
        _LARGER_UNIT.search(touched) and _SMALLER_UNIT.match(behind)
    ):
        return True
    spaced = _OPERATOR_BEFORE.search(touched)
    if spaced and _is_operator(spaced["symbol"]):
        return True
    left = _LEFT.search(touched)
    return left is None or bool(left["symbol"] and _is_operator(left["symbol"]))


def _is_piece_behind(behind: str, money: bool) -> bool:
    """Tell whether what stands behind a number makes it a piece of something else."""
    called = _CALLED.match(behind)
    if called and called["name"] not in _UNIT:
        return True
    if _BEHIND.match(behind) and not (money and re.match(r" ?/ ?[A-Za-z]", behind)):
        return True
    spaced = _OPERATOR.match(behind)
    if spaced and _is_operator(spaced["symbol"]):
        return True
    right = _RIGHT.match(behind)
    if right is None or (right["symbol"] and _is_operator(right["symbol"])):
        return True
    letters = _LETTERS.match(behind)
    return letters is not None and not _is_word(letters)


def _is_operator(symbol: str) -> bool:
    """Tell whether a character may be an operator, or a mark that changes a number, and is no mere picture."""
    if symbol in _PUNCTUATION:
        return False
    kind = unicodedata.category(symbol)
    raised = kind == "Lm" and unicodedata.decomposition(symbol).startswith(("<super>", "<sub>"))
    return raised or kind in ("Sm", "Sk", "Mn", "Me", "Cf", "No", "Nl") or symbol in "<>+^‰‱‖⌊⌋⌈⌉"


def _is_word(letters: re.Match[str]) -> bool:
    """Tell whether letters behind a number are a unit or a word, and no variable, function or digit of a base."""
    gap, word = letters["gap"], letters["word"]
    if not gap.strip("{") and word[0] in "xX":
        return False  # 0xFF
    if letters["next"]:
        return word in _AREA and letters["next"] in ("2", "3")
    if word in _UNIT:
        return True
    if not word.isascii():
        return len(word) > 1 or not ("\u0370" <= word <= "\u03ff" or word in "хХуУ")  # Cyrillic
    if len(word) == 1:
        return bool(gap.strip("{")) and word not in "xX" and letters["more"] is not None
    if len(word) == 2 and not gap.strip("{"):
        return False
    return word not in _FUNCTIONS


def _behind_unit(behind: str, units: tuple[str, ...]) -> str:
    """Return what follows the unit that the reference names, or all that stands behind a number without it."""
    plain = behind.replace("{", "").replace("}", "").lstrip(f" {THIN}")
    for unit in units:
        if plain.startswith(unit) and not _MORE_OF_A_UNIT.match(plain, len(unit)):
            return plain[len(unit) :]
    return behind


def _value(run: str, found: re.Match[str], mark: str) -> Fraction:
    """Return the value of a find without its sign."""
    value = _decimal(run, mark)
    if found["exponent"] or found["power"]:
        return value * _power_of_ten(found["exponent"] or found["power"])
    if found["raised"]:
        if run != "10":
            raise UnreadableError("expression", f"the power {_shown(found[0])!r} is not evaluated")
        return _power_of_ten(found["raised"])
    if found["bottom"]:
        part = _divide(_decimal(found["top"], mark), _decimal(found["bottom"], mark))
        if value.denominator != 1 or part >= 1:
            raise UnreadableError("malformed", f"{_shown(found[0])!r} is no mixed number")
        return value + part
    if found["divisor"]:
        return _divide(value, _decimal(found["divisor"], mark))
    return value


def _decimal(run: str, mark: str) -> Fraction:
    """Return the value of a run of digits with its grouping and decimal marks."""
    shape = _SHAPES[mark].fullmatch(run)
    if shape is None:
        raise UnreadableError("malformed", f"{_shown(run)!r} is no number with a decimal {mark}")
    digits = re.sub(r"[^0-9]", "", shape[1]) + (shape[2] or "")
    if len(digits) > MAX_DIGITS:
        raise UnreadableError("out_of_range", f"a number of more than {MAX_DIGITS} digits is not read")
    return Fraction(int(digits), 10 ** len(shape[2] or ""))


def _power_of_ten(exponent: str) -> Fraction:
    digits = exponent.lstrip("+-").lstrip("0") or "0"
    if len(digits) > len(str(MAX_DIGITS)) or int(digits) > MAX_DIGITS:
        raise UnreadableError("out_of_range", f"a power of ten beyond {MAX_DIGITS} is not read")
    return Fraction(10) ** (-int(digits) if exponent.startswith("-") else int(digits))


def _divide(top: Fraction, bottom: Fraction) -> Fraction:
    if bottom == 0:
        raise UnreadableError("malformed", "a fraction has the denominator 0")
    return top / bottom
