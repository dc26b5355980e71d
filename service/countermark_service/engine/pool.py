"""Which worker judges what next: one pool for all bundles of a service.

Theory of operation
-------------------
A *lane* is one bundle: its nursery, its workers and the groups of items that wait
for it. The pool has a fixed number of *slots* (one per core). A slot is taken
while a worker judges a *chunk*, a few milliseconds' worth of items of one group.
When a slot comes free, the lanes take turns, and within a lane its groups do, so
neither a large batch nor a busy bundle holds up the others.

Every 20 ms the pool looks at the workers that are busy. An item that has used more
than its share of CPU is *moved aside*: its worker gives up its slot, runs on at the
lowest priority, and the rest of the chunk goes to another worker. At most
`slow_lane` workers run aside; past that the item is stopped and begins again when
there is room. The item's budget itself is kept by a timer in the worker; the pool
is the second line, for workers that no longer obey, that sleep, or that eat memory.

A worker that ends takes at most one item with it. Where it is not certain which
one, every item of the chunk is judged again, alone, so that none is blamed for
another. A worker that somebody else killed costs a second try, not a verdict.
"""

import asyncio
import itertools
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from countermark_service.bundles import Bundle
from countermark_service.engine.environment import EnvironmentCache
from countermark_service.engine.nursery import Nursery, Worker, platform_name
from countermark_service.engine.snapshot import materialise
from countermark_service.engine.wire import (
    Judged,
    Operation,
    ProtocolViolationError,
    Reduced,
    read_reply,
    request_frame,
)
from countermark_service.errors import CountermarkError, SaturatedError, UnavailableError
from countermark_service.sandbox import Containment

_TICK_SECONDS = 0.020
_CHUNK_SECONDS = 0.015
_CHUNK_ITEMS = 256
_CHUNK_BYTES = 1 << 20
_GRACE_SECONDS = 0.5
_TRIES = 3
_HEAVY_FACTOR = 4.0
_STARVED_EXTENSIONS = 20
_RESTART_PAUSE = (0.05, 5.0)


@dataclass(frozen=True)
class Failed:
    """An item that got no verdict from its verifier."""

    outcome: str
    """``timeout`` or ``error``."""
    code: str
    """Stable reason, such as ``cpu_limit``."""
    message: str


Result = Judged | Reduced | Failed


@dataclass(frozen=True)
class PoolLimits:
    """How the pool shares the machine."""

    slots: int = os.cpu_count() or 1
    """Workers that judge at the same time."""
    slow_lane: int = 0
    """Workers that may run aside; 0 means twice the slots."""
    slow_seconds: float = 0.25
    """CPU seconds after which an item is moved aside."""
    queue_items: int = 65536
    """Items that may wait; past that a request is refused whole."""
    queue_bytes: int = 512 << 20
    """Bytes of items that may wait."""
    idle_seconds: float = 300.0
    """After this time without work a bundle's processes end."""
    recycle_items: int = 100_000
    """A worker ends after this many items."""
    recycle_bytes: int = 96 << 20
    """A worker ends when it has grown by this much."""


@dataclass
class PoolCounters:
    """What happened since the start, for the metrics."""

    items: int = 0
    moved_aside: int = 0
    cpu_seconds: float = 0.0
    restarts: dict[str, int] = field(default_factory=dict)
    """Ended workers by reason."""


class _Group:
    """The items of one call that wait for one bundle."""

    def __init__(
        self, operation: Operation, on_result: Callable[[int, Result], None], done: asyncio.Future[None]
    ) -> None:
        self.operation: Operation = operation
        self.waiting: deque[_Job] = deque()
        self.on_result = on_result
        self.done = done
        self.open = 0

    def resolve(self, job: "_Job", result: Result) -> None:
        if job.answered:
            return
        job.answered = True
        self.open -= 1
        if self.done.done():
            return
        self.on_result(job.index, result)
        if self.open == 0:
            self.done.set_result(None)


@dataclass(eq=False, slots=True)
class _Job:
    group: _Group
    index: int
    payload: bytes
    tries: int = 0
    alone: bool = False
    """Judged in a chunk of its own, since a chunk with it ended badly."""
    answered: bool = False


@dataclass(eq=False, slots=True)
class _Chunk:
    sequence: int
    operation: Operation
    jobs: list[_Job]
    aside: bool = False
    mark: tuple[int, int] = (-1, -1)
    mark_time: float = 0.0
    extensions: int = 0


class Pool:
    """Judges items of any bundle in contained workers."""

    def __init__(
        self,
        *,
        environments: EnvironmentCache,
        containment: Containment,
        data: Path,
        limits: PoolLimits | None = None,
    ) -> None:
        """Prepare; processes start with the first items.

        Args:
            environments: Where interpreters and packages come from.
            containment: How workers are held.
            data: Folder for snapshots and scratches.
            limits: Sizes and thresholds.
        """
        self.limits = limits or PoolLimits()
        self.containment = containment
        self.counters = PoolCounters()
        self._environments = environments
        self._data = data
        self._lanes: dict[str, _Lane] = {}
        self._turns: deque[_Lane] = deque()
        self.busy = 0
        """Slots that are taken."""
        self.aside = 0
        """Workers that run aside."""
        self.waiting_items = 0
        self.waiting_bytes = 0
        self._sequences = itertools.count(1)
        self._watch: asyncio.TimerHandle | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

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
        if not admitted:
            self._admit(len(payloads), sum(map(len, payloads)))
        lane = self._lane(bundle)
        await lane.ready()
        group = _Group(operation, on_result, asyncio.get_running_loop().create_future())
        group.waiting.extend(_Job(group, index, payload) for index, payload in enumerate(payloads))
        group.open = len(group.waiting)
        lane.add(group)
        self.pump()
        try:
            await group.done
        finally:
            lane.drop(group)

    def _admit(self, items: int, size: int) -> None:
        if self._closed:
            raise UnavailableError("the service is stopping: ask again when it is back.")
        limits = self.limits
        if self.waiting_items and self.waiting_items + items > limits.queue_items:
            raise SaturatedError(
                pending=self.waiting_items, limit=limits.queue_items, retry_after=self._time_to_drain()
            )
        if self.waiting_bytes and self.waiting_bytes + size > limits.queue_bytes:
            raise SaturatedError(
                pending=self.waiting_items, limit=limits.queue_items, retry_after=self._time_to_drain()
            )

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

    def depth(self) -> dict[str, int]:
        """Return how many items wait, by bundle reference."""
        return {
            f"{lane.bundle.ref.name}:{lane.bundle.ref.version}": lane.waiting for lane in self._lanes.values()
        }

    def workers(self) -> list[tuple[str, int]]:
        """Return the bundle digest and process id of every live worker."""
        return [(digest, pid) for digest, lane in self._lanes.items() for pid in lane.pids()]

    # --- inside ------------------------------------------------------------------------------------

    def _lane(self, bundle: Bundle) -> "_Lane":
        lane = self._lanes.get(bundle.digest)
        if lane is None:
            lane = self._lanes[bundle.digest] = _Lane(self, bundle)
            self._turns.append(lane)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(
                self.limits.idle_seconds / 4, self._sweep_idle
            )
        return lane

    def environment_of(self, lane: "_Lane") -> Nursery:
        """Return a nursery for the lane's bundle; builds what is missing, so call it in a thread."""
        bundle = lane.bundle
        manifest = bundle.manifest
        label = f"{manifest.name}:{manifest.version}"
        environment = self._environments.ensure(bundle.lock, manifest.python or "", label=label)
        code = materialise(bundle, self._data / "snapshots")
        return Nursery(
            bundle, environment, code, self.containment, scratch_root=self._data / "scratch", listener=lane
        )

    def spawn(self, work: "asyncio._CoroutineLike[None]") -> asyncio.Task[None]:
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
        if self._watch is None and (self.busy or self.aside):
            self._watch = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._look)

    def next_sequence(self) -> int:
        """Return a number for a chunk that no other chunk has."""
        return next(self._sequences)

    @property
    def slow_lane(self) -> int:
        """How many workers may run aside."""
        return self.limits.slow_lane or 2 * self.limits.slots

    def others_wait(self, chunk: _Chunk, index: int) -> bool:
        """True where somebody would gain if the item at `index` of `chunk` were moved aside."""
        return self.waiting_items > 0 or any(
            not job.answered for job in chunk.jobs if job is not chunk.jobs[index]
        )

    def _look(self) -> None:
        self._watch = None
        for lane in list(self._lanes.values()):
            lane.look()
        self.pump()

    def _sweep_idle(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(self.limits.idle_seconds / 4, self._sweep_idle)
        for lane in self._lanes.values():
            if lane.is_idle_since(time.monotonic() - self.limits.idle_seconds):
                self.spawn(lane.close())


class _Lane:
    """One bundle in the pool. Hears of its processes as a `WorkerListener`."""

    def __init__(self, pool: Pool, bundle: Bundle) -> None:
        self.bundle = bundle
        self.surroundings = msgspec.Raw(b"{}")
        self.waiting = 0
        self._means: dict[Operation, float] = {"verify": 0.001, "reduce": 0.001}
        self._pool = pool
        self._groups: deque[_Group] = deque()
        self._slow: deque[_Job] = deque()
        self._idle: list[Worker] = []
        self._chunks: dict[Worker, _Chunk] = {}
        self._forking = 0
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
        nursery = await asyncio.to_thread(self._pool.environment_of, self)
        await nursery.start()
        surroundings = {
            "python": nursery.python_version,
            "platform": platform_name(),
            "containment": self._pool.containment.level.value,
        }
        self.surroundings = msgspec.Raw(msgspec.json.encode(surroundings))
        self._nursery = nursery

    def on_lost(self) -> None:
        """The nursery died: its workers are gone, what waited is judged by a new one."""
        lost, self._nursery = self._nursery, None
        self._count("nursery_lost")
        if lost is not None:
            self._pool.spawn(lost.close())
        if self._groups or self._slow:
            self._pool.spawn(self._restart())

    async def _restart(self) -> None:
        self._failures += 1
        first, longest = _RESTART_PAUSE
        await asyncio.sleep(min(first * 2**self._failures, longest))
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
        if nursery is not None:
            await nursery.close()

    @property
    def mean_seconds(self) -> float:
        """CPU seconds that an item usually takes."""
        return self._means["verify"]

    def is_idle_since(self, moment: float) -> bool:
        """True where the lane has processes and has had no work since `moment`."""
        return (
            self._nursery is not None and not self._groups and not self._chunks and self._last_used < moment
        )

    def pids(self) -> list[int]:
        """Return the process ids of the lane's workers."""
        return [] if self._nursery is None else [worker.pid for worker in self._nursery.workers.values()]

    def _fork(self) -> None:
        self._forking += 1
        self._pool.spawn(self._fork_one())

    async def _fork_one(self) -> None:
        try:
            if self._nursery is not None:
                worker = await self._nursery.fork()
                self._failures = 0
                if not worker.exited:
                    self._idle.append(worker)
        except UnavailableError:
            # The nursery ended; `on_lost` has started another or will.
            self._count("fork_failed")
        finally:
            self._forking -= 1
            self._pool.pump()

    # --- queue -----------------------------------------------------------------------------------------

    def add(self, group: _Group) -> None:
        """Let the items of `group` wait for their turn."""
        self._last_used = time.monotonic()
        self._groups.append(group)
        self._counted(len(group.waiting), sum(len(job.payload) for job in group.waiting))

    def drop(self, group: _Group) -> None:
        """Forget what still waits of `group`."""
        self._last_used = time.monotonic()
        if not group.done.done():
            group.done.cancel()
        if group in self._groups:
            self._groups.remove(group)
        self._counted(-len(group.waiting), -sum(len(job.payload) for job in group.waiting))
        group.waiting.clear()

    def fail(self, problem: CountermarkError) -> None:
        """Let every waiting call fail with `problem`."""
        groups = {*self._groups, *(job.group for job in self._slow)}
        groups |= {job.group for chunk in self._chunks.values() for job in chunk.jobs}
        for group in groups:
            if not group.done.done():
                group.done.set_exception(problem)

    def _counted(self, items: int, size: int) -> None:
        self.waiting += items
        self._pool.waiting_items += items
        self._pool.waiting_bytes += size

    def _again(self, jobs: Sequence[_Job], *, alone: bool = False) -> None:
        """Put jobs back at the head of their groups."""
        for job in reversed(jobs):
            if job.answered or job.group.done.done():
                continue
            job.alone = job.alone or alone
            job.group.waiting.appendleft(job)
            if job.group not in self._groups:
                self._groups.appendleft(job.group)
            self._counted(1, len(job.payload))

    def dispatch(self) -> bool:
        """Start one chunk, or the making of a worker for it; False where nothing can start."""
        if self._nursery is None:
            return False
        slow = bool(self._slow) and self._pool.aside < self._pool.slow_lane
        healthy = bool(self._groups) and self._pool.busy < self._pool.limits.slots
        if not (slow or healthy):
            return False
        if not self._idle:
            if self._forking:
                return False
            self._fork()
            return True
        worker = self._idle.pop()
        if slow:
            worker.lower_priority()
            self._pool.aside += 1
            self._send(worker, [self._slow.popleft()], aside=True)
        else:
            self._pool.busy += 1
            self._send(worker, self._next_jobs(), aside=False)
        return True

    def _next_jobs(self) -> list[_Job]:
        group = self._groups[0]
        share = -(-self.waiting // self._pool.limits.slots)
        count = max(1, min(int(_CHUNK_SECONDS / self._means[group.operation]), _CHUNK_ITEMS, share))
        jobs, size = [group.waiting.popleft()], 0
        while not jobs[0].alone and len(jobs) < count and group.waiting and not group.waiting[0].alone:
            size += len(group.waiting[0].payload)
            if size > _CHUNK_BYTES:
                break
            jobs.append(group.waiting.popleft())
        self._counted(-len(jobs), -sum(len(job.payload) for job in jobs))
        self._groups.rotate(-1)
        if not group.waiting:
            self._groups.remove(group)
        return jobs

    def _send(self, worker: Worker, jobs: list[_Job], *, aside: bool) -> None:
        chunk = _Chunk(
            self._pool.next_sequence(), jobs[0].group.operation, jobs, aside, mark_time=time.monotonic()
        )
        self._chunks[worker] = chunk
        budget = self.bundle.manifest.limits.cpu_seconds
        worker.send(request_frame(chunk.operation, chunk.sequence, budget, [job.payload for job in jobs]))

    # --- what workers say ------------------------------------------------------------------------------

    def on_frame(self, worker: Worker, payload: bytes) -> None:
        """Take results; see `WorkerListener`."""
        chunk = self._chunks.get(worker)
        if chunk is None:
            raise ProtocolViolationError("a worker sent a reply that nobody asked for")
        reply = read_reply(chunk.operation, payload)
        if reply.sequence != chunk.sequence or not 0 <= reply.first <= len(chunk.jobs) - len(reply.results):
            raise ProtocolViolationError("a worker sent a reply that fits no request")
        results: Sequence[Judged | Reduced] = reply.results
        for offset, result in enumerate(results):
            seconds = max(result.cpu_microseconds, 1) / 1e6
            self._learn(chunk.operation, seconds)
            job = chunk.jobs[reply.first + offset]
            job.group.resolve(job, result)
        worker.items += len(reply.results)
        if reply.done or (chunk.aside and all(job.answered for job in chunk.jobs)):
            self._finished(worker, chunk)

    def _learn(self, operation: Operation, seconds: float) -> None:
        """Follow the usual cost of an item; an outlier moves it a little only."""
        mean = self._means[operation]
        self._means[operation] = mean + 0.05 * (min(seconds, _HEAVY_FACTOR * mean) - mean)
        self._pool.counters.cpu_seconds += seconds
        self._pool.counters.items += 1

    def _finished(self, worker: Worker, chunk: _Chunk) -> None:
        self._release(worker, chunk)
        self._again([job for job in chunk.jobs if not job.answered])
        if chunk.aside:
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
        spent = worker.items >= limits.recycle_items or resident - fresh > limits.recycle_bytes
        return spent or len(self._idle) >= limits.slots

    def _release(self, worker: Worker, chunk: _Chunk) -> None:
        del self._chunks[worker]
        self._last_used = time.monotonic()
        if chunk.aside:
            self._pool.aside -= 1
        else:
            self._pool.busy -= 1

    def on_violation(self, worker: Worker, problem: ProtocolViolationError) -> None:
        """End a worker that does not keep to the protocol; see `WorkerListener`."""
        worker.kill("protocol_violation")

    def on_exit(self, worker: Worker, status: int | None) -> None:
        """Say what became of the items of an ended worker; see `WorkerListener`."""
        self._fresh_bytes.pop(worker.number, None)
        if worker in self._idle:
            self._idle.remove(worker)
        reason = worker.killed_for or _reason_of(status)
        self._count(reason)
        chunk = self._chunks.get(worker)
        if chunk is None:
            return
        self._release(worker, chunk)
        sequence, index, _ = worker.progress()
        current = chunk.jobs[index] if sequence == chunk.sequence and index < len(chunk.jobs) else None
        open_jobs = [job for job in chunk.jobs if not job.answered]
        if len(chunk.jobs) == 1 and open_jobs and reason not in _NOT_THE_ITEM:
            current = open_jobs[0]
        if current is None or current.answered or reason in _NOT_THE_ITEM:
            self._retry(open_jobs)
            self._pool.pump()
            return
        rest = [job for job in open_jobs if job is not current]
        if reason == "moved_aside":
            self._slow.append(current)
        elif reason in _CERTAIN:
            current.group.resolve(current, _CERTAIN[reason](self.bundle))
        elif not rest:
            current.group.resolve(current, _failure_of(reason, status))
        else:
            self._retry(open_jobs)
            rest = []
        self._again(rest)
        self._pool.pump()

    def _retry(self, jobs: list[_Job]) -> None:
        """Judge again, each alone; an item whose worker dies again and again is an error."""
        for job in jobs:
            job.tries += 1
            if job.tries >= _TRIES:
                message = (
                    f"its worker was killed from outside {job.tries} times: is the machine out of memory?"
                )
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
            if worker.killed_for is None:
                self._look_at(worker, chunk, now)

    def _look_at(self, worker: Worker, chunk: _Chunk, now: float) -> None:
        sequence, index, start = worker.progress()
        if (sequence, index) != chunk.mark:
            chunk.mark, chunk.mark_time, chunk.extensions = (sequence, index), now, 0
            return
        if sequence != chunk.sequence or index >= len(chunk.jobs):
            if now - chunk.mark_time > self.bundle.manifest.limits.wall_seconds:
                worker.kill("worker_stuck")
            return
        limits = self.bundle.manifest.limits
        seconds = (worker.cpu_nanoseconds() - start) / 1e9
        if seconds > limits.cpu_seconds + _GRACE_SECONDS:
            worker.kill("cpu_limit")
        elif worker.resident_bytes() > limits.memory_mib << 20:
            worker.kill("out_of_memory")
        elif now - chunk.mark_time > limits.wall_seconds * (1 + chunk.extensions):
            if worker.is_runnable() and chunk.extensions < _STARVED_EXTENSIONS:
                chunk.extensions += 1  # it waits for a processor: that is the machine's doing
            else:
                worker.kill("wall_limit")
        elif not chunk.aside and seconds > max(
            self._pool.limits.slow_seconds, _HEAVY_FACTOR * self.mean_seconds
        ):
            self._move_aside(worker, chunk, index)

    def _move_aside(self, worker: Worker, chunk: _Chunk, index: int) -> None:
        if not self._pool.others_wait(chunk, index):
            return
        self._pool.counters.moved_aside += 1
        if self._pool.aside >= self._pool.slow_lane:
            worker.kill("moved_aside")
            return
        current = chunk.jobs[index]
        rest = [job for job in chunk.jobs if job is not current and not job.answered]
        # What the worker still says of the others is ignored: their jobs are no longer this chunk's.
        chunk.jobs = [job if job is current else _answered(job) for job in chunk.jobs]
        chunk.aside = True
        self._pool.busy -= 1
        self._pool.aside += 1
        worker.lower_priority()
        self._again(rest)


def _answered(job: _Job) -> _Job:
    return _Job(job.group, job.index, b"", answered=True)


def _reason_of(status: int | None) -> str:
    """Return why a process ended that the service did not kill."""
    if status is None:
        return "nursery_lost"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        known = {
            signal.SIGPROF: "cpu_limit",
            signal.SIGSYS: "out_of_memory",
            signal.SIGKILL: "killed_from_outside",
        }
        return known.get(signal.Signals(number), "verifier_crashed")
    return "verifier_exited"


def _cpu_limit(bundle: Bundle) -> Failed:
    seconds = bundle.manifest.limits.cpu_seconds
    return Failed("timeout", "cpu_limit", f"the verifier used up its {seconds:g} s of CPU time")


def _wall_limit(bundle: Bundle) -> Failed:
    seconds = bundle.manifest.limits.wall_seconds
    return Failed("timeout", "wall_limit", f"the verifier made no progress for {seconds:g} s")


def _out_of_memory(bundle: Bundle) -> Failed:
    size = bundle.manifest.limits.memory_mib
    return Failed("error", "out_of_memory", f"the verifier needed more than its {size} MiB of memory")


_CERTAIN: dict[str, Callable[[Bundle], Failed]] = {
    "cpu_limit": _cpu_limit,
    "wall_limit": _wall_limit,
    "out_of_memory": _out_of_memory,
}
"""Ends that the item at work has caused for certain."""

_NOT_THE_ITEM = {"killed_from_outside", "nursery_lost", "worker_stuck", "closing"}


def _failure_of(reason: str, status: int | None) -> Failed:
    if reason == "protocol_violation":
        return Failed("error", reason, "the verifier wrote to, or closed, the pipe that carries verdicts")
    if reason == "verifier_exited" and status is not None:
        return Failed(
            "error", reason, f"the verifier ended its process with exit status {os.WEXITSTATUS(status)}"
        )
    number = signal.Signals(os.WTERMSIG(status)).name if status is not None else "no status"
    return Failed("error", reason, f"the verifier's process crashed ({number})")
