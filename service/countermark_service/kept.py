"""Small files that are to last (keys, lists, settings): each is read within bounds, and changed whole or not at all.

A disk that is full stops a write in the middle, and so do a kill and a power cut. Half of a list is
no list, and whoever reads it refuses all of it. So what is new is written beside the old, brought to
the disk, and takes its place by a rename.

Two programs that read, change and write would each undo what the other did. So whoever changes a
file holds its folder meanwhile.

A setting may name anything as such a file. A device that never ends and a pipe into which nobody writes would
hold up whoever reads to the end, so there is a bound for what is read and for the time that it may take to come.
This module does not know what the files say.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import select
import stat
from collections.abc import Iterator
from pathlib import Path

LARGEST = 16 << 20
"""Bytes of a small file."""
_COMES_SECONDS = 10.0
"""How long a pipe may keep who reads it waiting."""


def read_small(file: Path, *, most: int = LARGEST) -> bytes:
    """Return all that `file` holds; it may be a pipe or a device.

    Raises:
        OSError: It cannot be read, or has over `most` bytes; it names `file`.
    """
    content = head_of(file, most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has over {most >> 20} MiB", str(file))
    return content


def head_of(file: Path, most: int) -> bytes:
    """Return what `file` holds up to its end, or the first `most` bytes of it.

    Raises:
        OSError: It cannot be read, or is a pipe or terminal from which nothing comes; it names `file`.
    """
    # A pipe into which nobody writes yet would hold up the opening itself.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        ready = select.poll()
        ready.register(descriptor, select.POLLIN)
        content = bytearray()
        while len(content) < most:
            if not ready.poll(_COMES_SECONDS * 1000):
                raise OSError(errno.ETIMEDOUT, f"nothing came from it for {_COMES_SECONDS:.0f} s")
            part = os.read(descriptor, most - len(content))
            if not part:
                break
            content += part
        return bytes(content)
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, str(file)) from exc
    finally:
        os.close(descriptor)


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
