"""Small files that are to last (keys, lists): each is changed whole or not at all, and by one at a time.

A disk that is full stops a write in the middle, and so do a kill and a power cut. Half of a list is
no list, and whoever reads it refuses all of it. So what is new is written beside the old, brought to
the disk, and takes its place by a rename.

Two programs that read, change and write would each undo what the other did. So whoever changes a
file holds its folder meanwhile. This module does not know what the files say.
"""

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold `folder`, which is made where there is none, against every other who would hold it; waits for them.

    Raises:
        OSError: It cannot be made or opened.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def replace_whole(file: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Have `file` hold `content`, or what it held before.

    Args:
        file: A link is followed. The folder must be there.
        content: All of it.
        mode: Permissions of a new file, less the umask; one that is there keeps its own.

    Raises:
        OSError: It cannot be written, and nothing has changed; it names `file`.
    """
    target = Path(os.path.realpath(file))
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as opened:
            with contextlib.suppress(FileNotFoundError):
                os.fchmod(opened.fileno(), stat.S_IMODE(target.stat().st_mode))
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        part.replace(target)
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, str(file)) from exc
    finally:
        part.unlink(missing_ok=True)
