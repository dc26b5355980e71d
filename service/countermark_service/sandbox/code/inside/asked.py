"""The tester's end of the line: the candidate, as a test program asks it.

The arguments of a call go over a socket to the candidate's process, the value comes back. Each call carries a
fresh nonce that its one reply must repeat, so that bytes written ahead or behind belong to no call.

What is not plain arrives as a `Handle`; a coroutine or a generator of the candidate's is one here, too. A
function's StopIteration arrives as another exception, since loops take it for their end (an iterator that has
ended says so).

What is given to the candidate is plain data too, and functions of the test's own, which
it may call back. Objects of classes that stand before both programs cross by
their attributes, so that what a task defines for its tests compares them here.

What the candidate writes is bounded and parsed strictly; if it is not one valid reply, the candidate is `broken`
and the test ends: whatever a test program catches, what stopped the line is remembered.
"""

import _thread
import builtins
import functools
import os
import sys
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, MethodType
from typing import Any

from . import line, plain, shared
from .handle import CandidateBrokenError, Handle, coroutine, generator

_ENDS_LOOPS = ("StopIteration", "StopAsyncIteration")
"""What a tester's loops would take for their own end, and with it for the end of the tests."""
_LENT = (list, dict, set)
_MOST_LENT = 8
_LARGEST_LENT = 4096
"""Bytes of a value that is looked at again before each question."""
_FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType, MethodDescriptorType, functools.partial)
"""What may be handed to the candidate to call. Of another callable object it might want more than that."""


class CandidateError(Exception):
    """The candidate raised an exception of its own class."""


class Asked:
    """The candidate, which is asked over a socket."""

    def __init__(self, peer: int, limit: int, own: shared.Tester, *, by_identity: bool = False) -> None:
        """Ask nothing yet.

        Args:
            peer: The socket.
            limit: Bytes of an answer, beside what was asked.
            own: What the tester shares.
            by_identity: Whether the test tells objects by identity: then one stand-in is all that an object has.
        """
        self._peer, self._limit, self._own, self._by_identity = peer, limit, own, by_identity
        self._lock = _thread.RLock()
        self._lengths: dict[int, int] = {}
        self._members: dict[int, list[Any]] = {}
        self._items: dict[int, dict[int, Any]] = {}
        self._handles: dict[int, Handle] = {}
        self._returned: dict[int, Handle] = {}
        """What stands for an object that the test has made where the candidate has returned it."""
        self._lent: dict[tuple[str, Any, Any], tuple[Any, bytes]] = {}
        """By where they are, values that a test has been given of the candidate's objects and may change."""
        self._stands_for: dict[int, tuple[Any, Handle]] = {}
        """By identity, what a test has in the place of a handle, which it may hand back."""
        self._functions: list[Callable[..., Any]] = []
        self._exceptions: dict[str, type[Exception]] = {}
        self.classes: dict[str, type] = {}
        """Those that stand before both programs."""
        self.made: dict[int, str] = {}
        """Objects that the test has made by a name with a capital, and the name."""
        self.new: set[int] = set()
        """Those of them that nothing but a call has given: a function could have returned their truth as well."""
        self.known_as_classes: set[str] = set()
        """Of those names, the ones whose objects it has asked for an attribute."""
        self.asked = False
        """Whether the candidate was asked for anything but what its functions look like."""
        self.described = False
        """Whether it was asked for that."""
        self.constants = False
        """Whether one of its names stands for a value."""
        self.stopped: BaseException | None = None
        """The first thing that must end the test, which the test may have caught."""

    def ask(self, what: Any, args: Any = (), kwargs: Any = None, *, makes: bool = False) -> Any:
        """Have the candidate do `what`, and return the value or raise what it raised. Threads take turns.

        `makes` says that the value is an object that the test makes, and not what something returns.
        """
        with self._lock:
            if what[0] == line.DESCRIBE:
                self.described = True
            elif what[0] != line.CONSTANT:
                self.asked = True
            if type(what) is str or what[0] not in line.READS:
                self._forget()
            try:
                self._give_back()
                return self._ask(what, args, kwargs or {}, self._thing if makes else self._thing_returned)
            except (CandidateBrokenError, plain.NotPlainError) as error:
                self.stopped = self.stopped or error
                raise

    def _forget(self) -> None:
        """Hold no object any more to what it has shown of itself: something may have happened to it."""
        for held in (self._lengths, self._members, self._items):
            held.clear()

    def as_made(self, value: Any, source: "Handle") -> Any:
        """Return a value; where it is an object that came of one that the test has made, it counts as made as well."""
        name = self.made.get(source._handle_number)
        if name is not None and type(value) is Handle:
            self.new.discard(value._handle_number)
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

    def lend(self, place: tuple[str, Any], key: Any, value: Any) -> None:
        """Have the candidate's object change as `value` does, which stands for what it has at a place."""
        if type(value) not in _LENT or type(key) not in (str, int):
            return
        content = plain.encode(value, self._number_of)
        if len(content) > _LARGEST_LENT:
            return
        operation, owner = place
        where = operation, owner if type(owner) is str else self._number_of(owner), key
        self._lent.pop(where, None)
        self._lent[where] = value, content
        if len(self._lent) > _MOST_LENT:
            del self._lent[next(iter(self._lent))]

    def _give_back(self) -> None:
        """Tell the candidate of what a test has changed of what it was lent."""
        for (operation, owner, key), (value, before) in list(self._lent.items()):
            content = plain.encode(value, self._number_of)
            if content != before:
                self._lent[operation, owner, key] = value, content
                target = owner if type(owner) is str else self._thing(owner)
                self._ask((line.FILL, target), (operation, key, value), {}, self._thing)
                self._forget()

    def add_exception(self, name: str, kind: type[Exception]) -> None:
        """Raise what a candidate raises under this name as an exception of this class."""
        self._exceptions[name] = kind

    def is_candidates(self, kind: type) -> bool:
        """Return whether a class stands for one of the candidate's."""
        return self._exceptions.get(kind.__name__) is kind

    def _ask(self, what: Any, args: Any, kwargs: Any, thing: Callable[[int], Any]) -> Any:
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
        value = self._read(content, known, thing)
        if type(after) is tuple and len(after) == count:
            self._take_over(known, before, after)
        if kind == line.RAISED:
            raise self._exception(value)
        if kind in (line.COROUTINE, line.GENERATOR) and type(value) is Handle:
            stand_in = coroutine(value) if kind == line.COROUTINE else generator(value)
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

    def _read(
        self, content: Any, known: plain.Known | None, thing: Callable[[int], Any] | None = None
    ) -> Any:
        if type(content) is not bytes:
            raise CandidateBrokenError("no valid answer: no value")
        try:
            return plain.decode(content, thing or self._thing_returned, known)
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

    def _thing_returned(self, number: int) -> Any:
        """Return what a number stands for that the candidate gives as a value: see `handle`."""
        found = self._thing(number)
        if number not in self.made or self._by_identity:
            return found
        return self._returned.setdefault(number, Handle(self, number, returned=True))

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
            or [type(part) for part in value] != [str, str, tuple, tuple, int]
            or not all(type(name) is str for name in value[3])
            or not 0 <= value[4] < line.TESTERS
        ):
            raise CandidateBrokenError("an exception without name and text")
        for name in value[3]:
            kind = self._exceptions.get(name.rpartition(".")[2])
            if kind is not None:
                made = kind.__new__(kind, *value[2])
                made.__dict__["_raised"] = self._thing(value[4])
                return made
            library = _of_a_library(name)
            if library is not None:
                return library.__new__(library, *value[2])
        pythons = getattr(builtins, value[0], None)
        if isinstance(pythons, type) and issubclass(pythons, Exception) and value[0] not in _ENDS_LOOPS:
            for one in pythons.__mro__:
                try:
                    made = one(*value[2])
                except TypeError:  # it wants others than it has; ValueError catches UnicodeDecodeError
                    continue
                if isinstance(made, Exception) and one is not Exception:
                    return made
                break
        return CandidateError(f"{value[0]}: {value[1]}")


def _of_a_library(name: str) -> type[Exception] | None:
    """Return the class of exceptions of a module that the test has loaded, too; see `line.LIBRARIES`."""
    module, _, last = name.rpartition(".")
    kind = getattr(sys.modules.get(module), last, None) if module in line.LIBRARIES else None
    return kind if isinstance(kind, type) and issubclass(kind, Exception) else None


def _named(function: Any) -> tuple[str, str | None]:
    """Return name and text of a function, which decorators pass on."""
    name, text = getattr(function, "__name__", "function"), getattr(function, "__doc__", None)
    return str(name), None if text is None else str(text)
