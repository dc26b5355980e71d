"""Verdicts in one SQLite file: the store of a service without Redis.

No server, one file that survives restarts and that two services may share; a power
cut may cost the last few writes, never the file. A disk
can stall for seconds, so no statement runs in the event loop: one thread reads,
another writes, each with a connection of its own, which the write-ahead log keeps
out of each other's way. What the file looks like is `sqlite_file`'s subject.

The folder must be on a local disk: SQLite's locks do not hold on most network
file systems.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from countermark_service.store.interface import StoreUnavailableError
from countermark_service.store.sqlite_file import VerdictReader, VerdictWriter

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger(__name__)

DEFAULT_MAX_BYTES = 4 * 1024**3
SMALLEST_MAX_BYTES = 1024**2


class SqliteStore:
    """A store in one file."""

    name = "sqlite"

    def __init__(self, path: Path, *, max_bytes: int = DEFAULT_MAX_BYTES, busy_seconds: float = 5.0) -> None:
        """Describe the store; nothing is opened yet.

        Args:
            path: The file; it is created where it is missing. Beside it SQLite keeps `-wal` and `-shm`.
            max_bytes: Bytes of pages in use at which entries are evicted. The file may be larger by
                one batch, and does not shrink when this is lowered.
            busy_seconds: Wall time to wait for another service that is writing.
        """
        if max_bytes < SMALLEST_MAX_BYTES:
            raise ValueError(f"max_bytes must be at least {SMALLEST_MAX_BYTES}, got {max_bytes}")
        self._path = path
        self._reader = VerdictReader(path, busy_seconds=busy_seconds)
        self._writer = VerdictWriter(path, busy_seconds=busy_seconds, max_bytes=max_bytes)
        self._reads = ThreadPoolExecutor(1, thread_name_prefix="store-read")
        self._writes = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._closed = False
        self._discarding: Future[None] | None = None
        self.evicted = 0
        """Entries that left to make room, since the start."""
        self.damaged = 0
        """Rows whose checksum was wrong, since the start."""

    async def start(self) -> None:
        """Open the file in both threads.

        Raises:
            StoreUnavailableError: It cannot be opened or created.
            StoreSchemaError: It is of a newer version or of another program.
        """
        await self._in(self._writes, self._writer.open)
        await self._in(self._reads, self._reader.open)

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return one value per key, in order; None where nothing is kept, or where what is kept is damaged.

        Raises:
            ValueError: A key has not 32 bytes.
            StoreUnavailableError: The file cannot be read.
        """
        if not keys:
            return []
        found = await self._in(self._reads, self._reader.get_many, keys)
        if found.damaged:
            self._repair(found.damaged)
        return found.values

    async def put_many(self, entries: Mapping[bytes, bytes]) -> None:
        """Keep every entry whose key is not there yet, in one transaction.

        Raises:
            ValueError: A key has not 32 bytes.
            StoreUnavailableError: Nothing of the batch was kept.
        """
        if entries:
            self.evicted += await self._in(self._writes, self._writer.put_many, entries)

    async def discard_many(self, keys: Sequence[bytes]) -> None:
        """Delete what is kept under some keys, in one transaction.

        Raises:
            ValueError: A key has not 32 bytes.
            StoreUnavailableError: It is still there.
        """
        if keys:
            await self._in(self._writes, self._writer.discard_many, keys)

    async def close(self) -> None:
        """Finish the calls under way and close the file."""
        if self._closed:
            return
        await self._in(self._reads, self._reader.close)
        await self._in(self._writes, self._writer.close)
        self._closed = True
        self._reads.shutdown(wait=False)
        self._writes.shutdown(wait=False)

    async def _in(
        self, thread: ThreadPoolExecutor, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run `call` in `thread`; a caller that gives up takes a call that has not begun out of the queue."""
        if self._closed:
            raise StoreUnavailableError(self.name, str(self._path), "it is closed", "Open a new store.")
        return await asyncio.wrap_future(thread.submit(call, *args, **kwargs))

    def _repair(self, damaged: list[int]) -> None:
        """Delete damaged rows in the background, one deletion at a time."""
        if self._discarding is not None and not self._discarding.done():
            return
        self.damaged += len(damaged)
        log.error(
            "%d stored verdicts in %s are damaged and will be computed again; check the disk",
            len(damaged),
            self._path,
        )
        self._discarding = self._writes.submit(self._discard, damaged)

    def _discard(self, damaged: list[int]) -> None:
        try:
            self._writer.discard_damaged(damaged)
        except StoreUnavailableError as exc:
            log.warning("damaged verdicts could not be deleted, the next lookup tries again: %s", exc)
