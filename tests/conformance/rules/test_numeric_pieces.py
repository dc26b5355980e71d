"""What `numeric` takes for a number: the whole of what stands there, or nothing of it.

Every token is put into every place that an answer can stand in; the value must be the token's, or refused. A test
of what must be read beside it keeps refusing everything from being a way to pass.
"""

# ruff: noqa: RUF001 - the tokens hold the very characters that are read

from collections.abc import Callable
from typing import Any

import pytest

PLACES: dict[str, tuple[str, dict[str, str]]] = {
    "box": ("So it is $\\boxed{{{}}}$.", {}),
    "sentence": ("The answer is {}", {}),
    "sentence with a full stop": ("Therefore the answer is {}.", {}),
    "Markdown": ("**Answer:** {}\n", {}),
    "marked": ("So.\nAnswer: {}\nThanks!", {"extract": "after_marker"}),
    "whole": ("{}", {"extract": "whole"}),
}
PIECES = (
    "1_0", "101_2", "0x1F", "0b101", "5e", "5e+", "1e5.5", "1.5 e8", "2A3", "12h30", "5k", "5M", "5bn", "2x",
    "2i", "5j", "2ab", "|-5|", "-|5|", "⌊5.5⌋", "(5)^2", "5^x", "5ⁿ", "5²", "√5", "5√2", "2π", "2 pi",
    "5 \\ln 3", "sin 5", "5 mod 3", "5 % 3", "+/-5", "5 ± 1", "±5", "--5", "minus 5", "moins 5", "负5", "≥5",
    "x > 5", "5 < x", "5<x", "≫5", "!=5", "not 5", "more than 5", "5+", "5-", "5/x", "5/", "3 : 2", "3∶2",
    "3 to 2", "3~5", "3…5", "3–5", "5 or 6", "5 oder 6", "5或6", "between 5 and 6", "(5, 6)", "5‰",
    "5 and a half", "2 thirds", "5 thousand 200", "5 mil", "5 тысяч", "3万5千", "5多", "0,500", "12,34,5", "1.2.3",
    "5¹⁄₂", "5 squared", "5 choose 2", "5 point 2", "5 hours 30 minutes", "5 ft 3 in", "5 × 3", "5x3", "5*3",
    "5 & 3", "5×10^x", "½2",
)  # fmt: skip
"""No one of them has a value of one number that is written out."""


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("token", PIECES)
def test_no_part_of_what_is_no_number_is_read(bundle: Callable[[str], Any], token: str, place: str) -> None:
    frame, params = PLACES[place]

    verdict = bundle("numeric").verify(frame.format(token), 5, **params)

    assert verdict["outcome"] == "no_answer", verdict["detail"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("token", "value"),
    [
        ("1_000", 1000),
        ("12 500", 12500),
        ("5 hundred", 500),
        ("5 hundred thousand", 500000),
        ("$2.5M", 2500000),
        ("5万元", 50000),
        ("\\frac{1}{-2}", -0.5),
        ("-₩5", -5),
        ("-USD 5", -5),
        ("๔๒", 42),
        ("⅒", 0.1),
        ("42 km/h", 42),
        ("42\\,\\text{m}^2", 42),
        ("42 N·m", 42),
        ("300K", 300),
        ("42 a day", 42),
        ("|x| = 42", 42),
        ("≈ 42", 42),
        ("42 (forty-two)", 42),
        ("42 – done", 42),
        ("42<|im_end|>", 42),
        ("42 ∎", 42),
    ],
)
def test_a_number_with_what_may_stand_at_it_is_read(
    bundle: Callable[[str], Any], token: str, value: float, place: str
) -> None:
    frame, params = PLACES[place]

    assert bundle("numeric").verify(frame.format(token), value, **params)["score"] == 1.0
