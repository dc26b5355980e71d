"""The last number of the response against the reference, by value and without tolerance.

What counts as equal: the same value in decimal digits, so "4" equals "4.0". What is ignored: all text around
the last number. What is not attempted: fractions, exponents, grouping commas, number words. The manifest says
the same to those who use this verifier; keep the two in step.

This file runs in an environment of its own, on the Python that the manifest names, with what its
`requirements.lock` pins and nothing else. It must be a pure function of the item: no clock, no network,
nothing kept between items.
"""

import re
from decimal import Decimal
from typing import Any

_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_LONGEST = 1000  # characters of a number; a longer one is not read


def verify(item: dict[str, Any]) -> dict[str, Any]:
    """Score 1 when the last number of the response has the reference's value, else 0.

    Args:
        item: `response` (str), `reference` (any JSON), `params` (dict), `prompt` (str or None).

    Returns:
        The verdict: `outcome` is "scored", "no_answer" (score 0) or "bad_reference" (score None); `detail` is
        for people. What is raised here becomes the outcome "error" of the item; it is never a score.
    """
    expected = _value(item["reference"])
    if expected is None:
        return {"outcome": "bad_reference", "score": None, "detail": {"code": "not_a_number"}}
    found = _NUMBER.findall(item["response"])
    answer = _value(found[-1]) if found else None
    if answer is None:
        return {"outcome": "no_answer", "score": 0.0, "detail": {"code": "no_number"}}
    return {"outcome": "scored", "score": float(answer == expected), "detail": {"answer": found[-1]}}


def _value(given: Any) -> Decimal | None:
    """Return the value of a JSON number, or of a text that is one number; None for anything else."""
    if isinstance(given, bool) or not isinstance(given, (str, int, float)):
        return None
    if isinstance(given, int) and given.bit_length() > 4 * _LONGEST:  # Python refuses to write huge ones out
        return None
    text = given.strip() if isinstance(given, str) else repr(given)
    return Decimal(text) if len(text) <= _LONGEST and _NUMBER.fullmatch(text) else None
