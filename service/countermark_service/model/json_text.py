"""JSON from outside, read so that no two readers see different values in it.

Decoders keep the last of a repeated key, and round a number that no double holds. A
request, a line of a file and a parameter of the command line are all held to the same:
what is read is what was sent, or it is refused.

Decoding with a hook on every object finds a repeated key, at many times the cost of
decoding. So the keys are counted first, in the bytes and in what was decoded: where the
two agree, no key was lost. Inside a JSON text a quote is always escaped, so a quote
before a colon ends a key if no backslash stands before it. Where that count is not
certain (space between key and colon, a key that ends in a backslash) or the counts
differ, the text is read again, slowly.
"""

import json
import math
import re
from decimal import Decimal
from typing import Any

import msgspec

DEEPEST = 200
"""Levels of lists and objects that a value may have. It is far above what data has and far below what any
Python version's recursion limit allows, so that no machine decides it."""

_SPACED_COLON = re.compile(rb'"[ \t\r\n]+:')


def exact_number(text: str) -> float:
    """Return a JSON number that a double holds; another one would be scored as a number that nobody sent.

    What programs write is such a one: the shortest text that stands for a double.

    Raises:
        ValueError: It would be rounded, or is beyond all doubles.
    """
    value = float(text)
    if not math.isfinite(value) or Decimal(text) != Decimal(repr(value)):
        raise ValueError("Number has more digits than a double holds, or is out of range; send it as a text")
    return value


_decode = msgspec.json.Decoder(float_hook=exact_number).decode
_decode_parts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_value(text: bytes | msgspec.Raw) -> Any:
    """Return the JSON value in `text`.

    Raises:
        msgspec.MsgspecError: It is none, or holds a repeated key or a number that would be rounded.
        UnicodeDecodeError: A text in it is not UTF-8.
        RecursionError: It has more than `DEEPEST` levels.
    """
    value = _decode(text)
    if isinstance(value, (dict, list)):
        _refuse_repeated(bytes(text), count_keys(value))
    return value


def read_parts(text: bytes) -> dict[str, msgspec.Raw]:
    """Return the values in a JSON object, unread: `read_value` reads those that matter.

    Raises:
        msgspec.MsgspecError: It is none, or a key of it is there twice.
        UnicodeDecodeError: A key is not UTF-8.
    """
    try:
        parts = _decode_parts(text)
    except msgspec.DecodeError:
        _decode(text)  # it says more of what is wrong than what passes over values does
        raise
    within = [keys_in(bytes(part)) for part in parts.values()]
    known = [count for count in within if count is not None]
    if len(known) < len(within) or keys_in(text) != len(parts) + sum(known):
        outer = repeated_key(text, outer=True)
        if outer is not None:
            raise _repeated(outer)
    return parts


def _refuse_repeated(text: bytes, keys: int) -> None:
    if keys_in(text) != keys:
        key = repeated_key(text)
        if key is not None:
            raise _repeated(key)


def _repeated(key: str) -> msgspec.ValidationError:
    return msgspec.ValidationError(f"the key {key[:80]!r} is given twice in one object: give it once")


def count_keys(value: Any) -> int:
    """Return how many keys the objects in a JSON value have.

    Raises:
        RecursionError: It is nested more than `DEEPEST` levels deep.
    """
    count, level = 0, [value]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                count += len(one)
                below += [each for each in one.values() if isinstance(each, (dict, list))]
            elif isinstance(one, list):
                below += [each for each in one if isinstance(each, (dict, list))]
        if not below:
            return count
        level = below
    raise RecursionError(f"nested more than {DEEPEST} levels deep")


def keys_in(text: bytes) -> int | None:
    """Return how many keys a JSON text has, or None where some key may not end in a quote and a colon side by side."""
    # Looking for one byte costs next to nothing, for two or three as much as decoding the text does.
    escaped = text.count(b'\\":') if b"\\" in text else 0
    if escaped and b'\\\\":' in text:
        return None
    if _SPACED_COLON.search(text):
        return None
    return text.count(b'":') - escaped


def repeated_key(text: bytes, *, outer: bool = False) -> str | None:
    """Return the first key that some object of a JSON text has twice, slowly; None where there is none.

    Args:
        text: JSON that can be decoded.
        outer: Look at the outermost object alone.

    Raises:
        RecursionError: It is nested too deeply to be read.
    """
    found: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        if outer:
            found.clear()  # the outermost comes last
        for key, _ in pairs:
            if key in seen:
                found.append(key)
            seen.add(key)

    # No number is looked at: Python refuses the longest of them.
    json.loads(text, object_pairs_hook=note, parse_int=len, parse_float=len, parse_constant=len)
    return found[0] if found else None
