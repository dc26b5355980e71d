"""Values that cross a process boundary as plain data, and nothing but data.

A candidate's answer must be compared where the candidate cannot reach, so the
value itself crosses. Pickle would run its code; JSON would lose tuples, sets,
bytes and nan. Here a value is encoded by its exact type (`type(x) is int`), so a
subclass with a clever `__eq__` stays behind, and the decoder is bounded in bytes,
depth, count and equal hashes, as it reads bytes that a hostile process wrote.

Each value is one tag byte, then its content; lengths are 4 bytes, big-endian. Where both
ends agree to it, what is not plain crosses as a number that stands for it (`opaque`), and
objects of some of Python's own classes by their parts (see `kinds`). Where both keep what
has crossed (`Known`), what can change is numbered as it comes, and crosses as its number when
it comes again: what is one object here is one object there.
"""

import builtins
import struct
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from . import kinds

MAX_DEPTH = 200
"""Containers inside containers; an honest answer has a handful."""
MAX_VALUES = 2_000_000
"""Values in one answer, counting every element of every container."""
MAX_EQUAL_HASHES = 32
"""Members of one set or dict with the same hash: more would cost quadratic time to build."""

_LENGTH = struct.Struct(">I")
_FLOAT = struct.Struct(">d")
_COMPLEX = struct.Struct(">dd")

_LIKE_DICT = (dict, OrderedDict, defaultdict, Counter)
"""The standard dictionaries: equal to a dict with the same items, so they cross as one."""
_SEQUENCES: dict[type, bytes] = {list: b"l", tuple: b"t", set: b"S", frozenset: b"Z"}
_NUMBERED = (list, dict, set, bytearray)
"""What can change; see also `kinds`."""


class NotPlainError(ValueError):
    """A value, or bytes, that are not bounded plain data."""


class UnboundedError(NotPlainError):
    """Plain, but deeper or more than one message may be."""


class Known:
    """What can change and has crossed in one exchange, by number: the same on both sides, in the same order."""

    __slots__ = ("_numbers", "asked", "classes", "objects", "waiting")

    def __init__(self, classes: Mapping[str, type] | None = None, *, asked: bool = False) -> None:
        """Keep nothing yet.

        Args:
            classes: Those that both sides have under these names: their objects cross by their attributes.
            asked: This is the candidate's side. It is given Python's own classes by their names, and gives none:
                the tester would call whatever it was named.
        """
        self.asked = asked
        self.objects: list[Any] = []
        self._numbers: dict[int, int] = {}
        self.classes = classes or {}
        self.waiting: deque[Any] = deque()
        """Objects of those classes whose attributes are still to cross: a chain of them is as deep as it is long."""

    def add(self, value: Any) -> int:
        """Give `value` the next number."""
        number = self._numbers[id(value)] = len(self.objects)
        self.objects.append(value)
        return number

    def number(self, value: Any) -> int | None:
        """Return the number of `value`; None, and from now on one, where it had none."""
        found = self._numbers.get(id(value))
        if found is None:
            self.add(value)
        return found

    def is_shared(self, kind: type) -> bool:
        """Whether objects of a class cross by their attributes."""
        return (
            self.classes.get(kind.__name__) is kind and kind.__base__ is object and kind.__dictoffset__ != 0
        )

    def finish(self, number: int, value: Any) -> None:
        """Say what a number stands for, once it is known."""
        self.objects[number] = value
        self._numbers[id(value)] = number


_UNMADE = object()


def encode(value: Any, opaque: Callable[[Any], int] | None = None, known: Known | None = None) -> bytes:
    """Return `value` as plain data; `opaque` gives the number of what is not, or raises; `known` is what has crossed.

    Raises:
        NotPlainError: A type that is not plain (None, bool, int, float, complex, str, bytes,
            list, tuple, set, frozenset, dict, the standard dictionaries, scalars of numpy), or
            too deep or too many.
    """
    out: list[bytes] = []
    _encode(value, out, 0, opaque or _refuse, known)
    while known is not None and known.waiting:
        _encode(tuple(vars(known.waiting.popleft()).items()), out, 0, opaque or _refuse, known)
    return b"".join(out)


def _encode(
    value: Any, out: list[bytes], depth: int, opaque: Callable[[Any], int], known: Known | None
) -> None:
    kind = type(value)
    if len(out) > 3 * MAX_VALUES:
        raise UnboundedError(f"more than {MAX_VALUES} values")
    if value is None:
        out.append(b"N")
    elif kind is bool:
        out.append(b"T" if value else b"F")
    elif kind is int:
        content = value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
        out += (b"i", _LENGTH.pack(len(content)), content)
    elif kind is float:
        out += (b"d", _FLOAT.pack(value))
    elif kind is str:
        content = value.encode("utf-8", "surrogatepass")
        out += (b"s", _LENGTH.pack(len(content)), content)
    elif known is not None and _crossed(value, kind, out, known):
        return
    elif known is not None and not known.asked and isinstance(value, type) and is_pythons(value):
        name = value.__name__.encode()
        out += (b"g", _LENGTH.pack(len(name)), name)
    elif kind in _SEQUENCES or kind is dict:
        _encode_container(value, kind, out, depth + 1, opaque, known)
    elif kind is bytes or kind is bytearray:
        out += (b"b" if kind is bytes else b"B", _LENGTH.pack(len(value)), bytes(value))
    elif kind is complex:
        out += (b"c", _COMPLEX.pack(value.real, value.imag))
    elif kind.__module__ == "numpy" and _is_numpy_scalar(kind):
        _encode(value.item(), out, depth, opaque, known)
    elif isinstance(value, tuple) and hasattr(kind, "_fields") and (known is None or _is_bare(kind)):
        if known is not None:
            out.append(b"n")
            _encode((kind.__name__, *kind._fields), out, depth + 1, opaque, None)
        _encode_container(value, tuple, out, depth + 1, opaque, known)  # to which a named one is equal
    elif opaque is not _refuse and (found := kinds.parts_of(value)) is not None:
        out += (b"k", _LENGTH.pack(found[0]))
        _encode(found[1], out, depth + 1, opaque, known)
    elif kind in _LIKE_DICT:
        _encode_container(value, kind, out, depth + 1, opaque, known)
    else:
        out += (b"o", _LENGTH.pack(opaque(value)))


_NAMED = frozenset({*vars(namedtuple("Named", "")), "__orig_bases__", "__annotations__"})


def _is_bare(kind: Any) -> bool:
    """Return whether a class of named tuples has nothing but its names."""
    return kind.__base__ is tuple and not set(vars(kind)) - _NAMED - set(kind._fields)


def is_named(value: Any, name: str) -> bool:
    """Return whether a value is a named tuple of a class of this name."""
    return isinstance(value, tuple) and hasattr(value, "_fields") and type(value).__name__ == name


@lru_cache(maxsize=64)
def _named(name: str, *fields: str) -> Any:
    return namedtuple(name, fields)


def is_pythons(kind: type) -> bool:
    """Return whether a class is one of those that Python has under their own names."""
    return getattr(builtins, kind.__name__, None) is kind


def _crossed(value: Any, kind: type, out: list[bytes], known: Known) -> bool:
    """Write the number of what has crossed before, or of an object that crosses by its attributes later."""
    shared = known.is_shared(kind)
    if not (shared or kind in _NUMBERED or kinds.crosses(value)):
        return False
    number = known.number(value)
    if number is not None:
        out += (b"r", _LENGTH.pack(number))
    elif shared:
        known.waiting.append(value)
        content = kind.__name__.encode()
        out += (b"x", _LENGTH.pack(len(content)), content)
    return number is not None or shared


def _refuse(value: Any) -> int:
    kind = type(value)
    raise NotPlainError(f"a value of type {kind.__module__}.{kind.__qualname__} is not plain data")


def _encode_container(
    value: Any, kind: type, out: list[bytes], depth: int, opaque: Callable[[Any], int], known: Known | None
) -> None:
    if depth > MAX_DEPTH:
        raise UnboundedError(f"more than {MAX_DEPTH} containers inside each other")
    if kind in _SEQUENCES:
        members = list(value)
        out += (_SEQUENCES[kind], _LENGTH.pack(len(members)))
        for member in members:
            _encode(member, out, depth, opaque, known)
        return
    items = list(dict.items(value))
    out += (b"m", _LENGTH.pack(len(items)))
    for key, member in items:
        _encode(key, out, depth, opaque, known)
        _encode(member, out, depth, opaque, known)


def _is_numpy_scalar(kind: type) -> bool:
    import sys

    numpy = sys.modules.get("numpy")
    names = ("bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    return any(kind is getattr(numpy, name, None) for name in (*names, "float16", "float32", "float64"))


def decode(data: bytes, opaque: Callable[[int], Any] | None = None, known: Known | None = None) -> Any:
    """Return the value that `data` holds, all of it; `opaque` gives what a number stands for, or raises; `known` is
    what has crossed.

    Raises:
        NotPlainError: Not the work of `encode`: unknown tag, cut short, bytes left over, too
            deep, too many, or made to collide in a set or dict.
    """
    reader = _Reader(data, opaque, known)
    try:
        value = reader.value(0)
        while known is not None and known.waiting:
            reader.attributes(known.waiting.popleft())
    except (struct.error, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise NotPlainError(f"not plain data: {error}") from error
    if reader.at != len(data):
        raise NotPlainError(f"{len(data) - reader.at} bytes follow the value")
    return value


class _Reader:
    """One pass over the bytes; `at` is the next one."""

    def __init__(self, data: bytes, opaque: Callable[[int], Any] | None, known: Known | None) -> None:
        self.data, self.at, self.count = data, 0, 0
        self.opaque, self.known = opaque, known

    def take(self, size: int) -> bytes:
        piece = self.data[self.at : self.at + size]
        if len(piece) != size:
            raise NotPlainError(f"cut short: {size} bytes wanted at {self.at}, {len(piece)} are there")
        self.at += size
        return piece

    def length(self) -> int:
        size: int = _LENGTH.unpack(self.take(4))[0]
        return size

    def value(self, depth: int) -> Any:
        self.count += 1
        if depth > MAX_DEPTH or self.count > MAX_VALUES:
            raise NotPlainError(f"over {MAX_DEPTH} containers deep, or over {MAX_VALUES} values")
        tag = self.take(1)
        if tag in _ATOMS:
            return _ATOMS[tag]
        if tag == b"i":
            return int.from_bytes(self.take(self.length()), "big", signed=True)
        if tag == b"s":
            return self.take(self.length()).decode("utf-8", "surrogatepass")
        if tag == b"d":
            return _FLOAT.unpack(self.take(8))[0]
        if tag == b"l":
            return self.filled([], list.extend, self.members, depth)
        if tag == b"m":
            return self.filled({}, dict.update, self.mapping, depth)
        return self.rarer(tag, depth)

    def filled(self, made: Any, fill: Any, read: Callable[[int], Any], depth: int) -> Any:
        """Return a container with its content, which may hold the container itself."""
        if self.known is not None:
            self.known.add(made)
        fill(made, read(depth))
        return made

    def rarer(self, tag: bytes, depth: int) -> Any:
        if tag == b"t":
            return tuple(self.members(depth))
        if tag == b"n" and self.known is not None:
            return self.with_names(depth)
        if tag == b"S":
            return self.filled(set(), set.update, self.different, depth)
        if tag == b"Z":
            return frozenset(self.different(depth))
        if tag == b"b":
            return self.take(self.length())
        if tag == b"B":
            return self.filled(
                bytearray(), bytearray.extend, lambda _: bytearray(self.take(self.length())), depth
            )
        if tag == b"c":
            return complex(*_COMPLEX.unpack(self.take(16)))
        if tag == b"o" and self.opaque is not None:
            return self.opaque(self.length())
        if tag == b"k" and self.opaque is not None:
            return self.of_a_kind(self.length(), depth)
        if self.known is not None and self.known.asked and tag == b"g":
            return getattr(builtins, self.take(self.length()).decode())
        if self.known is not None and tag in (b"r", b"x"):
            return self.crossed(self.known) if tag == b"r" else self.shared(self.known)
        raise NotPlainError(f"unknown tag {tag!r} at {self.at - 1}")

    def with_names(self, depth: int) -> Any:
        names, members = self.value(depth + 1), self.value(depth + 1)
        if (
            type(names) is not tuple
            or type(members) is not tuple
            or not all(type(name) is str for name in names)
        ):
            raise NotPlainError("a named tuple without names")
        try:
            return _named(*names)._make(members)
        except (ValueError, TypeError) as error:
            raise NotPlainError(f"no named tuple: {error}") from error

    def of_a_kind(self, number: int, depth: int) -> Any:
        place = self.known.add(_UNMADE) if self.known is not None else 0
        try:
            made = kinds.made_of(number, self.value(depth + 1))
        except NotPlainError:
            raise
        except ValueError as error:
            raise NotPlainError(str(error)) from error
        if self.known is not None:
            self.known.finish(place, made)
        return made

    def crossed(self, known: Known) -> Any:
        number = self.length()
        if number >= len(known.objects) or known.objects[number] is _UNMADE:
            raise NotPlainError(f"nothing that has crossed has the number {number}")
        return known.objects[number]

    def shared(self, known: Known) -> Any:
        name = self.take(self.length()).decode()
        kind = known.classes.get(name)
        if kind is None or kind.__base__ is not object:
            raise NotPlainError(f"no class {name:.80} that both sides have")
        made: Any = object.__new__(kind)
        known.add(made)
        known.waiting.append(made)
        return made

    def attributes(self, made: Any) -> None:
        """Give an object of a class that both sides have what it holds."""
        pairs = self.value(0)
        if type(pairs) is not tuple:
            raise NotPlainError("an object without attributes")
        for name, value in pairs:
            object.__setattr__(made, name, value)

    def different(self, depth: int) -> list[Any]:
        members = self.members(depth)
        _refuse_collisions(members)
        return members

    def members(self, depth: int) -> list[Any]:
        return [self.value(depth + 1) for _ in range(self.length())]

    def mapping(self, depth: int) -> dict[Any, Any]:
        items = [(self.value(depth + 1), self.value(depth + 1)) for _ in range(self.length())]
        _refuse_collisions([key for key, _ in items])
        return dict(items)


_ATOMS: dict[bytes, Any] = {b"N": None, b"T": True, b"F": False}


def _refuse_collisions(keys: list[Any]) -> None:
    """Raise where many keys share one hash; a few do by chance or by being equal."""
    if len(keys) > MAX_EQUAL_HASHES:
        most = Counter(map(hash, keys)).most_common(1)[0][1]
        if most > MAX_EQUAL_HASHES:
            raise NotPlainError(f"{most} members with one hash")
