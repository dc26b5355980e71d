"""Folders that end with the process that made them, however it ends.

Verifiers and candidates need a place to write, builds need one for wheels. A process that is killed
removes nothing, and what it leaves stays for ever: on a machine whose services are ended by SIGKILL, or by
the kernel when memory runs out, a disk is full of it one day.

So all that a process needs below one place lies in one folder of its own, and the process holds a lock there,
which the kernel frees at its end, however it ends. Whoever comes to that place next removes the folders whose
lock is free::

    place/countermark-scratch-<16 hex digits>/        locked (flock)
    place/countermark-scratch-<16 hex digits>/lock    locked as well
    place/countermark-scratch-<16 hex digits>/...     what `new` has made

Why two locks: systemd-tmpfiles leaves a locked folder alone, however old it is, and on a network file
system only the lock of a file is seen by other machines.

The place may be a `/tmp` that others can write to. Only a folder of this user with such a name and a lock
file in it is removed, which nobody else can make; what is in it is removed through its descriptor, so that no
link leads elsewhere, and without a walk along paths, so that no depth matters (`inside.scratch.clear`).

Who makes a folder may meet somebody who takes it for a dead one before it is locked. Then it makes another.
"""

import contextlib
import fcntl
import os
import re
import secrets
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from countermark_service.sandbox.code.inside.scratch import clear

_NAME = "countermark-scratch-"
_OURS = re.compile(rf"{_NAME}[0-9a-f]{{16}}")
_OLDER = {
    True: re.compile(r"scratch-[a-z0-9_]{8}"),
    False: re.compile(r"(candidate|countermark)-[a-z0-9_]{8}"),
}
"""What versions before the lock have left: in a place of ours, and among the system's temporary files."""
_LOCK = "lock"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MODE = 0o711  # candidates run as a user of their own, and go through it to their scratch


@dataclass(frozen=True)
class _Held:
    """The folder of this process, and what it is locked by."""

    folder: Path
    descriptors: tuple[int, int]
    process: int
    """A process that was forked from it has the descriptors too, and must not remove the folder."""


class Scratch:
    """What one process needs below one place; made with the first folder that it is asked for."""

    def __init__(self, place: Path | None = None) -> None:
        """Prepare; `place` need not exist. None is among the system's temporary files."""
        self._place = place
        self._held: _Held | None = None
        self._guard = threading.Lock()

    def new(self, purpose: str) -> Path:
        """Return a new, empty folder that only this user may enter; its name begins with `purpose`.

        Raises:
            OSError: It cannot be made.
        """
        with self._guard:
            try:
                return self._new(purpose)
            except FileNotFoundError:  # somebody tidies up old files there
                self._let_go()
                return self._new(purpose)

    def _new(self, purpose: str) -> Path:
        if self._held is None:
            remove_left_behind(self._place)
            self._held = _hold(self._place or _temporary())
        return Path(tempfile.mkdtemp(prefix=f"{purpose}-", dir=self._held.folder))

    def close(self) -> None:
        """Remove all that was made; what resists is left to the next who comes to the place."""
        with self._guard:
            if self._held is not None and self._held.process == os.getpid():
                _remove(self._held.folder, self._held.descriptors[0])
            self._let_go()

    def _let_go(self) -> None:
        if self._held is not None:
            for descriptor in self._held.descriptors:
                os.close(descriptor)
            self._held = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def remove_left_behind(place: Path | None = None) -> None:
    """Remove what processes of this user have left in `place` that are no more; `place` is as in `Scratch`."""
    try:
        found = list(_named(place or _temporary(), _OURS))
    except OSError:  # it is not there, or cannot be listed: whoever needs it learns that
        return
    for folder in found:
        with contextlib.suppress(OSError):  # it is held by its process, gone already, or resists
            _remove_if_dead(folder)


def left_by_older_versions(place: Path | None = None) -> list[Path]:
    """Return folders of this user in `place`, as in `Scratch`, that look as if an older version had left them.

    They have no lock: one of them may belong to a service of that version that runs, and some to another program.
    So nobody but a person can say that they may go.
    """
    try:
        return list(_named(place or _temporary(), _OLDER[place is not None]))
    except OSError:
        return []


def _temporary() -> Path:
    """Return the folder of temporary files; raises FileNotFoundError where none can be written to."""
    return Path(tempfile.gettempdir())


def _named(place: Path, name: re.Pattern[str]) -> Iterator[Path]:
    """Yield this user's entries in `place` that have such a name."""
    with os.scandir(place) as listing:
        named = [entry for entry in listing if name.fullmatch(entry.name)]
    for entry in named:
        with contextlib.suppress(FileNotFoundError):
            if entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                yield place / entry.name


def _remove_if_dead(folder: Path) -> None:
    """Remove `folder`; raises OSError where it is held, is no folder of this user, or cannot be removed."""
    with contextlib.ExitStack() as opened:
        top = os.open(folder, _FOLDER)
        opened.callback(os.close, top)
        if os.fstat(top).st_uid != os.geteuid():
            return  # another took the place of the one that was listed
        fcntl.flock(top, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            lock = os.open(_LOCK, _FILE, dir_fd=top)
        except FileNotFoundError:  # its process ended just when it made it, or is about to lock it
            folder.rmdir()
            return
        opened.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(folder, top)


def _hold(place: Path) -> _Held:
    """Make a folder of this process in `place`, and lock it."""
    place.mkdir(parents=True, exist_ok=True)
    while True:
        folder = place / f"{_NAME}{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700)
        try:
            descriptors = _locked(folder)
        except (BlockingIOError, FileNotFoundError):
            continue  # somebody took it for a dead one
        except OSError:
            folder.rmdir()
            raise
        return _Held(folder, descriptors, os.getpid())


def _locked(folder: Path) -> tuple[int, int]:
    """Lock a new folder; raises OSError where that fails or somebody removes it, and then leaves nothing in it."""
    with contextlib.ExitStack() as undone:
        top = os.open(folder, _FOLDER)
        undone.callback(os.close, top)
        _flock(top)
        lock = os.open(_LOCK, _FILE | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=top)
        undone.callback(os.close, lock)
        _flock(lock)
        os.fchmod(top, _MODE)
        undone.pop_all()
    return top, lock


def _flock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return  # no locks on this file system: nobody can lock it to remove it either


def _remove(folder: Path, top: int) -> None:
    """Remove `folder`, open as `top`; the lock file goes last, as what has none counts as somebody else's."""
    with contextlib.suppress(OSError):
        clear(top, but=_LOCK)
        os.unlink(_LOCK, dir_fd=top)
        folder.rmdir()
