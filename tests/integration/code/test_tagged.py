"""Values keep their exact types on the way to a bundle's judge and back."""

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark_service.runtimes.tagged import NotTaggedError, TooManyValuesError, tag, untag

atoms = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary()
    | st.complex_numbers() | st.just("\ud800") | st.just(2**70)
)  # fmt: skip
keys = st.integers() | st.text() | st.tuples(st.integers(), st.text()) | st.binary()
values = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.sets(keys, max_size=4)
        | st.frozensets(keys, max_size=4)
    ),
    max_leaves=12,
)


def shape(value: Any) -> Any:
    """Return `value` with the type of each part beside it, so that 1, 1.0 and True differ and nan equals itself."""
    if isinstance(value, list | tuple):
        return (type(value), [shape(member) for member in value])
    if isinstance(value, dict):
        return (dict, [(shape(key), shape(member)) for key, member in value.items()])
    if isinstance(value, set | frozenset):
        return (type(value), sorted(repr(shape(member)) for member in value))
    return (type(value), repr(value))


@given(values)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    carried = json.loads(msgspec.json.encode(tag(value)))

    assert shape(untag(carried)) == shape(value)


def test_a_value_with_too_many_parts_is_not_looked_at_to_its_end() -> None:
    with pytest.raises(TooManyValuesError):
        tag([0] * 10, most=10)


@pytest.mark.parametrize(
    "value",
    [[], ["l"], ["l", 1], ["x", []], ["i", "zz"], ["m", [[1]]], ["S", [["l", []]]], ["f", None], {"a": 1}],
)
def test_what_was_never_tagged_is_refused(value: Any) -> None:
    with pytest.raises(NotTaggedError):
        untag(value)


def test_infinities_and_nan_are_told_apart() -> None:
    assert untag(tag(math.inf)) == math.inf
    assert untag(tag(-math.inf)) == -math.inf
    assert math.isnan(untag(tag(math.nan)))
