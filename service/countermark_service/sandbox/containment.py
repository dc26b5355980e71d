"""What holds a verifier worker: found by trying, not by reading version numbers.

Three levels, best first:

- ``namespaces``: bubblewrap around the bundle's processes (empty network, own
  process ids, a file system of the interpreter, the environment and the bundle,
  all read-only, and one scratch), plus Landlock and the call filter inside.
- ``landlock``: no user namespaces to be had, as in an unprivileged container:
  Landlock keeps files read-only, the call filter keeps processes and network away.
- ``limits``: neither; the call filter, resource limits and a cleared environment remain.

Symbolic verifiers run on any of them and the verdict records which. This module
builds command lines and looks at the machine; the engine runs them.
"""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

SCRATCH = "/scratch"
"""Where a namespaced worker finds its scratch."""

_SCRATCH_BYTES = 64 * 1024 * 1024
_LANDLOCK_CREATE_RULESET = 444
_VERSION_FLAG = 1
_PROBE_SECONDS = 20.0


class ContainmentLevel(StrEnum):
    """How well a worker is held; the value goes into verdicts."""

    NAMESPACES = "namespaces"
    LANDLOCK = "landlock"
    LIMITS = "limits"


@dataclass(frozen=True)
class Interior:
    """What the processes of one bundle see."""

    readable: Sequence[Path]
    """Folders and files that are there, read-only, under their own names."""
    environment: Mapping[str, str]
    """The whole environment; nothing of the service's is passed on."""


@dataclass(frozen=True)
class Containment:
    """What this machine gives a worker."""

    level: ContainmentLevel
    landlock_abi: int
    """Version of the kernel's Landlock, 0 without."""
    bwrap: str | None
    """Path of bubblewrap, where it works."""
    reasons: tuple[str, ...] = ()
    """Why the level is no better, with what to do, for people."""
    scratch_size: bool = False
    """True where this bubblewrap can bound the scratch."""

    def command(self, inner: Sequence[str], interior: Interior, *, scratch: Path) -> list[str]:
        """Return the command line that runs `inner` contained.

        Args:
            inner: Program and arguments, as seen from the inside.
            interior: What it sees.
            scratch: Folder outside that serves as scratch below `namespaces`.
        """
        if self.level is not ContainmentLevel.NAMESPACES or self.bwrap is None:
            return list(inner)
        return [*_bubblewrap(self.bwrap, interior, bounded=self.scratch_size), "--", *inner]

    def scratch_inside(self, scratch: Path) -> str:
        """Return where the contained process finds the scratch."""
        return SCRATCH if self.level is ContainmentLevel.NAMESPACES else str(scratch)


def detect_containment() -> Containment:
    """Try the levels on this machine, best first, and return what holds.

    Costs one start of bubblewrap around an interpreter, about 30 ms.
    """
    abi = landlock_abi()
    reasons: list[str] = []
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        reasons.append("bubblewrap is not installed: install the package `bubblewrap`.")
    else:
        try:
            for bounded in (True, False):
                problem = _try_bubblewrap(bwrap, bounded=bounded)
                if problem is None:
                    return Containment(ContainmentLevel.NAMESPACES, abi, bwrap, (), bounded)
            reasons.append(
                f"bubblewrap does not work here: {problem}. Allow user namespaces to this process."
            )
        except subprocess.TimeoutExpired:  # with other options it would not end either
            reasons.append(
                f"{bwrap} did not end within {_PROBE_SECONDS:.0f} s, where it has only to run Python once: "
                "see whether it is bubblewrap, and what it waits for."
            )
    if abi > 0:
        return Containment(ContainmentLevel.LANDLOCK, abi, None, tuple(reasons))
    reasons.append("the kernel has no Landlock (Linux 5.13 or later, enabled at boot).")
    return Containment(ContainmentLevel.LIMITS, 0, None, tuple(reasons))


def landlock_abi() -> int:
    """Return the version of the kernel's Landlock interface, 0 where there is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = int(
        libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))
    )
    return max(version, 0)


def system_paths() -> list[Path]:
    """Return the folders that any interpreter needs: shared libraries and their cache."""
    names = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache")
    return [Path(name) for name in names if Path(name).exists()]


def _bubblewrap(bwrap: str, interior: Interior, *, bounded: bool) -> list[str]:
    argv = [bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"]
    argv += ["--hostname", "countermark"]
    for name, value in interior.environment.items():
        argv += ["--setenv", name, value]
    for path in _outermost([*system_paths(), *interior.readable]):
        if path.is_symlink():
            argv += ["--symlink", str(path.readlink()), str(path)]
        else:
            argv += ["--ro-bind", str(path), str(path)]
    argv += ["--dev", "/dev", "--remount-ro", "/dev"]
    if bounded:
        argv += ["--size", str(_SCRATCH_BYTES)]
    return [*argv, "--tmpfs", SCRATCH, "--chdir", SCRATCH, "--remount-ro", "/"]


def _outermost(paths: Sequence[Path]) -> list[Path]:
    """Drop paths that lie in another one of `paths`."""
    folders = [path for path in paths if not path.is_symlink()]
    return [
        path
        for path in dict.fromkeys(paths)
        if not any(path != folder and path.is_relative_to(folder) for folder in folders)
    ]


def _try_bubblewrap(bwrap: str, *, bounded: bool) -> str | None:
    """Return why bubblewrap does not work here, or None; raises TimeoutExpired where it does not end."""
    base = Path(os.path.realpath(sys.base_prefix))
    interior = Interior([base], {"LC_ALL": "C.UTF-8"})
    executable = os.path.realpath(sys.executable)
    inner = [executable, "-I", "-S", "-c", "print('inside')"]
    try:
        process = subprocess.Popen(
            [*_bubblewrap(bwrap, interior, bounded=bounded), "--", *inner],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    except OSError as exc:
        return str(exc)
    with process:
        output, errors = _printed(process)
    if process.returncode == 0 and output == b"inside\n":
        return None
    lines = errors.decode(errors="replace").strip().splitlines()
    return lines[-1].rstrip(".") if lines else f"exit status {process.returncode}"


def _printed(process: "subprocess.Popen[bytes]") -> tuple[bytes, bytes]:
    """Return what a process prints until its end; one that does not end is killed, and raises TimeoutExpired.

    It is waited for second by second: a pause of the machine or the container takes one of them.
    """
    waited = 0
    try:
        while True:
            try:
                return process.communicate(timeout=1.0)
            except subprocess.TimeoutExpired:
                waited += 1
                if waited >= _PROBE_SECONDS:
                    raise
    finally:
        process.kill()
