"""Runs a test program in a process of its own, with proxies in the place of what it tests."""

import builtins
import itertools
import sys
from opcode import opmap
from types import CodeType, ModuleType
from typing import Any

from . import line, plain, shared
from .asked import Asked
from .handle import CandidateBrokenError
from .proxy import proxy

_LOOKS = frozenset({
    "__annotations__", "__defaults__", "__doc__", "__kwdefaults__", "get_annotations", "get_type_hints", "getdoc",
    "getfullargspec", "iscoroutinefunction", "isgeneratorfunction", "signature",
})  # fmt: skip
"""Where a test looks at a function itself. To have it described costs a question, and it must be there already."""
_OWN = ("ImportError", "ModuleNotFoundError", "NameError", "OSError", "FileNotFoundError", "SyntaxError")
"""Exceptions that come of a test program itself, and not of what the function looks like that it looks at."""
_IDENTITY = frozenset({"assertIs", "assertIsNot", "id"})
_EXTENDED, _LOAD_GLOBAL, _LOAD_NAME = opmap["EXTENDED_ARG"], opmap["LOAD_GLOBAL"], opmap["LOAD_NAME"]
_PUSH_NULL = opmap["PUSH_NULL"]
_IS, _CONSTANT = opmap["IS_OP"], opmap["LOAD_CONST"]
PASSED, FAILED, BROKEN, UNSUPPORTED = "passed", "failed", "broken", "unsupported"


def test(
    code: CodeType, prelude: bytes, job: dict[str, Any], folder: str | None, answer: int, peer: int
) -> None:
    """Run a test program with proxies for the entry points and write its verdict to `answer`.

    Args:
        code: The test program.
        prelude: What comes before it.
        job: The nonce, the names of the candidate's functions, and the largest answer.
        folder: Its own folder for files; None where the candidate has the same.
        answer: Where the verdict goes.
        peer: The socket to the candidate.
    """
    nonce = bytes.fromhex(job["nonce"])
    module = ModuleType("__main__")
    sys.modules["__main__"] = module  # where unittest.main and doctest look for tests
    names = module.__dict__
    names.update(__builtins__=builtins, __file__="main.py")
    used, uncalled = _names_in(code), _loaded(code, calls=False) - _loaded(code, calls=True)
    own = shared.Tester(seeds="seed" in used, folder=folder)
    asked = Asked(peer, job["answer_bytes"], own, by_identity=_tells_identity(code, used))
    try:
        if prelude:
            _run_prelude(prelude, names)
        for name in job["entry_points"]:
            names[name] = proxy(name, asked, look=not used.isdisjoint(_LOOKS), called=name not in uncalled)
        names.setdefault("candidate", names[job["entry_points"][0]])
        asked.classes = {name: kind for name, kind in names.items() if _is_shared(name, kind)}
        exec(code, names)  # noqa: S102 - the test program, in its own sandbox
        verdict = (PASSED, "")
    except SystemExit as error:
        verdict = (PASSED, "") if error.code in (None, 0) else (FAILED, f"SystemExit: {error.code}")
    except BaseException as error:  # noqa: BLE001 - whatever stops a test program fails it
        verdict = _stopped(error)
    if asked.stopped is not None:
        verdict = _stopped(asked.stopped)
    if verdict[0] == PASSED and not asked.asked:  # that a name stands for a value is the program's word alone
        verdict = (UNSUPPORTED, "the test program never calls the program")
    elif (
        verdict[0] == FAILED
        and not asked.asked
        and not ((asked.described or asked.constants) and not verdict[1].startswith(_OWN))
    ):
        # so it was none of the candidate's doing
        verdict = (UNSUPPORTED, f"the test program fails before it calls the program: {verdict[1]}")
    line.write(answer, plain.encode((nonce, verdict[0], verdict[1][:2000])))


def _names_in(code: CodeType) -> set[str]:
    """Return the names that a source uses, but for its variables."""
    found = set(code.co_names)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            found |= _names_in(inner)
    return found


def _loaded(code: CodeType, *, calls: bool) -> set[str]:
    """Return the global names that a source calls, or those that it uses otherwise."""
    found: set[str] = set()
    steps = code.co_code
    high = 0
    for place in range(0, len(steps), 2):
        step, number = steps[place], steps[place + 1] | high
        high = number << 8 if step == _EXTENDED else 0
        if step == _LOAD_GLOBAL:
            called, number = bool(number & 1), number >> 1
        elif step == _LOAD_NAME:
            called = _PUSH_NULL in (steps[place - 2] if place else None, steps[place + 2])
        else:
            continue
        if called is calls:
            found.add(code.co_names[number])
    inner = (one for one in code.co_consts if isinstance(one, CodeType))
    return found.union(*(_loaded(one, calls=calls) for one in inner))


def _tells_identity(code: CodeType, used: set[str]) -> bool:
    """Return whether a source compares objects by identity, other than with a constant such as None."""
    if not used.isdisjoint(_IDENTITY):
        return True
    steps = code.co_code[::2]
    if any(step == _IS and before != _CONSTANT for before, step in itertools.pairwise(steps)):
        return True
    return any(_tells_identity(inner, set()) for inner in code.co_consts if isinstance(inner, CodeType))


def _is_shared(name: str, kind: Any) -> bool:
    """Return whether a name is that of a class that the prelude has defined."""
    return type(kind) is type and kind.__module__ == "__main__" and kind.__name__ == name


def _stopped(error: BaseException) -> tuple[str, str]:
    """Return the verdict on a test program that an exception has ended."""
    if isinstance(error, CandidateBrokenError):
        return BROKEN, str(error)
    if isinstance(error, plain.NotPlainError):
        return (FAILED if isinstance(error, plain.UnboundedError) else UNSUPPORTED), str(error)
    return FAILED, f"{type(error).__name__}: {error}"


def _run_prelude(source: bytes, names: dict[str, Any]) -> None:
    """Run what comes before the proxies; if that fails, it says nothing of the candidate."""
    try:
        # Of the task's own text, in the sandbox of the test program.
        exec(compile(source, "prelude.py", "exec", dont_inherit=True), names)  # noqa: S102
    except Exception as error:  # whatever it is, the task is at fault: it becomes `unsupported`
        raise plain.NotPlainError(f"the prelude failed: {type(error).__name__}: {error}") from error
