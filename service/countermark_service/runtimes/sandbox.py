"""Bundles that judge candidate programs: plan in a worker, run in a sandbox, judge in a worker.

Theory of operation
-------------------
::

    item ─▶ worker: plan(item) ─▶ a verdict, or runs
                                     │  runs hold what a candidate may see, never what is expected
            sandbox: execute ◀───────┘
               │  statuses, outputs, times
               ▼
            worker: judge(item, results) ─▶ a verdict, or (once more) runs, of a checker, say

Program, worker and service are three processes; the candidate's has no way to the
other two. Whatever a candidate does ends in a status of its own, which the judge
scores; only a sandbox that fails by itself makes the outcome ``error``.

A call has at most `_AHEAD` candidates per slot on their way, so calls take turns at
the slots however large they are.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from countermark_service.bundles import Bundle
from countermark_service.engine.pool import Failed, Pool, Result
from countermark_service.engine.wire import Judged, Reduced
from countermark_service.errors import RequestError, UnavailableError
from countermark_service.model import Outcome, Verdict
from countermark_service.runtimes.interface import OnReduction, OnVerdict
from countermark_service.runtimes.runs import Run, clock_decided, effective_limits, execute, read_plan
from countermark_service.runtimes.sandboxes import Kind, OpenPool, Sandboxes
from countermark_service.runtimes.tagged import NotTaggedError
from countermark_service.sandbox.code.model import SandboxInputError, SandboxUnavailableError, Status

_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_AHEAD = 2
"""Candidates per slot that one call may have on their way: one runs while another is judged."""
_GATHER_ITEMS, _LEAST_ITEMS = 32, 4
_GATHER_SECONDS = 0.050
"""Finished items are judged so many at a time, or as many as came in this time: a frame to a worker, and a
write to the store, cost as much for one as for some. At the end of a call the last few are left out, so that
they do not wait until all the others are judged with them."""
_HELD_BYTES = 64 << 20
"""Results that one call may hold before it runs no more until some are judged."""
_ROUNDS = 3
"""How often a bundle may have something run for one item: the candidate, then a checker, then that once more."""


class SandboxRuntime:
    """Judges items of `sandbox` bundles. A `Runtime`."""

    def __init__(self, pool: Pool, sandboxes: Sandboxes) -> None:
        """`sandboxes` becomes this object's to close; `pool` stays its owner's."""
        self.pool = pool
        self.sandboxes = sandboxes

    async def prepare(self, bundle: Bundle) -> None:
        """Find the level, build the environments, start pool and worker; see `Runtime`."""
        async with self.sandboxes.open(kind_of(bundle)):
            await self.pool.ready(bundle)

    def reduces(self, bundle: Bundle) -> bool:
        """True where the manifest names a `reduce`."""
        return bundle.manifest.reduce is not None

    async def reduce(self, bundle: Bundle, payloads: Sequence[bytes], on_reduction: OnReduction) -> None:
        """Run the bundle's `reduce`; an item on which it fails has no reduction."""

        def take(index: int, result: Result) -> None:
            key = result.key if isinstance(result, Reduced) else None
            on_reduction(index, None if key is None else key.encode())

        await self.pool.run(bundle, "reduce", payloads, take)

    async def verify(self, bundle: Bundle, payloads: Sequence[bytes], on_verdict: OnVerdict) -> None:
        """Plan, run and judge each item; see `Runtime`."""
        self.sandboxes.admit(len(payloads))
        self.sandboxes.waiting += len(payloads)
        call: _Call | None = None
        try:
            async with self.sandboxes.open(kind_of(bundle)) as lent:
                surroundings = _surroundings(bytes(await self.pool.ready(bundle)), lent)
                call = _Call(self, bundle, lent, payloads, on_verdict, surroundings)
                await call.complete()
        finally:
            self.sandboxes.waiting -= len(payloads) if call is None else call.left

    async def close(self) -> None:
        """End every sandbox."""
        await self.sandboxes.close()


def kind_of(bundle: Bundle) -> Kind:
    """Return what the candidates of a bundle find.

    Raises:
        RequestError: The bundle runs no programs.
    """
    table = bundle.manifest.sandbox
    if table is None or bundle.manifest.python is None:
        raise RequestError(f"{bundle.ref} runs no programs: name a code verifier in its place.")
    lock = b"" if table.requirements is None else bundle.files[table.requirements]
    return Kind(table.language, bundle.manifest.python, lock, table.preload)


@dataclass(eq=False, slots=True)
class _Work:
    """One item between its plan and its verdict."""

    index: int
    plan: bytes
    """The runs that the bundle asks for, not read yet."""
    told: list[msgspec.Raw] = field(default_factory=list)
    """What all runs so far came to."""
    rounds: int = 0
    lasting: bool = True
    """False once the clock has ended a test of it: a busy machine may have had a say."""

    @property
    def size(self) -> int:
        """Bytes of what is told."""
        return sum(len(bytes(one)) for one in self.told)


class _Call:
    """The items of one call of `SandboxRuntime.verify`."""

    def __init__(
        self,
        runtime: SandboxRuntime,
        bundle: Bundle,
        lent: OpenPool,
        payloads: Sequence[bytes],
        on_verdict: OnVerdict,
        surroundings: bytes,
    ) -> None:
        self._runtime = runtime
        self._bundle = bundle
        self._lent = lent
        self._payloads = payloads
        self._on_verdict = on_verdict
        self._surroundings = surroundings
        self._planned: deque[_Work] = deque()
        self._running = 0
        self._finished: list[_Work] = []
        self._held = 0
        self._more = asyncio.Event()
        self._ready = asyncio.Event()
        self.left = len(payloads)
        """Items without a verdict."""

    async def complete(self) -> None:
        """Return when every item has its verdict."""
        runners = min(_AHEAD * self._runtime.sandboxes.slots, len(self._payloads))
        try:
            async with asyncio.TaskGroup() as tasks:
                for part in (range(runners), range(runners, len(self._payloads))):  # some can run at once
                    tasks.create_task(self._plan(part))
                tasks.create_task(self._judge())
                for _ in range(runners):
                    tasks.create_task(self._run())
        except ExceptionGroup as group:
            raise _first(group) from group

    async def _plan(self, part: range) -> None:
        """Have some items planned."""
        admitted = self._runtime.reduces(self._bundle) or part.start > 0  # the sandboxes' queue has taken all
        await self._runtime.pool.run(
            self._bundle,
            "plan",
            [self._payloads[index] for index in part],
            lambda n, result: self._take(part[n], result, []),
            admitted=admitted,
        )

    def _take(self, index: int, result: Result, before: Sequence[_Work]) -> None:
        """Take what a worker says of an item: its verdict, or what is to be run next."""
        if not isinstance(result, Judged) or result.outcome != "run":
            self._report(index, result, lasting=all(work.lasting for work in before))
            return
        work = before[0] if before else _Work(index, b"")
        work.plan, work.rounds = bytes(result.detail), work.rounds + 1
        if work.rounds > _ROUNDS:
            self._report(index, _invalid(f"the verifier asks for more than {_ROUNDS} rounds of runs"))
            return
        self._planned.append(work)
        self._more.set()

    async def _run(self) -> None:
        """Execute planned items one after the other until every item has its verdict."""
        while True:
            while not self._planned or self._held > _HELD_BYTES:
                if self.left == 0:
                    return
                self._more.clear()
                await self._more.wait()
            work = self._planned.popleft()
            self._running += 1
            try:
                failed = await self._execute(work)
            finally:
                self._running -= 1
            if failed is None:
                self._finished.append(work)
                self._held += work.size
            else:
                self._report(work.index, failed)
            self._ready.set()

    async def _execute(self, work: _Work) -> Failed | None:
        """Do the runs that an item waits for; return why it cannot be judged where that is so."""
        try:
            for run in read_plan(work.plan):
                result, status, lasting = await self._execute_one(run)
                work.lasting = work.lasting and lasting
                if status is Status.INFRASTRUCTURE:
                    return Failed(
                        "error", "sandbox_failed", "the sandbox failed; the candidate is not to blame"
                    )
                work.told.append(msgspec.Raw(msgspec.json.encode(result)))
                if run.stop and status is not Status.OK:
                    break
        except (msgspec.MsgspecError, NotTaggedError) as exc:
            return _invalid(f"the verifier asks for a run that is none: {exc}")
        except SandboxInputError as exc:
            return Failed("error", exc.code, str(exc))
        return None

    async def _execute_one(self, run: Run) -> tuple[dict[str, object], Status, bool]:
        """Return what a run came to, how it ended, and whether it may be kept."""
        table = self._bundle.manifest.sandbox
        base = table.limits if table is not None and run.language is None else {}
        limits = effective_limits(base, run.limits)
        sandboxes = self._runtime.sandboxes
        if run.language is None:
            told, status = await execute(run, self._lent.pool, limits, sandboxes.turns)
        else:
            kind = Kind(run.language, self._bundle.manifest.python or "")
            async with sandboxes.open(kind) as lent:
                told, status = await execute(run, lent.pool, limits, sandboxes.turns)
        return told, status, not clock_decided(told, limits)

    async def _judge(self) -> None:
        """Have finished items judged, several at once where several come in short time."""
        while self.left:
            if not self._finished:
                self._ready.clear()
                await self._ready.wait()
                continue
            await self._gather()
            batch, self._finished = self._finished, []
            payloads = [self._payload(work) for work in batch]
            self._held -= sum(work.size for work in batch)
            self._more.set()
            await self._runtime.pool.run(
                self._bundle,
                "judge",
                payloads,
                lambda n, result, batch=batch: self._take(batch[n].index, result, batch[n : n + 1]),  # type: ignore[misc]
                admitted=True,
            )

    async def _gather(self) -> None:
        """Wait a moment for more finished items, if there may be more."""
        try:
            async with asyncio.timeout(_GATHER_SECONDS):
                wanted = min(_GATHER_ITEMS, max(_LEAST_ITEMS, self.left - _LEAST_ITEMS))
                while len(self._finished) < wanted and (self._running or self._planned):
                    self._ready.clear()
                    await self._ready.wait()
        except TimeoutError:
            pass

    def _payload(self, work: _Work) -> bytes:
        return self._payloads[work.index][:-1] + b"," + msgspec.json.encode(work.told) + b"]"

    def _report(self, index: int, result: Result, *, lasting: bool = True) -> None:
        if isinstance(result, Judged):
            verdict = Verdict.made(
                _OUTCOMES[result.outcome], result.score, bytes(result.detail), self._surroundings
            )
        elif isinstance(result, Failed):
            verdict = Verdict.failure(
                _OUTCOMES[result.outcome], result.code, result.message, self._surroundings
            )
        else:
            raise TypeError(f"a plan or judgement came as {type(result).__name__}")
        self.left -= 1
        self._runtime.sandboxes.waiting -= 1
        self._on_verdict(index, verdict if lasting else verdict.passing())
        if self.left == 0:
            self._more.set()
            self._ready.set()


def _surroundings(worker: bytes, lent: OpenPool) -> bytes:
    """Return the surroundings of a verdict: the worker's, with the candidate's own."""
    values = msgspec.json.decode(worker, type=dict[str, object])
    return msgspec.json.encode(values | {"containment": lent.pool.level.value, "candidate": lent.version})


def _invalid(message: str) -> Failed:
    return Failed("error", "invalid_plan", message)


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """Return the first single error of a group; the others followed from it."""
    found: Exception = group
    while isinstance(found, ExceptionGroup):
        found = found.exceptions[0]
    if isinstance(found, SandboxUnavailableError):
        return UnavailableError(f"the sandbox is not to be had: {found}")
    return found
