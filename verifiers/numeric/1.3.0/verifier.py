"""One number against another, in exact arithmetic, under tolerances and roundings that the item declares.

What counts as equal: the number read from the response and the reference have the same value, or differ by no
more than a declared tolerance, or agree after a declared rounding. Values are fractions of whole numbers,
never floats: 0.1 is one tenth, and a tolerance of 0.1 admits 3.2 for 3.1. What is ignored: text, currency and
(unless the reference names one) units around the number. What is not attempted: evaluating expressions; a
number that is only a piece of one (an operand, a root, a bound, half of a range) is no answer. The manifest's
description has the rules in full.

What differs from 1.2.1: two boxes side by side that hold different numbers are two answers, as two that "or" joins
were before. A tag between two digits parts two numbers: `</think>1/3` behind a 9 is no 9 1/3. What a function
with an index or a function in words stands before (`\\log_2 8`, log 8, sqrt 2) is a piece of an expression.

How it works: the place the answer stands in is found first (`_answer`), its LaTeX, Unicode and Markdown are
rewritten into one plain notation (`_plain`), one pattern finds everything that looks like a number in it
(`_NUMBER`), and each find is read, passed over (an exponent or a name such as x_2) or refused (`_read`).

There is no `reduce`: reading the number is most of the work. Standard library only. Linear in the length of
the response: patterns with more than one repetition only ever see `MAX_TAIL` characters.
"""

# ruff: noqa: RUF001 - the tables name the very characters that they rewrite

from __future__ import annotations

import math
import re
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
        number = _answer(item["response"], params)
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
    return rest.startswith(unit) and not re.match(r"[A-Za-z0-9^°µΩ/]", rest[len(unit) :])


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


def _answer(response: str, params: dict[str, Any]) -> Number:
    """Read the response's number from the place that `extract` declares."""
    how = params.get("extract", "boxed_else_last")
    if how in ("boxed", "boxed_else_last"):
        box = _last_box(response)
        if box is not None:
            number = _single(_bounded(response[box.start : box.end], "the box"), params)
            _check_alone(response, box, number, params)
            return number
        if how == "boxed":
            raise UnreadableError("no_box", "the response has no complete box")
    if how == "after_marker":
        marker = params.get("marker", "Answer:")
        _, found, rest = response.rpartition(marker)
        if not found:
            raise UnreadableError("no_marker", f"the response has no {marker!r}")
        return _single(_bounded(rest.partition("\n")[0], "the marked answer"), params)
    if how == "whole":
        return _single(_bounded(response, "the response"), params)
    return _last(response, params)


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


def _single(text: str, params: dict[str, Any]) -> Number:
    """Return the only number of a short text. Behind the last equals sign, if one name stands before it."""
    plain = _SPACE_GROUPS.sub(lambda found: found[0].replace(" ", THIN), _plain(text).strip())
    left, equals, right = _EQUALS.sub("=", plain).rpartition("=")
    if (
        equals and not _LIST.search(left) and not _NUMBER.fullmatch(left.strip(" ({+-"))
    ):  # 36 = 36 says nothing
        plain = right.strip()
    finds = [_read(plain, found, params, field=True) for found in _NUMBER.finditer(plain)]
    numbers = [number for number in finds if number is not None]
    if len(numbers) > 1:
        raise UnreadableError("several_numbers", "there is more than one number where one answer is expected")
    if not numbers:
        raise UnreadableError("no_number", "there is no number where the answer should stand")
    return numbers[0]


def _last(response: str, params: dict[str, Any]) -> Number:
    """Return the last number of a response that is not passed over."""
    plain = _plain(response[-MAX_TAIL:])
    cut = len(response) > MAX_TAIL
    for found in reversed(list(_NUMBER.finditer(plain))):
        if cut and found.start() == 0:
            break
        number = _read(plain, found, params, field=False)
        if number is not None:
            return number
    raise UnreadableError("no_number", f"the last {MAX_TAIL} characters of the response have no number")


# ---- one plain notation

THIN = "\u2009"  # a grouping space: stands for every no-break and narrow space, and for LaTeX's \,
JOIN = "\u2064"  # stands before a fraction that was drawn as one piece, so that 1½ is not 11/2

_DRAWN = ("½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞", "112131234151357", "233445555668888")
_CHARACTERS = {
    **{zero + digit: str(digit) for zero in (0xFF10, 0x0660, 0x06F0, 0x0966, 0x09E6) for digit in range(10)},
    **{0x1D7CE + offset: str(offset % 10) for offset in range(50)},  # bold, double-struck, sans-serif
    **{ord(c): THIN for c in "\u00a0\u2007\u2009\u202f"},
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212\uff0d\ufe63"), "-"),
    **dict.fromkeys(map(ord, "\u00b7\u22c5\u2217\u2715"), "×"),
    **{ord(c): f"{JOIN}{n}∕{d}" for c, n, d in zip(*_DRAWN, strict=True)},
    0x2064: "", 0x066B: ".", 0x066C: ",", 0xFF0B: "+", 0xFF0E: ".", 0xFF0C: ",", 0xFF05: "%", 0xFF04: "$",
    0xFF1D: "=", 0xFFE5: "¥", 0xFFE1: "£", 0x2044: "∕", 0x2215: "∕", 0x2213: "±", 0x2019: "'",
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
        "phantom",
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
    ",": THIN, "%": "%", "$": "$", "#": "#", "{": "(", "}": ")", "div": "÷", "lt": "<", "gt": ">",
    "sqrt": "√", "pi": "π", "pounds": "£", "euro": "€", "yen": "¥", "mu": "µ", "Omega": "Ω",
}  # fmt: skip
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")

_DASH = re.compile(r"(?<=[0-9])[\u2014\u2015](?=[$€£¥₹]?[0-9])")
"""A long dash: a range between two digits, and punctuation anywhere else."""
_COMMAND = re.compile(r"\\([A-Za-z]+|.)", re.DOTALL)
_DRAWN_FRACTION = re.compile(
    r"\\frac ?(?:\{ ?([+-]?)([0-9][0-9.,]*) ?\}|()([0-9])) ?(?:\{ ?([0-9][0-9.,]*) ?\}|([0-9]))"
)
_SUPERSCRIPT = re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+")
_BOLD = re.compile(r"(?<![A-Za-z0-9)\]}])\*\*|\*\*(?![A-Za-z0-9(\\]|[+-][0-9])")
_TAG = re.compile(r"(?<![A-Za-z0-9)}\]])<[A-Za-z][A-Za-z0-9_-]{0,30}>|</[A-Za-z][A-Za-z0-9_-]{0,30}>")
_REWRITES = (
    (re.compile(rf"(?<=[0-9])(?: ?(?:{_TAG.pattern}))+ ?(?=[0-9])"), "\n"),
    (_TAG, " "),
    (re.compile(r"[-=]{2,9}>|->"), "→"),
    (re.compile(r">="), "≥"),
    (re.compile(r"<="), "≤"),
    (re.compile(r"\^\{? ?° ?\}?"), "°"),
    (re.compile(r"\{([,+-])\}"), r"\1"),
    (re.compile(r"\^\{ ?([+-]?[0-9]+) ?\}"), r"^\1"),
    (re.compile(r"[ \t]+"), " "),
)
_SPACE_GROUPS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?: [0-9]{3})+(?![0-9/∕])")
_EQUALS = re.compile(r"[=≈]")
_LIST = re.compile(r"[,;]|\b(?:or|and|oder|ou|o|y|und|et)\b|或|和")


def _plain(text: str) -> str:
    """Rewrite LaTeX, Unicode and Markdown spellings of numbers into one notation."""
    text = _COMMAND.sub(lambda found: _command(found[1]), _DASH.sub("-", text.translate(_CHARACTERS)))
    text = _BOLD.sub("", _SUPERSCRIPT.sub(lambda found: "^" + found[0].translate(_SUPERSCRIPTS), text))
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return _DRAWN_FRACTION.sub(lambda f: f"{f[1] or ''}{JOIN}{f[2] or f[4]}∕{f[5] or f[6]}", text)


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
    rf"|(?: ?{JOIN}| )(?P<top>[0-9]+)[/∕](?P<bottom>[0-9]+)"
    rf"| ?[/∕] ?(?P<divisor>{_RUN}))?"
)
_GROUPED = r"[0-9]{1,3}(?:\u2009[0-9]{3})+|[0-9]{1,3}(?:'[0-9]{3})+"
_SHAPES = {
    "point": re.compile(rf"([0-9]{{1,3}}(?:,[0-9]{{3}})+|{_GROUPED}|[0-9]*)(?:\.([0-9]+))?"),
    "comma": re.compile(rf"([0-9]{{1,3}}(?:\.[0-9]{{3}})+|{_GROUPED}|[0-9]*)(?:,([0-9]+))?"),
}
_LEAD = re.compile(rf"([+-]?)( ?)[{{(]?([$€£¥₹]?)[ {{]?([+-]?)[{{{JOIN}]*\Z")
_CURRENCY_CODE = re.compile(r"(?<![A-Za-z])(?:USD|US|EUR|GBP|CNY|RMB|INR|Rs|RM|HK|A|C)\Z")
_NEGATED = re.compile(r"\b(?:minus|negative)\b[ {(]*\Z", re.IGNORECASE)
_PASSED_OVER = re.compile(r"(?:[A-Za-z]|(?:\^|[A-Za-z0-9)}\]](?:_|\*\*))[{(]?[+-]?)\Z")
_FUNCTION = re.compile(
    r"(?:\\[A-Za-z]+(?:_(?:[A-Za-z0-9]|\{[A-Za-z0-9]{1,10}\}))? ?"
    r"|(?<![A-Za-z\\])(?:log|ln|sqrt|exp)(?:_?[0-9]{1,10})?)\Z"
)
"""What stands before an argument. A function in words that touches a number is a name, which is passed over."""
_PIECE = re.compile(
    r"(?:[√±≠<>≤≥] ?[{(]?|[0-9]:|(?:[0-9)\]}%°π!]|(?<![A-Za-z])[A-Za-z]) ?[-+×*÷/∕] ?[{(]?"
    r"|[A-Za-z] ?[+×÷∕] ?|[A-Za-z)\]][*/-]|[0-9)] ?[xX] [{(]?)\Z"
)
_FACTOR = re.compile(r"[0-9]\.?\(\Z")
_BEHIND = re.compile(
    r"[eE][+-]?[0-9]| ?(?:√|π|\\[A-Za-z]|\^|\*\*|:[0-9]|[/∕] ?[0-9]|[+×*÷] ?[A-Za-z0-9\\(√π])"
)
_PERCENT = re.compile(r"[ \u2009{]*(?:%|per ?cent\b)")
_SCALE = re.compile(r"[ \u2009{]*(thousand|million|billion|trillion)\b", re.IGNORECASE)
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_REACH = 24  # characters before and behind a number that decide what it is


def _read(text: str, found: re.Match[str], params: dict[str, Any], *, field: bool) -> Number | None:
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
        run = run[1:]  # the end of what stood before: "Rs.500", "x,5"
        before += found["run"][0]
    lead = _LEAD.search(before)
    assert lead is not None, "every part of the pattern may be empty"
    ahead = before[: lead.start()]
    sign = lead[1] or lead[4]
    if lead[1] and (lead[2] or not lead[4]) and not _is_sign(ahead, bool(lead[2]), field):
        ahead, sign = ahead + lead[1] + lead[2], lead[4]
    touched = ahead if not lead[2] or lead[1] else ahead + " "
    if _FUNCTION.search(ahead) or (ahead.endswith("}") and "{" in lead[0]):
        raise UnreadableError("expression", f"{_shown(found[0])!r} stands in a command that is not evaluated")
    if _PASSED_OVER.search(touched) and not _CURRENCY_CODE.search(touched) and not lead[3]:
        return None
    behind = text[end : end + _REACH]
    if _NEGATED.search(touched) and not sign:
        raise UnreadableError(
            "expression", f"the sign before {_shown(found[0])!r} is a word, which is not read"
        )
    if lead[1] and lead[4] and not lead[2]:
        raise UnreadableError("expression", f"{_shown(found[0])!r} has two signs")
    if (
        _FACTOR.search(before)
        or _PIECE.search(touched)
        or _BEHIND.match(behind)
        or (field and behind.startswith("!"))
    ):
        raise UnreadableError(
            "expression", f"{_shown(found[0])!r} is a piece of an expression, which is not evaluated"
        )
    value = _value(run, found, mark)
    if scale := _SCALE.match(behind):
        value *= _SCALES[scale[1].lower()]
    digits = found[0] if run == found["run"] else found[0][1:]
    shown = f"{sign}{digits}".replace(JOIN, " ").replace(THIN, " ").replace("∕", "/").strip()
    percent = bool(_PERCENT.match(behind))
    return Number(-value if sign == "-" else value, percent, lead[3], text[end : end + 2 * MAX_SHOWN], shown)


def _is_sign(ahead: str, spaced: bool, field: bool) -> bool:
    """Tell whether a plus or minus belongs to the number behind it, from what stands before the sign."""
    if spaced:  # "x = - 5"; but "- 5" opens a list entry and "total - 5" has a dash
        return ahead.rstrip(" ").endswith(("=", "≈", "(")) or (field and not ahead.strip(" "))
    return not re.search(r"[A-Za-z0-9)\]}%]\Z", ahead)  # "8-5" and "10-12" are no numbers with a sign


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
