"""What stands in a test program for an object of the candidate's.

What is not plain (an object of the candidate's own class) stays in the candidate's
process; the tester holds a `Handle` that can be passed back, called, and asked for
attributes, items and text, each by a call of the same kind. It is equal to nothing
else: the candidate's code would decide the test. One of a subclass of plain data is
looked at as that. Only where the test itself treats a class of the candidate's as one (it
makes an object by a name with a capital, and uses an attribute) is it the class that is
tested, and its own operators are asked; of an object that was only made, those that
give another object. An object that has given its length keeps it until it is called, or the candidate is.

A method may return the very object that it was called on, and then its class would decide what the method is
worth. So a made object that comes back as a value counts as any other that a function has returned; the name
that the test has given to it itself does not. (A test that tells objects by identity has one stand-in for each,
and there both are the same.) Nor does a context manager of the candidate's take an exception
that keeps the test from an assertion (see `skipped`).
"""

import operator
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from types import TracebackType
from typing import Any, Protocol, TypeVar

from . import line, plain
from .skipped import skips_assertions

_T = TypeVar("_T")
_DECIDE = frozenset(
    {"all", "any", "count", "endswith", "equals", "find", "index", "rfind", "rindex", "startswith"}
    | {name for kind in (str, bytes, float, set) for name in dir(kind) if name.startswith("is")}
)
"""Methods of plain data that say yes or no, or where: what a function returned has them as plain data, or is none."""
_SAY_YES = _DECIDE - {"count", "find", "index", "rfind", "rindex"}
"""Those of them that say yes or no. What the others give is compared, also where an object returns itself."""
_ARRAYS_MEMORY = ("__array_interface__", "__array_struct__")
"""What numpy asks any object for, and takes for an address in this process."""
_PLAIN = (int, float, str, bytes, list, tuple, dict, set, frozenset)


class CandidateBrokenError(BaseException):
    """The candidate's process died or sent something that is no reply."""


class Line(Protocol):
    """The line to the candidate, as its objects' stand-ins know it (see `asked`)."""

    made: dict[int, str]
    """Objects that the test has made by a name with a capital, and the name."""
    new: set[int]
    """Those of them that nothing but a call has given: a function could have returned their truth as well."""
    known_as_classes: set[str]
    """Of those names, the ones whose objects it has asked for an attribute."""

    def ask(self, what: Any, args: Any = (), kwargs: Any = None, *, makes: bool = False) -> Any:
        """Have the candidate do `what`, and return the value or raise what it raised; `makes` says that the value is an
        object that the test makes, and not what something returns."""

    def as_made(self, value: Any, source: "Handle") -> Any:
        """Return a value; where it is an object that came of one that the test has made, it counts as made as well."""

    def broken(self, why: str) -> CandidateBrokenError:
        """Return the exception to raise, and remember it."""

    def hold_length(self, number: int, length: int) -> None:
        """Hold an object to the length that it has given, if nothing has happened since."""

    def knows_length(self, number: int) -> bool:
        """Whether an object has given its length, and nothing has happened since."""

    def hold_item(self, number: int, key: Any, value: Any) -> None:
        """Hold an object to the item that it has given, if nothing has happened since."""

    def hold_members(self, number: int, members: list[Any]) -> None:
        """Hold an object to the members that it has given, if nothing has happened since."""

    def lend(self, place: tuple[str, Any], key: Any, value: Any) -> None:
        """Have the candidate's object change as `value` does, which stands for what it has at a place."""


class Handle:
    """Stands in the tester for an object of the candidate, whose attributes may have any name but these."""

    __slots__ = ("_handle_line", "_handle_number", "_handle_returned")

    def __init__(self, asked: Line, number: int, *, returned: bool = False) -> None:
        object.__setattr__(self, "_handle_line", asked)
        object.__setattr__(self, "_handle_number", number)
        object.__setattr__(self, "_handle_returned", returned)

    def _handle_ask(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        return self._handle_line.ask((operation, self), args, kwargs)

    def _handle_make(self, operation: str, *args: Any) -> Any:
        return self._handle_line.ask((operation, self), args, makes=True)

    def _handle_is_made(self) -> bool:
        """Return whether the test has made this object, and holds it by a name of its own."""
        return self._handle_number in self._handle_line.made and not self._handle_returned

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._handle_ask(line.CALL, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in _ARRAYS_MEMORY:
            raise AttributeError(name)
        if name in (_SAY_YES if self._handle_returned else _DECIDE) and not self._handle_is_made():
            return getattr(self._handle_data(), name)
        self._handle_is_used()
        value = self._handle_ask(line.ATTRIBUTE, name)
        self._handle_line.lend((line.ATTRIBUTE, self), name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        self._handle_is_used()
        self._handle_ask(line.SET_ATTRIBUTE, name, value)

    def __delattr__(self, name: str) -> None:
        self._handle_is_used()
        self._handle_ask(line.DELETE_ATTRIBUTE, name)

    def __getitem__(self, key: Any) -> Any:
        plainly = self._handle_plain()
        if plainly is not None:
            return plainly[0][key]
        if type(key) is slice:
            return self._handle_ask(line.SLICE, key.start, key.stop, key.step)
        value = self._handle_ask(line.ITEM, key)
        self._handle_line.hold_item(self._handle_number, key, value)
        self._handle_line.lend((line.ITEM, self), key, value)
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        self._handle_is_used()
        self._handle_ask(line.SET_ITEM, key, value)

    def __delitem__(self, key: Any) -> None:
        self._handle_is_used()
        self._handle_ask(line.DELETE_ITEM, key)

    def __enter__(self) -> Any:
        return self._handle_make(line.ENTER)

    def __exit__(self, kind: Any, error: Any, trace: TracebackType | None) -> bool:
        return self._handle_left(line.EXIT, kind, error, trace)

    def _handle_left(self, operation: str, kind: Any, error: Any, trace: TracebackType | None) -> bool:
        """Leave a block, and return whether the candidate takes what was raised there for itself."""
        if isinstance(error, CandidateBrokenError | plain.NotPlainError):
            return False
        raised = () if kind is None else (kind.__name__, str(error))
        takes = self._handle_ask(operation, *raised) is True
        return takes and not (trace is not None and skips_assertions(error, trace))

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
        return coroutine(self).__await__()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        goes_on, value = self._handle_step(line.ASYNC_NEXT)
        if not goes_on:
            raise StopAsyncIteration
        return value

    async def __aenter__(self) -> Any:
        return self._handle_make(line.ASYNC_ENTER)

    async def __aexit__(self, kind: Any, error: Any, trace: TracebackType | None) -> bool:
        return self._handle_left(line.ASYNC_EXIT, kind, error, trace)

    def __copy__(self) -> Any:
        return self._handle_copied(deep=False)

    def __deepcopy__(self, _known: Any) -> Any:
        return self._handle_copied(deep=True)

    def _handle_copied(self, *, deep: bool) -> Any:
        return self._handle_line.as_made(self._handle_make(line.COPY, deep), self)

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
        is_new = self._handle_number in self._handle_line.new and not self._handle_returned
        if (is_new or self._handle_is_tested()) and type(truth) is bool:
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
        if self._handle_is_made():
            return self._handle_line.as_made(self._handle_make(line.SIGN, name), self)
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
        name = self._handle_line.made.get(self._handle_number)
        return name in self._handle_line.known_as_classes and not self._handle_returned

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
        if self._handle_is_made():
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


async def coroutine(handle: Handle) -> Any:
    """Return what an awaited function of the candidate comes to; it runs to its end at once, in its own process."""
    return handle._handle_ask(line.AWAIT)


def generator(handle: Handle) -> Generator[Any, Any, Any]:
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


def _operator(name: str, reflected: bool) -> Callable[[Handle, Any], Any]:
    def operate(mine: Handle, other: Any) -> Any:
        made = mine._handle_is_made()
        if made and not mine._handle_may_decide(other):
            # Of one object another comes. A number could have been made to suit what it is compared with.
            found = mine._handle_make(line.OPERATE, name, other, reflected)
            if type(found) is not Handle:
                raise mine._handle_line.broken("an object of the candidate whose own code would decide")
            return mine._handle_line.as_made(found, mine)
        if not mine._handle_may_decide(other):
            found = mine._handle_plain()
            if found is None:
                return NotImplemented
            return getattr(operator, name)(*((other, found[0]) if reflected else (found[0], other)))
        found = mine._handle_make(line.OPERATE, name, other, reflected)
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
