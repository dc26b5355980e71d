"""Where in a value the thing is that JSON cannot carry.

The encoder says what it cannot write, but not where; and it writes lone surrogates, which only fail when the
text is turned into bytes. So a value that was refused is walked here to find the place. Nothing that is fine
comes this way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def find_fault(document: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return field and reason of the first thing in `document` that JSON cannot carry."""
    for key, value in document.items():
        try:
            fault = _key_fault("the item", key) or _walk(str(key), value, ())
        except RecursionError:
            return str(key), "is nested too deeply"
        if fault:
            return fault
    return None


def _walk(path: str, value: Any, above: tuple[int, ...]) -> tuple[str, str] | None:
    """Return path and reason of the first fault in `value`; `above` are the containers it is in."""
    if isinstance(value, str):
        reason = text_fault(value)
    elif isinstance(value, float):
        reason = None if math.isfinite(value) else f"is {value!r}, which JSON does not have"
    elif isinstance(value, int):
        reason = _integer_fault(value)
    elif id(value) in above:
        reason = "contains itself"
    elif isinstance(value, dict):
        inner = (*above, id(value))
        for key, below in value.items():
            fault = _key_fault(path, key) or _walk(f"{path}.{key}", below, inner)
            if fault:
                return fault
        return None
    elif isinstance(value, (list, tuple)):
        inner = (*above, id(value))
        for position, below in enumerate(value):
            fault = _walk(f"{path}[{position}]", below, inner)
            if fault:
                return fault
        return None
    else:
        reason = None if value is None else f"is a {type(value).__name__}, which JSON does not have"
    return (path, reason) if reason else None


def text_fault(text: str) -> str | None:
    """Return what keeps `text` from being UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        found = f"U+{ord(text[exc.start]):04X}"
        return f"holds a lone surrogate ({found}) at character {exc.start}, which has no UTF-8 form"
    return None


def _integer_fault(value: int) -> str | None:
    """Return what keeps `value` from being written in decimal digits."""
    try:
        str(value)
    except ValueError:
        return f"is an integer of {value.bit_length()} bits, more than Python writes out"
    return None


def _key_fault(path: str, key: Any) -> tuple[str, str] | None:
    """Return path and reason if `key` cannot be a key of a JSON object."""
    if isinstance(key, str):
        reason = text_fault(key)
        return (path, f"has a key that {reason}") if reason else None
    if key is None or isinstance(key, (bool, int)) or (isinstance(key, float) and math.isfinite(key)):
        return None
    return path, f"has a key of type {type(key).__name__}, which JSON does not have"
