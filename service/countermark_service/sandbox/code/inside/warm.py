"""Make the zygote's memory such that a fork of it finds everything done already.

A fork shares the zygote's pages until one side writes. What the interpreter sets up on
first use (parser tables, free lists, method caches, symbols bound by the loader) would
be set up anew in every keeper and test, page by page, and cost more than the fork. So
the zygote does once, on harmless material, what they will do.
"""

import marshal
import os
import select
import socket
import sys
import time
from types import ModuleType

from . import keeper, kernel, plain, program
from .report import GoneReport, TestReport

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
_TIMES = 3


def warm_up() -> None:
    """Compile and run a sample, and pass messages as a keeper does; leaves nothing behind."""
    for _ in range(_TIMES):
        code = compile(_SAMPLE, "main.py", "exec", dont_inherit=True)
        exec(marshal.loads(marshal.dumps(code)), ModuleType("sample").__dict__)  # noqa: S102, S302 - our own
        plain.decode(plain.encode((os.urandom(16), "name", (1, [2.0, "x"]), {"k": {3}}, True)))
        _pass_messages()
    sys.stdout.flush()


def _pass_messages() -> None:
    """Send a job to this process itself, wait for a child, report it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        job = {"index": 0, "mode": "program", "descriptors": ["stdin", "stdout"], "more": False}
        socket.send_fds(ours, [marshal.dumps(job)], [0, 1])
        received = keeper.receive(theirs)
        for descriptor in received[1].values() if received else ():
            os.close(descriptor)
        pid = os.fork()
        if pid == 0:
            program.leave(0)
        keeper.wait_for(theirs, pid, time.monotonic() + 60)
        reaped = keeper.Reaped()
        reaped.add(*os.wait4(pid, 0))
        keeper.send(theirs, TestReport(0, 0, reaped.statuses[pid], reaped.cpu_seconds, 0.1, 1, False, b"BR"))
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.write(write, b"BR")
    keeper.drain(read)
    os.close(read)
    os.close(write)
    select.poll().poll(0)
    GoneReport(1, 0, 0, 0, 0.0, 0.0, 0, True).pack()
    kernel.landlock_abi()
