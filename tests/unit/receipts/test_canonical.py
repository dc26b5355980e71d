"""The canonical form of verdicts: RFC 8785, as a writer of that form alone has it."""

import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from countermark_service.receipts.canonical import canonical_json

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
safe = st.integers(-(2**53) + 1, 2**53 - 1)
numbers = safe | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(values, st.booleans(), st.sampled_from([None, 2]))
def test_any_way_to_write_a_value_has_its_rfc_8785_form(
    value: Any, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert canonical_json(text.encode()) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ('{"b": 1.0, "a": 1}', '{"a":1,"b":1}'),
        ("[1e2, 1E-7, 0.1, -0.0, 1e21, 333333333.33333329]", "[100,1e-7,0.1,0,1e+21,333333333.3333333]"),
        ('{"\\ud83d\\ude00": 1, "\\ufb33": 2}', '{"\U0001f600":1,"\ufb33":2}'),
        ('{"\U0001f600": 1, "\ufb33": 2}', '{"\U0001f600":1,"\ufb33":2}'),
        ('"\\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"\\/"', '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("[1e400]", "[1e400]"),
    ],
)
def test_the_corners_of_the_form(text: str, form: str) -> None:
    assert canonical_json(text.encode()).decode() == form
