"""Function calls that cross between a tester and a candidate, as plain data.

A tester program (assert lines, a `check` function) must not share a process with
what it tests. So its entry point is a proxy: the arguments go over a socket to the
candidate's process, the value comes back. Each call carries a fresh nonce that its
one reply must repeat, so that bytes written ahead or behind belong to no call.

What is not plain (an object of the candidate's own class) stays in the candidate's
process; the tester holds a `Handle` that can be passed back, called, and asked for
attributes, items and text, each by a call of the same kind. A handle is equal to
nothing and neither true nor false: else the candidate's code would decide the test.
For the same reason a candidate's StopIteration arrives as another exception, since
loops take it for their end, and an object that has given its length keeps it until
it is called, or the candidate is.

Frames are a 4-byte length and plain data (see `plain`). What the candidate writes is
bounded and parsed strictly; if it is not one valid reply, the candidate is `broken`
and the test ends: whatever a test program catches, what stopped the line is remembered.
"""

import _thread
import builtins
import itertools
import os
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterator
from types import CodeType, ModuleType
from typing import Any, TypeVar

from . import plain

_T = TypeVar("_T")
_LENGTH = struct.Struct(">I")
VALUE, RAISED, NOT_PLAIN = "value", "raised", "not_plain"
CALL, ATTRIBUTE, ITEM, SLICE, LENGTH, LIST, NEXT, TEXT, REPR = (
    "call",
    "attribute",
    "item",
    "slice",
    "length",
    "list",
    "next",
    "text",
    "repr",
)
_READS = frozenset({ITEM, SLICE, LENGTH, LIST, TEXT, REPR})
"""Operations that change nothing of an honest object."""
_ENDS_LOOPS = ("StopIteration", "StopAsyncIteration")
"""What a tester's loops would take for their own end, and with it for the end of the tests."""
_MOST_HELD = 100_000
"""Objects that a candidate keeps for its tester."""
_LARGEST_REQUEST = 1 << 30
"""Bytes that a tester may send: it is trusted, and has its own limit of memory."""
PASSED, FAILED, BROKEN, UNSUPPORTED = "passed", "failed", "broken", "unsupported"


class CandidateBrokenError(BaseException):
    """The candidate's process died or sent something that is no reply."""


class CandidateError(Exception):
    """The candidate raised an exception of its own class."""


def call(module: dict[str, Any], name: str, args: Any, kwargs: Any) -> tuple[str, Any, Any]:
    """Call the function `name` of the candidate and return (kind, value or text, arguments after).

    A name with a dot (`Solution.solve`) is a method on a fresh instance.
    """
    try:
        first, _, method = name.partition(".")
        if first not in module:
            raise NameError(f"name {first!r} is not defined")
        function = getattr(module[first](), method) if method else module[first]
        result = function(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - the exception is the answer
        return RAISED, _describe(error), (args, kwargs)
    return VALUE, result, (args, kwargs)


def _describe(error: Exception) -> tuple[str, str]:
    """Return name and text of an exception whose class may be hostile.

    The name is that of the nearest class of Python's own, such as ValueError for a JSONDecodeError; its own where
    that is Exception itself.
    """
    name = type(error).__name__
    for kind in type(error).__mro__:
        if kind is not Exception and getattr(builtins, kind.__name__, None) is kind and kind is not object:
            name = kind.__name__ if issubclass(kind, Exception) else name
            break
    try:
        args = error.args
        text = args[0] if len(args) == 1 and type(args[0]) is str else str(error)
    except Exception:  # noqa: BLE001 - a hostile __str__
        text = ""
    return (name[:100] if type(name) is str else ""), (text[:2000] if type(text) is str else "")


class Held:
    """The objects of a candidate that its tester may name by number."""

    def __init__(self) -> None:
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}

    def number(self, value: Any) -> int:
        """Return the number of `value`, from now on."""
        known = self._numbers.get(id(value))
        if known is None:
            if len(self._objects) >= _MOST_HELD:
                raise plain.UnboundedError(f"more than {_MOST_HELD} objects")
            known = self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        return known

    def object(self, number: int) -> Any:
        """Return the object of a number."""
        return self._objects[number]


def _operate(operation: str, target: Any, args: Any, kwargs: Any) -> tuple[str, Any, Any]:
    """Do what a handle was asked for; return as `call` does."""
    try:
        if operation == CALL:
            result = target(*args, **kwargs)
        elif operation == ATTRIBUTE:
            result = getattr(target, *args)
        elif operation == ITEM:
            result = target[args[0]]
        elif operation == SLICE:
            result = target[slice(*args)]
        elif operation == LENGTH:
            result = len(target)
        elif operation == LIST:  # an iterator may have no end: it is asked for one after the other
            endless = hasattr(type(target), "__next__")
            result = None if endless else list(itertools.islice(target, plain.MAX_VALUES + 1))
        elif operation == NEXT:
            result = list(itertools.islice(target, 1))
        else:
            result = str(target) if operation == TEXT else repr(target)
    except Exception as error:  # noqa: BLE001 - the exception is the answer
        return RAISED, _describe(error), (args, kwargs)
    return VALUE, result, (args, kwargs)


def reply(module: dict[str, Any], request: bytes, held: Held | None = None) -> bytes:
    """Make the call that `request` describes and return its answer, encoded; `held` is for a tester's calls."""
    number, thing = (held.number, held.object) if held is not None else (None, None)
    nonce, name, args, kwargs, wants_arguments = plain.decode(request, thing)
    if type(name) is tuple:
        kind, value, after = _operate(name[0], name[1], args, kwargs)
    else:
        kind, value, after = call(module, name, args, kwargs)
    try:
        encoded = plain.encode((nonce, kind, value, None), number)
    except plain.NotPlainError as error:
        return plain.encode((nonce, NOT_PLAIN, str(error), None))
    if wants_arguments:
        # A tester wants what is named as well; it gets the changes of a call that ended in an exception, too.
        changed = after if held is not None else after[0] if kind == VALUE else None
        try:
            return plain.encode((nonce, kind, value, changed), number)
        except plain.NotPlainError:
            return encoded
    return encoded


def answer_once(module: dict[str, Any], request: bytes, answer: int) -> None:
    """Answer one call into the memory file `answer`."""
    _write(answer, reply(module, request))


def serve(module: dict[str, Any], peer: int) -> None:
    """Answer calls from the socket `peer` until the tester closes it."""
    held = Held()
    while True:
        frame = _read_frame(peer, _LARGEST_REQUEST)
        if frame is None:
            return
        content = reply(module, frame, held)
        _write(peer, _LENGTH.pack(len(content)) + content)


def test(code: CodeType, prelude: bytes, job: dict[str, Any], answer: int, peer: int) -> None:
    """Run a test program with proxies for the entry points and write its verdict to `answer`."""
    nonce = bytes.fromhex(job["nonce"])
    module = ModuleType("__main__")
    sys.modules["__main__"] = module  # where unittest.main and doctest look for tests
    names = module.__dict__
    names.update(__builtins__=builtins, __file__="main.py")
    line = _Line(peer, job["answer_bytes"])
    try:
        if prelude:
            _run_prelude(prelude, names)
        for name in job["entry_points"]:
            names[name] = _proxy(name, line)
        names.setdefault("candidate", names[job["entry_points"][0]])
        exec(code, names)  # noqa: S102 - the test program, in its own sandbox
        verdict = (PASSED, "")
    except SystemExit as error:
        verdict = (PASSED, "") if error.code in (None, 0) else (FAILED, f"SystemExit: {error.code}")
    except BaseException as error:  # noqa: BLE001 - whatever stops a test program fails it
        verdict = _stopped(error)
    if line.stopped is not None:
        verdict = _stopped(line.stopped)
    if verdict[0] == PASSED and not line.asked:
        verdict = (UNSUPPORTED, "the test program never calls the program")
    elif verdict[0] == FAILED and not line.asked:  # so it was none of the candidate's doing
        verdict = (UNSUPPORTED, f"the test program fails before it calls the program: {verdict[1]}")
    _write(answer, plain.encode((nonce, verdict[0], verdict[1][:2000])))


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
        exec(compile(source, "prelude.py", "exec", dont_inherit=True), names)  # noqa: S102
    except Exception as error:
        raise plain.NotPlainError(f"the prelude failed: {type(error).__name__}: {error}") from error


class _Line:
    """The tester's end of the socket."""

    def __init__(self, peer: int, limit: int) -> None:
        self._peer, self._limit = peer, limit
        self._lock = _thread.allocate_lock()
        self._lengths: dict[int, int] = {}
        self.asked = False
        """Whether the candidate was asked for anything."""
        self.stopped: BaseException | None = None
        """The first thing that must end the test, which the test may have caught."""

    def ask(self, what: Any, args: Any, kwargs: Any) -> Any:
        """Have the candidate do `what`, and return the value or raise what it raised. Threads take turns."""
        with self._lock:
            self.asked = True
            if type(what) is str or what[0] not in _READS:
                self._lengths.clear()
            try:
                return self._ask(what, args, kwargs)
            except (CandidateBrokenError, plain.NotPlainError) as error:
                self.stopped = self.stopped or error
                raise

    def broken(self, why: str) -> CandidateBrokenError:
        """Return the exception to raise, and remember it."""
        error = CandidateBrokenError(why)
        self.stopped = self.stopped or error
        return error

    def hold_length(self, number: int, length: int) -> None:
        """Hold an object to the length that it has given, if nothing has happened since."""
        if self._lengths.setdefault(number, length) != length:
            raise self.broken("an object of the candidate that changes when it is looked at")

    def knows_length(self, number: int) -> bool:
        """Whether an object has given its length, and nothing has happened since."""
        return number in self._lengths

    def _ask(self, what: Any, args: Any, kwargs: Any) -> Any:
        nonce = os.urandom(16)
        content = plain.encode((nonce, what, args, kwargs, True), _number_of)
        try:
            _write(self._peer, _LENGTH.pack(len(content)) + content)
            frame = _read_frame(self._peer, self._limit + len(content))  # which comes back with the value
        except OSError as error:
            raise CandidateBrokenError(f"the candidate is gone: {error}") from error
        if frame is None:
            raise CandidateBrokenError("the candidate ended before it answered")
        kind, value, after = _parse_reply(frame, nonce, lambda number: Handle(self, number))
        if kind == NOT_PLAIN:
            raise CandidateBrokenError(str(value))
        if type(after) is tuple and len(after) == 2:
            _copy_all_back(args, kwargs, *after)
        if kind == RAISED:
            raise _exception(value)
        return value


def _proxy(name: str, line: _Line) -> Callable[..., Any]:
    def candidate(*args: Any, **kwargs: Any) -> Any:
        return line.ask(name, args, kwargs)

    candidate.__name__ = candidate.__qualname__ = name
    return candidate


class Handle:
    """Stands in the tester for an object of the candidate."""

    __slots__ = ("_line", "_number")

    def __init__(self, line: _Line, number: int) -> None:
        object.__setattr__(self, "_line", line)
        object.__setattr__(self, "_number", number)

    def _ask(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        return self._line.ask((operation, self), args, kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask(CALL, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return self._ask(ATTRIBUTE, name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise self._line.broken(f"a test sets {name!r} of an object of the candidate")

    def __getitem__(self, key: Any) -> Any:
        if type(key) is slice:
            return self._ask(SLICE, key.start, key.stop, key.step)
        return self._ask(ITEM, key)

    def __len__(self) -> int:
        length = self._exactly(int, LENGTH)
        self._line.hold_length(self._number, length)
        return length

    def __iter__(self) -> Iterator[Any]:
        members = self._ask(LIST)
        if members is None:
            return self._one_by_one()
        if type(members) is not list:
            raise self._line.broken("an answer that is no list")
        found = members
        if self._line.knows_length(self._number):
            self._line.hold_length(self._number, len(found))
        return iter(found)

    def _one_by_one(self) -> Iterator[Any]:
        while found := self._exactly(list, NEXT):
            yield found[0]

    def __next__(self) -> Any:
        found = self._exactly(list, NEXT)
        if not found:
            raise CandidateError("StopIteration")
        return found[0]

    def __str__(self) -> str:
        return self._exactly(str, TEXT)

    def __repr__(self) -> str:
        return self._exactly(str, REPR)

    def _exactly(self, kind: type[_T], operation: str) -> _T:
        value = self._ask(operation)
        if type(value) is not kind:
            raise self._line.broken(f"an answer that is no {kind.__name__}")
        return value

    def _undecided(self, *_: Any) -> Any:
        raise self._line.broken("a test compares an object of the candidate, whose own code would decide")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = _undecided
    __bool__ = __hash__ = _undecided


def _number_of(value: Any) -> int:
    """Return the number of a handle; nothing else of a tester crosses unless it is plain."""
    if type(value) is not Handle:
        kind = type(value)
        raise plain.NotPlainError(f"a value of type {kind.__module__}.{kind.__qualname__} is not plain data")
    number: int = object.__getattribute__(value, "_number")
    return number


def _parse_reply(frame: bytes, nonce: bytes, handle: Callable[[int], Any]) -> tuple[str, Any, Any]:
    try:
        parts = plain.decode(frame, handle)
    except plain.NotPlainError as error:
        raise CandidateBrokenError(f"no valid answer: {error}") from error
    if type(parts) is not tuple or len(parts) != 4 or parts[0] != nonce or type(parts[0]) is not bytes:
        raise CandidateBrokenError("an answer that belongs to no call")
    return parts[1], parts[2], parts[3]


def _exception(value: Any) -> Exception:
    """Return the exception to raise in the tester; only standard ones keep their class."""
    if type(value) is not tuple or len(value) != 2 or not all(type(part) is str for part in value):
        raise CandidateBrokenError("an exception without name and text")
    kind = getattr(builtins, value[0], None)
    if isinstance(kind, type) and issubclass(kind, Exception) and value[0] not in _ENDS_LOOPS:
        for one in kind.__mro__:
            try:
                found = one(value[1])
            except TypeError:  # UnicodeDecodeError and its like want more than a text; ValueError catches it
                continue
            if isinstance(found, Exception) and one is not Exception:
                return found
            break
    return CandidateError(f"{value[0]}: {value[1]}")


def _copy_all_back(args: Any, kwargs: Any, args_after: Any, kwargs_after: Any) -> None:
    """Give changed arguments their new content, as a call in this process would have.

    What was handed over twice crossed as two: the one that was changed counts.
    """
    if type(args_after) is not tuple or len(args_after) != len(args):
        return
    pairs = list(zip(args, args_after, strict=True))
    if type(kwargs_after) is dict:
        pairs += [(value, kwargs_after[name]) for name, value in kwargs.items() if name in kwargs_after]
    done: set[int] = set()
    for mine, theirs in pairs:
        if id(mine) not in done and _copy_back(mine, theirs):
            done.add(id(mine))


def _copy_back(mine: Any, theirs: Any) -> bool:
    """Give one argument its new content; return whether that is another than it had."""
    dicts = isinstance(mine, dict) and isinstance(theirs, dict)  # some defaultdicts have crossed as a dict
    if type(mine) is not type(theirs) and not dicts:
        return False
    if plain.encode(mine, _number_of) == plain.encode(theirs, _number_of):
        return False
    if type(mine) is list or type(mine) is bytearray:
        mine[:] = theirs
    elif dicts or type(mine) is set:
        mine.clear()
        mine.update(theirs)
    elif type(mine) is deque:
        mine.clear()
        mine.extend(theirs)
    elif type(mine).__name__ == "ndarray" and mine.shape == theirs.shape:
        mine[...] = theirs
    return True


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _read_frame(descriptor: int, limit: int) -> bytes | None:
    """Return the next frame, or None where the stream ends between frames."""
    head = _read(descriptor, 4)
    if not head:
        return None
    size = _LENGTH.unpack(head)[0] if len(head) == 4 else limit + 1
    if size > limit:
        raise CandidateBrokenError(f"an answer of {size} bytes; {limit} are allowed")
    content = _read(descriptor, size)
    if len(content) != size:
        raise CandidateBrokenError("an answer that was cut short")
    return content


def _read(descriptor: int, size: int) -> bytes:
    pieces: list[bytes] = []
    while size:
        piece = os.read(descriptor, min(size, 1 << 16))
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
