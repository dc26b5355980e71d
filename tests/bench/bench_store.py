"""What looking up 256 stored verdicts costs, in each store and in front of one.

Prints CPU and wall milliseconds for one lookup of 256 random keys of 51,200, all of
them kept: the median of five rounds, each beside its baseline from the same minute.
CPU time is the whole process's, threads included, and not the Redis server's.

    python tests/bench/bench_store.py
"""

import asyncio
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from redis.asyncio import Redis

from countermark_service.store import Lru, SqliteStore, Store, TieredLimits, TieredStore
from countermark_service.store.redis import KEY_PREFIX, RedisStore
from countermark_service.store.sqlite_file import VerdictReader
from tests.redis_server import RedisServer

KEYS, BATCH, LOOKUPS, ROUNDS = 51_200, 256, 60, 5
VALUE_BYTES = 300

LookupCall = Callable[[list[bytes]], Awaitable[object]]


async def measured(lookup: LookupCall, batches: list[list[bytes]]) -> tuple[float, float]:
    """Return CPU and wall milliseconds of one lookup, each the median of all rounds."""
    for batch in batches:
        await lookup(list(batch))
    cpu, wall = [], []
    for _ in range(ROUNDS):
        cpu_start, wall_start = time.process_time(), time.perf_counter()
        for batch in batches:
            await lookup(batch)
        cpu.append((time.process_time() - cpu_start) / len(batches) * 1000)
        wall.append((time.perf_counter() - wall_start) / len(batches) * 1000)
    return statistics.median(cpu), statistics.median(wall)


def show(name: str, result: tuple[float, float], baseline: tuple[str, tuple[float, float]] | None) -> None:
    line = f"{name:<44}{result[0]:>8.3f}{result[1]:>9.3f}"
    if baseline is not None:
        line += f"   {result[0] / baseline[1][0]:.2f} x {baseline[0]} ({baseline[1][0]:.3f})"
    print(line, flush=True)


async def fill(store: Store, kept: dict[bytes, bytes]) -> float:
    """Put all entries, 1,024 at a time; return CPU milliseconds per 256."""
    keys = list(kept)
    start = time.process_time()
    for first in range(0, len(keys), 1024):
        await store.put_many({key: kept[key] for key in keys[first : first + 1024]})
    return (time.process_time() - start) * 1000 / (len(keys) / BATCH)


async def bench_lru(kept: dict[bytes, bytes], batches: list[list[bytes]]) -> None:
    lru = Lru(max_bytes=1024**3)
    lru.put_many(kept)

    async def lookup(keys: list[bytes]) -> object:
        return lru.get_many(keys)

    async def plain(keys: list[bytes]) -> object:
        return [kept.get(key) for key in keys]

    show("LRU", await measured(lookup, batches), ("dict.get in a loop", await measured(plain, batches)))


async def bench_sqlite(folder: Path, kept: dict[bytes, bytes], batches: list[list[bytes]]) -> None:
    file = folder / "verdicts.sqlite"
    store = SqliteStore(file)
    put_ms = await fill(store, kept)
    plain = sqlite3.connect(folder / "plain.sqlite", isolation_level=None, check_same_thread=False)
    plain.execute("PRAGMA journal_mode = WAL")
    plain.execute("CREATE TABLE verdicts (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
    plain.execute("BEGIN")
    plain.executemany("INSERT INTO verdicts VALUES (?, ?)", kept.items())
    plain.execute("COMMIT")
    marks = ",".join("?" * BATCH)

    def rows(keys: list[bytes]) -> object:
        return dict(plain.execute(f"SELECT key, value FROM verdicts WHERE key IN ({marks})", keys).fetchall())

    async def plain_lookup(keys: list[bytes]) -> object:
        return rows(keys)

    baseline = ("blob key, row by row, no thread", await measured(plain_lookup, batches))
    show("SQLite", await measured(store.get_many, batches), baseline)
    bench_busy(file, rows, batches[:5])
    print(f"{'SQLite, put 256 in batches of 1,024':<44}{put_ms:>8.3f}")
    tiered = TieredStore(store, TieredLimits(lru_entries=1))
    show("SQLite behind the tiers, LRU misses", await measured(tiered.get_many, batches), baseline)
    await tiered.close()
    plain.close()


def bench_busy(file: Path, rows: Callable[[list[bytes]], object], batches: list[list[bytes]]) -> None:
    """Show the wall time of a lookup in a thread while this thread computes, and of one row by row."""
    reader = VerdictReader(file, busy_seconds=5.0)

    def beside_work(lookup: Callable[[list[bytes]], object], thread: ThreadPoolExecutor) -> float:
        taken = []
        for batch in batches:
            start = time.perf_counter()
            answer = thread.submit(lookup, batch)
            while not answer.done():
                sum(range(1000))
            taken.append((time.perf_counter() - start) * 1000)
        return statistics.median(taken)

    with ThreadPoolExecutor(1) as thread:
        beside_work(reader.get_many, thread)
        wall, row_wall = beside_work(reader.get_many, thread), beside_work(rows, thread)
        thread.submit(reader.close).result()
    print(f"{'SQLite beside a busy thread':<44}{'':>8}{wall:>9.1f}   row by row: {row_wall:.1f}")


async def bench_redis(folder: Path, kept: dict[bytes, bytes], batches: list[list[bytes]]) -> None:
    with RedisServer(folder / "redis") as server:
        store = RedisStore(server.url)
        put_ms = await fill(store, kept)
        client = Redis.from_url(server.url, protocol=3)

        async def own_path(keys: list[bytes]) -> object:
            return await client.mget([KEY_PREFIX + key for key in keys])

        baseline = ("redis.asyncio mget", await measured(own_path, batches))
        show("Redis, Unix socket", await measured(store.get_many, batches), baseline)
        print(f"{'Redis, put 256 in batches of 1,024':<44}{put_ms:>8.3f}")
        tiered = TieredStore(store, TieredLimits(lru_entries=1))
        show("Redis behind the tiers, LRU misses", await measured(tiered.get_many, batches), baseline)
        await tiered.close()
        await client.aclose()


async def main() -> None:
    random.seed(1)
    kept = {os.urandom(32): os.urandom(VALUE_BYTES) for _ in range(KEYS)}
    keys = list(kept)
    batches = [random.sample(keys, BATCH) for _ in range(LOOKUPS)]
    print(f"{f'get {BATCH} of {KEYS}, all kept':<44}{'CPU ms':>8}{'wall ms':>9}   CPU beside the baseline")
    with tempfile.TemporaryDirectory() as folder:
        await bench_lru(kept, batches)
        await bench_redis(Path(folder), kept, batches)
        await bench_sqlite(Path(folder), kept, batches)


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
