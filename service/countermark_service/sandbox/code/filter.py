"""The system-call filter, assembled: policy in, classic BPF bytes out.

Two filters. The slot's is loaded once by the zygote and inherited by every keeper and
test, so that it costs no run anything. The candidate's is small and only loaded where
the kernel would otherwise let a candidate make user namespaces of its own.

A filter of many comparisons in a row is slow; this one is a binary search over ranges
of call numbers that get the same answer.
"""

import hashlib
import struct
from collections.abc import Callable, Sequence

from countermark_service.sandbox.code.calls import (
    ARCHITECTURES,
    CLONE,
    EXECUTION,
    IOCTL,
    MISSING,
    MOUNT,
    NEWEST,
    OWN_PROCESS_ONLY,
    PRCTL,
    REFUSED,
    SETPRIORITY,
    SOCKETPAIR,
    Numbers,
)

_LD_W_ABS, _AND, _JA, _JEQ, _JGE, _JSET, _RET = 0x20, 0x54, 0x05, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_EPERM, _ENOSYS = 0x00050000 | 1, 0x00050000 | 38
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE = 0, 4
_X32_BIT = 0x40000000

_AF_UNIX, _SOCK_STREAM, _SOCK_KIND = 1, 1, 0xF
_NAMESPACE_FLAGS = 0x7E020080
"""Every CLONE_NEW* flag."""
_PR_SET_DUMPABLE, _PR_SET_MM = 4, 35
_TERMINAL_INJECTION = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX."""

Code = list[bytes]
Action = int | tuple[bytes, ...]
"""An answer, or the instructions that find it (they end in returns)."""


def slot_filter(machine: str, *, executes: bool, namespaces: bool) -> bytes:
    """Return the filter that every process of a slot is under.

    Args:
        machine: ``x86_64`` or ``aarch64``.
        executes: Candidates are programs to execute (compilers, binaries), not Python source.
        namespaces: The zygote makes namespaces; then `clone` and `mount` stay open for it, and
            what keeps a candidate from them is that it has no capability and can make no user
            namespace (`candidate_filter`, or the namespace's own limit).
    """
    answers: dict[int, Action] = {}
    column = ARCHITECTURES[machine].column

    def put(numbers: Numbers, action: Action) -> None:
        number = numbers[column]
        if number is not None:
            answers[number] = action

    for refused in (REFUSED, {} if executes else EXECUTION):
        for numbers in refused.values():
            put(numbers, _EPERM)
    for numbers in MISSING.values():
        put(numbers, _ENOSYS)
    for numbers in OWN_PROCESS_ONLY.values():
        put(numbers, _unless(0, lambda: [_op(_JEQ, 0, 0, 1)]))
    put(SOCKETPAIR, _stream_pairs_only())
    put(SETPRIORITY, (*_require(0, 0), *_require(1, 0), _op(_RET, _ALLOW)))
    put(PRCTL, (*_prctl(), _op(_RET, _ALLOW)))
    put(IOCTL, _refuse_values(1, _TERMINAL_INJECTION))
    if not namespaces:
        put(CLONE, _unless(0, lambda: [_op(_JSET, _NAMESPACE_FLAGS, 1, 0)]))
        put(MOUNT, _EPERM)
    return b"".join(_prologue(machine) + _search(_ranges(answers)))


def candidate_filter(machine: str) -> bytes:
    """Return what a keeper adds where the kernel's own limit on user namespaces cannot be set."""
    column = ARCHITECTURES[machine].column
    clone, mount = CLONE[column], MOUNT[column]
    if clone is None or mount is None:
        raise ValueError(f"no call numbers for {machine}")
    answers: dict[int, Action] = {
        clone: _unless(0, lambda: [_op(_JSET, _NAMESPACE_FLAGS, 1, 0)]),
        mount: _EPERM,
    }
    return b"".join(_prologue(machine) + _search(_ranges(answers)))


def filter_digest(program: bytes) -> str:
    """Return the name of a filter for the record: the SHA-256 of its bytes."""
    return "sha256:" + hashlib.sha256(program).hexdigest()


def _op(code: int, k: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    if max(jump_true, jump_false) > 255:
        raise ValueError(f"a filter jump of {max(jump_true, jump_false)} instructions; 255 is the most")
    return struct.pack("=HBBI", code, jump_true, jump_false, k)


def _argument(index: int, *, high: bool = False) -> int:
    return 16 + 8 * index + (4 if high else 0)


def _prologue(machine: str) -> Code:
    """Refuse foreign call conventions first, then load the call number."""
    architecture = ARCHITECTURES[machine]
    code = [
        _op(_LD_W_ABS, _OFFSET_ARCHITECTURE),
        _op(_JEQ, architecture.audit, 1, 0),
        _op(_RET, _KILL_PROCESS),
        _op(_LD_W_ABS, _OFFSET_NUMBER),
    ]
    if architecture.x32:
        code += [_op(_JGE, _X32_BIT, 0, 1), _op(_RET, _ENOSYS)]
    return code


def _ranges(answers: dict[int, Action]) -> list[tuple[int, Action]]:
    """Return (first number, answer) for each run of numbers with one answer, in order."""
    ranges: list[tuple[int, Action]] = []
    for number in range(NEWEST + 2):
        action = _ENOSYS if number > NEWEST else answers.get(number, _ALLOW)
        if not ranges or ranges[-1][1] != action:
            ranges.append((number, action))
    return ranges


def _search(ranges: Sequence[tuple[int, Action]]) -> Code:
    """Return a binary search for the range that holds the loaded number."""
    if len(ranges) == 1:
        action = ranges[0][1]
        return list(action) if isinstance(action, tuple) else [_op(_RET, action)]
    middle = len(ranges) // 2
    below, above = _search(ranges[:middle]), _search(ranges[middle:])
    if len(below) <= 255:
        return [_op(_JGE, ranges[middle][0], len(below), 0), *below, *above]
    return [_op(_JGE, ranges[middle][0], 0, 1), _op(_JA, len(below)), *below, *above]


def _unless(argument: int, test: Callable[[], Code]) -> tuple[bytes, ...]:
    """Load the low half of an argument; the test jumps one on to refuse, none on to allow."""
    return (_op(_LD_W_ABS, _argument(argument)), *test(), _op(_RET, _ALLOW), _op(_RET, _EPERM))


def _require(argument: int, value: int) -> Code:
    return [_op(_LD_W_ABS, _argument(argument)), _op(_JEQ, value, 1, 0), _op(_RET, _EPERM)]


def _stream_pairs_only() -> tuple[bytes, ...]:
    """Connected UNIX streams only: a datagram pair could send to any socket that has a name."""
    return (
        *_require(0, _AF_UNIX),
        _op(_LD_W_ABS, _argument(1)),
        _op(_AND, _SOCK_KIND),
        _op(_JEQ, _SOCK_STREAM, 0, 1),
        _op(_RET, _ALLOW),
        _op(_RET, _EPERM),
    )


def _prctl() -> Code:
    """No PR_SET_MM; PR_SET_DUMPABLE may only be switched off (a core dump would leave the sandbox)."""
    return [
        _op(_LD_W_ABS, _argument(0)),
        _op(_JEQ, _PR_SET_MM, 0, 1),
        _op(_RET, _EPERM),
        _op(_JEQ, _PR_SET_DUMPABLE, 0, 3),
        _op(_LD_W_ABS, _argument(1)),
        _op(_JEQ, 0, 1, 0),
        _op(_RET, _EPERM),
    ]


def _refuse_values(argument: int, values: Sequence[int]) -> tuple[bytes, ...]:
    tests: Code = []
    for value in values:
        tests += [_op(_JEQ, value, 0, 1), _op(_RET, _EPERM)]
    return (_op(_LD_W_ABS, _argument(argument)), *tests, _op(_RET, _ALLOW))
