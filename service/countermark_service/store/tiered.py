"""The store as scoring uses it: quick when all is well, and never in the way.

In front stands an LRU in this process, behind it the backend that outlives it.
The rule of this module is that a store which is down or slow costs hits, never
verdicts and never much time: a lookup has a deadline, a backend that keeps failing
is left alone until a probe in the background finds it back, and writes go out
behind the caller's back. Nothing here raises because a store is down; what a
lookup could not ask says `degraded`.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from countermark_service.store.breaker import Breaker
from countermark_service.store.interface import (
    KEY_BYTES,
    Store,
    StoreSchemaError,
    StoreUnavailableError,
    check_keys,
)
from countermark_service.store.memory import Lru
from countermark_service.store.write_behind import WriteBehind

log = logging.getLogger(__name__)

MIB = 1024 * 1024

UNAVAILABLE = "store_unavailable"
"""Lookups do not reach the backend."""
NOT_WRITABLE = "store_not_writable"
"""Lookups reach the backend, new verdicts do not."""

GRACE_SECONDS = 0.02
"""How much longer than its deadline a lookup may take, see `_deadline`."""

_PROBE_KEY = b"\0" * KEY_BYTES


@dataclass(frozen=True, slots=True)
class Lookup:
    """What a lookup gave."""

    values: list[bytes | None]
    """One value per key, in order; None means: compute it."""
    degraded: bool
    """Whether some keys could not be looked up where they should have been."""


@dataclass(slots=True)
class StoreCounters:
    """Counts since the start, for metrics."""

    lru_hits: int = 0
    """Keys answered from this process."""
    backend_hits: int = 0
    """Keys answered by the backend."""
    misses: int = 0
    """Keys without an answer, for whatever reason."""
    read_errors: int = 0
    """Lookups that the backend refused."""
    read_timeouts: int = 0
    """Lookups that it did not answer in time."""
    reads_skipped: int = 0
    """Lookups that did not ask it, because it was known to be down."""
    written: int = 0
    """Entries that the backend has taken."""
    write_errors: int = 0
    """Batches that it did not take."""
    dropped: int = 0
    """Entries that were never written: the queue was full, the value too large, or the end came first."""
    lru_evictions: int = 0
    """Entries that left the LRU to make room."""


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """How the store is, for readiness and for people."""

    backend: str
    """Kind of the backend."""
    degraded: str | None
    """What does not work now: ``store_unavailable``, ``store_not_writable`` or None."""
    problem: str | None
    """Why, as a sentence."""
    queued_writes: int
    """Entries that wait to be written."""
    lru_entries: int
    """Entries in the LRU."""
    lru_bytes: int
    """Bytes that the LRU holds."""


@dataclass(frozen=True, slots=True)
class TieredLimits:
    """The bounds of a tiered store; the defaults suit one service on one machine."""

    lru_entries: int = 100_000
    """Most entries in the LRU."""
    lru_bytes: int = 16 * MIB
    """Most bytes in the LRU."""
    read_seconds: float = 0.25
    """Wall time after which a lookup goes on without the backend."""
    write_seconds: float = 5.0
    """Wall time of one batch of writes, and of opening the backend."""
    queue_entries: int = 65_536
    """Most entries that wait to be written."""
    queue_bytes: int = 16 * MIB
    """Most bytes that wait to be written."""
    value_bytes: int = MIB
    """A larger value is not stored: computing it again is cheaper than moving it."""
    failures_to_open: int = 3
    """Lookups that must fail in a row before the backend is left alone."""
    first_pause: float = 0.1
    """Seconds until a backend that is left alone is probed; doubled while it fails."""
    longest_pause: float = 5.0
    """Bound of that pause, in seconds."""


class TieredStore:
    """An LRU, a backend behind it, and the rules for when the backend fails."""

    def __init__(self, backend: Store, limits: TieredLimits | None = None) -> None:
        """Put an empty LRU in front of `backend`, which this store then owns: it starts and closes it."""
        self._backend = backend
        self.limits = limits = limits or TieredLimits()
        self._lru = Lru(max_entries=limits.lru_entries, max_bytes=limits.lru_bytes)
        self._reads = Breaker(
            failures_to_open=limits.failures_to_open,
            first_pause=limits.first_pause,
            longest_pause=limits.longest_pause,
        )
        self._writes = WriteBehind(
            backend,
            max_entries=limits.queue_entries,
            max_bytes=limits.queue_bytes,
            deadline_seconds=limits.write_seconds,
            first_pause=limits.first_pause,
            longest_pause=limits.longest_pause,
        )
        self._counters = StoreCounters()
        self._too_large = 0
        self._problem: str | None = None
        self._probing: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def degraded(self) -> str | None:
        """What does not work now, as a stable word; None when all does."""
        if self._reads.is_open:
            return UNAVAILABLE
        return NOT_WRITABLE if self._writes.problem is not None else None

    @property
    def counters(self) -> StoreCounters:
        """The counts so far. Read, do not keep: the next call brings them up to date."""
        counters, writes = self._counters, self._writes
        counters.written, counters.write_errors = writes.written, writes.failures
        counters.dropped = writes.dropped + self._too_large
        counters.lru_evictions = self._lru.evictions
        return counters

    def health(self) -> StoreHealth:
        """Return how the store is; asks nobody."""
        return StoreHealth(
            backend=self._backend.name,
            degraded=self.degraded,
            problem=self._problem if self._reads.is_open else self._writes.problem,
            queued_writes=len(self._writes),
            lru_entries=len(self._lru),
            lru_bytes=self._lru.size_bytes,
        )

    async def start(self) -> None:
        """Open the backend. One that is down is no error: it is probed until it is there.

        Raises:
            StoreSchemaError: It holds data that this release must not touch, which no waiting will change.
        """
        self._writes.start()
        try:
            async with asyncio.timeout(self.limits.write_seconds):
                await self._backend.start()
        except StoreSchemaError:
            await self.close()
            raise
        except StoreUnavailableError as exc:
            self._leave_alone(str(exc))
        except TimeoutError:
            self._leave_alone(self._late(self.limits.write_seconds))

    def peek(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return what the LRU holds: one value per key, in order, or None. Asks nobody and counts nothing."""
        return self._lru.get_many(keys)

    async def get_many(self, keys: Sequence[bytes]) -> Lookup:
        """Return one value per key, in order, from the LRU or the backend; never later than the deadline."""
        values = self._lru.get_many(keys)
        missing = [index for index, value in enumerate(values) if value is None]
        counters = self._counters
        counters.lru_hits += len(keys) - len(missing)
        if not missing:
            return Lookup(values, degraded=False)
        wanted = keys if len(missing) == len(keys) else [keys[index] for index in missing]
        answers = await self._ask(wanted)
        if answers is None:
            counters.misses += len(missing)
            return Lookup(values, degraded=True)
        if wanted is keys:
            values = answers
        else:
            for index, value in zip(missing, answers, strict=True):
                values[index] = value
        found = {key: value for key, value in zip(wanted, answers, strict=True) if value is not None}
        self._lru.put_many(found)
        misses = len([1 for value in answers if value is None])
        counters.misses += misses
        counters.backend_hits += len(answers) - misses
        return Lookup(values, degraded=False)

    def put_many(self, entries: Mapping[bytes, bytes]) -> None:
        """Keep entries: in the LRU at once, in the backend when it takes them. Never waits.

        Raises:
            ValueError: A key has not 32 bytes.
        """
        check_keys(entries)
        small = {key: value for key, value in entries.items() if len(value) <= self.limits.value_bytes}
        self._too_large += len(entries) - len(small)
        self._lru.put_many(small)
        self._writes.add(small)

    async def settle(
        self, entries: Mapping[bytes, bytes], contested: Sequence[bytes]
    ) -> list[bytes | None] | None:
        """Keep entries, wait until the backend has them, and return what stands there under some of their keys.

        For values that differ from one making to the next: what somebody else wrote first stays, and is what
        everybody has to go by.

        Args:
            entries: What is kept.
            contested: Keys among them that others may have written first. They are in the LRU as the backend has them.

        Returns:
            One value per contested key, in order; None where the backend does not take the entries in time (they
            are written all the same when it does), or where one is too large (then none is: a pointer to what is
            not there would be worse than nothing).

        Raises:
            ValueError: A key has not 32 bytes.
        """
        check_keys(entries)
        if max(map(len, entries.values()), default=0) > self.limits.value_bytes:
            self._too_large += len(entries)
            return None
        self._lru.put_many({key: value for key, value in entries.items() if key not in contested})
        values = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.read_seconds):
                values = await self._writes.settle(entries, contested)
        if values is not None:
            found = {key: value for key, value in zip(contested, values, strict=True) if value is not None}
            self._lru.put_many(found)
        return values

    async def discard_many(self, keys: Sequence[bytes]) -> None:
        """Let go of what is kept under some keys. A backend that does not take it keeps it, until this is asked again.

        Raises:
            ValueError: A key has not 32 bytes.
        """
        check_keys(keys)
        self._lru.discard_many(keys)
        try:
            async with asyncio.timeout(self.limits.write_seconds):
                await self._backend.discard_many(keys)
        except (StoreUnavailableError, TimeoutError) as exc:
            log.warning(
                "%d entries that are of no use stay in the store for now: %s", len(keys), exc or "too slow"
            )

    async def flush(self) -> int:
        """Write what is queued, as far as the backend takes it; return how many entries are still queued."""
        return await self._writes.flush()

    async def close(self) -> None:
        """Flush once, stop the background tasks and close the backend."""
        self._closed = True
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait({self._probing})
            self._probing = None
        try:
            await self._writes.close()
        finally:
            with contextlib.suppress(StoreUnavailableError):  # it was down anyway, and holds nothing of ours
                await self._backend.close()

    async def _ask(self, keys: Sequence[bytes]) -> list[bytes | None] | None:
        """Ask the backend within the deadline; None when it did not answer or is left alone."""
        if self._reads.is_open:
            self._counters.reads_skipped += 1
            return None
        try:
            async with _deadline(self.limits.read_seconds):
                answers = await self._backend.get_many(keys)
        except StoreUnavailableError as exc:
            self._counters.read_errors += 1
            self._note_failure(str(exc))
            return None
        except TimeoutError:
            self._counters.read_timeouts += 1
            self._note_failure(self._late(self.limits.read_seconds))
            return None
        if not self._reads.is_open:  # an answer from before it opened is no proof; the probe decides
            self._reads.succeeded()
        return answers

    def _note_failure(self, problem: str) -> None:
        if self._reads.is_open:
            return  # a request that was under way when it opened; only probes count now
        if self._reads.failed():
            self._leave_alone(problem)

    def _late(self, seconds: float) -> str:
        return f"{self._backend.name} store: no answer within {seconds:g} s"

    def _leave_alone(self, problem: str) -> None:
        """Stop asking the backend, and start to probe it."""
        if self._closed:
            return  # a lookup that was under way at the end
        log.warning("scoring goes on without stored verdicts until the store answers: %s", problem)
        self._problem = problem
        self._reads.open()
        self._probing = asyncio.create_task(self._probe(), name="store probe")
        self._probing.add_done_callback(_report)

    async def _probe(self) -> None:
        """Ask in growing pauses until there is an answer in time."""
        while self._reads.is_open:
            await asyncio.sleep(self._reads.pause_seconds)
            try:
                async with _deadline(self.limits.read_seconds):
                    await self._backend.get_many([_PROBE_KEY])
            except StoreUnavailableError as exc:
                self._problem = str(exc)
                self._reads.failed()
            except TimeoutError:
                self._reads.failed()
            else:
                self._reads.succeeded()
                log.info("the %s store answers again", self._backend.name)


@contextlib.asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    """Give the block `seconds`, and then a moment more to take an answer that has already come in.

    When the event loop itself was busy, timer and answer are due in the same round, and a plain
    timeout would win: the store would be blamed for the service's own work.

    Raises:
        TimeoutError: The block has not ended in time; it was cancelled.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as scope:
        timer = loop.call_later(seconds, lambda: scope.reschedule(loop.time() + GRACE_SECONDS))
        try:
            yield
        finally:
            timer.cancel()


def _report(task: asyncio.Task[None]) -> None:
    """Log a bug that ended the probe, at the time it happens."""
    if not task.cancelled() and (bug := task.exception()) is not None:
        log.error("probing the store has ended", exc_info=bug)
