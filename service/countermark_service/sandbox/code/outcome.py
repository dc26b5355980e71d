"""How the facts of one test become its status: rules, and nothing but rules.

Facts come from three sides: the keeper's report (exit status, times, the notes written
before candidate code ran), the zygote (a sum was exceeded), and the sizes of what was
written. A candidate chooses its output and its exit status; so those can only ever
choose between its own failures, never `infrastructure` and never a false `ok`.
"""

import os
import signal
from dataclasses import dataclass

from countermark_service.sandbox.code.inside import report
from countermark_service.sandbox.code.model import Limits, RunResult, Status

_MEMORY_SIGNS = (
    b"MemoryError",
    b"std::bad_alloc",
    b"JavaScript heap out of memory",
    b"Cannot allocate memory",
)
_RESOURCE_SIGNS = (
    b"BlockingIOError: [Errno 11]",
    b"can't start new thread",
    b"[Errno 24]",
    b"[Errno 27]",
    b"[Errno 28]",
    b"Resource temporarily unavailable",
    b"File too large",
    b"No space left on device",
)
_SIGNS_WITHIN = 600
"""Bytes at the end of the error output in which a sign is looked for."""
_CPU_TOLERANCE = 0.03
"""Seconds by which the kernel may stop a process early."""
_KIB = 1024
BY_THE_CLOCK = "on the clock"
"""How the message of a test ends that was ended so, or of its compiler."""
KILLED = 3
"""Outcome of a test whose keeper was ended from outside."""

_EXCESS = {
    report.MEMORY: (
        Status.MEMORY_LIMIT,
        "more than {limits.memory_mib} MiB in use by all processes together",
    ),
    report.CPU: (
        Status.TIME_LIMIT,
        "more than {limits.cpu_seconds:g} s of CPU time of all processes together",
    ),
    report.PROCESSES: (Status.RESOURCE_LIMIT, "more than {limits.processes} processes and threads"),
    report.FILES: (
        Status.RESOURCE_LIMIT,
        "more than {limits.scratch_mib} MiB or {limits.scratch_inodes} files",
    ),
}


@dataclass(frozen=True)
class Facts:
    """What is known of one test at its end."""

    outcome: int
    """ENDED or WALL as the keeper reports it, or KILLED: keeper and all, for `excess`."""
    status: int = 0
    """Wait status of the test's first process."""
    notes: str = ""
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    waited_seconds: float = 0.0
    peak_kib: int = 0
    excess: int = report.NOTHING
    """The sum that was over its limit."""
    own_binary: bool = False
    """What was executed is the candidate's own product; if it cannot be, that is its own fault."""


def judge(facts: Facts, limits: Limits, stdout: tuple[bytes, int], stderr: tuple[bytes, int]) -> RunResult:
    """Return the result of one test.

    Args:
        facts: What happened.
        limits: What was allowed.
        stdout: The part that is kept, and the size of all of it.
        stderr: The same for the error output.
    """
    status, message = _status(facts, limits, stdout[1], stderr[0])
    ended = facts.outcome == report.ENDED
    return RunResult(
        status=status,
        exit_code=os.WEXITSTATUS(facts.status) if ended and os.WIFEXITED(facts.status) else None,
        signal=os.WTERMSIG(facts.status) if ended and os.WIFSIGNALED(facts.status) else None,
        stdout=stdout[0],
        stderr=stderr[0],
        stdout_truncated=stdout[1] > len(stdout[0]),
        stderr_truncated=stderr[1] > len(stderr[0]),
        cpu_seconds=facts.cpu_seconds,
        wall_seconds=facts.wall_seconds,
        waited_seconds=facts.waited_seconds,
        peak_memory_mib=facts.peak_kib / _KIB,
        message=message,
    )


def _status(facts: Facts, limits: Limits, written: int, errors: bytes) -> tuple[Status, str]:
    if facts.outcome == KILLED and facts.excess == report.NOTHING:
        return Status.RESOURCE_LIMIT, "the sandbox was brought down twice while this test ran"
    if facts.excess != report.NOTHING:
        status, text = _EXCESS[facts.excess]
        return status, text.format(limits=limits)
    if facts.outcome == report.WALL:
        return Status.TIME_LIMIT, f"more than {limits.wall:g} s {BY_THE_CLOCK}"
    early = _before_the_program(facts)
    if early is not None:
        return early
    if written > limits.stdout_bytes:
        return Status.OUTPUT_LIMIT, f"more than {limits.stdout_bytes} bytes of output"
    return _ending(facts, limits, errors)


def _before_the_program(facts: Facts) -> tuple[Status, str] | None:
    """Judge by the notes, which were closed before candidate code ran."""
    begun, kind, text = facts.notes[:1], facts.notes[1:2], facts.notes[2:]
    if begun != "B":
        return (
            Status.INFRASTRUCTURE,
            f"the test could not be set up: {facts.notes[1:] or 'its process died at once'}",
        )
    if kind == "C":
        return Status.COMPILE_ERROR, text
    if kind == "F":
        return Status.RESOURCE_LIMIT, f"the files do not fit the scratch: {text}"
    if kind == "R" and text.startswith("X"):
        status = Status.RUNTIME_ERROR if facts.own_binary else Status.INFRASTRUCTURE
        return status, f"the program could not be executed: {text[1:]}"
    return None


def _ending(facts: Facts, limits: Limits, errors: bytes) -> tuple[Status, str]:
    """Judge by exit status, signal and CPU time."""
    out_of_time = facts.cpu_seconds > limits.cpu_seconds
    time_text = f"more than {limits.cpu_seconds:g} s of CPU time"
    compiled = facts.notes[1:2] == "R"
    if os.WIFSIGNALED(facts.status):
        number = os.WTERMSIG(facts.status)
        near = facts.cpu_seconds > limits.cpu_seconds - _CPU_TOLERANCE
        if out_of_time or (near and number in (signal.SIGKILL, signal.SIGXCPU)):
            return Status.TIME_LIMIT, time_text
        if number == signal.SIGXFSZ:
            return Status.RESOURCE_LIMIT, f"a file of more than {limits.scratch_mib} MiB"
        if not compiled:
            return Status.COMPILE_ERROR, f"the compiler died of signal {number}"
        if any(sign in errors[-_SIGNS_WITHIN:] for sign in _MEMORY_SIGNS):
            return Status.MEMORY_LIMIT, "out of memory"
        return (
            Status.RUNTIME_ERROR,
            f"ended by signal {signal.Signals(number).name}" if number < 32 else "a signal",
        )
    if out_of_time:
        return Status.TIME_LIMIT, time_text
    if not compiled:
        return Status.COMPILE_ERROR, "the compiler ended early"
    code = os.WEXITSTATUS(facts.status)
    if code == 0:
        return Status.OK, ""
    tail = errors[-_SIGNS_WITHIN:]
    if any(sign in tail for sign in _MEMORY_SIGNS):
        return Status.MEMORY_LIMIT, "out of memory"
    if any(sign in tail for sign in _RESOURCE_SIGNS):
        return Status.RESOURCE_LIMIT, "out of processes, descriptors or file space"
    return Status.RUNTIME_ERROR, f"exit status {code}"
