"""What two readers could read differently is refused; everything else is read as it was written."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark_service.model.json_text import DEEPEST, read_parts, read_value, repeated_key

KEYS = st.sampled_from(["a", "b", 'q"', "back\\", ":", "", "é", "\U0001f600"]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=4
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | KEYS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : "), ("\n,", "\t:\r\n")])


@given(VALUES, SEPARATORS, st.booleans())
def test_what_programs_write_is_read_as_it_is(value: Any, separators: tuple[str, str], ascii_: bool) -> None:
    text = json.dumps(value, separators=separators, ensure_ascii=ascii_).encode()
    assert read_value(text) == value
    if isinstance(value, dict):
        assert {key: read_value(part) for key, part in read_parts(text).items()} == value


@given(VALUES, KEYS, SEPARATORS)
def test_a_key_that_is_there_twice_is_found_however_deep(
    value: Any, key: str, separators: tuple[str, str]
) -> None:
    comma, colon = separators
    written = json.dumps(key)
    pair = f"{written}{colon}{json.dumps(value, separators=separators)}"
    twice = f"{{{pair}{comma}{pair}}}"
    for text in (twice, f"[1{comma}{twice}]", f'{{"x"{colon}{twice}}}'):
        assert repeated_key(text.encode()) is not None
        with pytest.raises(msgspec.ValidationError, match="is given twice in one object"):
            read_value(text.encode())
    with pytest.raises(msgspec.ValidationError, match="is given twice in one object"):
        read_parts(twice.encode())


def test_a_part_may_hold_what_only_matters_to_whoever_reads_it() -> None:
    parts = read_parts(b'{"used": 1.5, "other" : {"a": 1, "a": 0.10000000000000000555}}')
    assert read_value(parts["used"]) == 1.5
    with pytest.raises(msgspec.MsgspecError):
        read_value(parts["other"])


@pytest.mark.parametrize(
    "number", ["0.1000000000000000055511151231257827", "1e400", "4.9e-325", "1.00000000000000001"]
)
def test_a_number_that_would_be_rounded_is_refused(number: str) -> None:
    with pytest.raises(msgspec.MsgspecError, match="more digits than a double holds"):
        read_value(f'{{"a": [{number}]}}'.encode())


def test_the_deepest_value_is_read_and_one_level_more_is_not() -> None:
    assert read_value(b"[" * DEEPEST + b"]" * DEEPEST)
    with pytest.raises(RecursionError):
        read_value(b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1))
