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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from countermark_service.store.breaker import Breaker
from countermark_service.store.interface import Store, StoreUnavailableError

log = logging.getLogger(__name__)

BATCH_ENTRIES = 1024
GATHER_SECONDS = 0.02
"""How long a batch that is not full waits for more: a write costs as much for one entry as for some, and
requests with one item each come by the hundred."""
SETTLE_SECONDS = 0.004
"""The same where somebody waits until it is written."""
BATCH_BYTES = 4 * 1024 * 1024


@dataclass(eq=False, slots=True)
class _Settling:
    """Somebody who waits until some entries are written."""

    left: set[bytes]
    """Keys that are queued still."""
    contested: Sequence[bytes]
    done: asyncio.Future[list[bytes | None] | None]
    """What the store has under the contested keys; None where nobody knows."""
    found: dict[bytes, bytes | None] = field(default_factory=dict)

    def take(self, written: Iterable[bytes], stand: Mapping[bytes, bytes | None]) -> None:
        """Note what is written, and what the store was found to have then."""
        self.left.difference_update(written)
        self.found.update({key: stand[key] for key in self.contested if key in stand})
        if not self.left:  # one that came between the writing and the look does not know, and says so
            known = all(key in self.found for key in self.contested)
            self.end([self.found[key] for key in self.contested] if known else None)

    def end(self, values: list[bytes | None] | None) -> None:
        """Tell whoever waits, once."""
        if not self.done.done():
            self.done.set_result(values)


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
        self._settling: set[_Settling] = set()
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
        if not self.add(entries) or self._task is None or self._task.done() or self.problem is not None:
            return None
        one = _Settling(set(entries), contested, asyncio.get_running_loop().create_future())
        self._settling.add(one)
        try:
            return await one.done
        finally:
            self._settling.discard(one)

    async def flush(self) -> int:
        """Try to write what is queued, now; return how many entries are still queued.

        Ends when the queue is empty or a batch has failed, so at the latest after one deadline
        more than the store needs. Before `start` nothing is tried.
        """
        failures = self.failures
        self._hurry.set()
        while self._queue and self.failures == failures and self._task is not None:
            if self._task.done():
                self._task.result()  # a bug ended it: show that here rather than wait for ever
                break
            if self._attempt is None:
                self._attempt = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._attempt, self._task}, return_when=asyncio.FIRST_COMPLETED)
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
                await self._pause(SETTLE_SECONDS if self._settling else GATHER_SECONDS)
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
                stand = await self._look(batch)
        except StoreUnavailableError as exc:
            self._note_failure(str(exc))
            return False
        except TimeoutError:
            self._note_failure(f"{self._store.name} store: a batch took over {self._deadline:g} s")
            return False
        for key, value in batch.items():
            del self._queue[key]
            self._queued_bytes -= len(value)
        for one in self._settling:
            one.take(batch, stand)
        if not self._queue:
            self._work.clear()
        self.written += len(batch)
        if self.problem is not None:
            log.info("writing to the %s store goes on", self._store.name)
            self.problem = None
        return True

    async def _look(self, batch: Mapping[bytes, bytes]) -> dict[bytes, bytes | None]:
        """Return what the store has under those keys of a batch that it was written for by somebody who asks."""
        asked = list({key for one in self._settling for key in one.contested if key in batch})
        return dict(zip(asked, await self._store.get_many(asked), strict=True)) if asked else {}

    def _give_up_settling(self) -> None:
        for one in self._settling:
            one.end(None)

    def _note_failure(self, problem: str) -> None:
        if self.problem is None:  # once per outage, not once per try
            log.warning("verdicts are not stored for now, up to %d wait: %s", self._max_entries, problem)
        self.problem = problem
        self.failures += 1
        self._give_up_settling()

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
        self._give_up_settling()
        if not task.cancelled() and (bug := task.exception()) is not None:
            self.problem = f"{self._store.name} store: a bug has ended the writing: {bug!r}"
            log.error("writing verdicts to the store has ended", exc_info=bug)
