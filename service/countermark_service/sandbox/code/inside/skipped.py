"""What a test would skip where a context manager of the candidate's took an exception for itself.

A manager may well be asked to take exceptions, and then nothing of the test follows in its block. One that takes
whatever is raised there would take the test's own assertions, and whatever keeps the test from them: it would pass by
failing early. An assertion without a condition (`assert False`) says that this place is not to be reached, and is none.
"""

import importlib
import itertools
from types import TracebackType
from typing import Any

_ASSERTS = ("LOAD_ASSERTION_ERROR", "LOAD_COMMON_CONSTANT")
"""How an `assert` goes on where its condition does not hold, by version of Python."""
_METHODS = ("LOAD_METHOD", "LOAD_ATTR")


def skips_assertions(error: BaseException, trace: TracebackType) -> bool:
    """Return whether an exception that has left the block of a `with` is an assertion's, or has left some out.

    Args:
        error: The exception.
        trace: Where it has come from; it begins in the function that the block stands in.
    """
    dis: Any = importlib.import_module("dis")  # as rare as it is large; its table of blocks is not public
    code, at = trace.tb_frame.f_code, trace.tb_lasti
    steps: list[Any] = list(dis.get_instructions(code))
    asserted = [
        one
        for before, one in itertools.pairwise(steps)
        if one.opname in _ASSERTS and _is_condition(before.opname)
    ]
    if isinstance(error, AssertionError) and (trace.tb_next is not None or _raises(steps, asserted, at)):
        return True
    methods = {
        _start(one) for one in steps if one.opname in _METHODS and str(one.argval).startswith("assert")
    }
    asserted += [one for one in steps if one.opname.startswith("CALL") and _start(one) in methods]
    end = _end_of_block(dis._parse_exception_table(code), steps, at)
    return any(at <= one.offset < end for one in asserted)


def _raises(steps: list[Any], asserted: list[Any], at: int) -> bool:
    """Return whether what is raised at an instruction is raised by one of these assertions."""
    before = [one for one in steps if one.offset <= at]
    begun = next((one for one in reversed(before[:-1]) if one.opname in (*_ASSERTS, "RAISE_VARARGS")), None)
    return begun in asserted


def _end_of_block(table: Any, steps: list[Any], at: int) -> int:
    """Return where the block of the innermost `with` ends that an instruction stands in; 0 where there is none."""
    managers = {
        one.offset: _start(after)
        for one, after in itertools.pairwise(steps)
        if after.opname == "WITH_EXCEPT_START"
    }
    place, seen = at, set[int]()
    while place not in managers:  # out of the inner blocks that had it before
        handler = next((int(one.target) for one in table if one.start <= place < one.end), None)
        if handler is None or handler in seen:
            return 0
        seen.add(handler)
        place = handler
    ends = (int(one.offset) for one in steps if one.offset > at and _start(one) == managers[place])
    return next(ends, place)


def _is_condition(name: str) -> bool:
    return "JUMP" in name or name == "NOT_TAKEN"


def _start(step: Any) -> tuple[int | None, int | None]:
    """Return where in the source the expression or statement begins that an instruction belongs to."""
    return step.positions.lineno, step.positions.col_offset
