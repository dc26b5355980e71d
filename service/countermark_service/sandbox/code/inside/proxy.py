"""The tester's end of the line: stands for a candidate's functions, classes and objects in a test program.

A tester program (assert lines, a `check` function) must not share a process with
what it tests. So its entry point is a proxy: the arguments go over a socket to the
candidate's process, the value comes back. Each call carries a fresh nonce that its
one reply must repeat, so that bytes written ahead or behind belong to no call.

What is not plain (an object of the candidate's own class) stays in the candidate's
process; the tester holds a `Handle` that can be passed back, called, and asked for
attributes, items and text, each by a call of the same kind. It is equal to nothing
else: the candidate's code would decide the test. One of a subclass of plain data is
looked at as that. Only where the test itself treats a class of the candidate's as one (it
makes an object by a name with a capital, and uses an attribute) is it the class that is
tested, and its own operators are asked.
For the same reason a candidate's StopIteration arrives as another exception, since
loops take it for their end, and an object that has given its length keeps it until
it is called, or the candidate is.

What is given to the candidate is plain data too, and functions of the test's own, which
it may call back. Objects of classes that stand before both programs cross by
their attributes, so that what a task defines for its tests compares them here.

What the candidate writes is bounded and parsed strictly; if it is not one valid reply, the candidate is `broken`
and the test ends: whatever a test program catches, what stopped the line is remembered.
"""

import _thread
import builtins
import functools
import operator
import os
import sys
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, MethodDescriptorType, MethodType, ModuleType
from typing import Any, TypeVar

from . import line, plain

_T = TypeVar("_T")
_ENDS_LOOPS = ("StopIteration", "StopAsyncIteration")
"""What a tester's loops would take for their own end, and with it for the end of the tests."""
_FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType, MethodDescriptorType, functools.partial)
"""What may be handed to the candidate to call. Of another callable object it might want more than that."""
_PLAIN = (int, float, str, bytes, list, tuple, dict, set, frozenset)
PASSED, FAILED, BROKEN, UNSUPPORTED = "passed", "failed", "broken", "unsupported"


class CandidateBrokenError(BaseException):
    """The candidate's process died or sent something that is no reply."""


class CandidateError(Exception):
    """The candidate raised an exception of its own class."""


def test(code: CodeType, prelude: bytes, job: dict[str, Any], answer: int, peer: int) -> None:
    """Run a test program with proxies for the entry points and write its verdict to `answer`."""
    nonce = bytes.fromhex(job["nonce"])
    module = ModuleType("__main__")
    sys.modules["__main__"] = module  # where unittest.main and doctest look for tests
    names = module.__dict__
    names.update(__builtins__=builtins, __file__="main.py")
    asked = _Line(peer, job["answer_bytes"])
    try:
        if prelude:
            _run_prelude(prelude, names)
        for name in job["entry_points"]:
            names[name] = _proxy(name, asked)
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
    if verdict[0] == PASSED and not asked.asked:
        verdict = (UNSUPPORTED, "the test program never calls the program")
    elif verdict[0] == FAILED and not asked.asked:  # so it was none of the candidate's doing
        verdict = (UNSUPPORTED, f"the test program fails before it calls the program: {verdict[1]}")
    line.write(answer, plain.encode((nonce, verdict[0], verdict[1][:2000])))


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
        exec(compile(source, "prelude.py", "exec", dont_inherit=True), names)  # noqa: S102
    except Exception as error:
        raise plain.NotPlainError(f"the prelude failed: {type(error).__name__}: {error}") from error


class _Line:
    """The tester's end of the socket."""

    def __init__(self, peer: int, limit: int) -> None:
        self._peer, self._limit = peer, limit
        self._lock = _thread.RLock()
        self._lengths: dict[int, int] = {}
        self._members: dict[int, list[Any]] = {}
        self._items: dict[int, dict[int, Any]] = {}
        self._handles: dict[int, Handle] = {}
        self._functions: list[Callable[..., Any]] = []
        self._exceptions: dict[str, type[Exception]] = {}
        self.classes: dict[str, type] = {}
        """Those that stand before both programs."""
        self.made: dict[int, str] = {}
        """Objects that the test has made by a name with a capital, and the name."""
        self.known_as_classes: set[str] = set()
        """Of those names, the ones whose objects it has asked for an attribute."""
        self.asked = False
        """Whether the candidate was asked for anything."""
        self.stopped: BaseException | None = None
        """The first thing that must end the test, which the test may have caught."""

    def ask(self, what: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Have the candidate do `what`, and return the value or raise what it raised. Threads take turns."""
        with self._lock:
            self.asked = True
            if type(what) is str or what[0] not in line.READS:
                for held in (self._lengths, self._members, self._items):
                    held.clear()
            try:
                return self._ask(what, args, kwargs or {})
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

    def hold_item(self, number: int, key: Any, value: Any) -> None:
        """Hold an object to the item that it has given, if nothing has happened since."""
        if type(key) is int:
            self._items.setdefault(number, {})[key] = value
            self._hold_items(number)

    def hold_members(self, number: int, members: list[Any]) -> None:
        """Hold an object to the members that it has given, if nothing has happened since."""
        if self._differ(self._members.setdefault(number, list(members)), members):
            raise self.broken("an object of the candidate that changes when it is looked at")
        self._hold_items(number)

    def _hold_items(self, number: int) -> None:
        """Have items be the members at their places, or those of keys, of which the members are some."""
        members = self._members.get(number)
        for key, value in self._items.get(number, {}).items() if members is not None else ():
            keys = [member for member in members or () if type(member) is int]
            if (
                members
                and -len(members) <= key < len(members)
                and key not in keys
                and self._differ(members[key], value)
            ):
                raise self.broken("an object of the candidate whose items are not its members")

    def _differ(self, one: Any, other: Any) -> bool:
        return plain.encode(one, self._number_of) != plain.encode(other, self._number_of)

    def add_exception(self, name: str, kind: type[Exception]) -> None:
        """Raise what a candidate raises under this name as an exception of this class."""
        self._exceptions[name] = kind

    def _ask(self, what: Any, args: Any, kwargs: Any) -> Any:
        nonce = os.urandom(16)
        known = plain.Known(self.classes)
        body = plain.encode((what, args, kwargs), self._number_of, known)
        count = len(known.objects)
        before = line.contents(known, count, self._number_of)
        self._send(nonce, line.ASK, body, (tuple(self.classes), tuple(map(_named, self._functions))))
        limit = self._limit + 8 * len(body) + sum(map(len, before))  # all of it comes back with the value
        while True:
            kind, content, after = self._receive(nonce, limit)
            if kind != line.CALL_BACK:
                break
            self._call_back(nonce, content)
        if kind == line.NOT_PLAIN:
            raise CandidateBrokenError(str(self._read(content, None)))
        value = self._read(content, known)
        if type(after) is tuple and len(after) == count:
            self._take_over(known, before, after)
        if kind == line.RAISED:
            raise self._exception(value)
        return value

    def _take_over(self, known: plain.Known, before: tuple[bytes, ...], after: tuple[Any, ...]) -> None:
        """Give what was handed over its new content, as a call in this process would have."""
        for value, old, new in zip(known.objects[: len(before)], before, after, strict=True):
            if type(new) is not bytes:
                raise CandidateBrokenError("no valid answer: a content that is none")
            if new != old:
                content = self._read(new, known)
                try:
                    line.fill(value, content)
                except (TypeError, ValueError, IndexError, AttributeError) as error:
                    raise CandidateBrokenError(f"no valid answer: {error}") from error

    def _call_back(self, nonce: bytes, content: Any) -> None:
        """Call a function of the test's own for the candidate, and send what it returns."""
        what = self._read(content, plain.Known(self.classes))
        if (
            type(what) is not tuple
            or len(what) != 3
            or type(what[1]) is not tuple
            or type(what[2]) is not dict
        ):
            raise CandidateBrokenError("no valid answer: a call of nothing")
        failed, value = None, None
        function = self._thing(what[0]) if type(what[0]) is int else None
        if function is None or type(function) is Handle:
            raise CandidateBrokenError("no valid answer: a call of no function")
        try:
            value = function(*what[1], **what[2])
        # Whatever a test's function raises goes to who called it, as in one process: the candidate may expect it.
        except Exception as error:  # noqa: BLE001
            text = error.args[0] if len(error.args) == 1 and type(error.args[0]) is str else str(error)
            failed = type(error).__name__, text[:2000]
        except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
            raise self.broken(f"{type(error).__name__} of a function that the candidate called") from error
        body = plain.encode(value, self._number_of, plain.Known(self.classes))
        self._send(nonce, line.DONE, body, failed)

    def _send(self, *parts: Any) -> None:
        try:
            line.write_frame(self._peer, plain.encode(parts))
        except OSError as error:
            raise CandidateBrokenError(f"the candidate is gone: {error}") from error

    def _receive(self, nonce: bytes, limit: int) -> tuple[Any, Any, Any]:
        try:
            frame = line.read_frame(self._peer, limit)
            parts = None if frame is None else plain.decode(frame)
        except OSError as error:
            raise CandidateBrokenError(f"the candidate is gone: {error}") from error
        except (line.BrokenLineError, plain.NotPlainError) as error:
            raise CandidateBrokenError(f"no valid answer: {error}") from error
        if parts is None:
            raise CandidateBrokenError("the candidate ended before it answered")
        if type(parts) is not tuple or len(parts) != 4 or type(parts[0]) is not bytes or parts[0] != nonce:
            raise CandidateBrokenError("an answer that belongs to no call")
        return parts[1], parts[2], parts[3]

    def _read(self, content: Any, known: plain.Known | None) -> Any:
        if type(content) is not bytes:
            raise CandidateBrokenError("no valid answer: no value")
        try:
            return plain.decode(content, self._thing, known)
        except plain.NotPlainError as error:
            raise CandidateBrokenError(f"no valid answer: {error}") from error

    def _thing(self, number: int) -> Any:
        """Return what a number of the candidate's stands for: an object of its own, or a function that it was given."""
        if number >= line.TESTERS:
            if number - line.TESTERS >= len(self._functions):
                raise plain.NotPlainError(f"no function has the number {number}")
            return self._functions[number - line.TESTERS]
        if number not in self._handles:
            self._handles[number] = Handle(self, number)
        return self._handles[number]

    def _number_of(self, value: Any) -> int:
        """Return the number of a handle, or of a function that the candidate may call; nothing else crosses unless it
        is plain."""
        if type(value) is Handle:
            number: int = object.__getattribute__(value, "_number")
            return number
        if not isinstance(value, _FUNCTIONS):
            kind = type(value)
            raise plain.NotPlainError(
                f"a value of type {kind.__module__}.{kind.__qualname__} is not plain data"
            )
        for number, one in enumerate(self._functions):
            if one is value:
                return line.TESTERS + number
        self._functions.append(value)
        return line.TESTERS + len(self._functions) - 1

    def _exception(self, value: Any) -> Exception:
        """Return the exception to raise in the tester; standard ones, and those that it names, keep their class."""
        if type(value) is not tuple or len(value) < 2 or not all(type(part) is str for part in value):
            raise CandidateBrokenError("an exception without name and text")
        for name in value[2:]:
            if name in self._exceptions:
                return self._exceptions[name].__new__(self._exceptions[name], value[1])
        kind = getattr(builtins, value[0], None)
        if isinstance(kind, type) and issubclass(kind, Exception) and value[0] not in _ENDS_LOOPS:
            for one in kind.__mro__:
                try:
                    made = one(value[1])
                except (
                    TypeError
                ):  # UnicodeDecodeError and its like want more than a text; ValueError catches it
                    continue
                if isinstance(made, Exception) and one is not Exception:
                    return made
                break
        return CandidateError(f"{value[0]}: {value[1]}")


def _named(function: Any) -> tuple[str, str | None]:
    """Return name and text of a function, which decorators pass on."""
    name, text = getattr(function, "__name__", "function"), getattr(function, "__doc__", None)
    return str(name), None if text is None else str(text)


def _proxy(name: str, asked: _Line) -> Any:
    """Return what stands for a function of the candidate's, or for a class where the name has a capital."""
    if name[:1].isupper() and "." not in name:
        return _class(name, asked)

    def candidate(*args: Any, **kwargs: Any) -> Any:
        return asked.ask(name, args, kwargs)

    candidate.__name__ = candidate.__qualname__ = name
    return candidate


def _class(name: str, asked: _Line) -> Any:
    """Return what stands for a class: it makes objects, tells them by `isinstance`, and catches them if raised."""

    class Class(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            made = asked.ask(name, args, kwargs)
            if type(made) is Handle:
                asked.made[object.__getattribute__(made, "_number")] = name
            return made

        def __instancecheck__(cls, value: Any) -> bool:
            if type(value) is not Handle:
                return type.__instancecheck__(cls, value)
            return asked.ask((line.INSTANCE, value), (name,)) is True

        def __getattr__(cls, attribute: str) -> Any:
            return getattr(asked.ask((line.GLOBAL, name)), attribute)

    kind: Any = Class(name, (CandidateError,), {"__init__": Exception.__init__})
    asked.add_exception(name, kind)
    return kind


class Handle:
    """Stands in the tester for an object of the candidate."""

    __slots__ = ("_line", "_number")

    def __init__(self, asked: _Line, number: int) -> None:
        object.__setattr__(self, "_line", asked)
        object.__setattr__(self, "_number", number)

    def _ask(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        return self._line.ask((operation, self), args, kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask(line.CALL, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        self._is_used()
        return self._ask(line.ATTRIBUTE, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._is_used()
        self._ask(line.SET_ATTRIBUTE, name, value)

    def __getitem__(self, key: Any) -> Any:
        plainly = self._plain()
        if plainly is not None:
            return plainly[0][key]
        if type(key) is slice:
            return self._ask(line.SLICE, key.start, key.stop, key.step)
        value = self._ask(line.ITEM, key)
        self._line.hold_item(self._number, key, value)
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        self._is_used()
        self._ask(line.SET_ITEM, key, value)

    def __delitem__(self, key: Any) -> None:
        self._is_used()
        self._ask(line.DELETE_ITEM, key)

    def __enter__(self) -> Any:
        return self._ask(line.ENTER)

    def __exit__(self, kind: Any, error: Any, _trace: Any) -> bool:
        if isinstance(error, CandidateBrokenError | plain.NotPlainError):
            return False
        raised = () if kind is None else (kind.__name__, str(error))
        return self._ask(line.EXIT, *raised) is True

    def __len__(self) -> int:
        plainly = self._plain()
        if plainly is not None:
            return len(plainly[0])
        length = self._exactly(int, line.LENGTH)
        self._line.hold_length(self._number, length)
        return length

    def __iter__(self) -> Iterator[Any]:
        plainly = self._plain()
        if plainly is not None:
            return iter(plainly[0])
        members = self._ask(line.LIST)
        if members is None:
            return self._one_by_one()
        if type(members) is not list:
            raise self._line.broken("an answer that is no list")
        if self._line.knows_length(self._number):
            self._line.hold_length(self._number, len(members))
        self._line.hold_members(self._number, members)
        return iter(members)

    def _one_by_one(self) -> Iterator[Any]:
        while found := self._exactly(list, line.NEXT):
            yield found[0]

    def __next__(self) -> Any:
        found = self._exactly(list, line.NEXT)
        if not found:
            raise CandidateError("StopIteration")
        return found[0]

    def __contains__(self, value: Any) -> bool:
        if self._is_tested():
            return self._exactly(bool, line.HOLDS, value)
        plainly = self._plain()
        if plainly is not None:
            return value in plainly[0]
        return any(member is value or member == value for member in self)

    def __str__(self) -> str:
        return self._exactly(str, line.TEXT)

    def __repr__(self) -> str:
        return self._exactly(str, line.REPR)

    def __bool__(self) -> bool:
        truth = self._ask(line.TRUTH)
        if truth is None:  # as any object is: to claim so is worth no more than to return 1
            return True
        if self._is_tested() and type(truth) is bool:
            return truth
        return bool(self._data())

    def __hash__(self) -> int:
        if self._is_tested():
            return self._exactly(int, line.HASH)
        return hash(self._data())

    def __index__(self) -> int:
        return operator.index(self._data())

    def __int__(self) -> int:
        return int(self._data())

    def __float__(self) -> float:
        return float(self._data())

    def __abs__(self) -> Any:
        return abs(self._data())

    def __neg__(self) -> Any:
        return -self._data()

    def __eq__(self, other: Any) -> bool:
        if other is None or other is self:
            return other is self
        return self._compared("eq", other)

    def __ne__(self, other: Any) -> bool:
        return not self == other

    def __lt__(self, other: Any) -> bool:
        return self._compared("lt", other)

    def __le__(self, other: Any) -> bool:
        return self._compared("le", other)

    def __gt__(self, other: Any) -> bool:
        return self._compared("gt", other)

    def __ge__(self, other: Any) -> bool:
        return self._compared("ge", other)

    def _compared(self, name: str, other: Any) -> bool:
        if not self._may_decide(other):
            return bool(getattr(operator, name)(self._data(), other))
        result = self._ask(line.OPERATE, name, other, False)
        if type(result) is not bool:
            raise self._line.broken("a comparison that is neither true nor false")
        return result

    def _is_used(self) -> None:
        """Remember that the test knows of what class this is, where it has made it."""
        name = self._line.made.get(self._number)
        if name is not None:
            self._line.known_as_classes.add(name)

    def _is_tested(self) -> bool:
        """Return whether it is the class of this object that the test is about, and not what a function returned."""
        return self._line.made.get(self._number) in self._line.known_as_classes

    def _may_decide(self, other: Any) -> bool:
        """Return whether what this object and another come to is for their class to say.

        The other one is never a value that the test expects of a function, unless it is the class that is tested.
        """
        if type(other) is not Handle:
            return self._is_tested()
        numbers = self._number, object.__getattribute__(other, "_number")
        return any(number in self._line.made for number in numbers)

    def _exactly(self, kind: type[_T], operation: str, *args: Any) -> _T:
        value = self._ask(operation, *args)
        if type(value) is not kind:
            raise self._line.broken(f"an answer that is no {kind.__name__}")
        return value

    def _plain(self) -> tuple[Any] | None:
        """Return what this is as plain data; None where it is nothing such, or of the class that is tested.

        It is no more than the candidate could have returned, and nothing of its class has a say in it.
        """
        if self._number in self._line.made:
            return None
        found = self._ask(line.PLAIN)
        if found is not None and (
            type(found) is not tuple or len(found) != 1 or type(found[0]) not in _PLAIN
        ):
            raise self._line.broken("an answer that is no plain data")
        return found

    def _data(self) -> Any:
        """Return what this is as plain data, where else the candidate's own code would decide the test."""
        found = self._plain()
        if found is None:
            raise self._line.broken("a test compares an object of the candidate, whose own code would decide")
        return found[0]


def _operator(name: str, reflected: bool) -> Callable[[Handle, Any], Any]:
    def operate(mine: Handle, other: Any) -> Any:
        if not mine._may_decide(other):
            found = mine._plain()
            if found is None:
                return NotImplemented
            return getattr(operator, name)(*((other, found[0]) if reflected else (found[0], other)))
        return mine._ask(line.OPERATE, name, other, reflected)

    return operate


for _name in (
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and",
    "or",
    "xor",
    "lshift",
    "rshift",
):
    _function = f"{_name}_" if _name in ("and", "or") else _name
    setattr(Handle, f"__{_name}__", _operator(_function, reflected=False))
    setattr(Handle, f"__r{_name}__", _operator(_function, reflected=True))

# Set behind the class, which has a docstring of its own; a property is no text, which is what the types know of it.
Handle.__doc__ = property(lambda self: self._ask(line.ATTRIBUTE, "__doc__"))  # type: ignore[assignment]
