"""The pool: slots of one flavour, candidates that wait for one, and what they can be asked.

A candidate gets a slot for itself. A slot that served a thousand candidates, or saw
anything unusual, is replaced. When a slot dies under a candidate, the rest of its tests
run on a fresh one; if it dies again there, while a plain program runs well on that kind
of slot, the candidate is to blame (`resource_limit`), and otherwise the sandbox
(`infrastructure`).
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from countermark_service.sandbox.code.answers import call_results, tester_result
from countermark_service.sandbox.code.flavour import Flavour, Program
from countermark_service.sandbox.code.inside import plain
from countermark_service.sandbox.code.launch import prepare
from countermark_service.sandbox.code.model import (
    Call,
    CallResult,
    Level,
    Limits,
    RunResult,
    SandboxInputError,
    SandboxUnavailableError,
    Status,
    TesterResult,
)
from countermark_service.sandbox.code.papers import Job
from countermark_service.sandbox.code.run import CandidateRun, Finished
from countermark_service.sandbox.code.shortage import shortage_told
from countermark_service.sandbox.code.slot import START_SECONDS, Slot, SlotLostError
from countermark_service.sandbox.scratch import Scratch

DEFAULT_LIMITS = Limits()
CANDIDATES_PER_SLOT = 1000
"""After so many a slot is replaced, whatever the zygote may have gathered."""
COMPILE_LIMITS = Limits(
    cpu_seconds=30,
    wall_seconds=120,
    memory_mib=1024,
    address_space_mib=4096,
    scratch_mib=64,
    scratch_inodes=1000,
)
"""For compilers: an end to hostile programs, and ten times what honest ones take, as a second of a busy processor
does less."""
_PRODUCT_BYTES = 48 * 1024 * 1024
_NODE_ENVIRONMENT = {"NODE_DISABLE_COLORS": "1"}
_CANARY = b"print(sum(map(int, input().split())))"
_MOST_WANTED, _MOST_WANTED_CHARACTERS = 64, 8192
"""Files that may be wanted after a test."""
_MAX_SOURCE_BYTES = 16 * 1024 * 1024
_MAX_NAME_BYTES = 255
"""What a file system takes as the name of one file or folder."""


class SandboxPool:
    """Runs candidates of one flavour at one level, as many at a time as it has slots."""

    def __init__(
        self,
        level: Level,
        flavour: Flavour,
        *,
        slots: int | None = None,
        limit_user_namespaces: bool = True,
        start_seconds: float = START_SECONDS,
    ) -> None:
        """Describe the pool; `start` starts it.

        Args:
            level: How candidates are held. It is what it says or an error, never less.
            flavour: What they are written in.
            slots: How many at a time; one per core by default.
            limit_user_namespaces: See `launch.prepare`.
            start_seconds: How long a slot may take to stand.
        """
        self.level, self.flavour = level, flavour
        self.slots = slots or len(os.sched_getaffinity(0))
        self._limit_user_namespaces = limit_user_namespaces
        self._start_seconds = start_seconds
        self._idle: asyncio.LifoQueue[Slot | None] = asyncio.LifoQueue()
        self._running: set[Slot] = set()
        self._scratch = Scratch()
        self._closed = True
        self.waiting = 0
        """Candidates that wait for a slot."""

    async def start(self) -> None:
        """Start the first slot, so that what cannot work fails here; the others start when needed.

        Raises:
            SandboxUnavailableError: The level or the flavour does not work on this machine.
        """
        self._closed = False
        with shortage_told():
            first = await self._new_slot()
        for _ in range(self.slots - 1):
            self._idle.put_nowait(None)
        self._idle.put_nowait(first)

    async def close(self) -> None:
        """End every slot, and with it every candidate that still runs."""
        self._closed = True
        await asyncio.gather(*(self._end(slot) for slot in list(self._running)))
        self._scratch.close()

    async def __aenter__(self) -> "SandboxPool":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def processes(self) -> list[int]:
        """Return the process number of each running slot, for whoever watches what is left below it."""
        return [slot.pid for slot in self._running if slot.pid is not None]

    async def run_tests(
        self,
        code: bytes,
        tests: Sequence[bytes],
        limits: Limits | None = None,
        *,
        files: Mapping[str, bytes] | None = None,
        stop_after_failure: bool = False,
        compile_seconds: float | None = None,
        fetch: Sequence[str] = (),
    ) -> list[RunResult]:
        """Run a program once per test, each time from a clean start.

        Args:
            code: The source.
            tests: Standard input of each test.
            limits: For each test.
            files: Written to the working folder before each test.
            stop_after_failure: End with the first test that is not ok; later ones have no result.
            compile_seconds: CPU time of the compiler, where the flavour has one.
            fetch: Files of the working folder that are wanted after each test.

        Returns:
            One result per test, in order.
        """
        limits = limits or DEFAULT_LIMITS
        _check(code, files)
        _check_wanted(fetch)
        if self.flavour.program is not None:
            compiling = COMPILE_LIMITS if compile_seconds is None else _compile_limits(compile_seconds)
            return await self._run_program(
                self.flavour.program, code, tests, limits, files, stop_after_failure, compiling, fetch
            )
        packed = None if files is None else plain.encode(dict(files))
        wanted = _wanted(fetch, limits)
        jobs = [
            Job("program", stdin=stdin, files=packed, fetch=tuple(fetch), details=wanted) for stdin in tests
        ]
        finished = await self._complete(code, jobs, limits, stop_after_failure)
        return [one.result for one in finished]

    async def run_calls(
        self,
        code: bytes,
        entry_point: str,
        calls: Sequence[Call],
        limits: Limits | None = None,
        *,
        want_arguments: bool = False,
        stop_after_failure: bool = False,
    ) -> list[CallResult]:
        """Call a function of a Python candidate, each time in a fresh process.

        Args:
            code: The source that defines the function.
            entry_point: Its name, or ``Class.method`` for a method of a fresh instance.
            calls: Arguments of each call; plain data (see `inside.plain`).
            limits: For each call, the source's own top level included.
            want_arguments: Return the arguments as the call left them, too.
            stop_after_failure: End with the first call that returns no value.

        Raises:
            SandboxInputError: An argument is not plain data.
        """
        limits = limits or DEFAULT_LIMITS
        self._only_python()
        _check(code, None)
        nonces = [os.urandom(16) for _ in calls]
        jobs = [
            Job(
                "call",
                ask=_encode((nonce, entry_point, tuple(one.args), dict(one.kwargs), want_arguments)),
                answers=True,
            )
            for nonce, one in zip(nonces, calls, strict=True)
        ]
        finished = await self._complete(code, jobs, limits, stop_after_failure)
        size = sum(len(one.answer) for one in finished)
        if size > _DECODE_INLINE_BYTES:
            return await asyncio.to_thread(call_results, finished, nonces)
        return call_results(finished, nonces)

    async def run_tester(
        self,
        tester_code: bytes,
        candidate_code: bytes,
        entry_points: Sequence[str],
        limits: Limits | None = None,
        *,
        prelude: bytes = b"",
    ) -> TesterResult:
        """Run a test program against a candidate, each in a process and namespaces of its own.

        Args:
            tester_code: The test program. The names in `entry_points`, and `candidate`, are proxies.
            candidate_code: The source under test.
            entry_points: Names of the candidate's functions, the main one first.
            limits: For candidate and tester, each.
            prelude: Source that the tester runs first, before the proxies take their names.
        """
        limits = limits or DEFAULT_LIMITS
        self._only_python()
        _check(tester_code, None)
        _check(candidate_code, None)
        if not entry_points:
            raise SandboxInputError("a tester run needs the name of at least one function")
        for attempt in (1, 2):
            try:
                async with self._slot() as slot:
                    return await _split(slot, tester_code, candidate_code, entry_points, limits, prelude)
            except SlotLostError as error:
                lost = error
            if attempt == 1:
                continue
        if await self._healthy():
            result = RunResult(Status.RESOURCE_LIMIT, message="the sandbox was brought down twice")
            return TesterResult(False, Status.RESOURCE_LIMIT, result.message, candidate=result)
        return TesterResult(False, Status.INFRASTRUCTURE, str(lost))

    async def _run_program(
        self,
        program: Program,
        code: bytes,
        tests: Sequence[bytes],
        limits: Limits,
        files: Mapping[str, bytes] | None,
        stop_after_failure: bool,
        compiling: Limits,
        fetch: Sequence[str],
    ) -> list[RunResult]:
        """Compile where the flavour does, then execute once per test."""
        sources = {**(files or {}), program.source: code}
        binary: int | None = None
        if program.compile is not None:
            built, binary = await self._compile(program, sources, compiling)
            if binary is None:
                return [built] * (1 if stop_after_failure else len(tests))
        try:
            stack_kib = min(
                _MOST_STACK_KIB, limits.stack_mib * 1024 * 3 // 4
            )  # beyond it, a program just dies
            argv = [part.format(stack_kib=stack_kib) for part in program.run or ("./" + program.product,)]
            details = {"argv": argv, **_wanted(fetch, limits)}
            packed = plain.encode(dict(files or {}) if binary is not None else sources)
            jobs = [
                Job(
                    "exec",
                    stdin=stdin,
                    files=packed if binary is None or files else None,
                    fetch=tuple(fetch),
                    details=details,
                    binary=binary,
                )
                for stdin in tests
            ]
            finished = await self._complete(b"", jobs, limits, stop_after_failure)
            return [one.result for one in finished]
        finally:
            if binary is not None:
                os.close(binary)

    async def _compile(
        self, program: Program, sources: Mapping[str, bytes], compiling: Limits
    ) -> tuple[RunResult, int | None]:
        """Return how the compiler fared, and the descriptor of its product where it made one."""
        details = {
            "argv": list(program.compile or ()),
            "product": program.product,
            "product_bytes": _PRODUCT_BYTES,
        }
        job = Job("exec", files=plain.encode(dict(sources)), details=details, product=True)
        holder: list[int] = []
        finished = await self._complete(b"", [job], compiling, False, holder)
        result = finished[0].result
        if result.status is Status.INFRASTRUCTURE:
            return result, None
        if result.status is Status.OK and holder and os.fstat(holder[0]).st_size:
            return result, holder[0]
        for descriptor in holder:
            os.close(descriptor)
        message = result.message or "the compiler left no program"
        return replace(result, status=Status.COMPILE_ERROR, message=message), None

    async def _complete(
        self,
        code: bytes,
        jobs: Sequence[Job],
        limits: Limits,
        stop_after_failure: bool,
        products: list[int] | None = None,
    ) -> list[Finished]:
        """Run jobs on a slot; on a fresh one where that one is lost; then settle who is to blame."""
        finished: list[Finished] = []
        losses = 0
        while len(finished) < len(jobs):
            try:
                async with self._slot() as slot:
                    run = CandidateRun(slot, code, jobs, limits, stop_after_failure=stop_after_failure)
                    run.finished = finished
                    await run.complete()
                    if products is not None and run.product is not None:
                        products.append(run.product)
                    return finished
            except SlotLostError as error:
                losses += 1
                if losses == 1:
                    continue
                if await self._healthy():
                    run.blame()
                    losses = 0
                    continue
                failure = RunResult(Status.INFRASTRUCTURE, message=str(error))
                finished += [Finished(failure)] * (len(jobs) - len(finished))
        return finished

    async def _healthy(self) -> bool:
        """Whether a plain program runs well on a fresh slot, which tells whose fault a loss was."""
        try:
            async with self._slot() as slot:
                if self.flavour.program is not None:
                    return slot.sound
                run = CandidateRun(slot, _CANARY, [Job("program", stdin=b"20 22\n")], Limits())
                finished = await run.complete()
        except (SlotLostError, SandboxUnavailableError):
            return False
        return finished[0].result.stdout == b"42\n"

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[Slot]:
        """Hold a slot; give it back, or replace it where it should not be used again.

        Raises:
            SandboxUnavailableError: The sandbox is closed, or the machine lacks what the slot, or what is done
                with it, takes.
        """
        if self._closed:
            raise SandboxUnavailableError("the sandbox is closed")
        self.waiting += 1
        try:
            slot = await self._idle.get()
        finally:
            self.waiting -= 1
        try:
            if self._closed:
                raise SandboxUnavailableError("the sandbox is closed")
            with shortage_told():
                if slot is None:
                    slot = await self._new_slot()
                yield slot
        finally:
            worn = slot is not None and (not slot.sound or slot.served >= CANDIDATES_PER_SLOT)
            self._idle.put_nowait(None if worn else slot)
            if worn and slot is not None:
                await asyncio.shield(self._end(slot))

    async def _new_slot(self) -> Slot:
        slot = Slot(
            prepare(
                self.level,
                self.flavour,
                self._scratch,
                limit_user_namespaces=self._limit_user_namespaces,
            ),
            start_seconds=self._start_seconds,
        )
        await slot.start()
        self._running.add(slot)
        return slot

    async def _end(self, slot: Slot) -> None:
        await slot.close()
        self._running.discard(slot)

    def _only_python(self) -> None:
        if self.flavour.program is not None:
            raise SandboxInputError(
                f"function calls need a Python flavour; this pool's is {self.flavour.name}"
            )


_MOST_STACK_KIB = 8000
"""What a runtime with a stack limit of its own is given, where the program's whole stack allows."""
_DECODE_INLINE_BYTES = 32 * 1024
"""Larger answers are parsed in a thread, so that the service keeps answering."""


def _check(code: bytes, files: Mapping[str, bytes] | None) -> None:
    """Refuse what no sandbox is needed to refuse."""
    if len(code) > _MAX_SOURCE_BYTES:
        raise SandboxInputError(f"a source of {len(code)} bytes; {_MAX_SOURCE_BYTES} are allowed")
    for name in files or {}:
        _check_name(name)
        if max(len(part.encode("utf-8", "surrogatepass")) for part in name.split("/")) > _MAX_NAME_BYTES:
            raise SandboxInputError(f"file name {name[:100]!r} has a part of over {_MAX_NAME_BYTES} bytes")
        for place, sign in enumerate(name):
            if sign == "/" and name[:place] in (files or {}):
                raise SandboxInputError(f"{name[:place][:100]!r} is a file, and the folder of {name[:100]!r}")


def _check_name(name: str) -> None:
    parts = name.split("/")
    if name.startswith("/") or "\0" in name or not all(parts) or ".." in parts or "." in parts:
        raise SandboxInputError(f"file name {name[:100]!r} is not a plain relative path")


def _check_wanted(names: Sequence[str]) -> None:
    """Refuse wishes for files that do not fit one message to a keeper."""
    for name in names:
        _check_name(name)
    if len(names) > _MOST_WANTED or sum(map(len, names)) > _MOST_WANTED_CHARACTERS:
        raise SandboxInputError(
            f"{len(names)} files are wanted; at most {_MOST_WANTED}, with names of {_MOST_WANTED_CHARACTERS} "
            "characters in all"
        )


def _wanted(names: Sequence[str], limits: Limits) -> dict[str, object]:
    """Return what a keeper is told of the files that are wanted."""
    if not names:
        return {}
    return {"fetch": list(dict.fromkeys(names)), "fetch_bytes": limits.scratch_mib << 20}


def _compile_limits(seconds: float) -> Limits:
    return replace(COMPILE_LIMITS, cpu_seconds=seconds, wall_seconds=None)


def _encode(value: Any) -> bytes:
    try:
        return plain.encode(value)
    except plain.NotPlainError as error:
        raise SandboxInputError(f"arguments must be plain data: {error}") from error


async def _split(
    slot: Slot,
    tester_code: bytes,
    candidate_code: bytes,
    entry_points: Sequence[str],
    limits: Limits,
    prelude: bytes,
) -> TesterResult:
    """Run both halves at once on one slot, each under a keeper of its own."""
    nonce = os.urandom(16)
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    details = {
        "answer_bytes": limits.answer_bytes,
        "entry_points": list(entry_points),
        "nonce": nonce.hex(),
    }
    tester_limits = replace(limits, wall_seconds=limits.wall + 0.5)
    with theirs, ours:
        candidate = CandidateRun(slot, candidate_code, [Job("serve", peer=theirs)], limits)
        job = Job("tester", ask=prelude, answers=True, details=details, peer=ours)
        tester = CandidateRun(slot, tester_code, [job], tester_limits)
        try:
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(candidate.complete())
                testing = group.create_task(tester.complete())
        except* SlotLostError as lost:
            raise SlotLostError(str(lost.exceptions[0])) from lost
    served, tested = serving.result()[0], testing.result()[0]
    return tester_result(served.result, tested, nonce)
