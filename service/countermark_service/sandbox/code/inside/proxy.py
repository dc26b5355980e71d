"""What stands in a test program for the candidate's functions and classes.

A tester program (assert lines, a `check` function) must not share a process with what it tests. So its entry
points are proxies: to call one is to ask the candidate's process (see `asked`).
"""

import builtins
from collections.abc import Iterator
from typing import Any

from . import line, plain
from .asked import Asked, CandidateError
from .handle import Handle


def proxy(name: str, asked: Asked, *, look: bool, called: bool) -> Any:
    """Return what stands for a function of the candidate's, or for a class where the name has a capital.

    Args:
        name: What it is called in the program.
        asked: The line to it.
        look: Whether the test wants to know more of it than what it returns.
        called: Whether the test calls it; else it may be a value.
    """
    constant = None if called or "." in name else asked.ask((line.CONSTANT, name))
    if type(constant) is tuple:
        asked.constants = True
        return constant[0] if constant else _class(name, asked)
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
        try:
            (awaits, generates), text, parameters, hints = described
            candidate = awaited if awaits is True else generated if generates is True else candidate
            candidate.__doc__ = text if type(text) is str else None
            _sign(candidate, parameters, hints)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise asked.broken(f"no valid answer: a function that cannot be: {error}") from error
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


def _class(name: str, asked: Asked) -> Any:
    """Return what stands for a class: it makes objects, tells them by `isinstance`, and catches them if raised.

    Or for a value that may change, which is looked at in the candidate. By a name without a capital it makes nothing:
    the operators of what a function returns would count, if the program said that the function is a value.
    """

    def value() -> Any:
        found = asked.ask((line.GLOBAL, name))
        asked.lend((line.GLOBAL, name), 0, found)
        return found

    class Class(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            if not name[:1].isupper():  # the program alone says that it is no function
                return asked.ask(name, args, kwargs)
            made = asked.ask(name, args, kwargs, makes=True)
            if type(made) is Handle:
                number = object.__getattribute__(made, "_handle_number")
                asked.made[number] = name
                asked.new.add(number)
            return made

        def __instancecheck__(cls, one: Any) -> bool:
            if type(one) is not Handle:
                return type.__instancecheck__(cls, one) or plain.is_named(one, name)
            return asked.ask((line.INSTANCE, one), (name,)) is True

        def __subclasscheck__(cls, other: Any) -> bool:
            if not asked.is_candidates(other):
                return type.__subclasscheck__(cls, other)
            return asked.ask((line.SUBCLASS, other.__name__), (name,)) is True

        def __getattr__(cls, attribute: str) -> Any:
            found = value()
            if type(found) is not Handle:
                return getattr(found, attribute)
            # Whatever its name, `count` too: it is no value that came back.
            given = asked.ask((line.ATTRIBUTE, found), (attribute,))
            asked.lend((line.ATTRIBUTE, found), attribute, given)
            return given

        def __setattr__(cls, attribute: str, new: Any) -> None:
            setattr(value(), attribute, new)

        def __delattr__(cls, attribute: str) -> None:
            delattr(value(), attribute)

        def __eq__(cls, other: Any) -> bool:
            if other is cls:
                return True
            found = value()
            return NotImplemented if type(found) is Handle else found == other

        __hash__ = type.__hash__

        def __getitem__(cls, key: Any) -> Any:
            return value()[key]

        def __setitem__(cls, key: Any, new: Any) -> None:
            value()[key] = new

        def __delitem__(cls, key: Any) -> None:
            del value()[key]

        def __iter__(cls) -> Iterator[Any]:
            return iter(value())

        def __len__(cls) -> int:
            return len(value())

        def __contains__(cls, member: Any) -> bool:
            return member in value()

        def __bool__(cls) -> bool:
            found = value()
            return type(found) is Handle or bool(found)

    def of_what_was_raised(error: Any, attribute: str) -> Any:
        if attribute.startswith("_") or "_raised" not in error.__dict__:
            raise AttributeError(attribute)
        return getattr(error.__dict__["_raised"], attribute)

    kind: Any = Class(
        name, (CandidateError,), {"__init__": Exception.__init__, "__getattr__": of_what_was_raised}
    )
    asked.add_exception(name, kind)
    return kind
