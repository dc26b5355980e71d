"""Finding the Python that a bundle's manifest names.

A manifest names a minor version, and wheels and byte code hold for exactly that
one, so a machine needs an interpreter of it: any patch version, which the verdict
then records. It is looked for where it is likely to be, nearest first:

1. the interpreter that runs this process, or the installation its virtual
   environment stands on;
2. `pythonX.Y` in every folder of PATH, then in the usual folders of a system;
3. pyenv's installations, also when its shims are switched to another version;
4. interpreters that uv manages;
5. the same after `uv python install`, which needs the network.

A file of the right name proves nothing: a pyenv shim exists for versions that it
will not run, and a link may outlive its installation. So each candidate is run
and says itself what it is. What it says are real paths, without links, because a
sandbox shows a worker the installation at `base_prefix` and nothing around it.
"""

import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from countermark_service.engine.uv_command import Ended, find_uv, run, run_uv
from countermark_service.errors import CountermarkError

_MINOR = re.compile(r"3\.\d{1,2}")
_SYSTEM_FOLDERS = ("/usr/local/bin", "/usr/bin")
_PROBE_SECONDS = 30.0
"""How long a candidate may take to say what it is; a cold disk takes a second."""
_FIND_SECONDS = 60.0
_INSTALL_SECONDS = 900.0
_PROBE = """
import json, os, sys
print(json.dumps({
    "implementation": sys.implementation.name,
    "version": ".".join(map(str, sys.version_info[:3])),
    "executable": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
    "base_prefix": os.path.realpath(sys.base_prefix),
}))
"""

_found: dict[str, "Interpreter"] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class Interpreter:
    """An installed CPython that was seen to run."""

    executable: Path
    """The program itself: no link, no shim, not that of a virtual environment."""
    version: str
    """Full version, such as ``3.11.7``."""
    base_prefix: Path
    """The installation it needs to run: standard library and shared objects."""

    @property
    def minor(self) -> str:
        """The minor version, such as ``3.11``."""
        return ".".join(self.version.split(".")[:2])


class PythonVersionError(CountermarkError):
    """What is asked for is no minor version of Python 3."""

    code = "invalid_python_version"

    def __init__(self, minor: str) -> None:
        super().__init__(f'{minor!r} is no minor version of Python 3: write it like "3.11".')
        self.minor = minor


class InterpreterNotFoundError(CountermarkError):
    """No Python of that minor version is here, and none could be fetched."""

    code = "interpreter_not_found"

    def __init__(self, minor: str, looked: list[str], fetching: str) -> None:
        super().__init__(
            f"no Python {minor} is on this machine. Looked at: {'; '.join(looked)}. {fetching} "
            f"Install it with `apt install python{minor}` (Debian, Ubuntu) or, with a network, "
            f"`uv python install {minor}`."
        )
        self.minor, self.looked, self.fetching = minor, looked, fetching


def find_interpreter(minor: str, *, uv: Path | None = None, download: bool = True) -> Interpreter:
    """Return an interpreter of the minor version `minor`, such as ``3.11``.

    What was found is remembered for the life of this process; what was not is
    looked for again next time, since somebody may have installed it.

    Args:
        minor: The minor version.
        uv: The uv to ask; None is the one that came with the service.
        download: Whether uv may fetch an interpreter if none is here.

    Raises:
        PythonVersionError: `minor` is no minor version.
        InterpreterNotFoundError: None is here, and none could be fetched.
        UvNotFoundError: None is here, and there is no uv to ask for one.
    """
    with _lock:  # one search at a time: two threads need not both wait for one download
        if minor not in _found:
            _found[minor] = _search(minor, uv, download=download)
        return _found[minor]


def probe(executable: Path) -> Interpreter | None:
    """Run `executable` and return what it says of itself; None if it does not run or is no CPython."""
    try:
        ended = run([executable, "-I", "-S", "-c", _PROBE], timeout_seconds=_PROBE_SECONDS)
    except OSError:
        return None
    if ended.status != 0:
        return None
    try:
        said = json.loads(ended.stdout)
    except ValueError:
        return None
    if not isinstance(said, dict) or said.get("implementation") != "cpython":
        return None
    return Interpreter(Path(said["executable"]), said["version"], Path(said["base_prefix"]))


def _search(minor: str, uv: Path | None, *, download: bool) -> Interpreter:
    if not _MINOR.fullmatch(minor):
        raise PythonVersionError(minor)
    looked = []
    for candidate in _installed(minor):
        interpreter = probe(candidate)
        if interpreter is not None and interpreter.minor == minor:
            return interpreter
        said = "does not run" if interpreter is None else f"is Python {interpreter.version}"
        looked.append(f"{candidate} ({said})")
    looked.append("PATH, " + ", ".join(_SYSTEM_FOLDERS) + " and pyenv")
    uv = uv or find_uv()
    interpreter = _managed(minor, uv)
    looked.append("the interpreters that uv manages")
    if interpreter is not None:
        return interpreter
    if not download:
        raise InterpreterNotFoundError(minor, looked, "Fetching one is switched off (offline).")
    ended = run_uv(uv, ["python", "install", "--no-bin", minor], timeout_seconds=_INSTALL_SECONDS)
    interpreter = _managed(minor, uv)
    if interpreter is None:
        raise InterpreterNotFoundError(minor, looked, _failure(ended))
    return interpreter


def _installed(minor: str) -> Iterator[Path]:
    """Yield the files that may be a Python `minor`, nearest first, each once."""
    if sys.version_info[:2] == tuple(map(int, minor.split("."))):
        yield Path(sys.executable)
    name = f"python{minor}"
    folders = [*os.get_exec_path(), *_SYSTEM_FOLDERS]
    # Of os.path and glob, as pathlib raises for a user without a home, and for places that may not be looked at: a
    # container that runs as another user often keeps root's HOME and PATH.
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")  # noqa: PTH111
    found = glob(f"versions/{minor}.*/bin", root_dir=pyenv)  # noqa: PTH207
    patches = sorted((Path(pyenv, one) for one in found), key=_patch, reverse=True)
    seen = set()
    for folder in [*map(Path, folders), *patches]:
        candidate = folder / name
        if candidate not in seen and os.path.isfile(candidate):  # noqa: PTH113
            seen.add(candidate)
            yield candidate


def _patch(folder: Path) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", folder.parent.name)))


def _managed(minor: str, uv: Path) -> Interpreter | None:
    arguments = ["python", "find", "--no-project", "--managed-python", "--no-python-downloads", minor]
    ended = run_uv(uv, arguments, timeout_seconds=_FIND_SECONDS)
    found = probe(Path(ended.stdout.strip())) if ended.status == 0 and ended.stdout.strip() else None
    return found if found is not None and found.minor == minor else None


def _failure(ended: Ended) -> str:
    lines = ended.last_lines.split("\n")
    return f"uv could not fetch it: it {ended.how} and said: {lines[-1].strip() or 'nothing'}."
