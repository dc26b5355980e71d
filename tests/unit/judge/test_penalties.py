"""The measures of a response, against their declared formulas."""

from typing import Any

import pytest

from countermark_service.bundles.composite_table import Penalty
from countermark_service.runtimes.penalties import penalty_of


@pytest.mark.parametrize(
    ("facts", "response", "measure", "off"),
    [
        ({"measure": "length", "free": 4, "full": 8}, "abcd", 4, 0.0),
        ({"measure": "length", "free": 4, "full": 8}, "abcdef", 6, 0.25),
        ({"measure": "length", "free": 4, "full": 8}, "x" * 100, 100, 0.5),
        ({"measure": "length", "unit": "words", "free": 1, "full": 3}, "so, it is", 3, 0.5),
        ({"measure": "repetition", "ngram": 2, "free": 0.0, "full": 1.0}, "a b a b A B", 0.6, 0.3),
        (
            {"measure": "repetition", "ngram": 2, "free": 0.0, "full": 1.0},
            "a b " * 5000,
            1 - 2 / 9999,
            0.5 - 1 / 9999,
        ),
        ({"measure": "repetition", "ngram": 4, "free": 0.0, "full": 1.0}, "too short", 0.0, 0.0),
        ({"measure": "language", "free": 0.0, "full": 1.0}, "ab да 12!", 0.5, 0.25),
        ({"measure": "language", "script": "CYRILLIC", "free": 0.0, "full": 1.0}, "да", 0.0, 0.0),
        ({"measure": "language", "free": 0.0, "full": 1.0}, "12 + 3", 0.0, 0.0),
    ],
)
def test_a_penalty_is_its_weight_times_the_clamped_share(
    facts: dict[str, Any], response: str, measure: float, off: float
) -> None:
    found = penalty_of(response, Penalty.model_validate({"weight": 0.5, **facts}))
    assert found == pytest.approx((measure, off))
