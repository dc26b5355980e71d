# ruff: noqa: PTH123, PTH208
# Every fork would pay for the memory of pathlib.
"""Lay the zygote's memory into large pages, of which a fork copies the tables by the run and not page by page.

A fork copies the page tables of all that was written, and its end takes them down
again; of an interpreter they are so long that this is a quarter of what a short test
costs. The kernel does both by runs of pages that lie side by side in one large page,
wherever they are mapped. So what the zygote has written by the time that it begins to
serve is copied into large pages, and these are moved, piece by piece, to where the
copied pages were: no address changes. The text of the interpreter and of the C library
goes the same way, which else each fork would find page fault by page fault.

Between a copy and its move nothing may write to what was copied, and an interpreter
writes with every step that it takes, as it counts references. So a single call makes
all copies and moves: a chain of contexts (makecontext(3)), each of which is one function
of the C library with its arguments, and leads to the next.
"""

import contextlib
import ctypes
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple, NoReturn

_LARGE, _SMALL = 2 << 20, 4 << 10
"""Bytes of a large page where the others have the usual size, on x86-64 and aarch64 alike."""
_LEAST = 64 << 10
"""Bytes; a smaller mapping is not worth its calls."""
_READ, _WRITE, _EXECUTE = 1, 2, 4
_RIGHTS = {"r": _READ, "w": _WRITE, "x": _EXECUTE}
_MAP_PRIVATE_ANONYMOUS, _MREMAP_TO_THERE, _MADV_COLLAPSE = 0x22, 3, 25
_LINK, _STACK, _STACK_SIZE = 8, 16, 32
"""Where `ucontext_t` holds what makecontext(3) wants to be set."""
_CONTEXT_BYTES, _STACK_BYTES = 8 << 10, 16 << 10

_libc = ctypes.PyDLL(None, use_errno=True)
_Number = ctypes.c_size_t
Call = tuple[str, tuple[int, ...]]
"""A function of the C library, and its arguments."""


class Mapping(NamedTuple):
    """One mapping of this process."""

    start: int
    end: int
    rights: int
    """As mprotect(2) takes them."""


def lay_into_large_pages() -> bool:
    """Do so; return whether it was done.

    It is not where the kernel has no large pages to give (Linux before 6.1) or refuses another call, with a C library
    without contexts, and beside another thread. Then forks cost more, and nothing else differs.
    """
    alone = len(os.listdir("/proc/self/task")) == 1
    if not alone or os.sysconf("SC_PAGE_SIZE") != _SMALL or not hasattr(_libc, "makecontext"):
        return False
    with contextlib.suppress(OSError):
        return _move()
    return False


def _move() -> bool:
    """Copy and move what is worth it; return whether nothing came in between.

    Raises:
        OSError: The kernel refuses a call; then nothing has been moved.
    """
    _worth_moving()  # so that the memory which a look takes is there
    moved = _worth_moving()
    size = -(-sum(mapping.end - mapping.start for mapping in moved) // _LARGE) * _LARGE
    calls = 3 * len(moved)
    room = size + (calls + 1) * _CONTEXT_BYTES + calls * _STACK_BYTES
    # With a page on either side that nobody may touch, or the kernel would make one mapping of it and a neighbour.
    reserved = room + _LARGE + 2 * _SMALL
    base = _call("mmap", 0, reserved, 0, _MAP_PRIVATE_ANONYMOUS, -1, 0)
    try:
        target = -(-(base + _SMALL) // _LARGE) * _LARGE
        _call("mprotect", target, room, _READ | _WRITE)
        for place in range(target, target + size, _LARGE):
            ctypes.memset(place, 0, 1)  # what is not there at all cannot become large
        _call("madvise", target, size, _MADV_COLLAPSE)
        if not set(moved).issubset(_worth_moving()):  # what it took to come here has changed something
            return False
        _make_at_once(_moves(moved, target), target + size)
    finally:
        _call("munmap", base, reserved)  # of which what was moved is no part any more
    return True


def _worth_moving() -> list[Mapping]:
    """Return what is to move: the text that every fork runs, then what is written and for the most part there."""
    mappings = list(_mappings())
    return _text(mappings) + [
        mapping
        for mapping, file in mappings
        if mapping.rights & _WRITE
        and (not file.startswith("[") or file == "[heap]")
        and mapping.end - mapping.start >= _LEAST
        and 2 * _present(mapping) >= mapping.end - mapping.start
    ]


def _text(mappings: Sequence[tuple[Mapping, str]]) -> list[Mapping]:
    """Return the large pages that lie whole in the interpreter's text and constants, as one mapping or none."""
    entry = ctypes.cast(ctypes.pythonapi.PyEval_EvalCode, ctypes.c_void_p).value or 0
    interpreter = [file for (start, end, _), file in mappings if start <= entry < end]
    start = end = 0
    for part, file in mappings:
        if file in interpreter and not part.rights & _WRITE:
            if part.start != end:
                if start <= entry < end:
                    break
                start = part.start
            end = part.end
    start, end = -(-start // _LARGE) * _LARGE, end // _LARGE * _LARGE
    return [Mapping(start, end, _READ | _EXECUTE)] if start < end else []


def _mappings() -> Iterator[tuple[Mapping, str]]:
    """Yield each mapping that is this process's own and can be read, and what it is of."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            place, rights, _, _, _, *name = line.split(None, 5)
            if rights[0] == "r" and rights[3] == "p":
                start, end = (int(part, 16) for part in place.split("-"))
                yield (
                    Mapping(start, end, sum(_RIGHTS.get(right, 0) for right in rights)),
                    "".join(name).strip(),
                )


def _present(mapping: Mapping) -> int:
    """Return how many bytes of it are in memory."""
    size = mapping.end - mapping.start
    pages = ctypes.create_string_buffer(size // _SMALL)
    _call("mincore", mapping.start, size, ctypes.addressof(pages))
    return pages.raw.count(b"\1") * _SMALL


def _moves(moved: Sequence[Mapping], target: int) -> list[Call]:
    """Return the calls that copy each mapping to its piece of `target` and put that in the mapping's place."""
    calls: list[Call] = []
    for start, end, rights in moved:
        size = end - start
        calls += (
            ("memcpy", (target, start, size)),
            ("mprotect", (target, size, rights)),
            ("mremap", (target, size, size, _MREMAP_TO_THERE, start)),
        )
        target += size
    return calls


def _make_at_once(calls: Sequence[Call], room: int) -> None:
    """Make the calls one after the other, without a step of the interpreter between; `room` holds what that takes."""
    contexts = range(room, room + (len(calls) + 1) * _CONTEXT_BYTES, _CONTEXT_BYTES)
    stack = contexts[-1] + _CONTEXT_BYTES
    for (name, arguments), (context, following) in zip(calls, itertools.pairwise(contexts), strict=True):
        _libc.getcontext(_Number(context))
        for place, value in ((_LINK, following), (_STACK, stack), (_STACK_SIZE, _STACK_BYTES)):
            _Number.from_address(context + place).value = value
        _libc.makecontext(_Number(context), _Number(_address(name)), len(arguments), *map(_Number, arguments))
        stack += _STACK_BYTES
    if _libc.swapcontext(_Number(contexts[-1]), _Number(contexts[0])) == -1:
        _fail("swapcontext")


def _address(name: str) -> int:
    found = ctypes.cast(getattr(_libc, name), ctypes.c_void_p).value
    if found is None:
        raise OSError(f"the C library's {name} is nowhere")
    return found


def _call(name: str, *arguments: int) -> int:
    function = getattr(_libc, name)
    function.restype = ctypes.c_ssize_t
    result: int = function(*map(ctypes.c_ssize_t, arguments))
    if result == -1:
        _fail(name)
    return result


def _fail(name: str) -> NoReturn:
    code = ctypes.get_errno()
    raise OSError(code, f"{name}: {os.strerror(code)}")
