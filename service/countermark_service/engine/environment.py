"""Digest of a lock -> environment that is ready: look, lock, look again, build, check, rename.

Every `python` bundle runs in an environment of its own, and several versions of one
library are live at once. An environment is a folder below the cache's root, named
by what decides its content: the bytes of the lock, the minor version of Python, the
kind of machine. It is built once and never changed after that.

Theory of operation
-------------------
::

    root/<key>/                    a whole environment: its seal (`seal.py`) was written last
    root/<key>.lock                held (flock) by whoever builds it, and by the tools that it runs
    root/.building-<key>-<token>/  one that is being built, or was when its builder died
    root/.damaged-<key>-<token>/   one that did not match its seal, on its way out

    find    look: a folder with a seal that still matches, on an interpreter that is still there
    ensure  look; take the lock; look again, because the one who held it may have built it; else build:
              1 sweep     what dead builders left behind
              2 venv      an empty virtual environment on the interpreter of that minor version
              3 install   `uv pip sync --require-hashes`, wheels only, from the lock alone
              4 check     distributions are those of the lock; files are those of the wheels
              5 compile   byte code, since contained workers cannot write it
              6 seal      and wait for the disk
              7 rename    from `.building-...` to `<key>`: from here on it can be found

Whatever happens before 7 leaves nothing that `find` could take for an environment.
An error, a full disk included, removes the folder at once. A killed builder leaves
folder and lock; its uv, if that survives, holds the lock until it ends, and the
next builder sweeps. No file but seal and folders is synced, so after a power cut a
file may be short: then the seal does not match, and the environment is built anew.

No code from a wheel runs here: the environment's interpreter is started once, while
it is still empty. Packages are copied, not linked, out of uv's cache, so that an
edit in one environment reaches neither the cache nor another environment. Byte code
is checked by the hash of its source and not by time, so that it stays valid in a
copied image; tests that packages ship are not compiled, which halves the work
(sympy: 1,700 files in 11 s of CPU, without tests 6 s; a worker without byte code
would pay 4 s at every start). Start workers with `-B`, so that an uncontained one
adds no byte code to a sealed folder.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from countermark_service.engine import seal as seals
from countermark_service.engine.build import (
    Build,
    EnvironmentBuildError,
    EnvironmentDiskFullError,
    IndexUnreachableError,
    WheelHashMismatchError,
    WheelUnavailableError,
    os_failure,
)
from countermark_service.engine.interpreters import find_interpreter
from countermark_service.engine.lockfile import LOCK_FILE, read_lock
from countermark_service.engine.uv_command import find_uv

__all__ = [
    "Environment",
    "EnvironmentBuildError",
    "EnvironmentCache",
    "EnvironmentDiskFullError",
    "IndexUnreachableError",
    "WheelHashMismatchError",
    "WheelUnavailableError",
]

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Environment:
    """A whole environment."""

    path: Path
    python: Path
    """The interpreter to start a worker with; start it with `-I -B`."""
    python_version: str
    """Full version, such as ``3.11.7``."""
    key: str
    base_prefix: Path
    """The real installation of Python: a contained worker must be able to read it too."""
    site_packages: tuple[Path, ...]


class EnvironmentCache:
    """The environments below one folder, shared with every process that uses it."""

    def __init__(
        self,
        root: Path,
        *,
        wheelhouses: Sequence[Path] = (),
        offline: bool = False,
        uv: Path | None = None,
        build_seconds: float = 900.0,
    ) -> None:
        """Use the environments below `root`, which is made when the first one is built.

        Args:
            root: The folder; one that several machines share is fine if it has working locks.
            wheelhouses: Folders of wheels that are asked before any index; those that do not
                exist hold nothing.
            offline: Whether to fetch nothing: wheels come from wheelhouses and uv's cache.
            uv: The uv to build with; None is the one that came with the service.
            build_seconds: Wall time that one build, or waiting for another's, may take.
        """
        self.root = root.resolve()
        self._wheelhouses = tuple(wheelhouses)
        self._offline = offline
        self._uv = uv
        self._build_seconds = build_seconds

    def key(self, lock: bytes, python: str) -> str:
        """Return the name of the environment for `lock` on Python `python`: 64 hex digits.

        The bytes count as they are: a comment more is another environment, as it is
        another digest of the bundle.
        """
        parts = [str(seals.LAYOUT), python, seals.platform_name(), hashlib.sha256(lock).hexdigest()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def find(self, lock: bytes, python: str) -> Environment | None:
        """Return the environment for `lock` if there is a whole one; waits for nothing, changes nothing."""
        found = self._look(self.key(lock, python))
        return found if isinstance(found, Environment) else None

    def damage(self, environment: Environment) -> str | None:
        """Return how `environment` differs from what was built, reading every file; None if it does not."""
        seal = seals.read_seal(environment.path)
        return seal if isinstance(seal, str) else seals.tree_damage(environment.path, seal, thorough=True)

    def ensure(self, lock: bytes, python: str, *, label: str = "") -> Environment:
        """Return the environment for `lock` on Python `python`, building it if there is none.

        Blocks for as long as a build takes; call it in a thread.

        Args:
            lock: Content of a bundle's `requirements.lock`.
            python: Minor version, such as ``3.11``.
            label: How messages name it, such as the bundle's ref.

        Raises:
            LockError: `lock` does not pin every distribution by version and hash.
            InterpreterNotFoundError: No such Python is here, and none could be fetched.
            WheelHashMismatchError: A wheel is not the one that the lock names.
            WheelUnavailableError: A wheel is nowhere to be had.
            IndexUnreachableError: Wheels are missing here and no index answers.
            EnvironmentDiskFullError: There is no room.
            EnvironmentBuildError: Anything else that stops a build.
        """
        key = self.key(lock, python)
        found = self._look(key)
        if isinstance(found, Environment):
            return found
        label = label or f"lock {hashlib.sha256(lock).hexdigest()[:12]}"
        requirements = read_lock(lock, file=f"{LOCK_FILE} of {label}")
        uv = self._uv or find_uv()
        interpreter = find_interpreter(python, uv=uv, download=not self._offline)
        try:
            with self._held(key, label) as descriptor:
                found = self._look(key)
                if isinstance(found, Environment):
                    return found
                if (self.root / key).exists():
                    log.warning("environment of %s is built anew: %s", label, found)
                self._sweep(key)
                build = Build(
                    label=label,
                    lock=lock,
                    requirements=requirements,
                    interpreter=interpreter,
                    uv=uv,
                    wheelhouses=self._wheelhouses,
                    offline=self._offline,
                    hold=descriptor,
                    deadline=time.monotonic() + self._build_seconds,
                )
                return self._build(key, build)
        except OSError as exc:
            raise os_failure(label, self.root, exc) from exc

    def _look(self, key: str) -> Environment | str:
        """Return the whole environment of that key, or why there is none."""
        folder = self.root / key
        seal = seals.read_seal(folder)
        if isinstance(seal, str):
            return seal
        interpreter = seals.standing_interpreter(seal)
        if isinstance(interpreter, str):
            return interpreter
        damage = seals.tree_damage(folder, seal)
        if damage is not None:
            return damage
        return Environment(
            path=folder,
            python=folder / "bin" / "python",
            python_version=interpreter.version,
            key=key,
            base_prefix=interpreter.base_prefix,
            site_packages=tuple(folder / relative for relative in seal.site_packages),
        )

    @contextlib.contextmanager
    def _held(self, key: str, label: str) -> Iterator[int]:
        """Hold the lock of `key`; yields its descriptor, which tools that write for us inherit."""
        self.root.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self._build_seconds
        descriptor = os.open(self.root / f"{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            while not _try_lock(descriptor):
                # flock cannot wait for a while only; a build takes seconds, so a poll costs nothing
                if time.monotonic() > deadline:
                    raise EnvironmentBuildError(
                        label,
                        f"another process has been building it for {self._build_seconds:.0f} s. "
                        f"Look for one that holds {self.root / key}.lock (`fuser` shows it).",
                    )
                time.sleep(_POLL_SECONDS)
            yield descriptor
        finally:
            os.close(descriptor)

    def _build(self, key: str, build: Build) -> Environment:
        folder = self.root / key
        temporary = self.root / f".building-{key}-{secrets.token_hex(4)}"
        try:
            build.into(temporary, final=folder)
            if folder.exists():
                damaged = self.root / f".damaged-{key}-{secrets.token_hex(4)}"
                folder.rename(damaged)
                shutil.rmtree(damaged, ignore_errors=True)  # what resists is swept by the next build
            temporary.rename(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)  # the same; the error that led here says more
            raise
        seals.sync_folder(self.root)
        found = self._look(key)
        if isinstance(found, str):
            raise EnvironmentBuildError(
                build.label, f"it was built, but {found}. Something changes {folder}."
            )
        return found

    def _sweep(self, held_key: str) -> None:
        """Remove what builders left behind that are no more: those whose lock is free."""
        for left in (*self.root.glob(".building-*"), *self.root.glob(".damaged-*")):
            key = left.name.split("-")[1]
            if key == held_key:
                shutil.rmtree(left, ignore_errors=True)
                continue
            descriptor = os.open(self.root / f"{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                if _try_lock(descriptor):
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
