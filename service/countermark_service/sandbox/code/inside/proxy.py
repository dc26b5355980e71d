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
tested, and its own operators are asked; of an object that was only made, those that
give another object. A coroutine or a generator of the candidate's is one here, too.
For the same reason a function's StopIteration arrives as another exception, since
loops take it for their end (an iterator that has ended says so), and an object that has given its length keeps it until
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
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, MethodDescriptorType, MethodType, ModuleType
from typing import Any, TypeVar

from . import line, plain, shared

_T = TypeVar("_T")
_ENDS_LOOPS = ("StopIteration", "StopAsyncIteration")
"""What a tester's loops would take for their own end, and with it for the end of the tests."""
_FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType, MethodDescriptorType, functools.partial)
"""What may be handed to the candidate to call. Of another callable object it might want more than that."""
_LOOKS = frozenset({
    "__annotations__", "__defaults__", "__doc__", "__kwdefaults__", "get_annotations", "get_type_hints", "getdoc",
    "getfullargspec", "iscoroutinefunction", "isgeneratorfunction", "signature",
})  # fmt: skip
"""Where a test looks at a function itself. To have it described costs a question, and it must be there already."""
_DECIDE = frozenset(
    {"all", "any", "count", "endswith", "equals", "find", "index", "rfind", "rindex", "startswith"}
    | {name for kind in (str, bytes, float, set) for name in dir(kind) if name.startswith("is")}
)
"""Methods of plain data that say yes or no, or where: what a function returned has them as plain data, or is none."""
_PLAIN = (int, float, str, bytes, list, tuple, dict, set, frozenset)
PASSED, FAILED, BROKEN, UNSUPPORTED = "passed", "failed", "broken", "unsupported"


class CandidateBrokenError(BaseException):
    """The candidate's process died or sent something that is no reply."""


class CandidateError(Exception):
    """The candidate raised an exception of its own class."""


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
    used = _names_in(code)
    asked = _Line(peer, job["answer_bytes"], shared.Tester(seeds="seed" in used, folder=folder))
    try:
        if prelude:
            _run_prelude(prelude, names)
        for name in job["entry_points"]:
            names[name] = _proxy(name, asked, look=not used.isdisjoint(_LOOKS))
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
    elif (
        verdict[0] == FAILED
        and not asked.asked
        and not (asked.described and verdict[1].startswith("AssertionError"))
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

    def __init__(self, peer: int, limit: int, own: shared.Tester) -> None:
        self._peer, self._limit, self._own = peer, limit, own
        self._lock = _thread.RLock()
        self._lengths: dict[int, int] = {}
        self._members: dict[int, list[Any]] = {}
        self._items: dict[int, dict[int, Any]] = {}
        self._handles: dict[int, Handle] = {}
        self._stands_for: dict[int, tuple[Any, Handle]] = {}
        """By identity, what a test has in the place of a handle, which it may hand back."""
        self._functions: list[Callable[..., Any]] = []
        self._exceptions: dict[str, type[Exception]] = {}
        self.classes: dict[str, type] = {}
        """Those that stand before both programs."""
        self.made: dict[int, str] = {}
        """Objects that the test has made by a name with a capital, and the name."""
        self.known_as_classes: set[str] = set()
        """Of those names, the ones whose objects it has asked for an attribute."""
        self.asked = False
        """Whether the candidate was asked for anything but what its functions look like."""
        self.described = False
        """Whether it was asked for that."""
        self.stopped: BaseException | None = None
        """The first thing that must end the test, which the test may have caught."""

    def ask(self, what: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Have the candidate do `what`, and return the value or raise what it raised. Threads take turns."""
        with self._lock:
            if what[0] == line.DESCRIBE:
                self.described = True
            else:
                self.asked = True
            if type(what) is str or what[0] not in line.READS:
                for held in (self._lengths, self._members, self._items):
                    held.clear()
            try:
                return self._ask(what, args, kwargs or {})
            except (CandidateBrokenError, plain.NotPlainError) as error:
                self.stopped = self.stopped or error
                raise

    def as_made(self, value: Any, source: "Handle") -> Any:
        """Return a value; where it is an object that came of one that the test has made, it counts as made as well."""
        name = self.made.get(source._handle_number)
        if name is not None and type(value) is Handle:
            self.made.setdefault(value._handle_number, name)
        return value

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

    def is_candidates(self, kind: type) -> bool:
        """Return whether a class stands for one of the candidate's."""
        return self._exceptions.get(kind.__name__) is kind

    def _ask(self, what: Any, args: Any, kwargs: Any) -> Any:
        nonce = os.urandom(16)
        known = plain.Known(self.classes)
        body = plain.encode((what, args, kwargs), self._number_of, known)
        count = len(known.objects)
        before = line.contents(known, count, self._number_of)
        around = self._own.around(self._number_of)
        self._send(nonce, line.ASK, body, (tuple(self.classes), tuple(map(_named, self._functions)), around))
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
        if kind in (line.COROUTINE, line.GENERATOR) and type(value) is Handle:
            stand_in = _coroutine(value) if kind == line.COROUTINE else _generator(value)
            self._stands_for[id(stand_in)] = stand_in, value
            return stand_in
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
        if type(parts) is not tuple or len(parts) != 5 or type(parts[0]) is not bytes or parts[0] != nonce:
            raise CandidateBrokenError("an answer that belongs to no call")
        try:
            self._own.take(parts[4])
        except ValueError as error:
            raise CandidateBrokenError(f"no valid answer: {error}") from error
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
            number: int = object.__getattribute__(value, "_handle_number")
            return number
        if id(value) in self._stands_for:
            return self._number_of(self._stands_for[id(value)][1])
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
        if (
            type(value) is not tuple
            or [type(part) for part in value] != [str, str, tuple, int]
            or not all(type(name) is str for name in value[2])
            or not 0 <= value[3] < line.TESTERS
        ):
            raise CandidateBrokenError("an exception without name and text")
        for name in value[2]:
            if name in self._exceptions:
                made = self._exceptions[name].__new__(self._exceptions[name], value[1])
                made.__dict__["_raised"] = self._thing(value[3])
                return made
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


def _proxy(name: str, asked: _Line, *, look: bool) -> Any:
    """Return what stands for a function of the candidate's, or for a class where the name has a capital.

    Args:
        name: What it is called in the program.
        asked: The line to it.
        look: Whether the test wants to know more of it than what it returns.
    """
    if name[:1].isupper() and "." not in name:
        return _class(name, asked)

    def candidate(*args: Any, **kwargs: Any) -> Any:
        return asked.ask(name, args, kwargs)

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        return await asked.ask(name, args, kwargs)

    def generated(*args: Any, **kwargs: Any) -> Any:
        yield from asked.ask(name, args, kwargs)

    described = asked.ask((line.DESCRIBE, name)) if look and "." not in name else None
    if type(described) is tuple and len(described) == 4:
        (awaits, generates), text, parameters, hints = described
        candidate = awaited if awaits is True else generated if generates is True else candidate
        candidate.__doc__ = text if type(text) is str else None
        _sign(candidate, parameters, hints)
    candidate.__name__ = candidate.__qualname__ = name
    return candidate


def _sign(function: Any, parameters: Any, hints: Any) -> None:
    """Have a function show the parameters and annotations of the candidate's."""
    import inspect

    hints = {name: _shown(hint) for name, hint in hints.items()}
    kinds, none = (*inspect._ParameterKind,), inspect.Parameter.empty
    function.__annotations__ = hints
    function.__signature__ = inspect.Signature(
        [
            inspect.Parameter(name, kinds[kind], default=_shown(default), annotation=hints.get(name, none))
            for name, kind, default in parameters
        ],
        return_annotation=hints.get("return", inspect.Signature.empty),
    )
    named = [each for each in function.__signature__.parameters.values() if each.default is not each.empty]
    positional = [each.default for each in named if each.kind is not each.KEYWORD_ONLY]
    function.__defaults__ = tuple(positional) or None
    function.__kwdefaults__ = {
        each.name: each.default for each in named if each.kind is each.KEYWORD_ONLY
    } or None


def _shown(shown: Any) -> Any:
    """Return a default or an annotation as it was described."""
    import inspect

    if shown == ():
        return inspect.Parameter.empty
    kind, value = shown
    return getattr(builtins, value) if kind == "class" else value


async def _coroutine(handle: "Handle") -> Any:
    """Return what an awaited function of the candidate comes to; it runs to its end at once, in its own process."""
    return handle._handle_ask(line.AWAIT)


def _generator(handle: "Handle") -> Generator[Any, Any, Any]:
    """Yield what a generator of the candidate's does, and take what is sent."""
    found = handle._handle_step(line.NEXT)
    while found[0]:
        try:
            sent = yield found[1]
        except Exception as error:  # noqa: BLE001 - thrown into the generator, and so into the candidate's
            found = handle._handle_step(line.THROW, type(error).__name__, str(error))
        else:
            found = handle._handle_step(line.NEXT) if sent is None else handle._handle_step(line.SEND, sent)
    return found[1]


def _class(name: str, asked: _Line) -> Any:
    """Return what stands for a class: it makes objects, tells them by `isinstance`, and catches them if raised."""

    class Class(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            made = asked.ask(name, args, kwargs)
            if type(made) is Handle:
                asked.made[object.__getattribute__(made, "_handle_number")] = name
            return made

        def __instancecheck__(cls, value: Any) -> bool:
            if type(value) is not Handle:
                return type.__instancecheck__(cls, value) or plain.is_named(value, name)
            return asked.ask((line.INSTANCE, value), (name,)) is True

        def __subclasscheck__(cls, other: Any) -> bool:
            if not asked.is_candidates(other):
                return type.__subclasscheck__(cls, other)
            return asked.ask((line.SUBCLASS, other.__name__), (name,)) is True

        def __getattr__(cls, attribute: str) -> Any:
            return getattr(asked.ask((line.GLOBAL, name)), attribute)

        def __getitem__(cls, key: Any) -> Any:
            return asked.ask((line.GLOBAL, name))[key]

        def __iter__(cls) -> Iterator[Any]:
            return iter(asked.ask((line.GLOBAL, name)))

        def __len__(cls) -> int:
            return len(asked.ask((line.GLOBAL, name)))

        def __contains__(cls, value: Any) -> bool:
            return value in asked.ask((line.GLOBAL, name))

        def __bool__(cls) -> bool:
            return True

    def of_what_was_raised(error: Any, attribute: str) -> Any:
        if attribute.startswith("_") or "_raised" not in error.__dict__:
            raise AttributeError(attribute)
        return getattr(error.__dict__["_raised"], attribute)

    kind: Any = Class(
        name, (CandidateError,), {"__init__": Exception.__init__, "__getattr__": of_what_was_raised}
    )
    asked.add_exception(name, kind)
    return kind


class Handle:
    """Stands in the tester for an object of the candidate, whose attributes may have any name but these."""

    __slots__ = ("_handle_line", "_handle_number")

    def __init__(self, asked: _Line, number: int) -> None:
        object.__setattr__(self, "_handle_line", asked)
        object.__setattr__(self, "_handle_number", number)

    def _handle_ask(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        return self._handle_line.ask((operation, self), args, kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._handle_ask(line.CALL, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in _DECIDE and self._handle_number not in self._handle_line.made:
            return getattr(self._handle_data(), name)
        self._handle_is_used()
        return self._handle_ask(line.ATTRIBUTE, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._handle_is_used()
        self._handle_ask(line.SET_ATTRIBUTE, name, value)

    def __getitem__(self, key: Any) -> Any:
        plainly = self._handle_plain()
        if plainly is not None:
            return plainly[0][key]
        if type(key) is slice:
            return self._handle_ask(line.SLICE, key.start, key.stop, key.step)
        value = self._handle_ask(line.ITEM, key)
        self._handle_line.hold_item(self._handle_number, key, value)
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        self._handle_is_used()
        self._handle_ask(line.SET_ITEM, key, value)

    def __delitem__(self, key: Any) -> None:
        self._handle_is_used()
        self._handle_ask(line.DELETE_ITEM, key)

    def __enter__(self) -> Any:
        return self._handle_ask(line.ENTER)

    def __exit__(self, kind: Any, error: Any, _trace: Any) -> bool:
        return self._handle_left(line.EXIT, kind, error)

    def _handle_left(self, operation: str, kind: Any, error: Any) -> bool:
        if isinstance(error, CandidateBrokenError | plain.NotPlainError):
            return False
        raised = () if kind is None else (kind.__name__, str(error))
        return self._handle_ask(operation, *raised) is True

    def __len__(self) -> int:
        plainly = self._handle_plain()
        if plainly is not None:
            return len(plainly[0])
        length = self._handle_exactly(int, line.LENGTH)
        self._handle_line.hold_length(self._handle_number, length)
        return length

    def __iter__(self) -> Iterator[Any]:
        plainly = self._handle_plain()
        if plainly is not None:
            return iter(plainly[0])
        members = self._handle_ask(line.LIST)
        if members is None:
            return self._handle_one_by_one()
        if type(members) is not list:
            raise self._handle_line.broken("an answer that is no list")
        if self._handle_line.knows_length(self._handle_number):
            self._handle_line.hold_length(self._handle_number, len(members))
        self._handle_line.hold_members(self._handle_number, members)
        return iter(members)

    def _handle_step(self, operation: str, *args: Any) -> tuple[bool, Any]:
        """Return whether an iterator goes on, and what it gives, or what it returns at its end."""
        found = self._handle_exactly(tuple, operation, *args)
        if len(found) != 2 or type(found[0]) is not bool:
            raise self._handle_line.broken("an answer that is no step")
        return found

    def _handle_one_by_one(self) -> Iterator[Any]:
        while (found := self._handle_step(line.NEXT))[0]:
            yield found[1]

    def __next__(self) -> Any:
        goes_on, value = self._handle_step(line.NEXT)
        if (
            not goes_on
        ):  # the end of what was asked for its next value, and nothing that a function has raised
            raise StopIteration(value)
        return value

    def __await__(self) -> Generator[Any, Any, Any]:
        return _coroutine(self).__await__()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        goes_on, value = self._handle_step(line.ASYNC_NEXT)
        if not goes_on:
            raise StopAsyncIteration
        return value

    async def __aenter__(self) -> Any:
        return self._handle_ask(line.ASYNC_ENTER)

    async def __aexit__(self, kind: Any, error: Any, _trace: Any) -> bool:
        return self._handle_left(line.ASYNC_EXIT, kind, error)

    def __copy__(self) -> Any:
        return self._handle_copied(deep=False)

    def __deepcopy__(self, _known: Any) -> Any:
        return self._handle_copied(deep=True)

    def _handle_copied(self, *, deep: bool) -> Any:
        return self._handle_line.as_made(self._handle_ask(line.COPY, deep), self)

    def __contains__(self, value: Any) -> bool:
        if self._handle_is_tested():
            return self._handle_exactly(bool, line.HOLDS, value)
        plainly = self._handle_plain()
        if plainly is not None:
            return value in plainly[0]
        return any(member is value or member == value for member in self)

    def __str__(self) -> str:
        return self._handle_exactly(str, line.TEXT)

    def __repr__(self) -> str:
        return self._handle_exactly(str, line.REPR)

    def __bool__(self) -> bool:
        truth = self._handle_ask(line.TRUTH)
        if truth is None:  # as any object is: to claim so is worth no more than to return 1
            return True
        if self._handle_is_tested() and type(truth) is bool:
            return truth
        return bool(self._handle_data())

    def __hash__(self) -> int:
        if self._handle_number in self._handle_line.made:  # what has the same hash is compared all the same
            return self._handle_exactly(int, line.HASH)
        return hash(self._handle_data())

    def __index__(self) -> int:
        return operator.index(self._handle_data())

    def __int__(self) -> int:
        return int(self._handle_signed("int"))

    def __float__(self) -> float:
        return float(self._handle_signed("float"))

    def __round__(self, *digits: Any) -> Any:
        return round(self._handle_data(), *digits)

    def __abs__(self) -> Any:
        return self._handle_signed("abs")

    def __neg__(self) -> Any:
        return self._handle_signed("neg")

    def __pos__(self) -> Any:
        return self._handle_signed("pos")

    def __invert__(self) -> Any:
        return self._handle_signed("invert")

    def _handle_signed(self, name: str) -> Any:
        """Return what an operator of one operand comes to: the class of a made object learns nothing by being asked."""
        if self._handle_number in self._handle_line.made:
            return self._handle_line.as_made(self._handle_ask(line.SIGN, name), self)
        return line.SIGNS[name](self._handle_data())

    def __eq__(self, other: Any) -> bool:
        if other is None or other is self:
            return other is self
        return self._handle_compared("eq", other)

    def __ne__(self, other: Any) -> bool:
        return not self == other

    def __lt__(self, other: Any) -> bool:
        return self._handle_compared("lt", other)

    def __le__(self, other: Any) -> bool:
        return self._handle_compared("le", other)

    def __gt__(self, other: Any) -> bool:
        return self._handle_compared("gt", other)

    def __ge__(self, other: Any) -> bool:
        return self._handle_compared("ge", other)

    def _handle_compared(self, name: str, other: Any) -> bool:
        if not self._handle_may_decide(other):
            return bool(getattr(operator, name)(self._handle_data(), other))
        result = self._handle_ask(line.OPERATE, name, other, False)
        if type(result) is not bool:
            raise self._handle_line.broken("a comparison that is neither true nor false")
        return result

    def _handle_is_used(self) -> None:
        """Remember that the test knows of what class this is, where it has made it."""
        name = self._handle_line.made.get(self._handle_number)
        if name is not None:
            self._handle_line.known_as_classes.add(name)

    def _handle_is_tested(self) -> bool:
        """Return whether it is the class of this object that the test is about, and not what a function returned."""
        return self._handle_line.made.get(self._handle_number) in self._handle_line.known_as_classes

    def _handle_may_decide(self, other: Any) -> bool:
        """Return whether what this object and another come to is for their class to say.

        The other one is never a value that the test expects of a function, unless it is the class that is tested.
        """
        if type(other) is not Handle:
            return self._handle_is_tested()
        numbers = self._handle_number, object.__getattribute__(other, "_handle_number")
        return any(number in self._handle_line.made for number in numbers)

    def _handle_exactly(self, kind: type[_T], operation: str, *args: Any) -> _T:
        value = self._handle_ask(operation, *args)
        if type(value) is not kind:
            raise self._handle_line.broken(f"an answer that is no {kind.__name__}")
        return value

    def _handle_plain(self) -> tuple[Any] | None:
        """Return what this is as plain data; None where it is nothing such, or of the class that is tested.

        It is no more than the candidate could have returned, and nothing of its class has a say in it.
        """
        if self._handle_number in self._handle_line.made:
            return None
        found = self._handle_ask(line.PLAIN)
        if found is not None and (
            type(found) is not tuple or len(found) != 1 or type(found[0]) not in _PLAIN
        ):
            raise self._handle_line.broken("an answer that is no plain data")
        return found

    def _handle_data(self) -> Any:
        """Return what this is as plain data, where else the candidate's own code would decide the test."""
        found = self._handle_plain()
        if found is None:
            raise self._handle_line.broken(
                "a test compares an object of the candidate, whose own code would decide"
            )
        return found[0]


def _operator(name: str, reflected: bool) -> Callable[[Handle, Any], Any]:
    def operate(mine: Handle, other: Any) -> Any:
        made = mine._handle_number in mine._handle_line.made
        if made and not mine._handle_may_decide(other):
            # Of one object another comes. A number could have been made to suit what it is compared with.
            found = mine._handle_ask(line.OPERATE, name, other, reflected)
            if type(found) is not Handle:
                raise mine._handle_line.broken("an object of the candidate whose own code would decide")
            return mine._handle_line.as_made(found, mine)
        if not mine._handle_may_decide(other):
            found = mine._handle_plain()
            if found is None:
                return NotImplemented
            return getattr(operator, name)(*((other, found[0]) if reflected else (found[0], other)))
        found = mine._handle_ask(line.OPERATE, name, other, reflected)
        return mine._handle_line.as_made(found, mine) if made else found

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
Handle.__doc__ = property(lambda self: self._handle_ask(line.ATTRIBUTE, "__doc__"))  # type: ignore[assignment]
