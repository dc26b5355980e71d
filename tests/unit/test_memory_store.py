"""The LRU in front of every store: its bounds, its order, and what it costs to be full."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark_service.store import Lru
from countermark_service.store.memory import ENTRY_OVERHEAD_BYTES


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_the_least_recently_used_entry_leaves_first() -> None:
    lru = Lru(max_entries=3)
    lru.put_many({key(1): b"1", key(2): b"2", key(3): b"3"})
    lru.get_many([key(1)])
    lru.put_many({key(4): b"4"})
    assert lru.get_many([key(1), key(2), key(3), key(4)]) == [b"1", None, b"3", b"4"]
    assert lru.evictions == 1


def test_the_bound_of_bytes_counts_the_values_and_the_overhead() -> None:
    lru = Lru(max_bytes=2 * (100 + ENTRY_OVERHEAD_BYTES))
    lru.put_many({key(1): bytes(100), key(2): bytes(100)})
    assert len(lru) == 2
    lru.put_many({key(3): b""})
    assert lru.get_many([key(1), key(2), key(3)]) == [None, bytes(100), b""]
    assert lru.size_bytes == 100 + 2 * ENTRY_OVERHEAD_BYTES


def test_a_value_over_the_whole_bound_is_not_kept_and_drives_nothing_out() -> None:
    lru = Lru(max_bytes=1000)
    lru.put_many({key(1): b"small"})
    lru.put_many({key(2): bytes(1000)})
    assert lru.get_many([key(1), key(2)]) == [b"small", None]


def test_the_first_value_of_a_key_stays() -> None:
    lru = Lru()
    lru.put_many({key(1): b"first"})
    lru.put_many({key(1): b"second, and longer"})
    assert lru.get_many([key(1)]) == [b"first"]
    assert lru.size_bytes == len(b"first") + ENTRY_OVERHEAD_BYTES


def test_an_empty_value_is_a_hit() -> None:
    lru = Lru()
    lru.put_many({key(1): b""})
    assert lru.get_many([key(1)]) == [b""]


@pytest.mark.parametrize("bounds", [{"max_entries": 0}, {"max_bytes": 0}, {"max_bytes": -1}])
def test_bounds_that_hold_nothing_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Lru(**bounds)


@given(
    steps=st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 12), max_size=6)), max_size=40),
    max_entries=st.integers(1, 6),
)
def test_it_agrees_with_a_list_that_is_kept_in_order_of_use(
    steps: list[tuple[bool, list[int]]], max_entries: int
) -> None:
    lru = Lru(max_entries=max_entries)
    model: list[int] = []  # oldest use first
    for is_put, numbers in steps:
        if is_put:
            lru.put_many({key(number): str(number).encode() for number in numbers})
            model += [number for number in dict.fromkeys(numbers) if number not in model]
            model = model[-max_entries:]
            continue
        answers = lru.get_many([key(number) for number in numbers])
        assert answers == [str(number).encode() if number in model else None for number in numbers]
        for number in numbers:
            if number in model:
                model.remove(number)
                model.append(number)
    assert len(lru) == len(model)
