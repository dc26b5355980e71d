"""Walks over every transcript in a store, for export.

Transcripts are kept beside verdicts, in a SQLite file or under a prefix of their own in
Redis, through the same port; what the port lacks is to list what is there. A transcript
is told from the pointers to it by its key: it is the digest of the value.
"""

import hashlib
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from countermark_service.store.interface import KEY_BYTES, StoreUnavailableError
from countermark_service.store.reading import open_to_read
from countermark_service.store.sqlite_file import KeptReader

REDIS_PREFIX = b"cm1:t:"
"""Before the keys of transcripts, where verdicts have `c`."""
_SCANNED = 512


class KeptTranscripts(Protocol):
    """Transcripts and the pointers to them, to look up."""

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return one value per key, in order; None where nothing is kept."""

    async def close(self) -> None:
        """Let go of it."""


class TranscriptsInFile:
    """Transcripts in an SQLite file, for a command that only reads: it makes no file and needs no right to write.

    Nothing else waits in a command's event loop, so no thread is used.
    """

    def __init__(self, path: Path) -> None:
        """Open nothing yet; there need be no file."""
        self._path = path
        self._reader = KeptReader(path, busy_seconds=0)

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return one value per key, in order; None where nothing sound is kept.

        Raises:
            StoreUnavailableError: The file cannot be read.
        """
        if not self._path.exists():
            return [None] * len(keys)
        return self._reader.get_many(keys).values if keys else []

    async def close(self) -> None:
        """Close the file."""
        self._reader.close()


def scan_sqlite(path: Path) -> Iterator[bytes]:
    """Yield every transcript in the file; nothing where there is no file.

    Raises:
        StoreUnavailableError: The file cannot be read.
    """
    if not path.exists():
        return
    try:
        with closing(open_to_read(path)) as connection:
            for head, value in connection.execute("SELECT head, value FROM verdicts ORDER BY head"):
                if hashlib.sha256(value).digest() == head[:KEY_BYTES]:
                    yield value
    except sqlite3.Error as exc:
        raise StoreUnavailableError("sqlite", str(path), str(exc), "Check the data folder.") from exc


async def scan_redis(url: str) -> AsyncIterator[bytes]:
    """Yield every transcript on the server.

    Raises:
        StoreUnavailableError: It does not answer.
    """
    # Imported here: see the package's own words on Redis's client.
    from redis import exceptions
    from redis.asyncio import Redis

    client = Redis.from_url(url)
    try:
        batch: list[bytes] = []
        async for key in client.scan_iter(match=REDIS_PREFIX + b"*", count=_SCANNED):
            batch.append(key)
            if len(batch) == _SCANNED:
                for value in _transcripts(batch, await client.mget(batch)):
                    yield value
                batch = []
        if batch:
            for value in _transcripts(batch, await client.mget(batch)):
                yield value
    except (exceptions.RedisError, OSError) as exc:
        raise StoreUnavailableError(
            "redis", "the configured URL", str(exc).rstrip("."), "Check the server."
        ) from exc
    finally:
        await client.aclose()


def _transcripts(keys: list[bytes], values: list[Any]) -> Iterator[bytes]:
    for key, value in zip(keys, values, strict=True):
        if isinstance(value, bytes) and hashlib.sha256(value).digest() == key[len(REDIS_PREFIX) :]:
            yield value
