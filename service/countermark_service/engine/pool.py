"""Which worker judges what next: one pool for all bundles of a service.

Theory of operation
-------------------
A *lane* is one bundle: its nursery, its workers and the groups of items that wait
for it. The pool has a fixed number of *slots* (one per core). A slot is taken
while a worker judges a *chunk*, a few milliseconds' worth of items of one group.
When a slot comes free, the lanes take turns, and within a lane its groups do, so
neither a large batch nor a busy bundle holds up the others. Items with equal
references go to the same worker where that costs no waiting: what a library has
read of a group it need not read in two processes (`jobs.Waiting`).

Every 5 ms the pool looks at the workers that are busy. An item that takes longer
than a turn while others wait *steps back*: its worker gives up its slot and is paused,
and the rest of its chunk goes to another worker. Paused workers go on in slots that
nobody needs, and a part of the time in any case, so most such items are done soon, and
their workers come back as if nothing had been. One that is not, by `slow_seconds`, goes
on *aside* with a low priority, for as long as its budget lasts. A priority cannot be
raised again, so such a worker ends with its item. Where too many have stepped back,
the one that has used most is stopped, and its item begins again when there is room
aside. So items that loop for as long as they may keep out neither healthy items nor
those that are merely heavy. A lane that has had such items keeps spare workers for a while,
so that none has to start while items wait.

None of this touches a verdict. The item's budget is CPU time and is kept by a timer
in the worker; the pool is the second line, for workers that no longer obey, that
sleep, or that eat memory. Its wall limit leaves out what a worker has waited for a
processor or been paused, and what this process stood still: whoever pauses a container
or a machine pauses workers and pool, and the clock goes on.

A worker that ends takes at most one item with it. Where it is not certain which
one, every item of the chunk is judged again, alone, so that none is blamed for
another. A worker that somebody else killed costs a second try, not a verdict.
"""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec

from countermark_service.bundles import Bundle
from countermark_service.engine.environment import EnvironmentCache
from countermark_service.engine.jobs import Chunk, Failed, Group, Place, Result
from countermark_service.engine.lane import Lane
from countermark_service.engine.nursery import Nursery
from countermark_service.engine.shares import PoolCounters, PoolLimits
from countermark_service.engine.snapshot import SCRATCHES, SNAPSHOTS, on_disk
from countermark_service.engine.wire import Operation
from countermark_service.engine.worker import Worker, WorkerListener
from countermark_service.errors import SaturatedError, UnavailableError
from countermark_service.sandbox import Containment
from countermark_service.sandbox.scratch import Scratch, remove_left_behind

__all__ = ["Failed", "Pool", "PoolCounters", "PoolLimits", "Result"]

_TICK_SECONDS = 0.005
_PAUSED_LOOKS = 6
"""Where others need all slots, workers that have stepped back go on at one look of so many."""
_STILL_SECONDS = 0.5
"""A look that comes so late was kept from coming: the machine, or this process, stood still."""


class Pool:
    """Judges items of any bundle in contained workers."""

    def __init__(
        self,
        *,
        environments: EnvironmentCache,
        containment: Containment,
        data: Path,
        limits: PoolLimits | None = None,
        hold_to_vectors: bool = True,
    ) -> None:
        """Prepare; processes start with the first items.

        Args:
            environments: Where interpreters and packages come from.
            containment: How workers are held.
            data: Folder for snapshots and scratches.
            limits: Sizes and thresholds.
            hold_to_vectors: Refuse to serve a bundle whose own vectors do not hold on this machine.
        """
        self.limits = limits or PoolLimits()
        self.containment = containment
        self.counters = PoolCounters()
        self._environments = environments
        self._hold_to_vectors = hold_to_vectors
        self._data = data
        self._scratch, self._spare_scratch = Scratch(data / SCRATCHES), Scratch()
        self._lanes: dict[str, Lane] = {}
        self._turns: deque[Lane] = deque()
        self.taken = dict.fromkeys(Place, 0)
        """How many workers run at each place."""
        self.stopped = 0
        """How many items were stopped and wait to begin again."""
        self.waiting_items = 0
        self.waiting_bytes = 0
        self._sequences = itertools.count(1)
        self._watch: asyncio.TimerHandle | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._looks = 0

    # --- what the runtime calls --------------------------------------------------------------------

    async def ready(self, bundle: Bundle) -> msgspec.Raw:
        """Have the bundle's processes started; return its surroundings as a JSON object.

        Raises:
            CountermarkError: The environment cannot be built or the verifier not loaded.
        """
        lane = self._lane(bundle)
        await lane.ready()
        return lane.surroundings

    async def run(
        self,
        bundle: Bundle,
        operation: Operation,
        payloads: Sequence[bytes],
        on_result: Callable[[int, Result], None],
        *,
        admitted: bool = False,
    ) -> None:
        """Judge `payloads` (canonical items) and call `on_result` with index and result as they come.

        Returns when every item has its result; each index is reported once. When the
        caller is cancelled, what still waits is dropped. `admitted` is for the second
        run of items that the queue has taken once already: they are not refused now.

        Raises:
            SaturatedError: The queue is full; nothing was started.
            CountermarkError: The bundle cannot be started here.
        """
        if not payloads:
            return
        size = sum(map(len, payloads))
        if not admitted:
            self._admit(len(payloads), size)
        lane = self._lane(bundle)
        await lane.ready()
        done = asyncio.get_running_loop().create_future()
        group = Group(operation, payloads, on_result, done, self.limits.slots)
        lane.add(group, size)
        self.pump()
        try:
            await group.done
        finally:
            lane.drop(group)

    def _admit(self, items: int, size: int) -> None:
        if self._closed:
            raise UnavailableError("the service is stopping: ask again when it is back.")
        limits = self.limits
        pending = self.waiting_items + self.stopped
        if pending and pending + items > limits.queue_items:
            raise SaturatedError(pending=pending, limit=limits.queue_items, retry_after=self._time_to_drain())
        if self.waiting_bytes and self.waiting_bytes + size > limits.queue_bytes:
            raise SaturatedError(pending=pending, limit=limits.queue_items, retry_after=self._time_to_drain())

    def _time_to_drain(self) -> float:
        cost = sum(lane.waiting * lane.mean_seconds for lane in self._lanes.values())
        return min(max(cost / self.limits.slots / 2, 1.0), 60.0)

    async def close(self) -> None:
        """End every process; items that still wait fail with `UnavailableError`."""
        self._closed = True
        for timer in (self._watch, self._sweep):
            if timer is not None:
                timer.cancel()
        for lane in self._lanes.values():
            lane.fail(UnavailableError("the service is stopping: ask again when it is back."))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))
        self._scratch.close()
        self._spare_scratch.close()

    def tidy(self) -> None:
        """Remove what killed services have left in the data folder and among the system's temporary files."""
        for place in (self._data / SCRATCHES, self._data / SNAPSHOTS, None):
            remove_left_behind(place)

    def depth(self) -> dict[str, int]:
        """Return how many items wait, by bundle reference."""
        return {
            f"{lane.bundle.ref.name}:{lane.bundle.ref.version}": lane.waiting for lane in self._lanes.values()
        }

    def workers(self) -> list[tuple[str, int]]:
        """Return the bundle digest and process id of every live worker."""
        return [(digest, pid) for digest, lane in self._lanes.items() for pid in lane.pids()]

    # --- inside ------------------------------------------------------------------------------------

    def _lane(self, bundle: Bundle) -> "Lane":
        lane = self._lanes.get(bundle.digest)
        if lane is None:
            lane = self._lanes[bundle.digest] = Lane(self, bundle)
            self._turns.append(lane)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(
                self.limits.idle_seconds / 4, self._sweep_idle
            )
        return lane

    def open_nursery(self, bundle: Bundle, listener: WorkerListener) -> Nursery:
        """Return a nursery for `bundle`; builds what is missing, so call it in a thread."""
        manifest = bundle.manifest
        label = f"{manifest.name}:{manifest.version}"
        environment = self._environments.ensure(bundle.lock, manifest.python or "", label=label)
        code, temporary = on_disk(bundle, self._data, self._scratch, self._spare_scratch)
        return Nursery(
            bundle,
            environment,
            code,
            self.containment,
            temporary=temporary,
            listener=listener,
            hold_to_vectors=self._hold_to_vectors,
        )

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` beside everything else, and not lose it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def pump(self) -> None:
        """Give free slots to lanes in turn, for as long as there is work that can start."""
        if self._closed:
            return
        idle_turns = 0
        while idle_turns < len(self._turns):
            lane = self._turns[0]
            self._turns.rotate(-1)
            idle_turns = 0 if lane.dispatch() else idle_turns + 1
        for lane in self._turns:
            lane.keep_spares()
        if self._watch is None and any(self.taken.values()):
            self._watch = asyncio.get_running_loop().call_later(
                _TICK_SECONDS, self._look, time.monotonic() + _TICK_SECONDS
            )

    def next_sequence(self) -> int:
        """Return a number for a chunk that no other chunk has."""
        return next(self._sequences)

    @property
    def busy(self) -> int:
        """Slots that are taken."""
        return self.taken[Place.SLOT]

    @property
    def aside(self) -> int:
        """Workers that run outside of the slots."""
        return self.taken[Place.BACK] + self.taken[Place.ASIDE]

    def has_room(self, place: Place) -> bool:
        """Whether one more worker may run at `place`."""
        slots = self.limits.slots
        slow_lane = self.limits.slow_lane or 2 * slots
        rooms = {Place.SLOT: slots, Place.BACK: slots + self.limits.paused, Place.ASIDE: slow_lane}
        return self.taken[place] < rooms[place]

    def make_room_back(self) -> None:
        """Have room for one more worker to step back; the slowest of those there is stopped for it.

        Where all of those are being ended already, the room comes with their exits.
        """
        back = self._back()
        if back and not self.has_room(Place.BACK):
            lane, worker, _ = max(back, key=lambda one: one[2].seconds)
            lane.stop(worker)

    def _back(self) -> list[tuple[Lane, Worker, Chunk]]:
        """Return the workers that have stepped back."""
        return [(lane, *pair) for lane in self._lanes.values() for pair in lane.back()]

    def _look(self, due: float) -> None:
        self._watch = None
        late = time.monotonic() - due
        for lane in list(self._lanes.values()):
            if late > _STILL_SECONDS:
                lane.leave_out(late)
            lane.look()
        if self.taken[Place.BACK]:
            self._share_out_what_is_left()
        self.pump()

    def _share_out_what_is_left(self) -> None:
        """Let workers that have stepped back have the slots that nobody needs, and else a part of the time.

        Who has used least goes first: it may be done soon. One that sleeps takes nothing from anybody.
        """
        self._looks += 1
        slots = self.limits.slots
        least = -(-slots // 2) if self._looks % _PAUSED_LOOKS == 0 else 0
        going_on = max(slots - self.busy, least)
        for number, (_, worker, _) in enumerate(sorted(self._back(), key=lambda one: one[2].seconds)):
            if number < going_on:
                worker.go_on()
            elif not worker.paused and not worker.is_asleep():
                worker.pause()

    def _sweep_idle(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(self.limits.idle_seconds / 4, self._sweep_idle)
        self.spawn(self.sweep())

    async def sweep(self) -> None:
        """End the processes of bundles that have had no work for `idle_seconds`, and spares that were not needed."""
        since = time.monotonic() - self.limits.idle_seconds
        for lane in self._lanes.values():
            lane.give_spares_back()
        await asyncio.gather(*(lane.close_if_idle_since(since) for lane in self._lanes.values()))
