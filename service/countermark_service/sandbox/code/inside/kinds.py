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
_SCALARS = (bool, int, float, str)
_TIMES = ("datetime64", "timedelta64")
"""How the names of pandas' types of times begin, whose values cross as numbers."""


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


def _column(values: Any) -> Any:
    """Return a column or an index: what its values are, its name, and they; None where they are no plain data."""
    kind = str(values.dtype)
    is_time = kind.startswith(_TIMES) and "," not in kind  # of no zone
    found = tuple((values.astype("int64") if is_time else values).tolist())
    plain = all(one is None or type(one) in _SCALARS for one in (*found, values.name))
    return (kind, values.name, found) if plain else None


def _values(kind: str, found: Any) -> Any:
    array = sys.modules["pandas"].array
    return (
        array(list(found), "int64").to_numpy().view(kind)
        if kind.startswith(_TIMES)
        else array(list(found), kind)
    )


def _index(index: Any) -> Any:
    if type(index).__name__ == "RangeIndex":
        return "range", index.name, (index.start, index.stop, index.step)
    return _column(index) if index.nlevels == 1 and index.dtype != "category" else None


def _made_index(parts: Any) -> Any:
    kind, name, found = parts
    pandas = sys.modules["pandas"]
    return (
        pandas.RangeIndex(*found, name=name)
        if kind == "range"
        else pandas.Index(_values(kind, found), name=name)
    )


def _series(value: Any) -> Any:
    parts = _index(value.index), _column(value)
    return None if None in parts else parts


def _made_series(kind: Any, parts: Any) -> Any:
    index, (numbers, name, found) = parts
    return kind(_values(numbers, found), index=_made_index(index), name=name)


def _frame(value: Any) -> Any:
    columns = tuple(_column(value.iloc[:, place]) for place in range(value.shape[1]))
    parts = _index(value.index), _index(value.columns), columns
    return None if None in (*parts, *columns) else parts


def _made_frame(kind: Any, parts: Any) -> Any:
    index, names, columns = parts
    made = {place: _values(numbers, found) for place, (numbers, _, found) in enumerate(columns)}
    frame = kind(made, index=_made_index(index))
    frame.columns = _made_index(names)
    return frame


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
    _Kind("pathlib", "PosixPath", str, lambda kind, parts: kind(parts)),
    _Kind("pandas", "DataFrame", _frame, _made_frame),
    _Kind("pandas", "Series", _series, _made_series),
    _Kind("builtins", "range", lambda it: (it.start, it.stop, it.step), lambda kind, parts: kind(*parts)),
)  # fmt: skip
_NUMBER_OF = {(kind.module, kind.name): number for number, kind in enumerate(_KINDS)}


def _number_of(kind: type) -> int | None:
    """Return the number of a class; None where it is none of these, but for its name."""
    module = kind.__module__.partition(".")[0]
    number = _NUMBER_OF.get((module, kind.__name__))
    return number if getattr(sys.modules.get(module), kind.__name__, None) is kind else None


def crosses(value: Any) -> bool:
    """Return whether a value crosses by its parts, or as the dict that it is."""
    kind = type(value)
    number = _number_of(kind)
    if number is None:
        return False
    return isinstance(value, dict) or _KINDS[number].parts(value) is not None


def parts_of(value: Any) -> tuple[int, Any] | None:
    """Return the number of a value's class and its parts; None where it is of none of these."""
    kind = type(value)
    number = _number_of(kind)
    if number is None:
        return None
    parts = _KINDS[number].parts(value)
    return None if parts is None else (number, parts)


def take_over(value: Any, other: Any) -> None:
    """Have an array or a table of pandas hold what another one does; nothing else of these classes changes."""
    name = type(value).__name__
    if name == "ndarray" and other.shape == value.shape:
        value[...] = other
    elif name in ("DataFrame", "Series"):
        value._update_inplace(other)


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
