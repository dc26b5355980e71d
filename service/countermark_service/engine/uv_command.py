"""Running uv (and the interpreters it finds) so that only the arguments count.

What an environment holds is decided by its lock. A user's configuration file, an
active virtual environment or a stray `UV_CONSTRAINT` must not have a say in it,
so every process here starts from a short list of variables: where to fetch from,
how to get through to there, where to keep files. The list is an allow list,
because tools grow new variables with every release.

A process may be handed the descriptor of a lock. It keeps that lock for as long
as it lives, so when a builder is killed and leaves uv behind, still writing, the
next builder waits for it instead of sharing a folder with it.
"""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import uv as uv_package

from countermark_service.engine.told import operator
from countermark_service.errors import CountermarkError

_PLACES_OF_FILES = frozenset(
    {"PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_DATA_HOME", "UV_CACHE_DIR", "UV_PYTHON_INSTALL_DIR"}
)
_SOURCES = frozenset(
    {
        "UV_DEFAULT_INDEX",
        "UV_EXTRA_INDEX_URL",
        "UV_FIND_LINKS",
        "UV_INDEX",
        "UV_INDEX_STRATEGY",
        "UV_INDEX_URL",
        "UV_OFFLINE",
        "UV_PYTHON_INSTALL_MIRROR",
    }
)
_WAYS_THERE = frozenset(
    {
        "NETRC",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "SSL_CLIENT_CERT",
        "UV_CONCURRENT_DOWNLOADS",
        "UV_HTTP_RETRIES",
        "UV_HTTP_TIMEOUT",
        "UV_INSECURE_HOST",
        "UV_KEYRING_PROVIDER",
        "UV_NATIVE_TLS",
        "UV_SYSTEM_CERTS",
    }
)
_PROXIES = frozenset({"ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"})
_KEPT = _PLACES_OF_FILES | _SOURCES | _WAYS_THERE | _PROXIES | {name.lower() for name in _PROXIES}
_CREDENTIALS = re.compile(r"UV_INDEX_[A-Z0-9_]+_(USERNAME|PASSWORD)")
_SHOWN_LINES = 10


class UvNotFoundError(CountermarkError):
    """There is no uv to build environments with."""

    code = "uv_not_found"

    def __init__(self, looked: str) -> None:
        super().__init__(
            f"uv, which builds the environments of verifiers, is not here ({looked}). "
            "Install it with `pip install 'countermark[service]'`."
        )
        self.looked = looked


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    status: int
    """Exit status; negative is the number of the signal that ended it, as in `subprocess`."""
    stdout: str
    stderr: str
    timed_out: bool = False
    """Whether it was killed for taking longer than it was given."""

    @property
    def last_lines(self) -> str:
        """The last lines that say something, indented: of stderr, or of stdout if stderr is empty."""
        said = self.stderr.strip() or self.stdout
        lines = [line.rstrip() for line in said.splitlines() if line.strip()]
        return "\n".join(f"  {line}" for line in lines[-_SHOWN_LINES:])

    @property
    def how(self) -> str:
        """The ending in words, such as ``ended with status 2``."""
        if self.timed_out:
            return "was stopped because it took too long"
        if self.status < 0:
            return f"was ended by {signal.Signals(-self.status).name}"
        return f"ended with status {self.status}"


def find_uv() -> Path:
    """Return the uv that came with the service.

    Raises:
        UvNotFoundError: The package is there without its program.
    """
    try:
        return Path(uv_package.find_uv_bin())
    except FileNotFoundError as exc:
        raise UvNotFoundError(str(exc) or "no uv beside this Python") from exc


def surroundings(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that a tool gets: the kept ones of `variables`, and fixed ones."""
    kept = {k: v for k, v in variables.items() if k in _KEPT or _CREDENTIALS.fullmatch(k)}
    return {**kept, "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "PYTHONHASHSEED": "0"}


def run(
    command: Sequence[str | Path],
    *,
    timeout_seconds: float,
    hold: int | None = None,
    cwd: Path | None = None,
    variables: Mapping[str, str] = os.environ,
) -> Ended:
    """Run a program to its end, with its own process group and no input.

    Args:
        command: Program and arguments.
        timeout_seconds: Wall time after which the whole group is killed.
        hold: A descriptor that the program keeps open, such as that of a lock.
        cwd: Working folder; None is this process's.
        variables: What `surroundings` picks from.

    Raises:
        OSError: The program cannot be started.
    """
    timed_out = False
    with contextlib.ExitStack() as owned:
        with _interrupts_held():
            process = subprocess.Popen(
                [os.fspath(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=surroundings(variables),
                cwd=cwd,
                pass_fds=() if hold is None else (hold,),
                start_new_session=True,
            )
            owned.enter_context(process)
            owned.enter_context(_killed_on_error(process))
        try:
            output, errors = process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            timed_out = True
            _kill_group(process)
            output, errors = process.communicate()
    return Ended(process.returncode, _text(output), _text(errors), timed_out)


def run_uv(
    uv: Path, arguments: Sequence[str | Path], *, timeout_seconds: float, hold: int | None = None
) -> Ended:
    """Run uv without progress bars, and without configuration files but for what `told.operator` takes from them.

    Raises:
        UvNotFoundError: `uv` is no program.
    """
    variables = operator()
    command = [uv, *arguments, "--no-config", "--no-progress"]
    if not _may_keep_files(variables):
        command.append("--no-cache")
    try:
        return run(command, timeout_seconds=timeout_seconds, hold=hold, variables=variables)
    except (FileNotFoundError, PermissionError) as exc:
        raise UvNotFoundError(f"{uv}: {exc.strerror}") from exc


def _may_keep_files(variables: Mapping[str, str]) -> bool:
    """Whether uv can have its cache where it has it by default; without one it only fetches what it had before.

    A home that is read-only or somebody else's is usual in containers. A folder that is named for uv it must have.
    """
    # Of os.path, as in `interpreters`: pathlib raises for a user without a home, and a base may be no absolute path.
    base = variables.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    if variables.get("UV_CACHE_DIR") or not os.path.isabs(base):  # noqa: PTH117
        return True
    place = Path(base, "uv")
    there = next(folder for folder in (place, *place.parents) if os.path.lexists(folder))
    return os.access(there, os.W_OK | os.X_OK)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let an interrupt of this thread wait: one that meets a half-started program would leave it behind.

    The program keeps the mask. It has a session of its own, so no terminal interrupts it, and it is
    ended by SIGKILL.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _killed_on_error(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill the group where something is raised, an interrupt included: a tool left behind would write on."""
    try:
        yield
    except BaseException:
        _kill_group(process)
        raise


def _text(stream: bytes) -> str:
    return stream.decode("utf-8", "replace")


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
