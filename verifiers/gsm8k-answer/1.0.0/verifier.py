"""Grade-school arithmetic: the last number of the response against the reference number.

What counts as equal: the same value, digit for digit after leading zeros, trailing decimal zeros and grouping
commas are gone. No tolerance, no float: the comparison is between canonical digit strings and exact at any
length. What is ignored: all text around the last number. What is not attempted: fractions, times, powers,
exponents, number words, decimal commas. The manifest's description has the rules in full.

Source: the answer convention of the GSM8K data set (a solution text that ends in ``#### number``) and the
common habit of scoring it by the last number of a response.

There is no `reduce`: finding the last number is all the work there is.
Standard library only. Linear in the length of the response, which is read from its end.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

MAX_DIGITS = 1000
"""Digits that a reference may have."""

MAX_SHOWN = 80
"""Characters of a number that a verdict's detail repeats."""

_PLAIN = {0x2212: "-", 0xFF0D: "-", 0xFF0B: "+", 0xFF0E: ".", 0xFF0C: ",", 0xFF04: "$"} | {
    0xFF10 + digit: str(digit) for digit in range(10)
}
_RUN_BACKWARDS = re.compile(r"[0-9][0-9.,]*")
_NUMBER = re.compile(r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+")
_EXPONENT = re.compile(r"[eE][+-]?[0-9]")
_SIGN = re.compile(r"(?<![\w)\]}+-])([+-])(?:\\?[$€£¥₹])?\Z")
_SIGN_REACH = 4  # characters of text that _SIGN looks at: one before the sign, sign, backslash, currency
_REFERENCE = re.compile(r"([+-]?) ?(?:\\?[$€£¥₹])? ?([+-]?)([0-9.,]+?) ?(?:\\?%)?\.?")


def verify(item: dict[str, Any]) -> dict[str, Any]:
    """Score 1 when the last number of the response has the value of the reference, else 0.

    Args:
        item: `response` (str) and `reference` (number, or text as the manifest says).

    Returns:
        The verdict; `detail` has the number that was read, in canonical digits.
    """
    expected = _reference_value(item["reference"])
    if expected is None:
        message = "the reference must be a number, a text that is one number, or end in '#### number'"
        return {
            "outcome": "bad_reference",
            "score": None,
            "detail": {"code": "not_a_number", "message": message},
        }
    answer = _last_number(item["response"].translate(_PLAIN))
    if answer is None:
        detail = {"code": "no_number", "message": "the response has no number"}
        return {"outcome": "no_answer", "score": 0.0, "detail": detail}
    shown = answer if len(answer) <= MAX_SHOWN else f"{answer[:MAX_SHOWN]}..."
    return {"outcome": "scored", "score": 1.0 if answer == expected else 0.0, "detail": {"answer": shown}}


def _reference_value(reference: Any) -> str | None:
    """Return the reference in canonical digits, or None when it cannot be read."""
    value = None
    if isinstance(reference, str):
        value = _reference_text_value(reference)
    elif isinstance(reference, bool):
        value = None
    elif isinstance(reference, int):
        # The bit length goes first: Python turns a huge integer into digits in quadratic time, or not at all.
        value = _canonical(str(reference)) if reference.bit_length() <= 4 * MAX_DIGITS else None
    elif isinstance(reference, float) and math.isfinite(reference):
        value = _canonical(format(Decimal(repr(reference)), "f"))
    return value if value is not None and len(value) <= MAX_DIGITS else None


def _reference_text_value(reference: str) -> str | None:
    text = reference.rpartition("####")[2].strip().translate(_PLAIN)
    if len(text) > 2 * MAX_DIGITS:
        return None
    found = _REFERENCE.fullmatch(text)
    if not found or not _NUMBER.fullmatch(found[3]) or (found[1] and found[2]):
        return None
    return _canonical(found[1] + found[2] + found[3])


def _last_number(text: str) -> str | None:
    """Return the last readable number in canonical digits, or None.

    The text is searched backwards, run by run of digits, points and commas, so that a response is read only
    as far as its last number. Points and commas behind a run's last digit end a sentence and are no part of
    it.
    """
    for found in _RUN_BACKWARDS.finditer(text[::-1]):
        start, end = len(text) - found.end(), len(text) - found.start()
        number = _read_run(text, start, end)
        if number is not None:
            return number
    return None


def _read_run(text: str, start: int, end: int) -> str | None:
    """Return the number in ``text[start:end]`` in canonical digits, or None when it is to be passed over."""
    run = text[start:end]
    if run.startswith((",", "..")) or (run[0] == "." and _is_letter(text, start - 1)):
        run = run.lstrip(".,")  # the end of what came before: "Rs.500", "so...5"
        start = end - len(run)
    elif _is_letter(text, start - 1) or (
        text[start - 1 : start] == "_" and text[start - 2 : start - 1].isalnum()
    ):
        return None
    if _EXPONENT.match(text, end):
        return None
    if _NUMBER.fullmatch(run):
        sign = _SIGN.search(text[max(0, start - _SIGN_REACH) : start])
        return _canonical(sign[1] + run if sign else run)
    last = run.rpartition(",")[2]  # a list such as 1,2,3: only its first member could carry the sign
    return _canonical(last) if last != run and _NUMBER.fullmatch(last) else None


def _is_letter(text: str, index: int) -> bool:
    """Tell whether an ASCII letter stands at `index`: 是42 is a number in a sentence, x42 is a name."""
    return index >= 0 and text[index].isascii() and text[index].isalpha()


def _canonical(number: str) -> str:
    """Return a number without grouping, plus sign and zeros that do not count; minus zero is zero."""
    negative = number.startswith("-")
    whole, _, fraction = number.lstrip("+-").replace(",", "").partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    value = f"{whole}.{fraction}" if fraction else whole
    return f"-{value}" if negative and value != "0" else value
