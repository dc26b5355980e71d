"""Values of the code sandbox: what a run may use, what to run, what came out.

Frozen and validated where they are made, so that nothing behind them asks again.
They know nothing of bundles, verdicts or expected outputs: what is right is decided
where no candidate can reach.
"""

import marshal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from math import ceil, isfinite
from typing import Any, ClassVar

from countermark_service.errors import CountermarkError
from countermark_service.sandbox.code.inside.report import LONGEST_WALLS

_MEBIBYTE = 1 << 20
MARSHAL = 2
"""A version of the format that every interpreter a zygote may run on reads."""


class SandboxInputError(CountermarkError):
    """A limit or a run that the sandbox does not accept."""

    code: ClassVar[str] = "invalid_run"


class SandboxUnavailableError(CountermarkError):
    """The machine does not give the containment that is asked for."""

    code: ClassVar[str] = "sandbox_unavailable"


class SandboxShortageError(SandboxUnavailableError):
    """The machine has run out of descriptors, processes, memory or room: for now, whatever its containment is."""


class SandboxSilentError(SandboxUnavailableError):
    """A sandbox was started, and does not say in time that it stands."""


class Level(StrEnum):
    """How well a candidate is held, best first."""

    NAMESPACES = "namespaces"
    LANDLOCK = "landlock"


class Status(StrEnum):
    """How a run ended. All but the last are the candidate's own doing."""

    OK = "ok"
    RUNTIME_ERROR = "runtime_error"
    COMPILE_ERROR = "compile_error"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    RESOURCE_LIMIT = "resource_limit"
    INFRASTRUCTURE = "infrastructure"
    """The sandbox itself failed; nothing is known of the candidate. No candidate can bring it about."""


_BOUNDS: Mapping[str, tuple[float, float]] = {
    "cpu_seconds": (0.05, 600),
    "wall_seconds": (0.1, 3600),
    "memory_mib": (32, 65536),
    "address_space_mib": (128, 1 << 20),
    "processes": (1, 512),
    "open_files": (16, 1024),
    "stdout_bytes": (1, 64 * _MEBIBYTE),
    "stderr_bytes": (1, 16 * _MEBIBYTE),
    "answer_bytes": (64, 64 * _MEBIBYTE),
    "scratch_mib": (1, 1024),
    "scratch_inodes": (16, 100_000),
    "stack_mib": (1, 1024),
    "total_cpu_seconds": (0.05, 3600),
}


@dataclass(frozen=True)
class Limits:
    """What one test may use. Sums are over all processes that the test starts."""

    cpu_seconds: float = 2.0
    """CPU time of one test, user and system together."""
    wall_seconds: float | None = None
    """Time on the clock; None is the larger of 3 times the CPU time and one second more than it."""
    memory_mib: int = 512
    """Memory in use at once, beyond what the interpreter itself brings."""
    address_space_mib: int | None = 1024
    """Virtual memory of one process; None leaves it open, for runtimes that reserve a lot (node)."""
    processes: int = 32
    """Processes and threads at once, the first one included."""
    open_files: int = 64
    """Descriptors of one process."""
    stdout_bytes: int = _MEBIBYTE
    """Longer output is `output_limit`."""
    stderr_bytes: int = 64 * 1024
    """Longer error output is cut, which is no failure."""
    answer_bytes: int = _MEBIBYTE
    """Encoded size of one returned value, with the arguments where they are asked for."""
    scratch_mib: int = 16
    """Files that the program may write, together (one by one at level `landlock`)."""
    scratch_inodes: int = 1000
    """Number of those files and folders."""
    stack_mib: int = 64
    """Stack of a program's first thread."""
    total_cpu_seconds: float | None = None
    """CPU time of all tests of one candidate; later tests then end as `time_limit` unrun. None: no sum."""

    def __post_init__(self) -> None:
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if value is None and name in ("wall_seconds", "address_space_mib", "total_cpu_seconds"):
                continue
            kinds = (int, float) if name.endswith("_seconds") else (int,)
            if type(value) not in kinds or not isfinite(value) or not least <= value <= most:
                raise SandboxInputError(
                    f"limit {name} is {value!r}; give a number from {least:g} to {most:g}"
                    + ("" if name.endswith("_seconds") else ", whole")
                )

    @property
    def wall(self) -> float:
        """The wall limit in force, in seconds."""
        if self.wall_seconds is not None:
            return self.wall_seconds
        return max(3 * self.cpu_seconds, self.cpu_seconds + 1)

    @property
    def longest(self) -> float:
        """Seconds that a test can take: the wall limit leaves out what it has waited for a processor."""
        return LONGEST_WALLS * self.wall

    def packed(self) -> bytes:
        """Return the limits as the processes inside the sandbox take them."""
        return _packed(self)


@lru_cache(maxsize=256)
def _packed(limits: Limits) -> bytes:
    values = dict(vars(limits))
    values["wall_seconds"] = limits.wall
    # The kernel counts whole ticks, up to a third too many on a busy machine; the zygote is exact.
    values["cpu_ceiling"] = ceil(1.5 * limits.cpu_seconds) + 1
    largest = max(
        limits.scratch_mib * _MEBIBYTE, limits.stdout_bytes, limits.stderr_bytes, limits.answer_bytes
    )
    values["file_bytes"] = largest + 4096  # one page more, so that too much is told from just enough
    return marshal.dumps(values, MARSHAL)


@dataclass(frozen=True)
class RunResult:
    """What one test came to."""

    status: Status
    exit_code: int | None = None
    """Exit status, None where a signal or the sandbox ended the program."""
    signal: int | None = None
    """The signal that ended the program, if one did."""
    stdout: bytes = b""
    """At most `Limits.stdout_bytes`."""
    stderr: bytes = b""
    """At most `Limits.stderr_bytes`; the end of it where there was more."""
    stdout_truncated: bool = False
    stderr_truncated: bool = False
    cpu_seconds: float = 0.0
    """CPU time of all processes of the test that were seen to end."""
    wall_seconds: float = 0.0
    waited_seconds: float = 0.0
    """Of that, what a candidate's only test waited for a processor, where it took longer than its CPU limit."""
    peak_memory_mib: float = 0.0
    """Largest resident memory of a process, or of all together where they were looked at; in MiB."""
    message: str = ""
    """One line for people: which limit, which error."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Of the files that were asked for, those that the program left."""


@dataclass(frozen=True)
class CallResult:
    """What one function call came to."""

    run: RunResult
    """How the process ended; `value` counts only where its status is ok."""
    value: Any = None
    """The returned value, as plain data."""
    exception: tuple[str, str] | None = None
    """Name and text of the exception, where the function raised one; the status is `runtime_error` then."""
    args: Sequence[Any] | None = None
    """The arguments after the call, where they were asked for and are plain data."""


@dataclass(frozen=True)
class TesterResult:
    """What a test program said of a candidate."""

    passed: bool
    """The test program ran to its end, and the candidate's process was sound until then."""
    status: Status
    """ok, or how the candidate failed; a failed assertion is ok with `passed` false."""
    message: str
    """Why it did not pass, in one line."""
    unsupported: bool = False
    """The test program passes something that is no plain data; nothing is known of the candidate."""
    candidate: RunResult = field(default_factory=lambda: RunResult(Status.OK))
    tester: RunResult = field(default_factory=lambda: RunResult(Status.OK))


@dataclass(frozen=True)
class Call:
    """One function call to make."""

    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
