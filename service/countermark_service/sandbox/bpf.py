"""System-call filters as classic BPF bytes: what to answer to which call, assembled.

A filter of many comparisons in a row is slow; these are a binary search over ranges of
call numbers that get the same answer.
"""

import struct
from collections.abc import Mapping, Sequence

from countermark_service.sandbox.system_calls import ARCHITECTURES, NEWEST, number_of

_LD_W_ABS, _AND, _JA, _JEQ, _JGE, _JSET, _RET = 0x20, 0x54, 0x05, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL_PROCESS = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x00050000 | 1, 0x00050000 | 38
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE = 0, 4
_X32_BIT = 0x40000000

Code = tuple[bytes, ...]
"""Instructions, each a `struct sock_filter`."""
Action = int | Code
"""An answer, or the instructions that find it (they end in returns)."""


def assemble(machine: str, actions: Mapping[str, Action]) -> bytes:
    """Return a filter that takes the actions on the calls of these names and allows all others.

    A foreign call convention kills the process; calls newer than `NEWEST` do not exist.

    Raises:
        KeyError: No numbers are known for the machine or the name.
    """
    answers: dict[int, Action] = {}
    for name, action in actions.items():
        number = number_of(name, machine)
        if number is not None:
            answers[number] = action
    return b"".join((*_prologue(machine), *_search(_ranges(answers))))


def refuse_if_any_bit(argument: int, mask: int) -> Code:
    """Refuse where the argument has any bit of `mask`, else allow."""
    return (*_load(argument), _op(_JSET, mask, 1, 0), *_allow_or_refuse())


def allow_if_any_bit(argument: int, mask: int) -> Code:
    """Allow where the argument has any bit of `mask`, else refuse."""
    return (*_load(argument), _op(_JSET, mask, 0, 1), *_allow_or_refuse())


def allow_only(argument: int, value: int) -> Code:
    """Allow where the argument is `value`, else refuse."""
    return (*require(argument, value), _op(_RET, ALLOW))


def refuse_values(argument: int, values: Sequence[int]) -> Code:
    """Refuse where the argument is one of `values`, else allow."""
    tests: list[bytes] = []
    for value in values:
        tests += (_op(_JEQ, value, 0, 1), _op(_RET, EPERM))
    return (*_load(argument), *tests, _op(_RET, ALLOW))


def require(argument: int, value: int, *, mask: int | None = None) -> Code:
    """Refuse where the argument, under `mask`, is not `value`; what follows decides otherwise."""
    masked = () if mask is None else (_op(_AND, mask),)
    return (*_load(argument), *masked, _op(_JEQ, value, 1, 0), _op(_RET, EPERM))


def unless(argument: int, value: int, then: Code) -> Code:
    """Run `then`, which ends in returns, where the argument is `value`; go on after it otherwise."""
    return (*_load(argument), _op(_JEQ, value, 0, len(then)), *then)


def answer(action: int) -> Code:
    """Return from the filter with an answer."""
    return (_op(_RET, action),)


def kill_from(argument: int, limit: int) -> Code:
    """Kill the process where the 64-bit argument is `limit` or more (at most 4 GiB), else allow."""
    return (
        *_load(argument, high=True),
        _op(_JEQ, 0, 0, 3),
        *_load(argument),
        _op(_JGE, min(limit, 0xFFFFFFFF), 1, 0),
        _op(_RET, ALLOW),
        _op(_RET, KILL_PROCESS),
    )


def _op(code: int, k: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    if max(jump_true, jump_false) > 255:
        raise ValueError(f"a filter jump of {max(jump_true, jump_false)} instructions; 255 is the most")
    return struct.pack("=HBBI", code, jump_true, jump_false, k)


def _load(argument: int, *, high: bool = False) -> Code:
    """Load one half of a 64-bit argument."""
    return (_op(_LD_W_ABS, 16 + 8 * argument + (4 if high else 0)),)


def _allow_or_refuse() -> Code:
    """Allow; or refuse, for the test before that jumps one on."""
    return (_op(_RET, ALLOW), _op(_RET, EPERM))


def _prologue(machine: str) -> Code:
    """Refuse foreign call conventions first, then load the call number."""
    architecture = ARCHITECTURES[machine]
    second_numbering = (_op(_JGE, _X32_BIT, 0, 1), _op(_RET, ENOSYS)) if architecture.x32 else ()
    return (
        _op(_LD_W_ABS, _OFFSET_ARCHITECTURE),
        _op(_JEQ, architecture.audit, 1, 0),
        _op(_RET, KILL_PROCESS),
        _op(_LD_W_ABS, _OFFSET_NUMBER),
        *second_numbering,
    )


def _ranges(answers: Mapping[int, Action]) -> list[tuple[int, Action]]:
    """Return (first number, answer) for each run of numbers with one answer, in order."""
    ranges: list[tuple[int, Action]] = []
    for number in range(NEWEST + 2):
        action = ENOSYS if number > NEWEST else answers.get(number, ALLOW)
        if not ranges or ranges[-1][1] != action:
            ranges.append((number, action))
    return ranges


def _search(ranges: Sequence[tuple[int, Action]]) -> Code:
    """Return a binary search for the range that holds the loaded number."""
    if len(ranges) == 1:
        action = ranges[0][1]
        return action if isinstance(action, tuple) else (_op(_RET, action),)
    middle = len(ranges) // 2
    below, above = _search(ranges[:middle]), _search(ranges[middle:])
    if len(below) <= 255:
        return (_op(_JGE, ranges[middle][0], len(below), 0), *below, *above)
    return (_op(_JGE, ranges[middle][0], 0, 1), _op(_JA, len(below)), *below, *above)
