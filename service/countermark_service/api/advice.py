"""What a sender can do about a body that its decoder refuses.

The decoder says what is wrong; it does not say what would be right: which fields
there are, which values one takes, why a text that Python wrote is no JSON. These
sentences do. They know the decoder's messages and the shapes, and no request.
"""

import re
from enum import StrEnum
from typing import Any

import msgspec

_BYTE = re.compile(r"\(byte (\d+)\)\Z")
_NOT_FINITE = re.compile(rb"-?(?:NaN|Infinity)\b")
_HALF = "half of a surrogate pair is no character: replace it, for example by U+FFFD"


def advice(problem: str, data: bytes, shape: Any, field: str | None) -> str:
    """Return a sentence to put behind a decoder's message, or nothing.

    Args:
        problem: The decoder's message, without the place.
        data: What it was given.
        shape: The struct that was wanted where the fault is.
        field: The field of it that is at fault, if one is.
    """
    if not data.strip():
        return "It is empty"
    if data.startswith(b"\xef\xbb\xbf"):
        return "It begins with a byte order mark: leave it out"
    if "surrogate" in problem:
        return _capital(_HALF)
    if "truncated" in problem:
        return f"It ends too soon, or {_HALF}"
    at = _BYTE.search(problem)
    if at and _NOT_FINITE.match(data, max(0, int(at[1]) - (data[int(at[1]) - 1 : int(at[1])] == b"-"))):
        return "NaN and Infinity are no JSON: send null, or a text"
    fields = _fields(shape)
    if field is None and ("unknown field" in problem or "missing required" in problem) and fields:
        needed = [f"`{name}`" for name, one in fields.items() if one.required]
        others = [f"`{name}`" for name, one in fields.items() if not one.required]
        must = f"{', '.join(needed)} must be there" if needed else ""
        may = f"{', '.join(others)} may be" if others else ""
        return "; ".join(part for part in (must, may) if part)
    if "enum" in problem and field in fields:
        return f"It takes {', '.join(_values(fields[field].type))}"
    return ""


def _fields(shape: Any) -> dict[str | None, msgspec.structs.FieldInfo]:
    found = isinstance(shape, type) and issubclass(shape, msgspec.Struct)
    return {one.encode_name: one for one in msgspec.structs.fields(shape)} if found else {}


def _values(annotation: Any) -> list[str]:
    """Return the values of the enumeration in a field's type."""
    kinds = [annotation, *getattr(annotation, "__args__", ())]
    return [
        repr(one.value)
        for kind in kinds
        if isinstance(kind, type) and issubclass(kind, StrEnum)
        for one in kind
    ]


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
