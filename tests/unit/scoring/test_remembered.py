"""What is remembered by its texts is what the store says, and nothing else is."""

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from countermark_service.model import Item, Outcome, Verdict, item_keys
from countermark_service.remembered import Familiar, Scored

ONE, OTHER = b"1" * 32, b"2" * 32

# Few texts and values, so that equal and nearly equal items meet.
texts = st.sampled_from(["", "1", "2", "a", "ä"])
values = st.one_of(texts, st.sampled_from([1, 1.0, True, None, ["1"], {"a": "1"}]))
items = st.builds(
    Item, texts, values, st.sampled_from([{}, {"unit": "m"}]), st.one_of(st.none(), texts), texts
)


def scored(mark: Any) -> Scored:
    return Verdict.made(Outcome.SCORED, 1.0, json.dumps({"mark": mark}).encode(), b"{}"), True


def known(familiar: Familiar, item: Item, identity: bytes = ONE, *, uses_prompt: bool = False) -> Any:
    found = familiar.get_all(identity, [item], uses_prompt=uses_prompt)
    return None if found is None else found[0]


@given(st.lists(items, max_size=12), st.lists(items, max_size=12), st.booleans())
def test_what_is_remembered_is_what_the_key_says(
    kept: list[Item], asked: list[Item], uses_prompt: bool
) -> None:
    familiar = Familiar(max_entries=1000)
    by_key: dict[bytes, Scored] = {}
    for item in kept:
        (key,) = item_keys(ONE, [item], uses_prompt=uses_prompt)
        found = by_key.setdefault(key, scored(key.hex()))
        familiar.put_all(ONE, [item], [found], uses_prompt=uses_prompt)
    for item in [*kept, *asked]:
        (key,) = item_keys(ONE, [item], uses_prompt=uses_prompt)
        plain = isinstance(item.reference, str) and not item.params
        assert known(familiar, item, uses_prompt=uses_prompt) == (by_key.get(key) if plain else None)
        assert known(familiar, item, OTHER, uses_prompt=uses_prompt) is None


def test_a_batch_is_remembered_whole_or_not_at_all_and_in_order() -> None:
    familiar = Familiar(max_entries=1000)
    batch = [Item(f"{n}", "1") for n in range(5)]
    familiar.put_all(ONE, batch, [scored(0), scored(1), None, scored(3), scored(4)], uses_prompt=False)
    assert familiar.get_all(ONE, batch, uses_prompt=False) is None
    assert familiar.get_all(ONE, [], uses_prompt=False) is None
    assert familiar.get_all(ONE, [batch[4], batch[0], batch[4]], uses_prompt=False) == [
        scored(4), scored(0), scored(4),
    ]  # fmt: skip


@pytest.mark.parametrize("odd", [Item("1", "1", {"unit": "m"}), Item("1", ["1"]), Item("1", 1)], ids=repr)
def test_a_batch_with_what_is_never_remembered_goes_to_the_store(odd: Item) -> None:
    familiar = Familiar(max_entries=1000)
    plain = Item("1", "1")
    familiar.put_all(ONE, [plain, odd], [scored("plain"), scored("odd")], uses_prompt=False)
    assert known(familiar, plain) == scored("plain")
    assert familiar.get_all(ONE, [plain, odd], uses_prompt=False) is None
    assert familiar.get_all(ONE, [odd, plain], uses_prompt=False) is None


def test_it_is_bounded_in_entries_and_in_bytes() -> None:
    familiar = Familiar(max_entries=10)
    many = [Item(f"{n}", "1") for n in range(11)]
    familiar.put_all(ONE, many, [scored(0)] * 11, uses_prompt=False)
    assert known(familiar, many[0]) is None, "more than it may hold"
    for item in many:
        familiar.put_all(ONE, [item], [scored(0)], uses_prompt=False)
    assert [known(familiar, item) is None for item in many] == [True] * 10 + [False]

    familiar = Familiar(max_entries=1000, max_bytes=100_000)
    long = [Item(f"{n}" * 30_000, "1") for n in range(4)]
    for item in long:
        familiar.put_all(OTHER, [item], [scored(0)], uses_prompt=False)
    assert [known(familiar, item, OTHER) is None for item in long] == [True, True, True, False]
    familiar.put_all(ONE, [Item("x" * 90_000, "1")], [scored(0)], uses_prompt=False)
    assert known(familiar, Item("x" * 90_000, "1")) is None, "too large to be worth it"
    assert known(familiar, long[3], OTHER) == scored(0)
