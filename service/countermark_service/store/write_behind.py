"""Writing to the store after the verdict has gone out.

A verdict is worth storing, but nobody should wait for it. `WriteBehind` holds new
entries in a bounded queue and one task writes them in batches. What a store does
not take stays in the queue and is tried again in growing pauses, so a store that
comes back gets what it missed; what finds the queue full is dropped and counted.
A dropped write costs one computation later, never a verdict.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence

from countermark_service.store.breaker import Breaker
from countermark_service.store.interface import Store, StoreUnavailableError

log = logging.getLogger(__name__)

BATCH_ENTRIES = 1024
GATHER_SECONDS = 0.02
"""How long a batch that is not full waits for more: a write costs as much for one entry as for some, and
requests with one item each come by the hundred."""
BATCH_BYTES = 4 * 1024 * 1024


class WriteBehind:
    """A bounded queue of entries on their way to one store."""

    def __init__(
        self,
        store: Store,
        *,
        max_entries: int,
        max_bytes: int,
        deadline_seconds: float,
        first_pause: float,
        longest_pause: float,
    ) -> None:
        """Make an empty queue; nothing is written before `start`.

        Args:
            store: Where the entries go.
            max_entries: Most entries to hold.
            max_bytes: Most bytes of values to hold.
            deadline_seconds: Wall time of one batch.
            first_pause: Seconds to wait after a batch that failed; doubled while it fails.
            longest_pause: Bound of that pause, in seconds.
        """
        self._store = store
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._deadline = deadline_seconds
        self._breaker = Breaker(failures_to_open=1, first_pause=first_pause, longest_pause=longest_pause)
        self._queue: dict[bytes, bytes] = {}
        self._queued_bytes = 0
        self._work = asyncio.Event()
        self._hurry = asyncio.Event()
        self._attempt: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._contested: dict[bytes, bytes | None] = {}
        """Keys whose values somebody waits for, with what the store had under them after they were written."""
        self.problem: str | None = None
        """Why the last batch was not taken; None when it was."""
        self.written = 0
        """Entries that the store has taken."""
        self.failures = 0
        """Batches that the store did not take."""
        self.dropped = 0
        """Entries that found the queue full, or were still in it at the end."""

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def queued_bytes(self) -> int:
        """Bytes of the values that wait."""
        return self._queued_bytes

    def start(self) -> None:
        """Begin to write."""
        if self._task is None:
            self._task = asyncio.create_task(self._write_for_ever(), name="store write-behind")
            self._task.add_done_callback(self._ended)

    def add(self, entries: Mapping[bytes, bytes]) -> bool:
        """Queue entries, as far as there is room; return at once, and whether there was room for all."""
        queue, dropped = self._queue, self.dropped
        for key, value in entries.items():
            if key in queue:
                continue
            if len(queue) >= self._max_entries or self._queued_bytes + len(value) > self._max_bytes:
                self.dropped += 1
                continue
            queue[key] = value
            self._queued_bytes += len(value)
        if queue:
            self._work.set()
        return self.dropped == dropped

    async def settle(
        self, entries: Mapping[bytes, bytes], contested: Sequence[bytes]
    ) -> list[bytes | None] | None:
        """Queue entries, wait until the store has them, and return what it has under some of their keys, in order.

        None where there is no room, or the store takes nothing now; what is queued is written when it does.
        """
        failures, task = self.failures, self._task
        if not self.add(entries) or task is None:
            return None
        self._contested.update(dict.fromkeys(contested))
        try:
            while not self._queue.keys().isdisjoint(entries):
                if self.problem is not None or self.failures != failures:
                    return None
                await self._attempted(task)
            return [self._contested.get(key) for key in contested]
        finally:
            for key in contested:
                self._contested.pop(key, None)

    async def _attempted(self, task: asyncio.Task[None]) -> None:
        """Wait for the end of the next batch. Shows a bug that ended the writing: nobody would wait for ever."""
        if task.done():
            task.result()
        if self._attempt is None:
            self._attempt = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._attempt)

    async def flush(self) -> int:
        """Try to write what is queued, now; return how many entries are still queued.

        Ends when the queue is empty or a batch has failed, so at the latest after one deadline
        more than the store needs. Before `start` nothing is tried.
        """
        failures = self.failures
        self._hurry.set()
        while self._queue and self.failures == failures and self._task is not None:
            await self._attempted(self._task)
        return len(self._queue)

    async def close(self) -> None:
        """Flush once, drop the rest and end the task."""
        left = await self.flush()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None
        if left:
            log.warning("%d verdicts were not stored before the end: %s", left, self.problem)
        self.dropped += left
        self._queue.clear()
        self._queued_bytes = 0

    async def _write_for_ever(self) -> None:
        while True:
            await self._work.wait()
            if len(self._queue) < BATCH_ENTRIES:
                await self._pause(GATHER_SECONDS)
            if await self._write_batch(self._next_batch()):
                self._breaker.succeeded()
            else:
                self._breaker.failed()
            self._signal_attempt()
            if self._breaker.is_open:
                await self._pause(self._breaker.pause_seconds)

    async def _write_batch(self, batch: dict[bytes, bytes]) -> bool:
        """Write one batch; return whether the store took it."""
        try:
            async with asyncio.timeout(self._deadline):
                await self._store.put_many(batch)
                contested = [key for key in batch if key in self._contested]
                stand = await self._store.get_many(contested) if contested else []
        except StoreUnavailableError as exc:
            self._note_failure(str(exc))
            return False
        except TimeoutError:
            self._note_failure(f"{self._store.name} store: a batch took over {self._deadline:g} s")
            return False
        self._contested.update(
            {key: value for key, value in zip(contested, stand, strict=True) if key in self._contested}
        )
        for key, value in batch.items():
            del self._queue[key]
            self._queued_bytes -= len(value)
        if not self._queue:
            self._work.clear()
        self.written += len(batch)
        if self.problem is not None:
            log.info("writing to the %s store goes on", self._store.name)
            self.problem = None
        return True

    def _note_failure(self, problem: str) -> None:
        if self.problem is None:  # once per outage, not once per try
            log.warning("verdicts are not stored for now, up to %d wait: %s", self._max_entries, problem)
        self.problem = problem
        self.failures += 1

    def _next_batch(self) -> dict[bytes, bytes]:
        """Return the oldest entries, which stay queued until the store has taken them."""
        batch: dict[bytes, bytes] = {}
        size = 0
        for key, value in self._queue.items():
            size += len(value)
            if batch and (len(batch) >= BATCH_ENTRIES or size > BATCH_BYTES):
                break
            batch[key] = value
        return batch

    async def _pause(self, seconds: float) -> None:
        """Wait, unless `flush` is in a hurry."""
        self._hurry.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    def _signal_attempt(self) -> None:
        if self._attempt is not None:
            self._attempt.set_result(None)
            self._attempt = None

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Tell of a bug that ended the task, at the time it happens, and who waits for it of any end."""
        self._signal_attempt()
        if not task.cancelled() and (bug := task.exception()) is not None:
            self.problem = f"{self._store.name} store: a bug has ended the writing: {bug!r}"
            log.error("writing verdicts to the store has ended", exc_info=bug)
