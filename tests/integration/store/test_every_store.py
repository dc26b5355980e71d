"""What every store does, whatever it is made of."""

import asyncio
import os
import random

import pytest

from countermark_service.store import Store, StoreUnavailableError
from tests.integration.store.conftest import entries, key


async def test_an_empty_store_knows_nothing(store: Store) -> None:
    assert await store.get_many([key(1), key(2)]) == [None, None]


async def test_a_value_comes_back_under_its_key(store: Store) -> None:
    await store.put_many({key(1): b"one"})
    assert await store.get_many([key(1)]) == [b"one"]


async def test_values_come_in_the_order_of_the_keys_with_gaps_where_nothing_is_kept(store: Store) -> None:
    kept = entries(0, 50)
    await store.put_many(kept)
    asked = [key(number) for number in range(100)]
    random.Random(7).shuffle(asked)
    assert await store.get_many(asked) == [kept.get(each) for each in asked]


async def test_a_key_may_be_asked_twice_in_one_lookup(store: Store) -> None:
    await store.put_many(entries(1, 1))
    one = entries(1, 1)[key(1)]
    assert await store.get_many([key(1), key(2), key(1)]) == [one, None, one]


@pytest.mark.parametrize("count", [1, 3, 4, 5, 63, 255, 256, 257, 1024, 4096])
async def test_batches_of_any_size_come_back_whole(store: Store, count: int) -> None:
    kept = entries(0, count)
    await store.put_many(kept)
    assert await store.get_many(list(kept)) == list(kept.values())


async def test_no_keys_and_no_entries_are_no_error(store: Store) -> None:
    await store.put_many({})
    assert await store.get_many([]) == []


async def test_values_are_bytes_of_every_kind(store: Store) -> None:
    every_byte = bytes(range(256))
    kept = {
        key(0): b"",
        key(1): b"\0",
        key(2): b"\0\0\0\0end",
        key(3): every_byte * 4,
        key(4): os.urandom(1024 * 1024),
        key(5): "ünïcödé".encode(),
        key(6): b"\xff\xfe\xed",
        bytes(32): b"a key of zeros",
        b"\xff" * 32: b"a key of ones",
        b"\r\n$5\r\n".ljust(32, b"*"): b"a key that looks like a protocol\r\n",
    }
    await store.put_many(kept)
    assert await store.get_many(list(kept)) == list(kept.values())


async def test_keys_that_share_their_first_eight_bytes_are_never_taken_for_each_other(store: Store) -> None:
    start = b"8 bytes!"
    kept = {start + b"a" * 24: b"of a", start + b"b" * 24: b"of b"}
    await store.put_many(kept)
    answers = await store.get_many([*kept, start + b"c" * 24])
    assert set(answers[:2]) <= {b"of a", b"of b", None}
    assert answers[0] != b"of b"
    assert answers[1] != b"of a"
    assert any(answers[:2])
    assert answers[2] is None


async def test_putting_the_same_entries_again_changes_nothing(store: Store) -> None:
    kept = entries(0, 20)
    await store.put_many(kept)
    await store.put_many(kept | entries(20, 5))
    assert await store.get_many(list(kept)) == list(kept.values())
    assert await store.get_many([key(24)]) == [entries(24, 1)[key(24)]]


@pytest.mark.parametrize("length", [0, 31, 33])
async def test_a_key_of_another_length_is_refused_before_anything_is_kept(store: Store, length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        await store.put_many({key(1): b"right", b"k" * length: b"wrong"})
    with pytest.raises(ValueError, match="32 bytes"):
        await store.get_many([key(1), b"k" * length])
    assert await store.get_many([key(1)]) == [None]


async def test_many_callers_at_once_each_get_their_own_values(store: Store) -> None:
    async def one(first: int) -> None:
        kept = entries(first, 40)
        await store.put_many(kept)
        assert await store.get_many(list(kept)) == list(kept.values())

    await asyncio.gather(*[one(first) for first in range(0, 2000, 40)])


async def test_lookups_that_are_given_up_do_not_mix_up_the_next_answers(store: Store) -> None:
    kept = entries(0, 300)
    await store.put_many(kept)
    keys = list(kept)
    for round_ in range(30):
        lookup = asyncio.ensure_future(store.get_many(keys))
        for _ in range(round_ % 7):
            await asyncio.sleep(0)
        lookup.cancel()
        await asyncio.wait({lookup})
        asked = keys[round_ : round_ + 5]
        assert await store.get_many(asked) == [kept[each] for each in asked]


async def test_close_may_be_called_twice_and_a_closed_store_that_held_something_says_so(store: Store) -> None:
    await store.put_many(entries(0, 3))
    await store.close()
    await store.close()
    if store.name != "memory":
        with pytest.raises(StoreUnavailableError, match="it is closed"):
            await store.get_many([key(1)])


async def test_what_is_discarded_is_gone_and_can_be_kept_anew(store: Store) -> None:
    kept = entries(0, 300)
    await store.put_many(kept)
    gone = [key(1), key(7), key(299), key(500)]
    await store.discard_many(gone)
    assert await store.get_many(list(kept)) == [None if each in gone else kept[each] for each in kept]
    await store.put_many({key(7): b"another"})
    assert await store.get_many([key(1), key(7)]) == [None, b"another"]
    await store.discard_many([])


async def test_discarding_spares_a_key_that_shares_its_first_eight_bytes(store: Store) -> None:
    start = b"8 bytes!"
    await store.put_many({start + b"a" * 24: b"of a"})
    await store.discard_many([start + b"b" * 24])
    assert await store.get_many([start + b"a" * 24]) == [b"of a"]
    with pytest.raises(ValueError, match="32 bytes"):
        await store.discard_many([b"short"])
