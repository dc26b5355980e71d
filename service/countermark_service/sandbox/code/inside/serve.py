"""The candidate's end of the line: calls its functions, and keeps the objects that its tester may name.

All of this runs in the candidate's own process and is trusted with nothing: what it could forge is no more than what it
could have returned.
"""

import _thread
import builtins
import contextlib
import copy
import itertools
import operator
import sys
from collections.abc import Callable
from types import CoroutineType, GeneratorType
from typing import Any

from . import line, plain, shared

_MOST_HELD = 100_000
"""Objects that a candidate keeps for its tester."""
_LARGEST_FRAME = 1 << 30
"""Bytes that a tester may send: it is trusted, and has its own limit of memory."""
Found = tuple[str, Any]


class TesterError(Exception):
    """A function of the tester's raised an exception of its own class."""


def call(module: dict[str, Any], name: str, args: Any, kwargs: Any) -> Found:
    """Call the function `name` of the candidate; return the kind of answer, and the value or what was raised.

    A name with a dot (`Solution.solve`) is a method on a fresh instance.
    """
    try:
        return line.VALUE, _called(module, name, args, kwargs)
    # Any exception of the candidate's is what its call came to, and the tester judges it as that.
    except Exception as error:  # noqa: BLE001
        return line.RAISED, _describe(error)


def _called(module: dict[str, Any], name: str, args: Any, kwargs: Any) -> Any:
    first, _, method = name.partition(".")
    if first not in module:
        raise NameError(f"name {first!r} is not defined")
    function = getattr(module[first](), method) if method else module[first]
    return function(*args, **kwargs)


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
    # The exception's class is the candidate's, so its `args` and `__str__` may raise: then it has no text.
    except Exception:  # noqa: BLE001
        text = ""
    return (name[:100] if type(name) is str else ""), (text[:2000] if type(text) is str else "")


def _named(kind: type) -> str:
    """Return the name of a class of exceptions, with its module where that is one of those whose exceptions cross."""
    return f"{kind.__module__}.{kind.__name__}" if kind.__module__ in line.LIBRARIES else kind.__name__


def _arguments(error: Exception) -> tuple[Any, ...]:
    """Return what an exception was made with, where its text is made of that; else its text alone."""
    arguments = error.args
    if isinstance(error, OSError) and error.filename is not None:
        arguments = error.errno, error.strerror, error.filename
    told = getattr(type(error).__str__, "__objclass__", None)
    try:
        plain.encode(arguments)
    except plain.NotPlainError:
        told = None
    return arguments if type(arguments) is tuple and told in _TOLD else (_describe(error)[1],)


_TOLD = (BaseException, KeyError, OSError, ImportError, UnicodeDecodeError, UnicodeEncodeError, SyntaxError)
"""Python's own classes of exceptions that make a text."""


def answer_once(module: dict[str, Any], request: bytes, answer: int) -> None:
    """Answer one call into the memory file `answer`."""
    nonce, name, args, kwargs, wants_arguments = plain.decode(request)
    kind, value = call(module, name, args, kwargs)
    try:
        encoded = plain.encode((nonce, kind, value, None))
    except plain.NotPlainError as error:
        encoded = plain.encode((nonce, line.NOT_PLAIN, str(error), None))
        wants_arguments = False
    if wants_arguments and kind == line.VALUE:
        with contextlib.suppress(plain.NotPlainError):  # the value counts all the same
            encoded = plain.encode((nonce, kind, value, args))
    line.write(answer, encoded)


def serve(module: dict[str, Any], peer: int, scratch: str) -> None:
    """Answer calls from the socket `peer` until the tester closes it; `scratch` is the folder for files."""
    server = _Server(module, peer, shared.Folder(scratch))
    while True:
        frame = line.read_frame(peer, _LARGEST_FRAME)
        if frame is None:
            return
        server.answer(frame)


class Held:
    """The objects of a candidate that its tester may name by number, and the tester's functions that it was given."""

    def __init__(self, call_back: Callable[[int, Any, Any], Any]) -> None:
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._theirs: dict[int, Any] = {}
        self._call_back = call_back
        self.functions: tuple[tuple[str, str | None], ...] = ()
        """Names and texts of the tester's functions."""

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
        """Return what a number stands for."""
        if number < line.TESTERS:
            return self._objects[number]
        if number not in self._theirs:
            self._theirs[number] = self._function(number)
            self._numbers[id(self._theirs[number])] = number
        return self._theirs[number]

    def _function(self, number: int) -> Callable[..., Any]:
        def function(*args: Any, **kwargs: Any) -> Any:
            return self._call_back(number, args, kwargs)

        place = number - line.TESTERS
        if place < len(self.functions):
            function.__name__, function.__doc__ = self.functions[place]
            function.__qualname__ = function.__name__
        return function


class _Server:
    """Answers what is asked, and asks for what the tester's own functions return."""

    def __init__(self, module: dict[str, Any], peer: int, folder: shared.Folder) -> None:
        self._module, self._peer, self._folder = module, peer, folder
        self._held = Held(self._call_back)
        self._lock = _thread.RLock()
        self._nonce = b""
        self._classes: dict[str, type] = {}
        self._printed: list[shared.Printed] = []
        """What gives the text that was printed since the tester was last told; of each call that goes on."""

    def answer(self, frame: bytes) -> None:
        """Do what a frame asks for, and send the answer."""
        nonce, _, body, (names, self._held.functions, around) = plain.decode(frame)
        before, self._nonce = self._nonce, nonce
        found = {name: self._module.get(name) for name in names}
        self._classes = {name: kind for name, kind in found.items() if isinstance(kind, type)}
        known = plain.Known(self._classes, asked=True)
        what, args, kwargs = plain.decode(body, self._held.object, known)
        count = len(known.objects)
        with shared.as_the_tester_has_it(around, self._held.object, self._folder) as printed:
            self._printed.append(printed)
            try:
                kind, value = line.VALUE, self._done(what, args, kwargs)
            # As in `call`: what the candidate raises is what the tester asked for.
            except Exception as error:  # noqa: BLE001
                own = tuple(_named(each) for each in type(error).__mro__ if each.__module__ != "builtins")
                number = self._held.number(error) if own else 0
                kind, value = line.RAISED, (*_describe(error), _arguments(error), own, number)
            self._printed.pop()
        kind = _ANSWERS.get(type(value), kind)
        after: tuple[bytes, ...] | None = None
        try:
            content = plain.encode(value, self._held.number, known)
        except plain.NotPlainError as error:
            kind, content = line.NOT_PLAIN, plain.encode(str(error))
        else:
            try:
                after = line.contents(known, count, self._held.number)
            except plain.NotPlainError:
                after = None  # the value counts all the same
        line.write_frame(self._peer, plain.encode((nonce, kind, content, after, printed())))
        self._nonce = before

    def _call_back(self, number: int, args: Any, kwargs: Any) -> Any:
        """Have the tester call a function of its own, and return what it returns."""
        with self._lock:
            known = plain.Known(self._classes)
            content = plain.encode((number, args, kwargs), self._held.number, known)
            printed = self._printed[-1]() if self._printed else ((), None)
            line.write_frame(self._peer, plain.encode((self._nonce, line.CALL_BACK, content, None, printed)))
            while (frame := line.read_frame(self._peer, _LARGEST_FRAME)) is not None:
                _, kind, content, failed = plain.decode(frame)
                if kind != line.DONE:
                    self.answer(frame)
                    continue
                value = plain.decode(content, self._held.object, plain.Known(self._classes, asked=True))
                if failed is None:
                    return value
                known_error = getattr(builtins, failed[0], None)
                if isinstance(known_error, type) and issubclass(known_error, Exception):
                    raise known_error(failed[1])
                raise TesterError(f"{failed[0]}: {failed[1]}")
            raise EOFError("the tester has ended")

    def _filled(self, target: Any, operation: str, key: Any, content: Any) -> None:
        """Have what the tester was given have the content that it has there by now."""
        held = self._module[target] if operation == line.GLOBAL else _OPERATIONS[operation](target, key)
        if type(held) is type(content):
            line.fill(held, line.content_of(content))

    def _done(self, what: Any, args: Any, kwargs: Any) -> Any:
        if type(what) is str:
            return _called(self._module, what, args, kwargs)
        operation, target = what
        if operation == line.CALL:
            return target(*args, **kwargs)
        if operation == line.GLOBAL:
            return self._module[target]
        if operation == line.INSTANCE:
            return isinstance(target, self._module[args[0]])
        if operation == line.SUBCLASS:
            return issubclass(self._module[target], self._module[args[0]])
        if operation == line.DESCRIBE:
            return _described(self._module[target])
        if operation == line.CONSTANT:
            return _constant(self._module.get(target))
        if operation == line.FILL:
            return self._filled(target, *args)
        return _OPERATIONS[operation](target, *args)


def _listed(target: Any) -> list[Any] | None:
    """Return all members; None of an iterator, which may have no end: it is asked for one after the other."""
    return None if hasattr(type(target), "__next__") else list(itertools.islice(target, plain.MAX_VALUES + 1))


def _operated(target: Any, name: str, other: Any, reflected: bool) -> Any:
    return getattr(operator, name)(*((other, target) if reflected else (target, other)))


def _left(target: Any, *raised: str, name: str = "__exit__") -> Any:
    leave = getattr(type(target), name)
    if not raised:
        return leave(target, None, None, None)
    kind = getattr(builtins, raised[0], Exception)
    return leave(target, kind, kind(raised[1]), None)


def _truth(target: Any) -> bool | None:
    """Return whether an object is true; None where its class does not say."""
    return bool(target) if any(hasattr(type(target), name) for name in ("__bool__", "__len__")) else None


def _stepped(step: Callable[..., Any], *values: Any) -> tuple[bool, Any]:
    """Return whether an iterator goes on, and what it gives, or what it returns at its end."""
    try:
        return True, step(*values)
    except StopIteration as end:
        return False, end.value


def _thrown(target: Any, name: str, text: str) -> tuple[bool, Any]:
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        return _stepped(target.throw, kind(text))
    return _stepped(target.throw, TesterError(f"{name}: {text}"))


async def _awaited(target: Any) -> Any:
    return await target


async def _next_one(target: Any) -> tuple[bool, Any]:
    try:
        return True, await anext(target)
    except StopAsyncIteration:
        return False, None


def _run(coroutine: Any) -> Any:
    """Run what is awaited to its end: in the one loop that all of a tester's questions share, where there are loops."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        if not _LOOPS:
            _LOOPS.append(asyncio.new_event_loop())
        return _LOOPS[0].run_until_complete(coroutine)
    while (step := _stepped(coroutine.send, None))[0]:
        pass
    return step[1]


_LOOPS: list[Any] = []


def _constant(value: Any) -> Any:
    """Return a value that cannot change, alone in a tuple; an empty one for one that can; None for anything else."""
    if type(value) in (list, dict, set):
        return ()
    return (value,) if type(value) in (bool, int, float, complex, str, bytes, tuple, frozenset) else None


def _described(value: Any) -> Any:
    """Return what a test may want to know of a function without calling it; anything else as it is."""
    if not callable(value) or isinstance(value, type):
        return value
    import inspect

    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return value
    parameters = tuple(
        (each.name, int(each.kind), _shown(each.default)) for each in found.parameters.values()
    )
    hints = {str(name): _shown(hint) for name, hint in inspect.get_annotations(value).items()}
    text = inspect.getdoc(value)
    kinds = inspect.iscoroutinefunction(value), inspect.isgeneratorfunction(value)
    return tuple(map(bool, kinds)), None if text is None else str(text), parameters, hints


def _shown(value: Any) -> Any:
    """Return a default or an annotation: nothing in a tuple, one of Python's classes or plain data; else its text."""
    import inspect

    if value is inspect.Parameter.empty:
        return ()
    if isinstance(value, type) and plain.is_pythons(value):
        return "class", value.__name__
    try:
        plain.encode(value)
    except plain.NotPlainError:
        return "text", inspect.formatannotation(value)
    return "value", value


def _plain(target: Any) -> Any:
    """Return what an object of a subclass of plain data is as plain data, alone in a tuple; None of any other."""
    for kind, made in _PLAIN:
        if isinstance(target, kind):
            return (made(target),)
    return None


_PLAIN: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (int, lambda it: int.__add__(it, 0)),
    (float, lambda it: float.__add__(it, 0.0)),
    (str, lambda it: str.__getitem__(it, slice(None))),
    (bytes, lambda it: bytes.__getitem__(it, slice(None))),
    (list, lambda it: list.__getitem__(it, slice(None))),
    (tuple, lambda it: tuple(tuple.__iter__(it))),
    (dict, lambda it: dict(dict.items(it))),
    (set, lambda it: set(set.__iter__(it))),
    (frozenset, lambda it: frozenset(frozenset.__iter__(it))),
)
_ANSWERS: dict[type, str] = {CoroutineType: line.COROUTINE, GeneratorType: line.GENERATOR}
_OPERATIONS: dict[str, Callable[..., Any]] = {
    line.ATTRIBUTE: getattr,
    line.SET_ATTRIBUTE: setattr,
    line.DELETE_ATTRIBUTE: delattr,
    line.ITEM: operator.getitem,
    line.SLICE: lambda target, *bounds: target[slice(*bounds)],
    line.SET_ITEM: operator.setitem,
    line.DELETE_ITEM: operator.delitem,
    line.LENGTH: len,
    line.LIST: _listed,
    line.NEXT: lambda target: _stepped(next, target),
    line.SEND: lambda target, value: _stepped(target.send, value),
    line.THROW: _thrown,
    line.SIGN: lambda target, name: line.SIGNS[name](target),
    line.COPY: lambda target, deep: (copy.deepcopy if deep else copy.copy)(target),
    line.AWAIT: lambda target: _run(_awaited(target)),
    line.ASYNC_NEXT: lambda target: _run(_next_one(target)),
    line.ASYNC_ENTER: lambda target: _run(type(target).__aenter__(target)),
    line.ASYNC_EXIT: lambda target, *raised: _run(_left(target, *raised, name="__aexit__")),
    line.TEXT: str,
    line.REPR: repr,
    line.ENTER: lambda target: type(target).__enter__(target),
    line.EXIT: _left,
    line.OPERATE: _operated,
    line.TRUTH: _truth,
    line.HOLDS: operator.contains,
    line.HASH: hash,
    line.PLAIN: _plain,
}
