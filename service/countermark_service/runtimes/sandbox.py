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

import msgspec

from countermark_service.bundles import Bundle
from countermark_service.engine.pool import Failed, Pool, Result
from countermark_service.engine.wire import Judged, Operation, Reduced
from countermark_service.errors import UnavailableError
from countermark_service.model import Outcome, Verdict
from countermark_service.runtimes.interface import OnReduction, OnVerdict
from countermark_service.runtimes.runs import Run, effective_limits, execute, read_plan
from countermark_service.runtimes.sandboxes import Kind, OpenPool, Sandboxes
from countermark_service.runtimes.tagged import NotTaggedError
from countermark_service.sandbox.code.model import SandboxInputError, SandboxUnavailableError, Status

_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_AHEAD = 2
"""Candidates per slot that one call may have on their way: one runs while another is judged."""
_ROUNDS = 2
"""How often a bundle may have something run for one item: the candidate, then a checker."""


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
        async with self.sandboxes.open(kind_of(bundle)) as lent:
            surroundings = _surroundings(bytes(await self.pool.ready(bundle)), lent)
            call = _Call(self, bundle, lent, payloads, on_verdict, surroundings)
            self.sandboxes.waiting += len(payloads)
            try:
                await call.complete()
            finally:
                self.sandboxes.waiting -= call.left

    async def close(self) -> None:
        """End every sandbox."""
        await self.sandboxes.close()


def kind_of(bundle: Bundle) -> Kind:
    """Return what the candidates of a bundle find."""
    table = bundle.manifest.sandbox
    if table is None or bundle.manifest.python is None:
        raise UnavailableError(f"{bundle.ref} has no [sandbox] table: its manifest is not one of this runtime.")
    lock = b"" if table.requirements is None else bundle.files[table.requirements]
    return Kind(table.language, bundle.manifest.python, lock, table.preload)


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
        self._planned: deque[tuple[int, bytes]] = deque()
        self._more = asyncio.Event()
        self._all_planned = False
        self.left = len(payloads)
        """Items without a verdict."""

    async def complete(self) -> None:
        """Return when every item has its verdict."""
        runners = min(_AHEAD * self._runtime.sandboxes.slots, len(self._payloads))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._plan())
                for _ in range(runners):
                    tasks.create_task(self._run())
        except ExceptionGroup as group:
            raise _first(group) from group

    async def _plan(self) -> None:
        def take(index: int, result: Result) -> None:
            if isinstance(result, Judged) and result.outcome == "run":
                self._planned.append((index, bytes(result.detail)))
                self._more.set()
            else:
                self._report(index, result)

        admitted = self._runtime.reduces(self._bundle)
        await self._runtime.pool.run(self._bundle, "plan", self._payloads, take, admitted=admitted)
        self._all_planned = True
        self._more.set()

    async def _run(self) -> None:
        """Take planned items one after the other until none is left and none will come."""
        while True:
            while not self._planned:
                if self._all_planned:
                    return
                self._more.clear()
                await self._more.wait()
            index, plan = self._planned.popleft()
            self._report(index, await self._judge(index, plan))

    async def _judge(self, index: int, plan: bytes) -> Result:
        """Run what is planned for one item, and let the bundle judge it."""
        told: list[msgspec.Raw] = []
        for _ in range(_ROUNDS):
            try:
                for run in read_plan(plan):
                    result, status = await self._execute(run)
                    if status is Status.INFRASTRUCTURE:
                        return Failed("error", "sandbox_failed", "the sandbox failed; the candidate is not to blame")
                    told.append(msgspec.Raw(msgspec.json.encode(result)))
                    if run.stop and status is not Status.OK:
                        break
            except (msgspec.MsgspecError, NotTaggedError) as exc:
                return Failed("error", "invalid_plan", f"the verifier asks for a run that is none: {exc}")
            except SandboxInputError as exc:
                return Failed("error", exc.code, str(exc))
            payload = self._payloads[index][:-1] + b"," + msgspec.json.encode(told) + b"]"
            judged = await self._ask("judge", payload)
            if not isinstance(judged, Judged) or judged.outcome != "run":
                return judged
            plan = bytes(judged.detail)
        return Failed("error", "invalid_plan", f"the verifier asks for more than {_ROUNDS} rounds of runs")

    async def _execute(self, run: Run) -> tuple[dict[str, object], Status]:
        table = self._bundle.manifest.sandbox
        base = table.limits if table is not None and run.language is None else {}
        limits = effective_limits(base, run.limits)
        sandboxes = self._runtime.sandboxes
        if run.language is None:
            async with sandboxes.turns:
                return await execute(run, self._lent.pool, limits)
        kind = Kind(run.language, self._bundle.manifest.python or "")
        async with sandboxes.open(kind) as lent, sandboxes.turns:
            return await execute(run, lent.pool, limits)

    async def _ask(self, operation: Operation, payload: bytes) -> Result:
        found: list[Result] = []
        await self._runtime.pool.run(
            self._bundle, operation, [payload], lambda _, result: found.append(result), admitted=True
        )
        return found[0]

    def _report(self, index: int, result: Result) -> None:
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
        self._on_verdict(index, verdict)


def _surroundings(worker: bytes, lent: OpenPool) -> bytes:
    """Return the surroundings of a verdict: the worker's, with the candidate's containment and interpreter."""
    values = msgspec.json.decode(worker, type=dict[str, object])
    return msgspec.json.encode(
        values | {"containment": lent.pool.level.value, "candidate": lent.version}
    )


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """Return the first single error of a group; the others followed from it."""
    found: Exception = group
    while isinstance(found, ExceptionGroup):
        found = found.exceptions[0]
    if isinstance(found, SandboxUnavailableError):
        return UnavailableError(f"the sandbox is not to be had: {found}")
    return found
