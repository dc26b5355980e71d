"""Values that cross to a candidate and back, and when two of them are equal.

They cross as JSON that keeps exact types apart: null, booleans, texts and finite
numbers as they are; ["l", [...]] a list, ["t", [...]] a tuple, ["S", ...] a set,
["Z", ...] a frozenset, ["m", [[key, value], ...]] a dict, ["b", base64] bytes, ["B",
base64] a bytearray, ["i", hex] a large integer, ["f", name] nan or an infinity, ["c",
[real, imaginary]] a complex number, ["u", base64] a text with half characters.
"""

import base64
import math
from typing import Any, NamedTuple

_LARGEST_INT = 1 << 53
_SEQUENCES: dict[type, str] = {list: "l", tuple: "t", set: "S", frozenset: "Z"}
_MAKERS: dict[str, Any] = {"l": list, "t": tuple, "S": set, "Z": frozenset}


class Rule(NamedTuple):
    """When a value equals the expected one."""

    python: bool = False
    """By Python's ``==`` (1, 1.0 and True are equal); else types must be the same, exactly."""
    tuple_equals_list: bool = False
    absolute: float | None = None
    """Tolerance of floats; None for none."""
    relative: float | None = None


def tag(value: Any) -> Any:
    """Return `value` as JSON that keeps types apart."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            return ["u", base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()]
        return value
    if kind is int:
        return value if -_LARGEST_INT <= value <= _LARGEST_INT else ["i", hex(value)]
    if kind is float:
        return value if math.isfinite(value) else ["f", repr(value)]
    if kind in _SEQUENCES:
        return [_SEQUENCES[kind], [tag(member) for member in value]]
    if kind is dict:
        return ["m", [[tag(key), tag(member)] for key, member in value.items()]]
    if kind is bytes:
        return ["b", base64.b64encode(value).decode()]
    if kind is complex:
        return ["c", [tag(value.real), tag(value.imag)]]
    raise ValueError(f"a {kind.__name__} cannot be an argument or an expected value")


def untag(value: Any) -> Any:
    """Return the value that was tagged."""
    if type(value) is not list:
        return value
    kind, content = value
    if kind in _MAKERS:
        return _MAKERS[kind]([untag(member) for member in content])
    if kind == "m":
        return {untag(key): untag(member) for key, member in content}
    if kind == "i":
        return int(content, 16)
    if kind == "f":
        return float(content)
    if kind == "u":
        return base64.b64decode(content).decode("utf-8", "surrogatepass")
    if kind == "c":
        return complex(untag(content[0]), untag(content[1]))
    return base64.b64decode(content) if kind == "b" else bytearray(base64.b64decode(content))


def equal(value: Any, expected: Any, rule: Rule) -> bool:
    """Return whether a candidate's value is the expected one. Both are plain data, so nobody's code runs."""
    if type(expected) is float or type(value) is float:
        return _equal_floats(value, expected, rule)
    if type(expected) in (list, tuple):
        if type(value) is not type(expected) and not (
            rule.tuple_equals_list and type(value) in (list, tuple)
        ):
            return False
        return len(value) == len(expected) and all(
            equal(one, other, rule) for one, other in zip(value, expected, strict=True)
        )
    if type(expected) is dict:
        return (
            type(value) is dict
            and len(value) == len(expected)
            and _same_types(value, expected, rule)
            and all(key in value and equal(value[key], member, rule) for key, member in expected.items())
        )
    if type(expected) in (set, frozenset):
        alike = rule.python or type(value) is type(expected)
        return (
            alike
            and type(value) in (set, frozenset)
            and value == expected
            and _same_types(value, expected, rule)
        )
    if not rule.python and type(value) is not type(expected):
        return False
    return bool(value == expected)


def _equal_floats(value: Any, expected: Any, rule: Rule) -> bool:
    numbers = (int, float, bool) if rule.python else (int, float)
    if type(value) not in numbers or type(expected) not in numbers:
        return False
    tolerant = rule.absolute is not None or rule.relative is not None
    if type(value) is not type(expected) and not rule.python and not tolerant:
        return False
    if type(value) is float and type(expected) is float and math.isnan(value) and math.isnan(expected):
        return True
    if not tolerant:
        return bool(value == expected)
    try:
        if math.isinf(value) or math.isinf(expected):
            return bool(value == expected)
        return math.isclose(value, expected, rel_tol=rule.relative or 0.0, abs_tol=rule.absolute or 0.0)
    except OverflowError:  # an integer beyond every float
        return bool(value == expected)


def _same_types(value: Any, expected: Any, rule: Rule) -> bool:
    """Return whether members or keys that are equal have equal types too: {1} is not {True}."""
    if rule.python:
        return True
    kinds = {member: type(member) for member in expected}
    return all(kinds.get(member) is type(member) for member in value)
