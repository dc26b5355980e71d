"""A process that keeps verdicts in a SQLite file, as a second service beside the test would.

Started as ``python sqlite_service.py FILE FIRST COUNT BATCH [FILE_LIMIT_BYTES]``. It opens the
file when a line comes on its standard input, writes its entries batch by batch, prints ``kept N``
after each batch that was acknowledged and ``refused CODE PROBLEM`` when one was not, and last
``read N`` with the number of right answers to a lookup of everything it had acknowledged.
"""

import asyncio
import hashlib
import resource
import sys
from pathlib import Path

from countermark_service.store import SqliteStore, StoreUnavailableError


def entries(first: int, count: int) -> dict[bytes, bytes]:
    """Return the entries that `conftest.entries` returns, 400 bytes each."""
    numbers = range(first, first + count)
    return {
        hashlib.sha256(b"key %d" % number).digest(): (b"value %d " % number).ljust(400, b".")
        for number in numbers
    }


async def main(file: Path, first: int, count: int, batch: int) -> None:
    store = SqliteStore(file, busy_seconds=30.0)
    kept: dict[bytes, bytes] = {}
    for start in range(first, first + count, batch):
        wanted = entries(start, batch)
        try:
            await store.put_many(wanted)
        except StoreUnavailableError as exc:
            print(f"refused {exc.code} {exc.problem}", flush=True)
            break
        kept |= wanted
        print(f"kept {len(kept)}", flush=True)
    answers = await store.get_many(list(kept))
    right = sum(answer == value for answer, value in zip(answers, kept.values(), strict=True))
    print(f"read {right}", flush=True)
    await store.close()


if __name__ == "__main__":
    sys.stdin.readline()
    if len(sys.argv) > 5:
        limit = int(sys.argv[5])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    asyncio.run(main(Path(sys.argv[1]), *map(int, sys.argv[2:5])))
