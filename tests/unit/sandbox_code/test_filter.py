"""The system-call filters, run instruction by instruction."""

import struct

import pytest

from countermark_service.sandbox.code import calls
from countermark_service.sandbox.code.filter import candidate_filter, filter_digest, slot_filter
from countermark_service.sandbox.seccomp import worker_filter
from countermark_service.sandbox.system_calls import ARCHITECTURES, NEWEST, number_of

ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x50001, 0x50026, 0x80000000
MACHINES = ["x86_64", "aarch64"]


def run(program: bytes, machine: str, number: int, *arguments: int, audit: int | None = None) -> int:
    """Return the filter's answer to one call, by interpreting it as the kernel does."""
    data = struct.pack(
        "=iIQ6Q",
        number,
        audit or ARCHITECTURES[machine].audit,
        0,
        *arguments,
        *(0,) * (6 - len(arguments)),
    )
    accumulator, at = 0, 0
    for _ in range(10_000):
        code, if_true, if_false, k = struct.unpack_from("=HBBI", program, at * 8)
        at += 1
        if code == 0x06:
            return int(k)
        if code == 0x20:
            accumulator = struct.unpack_from("=I", data, k)[0]
        elif code == 0x54:
            accumulator &= k
        elif code == 0x05:
            at += k
        else:
            holds = {0x15: accumulator == k, 0x35: accumulator >= k, 0x45: bool(accumulator & k)}[code]
            at += if_true if holds else if_false
    raise AssertionError("the filter does not end")


def number(name: str, machine: str) -> int:
    found = number_of(name, machine)
    assert found is not None
    return found


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("namespaces", [True, False])
@pytest.mark.parametrize("executes", [True, False])
def test_every_refused_call_is_refused_and_execution_only_for_python(
    machine: str, namespaces: bool, executes: bool
) -> None:
    program = slot_filter(machine, executes=executes, namespaces=namespaces)
    for name in calls.REFUSED:
        if (value := number_of(name, machine)) is not None:
            assert run(program, machine, value) == EPERM, name
    for name in calls.EXECUTION:
        assert run(program, machine, number(name, machine)) == (ALLOW if executes else EPERM), name


@pytest.mark.parametrize("machine", MACHINES)
def test_what_no_rule_names_is_allowed_and_what_is_newer_does_not_exist(machine: str) -> None:
    program = slot_filter(machine, executes=False, namespaces=True)
    ruled = {"socketpair", "clone", "mount", "prctl", "ioctl", "setpriority"}
    ruled.update(calls.REFUSED, calls.EXECUTION, calls.MISSING, calls.OWN_PROCESS_ONLY)
    named = {number_of(name, machine) for name in ruled}
    for value in range(NEWEST + 1):
        if value not in named:
            assert run(program, machine, value) == ALLOW, value
    for value in (NEWEST + 1, 1000, 0x3FFFFFFF):
        assert run(program, machine, value) == ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_another_call_convention_kills(machine: str) -> None:
    program = slot_filter(machine, executes=True, namespaces=True)
    assert run(program, machine, 1, audit=0x40000003) == KILL


def test_the_second_numbering_of_x86_is_refused() -> None:
    program = slot_filter("x86_64", executes=True, namespaces=True)
    assert run(program, "x86_64", 0x40000000 | 1) == ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("family", "kind", "answer"),
    [(1, 1, ALLOW), (1, 1 | 0o2004000, ALLOW), (1, 2, EPERM), (1, 5, EPERM), (2, 1, EPERM)],
)
def test_only_connected_unix_streams_are_allowed(machine: str, family: int, kind: int, answer: int) -> None:
    program = slot_filter(machine, executes=False, namespaces=True)
    assert run(program, machine, number("socketpair", machine), family, kind) == answer


@pytest.mark.parametrize("machine", MACHINES)
def test_other_processes_limits_cannot_be_touched(machine: str) -> None:
    program = slot_filter(machine, executes=False, namespaces=True)
    for name in calls.OWN_PROCESS_ONLY:
        assert run(program, machine, number(name, machine), 0) == ALLOW
        assert run(program, machine, number(name, machine), 1) == EPERM
    setpriority = number("setpriority", machine)
    assert run(program, machine, setpriority, 0, 0) == ALLOW
    assert {run(program, machine, setpriority, 0, 1), run(program, machine, setpriority, 2, 0)} == {EPERM}


@pytest.mark.parametrize("machine", MACHINES)
def test_dumpable_can_only_be_switched_off(machine: str) -> None:
    program = slot_filter(machine, executes=False, namespaces=True)
    prctl = number("prctl", machine)
    assert run(program, machine, prctl, 4, 0) == ALLOW
    assert run(program, machine, prctl, 4, 1) == EPERM
    assert run(program, machine, prctl, 35, 0) == EPERM
    assert run(program, machine, prctl, 38, 1) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("flags", [0x10000000, 0x20000000, 0x00020000, 0x40000000, 0x02000000, 0x80])
def test_namespaces_are_refused_where_the_zygote_needs_none(machine: str, flags: int) -> None:
    clone = number("clone", machine)
    for program in (slot_filter(machine, executes=False, namespaces=False), candidate_filter(machine)):
        assert run(program, machine, clone, flags | 17) == EPERM
        assert run(program, machine, clone, 0x003D0F00) == ALLOW
        assert run(program, machine, number("mount", machine)) == EPERM


def test_the_digest_names_the_bytes() -> None:
    first, second = (slot_filter("x86_64", executes=flag, namespaces=True) for flag in (True, False))
    assert filter_digest(first) != filter_digest(second)
    assert filter_digest(first).startswith("sha256:")


@pytest.mark.parametrize("machine", MACHINES)
def test_a_worker_has_threads_but_no_processes_sockets_or_signals(machine: str) -> None:
    program = worker_filter(largest_mapping=1 << 30, machine=machine)
    assert program is not None
    clone = number("clone", machine)
    assert run(program, machine, clone, 0x003D0F00) == ALLOW
    assert run(program, machine, clone, 17) == EPERM
    assert run(program, machine, number("clone3", machine)) == ENOSYS
    for name in ("socket", "connect", "execve", "kill", "ptrace", "io_uring_setup", "shmget"):
        assert run(program, machine, number(name, machine)) == EPERM, name
    assert run(program, machine, number("prlimit64", machine), 0) == ALLOW
    assert run(program, machine, number("prlimit64", machine), 1) == EPERM
    assert run(program, machine, NEWEST + 1) == ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("name", "before"), [("mmap", (0,)), ("mremap", (0, 0))])
@pytest.mark.parametrize(
    ("size", "answer"), [((1 << 30) - 1, ALLOW), (1 << 30, KILL), (1 << 32, KILL), ((1 << 33) + 5, KILL)]
)
def test_one_mapping_over_the_limit_kills_a_worker(
    machine: str, name: str, before: tuple[int, ...], size: int, answer: int
) -> None:
    program = worker_filter(largest_mapping=1 << 30, machine=machine)
    assert program is not None
    assert run(program, machine, number(name, machine), *before, size) == answer


def test_a_machine_without_known_numbers_has_no_worker_filter() -> None:
    assert worker_filter(largest_mapping=1 << 30, machine="riscv64") is None
