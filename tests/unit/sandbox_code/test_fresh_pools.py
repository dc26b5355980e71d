"""What a fork allocates first lies on the first page of its pool, for most sizes, once fresh pools were opened."""

import subprocess
import sys
from pathlib import Path

from countermark_service.sandbox.code import inside

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from inside import warm

head = sys.getsizeof(b"")
sizes = range(48, 513, 16)
mixed = [bytes(length) for length in range(1, 480) for _ in range(7)]
del mixed[::3]
warm.open_fresh_pools()
blocks = [None] * len(sizes)
for place, size in enumerate(sizes):
    blocks[place] = bytes(size - head)
print(sum(id(block) % (16 << 10) < 4096 for block in blocks), len(blocks))
"""


def test_most_next_blocks_lie_beside_the_heads_of_their_pools() -> None:
    command = [sys.executable, "-I", "-c", SCRIPT, str(Path(inside.__path__[0]).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    beside, sizes = map(int, done.stdout.split())
    assert beside > sizes / 3  # a few of the others are begun again by what frees a block; before, none are
