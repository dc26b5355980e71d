"""What the service does with the memory that a request frees; asked of a process of its own each time."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from countermark_service.cli.serve import keep_freed_memory

def serve():
    items = [bytes(1000 + number % 7) for number in range(4000)]
    body = bytes(2 << 20)

if sys.argv[1] == "keep":
    keep_freed_memory()
serve()
serve()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    serve()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str, **variables: str) -> int:
    """Return the page faults of ten batches of about 6 MB."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if name != "GLIBC_TUNABLES" and not name.startswith("MALLOC_")
    }
    ended = subprocess.run(
        [sys.executable, "-c", FAULTS, how],
        env={**clean, **variables}, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    return int(ended.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_memory_that_a_batch_frees_serves_the_next_one_unless_the_operator_says_otherwise() -> None:
    given_back = faults("give back")
    assert faults("keep") < given_back / 10
    assert faults("keep", MALLOC_TRIM_THRESHOLD_="131072") > given_back / 2


HELD = """
import sys
from countermark_service.cli.serve import give_memory_back, keep_freed_memory

def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 >> 20

keep_freed_memory()
before = resident_mib()
pieces = []
for _ in range(4000):
    pieces.append(b"x" * (65536 + len(pieces) % 7))
stays = b"x" * 65536  # lies above them all
del pieces
held = resident_mib()
give_memory_back()
print(held - before, resident_mib() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_memory_beneath_what_stays_is_given_back() -> None:
    """The pieces of a large body lie below whatever was made after it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    ended = subprocess.run(
        [sys.executable, "-c", HELD], env=clean, capture_output=True, text=True, timeout=300, check=True
    )
    held, left = map(int, ended.stdout.split())
    assert held > 200
    assert left < 50
