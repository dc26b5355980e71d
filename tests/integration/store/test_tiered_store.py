"""What scoring sees of a store: hits when all is well, and verdicts whatever happens to the backend."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from countermark_service.store import (
    MemoryStore,
    SqliteStore,
    Store,
    StoreSchemaError,
    TieredLimits,
    TieredStore,
)
from countermark_service.store.redis import RedisStore
from tests.integration.store.conftest import EVENT_SECONDS, entries, eventually, key
from tests.redis_server import RedisServer

LIMITS = TieredLimits(read_seconds=20, write_seconds=20, first_pause=0.02, longest_pause=0.1)
"""Gives up nothing that a busy machine delays, and is quick to ask again, so that no test waits long."""
HURRIED = replace(LIMITS, read_seconds=0.2, write_seconds=0.4)
"""For a backend that hangs."""


@contextlib.asynccontextmanager
async def tiered(backend: Store, limits: TieredLimits = LIMITS) -> AsyncIterator[TieredStore]:
    store = TieredStore(backend, limits)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


async def fresh_lookup(backend: Store, keys: Sequence[bytes]) -> list[bytes | None]:
    """Return what a service that has just started would find."""
    async with tiered(backend) as other:
        return (await other.get_many(keys)).values


# All is well


async def test_what_is_discarded_is_gone_from_the_lru_and_the_backend(store: Store) -> None:
    async with tiered(store) as mine:
        mine.put_many(entries(0, 3))
        assert await mine.flush() == 0
        await mine.discard_many([key(0), key(2)])
        wanted = [None, entries(1, 1)[key(1)], None]
        assert (await mine.get_many([key(0), key(1), key(2)])).values == wanted
        assert mine.health().lru_bytes == len(entries(1, 1)[key(1)]) + 256
        assert await fresh_lookup(_Shared(store), [key(0), key(1), key(2)]) == wanted


async def test_what_was_put_is_there_at_once_and_for_the_next_service(store: Store) -> None:
    kept = entries(0, 300)
    async with tiered(store) as mine:
        mine.put_many(kept)
        lookup = await mine.get_many(list(kept))
        assert lookup.values == list(kept.values())
        assert not lookup.degraded
        assert mine.peek(list(kept)) == list(kept.values())
        assert await mine.flush() == 0
        async with tiered(_Shared(store)) as other:
            assert other.peek(list(kept)) == [None] * 300
            assert (await other.get_many(list(kept))).values == list(kept.values())
            assert other.peek(list(kept)) == list(kept.values())


async def test_what_is_settled_is_what_the_first_has_written_and_is_there_for_others_at_once(
    tmp_path: Path,
) -> None:
    file = tmp_path / "store.sqlite"
    async with tiered(SqliteStore(file)) as mine, tiered(SqliteStore(file)) as other:
        assert await mine.settle({key(1): b"mine", key(2): b"also mine"}, [key(1)]) == [b"mine"]
        assert (await other.get_many([key(2)])).values == [b"also mine"]
        assert other.peek([key(1)]) == [None]
        assert await other.settle({key(1): b"late", key(3): b"late, too"}, [key(1), key(3)]) == [
            b"mine",
            b"late, too",
        ]
        assert other.peek([key(1), key(3)]) == [b"mine", b"late, too"]


async def test_what_a_backend_does_not_take_is_not_settled_and_written_when_it_does(
    redis: RedisServer,
) -> None:
    async with tiered(RedisStore(redis.url), HURRIED) as store:
        redis.stop()
        assert await store.settle({key(1): b"one"}, [key(1)]) is None
        assert store.peek([key(1)]) == [None]
        redis.start()
        await eventually(lambda: store.health().queued_writes == 0)
        assert (await store.get_many([key(1)])).values == [b"one"]


async def test_a_value_over_the_limit_is_not_settled_and_nothing_that_points_to_it(store: Store) -> None:
    async with tiered(store, replace(LIMITS, value_bytes=1000)) as mine:
        assert await mine.settle({key(1): bytes(1001), key(2): key(1)}, [key(2)]) is None
        assert mine.counters.dropped == 2
        assert await mine.flush() == 0
        assert (await mine.get_many([key(1), key(2)])).values == [None, None]
        assert await fresh_lookup(_Shared(store), [key(1), key(2)]) == [None, None]


async def test_counters_tell_which_tier_answered(shared_redis: RedisServer) -> None:
    shared_redis.command("FLUSHALL")
    async with tiered(RedisStore(shared_redis.url)) as other:
        other.put_many(entries(0, 10))
        await other.flush()
    async with tiered(RedisStore(shared_redis.url)) as store:
        store.put_many(entries(5, 2))
        await store.get_many([key(number) for number in range(12)])
        counters = store.counters
        assert (counters.lru_hits, counters.backend_hits, counters.misses) == (2, 8, 2)
        await store.get_many([key(number) for number in range(12)])
        counters = store.counters
        assert (counters.lru_hits, counters.backend_hits, counters.misses) == (12, 8, 4)
        await store.flush()
        assert store.counters.written == 2


async def test_a_key_asked_twice_is_answered_twice(shared_redis: RedisServer) -> None:
    shared_redis.command("FLUSHALL")
    async with tiered(RedisStore(shared_redis.url)) as store:
        store.put_many({key(1): b"one"})
        assert (await store.get_many([key(2), key(1), key(2), key(1)])).values == [None, b"one", None, b"one"]


async def test_close_writes_what_was_queued(tmp_path: Path) -> None:
    kept = entries(0, 3000)
    async with tiered(SqliteStore(tmp_path / "verdicts.sqlite")) as store:
        store.put_many(kept)
    assert await fresh_lookup(SqliteStore(tmp_path / "verdicts.sqlite"), list(kept)) == list(kept.values())


async def test_a_value_over_the_limit_is_not_stored_and_counted(shared_redis: RedisServer) -> None:
    limits = TieredLimits(value_bytes=1000)
    async with tiered(RedisStore(shared_redis.url), limits) as store:
        store.put_many({key(1): bytes(1001), key(2): bytes(1000)})
        assert store.peek([key(1), key(2)]) == [None, bytes(1000)]
        assert store.counters.dropped == 1


async def test_the_lru_gives_way_and_the_backend_still_answers(shared_redis: RedisServer) -> None:
    shared_redis.command("FLUSHALL")
    kept = entries(0, 50)
    async with tiered(RedisStore(shared_redis.url), replace(LIMITS, lru_entries=10)) as store:
        store.put_many(kept)
        await store.flush()
        assert store.counters.lru_evictions == 40
        assert (await store.get_many(list(kept))).values == list(kept.values())


# The backend fails


async def test_a_redis_that_is_killed_in_mid_run_costs_hits_and_is_used_again_when_it_is_back(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "countermark_service.store")
    async with tiered(RedisStore(redis.url)) as store:
        store.put_many(entries(0, 10))
        assert await store.flush() == 0
        redis.kill()
        for first in range(100, 110):
            lookup = await store.get_many([key(1), key(first)])
            assert lookup.values == [entries(1, 1)[key(1)], None]
            assert lookup.degraded
            store.put_many(entries(first, 1))
        assert store.degraded == "store_unavailable"
        assert store.health().degraded == "store_unavailable"
        assert "redis store" in (store.health().problem or "")
        assert store.counters.read_errors == 3  # then it was left alone
        assert store.counters.reads_skipped == 7
        assert not (await store.get_many([key(105)])).degraded  # still in the LRU

        await eventually(lambda: store.counters.write_errors > 0)
        redis.start()
        await eventually(lambda: store.degraded is None and store.health().queued_writes == 0)
        assert not (await store.get_many([key(500)])).degraded
        assert await fresh_lookup(RedisStore(redis.url), [key(1), key(100), key(109)]) == [
            None,  # what the killed server held is gone
            entries(100, 1)[key(100)],
            entries(109, 1)[key(109)],
        ]
    said = [record.getMessage() for record in caplog.records]
    assert len([line for line in said if "goes on without stored verdicts" in line]) == 1
    assert len([line for line in said if "verdicts are not stored for now" in line]) == 1
    assert "the redis store answers again" in said


async def test_a_redis_that_hangs_costs_a_few_deadlines_and_is_used_again_when_it_runs(
    redis: RedisServer,
) -> None:
    async with tiered(RedisStore(redis.url), HURRIED) as store:
        store.put_many(entries(0, 10))
        await store.flush()
        redis.pause()
        async with asyncio.timeout(EVENT_SECONDS):
            for number in range(100, 150):
                lookup = await store.get_many([key(number)])
                assert lookup.values == [None]
                assert lookup.degraded
        assert store.counters.read_timeouts == 3
        assert store.counters.reads_skipped == 47
        redis.resume()
        await eventually(lambda: store.degraded is None)
    assert await fresh_lookup(RedisStore(redis.url), [key(3)]) == [entries(3, 1)[key(3)]]


async def test_many_lookups_at_once_on_a_hanging_redis_wait_one_deadline_together(redis: RedisServer) -> None:
    async with tiered(RedisStore(redis.url), HURRIED) as store:
        redis.pause()
        async with asyncio.timeout(EVENT_SECONDS):
            lookups = await asyncio.gather(*[store.get_many([key(number)]) for number in range(200)])
        assert all(lookup.degraded and lookup.values == [None] for lookup in lookups)
        assert store.counters.read_timeouts == 200
        redis.resume()
        await eventually(lambda: store.degraded is None)


async def test_a_service_starts_without_redis_and_uses_it_when_it_comes(redis: RedisServer) -> None:
    redis.kill()
    async with tiered(RedisStore(redis.url)) as store:
        assert store.degraded == "store_unavailable"
        store.put_many(entries(0, 5))
        redis.start()
        await eventually(lambda: store.degraded is None and store.health().queued_writes == 0)
    assert None not in await fresh_lookup(RedisStore(redis.url), list(entries(0, 5)))


async def test_a_full_redis_is_read_and_written_again_when_it_has_room(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    limits = replace(LIMITS, first_pause=600, longest_pause=600)  # only `flush` tries again before that
    async with tiered(RedisStore(redis.url), limits) as store:
        store.put_many(entries(0, 10))
        await store.flush()
        redis.command("CONFIG", "SET", "maxmemory", "1")
        for first in range(10, 50):
            store.put_many(entries(first, 1))
            assert await store.flush() > 0
        assert store.degraded == "store_not_writable"
        assert "maxmemory" in (store.health().problem or "")
        assert not (await store.get_many([key(999)])).degraded
        assert caplog.text.count("verdicts are not stored for now") == 1
        redis.command("CONFIG", "SET", "maxmemory", "0")
        assert await store.flush() == 0
        assert store.health().degraded is None
        assert store.counters.written == 50
    assert None not in await fresh_lookup(RedisStore(redis.url), list(entries(0, 50)))


async def test_writes_that_find_the_queue_full_are_dropped_and_counted(redis: RedisServer) -> None:
    redis.kill()
    limits = TieredLimits(queue_entries=20, queue_bytes=1000)
    store = TieredStore(RedisStore(redis.url), limits)
    await store.start()
    store.put_many(entries(0, 30, size=10))
    assert store.health().queued_writes == 20
    store.put_many(entries(100, 2, size=1000))
    assert store.counters.dropped == 12
    assert store.peek([key(29), key(101)]) == [
        entries(29, 1, size=10)[key(29)],
        entries(101, 1, size=1000)[key(101)],
    ]
    await store.close()
    assert store.counters.dropped == 32  # what was still queued at the end is counted, too


async def test_what_was_written_makes_room_in_the_queue(shared_redis: RedisServer) -> None:
    limits = TieredLimits(queue_entries=20, queue_bytes=2000)
    async with tiered(RedisStore(shared_redis.url), limits) as store:
        for first in range(0, 200, 20):
            store.put_many(entries(first, 20, size=100))
            assert await store.flush() == 0
        assert store.counters.dropped == 0
        assert store.counters.written == 200


async def test_a_disk_that_fails_costs_hits_and_a_good_file_is_used_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.sqlite"
    file.mkdir()
    async with tiered(SqliteStore(file)) as store:
        assert store.degraded == "store_unavailable"
        store.put_many(entries(0, 5))
        assert (await store.get_many([key(0), key(9)])).values == [entries(0, 1)[key(0)], None]
        file.rmdir()
        await eventually(lambda: store.degraded is None and store.health().queued_writes == 0)
    assert None not in await fresh_lookup(SqliteStore(file), list(entries(0, 5)))


async def test_a_file_of_a_newer_release_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.sqlite"
    async with tiered(SqliteStore(file)):
        pass
    with contextlib.closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA user_version = 2")
    with pytest.raises(StoreSchemaError, match="Upgrade Countermark"):
        await TieredStore(SqliteStore(file)).start()


async def test_an_answer_that_came_while_the_event_loop_was_busy_counts(redis: RedisServer) -> None:
    limits = replace(LIMITS, read_seconds=0.5, failures_to_open=1)
    async with tiered(RedisStore(redis.url), limits) as store:
        store.put_many(entries(0, 10))
        await store.flush()
        assert (await store.get_many([key(77)])).values == [None]  # from here on there is a connection
        redis.pause()
        lookup = asyncio.ensure_future(store.get_many([key(78)]))
        for _ in range(5):
            await asyncio.sleep(0)  # the question is on its way

        def compute() -> None:
            redis.resume()
            redis.command("PING")  # it runs, and answers in order
            time.sleep(1)  # two deadlines, in which the answer comes in

        asyncio.get_running_loop().call_soon(compute)
        assert not (await lookup).degraded
        assert store.counters.read_timeouts == 0


async def test_a_lookup_that_is_given_up_is_not_held_against_the_backend(redis: RedisServer) -> None:
    async with tiered(RedisStore(redis.url)) as store:
        redis.pause()
        for number in range(10):
            lookup = asyncio.ensure_future(store.get_many([key(number)]))
            await asyncio.sleep(0)
            lookup.cancel()
            await asyncio.wait({lookup})
        redis.resume()
        assert store.degraded is None
        assert not (await store.get_many([key(1)])).degraded


async def test_many_requests_during_an_outage_each_get_all_their_verdict_slots(redis: RedisServer) -> None:
    """One server, killed and started again and again, under traffic: order and count always hold."""
    async with tiered(RedisStore(redis.url)) as store:
        stop = asyncio.Event()

        async def traffic(first: int) -> int:
            rounds = 0
            while not stop.is_set():
                kept = entries(first + rounds % 7 * 10, 10)
                lookup = await store.get_many(list(kept))
                assert all(
                    answer in (None, right)
                    for answer, right in zip(lookup.values, kept.values(), strict=True)
                )
                store.put_many(kept)
                rounds += 1
                await asyncio.sleep(0)
            return rounds

        callers = [asyncio.create_task(traffic(first)) for first in range(0, 800, 100)]
        for _ in range(3):
            await asyncio.to_thread(redis.restart)
            await eventually(lambda: store.degraded is None)
        stop.set()
        assert min(await asyncio.gather(*callers)) > 3


async def test_a_bug_in_a_backend_is_shown_and_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    store = TieredStore(_Faulty(MemoryStore()), LIMITS)
    await store.start()
    store.put_many(entries(0, 5))
    with pytest.raises(ZeroDivisionError):
        await store.flush()
    assert store.degraded == "store_not_writable"
    assert "ZeroDivisionError" in caplog.text
    assert store.peek([key(1)]) == [entries(1, 1)[key(1)]]
    with pytest.raises(ZeroDivisionError):
        await store.close()


class _Shared:
    """Another service's view of one running store: it may not close it."""

    def __init__(self, store: Store) -> None:
        self.name = store.name
        self._store = store

    async def start(self) -> None:
        await self._store.start()

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return await self._store.get_many(keys)

    async def put_many(self, entries: Mapping[bytes, bytes]) -> None:
        await self._store.put_many(entries)

    async def discard_many(self, keys: Sequence[bytes]) -> None:
        await self._store.discard_many(keys)

    async def close(self) -> None:
        """Leave it open."""


class _Faulty(_Shared):
    """A backend with a bug in it, as a third-party one might have."""

    async def put_many(self, entries: Mapping[bytes, bytes]) -> None:
        raise ZeroDivisionError


async def test_a_store_in_memory_serves_as_a_backend() -> None:
    async with tiered(MemoryStore()) as store:
        store.put_many(entries(0, 5))
        assert await store.flush() == 0
        assert store.health().degraded is None
        assert store.health().queued_writes == 0
        assert store.health().lru_entries == 5
