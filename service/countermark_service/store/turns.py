"""One change at a time to a small file that commands and services of one data folder share.

Such a file is read, changed and put in the place of the old one. Two that do so at once
would each leave out what the other had written: a key that was printed and is not there,
or one that was removed and is there again.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn(file: Path) -> Iterator[None]:
    """Wait for the turn to change `file`, and hold it while the block runs; its folder is made where it is missing.

    Raises:
        OSError: The folder cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(file.parent / f".{file.name}.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
