"""Items as bytes: what is refused, where it says the fault is, and how an input is cut."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark import InvalidItemError, Item
from countermark._items import split_batch, split_stream


def refusal(item: Any) -> InvalidItemError:
    """Return the error that `item` is refused with, as the second one of an input."""
    said = set()
    for split in (split_batch, split_stream):
        with pytest.raises(InvalidItemError) as caught:
            list(split([{"response": "", "reference": ""}, item], max_items=9, max_bytes=9999))
        said.add(str(caught.value))
    assert len(said) == 1
    assert caught.value.index == 1
    return caught.value


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("item", "field", "reason"),
    [
        (
            {"response": "half a pair: \ud83d", "reference": ""},
            "response",
            "holds a lone surrogate (U+D83D) at character 13",
        ),
        (
            {"response": "", "reference": {"tests": [{"output": "\udc00"}]}},
            "reference.tests[0].output",
            "U+DC00",
        ),
        ({"response": "", "reference": {"\ud800": 1}}, "reference", "has a key that holds a lone surrogate"),
        ({"\ud800": ""}, "the item", "has a key that holds a lone surrogate"),
        ({"response": "", "reference": float("nan")}, "reference", "is nan"),
        ({"response": "", "reference": "", "params": {"x": [float("-inf")]}}, "params.x[0]", "is -inf"),
        ({"response": "", "reference": {1, 2}}, "reference", "is a set"),
        ({"response": b"bytes", "reference": ""}, "response", "is a bytes"),
        ({"response": "", "reference": {(1, 2): 3}}, "reference", "has a key of type tuple"),
        ({"response": "", "reference": 10**5000}, "reference", "is an integer of 16610 bits"),
        ({"response": "", "reference": nested(100_000)}, "reference", "is nested too deeply"),
        ({"response": "", "reference": "", "id": 7.0}, "id", "is a float, neither"),
        ({"response": "", "reference": "", "id": True}, "id", "is a bool, neither"),
        (Item("", "", id="\ud800"), "id", "U+D800"),
        (Item([{"role": "assistant", "content": "\ud800"}], ""), "response[0].content", "U+D800"),
        (("response", "reference"), "the item", "is a tuple, neither a dict nor an Item"),
        (None, "the item", "is a NoneType"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isascii() else "",
)
def test_what_json_cannot_carry_is_refused_with_its_place(item: Any, field: str, reason: str) -> None:
    error = refusal(item)
    assert error.field == field
    assert reason in str(error)
    str(error).encode()  # the message itself can be logged


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert "contains itself" in str(refusal({"response": "", "reference": loop}))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
dicts = st.fixed_dictionaries({"response": st.text(), "reference": json_values})


@given(st.lists(dicts, max_size=30), st.integers(1, 7), st.integers(1, 400))
def test_parts_hold_every_item_once_in_order_and_within_bounds(
    items: list[dict[str, Any]], max_items: int, max_bytes: int
) -> None:
    for split in (split_batch, split_stream):
        parts = list(split(iter(items), max_items=max_items, max_bytes=max_bytes))
        bodies = [b",".join(part.pieces) for part in parts]
        assert [item for body in bodies for item in json.loads(b"[%b]" % body)] == items
        assert [index for part in parts for index in part.indices] == list(range(len(items)))
        assert all(len(part.ids) <= max_items for part in parts)
        assert all(len(part.ids) == 1 or len(b) <= max_bytes for part, b in zip(parts, bodies, strict=True))
        if split is split_stream:
            assert [json.loads(piece) for part in parts for piece in part.pieces] == items


@given(st.text() | st.text(st.characters(categories=["Cs", "L"])))
def test_any_text_either_arrives_unchanged_or_is_refused(text: str) -> None:
    try:
        (part,) = split_batch([{"response": text, "reference": ""}], max_items=1, max_bytes=1)
    except InvalidItemError:
        assert any("\ud800" <= character <= "\udfff" for character in text)
    else:
        assert json.loads(part.pieces[0])["response"] == text


def test_no_item_holds_a_newline_so_that_lines_can_carry_it() -> None:
    item = {"response": "a\nb\r\u2028", "reference": {"\n": "\n"}}
    (part,) = split_stream([item], max_items=1, max_bytes=1)
    assert b"\n" not in part.pieces[0]


def test_a_stream_gets_the_items_before_one_that_cannot_be_sent() -> None:
    parts = split_stream(
        [{"response": "1"}, {"response": "2"}, {"response": b""}], max_items=9, max_bytes=9999
    )
    assert next(parts).indices == range(2)
    with pytest.raises(InvalidItemError, match="item 2"):
        next(parts)


def test_a_mapping_of_any_kind_is_an_item() -> None:
    item = MappingProxyType({"response": "1", "reference": "2", "id": "x"})
    (part,) = split_batch([item], max_items=1, max_bytes=99)
    assert (json.loads(part.pieces[0]), part.ids) == ({**item}, ("x",))
