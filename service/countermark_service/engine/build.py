"""One build of an environment: venv, install, check, compile, seal.

This module fills a folder that nobody else knows of yet; where that folder goes,
and who may build at a time, is the business of `environment.py`. What each step is
for stands there in the theory of operation.

uv's complaints are sorted into the errors that people act on differently: a wheel
that is not the locked one, a wheel that is nowhere, an index out of reach, a full
disk. Whatever else it says is passed on in its last lines.
"""

import errno
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from countermark_service.engine.installed import (
    installed_distributions,
    lock_differences,
    record_differences,
)
from countermark_service.engine.interpreters import Interpreter
from countermark_service.engine.lockfile import LOCK_FILE, LockedRequirement, applicable
from countermark_service.engine.seal import write_seal
from countermark_service.engine.shelf import lay_out
from countermark_service.engine.uv_command import Ended, run, run_uv
from countermark_service.errors import CountermarkError
from countermark_service.sandbox.scratch import Scratch

_MANY_FILES = 200
"""From how many source files on byte code is compiled by several processes."""
_SHOWN_PROBLEMS = 5
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FULL_SAID = re.compile(
    "|".join([re.escape(os.strerror(number)) for number in _FULL] + [rf"os error {n}\b" for n in _FULL])
)
_MISMATCH = re.compile(
    r"Hash mismatch for `(?P<requirement>[^`]+)`\s+"
    r"Expected:\s+(?P<expected>.+?)\s+Computed:\s+(?P<computed>\S+)",
    re.DOTALL,
)
_UNAVAILABLE = re.compile(r"No solution found.*?you require (?P<requirement>[^\s,]+==[^\s,]+)", re.DOTALL)
_UNREACHABLE = re.compile(r"Failed to fetch|error sending request|dns error|tcp connect error")
_NOT_WRITTEN = re.compile(r"^\w+: \[Errno \d+\]", re.MULTILINE)
"""How compileall reports a file that it could not read or write; complaints about syntax look different."""
_PATHS = """
import json, os, sys, sysconfig
paths = sysconfig.get_paths()
print(json.dumps({
    "version": ".".join(map(str, sys.version_info[:3])),
    "prefix": os.path.realpath(sys.prefix),
    "site_packages": [os.path.realpath(paths["purelib"]), os.path.realpath(paths["platlib"])],
}))
"""


class EnvironmentBuildError(CountermarkError):
    """An environment could not be built, or its wheels not collected; nothing half done is left."""

    code = "environment_build_failed"

    def __init__(self, label: str, problem: str) -> None:
        super().__init__(f"{label}: {problem}")
        self.label, self.problem = label, problem


class EnvironmentDiskFullError(EnvironmentBuildError):
    """A disk, a quota or a limit on file sizes was exhausted."""

    code = "environment_disk_full"

    def __init__(self, label: str, root: Path, said: str) -> None:
        super().__init__(
            label,
            f"there is no room for its packages in {root} or in uv's cache. What was begun is removed; "
            f"make room and ask again. The last words were:\n{said}",
        )
        self.root = str(root)


class WheelHashMismatchError(EnvironmentBuildError):
    """A wheel is not one that the lock names."""

    code = "wheel_hash_mismatch"

    def __init__(self, label: str, requirement: str, *, expected: Sequence[str], computed: str) -> None:
        super().__init__(
            label,
            f"a wheel of {requirement} is not one that the lock names: expected {' or '.join(expected)}, "
            f"computed {computed}. It was refused. Find out who changed the file; a change that is meant "
            "is a new version of the bundle, with a new lock.",
        )
        self.requirement, self.expected, self.computed = requirement, list(expected), computed


class WheelUnavailableError(EnvironmentBuildError):
    """No wheel of a locked distribution is to be had for this machine."""

    code = "wheel_unavailable"

    def __init__(self, label: str, requirement: str, said: str) -> None:
        super().__init__(
            label,
            f"no wheel of {requirement} for this machine and Python is to be had. Import an archive of the "
            f"bundle that holds its wheels, or let uv reach an index that has it. uv said:\n{said}",
        )
        self.requirement = requirement


class IndexUnreachableError(EnvironmentBuildError):
    """Wheels are missing here, and the index that may have them does not answer."""

    code = "index_unreachable"

    def __init__(self, label: str, said: str) -> None:
        what_now = (
            "SSL_CERT_FILE to the certificates that the machine believes, or UV_SYSTEM_CERTS=true"
            if "certificate" in said
            else "UV_DEFAULT_INDEX to an index in reach"
        )
        super().__init__(
            label,
            "its wheels are not all here, and the index does not answer. Import an archive of the bundle "
            f"that holds its wheels, or set {what_now}. The last words:\n{said}",
        )


@dataclass(frozen=True)
class Build:
    """What one build needs to know."""

    label: str
    """How messages name the environment."""
    lock: bytes
    requirements: tuple[LockedRequirement, ...]
    """What `lock` holds."""
    interpreter: Interpreter
    uv: Path
    wheelhouses: tuple[Path, ...]
    offline: bool
    hold: int | None
    """Descriptor of the lock, kept by every tool that runs."""
    deadline: float
    """When it must be done, on the monotonic clock."""

    def into(self, folder: Path, *, final: Path) -> None:
        """Build a whole, sealed environment in `folder`.

        Args:
            folder: Does not exist yet.
            final: Where it will be moved to.

        Raises:
            EnvironmentBuildError: Or one of its kinds.
            OSError: A file cannot be written or read.
        """
        site_packages = self._venv(folder)
        lock_file = folder / LOCK_FILE
        lock_file.write_bytes(self.lock)
        self._install(folder, lock_file)
        folders = [folder / relative for relative in site_packages]
        self._check(folders)
        for relative in site_packages:
            self._compile(folder, relative, final)
        write_seal(
            folder,
            interpreter=self.interpreter,
            site_packages=site_packages,
            distributions={name: str(v) for name, v in installed_distributions(folders).items()},
            label=self.label,
        )

    def _venv(self, folder: Path) -> tuple[str, ...]:
        """Make an empty virtual environment; return its package folders, relative to it."""
        options = ["--no-project", "--no-python-downloads", "--relocatable", "--python"]
        ended = self._uv("venv", *options, self.interpreter.executable, folder)
        if ended.status != 0:
            raise explain(self.label, folder.parent, "uv venv", ended)
        command: list[str | Path] = [folder / "bin" / "python", "-I", "-B", "-c", _PATHS]
        ended = run(command, timeout_seconds=self._left(), hold=self.hold)
        if ended.status != 0:
            raise explain(self.label, folder.parent, "its interpreter", ended)
        said = json.loads(ended.stdout)
        top = os.path.realpath(folder)
        if said["version"] != self.interpreter.version or said["prefix"] != top:
            raise EnvironmentBuildError(
                self.label,
                f"its interpreter is Python {said['version']} in {said['prefix']}, "
                f"not {self.interpreter.version} in {top}. Look at {self.interpreter.executable}.",
            )
        return tuple(dict.fromkeys(os.path.relpath(path, top) for path in said["site_packages"]))

    def _install(self, folder: Path, lock_file: Path) -> None:
        """Install what the lock names, from the nearest place that has all of it."""
        with Scratch() as scratch:
            shelf = scratch.new("wheels")
            found = lay_out(self.wheelhouses, self.requirements, shelf)
            *nearer, last = sources(shelf if found else None, offline=self.offline)
            for places in nearer:
                try:
                    return self._sync(folder, lock_file, places)
                except WheelUnavailableError:
                    continue  # any other error would be hidden, not mended, by another place
            return self._sync(folder, lock_file, last)

    def _sync(self, folder: Path, lock_file: Path, places: Sequence[str | Path]) -> None:
        options = ["--require-hashes", "--only-binary", ":all:", "--allow-empty-requirements"]
        options += ["--link-mode", "copy", "--no-python-downloads", "--python"]
        ended = self._uv("pip", "sync", *places, *options, folder / "bin" / "python", lock_file)
        if ended.status != 0:
            raise explain(self.label, folder.parent, "uv pip sync", ended)

    def _check(self, site_packages: Sequence[Path]) -> None:
        """Hold what is installed to the lock, and every file to its wheel's RECORD."""
        wanted = applicable(self.requirements, self.interpreter.version)
        try:
            problems = lock_differences(wanted, installed_distributions(site_packages))
        except ValueError as exc:
            problems = [str(exc)]
        if problems:
            raise EnvironmentBuildError(self.label, f"what uv installed is not the lock: {_some(problems)}.")
        problems = record_differences(site_packages)
        if problems:
            raise EnvironmentBuildError(
                self.label,
                f"what uv installed is not what its wheels hold: {_some(problems)}. If the wheels are sound, "
                "uv's cache is damaged: `uv cache clean` empties it.",
            )

    def _compile(self, folder: Path, relative: str, final: Path) -> None:
        """Compile what may be imported; a file that is no Python of this version stays as it is."""
        many = sum(1 for _ in (folder / relative).rglob("*.py")) > _MANY_FILES
        jobs = len(os.sched_getaffinity(0)) if many else 1
        options = ["-q", "-j", str(jobs), "--invalidation-mode", "checked-hash"]
        # `relative` goes with the working folder, so that the pattern sees no part of the path above it
        options += ["-x", "(^|/)tests/", "-p", os.fspath(final), relative]
        command: list[str | Path] = [
            self.interpreter.executable,
            "-I",
            "-S",
            "-B",
            "-m",
            "compileall",
            *options,
        ]
        ended = run(command, timeout_seconds=self._left(), hold=self.hold, cwd=folder)
        # status 1 is a file that is not valid Python, which wheels do ship, or one that was not written
        if ended.status not in (0, 1) or _NOT_WRITTEN.search(ended.stdout):
            raise explain(self.label, folder.parent, "compileall", ended)

    def _uv(self, *arguments: str | Path) -> Ended:
        return run_uv(self.uv, [*arguments, "--quiet"], timeout_seconds=self._left(), hold=self.hold)

    def _left(self) -> float:
        return max(1.0, self.deadline - time.monotonic())


def sources(shelf: Path | None, *, offline: bool) -> Iterator[list[str | Path]]:
    """Yield uv's options for each set of places to take wheels from, nearest first.

    The wheels at hand alone come first: uv would ask the index even for what they have,
    and an imported bundle must build where no index answers.

    Args:
        shelf: A folder with the wheels at hand, as `lay_out` fills it; None where there are none.
        offline: Whether to ask no index.
    """
    links: list[str | Path] = [] if shelf is None else ["--find-links", shelf]
    if links:
        yield ["--offline", "--no-index", *links]
    yield [*(["--offline"] if offline else []), *links]


def explain(label: str, root: Path, tool: str, ended: Ended) -> EnvironmentBuildError:
    """Return the error that says why `tool` failed.

    Args:
        label: What was to be built.
        root: The folder that it was built in.
        tool: Name of what ran.
        ended: How it ended, not with success.
    """
    said = ended.stderr + ended.stdout
    lines = ended.last_lines or f"  {tool} {ended.how}"
    if ended.how.endswith("SIGXFSZ") or _FULL_SAID.search(said):
        return EnvironmentDiskFullError(label, root, lines)
    if match := _MISMATCH.search(said):
        expected = match["expected"].split()
        return WheelHashMismatchError(
            label, match["requirement"], expected=expected, computed=match["computed"]
        )
    if match := _UNAVAILABLE.search(said):
        return WheelUnavailableError(label, match["requirement"], lines)
    if _UNREACHABLE.search(said):
        return IndexUnreachableError(label, lines)
    return EnvironmentBuildError(label, f"{tool} {ended.how}. It said:\n{lines}")


def os_failure(label: str, root: Path, exc: OSError) -> EnvironmentBuildError:
    """Return the error that says why a file below `root` could not be written or read."""
    reason = f"{exc.strerror or exc} ({exc.filename or root})"
    if exc.errno in _FULL:
        return EnvironmentDiskFullError(label, root, f"  {reason}")
    return EnvironmentBuildError(label, f"{reason}. The folder {root} must be there and writable.")


def _some(problems: Sequence[str]) -> str:
    more = len(problems) - _SHOWN_PROBLEMS
    return "; ".join(problems[:_SHOWN_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")
