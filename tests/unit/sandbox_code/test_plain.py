"""Plain data: what goes in comes out, and hostile bytes do not get far."""

import math
import struct
from collections import Counter, OrderedDict, defaultdict
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark_service.sandbox.code.inside import plain

atoms = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters())
    | st.binary() | st.complex_numbers(allow_nan=False) | st.binary().map(bytearray)
)  # fmt: skip
hashable = st.recursive(
    st.none() | st.integers() | st.text() | st.binary(),
    lambda v: st.lists(v, max_size=4).map(tuple),
    max_leaves=8,
)
values = st.recursive(
    atoms | st.sets(hashable, max_size=5) | st.frozensets(hashable, max_size=5),
    lambda v: (
        st.lists(v, max_size=5)
        | st.lists(v, max_size=5).map(tuple)
        | st.dictionaries(hashable, v, max_size=5)
    ),
    max_leaves=30,
)


def same(a: Any, b: Any) -> bool:
    """Equal in value and in every type."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(map(same, a, b)) and all(map(same, a.values(), b.values()))
    return bool(a == b)


@given(values)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert same(plain.decode(plain.encode(value)), value)


def test_nan_and_infinities_and_surrogates_cross() -> None:
    value = plain.decode(plain.encode([math.nan, -math.inf, -0.0, "\ud800"]))
    assert math.isnan(value[0])
    assert (value[1], math.copysign(1, value[2]), value[3]) == (-math.inf, -1, "\ud800")


@pytest.mark.parametrize("value", [OrderedDict(a=1), defaultdict(int, a=1), Counter("a")])
def test_standard_dictionaries_cross_as_dictionaries(value: Any) -> None:
    assert same(plain.decode(plain.encode(value)), {"a": 1})


class AlwaysEqual(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


class Colour(IntEnum):
    RED = 1


@pytest.mark.parametrize(
    "value", [AlwaysEqual(1), Colour.RED, object(), len, iter(()), range(3), type, {1: AlwaysEqual(2)}]
)
def test_what_is_not_plain_by_its_exact_type_is_refused(value: Any) -> None:
    with pytest.raises(plain.NotPlainError, match="not plain data"):
        plain.encode(value)


def test_too_deep_is_refused_on_both_sides() -> None:
    value: list[Any] = []
    for _ in range(plain.MAX_DEPTH + 5):
        value = [value]
    with pytest.raises(plain.UnboundedError):
        plain.encode(value)
    with pytest.raises(plain.NotPlainError):
        plain.decode(b"l\x00\x00\x00\x01" * (plain.MAX_DEPTH + 5) + b"N")


def test_a_list_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(plain.UnboundedError):
        plain.encode(value)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_value_or_refused(data: bytes) -> None:
    try:
        value = plain.decode(data)
    except plain.NotPlainError:
        return
    assert same(plain.decode(plain.encode(value)), value) or value != value


@given(values, st.binary(min_size=1, max_size=5))
def test_bytes_after_the_value_are_refused(value: Any, extra: bytes) -> None:
    with pytest.raises(plain.NotPlainError):
        plain.decode(plain.encode(value) + extra)


@given(values, st.data())
def test_a_value_cut_short_is_refused(value: Any, data: st.DataObject) -> None:
    encoded = plain.encode(value)
    with pytest.raises(plain.NotPlainError):
        plain.decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


@pytest.mark.parametrize("tag", [b"S", b"Z", b"m"])
def test_members_made_to_collide_are_refused(tag: bytes) -> None:
    numbers = [plain.encode(i * (2**61 - 1)) for i in range(1000)]
    members = b"".join(number + (b"N" if tag == b"m" else b"") for number in numbers)
    with pytest.raises(plain.NotPlainError, match="one hash"):
        plain.decode(tag + struct.pack(">I", len(numbers)) + members)


def test_a_list_as_a_key_is_refused() -> None:
    with pytest.raises(plain.NotPlainError):
        plain.decode(b"m\x00\x00\x00\x01l\x00\x00\x00\x00N")
