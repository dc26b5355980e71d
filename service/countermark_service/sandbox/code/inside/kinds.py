"""Objects of Python's own classes that cross between a tester and a candidate by their parts.

What is no plain data stays where it is, and a test that compares it fails. But an OrderedDict is no object of the
candidate's making, and a test may well compare one: so it crosses as the number of its class and plain parts, and is
made anew. Only objects of exactly these classes do, and nothing of a candidate's comes along but the parts.
"""

import importlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

_FACTORIES: dict[Any, Any] = {kind.__name__: kind for kind in (int, float, str, bool, list, tuple, set, dict)}
_FACTORIES[None] = None
_NUMBERS = "biufc"
"""Of numpy's kinds of arrays, those that hold numbers."""


class _Kind(NamedTuple):
    """One class."""

    module: str
    name: str
    parts: Callable[[Any], Any]
    """Plain data of an object; None for one that cannot cross so."""
    made: Callable[[Any, Any], Any]
    """An object of the class, which is the first argument, from parts; raises whatever bad ones bring about."""


def _factory_and_items(value: Any) -> Any:
    factory = value.default_factory
    name = None if factory is None else getattr(factory, "__name__", "")
    return (name, _items(value)) if name in _FACTORIES and _FACTORIES[name] is factory else None


def _items(value: Any) -> Any:
    """Return the items of a dict: parts are what cannot change, as they are nobody's object."""
    return tuple(dict.items(value))


def _array(kind: Any, parts: Any) -> Any:
    numbers, shape, content = parts
    if type(numbers) is not str or numbers[1:2] not in tuple(_NUMBERS):
        raise ValueError(f"an array of {numbers!r}")
    return sys.modules[kind.__module__].frombuffer(content, numbers).reshape(shape).copy()


_KINDS = (
    _Kind("collections", "Counter", _items, lambda kind, parts: kind(dict(parts))),
    _Kind("collections", "OrderedDict", _items, lambda kind, parts: kind(parts)),
    _Kind("collections", "defaultdict", _factory_and_items, lambda kind, parts: kind(_FACTORIES[parts[0]], parts[1])),
    _Kind("collections", "deque", lambda it: (tuple(it), it.maxlen), lambda kind, parts: kind(*parts)),
    _Kind("fractions", "Fraction", lambda it: (it.numerator, it.denominator), lambda kind, parts: kind(*parts)),
    _Kind("decimal", "Decimal", str, lambda kind, parts: kind(parts)),
    _Kind("datetime", "date", lambda it: (it.year, it.month, it.day), lambda kind, parts: kind(*parts)),
    _Kind(
        "datetime", "datetime",
        lambda it: (*it.timetuple()[:6], it.microsecond) if it.tzinfo is None else None,
        lambda kind, parts: kind(*parts),
    ),
    _Kind(
        "datetime", "timedelta",
        lambda it: (it.days, it.seconds, it.microseconds),
        lambda kind, parts: kind(*parts),
    ),
    _Kind(
        "numpy", "ndarray",
        lambda it: (it.dtype.str, it.shape, it.tobytes()) if it.dtype.kind in _NUMBERS else None,
        _array,
    ),
    _Kind("builtins", "range", lambda it: (it.start, it.stop, it.step), lambda kind, parts: kind(*parts)),
)  # fmt: skip
_NUMBER_OF = {(kind.module, kind.name): number for number, kind in enumerate(_KINDS)}


def crosses(value: Any) -> bool:
    """Return whether a value crosses by its parts, or as the dict that it is."""
    kind = type(value)
    number = _NUMBER_OF.get((kind.__module__, kind.__name__))
    if number is None or getattr(sys.modules.get(kind.__module__), kind.__name__, None) is not kind:
        return False
    return isinstance(value, dict) or _KINDS[number].parts(value) is not None


def parts_of(value: Any) -> tuple[int, Any] | None:
    """Return the number of a value's class and its parts; None where it is of none of these."""
    kind = type(value)
    number = _NUMBER_OF.get((kind.__module__, kind.__name__))
    if number is None or getattr(sys.modules.get(kind.__module__), kind.__name__, None) is not kind:
        return None
    parts = _KINDS[number].parts(value)
    return None if parts is None else (number, parts)


def made_of(number: int, parts: Any) -> Any:
    """Return the object of a class and its parts.

    Raises:
        ValueError: There is no such class, or its objects have no such parts.
    """
    if not 0 <= number < len(_KINDS):
        raise ValueError(f"no class has the number {number}")
    found = _KINDS[number]
    try:
        return found.made(getattr(importlib.import_module(found.module), found.name), parts)
    except Exception as error:  # a hostile process chose the parts: any error may come of them
        raise ValueError(f"no {found.name}: {type(error).__name__}: {error}") from error
