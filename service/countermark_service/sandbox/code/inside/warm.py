"""Make the zygote's memory such that a fork of it finds everything done already.

A fork shares the zygote's pages until one side writes. What the interpreter sets up on
first use (parser tables, free lists, method caches, symbols bound by the loader) would
be set up anew in every keeper and test, page by page, and cost more than the fork. So
the zygote does once, on harmless material, what they will do.
"""

import _socket
import atexit
import functools
import marshal
import os
import select
import signal
import struct
import sys
from collections.abc import Callable

from . import keeper, kernel, plain, program

_SAMPLE = b"""
import sys, math
from collections import defaultdict
class Node:
    def __init__(self, value, *children, key=None):
        self.value, self.children = value, children
    def __repr__(self):
        return f"Node({self.value!r:>5}, {len(self.children):d})"
def solve(numbers):
    seen = defaultdict(list)
    for index, number in enumerate(numbers):
        if number % 2 == 0 and index > 0:
            seen[number].append(index)
        elif number < 0:
            continue
    best = max((len(v) for v in seen.values()), default=0)
    return sorted({str(k): v for k, v in seen.items()}.items(), key=lambda pair: -len(pair[1])), best
try:
    while True:
        text = input()
except EOFError:
    numbers = [int(part) for part in "1 2 3 4 -5 6 2 2".split()]
with open("/dev/null") as file:
    lines = file.read().strip().split("\\n")
total = 0.0
for x in map(float, numbers):
    total += math.sqrt(abs(x)) ** 2
print(solve(numbers), Node(1, Node(2)), "%.3f" % total, sep="\\n")
sys.stdout.write(" ".join(map(str, numbers)) + "\\n")
try:
    [][1]
except (IndexError, KeyError) as error:
    print(repr(error))
assert numbers[::-1][0] == 2
"""
_TWO = struct.Struct("2i")
_POOL_BYTES, _POOL_HEAD = 16 << 10, 48
"""Of the interpreter's allocator: a pool holds blocks of one size, behind its head."""
_LARGEST, _STEP = 512, 16
"""Bytes of a block; a larger object comes from the C library."""
_MOST_LEFT = 4000
"""Blocks of one size that may be free in pools that are begun."""
_PASSES = 3
"""What filling frees itself is filled again."""
_filling: list[object] = []
"""What fills the pools that were begun before; nobody looks at it."""
_TIMES = 12
"""Code is specialised for what it meets once it has run about ten times; a fork never gets so far."""


def warm_up() -> None:
    """Compile and run a sample as a test does, and keep tests as a keeper does; leaves nothing behind."""
    main = sys.modules["__main__"]
    source, notes = os.memfd_create("sample"), os.pipe()
    os.write(source, _SAMPLE)
    os.set_blocking(notes[0], False)
    for _ in range(_TIMES // 2):  # each goes through two tests
        _test(source, notes)
    _keep(notes)
    for descriptor in (source, *notes):
        os.close(descriptor)
    sys.modules["__main__"] = main
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _test(source: int, notes: tuple[int, int]) -> None:
    """Go through a test in this process: compiled, then from what was compiled before."""
    harmless = kernel.Steps()
    harmless.set_dumpable(True)
    cache = os.memfd_create("compiled", os.MFD_ALLOW_SEALING)
    for _ in range(2):
        program.set_up({"stdin": 0, "stdout": 1, "stderr": 2}, notes[1], harmless)
        program.hold_extras()
        _, code = program.load({}, notes[1], (source, cache), keep=True)
        if atexit._ncallbacks():  # running them would be their end
            program.execute(code, "__main__")
        else:
            program.finish(program.execute, code, "__main__")
        plain.decode(plain.encode((os.urandom(16), "name", (1, [2.0, "x"]), {"k": {3}}, True)))
        keeper.drain(notes[0])
    os.close(cache)


class _Nowhere:
    """Surroundings of tests that end before they look around."""

    scratch, namespaces, kept_folders = "/", True, 0


def _keep(notes: tuple[int, int]) -> None:
    """Keep tests that cannot be set up, as they lack descriptors, and report them to this process itself."""
    folder, nothing = kernel.OpenFolder(_Nowhere.scratch), kernel.Steps()
    tools = keeper.Tools(select.poll(), folder, folder.mark(), kernel.Children(end_by=0), notes)
    context = program.Context({"wall_seconds": 60.0}, nothing, nothing, _Nowhere())
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    tools.poll.register(theirs, select.POLLHUP)
    job = {"index": 0, "mode": "program", "descriptors": ("stdin", "stdout"), "more": True}
    for _ in range(_TIMES):
        ours.sendmsg([marshal.dumps(job)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, _TWO.pack(0, 1))])
        received = keeper.receive(theirs)
        seen = keeper.test(tools, job, {}, (-1, -1), context)
        if received is None or seen is None:
            raise OSError("a socket to this process itself is closed")
        for descriptor in received[1]:
            os.close(descriptor)
        keeper.send(theirs, seen[0])
    for end in (ours, theirs):
        end.close()
    os.close(folder.number)


def open_fresh_pools() -> None:
    """Have the interpreter's allocator begin a new pool for each size of block.

    What a fork allocates first then lies on the page of the pool's head, which it writes to in any case. In a pool
    that was begun before it lies on another one.
    """
    head = sys.getsizeof(b"")
    lengths = [size - head for size in range(3 * _STEP, _LARGEST + 1, _STEP)]
    makes: list[Callable[[], object]] = [object, lambda: float("0.5")]
    makes += [functools.partial(bytes, length) for length in lengths]
    fresh = [_fill(make, None) for make in makes]
    for _ in range(_PASSES):
        for make, pool in zip(makes, fresh, strict=True):
            if pool is not None:
                _fill(make, pool)


def _fill(make: Callable[[], object], pool: int | None) -> int | None:
    """Allocate until a block is in `pool`, or the first of its own; return which pool that is.

    None, and nothing is kept, where none comes: with another allocator.
    """
    before = len(_filling)
    for _ in range(_MOST_LEFT):
        _filling.append(make())
        number, place = divmod(id(_filling[-1]), _POOL_BYTES)
        if number == pool or (pool is None and place == _POOL_HEAD):
            return number
    del _filling[before:]
    return None
