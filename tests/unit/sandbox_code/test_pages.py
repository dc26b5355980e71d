"""A process whose memory is laid into large pages goes on as it was: same objects, same addresses, forks, threads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from countermark_service.sandbox.code import inside

PREPARE = """
import ctypes, gc, hashlib, marshal, os, sys, threading
sys.path.insert(0, sys.argv[1])
from inside import pages

def mappings():
    return [line.split(None, 5) for line in open("/proc/self/maps")]

def holder(address):
    for place, *rest in mappings():
        start, end = (int(part, 16) for part in place.split("-"))
        if start <= address < end:
            return rest[4].strip() if len(rest) > 4 else ""

objects = [{"number": n, "text": str(n) * 50, "parts": (n, [float(n)], {n})} for n in range(20_000)]
large = bytearray(range(256)) * 40_000

def digest():
    return hashlib.sha256(repr(objects).encode() + large).hexdigest(), [id(each) for each in objects]
"""
on_demand = pytest.mark.skipif(
    tuple(map(int, os.uname().release.split(".")[:2])) < (6, 1),
    reason="this kernel makes no large page on demand",
)


def outcome(script: str) -> str:
    command = [sys.executable, "-I", "-c", PREPARE + script, str(Path(inside.__path__[0]).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@on_demand
def test_everything_is_as_it_was() -> None:
    script = """
before = digest()
text = holder(ctypes.cast(ctypes.pythonapi.PyEval_EvalCode, ctypes.c_void_p).value)
assert text.startswith("/"), text
count = len(mappings())
assert pages.lay_into_large_pages()
assert digest() == before
assert abs(len(mappings()) - count) < 10, "what was reserved stays"
del objects[::2]
gc.collect()
objects += [{"new": n} for n in range(50_000)]
large.extend(bytes(large))
thread = threading.Thread(target=objects.clear)
thread.start()
thread.join()
for _ in range(20):
    child = os.fork()
    if child == 0:
        exec("total = sum(n * n for n in range(1000))")
        os._exit(len(objects) + total % 7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == sum(n * n for n in range(1000)) % 7
print("done")
"""
    assert outcome(script) == "done"


@on_demand
@pytest.mark.skipif(os.getuid() != 0, reason="the kernel tells root alone where in memory a page lies")
def test_what_was_written_lies_side_by_side() -> None:
    script = """
def side_by_side(start, end):
    with open("/proc/self/pagemap", "rb") as file:
        file.seek(start // 4096 * 8)
        entries = memoryview(file.read((end - start) // 4096 * 8)).cast("Q")
    frames = [entry & ((1 << 55) - 1) for entry in entries]
    return sum(second - first == 1 for first, second in zip(frames, frames[1:])) / len(frames)

place, = (row[0] for row in mappings() if row[-1].strip() == "[heap]")
start, end = (int(part, 16) for part in place.split("-"))
assert pages.lay_into_large_pages()
assert side_by_side(start, end) > 0.8
print("done")
"""
    assert outcome(script) == "done"


def test_beside_another_thread_nothing_is_moved() -> None:
    script = """
text = ctypes.cast(ctypes.pythonapi.PyEval_EvalCode, ctypes.c_void_p).value
before = holder(text), holder(id(objects)), len(mappings())
assert before[0].startswith("/"), before
stop = threading.Event()
thread = threading.Thread(target=stop.wait)
thread.start()
assert not pages.lay_into_large_pages()
assert (holder(text), holder(id(objects))) == before[:2]
stop.set()
print("done")
"""
    assert outcome(script) == "done"
