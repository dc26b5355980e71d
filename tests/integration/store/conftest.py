"""Stores of every kind, for one suite that all of them pass."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from countermark_service.store import MemoryStore, SqliteStore, Store
from countermark_service.store.redis import RedisStore
from tests.redis_server import RedisServer, skip_without_redis

EVENT_SECONDS = 120.0
"""How long a test waits for something that must happen; far more than it takes."""


def key(number: int) -> bytes:
    """Return a key as scoring makes them: a digest."""
    return hashlib.sha256(b"key %d" % number).digest()


def entries(first: int, count: int, *, size: int = 100) -> dict[bytes, bytes]:
    """Return `count` entries whose values tell their keys apart."""
    return {key(number): (b"value %d " % number).ljust(size, b".") for number in range(first, first + count)}


async def eventually(happened: Callable[[], bool]) -> None:
    """Wait until `happened`; fail the test when it does not."""
    deadline = time.monotonic() + EVENT_SECONDS
    while not happened():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        await asyncio.sleep(0.005)


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for the tests that do not harm it."""
    skip_without_redis()
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, to be killed and paused."""
    skip_without_redis()
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store of each kind, started."""
    made: Store
    if request.param == "memory":
        made = MemoryStore()
    elif request.param == "sqlite":
        made = SqliteStore(tmp_path / "verdicts.sqlite")
    else:
        server: RedisServer = request.getfixturevalue("shared_redis")
        assert server.command("FLUSHALL") == b"+OK\r\n"
        made = RedisStore(server.url)
    await made.start()
    yield made
    await made.close()
