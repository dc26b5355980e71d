"""The rules that turn facts into a status."""

import signal

import pytest

from countermark_service.runtimes.runs import clock_decided
from countermark_service.sandbox.code.inside import report
from countermark_service.sandbox.code.model import Limits, SandboxInputError, Status
from countermark_service.sandbox.code.outcome import KILLED, Facts, judge

LIMITS = Limits(cpu_seconds=1.0, stdout_bytes=100)


def status(facts: Facts, written: int = 0, errors: bytes = b"") -> Status:
    return judge(facts, LIMITS, (b"x" * min(written, 100), written), (errors, len(errors))).status


def ended(code: int = 0, notes: str = "BR", cpu: float = 0.1, own_binary: bool = False) -> Facts:
    return Facts(report.ENDED, code << 8, notes, cpu, own_binary=own_binary)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (ended(), Status.OK),
        (ended(1), Status.RUNTIME_ERROR),
        (ended(cpu=1.01), Status.TIME_LIMIT),
        (ended(notes="BCSyntaxError: no"), Status.COMPILE_ERROR),
        (ended(1, notes="B"), Status.COMPILE_ERROR),
        (ended(1, notes="BFOSError: full"), Status.RESOURCE_LIMIT),
        (ended(1, notes="SOSError: no"), Status.INFRASTRUCTURE),
        (ended(1, notes=""), Status.INFRASTRUCTURE),
        (ended(127, notes="BRXOSError: no"), Status.INFRASTRUCTURE),
        (ended(127, notes="BRXOSError: no", own_binary=True), Status.RUNTIME_ERROR),
        (Facts(report.ENDED, signal.SIGSEGV, "BR", 0.1), Status.RUNTIME_ERROR),
        (Facts(report.ENDED, signal.SIGSEGV, "B", 0.1), Status.COMPILE_ERROR),
        (Facts(report.ENDED, signal.SIGKILL, "BR", 1.5), Status.TIME_LIMIT),
        (Facts(report.ENDED, signal.SIGKILL, "BR", 0.1), Status.RUNTIME_ERROR),
        (Facts(report.ENDED, signal.SIGXFSZ, "BR", 0.1), Status.RESOURCE_LIMIT),
        (Facts(report.WALL, signal.SIGKILL, "BR", 0.1), Status.TIME_LIMIT),
        (Facts(report.WALL, signal.SIGKILL, "B", 0.1), Status.TIME_LIMIT),
        (Facts(KILLED, excess=report.MEMORY), Status.MEMORY_LIMIT),
        (Facts(KILLED, excess=report.CPU), Status.TIME_LIMIT),
        (Facts(KILLED, excess=report.PROCESSES), Status.RESOURCE_LIMIT),
        (Facts(KILLED, excess=report.FILES), Status.RESOURCE_LIMIT),
        (Facts(KILLED), Status.RESOURCE_LIMIT),
    ],
)
def test_each_ending_has_its_status(facts: Facts, expected: Status) -> None:
    assert status(facts) is expected


def test_too_much_output_counts_even_after_a_good_ending() -> None:
    assert status(ended(), written=100) is Status.OK
    assert status(ended(), written=101) is Status.OUTPUT_LIMIT


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        (b"MemoryError\n", Status.MEMORY_LIMIT),
        (b"terminate called after throwing an instance of 'std::bad_alloc'", Status.MEMORY_LIMIT),
        (b"RuntimeError: can't start new thread\n", Status.RESOURCE_LIMIT),
        (b"OSError: [Errno 28] No space left on device\n", Status.RESOURCE_LIMIT),
        (b"OSError: [Errno 27] File too large\n", Status.RESOURCE_LIMIT),
        (b"MemoryError\n" + b"x" * 1000, Status.RUNTIME_ERROR),
    ],
)
def test_the_error_output_tells_failures_apart_but_never_success(errors: bytes, expected: Status) -> None:
    assert status(ended(1), errors=errors) is expected
    assert status(ended(0), errors=errors) is Status.OK


def test_no_exit_status_and_no_signal_is_infrastructure() -> None:
    words = [code << 8 for code in range(256)] + [
        number | core for number in range(1, 127) for core in (0, 128)
    ]
    for notes in ("B", "BR", "BCtext", "BFtext"):
        assert Status.INFRASTRUCTURE not in {status(Facts(report.ENDED, word, notes, 0.1)) for word in words}


@pytest.mark.parametrize(
    "wrong",
    [
        {"cpu_seconds": 0}, {"cpu_seconds": float("nan")}, {"cpu_seconds": "1"}, {"memory_mib": 10**9},
        {"processes": 0}, {"processes": 2.5}, {"processes": True}, {"stdout_bytes": -1},
        {"wall_seconds": float("inf")},
    ],
)  # fmt: skip
def test_limits_out_of_bounds_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(SandboxInputError, match=next(iter(wrong))):
        Limits(**wrong)  # type: ignore[arg-type]


def test_the_wall_limit_follows_the_cpu_limit() -> None:
    assert (Limits(cpu_seconds=2).wall, Limits(cpu_seconds=0.1).wall, Limits(wall_seconds=9).wall) == (
        6,
        1.1,
        9,
    )


@pytest.mark.parametrize(
    ("told", "facts", "kept"),
    [
        (Status.TIME_LIMIT, Facts(report.WALL, cpu_seconds=0.5), False),
        (Status.TIME_LIMIT, Facts(report.ENDED, 9, notes="BR", cpu_seconds=2.5), True),
        (Status.COMPILE_ERROR, Facts(report.WALL, cpu_seconds=5), False),
        (Status.COMPILE_ERROR, Facts(report.ENDED, 1 << 8, notes="BR", cpu_seconds=5), True),
    ],
)
def test_what_the_clock_has_ended_is_no_verdict_for_ever(told: Status, facts: Facts, kept: bool) -> None:
    message = judge(facts, LIMITS, (b"", 0), (b"", 0)).message
    row = {"status": told.value, "wall_seconds": 9.0, "cpu_seconds": facts.cpu_seconds, "message": message}
    assert clock_decided({"tests": [row]}, LIMITS) is not kept
