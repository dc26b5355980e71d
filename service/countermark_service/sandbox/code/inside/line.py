"""What both ends of the line between a tester and a candidate have in common: frames, words, and what a thing holds.

A frame is a 4-byte length and plain data (see `plain`). A tester asks, and the candidate answers; while it
is asked, it may call functions back that it was given, and be asked anew by them, like any function in one process.
Each frame carries the nonce of what was asked last. An answer has, beside the value, the content of everything in
the question that can change, by number: so arguments are changed in place, however deep, and what is one object
stays one.
"""

import operator
import os
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from . import kinds, plain

ASK, VALUE, RAISED, NOT_PLAIN, CALL_BACK, DONE = "ask", "value", "raised", "not_plain", "call_back", "done"
COROUTINE, GENERATOR = "coroutine", "generator"
"""Kinds of answers, as `VALUE` is: what came is awaited, or asked for one value after the other."""
CALL, GLOBAL, ATTRIBUTE, SET_ATTRIBUTE = "call", "global", "attribute", "set_attribute"
ITEM, SET_ITEM, DELETE_ITEM, SLICE = "item", "set_item", "delete_item", "slice"
DELETE_ATTRIBUTE, CONSTANT, FILL = "delete_attribute", "constant", "fill"
LENGTH, LIST, NEXT, TEXT, REPR, PLAIN = "length", "list", "next", "text", "repr", "plain"
ENTER, EXIT, OPERATE, TRUTH, HOLDS, HASH, INSTANCE = (
    "enter", "exit", "operate", "truth", "holds", "hash", "instance",
)  # fmt: skip
SIGN, SEND, THROW, COPY, DESCRIBE, SUBCLASS = "sign", "send", "throw", "copy", "describe", "subclass"
AWAIT, ASYNC_ENTER, ASYNC_EXIT, ASYNC_NEXT = "await", "async_enter", "async_exit", "async_next"
SIGNS: dict[str, Callable[[Any], Any]] = {
    "abs": abs, "float": float, "int": int, "invert": operator.invert, "neg": operator.neg, "pos": operator.pos,
}  # fmt: skip
"""Operators of one operand."""
READS = frozenset({ITEM, SLICE, LENGTH, LIST, TEXT, REPR, TRUTH, HOLDS, HASH, INSTANCE, PLAIN})
"""Operations that change nothing of an honest object."""
LIBRARIES = frozenset({
    "_csv", "_queue", "asyncio.queues", "binascii", "dataclasses", "decimal", "graphlib", "json.decoder",
    "numpy.linalg", "queue", "re", "sqlite3", "statistics", "struct", "xml.etree.ElementTree", "zipfile", "zlib",
})  # fmt: skip
"""Modules whose exceptions cross by their names, beside Python's own: none that would end or skip a test."""
TESTERS = 1 << 31
"""From here on numbers stand for functions of the tester's."""
_LENGTH = struct.Struct(">I")


class BrokenLineError(Exception):
    """What came is no frame."""


def write(descriptor: int, content: bytes) -> None:
    """Write all of `content`."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def write_frame(descriptor: int, content: bytes) -> None:
    """Write one frame."""
    write(descriptor, _LENGTH.pack(len(content)) + content)


def read_frame(descriptor: int, limit: int) -> bytes | None:
    """Return the next frame, or None where the stream ends between frames.

    Raises:
        BrokenLineError: It is longer than `limit`, or cut short.
    """
    head = _read(descriptor, 4)
    if not head:
        return None
    size = _LENGTH.unpack(head)[0] if len(head) == 4 else limit + 1
    if size > limit:
        raise BrokenLineError(f"an answer of {size} bytes; {limit} are allowed")
    content = _read(descriptor, size)
    if len(content) != size:
        raise BrokenLineError("an answer that was cut short")
    return content


def _read(descriptor: int, size: int) -> bytes:
    pieces: list[bytes] = []
    while size:
        piece = os.read(descriptor, min(size, 1 << 16))
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def content_of(value: Any) -> Any:
    """Return what a value that can change holds now, as something that cannot; None where it cannot change."""
    kind = type(value)
    if kind is list:
        return tuple(value)
    if isinstance(value, dict):
        return tuple(dict.items(value))
    if kind is set:
        return frozenset(value)
    if kind is bytearray:
        return bytes(value)
    found = kinds.parts_of(value)
    if found is not None:
        return found[1]
    return tuple(vars(value).items()) if hasattr(value, "__dict__") else None


def fill(value: Any, content: Any) -> None:
    """Have a value hold `content`, which `content_of` another one gave.

    Raises:
        TypeError, ValueError: It cannot.
    """
    kind = type(value)
    if kind is list or kind is bytearray:
        value[:] = content
    elif isinstance(value, dict):
        dict.clear(value)
        dict.update(value, content)
    elif kind is set:
        value.clear()
        value.update(content)
    elif kind is deque:
        value.clear()
        value.extend(content[0])
    elif (found := kinds.parts_of(value)) is not None:
        kinds.take_over(value, kinds.made_of(found[0], content))
    elif hasattr(value, "__dict__"):
        held = vars(value)
        held.clear()
        held.update(content)


def contents(known: plain.Known, count: int, opaque: Any) -> tuple[bytes, ...]:
    """Return what each of the first `count` objects that have crossed holds now."""
    return tuple(plain.encode(content_of(value), opaque, known) for value in known.objects[:count])
