"""One bundle in the pool: its nursery, its workers, and what waits for them.

`pool.py` has the theory of operation. A lane decides nothing about the machine: it
asks its pool whether a slot is free.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import get_args

import msgspec

from countermark_service.bundles import Bundle
from countermark_service.engine.endings import CERTAIN, NOT_THE_ITEM, failure_of, reason_of
from countermark_service.engine.jobs import Chunk, Failed, Group, Job, Place, Waiting, placeholder
from countermark_service.engine.nursery import Nursery, platform_name
from countermark_service.engine.shares import Shares
from countermark_service.engine.wire import (
    Judged,
    Operation,
    ProtocolViolationError,
    Reduced,
    read_reply,
    request_frame,
)
from countermark_service.engine.worker import Worker
from countermark_service.errors import CountermarkError, UnavailableError

_CHUNK_SECONDS = 0.015
_TURN_SECONDS = 0.020
"""Time after which an item makes way. Half of it makes room sooner, but a library that reads an answer for the first
time often needs that much, and each item that makes way has another worker begun, which knows nothing yet."""
_WHOLE_SECONDS = 0.001
"""Work that is not shared out among workers: to wake a second one costs as much as it would save."""
_CHUNK_ITEMS = 256
_CHUNK_BYTES = 1 << 20
_GRACE_SECONDS = 0.5
_TRIES = 3
_LOST = 20
"""Workers that end with an item before they begin it. A worker that was killed while it was idle counts among
them, and there may be many when a machine is out of memory; an end there must be, where none ever begins."""
_HEAVY_FACTOR = 4.0
_MEMORY = 0.95
_SLOW_NICE = 15
_RESTART_PAUSE = (0.05, 5.0)
_FORK_TRIES = 5
"""Tries in a row to start a first worker, over a second and a half, after which those who wait are told."""


class Lane:
    """One bundle in the pool. Hears of its processes as a `WorkerListener`."""

    def __init__(self, pool: Shares, bundle: Bundle) -> None:
        """Join the pool with no processes yet."""
        self.bundle = bundle
        self.surroundings = msgspec.Raw(b"{}")
        self.waiting = 0
        self._means: dict[Operation, float] = dict.fromkeys(get_args(Operation), 0.001)
        self._pool = pool
        self._groups: deque[Group] = deque()
        self._stopped: deque[Job] = deque()
        self._idle: list[Worker] = []
        self._chunks: dict[Worker, Chunk] = {}
        self._forking = 0
        self._spares = 0
        self._stepped_back = False
        self._nursery: Nursery | None = None
        self._starting: asyncio.Task[None] | None = None
        self._failures = 0
        self._last_used = time.monotonic()
        self._fresh_bytes: dict[int, int] = {}

    # --- processes -----------------------------------------------------------------------------------

    async def ready(self) -> None:
        """Wait until the nursery runs."""
        self._last_used = time.monotonic()
        while self._nursery is None:
            if self._starting is None or self._starting.done():
                self._starting = self._pool.spawn(self._start())
            await asyncio.shield(self._starting)

    async def _start(self) -> None:
        try:
            nursery = await asyncio.to_thread(self._pool.open_nursery, self.bundle, self)
            await nursery.start()
        except OSError as exc:  # a full disk, no more processes: who waits must hear of it
            ref = self.bundle.ref
            raise UnavailableError(f"the processes of {ref.name}:{ref.version} cannot start: {exc}.") from exc
        surroundings = {
            "python": nursery.python_version,
            "platform": platform_name(),
            "containment": self._pool.containment.level.value,
        }
        self.surroundings = msgspec.Raw(msgspec.json.encode(surroundings))
        self._nursery = nursery
        self._last_used = time.monotonic()  # it may have taken longer than an idle one is kept

    def on_lost(self) -> None:
        """The nursery died: its workers are gone, what waited is judged by a new one."""
        lost, self._nursery = self._nursery, None
        self._count("nursery_lost")
        if lost is not None:
            self._pool.spawn(lost.close())
        if self._groups or self._stopped:
            self._pool.spawn(self._restart())

    async def _restart(self) -> None:
        self._failures += 1
        await asyncio.sleep(self._pause())
        try:
            await self.ready()
        except CountermarkError as exc:
            self.fail(exc)
        self._pool.pump()

    async def close(self) -> None:
        """End the bundle's processes; they start again with the next items."""
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        nursery, self._nursery = self._nursery, None
        self._idle.clear()
        self._spares = 0
        if nursery is not None:
            await nursery.close()

    async def close_if_idle_since(self, moment: float) -> None:
        """End the processes, if there has been no work since `moment`.

        Whoever sweeps does not look before: until its turn comes, items may have come.
        """
        working = self._groups or self._chunks or self._stopped
        if self._nursery is not None and not working and self._last_used < moment:
            await self.close()

    @property
    def mean_seconds(self) -> float:
        """CPU seconds that an item usually takes."""
        return self._means["verify"]

    def give_spares_back(self) -> None:
        """Keep one spare less, where no item has had to leave its slot since this was last called."""
        if not self._stepped_back:
            self._spares = max(self._spares - 1, 0)
        self._stepped_back = False
        while len(self._idle) > self._pool.limits.slots + self._spares:
            self._idle.pop(0).retire()  # the one that has been idle for longest

    def pids(self) -> list[int]:
        """Return the process ids of the lane's workers."""
        return [] if self._nursery is None else [worker.pid for worker in self._nursery.workers.values()]

    def _fork(self) -> None:
        self._forking += 1
        self._pool.spawn(self._fork_one())

    async def _fork_one(self) -> None:
        nursery = self._nursery
        try:
            if nursery is not None:
                worker = await nursery.fork()
                if not worker.exited:
                    self._idle.append(worker)
        except (UnavailableError, OSError) as exc:
            self._count("fork_failed")
            if nursery is self._nursery:  # else it ended, and `on_lost` has started another or will
                await self._bear(exc)
        finally:
            self._forking -= 1
            self._pool.pump()

    async def _missed(self) -> None:
        """Do without a worker that could not be made ready; none is forked meanwhile."""
        try:
            if self._nursery is not None:
                await self._bear(UnavailableError(self._nursery.last_words()))
        finally:
            self._forking -= 1
            self._pool.pump()

    async def _bear(self, problem: Exception) -> None:
        """Wait before the next worker is tried; who waits where there is none at all hears of it in the end."""
        self._failures += 1
        if self._failures >= _FORK_TRIES and not self.pids():
            ref = self.bundle.ref
            self.fail(UnavailableError(f"no worker of {ref.name}:{ref.version} can be started: {problem}."))
        await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        first, longest = _RESTART_PAUSE
        return float(min(first * 2**self._failures, longest))

    # --- queue -----------------------------------------------------------------------------------------

    def add(self, group: Group, size: int) -> None:
        """Let the items of `group`, of `size` bytes, wait for their turn."""
        self._last_used = time.monotonic()
        self._groups.append(group)
        self._counted(len(group.waiting), size)

    def drop(self, group: Group) -> None:
        """Forget what still waits of `group`."""
        self._last_used = time.monotonic()
        if not group.done.done():
            group.done.cancel()
        if group in self._groups:
            self._groups.remove(group)
        waiting = len(group.waiting)
        self._counted(-waiting, -group.waiting.clear())

    def fail(self, problem: CountermarkError) -> None:
        """Let every waiting call fail with `problem`."""
        groups = {*self._groups, *(job.group for job in self._stopped)}
        groups |= {job.group for chunk in self._chunks.values() for job in chunk.jobs}
        for group in groups:
            if not group.done.done():
                group.done.set_exception(problem)

    def _counted(self, items: int, size: int) -> None:
        self.waiting += items
        self._pool.waiting_items += items
        self._pool.waiting_bytes += size

    def _again(self, jobs: Sequence[Job], *, alone: bool = False) -> None:
        """Put jobs back at the head of their groups."""
        for job in reversed(jobs):
            if job.answered or job.group.done.done():
                continue
            job.alone = job.alone or alone
            job.group.waiting.put_back(job)
            if job.group not in self._groups:
                self._groups.appendleft(job.group)
            self._counted(1, len(job.payload))

    def dispatch(self) -> bool:
        """Start one chunk, or the making of a worker for it; False where nothing can start."""
        if self._nursery is None:
            return False
        if self._groups and self._pool.has_room(Place.SLOT):
            place = Place.SLOT
        elif self._may_begin_again() and (len(self._idle) >= self._spares or not self._chunks):
            # Spares are for items that wait; without work at hand nothing would make them.
            place = Place.ASIDE
        else:
            return False
        if not self._idle:
            if self._forking:
                return False
            self._fork()
            return True
        if place is Place.SLOT:
            worker = self._worker_for(self._groups[0].waiting)
            jobs = self._next_jobs(worker.share)
        else:
            worker, jobs = self._idle.pop(), [self._next_stopped()]
        self._send(worker, jobs, place)
        return True

    def _worker_for(self, waiting: Waiting) -> Worker:
        """Take an idle worker: one of whose share items wait, where there is one. No two in slots have one share."""
        chunks = self._chunks.items()
        taken = {worker.share for worker, chunk in chunks if chunk.place is Place.SLOT}
        free = [worker for worker in self._idle if worker.share >= 0 and worker.share not in taken]
        of_those_waiting = [worker for worker in free if waiting.has(worker.share)]
        worker = (of_those_waiting or free or self._idle)[-1]
        self._idle.remove(worker)
        if worker not in free:
            shares = [share for share in range(self._pool.limits.slots) if share not in taken]
            worker.share = next(filter(waiting.has, shares), shares[0])
        return worker

    def _may_begin_again(self) -> bool:
        while self._stopped and self._stopped[0].group.done.done():  # its caller has gone
            self._next_stopped()
        return bool(self._stopped) and self._pool.has_room(Place.ASIDE)

    def _next_stopped(self) -> Job:
        self._pool.stopped -= 1
        return self._stopped.popleft()

    def keep_spares(self) -> None:
        """Have one more worker forked, where items have had to leave their slots and too few are idle."""
        if self._nursery is None or self._forking or len(self._idle) >= self._spares or not self._chunks:
            return
        self._fork()

    def _next_jobs(self, share: int) -> list[Job]:
        group = self._groups[0]
        mean = self._means[group.operation]
        part = -(-self.waiting // (2 * self._pool.limits.slots))  # smaller to the end: all end together
        count = max(1, min(int(_CHUNK_SECONDS / mean), _CHUNK_ITEMS, max(part, int(_WHOLE_SECONDS / mean))))
        jobs = group.waiting.take(share, count, _CHUNK_BYTES)
        self._counted(-len(jobs), -sum(len(job.payload) for job in jobs))
        self._groups.rotate(-1)
        if not group.waiting:
            self._groups.remove(group)
        return jobs

    def _send(self, worker: Worker, jobs: list[Job], place: Place) -> None:
        chunk = Chunk(
            self._pool.next_sequence(), jobs[0].group.operation, jobs, place, mark_time=time.monotonic()
        )
        self._chunks[worker] = chunk
        self._pool.taken[place] += 1
        budget = self.bundle.manifest.limits.cpu_seconds
        worker.send(request_frame(chunk.operation, chunk.sequence, budget, [job.payload for job in jobs]))

    # --- what workers say ------------------------------------------------------------------------------

    def on_frame(self, worker: Worker, payload: bytes) -> None:
        """Take results; see `WorkerListener`."""
        chunk = self._chunks.get(worker)
        if chunk is None:
            if worker.killed_for is not None:
                return  # it was stopped, and its jobs are others' now
            raise ProtocolViolationError("a worker sent a reply that nobody asked for")
        reply = read_reply(chunk.operation, payload)
        if reply.sequence != chunk.sequence or not 0 <= reply.first <= len(chunk.jobs) - len(reply.results):
            raise ProtocolViolationError("a worker sent a reply that fits no request")
        results: Sequence[Judged | Reduced] = reply.results
        self._failures = 0
        if results:
            self._learn(chunk.operation, sum(result.cpu_microseconds for result in results), len(results))
        for job, result in zip(chunk.jobs[reply.first :], results, strict=False):
            job.group.resolve(job, result)
        worker.items += len(results)
        if reply.done or (worker.nice and all(job.answered for job in chunk.jobs)):
            self._finished(worker, chunk)

    def _learn(self, operation: Operation, microseconds: int, items: int) -> None:
        """Follow the usual cost of an item; an outlier moves it a little only.

        What a frame holds is taken together, as one item costs too little for the clocks of some kernels.
        """
        mean, cost = self._means[operation], max(microseconds, 1) / 1e6 / items
        self._means[operation] = mean + (1 - _MEMORY**items) * (min(cost, _HEAVY_FACTOR * mean) - mean)
        self._pool.counters.cpu_seconds += microseconds / 1e6
        self._pool.counters.items += items

    def _finished(self, worker: Worker, chunk: Chunk) -> None:
        self._release(worker, chunk)
        self._again([job for job in chunk.jobs if not job.answered])
        if worker.killed_for is not None:
            pass  # its last reply came after all; another chunk would be blamed for its end
        elif worker.nice:
            worker.kill("aside_done")  # its priority cannot be raised again
        elif self._is_spent(worker):
            worker.retire()
        else:
            self._idle.append(worker)
        self._pool.pump()

    def _is_spent(self, worker: Worker) -> bool:
        limits = self._pool.limits
        resident = worker.resident_bytes()
        fresh = self._fresh_bytes.setdefault(worker.number, resident)
        return worker.items >= limits.recycle_items or resident - fresh > limits.recycle_bytes

    def _release(self, worker: Worker, chunk: Chunk) -> None:
        del self._chunks[worker]
        worker.go_on()  # it may have been done when it was paused
        self._last_used = time.monotonic()
        self._pool.taken[chunk.place] -= 1

    def on_violation(self, worker: Worker, problem: ProtocolViolationError) -> None:
        """End a worker that does not keep to the protocol; see `WorkerListener`."""
        worker.kill("protocol_violation")

    def on_exit(self, worker: Worker, status: int | None) -> None:
        """Say what became of the items of an ended worker; see `WorkerListener`."""
        self._fresh_bytes.pop(worker.number, None)
        if worker in self._idle:
            self._idle.remove(worker)
        reason = worker.killed_for or reason_of(status, begun=worker.has_begun)
        self._count(reason)
        if reason == "worker_unprepared":
            self._forking += 1
            self._pool.spawn(self._missed())
        chunk = self._chunks.get(worker)
        if chunk is None:
            return
        self._release(worker, chunk)
        if reason == "worker_unprepared":
            self._again(chunk.jobs)
            return
        sequence, index, _ = worker.progress()
        current = chunk.jobs[index] if sequence == chunk.sequence and index < len(chunk.jobs) else None
        open_jobs = [job for job in chunk.jobs if not job.answered]
        if len(chunk.jobs) == 1 and open_jobs and reason not in NOT_THE_ITEM:
            current = open_jobs[0]
        if current is None or current.answered or reason in NOT_THE_ITEM:
            self._retry(open_jobs, current)
            self._pool.pump()
            return
        rest = [job for job in open_jobs if job is not current]
        if reason in CERTAIN:
            current.group.resolve(current, CERTAIN[reason](self.bundle))
        elif not rest:
            current.group.resolve(current, failure_of(reason, status))
        else:
            self._retry(open_jobs, current)
            rest = []
        self._again(rest)
        self._pool.pump()

    def _retry(self, jobs: list[Job], begun: Job | None) -> None:
        """Judge again, each alone; an item whose worker dies again and again is an error."""
        for job in jobs:
            if job is begun:
                job.tries += 1
            else:
                job.lost += 1
            if job.tries >= _TRIES or job.lost >= _LOST:
                times = job.tries + job.lost
                message = f"its worker was killed from outside {times} times: is the machine out of memory?"
                job.group.resolve(job, Failed("error", "worker_killed", message))
        self._again(jobs, alone=True)

    def _count(self, reason: str) -> None:
        restarts = self._pool.counters.restarts
        restarts[reason] = restarts.get(reason, 0) + 1

    # --- the second line ---------------------------------------------------------------------------------

    def look(self) -> None:
        """Look at every busy worker: too slow, too large, stuck, or disobedient."""
        now = time.monotonic()
        for worker, chunk in list(self._chunks.items()):
            if worker.killed_for is not None:
                continue
            if not worker.paused:
                self._look_at(worker, chunk, now)
            elif any(not job.answered and job.group.done.done() for job in chunk.jobs):
                self._stop(worker, chunk, "abandoned")

    def leave_out(self, seconds: float) -> None:
        """Count no item the time in which this process stood still."""
        for worker, chunk in self._chunks.items():
            if not worker.paused:  # else its own pause has it
                chunk.mark_time += seconds

    def _look_at(self, worker: Worker, chunk: Chunk, now: float) -> None:
        limits = self.bundle.manifest.limits
        sequence, index, start = worker.progress()
        at_work = sequence == chunk.sequence and index < len(chunk.jobs)
        seconds = (worker.cpu_nanoseconds() - start) / 1e9 if at_work else 0.0
        if seconds > limits.cpu_seconds + _GRACE_SECONDS:
            if worker.progress() == (sequence, index, start):  # else the CPU time is partly the next item's
                worker.kill("cpu_limit")
            return
        if (sequence, index) != chunk.mark:
            chunk.mark, chunk.mark_time, chunk.mark_waited = (sequence, index), now, None
        else:
            if worker.resident_bytes() > limits.memory_mib << 20:
                worker.kill("out_of_memory")
                return
            wall = self._own_wall_seconds(worker, chunk, now)
            if wall > _TURN_SECONDS and worker.is_asleep():
                if wall > limits.wall_seconds:
                    worker.kill("wall_limit" if at_work else "worker_stuck")
                    return
                seconds = max(seconds, wall)  # it sleeps in its slot
        if at_work:
            chunk.seconds = seconds
            self._mind_others(worker, chunk, index)

    def _own_wall_seconds(self, worker: Worker, chunk: Chunk, now: float) -> float:
        """Return how long a worker is where it is, less what it has waited for a processor or been paused meanwhile.

        That it waits is the machine's doing or ours, and must not cost an item its verdict.
        """
        waited = worker.waited_seconds() + worker.paused_seconds
        if chunk.mark_waited is None:
            chunk.mark_waited = waited
        return now - chunk.mark_time - max(waited - chunk.mark_waited, 0.0)  # 0 where it could not be asked

    def _mind_others(self, worker: Worker, chunk: Chunk, index: int) -> None:
        """Have an item that takes long make way, where others wait."""
        pool, seconds, current = self._pool, chunk.seconds, chunk.jobs[index]
        if worker.nice or chunk.place is Place.ASIDE:
            worker.lower_priority(_SLOW_NICE)
        if seconds <= max(_TURN_SECONDS, self._usual(chunk)):
            return
        if current.group.done.done():
            self._stop(worker, chunk, "abandoned")
            return
        if chunk.place is Place.SLOT:
            self._step_back(worker, chunk, current)
        slow = seconds > max(pool.limits.slow_seconds, self._usual(chunk))
        if slow and chunk.place is Place.BACK and pool.waiting_items and pool.has_room(Place.ASIDE):
            worker.lower_priority(_SLOW_NICE)
            self._move(chunk, Place.ASIDE)

    def _usual(self, chunk: Chunk) -> float:
        """Return the seconds that an item of a chunk may take without being an outlier."""
        return _HEAVY_FACTOR * self._means[chunk.operation]

    def _step_back(self, worker: Worker, chunk: Chunk, current: Job) -> None:
        rest = [job for job in chunk.jobs if job is not current and not job.answered]
        if not (rest or self._pool.waiting_items):
            return  # nobody would gain
        self._pool.make_room_back()
        self._pool.counters.moved_aside += 1
        self._stepped_back = True
        self._spares = min(self._spares + 1, self._pool.limits.slots)
        self._move(chunk, Place.BACK)
        # What the worker still says of the others is ignored: their jobs are no longer this chunk's.
        worker.take_back(chunk.sequence)
        chunk.jobs = [job if job is current else placeholder(job) for job in chunk.jobs]
        self._again(rest)

    def _move(self, chunk: Chunk, place: Place) -> None:
        self._pool.taken[chunk.place] -= 1
        self._pool.taken[place] += 1
        chunk.place = place

    def _stop(self, worker: Worker, chunk: Chunk, reason: str) -> None:
        """End a worker whose chunk it is to have no more to do with, without waiting for its exit."""
        worker.kill(reason)
        self._release(worker, chunk)

    def back(self) -> list[tuple[Worker, Chunk]]:
        """Return the workers that have stepped back, with what they judge."""
        chunks = self._chunks.items()
        return [
            (worker, chunk) for worker, chunk in chunks if chunk.place is Place.BACK and not worker.killed_for
        ]

    def stop(self, worker: Worker) -> None:
        """Stop a worker that has stepped back; its item begins again, aside, when there is room."""
        chunk = self._chunks[worker]
        self._stop(worker, chunk, "moved_aside")
        stopped = [job for job in chunk.jobs if not job.answered]
        self._stopped += stopped
        self._pool.stopped += len(stopped)
