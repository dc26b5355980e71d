"""The bytes that stand for an item: equal where the verdict must be, different wherever it may be."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark_service.model import Item, item_digests, item_keys, last_assistant_text, reduced_key

DIGEST = bytes(range(32))


def canonical(uses_prompt: bool = False, **parts: Any) -> bytes:
    return Item(**{"response": "a", "reference": "b", **parts}).canonical(uses_prompt=uses_prompt)


def test_the_canonical_form_is_a_compact_array_of_four() -> None:
    item = Item("a é", {"z": 1, "a": [True, None]}, {"t": 0.5}, "why?", "id")
    assert item.canonical(uses_prompt=False) == '["a é",{"a":[true,null],"z":1},{"t":0.5},null]'.encode()
    assert item.canonical(uses_prompt=True) == '["a é",{"a":[true,null],"z":1},{"t":0.5},"why?"]'.encode()


def test_the_order_of_keys_does_not_count_at_any_depth() -> None:
    one = {"a": 1, "b": {"c": [{"d": 1, "e": 2}]}}
    other = {"b": {"c": [{"e": 2, "d": 1}]}, "a": 1}
    assert canonical(reference=one) == canonical(reference=other)
    assert canonical(params=one) == canonical(params=other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0), (1, "1"), (0.0, -0.0), (1, True), (0, False), (10**30, 1e30), (None, "null"), (None, False),
        ("", None), ([], {}), (["a"], "a"), ([1, 2], [2, 1]), ([[1], 2], [1, [2]]), ({"a": 1}, {"a": None}),
        ({}, {"a": None}), ({"1": 1}, {"1": 1.0}), ("é", "e\u0301"), ("a", "A"), ("a", "a "),
    ],
)  # fmt: skip
def test_values_that_a_verifier_can_tell_apart_have_different_bytes(one: Any, other: Any) -> None:
    assert canonical(reference=one) != canonical(reference=other)
    assert canonical(params={"p": one}) != canonical(params={"p": other})


def test_parts_cannot_be_mistaken_for_each_other() -> None:
    forms = [
        canonical(response="x", reference="y"),
        canonical(response="y", reference="x"),
        canonical(response='x","y', reference=""),
        canonical(response="x", reference="y", params={"p": 1}),
        canonical(uses_prompt=True, response="x", reference="y", prompt=""),
    ]
    assert len(set(forms)) == len(forms)


def test_the_prompt_takes_part_only_where_the_manifest_says_so() -> None:
    assert canonical(prompt="one") == canonical(prompt="two") == canonical()
    assert canonical(uses_prompt=True, prompt="one") != canonical(uses_prompt=True, prompt="two")
    assert canonical(uses_prompt=True, prompt=None) != canonical(uses_prompt=True, prompt="")


def test_the_id_takes_no_part() -> None:
    assert canonical(id="one") == canonical(id=2) == canonical()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.text(), json_values, st.dictionaries(st.text(), json_values, max_size=3), st.none() | st.text())
def test_a_worker_reads_from_the_bytes_exactly_what_was_sent(
    response: str, reference: Any, params: dict[str, Any], prompt: str | None
) -> None:
    sent = [response, reference, params, prompt]
    read = json.loads(Item(response, reference, params, prompt).canonical(uses_prompt=True))
    # As text, since == does not tell 1, 1.0 and true apart.
    assert json.dumps(read, sort_keys=True) == json.dumps(sent, sort_keys=True)


def key(uses_prompt: bool = False, **parts: Any) -> bytes:
    (made,) = item_keys(
        DIGEST, [Item(**{"response": "a", "reference": "b", **parts})], uses_prompt=uses_prompt
    )
    return made


def test_a_key_is_the_hash_of_the_digest_the_other_parts_and_the_response_as_it_is() -> None:
    item = Item('a "\\é', "b", {"p": 1}, "why?")
    without, with_prompt = (hashlib.sha256(DIGEST + head + 'a "\\é'.encode()).digest() for head in (
        b'["b",{"p":1},null]', b'["b",{"p":1},"why?"]',
    ))  # fmt: skip
    assert item_keys(DIGEST, [item, item], uses_prompt=False) == [without, without]
    assert item_keys(DIGEST, [item], uses_prompt=True) == [with_prompt]


def test_a_digest_is_the_hash_of_the_verifier_and_the_canonical_item() -> None:
    items = [Item("long " * (1000 - 200 * n), {"n": n}, {"p": n}, f"prompt {n}") for n in range(5)]
    for uses_prompt in (False, True):
        made = [hashlib.sha256(DIGEST + one.canonical(uses_prompt=uses_prompt)).digest() for one in items]
        assert item_digests(DIGEST, items, uses_prompt=uses_prompt) == made
        assert item_digests(DIGEST, items[::-1], uses_prompt=uses_prompt) == made[::-1]


@given(*[st.tuples(st.text('[]{}",\\a1'), st.text('[]{}",\\a1'))] * 2)
def test_two_items_have_one_key_only_where_their_bytes_are_equal(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    first, second = (Item(*parts) for parts in (one, other))
    keys = item_keys(DIGEST, [first, second], uses_prompt=False)
    same = first.canonical(uses_prompt=False) == second.canonical(uses_prompt=False)
    assert (keys[0] == keys[1]) is same


def test_no_part_of_a_key_can_be_mistaken_for_another() -> None:
    keys = [
        key(response="x", reference="y"),
        key(response="y", reference="x"),
        key(response=",{},null]x", reference="y"),
        key(response="x", reference='y",{},null]'),
        key(response="x", reference="y", params={"p": 1}),
        key(response='["y",{},null]x', reference="y"),
        key(uses_prompt=True, response="x", reference="y", prompt=""),
        hashlib.sha256(DIGEST + canonical(response="x", reference="y")).digest(),
    ]
    assert len(set(keys)) == len(keys)
    assert key(prompt="one", id=1) == key(prompt="two", id=2) == key()


def test_a_reduction_never_has_the_key_of_an_item() -> None:
    assert reduced_key(DIGEST, b'["b",{},null]a') != key()
    assert reduced_key(DIGEST, b"x") != reduced_key(DIGEST[::-1], b"x")


def said(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([said("user", "q"), said("assistant", "a")], "a"),
        ([said("assistant", "a"), said("user", "q")], "a"),
        ([said("assistant", "first"), said("user", "q"), said("assistant", "last")], "last"),
        ([said("assistant", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])], "ab"),
        ([said("assistant", [{"type": "image_url", "image_url": {}}, {"type": "text", "text": "b"}])], "b"),
        ([said("assistant", [])], ""),
        ([said("assistant", "")], ""),
        ([said("assistant", None)], ""),
        ([{"role": "assistant", "tool_calls": []}], ""),
        ([said("user", "q")], None),
        ([said("Assistant", "a")], None),
        ([], None),
    ],
)
def test_of_chat_messages_the_last_of_the_assistant_is_the_response(
    messages: list[dict[str, Any]], text: str | None
) -> None:
    assert last_assistant_text(messages) == text
