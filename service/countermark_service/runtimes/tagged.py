"""Plain values as JSON that keeps their exact types apart.

A bundle's judge gets what a function returned, and says what it is to be called
with, as JSON. There 1, 1.0 and True must stay apart, and tuples, sets and bytes must
be told from lists and texts. So each value is written by its exact type:

    null, true, false, texts    as they are
    integers, finite floats     as they are; integers beyond 2**53 as ["i", hexadecimal digits]
    nan and infinities          ["f", "nan" | "inf" | "-inf"]
    texts with half characters  ["u", base64 of UTF-8 with surrogates]
    list, tuple                 ["l", [...]], ["t", [...]]
    set, frozenset              ["S", [...]], ["Z", [...]]
    dict                        ["m", [[key, value], ...]]
    bytes, bytearray            ["b", base64], ["B", base64]
    complex                     ["c", [real, imaginary]]
"""

import base64
import math
from typing import Any

_LARGEST_INT = 1 << 53
_MAX_DEPTH = 220
_SEQUENCES: dict[type, str] = {list: "l", tuple: "t", set: "S", frozenset: "Z"}
_MAKERS: dict[str, Any] = {"l": list, "t": tuple, "S": set, "Z": frozenset}


class TooManyValuesError(ValueError):
    """A value with more parts than the caller wants to look at."""


class NotTaggedError(ValueError):
    """JSON that is not the work of `tag`."""


def tag(value: Any, most: int = 1 << 62) -> Any:
    """Return `value`, plain data, as JSON values.

    Args:
        value: What `sandbox.code.inside.plain` decodes.
        most: How many parts it may have.

    Raises:
        TooManyValuesError: It has more.
    """
    return _Tagger(most).tag(value)


class _Tagger:
    def __init__(self, most: int) -> None:
        self.left = most

    def tag(self, value: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise TooManyValuesError
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            return _text(value)
        if kind is int:
            return value if -_LARGEST_INT <= value <= _LARGEST_INT else ["i", hex(value)]
        if kind is float:
            return value if math.isfinite(value) else ["f", repr(value)]
        if kind in _SEQUENCES:
            return [_SEQUENCES[kind], [self.tag(member) for member in value]]
        if kind is dict:
            return ["m", [[self.tag(key), self.tag(member)] for key, member in value.items()]]
        if kind is bytes or kind is bytearray:
            return ["b" if kind is bytes else "B", base64.b64encode(value).decode()]
        if kind is complex:
            return ["c", [self.tag(value.real), self.tag(value.imag)]]
        raise TypeError(f"{kind.__name__} is not plain data")


def _text(value: str) -> Any:
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return ["u", base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()]
    return value


def untag(value: Any, depth: int = 0) -> Any:
    """Return the value that `tag` wrote.

    Raises:
        NotTaggedError: `value` is not its work.
    """
    if value is None or isinstance(value, bool | str | int | float):
        return value
    if depth > _MAX_DEPTH or not isinstance(value, list) or len(value) != 2:
        raise NotTaggedError("a value is neither plain nor a pair of tag and content")
    kind, content = value
    try:
        if kind in _MAKERS:
            return _MAKERS[kind]([untag(member, depth + 1) for member in content])
        if kind == "m":
            return {untag(key, depth + 1): untag(member, depth + 1) for key, member in content}
        return _untag_atom(kind, content)
    except (TypeError, ValueError) as exc:
        raise NotTaggedError(f"a value tagged {kind!r:.20} cannot be read: {exc}") from exc


def _untag_atom(kind: Any, content: Any) -> Any:
    if kind == "i":
        return int(content, 16)
    if kind == "f":
        return float(content)
    if kind == "u":
        return base64.b64decode(content).decode("utf-8", "surrogatepass")
    if kind == "b":
        return base64.b64decode(content)
    if kind == "B":
        return bytearray(base64.b64decode(content))
    if kind == "c":
        real, imaginary = content
        return complex(untag(real), untag(imaginary))
    raise ValueError("no such tag")
