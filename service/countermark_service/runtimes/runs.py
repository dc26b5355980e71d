"""What a code bundle asks to have run, and what it is told of it.

A bundle's functions never start anything. They return *runs* as JSON, these are
checked here, executed in a sandbox, and the results go back as JSON. A run holds what
a candidate may see and nothing else; what is expected stays with the bundle's judge.

What a hostile program prints or returns is bounded twice: by the sandbox's limits,
and by `keep_bytes`, which the bundle derives from what it expects. A longer output
can be no right one, and is not handed on.
"""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal

import msgspec

from countermark_service.runtimes.tagged import TooManyValuesError, tag, untag
from countermark_service.sandbox.code.model import Call, CallResult, Limits, RunResult, Status, TesterResult
from countermark_service.sandbox.code.outcome import BY_THE_CLOCK
from countermark_service.sandbox.code.pool import SandboxPool

_HELD_BYTES = 32 << 20
"""Output of one candidate that the service may hold at once."""
_VALUE_FACTOR = 8
"""Bytes that a byte of an encoded answer may take as a value."""
_INLINE_VALUES = 4000
"""Values with more parts are written by a thread, so that the service keeps answering."""
_MESSAGE = 300
_STDERR = 2000
_LEAST_CPU = 0.05


class CallSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of one call, tagged (see `tagged`)."""

    args: list[Any] = []
    kwargs: dict[str, Any] = {}


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One program, with everything that it is to be run with."""

    kind: Literal["stdio", "call", "tester"]
    code: str
    """The source."""
    language: Literal["python"] | None = None
    """For a program of the bundle itself (a checker) beside candidates in another language."""
    limits: dict[str, float] = {}
    """What differs from the bundle's limits."""
    stop: bool = False
    """End with the first test that is not ok."""
    keep_bytes: list[int] = []
    """For each test or call: a longer output or value is not handed on."""
    inputs: list[str] = []
    """Kind `stdio`: standard input of each test."""
    files: dict[str, str] = {}
    """Kind `stdio`: written to the working folder before each test."""
    entry_point: str = ""
    """Kind `call`: the function."""
    calls: list[CallSpec] = []
    """Kind `call`: one entry per test."""
    want_arguments: bool = False
    """Kind `call`: hand on the arguments after the call, too."""
    tester: str = ""
    """Kind `tester`: the test program, which runs in a sandbox of its own."""
    entry_points: list[str] = []
    """Kind `tester`: functions of the candidate that it calls, the main one first."""
    prelude: str = ""
    """Kind `tester`: source that it needs before."""


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a bundle's function wants before it can judge."""

    run: list[Run]


_plans = msgspec.json.Decoder(Plan)


def read_plan(data: bytes) -> list[Run]:
    """Read the runs that a bundle asks for.

    Raises:
        msgspec.MsgspecError: It asks for something that is no run.
    """
    return _plans.decode(data).run


def effective_limits(*tables: Mapping[str, float]) -> Limits:
    """Return the limits of `tables`, later ones first in rank, over the sandbox's own.

    An address space of 0 is none; where memory is raised, address space follows it.

    Raises:
        SandboxInputError: A value out of bounds.
    """
    return _limits(tuple(tuple(table.items()) for table in tables))


@lru_cache(maxsize=256)
def _limits(tables: tuple[tuple[tuple[str, float], ...], ...]) -> Limits:
    values: dict[str, Any] = {}
    for table in map(dict, tables):
        values |= table
        if "memory_mib" in table and "address_space_mib" not in table and values.get("address_space_mib", 1):
            values["address_space_mib"] = max(
                values.get("address_space_mib", 1024), 2 * table["memory_mib"] + 512
            )
    whole = {
        name: int(value) if value == int(value) and not name.endswith("_seconds") else value
        for name, value in values.items()
    }
    if whole.get("address_space_mib") == 0:
        whole["address_space_mib"] = None
    return Limits(**whole)


async def execute(
    run: Run, pool: SandboxPool, limits: Limits, turns: asyncio.Semaphore
) -> tuple[dict[str, Any], Status]:
    """Execute one run; return what the bundle's judge is told, and how the run ended.

    A turn is held while something runs. What it came to is written down when the next run has begun: a sandbox
    that waited for that would stand still for some per cent of the time.

    The status is ``infrastructure`` where the sandbox failed, that of the test that ended a run with
    `stop` early, and ok otherwise.

    Raises:
        SandboxInputError: The run is none that the sandbox accepts.
    """
    told: dict[str, Any] = {"limits": _told_limits(limits)}
    if run.kind == "tester":
        async with turns:
            tested = await pool.run_tester(
                run.tester.encode(), _source(run.code), run.entry_points, limits, prelude=run.prelude.encode()
            )
        await _let_others_begin()
        return {**told, "tester": _told_tester(tested)}, tested.status
    if run.kind == "call":
        return await _calls(run, pool, limits, told, turns)
    return await _tests(run, pool, limits, told, turns)


def clock_decided(told: Mapping[str, Any], limits: Limits) -> bool:
    """Return whether a test or its compiler was ended by the clock while it had CPU time left, given what was told.

    The clock leaves out what a program waits for a processor, but not what it waits for memory or a disk; and
    one that gets no processor at all ends some time. So such a result says nothing of another time.
    """
    rows = [*told.get("tests", ()), *told.get("calls", ()), *([told["tester"]] if "tester" in told else [])]
    ended = [row for row in rows if row["status"] == Status.TIME_LIMIT.value and row["wall_seconds"] > 0]
    compilers = [row for row in rows if row["status"] == Status.COMPILE_ERROR.value]
    return any(row["cpu_seconds"] < limits.cpu_seconds for row in ended) or any(
        row["message"].endswith(BY_THE_CLOCK) for row in compilers
    )


async def _tests(
    run: Run, pool: SandboxPool, limits: Limits, told: dict[str, Any], turns: asyncio.Semaphore
) -> tuple[dict[str, Any], Status]:
    """Run the tests in slices, so that no more output is held than `_HELD_BYTES`."""
    files = {name: content.encode() for name, content in run.files.items()} or None
    inputs = [text.encode() for text in run.inputs]
    rows: list[dict[str, Any]] = []
    budget = _Budget(limits)
    step = max(1, _HELD_BYTES // limits.stdout_bytes)
    code = _source(run.code)
    for start in range(0, len(inputs), step):
        part = inputs[start : start + step]
        if budget.is_spent():
            rows += [_told_run(budget.unrun())] * len(part)
            break
        async with turns:
            results = await pool.run_tests(
                code, part, budget.limits(), files=files, stop_after_failure=run.stop
            )
        await _let_others_begin()
        budget.spend(results)
        for offset, result in enumerate(results):
            rows.append(_told_run(result) | _told_output(result.stdout, _kept(run, start + offset)))
        if (last := _ended(results, run.stop, len(part))) is not None:
            return {**told, "tests": rows}, last
    return {**told, "tests": rows}, Status.OK


async def _calls(
    run: Run, pool: SandboxPool, limits: Limits, told: dict[str, Any], turns: asyncio.Semaphore
) -> tuple[dict[str, Any], Status]:
    calls = [
        Call(tuple(map(untag, call.args)), {name: untag(value) for name, value in call.kwargs.items()})
        for call in run.calls
    ]
    rows: list[dict[str, Any]] = []
    budget = _Budget(limits)
    step = max(1, _HELD_BYTES // (limits.answer_bytes * _VALUE_FACTOR))
    code = _source(run.code)
    for start in range(0, len(calls), step):
        part = calls[start : start + step]
        if budget.is_spent():
            rows += [_told_run(budget.unrun())] * len(part)
            break
        async with turns:
            results = await pool.run_calls(
                code, run.entry_point, part, budget.limits(),
                want_arguments=run.want_arguments, stop_after_failure=run.stop,
            )  # fmt: skip
        await _let_others_begin()
        budget.spend([result.run for result in results])
        rows += [await _told_call(result, _kept(run, start + n)) for n, result in enumerate(results)]
        if (last := _ended([result.run for result in results], run.stop, len(part))) is not None:
            return {**told, "calls": rows}, last
    return {**told, "calls": rows}, Status.OK


async def _let_others_begin() -> None:
    """Let the run that has the turn now start its program."""
    await asyncio.sleep(0)


class _Budget:
    """The sum of CPU time over the slices of one candidate."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left = limits.total_cpu_seconds

    def spend(self, results: Sequence[RunResult]) -> None:
        if self._left is not None:
            self._left -= sum(result.cpu_seconds for result in results)

    def is_spent(self) -> bool:
        return self._left is not None and self._left < _LEAST_CPU

    def limits(self) -> Limits:
        if self._left == self._limits.total_cpu_seconds:
            return self._limits
        return replace(self._limits, total_cpu_seconds=self._left)

    def unrun(self) -> RunResult:
        return RunResult(Status.TIME_LIMIT, message="not run: the CPU time of all tests together was used up")


def _ended(results: Sequence[RunResult], stop: bool, wanted: int) -> Status | None:
    """Return how a candidate's tests ended where no further slice is to be run."""
    if any(result.status is Status.INFRASTRUCTURE for result in results):
        return Status.INFRASTRUCTURE
    if len(results) < wanted or (stop and results[-1].status is not Status.OK):
        return results[-1].status
    return None


def readable(text: str) -> str:
    """Return the beginning of a text that a program may have chosen, without halves of characters."""
    return text[:_MESSAGE].encode("utf-8", "replace").decode()


def _source(code: str) -> bytes:
    return code.encode("utf-8", "surrogatepass")


def _kept(run: Run, index: int) -> int:
    return run.keep_bytes[index] if index < len(run.keep_bytes) else 1 << 62


def _told_limits(limits: Limits) -> dict[str, Any]:
    return {
        "cpu_seconds": limits.cpu_seconds,
        "wall_seconds": limits.wall,
        "memory_mib": limits.memory_mib,
    }


def _told_run(result: RunResult) -> dict[str, Any]:
    return {
        "status": result.status.value,
        "exit_code": result.exit_code,
        "signal": result.signal,
        "cpu_seconds": round(result.cpu_seconds, 3),
        "wall_seconds": round(result.wall_seconds, 3),
        "peak_memory_mib": round(result.peak_memory_mib, 1),
        "message": readable(result.message),
        "stderr": result.stderr[-_STDERR:].decode("utf-8", "replace"),
    }


def _told_output(stdout: bytes, keep: int) -> dict[str, Any]:
    if len(stdout) > keep:
        return {"stdout": None, "stdout_bytes": len(stdout)}
    try:
        return {"stdout": stdout.decode()}
    except UnicodeDecodeError:
        return {"stdout": {"base64": base64.b64encode(stdout).decode()}}


async def _told_call(result: CallResult, keep: int) -> dict[str, Any]:
    row = _told_run(result.run)
    if result.exception is not None:
        row["exception"] = [readable(part) for part in result.exception]
    if result.run.status is Status.OK:
        row |= await _told_value("value", result.value, keep)
        if result.args is not None:
            row |= await _told_value("args", list(result.args), keep)
    return row


async def _told_value(name: str, value: Any, keep: int) -> dict[str, Any]:
    """Return the tagged value, or null and its size where it is larger than `keep`."""
    try:
        encoded = msgspec.json.encode(tag(value, _INLINE_VALUES))
    except TooManyValuesError:
        encoded = await asyncio.to_thread(lambda: msgspec.json.encode(tag(value)))
    if len(encoded) > keep:
        return {name: None, f"{name}_bytes": len(encoded)}
    return {name: msgspec.Raw(encoded)}


def _told_tester(result: TesterResult) -> dict[str, Any]:
    row = _told_run(result.candidate)
    return row | {
        "status": result.status.value,
        "passed": result.passed,
        "unsupported": result.unsupported,
        "message": readable(result.message),
        "tester_status": result.tester.status.value,
    }
