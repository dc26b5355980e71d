"""Which level this machine gives, found by attacking it.

Version numbers and flags say what should work; a container's profile, a hardened
kernel or an old bubblewrap say otherwise, and silently. So each level is tried with
real attacks through the path that candidates take. A level counts if every one of them
is held off. There is no level below `landlock`, and no downgrade that nobody asked for:
the report says what was found and why anything better was not.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from countermark_service.sandbox.code.filter import filter_digest, slot_filter
from countermark_service.sandbox.code.flavour import Flavour
from countermark_service.sandbox.code.inside import kernel
from countermark_service.sandbox.code.model import (
    Level,
    Limits,
    SandboxShortageError,
    SandboxSilentError,
    SandboxUnavailableError,
    Status,
)
from countermark_service.sandbox.code.pool import SandboxPool
from countermark_service.sandbox.code.shortage import shortage_told
from countermark_service.sandbox.scratch import Scratch
from countermark_service.sandbox.system_calls import number_of

_LIMITS = Limits(
    cpu_seconds=2,
    wall_seconds=6,
    memory_mib=96,
    address_space_mib=512,
    processes=8,
    stdout_bytes=4096,
    scratch_mib=1,
)
_START_SECONDS = 20.0
"""For a sandbox of nothing but an interpreter; it takes a tenth of a second."""
_SECRET = b"countermark-probe-secret"


@dataclass(frozen=True)
class LevelReport:
    """What this machine gives."""

    level: Level | None
    """The best level that held, None where none did."""
    layers: tuple[str, ...]
    """What holds candidates at that level, for people and records."""
    reasons: tuple[str, ...]
    """Why each better level did not hold, one line each, opening with the level's name."""
    kernel: str
    """Release of the running kernel."""
    landlock_abi: int
    filter_hash: str
    """Digest of the system-call filter; empty without a level."""
    limit_user_namespaces: bool = True
    """How candidates are kept from making user namespaces; pass it on to the pool."""
    silent: bool = False
    """Whether a sandbox was waited for in vain. To look once more would take as long again, and find as much."""


@dataclass(frozen=True)
class _Attack:
    """A program that prints ``held`` where the sandbox holds, or must end in `expect`."""

    name: str
    source: str
    expect: frozenset[Status] = frozenset({Status.OK})


def _attacks(canary: Path, port: int) -> Sequence[_Attack]:
    service = os.getpid()
    time_or_memory = frozenset({Status.MEMORY_LIMIT})
    return (
        _Attack("read a file of the host", _try(f"open({str(canary)!r}).read()")),
        _Attack("write outside the scratch", _try(
            *(f"open({path!r}, 'w')" for path in ("/usr/x", "/etc/x", "/x", "/var/x")))),
        _Attack("connect to a port of the host", "import socket\n" + _try(
            f"socket.create_connection(('127.0.0.1', {port}), timeout=1)", "socket.socket(socket.AF_UNIX)")),
        _Attack("kill the service and its own keeper", "import os, time\n" + _survive(
            f"os.kill({service}, 9)", "os.kill(os.getppid(), 9)", "os.kill(1, 9)")),
        _Attack("raise a limit", "import resource\n" + _try(
            "resource.setrlimit(resource.RLIMIT_NPROC, (10**6, 10**6))",
            "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))")),
        _Attack("execute another program", "import os\n" + _try(
            "os.execv('/bin/sh', ['sh', '-c', 'echo no'])")),
        _Attack("make a user namespace", "import ctypes\nlibc = ctypes.CDLL(None)\n" + _make_namespaces()),
        _Attack("leave a child behind", _DAEMON),
        _Attack("make 64 processes", _FORKS, frozenset({Status.OK, Status.RESOURCE_LIMIT})),
        _Attack("use twice the memory, in parts", _MEMORY, time_or_memory),
        _Attack("write twice the output", "print('x' * 8192)", frozenset({Status.OUTPUT_LIMIT})),
        _Attack("write twice the files", _FILES, frozenset({Status.OK, Status.RESOURCE_LIMIT})),
    )  # fmt: skip


def _try(*statements: str) -> str:
    """Return a program that prints ``held`` if every statement is refused by the system."""
    lines = ["held = True"]
    for statement in statements:
        lines += [
            "try:",
            f"    {statement}",
            "    held = False",
            "except OSError: pass",
            "except ValueError: pass",
        ]
    return "\n".join([*lines, "print('held' if held else 'escaped')"])


def _survive(*statements: str) -> str:
    lines = []
    for statement in statements:
        lines += ["try:", f"    {statement}", "except OSError: pass"]
    return "\n".join([*lines, "time.sleep(0.05)", "print('held')"])


def _make_namespaces() -> str:
    clone = number_of("clone", kernel.MACHINE)
    return (
        f"pid = libc.syscall({clone}, {kernel.CLONE_NEWUSER | kernel.SIGCHLD}, 0, 0, 0, 0)\n"
        "import os\nif pid == 0: os._exit(0)\n"
        f"made = pid > 0 or libc.unshare({kernel.CLONE_NEWUSER}) == 0\n"
        "print('escaped' if made else 'held')"
    )


_DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(3600)
    os._exit(0)
print("held")
"""
# Where candidates have the service's own user, the kernel's limit leaves room for the service, and what holds is that
# the sum is watched: not from the first moment on.
_FORKS = """
import os, time
made = 0
for _ in range(64):
    try:
        if os.fork() == 0:
            time.sleep(10)
            os._exit(0)
        made += 1
    except OSError:
        pass
if made >= 32:
    time.sleep(2)
print("held" if made < 32 else "escaped")
"""
_MEMORY = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        x = bytearray(b"x") * (48 << 20)
        time.sleep(10)
        os._exit(0)
time.sleep(10)
"""
_FILES = """
import os, time
size = 0
try:
    for number in range(4):
        with open(str(number), "wb") as file:
            size += file.write(b"x" * (1 << 19))
            file.flush()
    time.sleep(1)
except OSError:
    print("held")
else:
    print("escaped")
"""


async def probe(flavour: Flavour, *, levels: Sequence[Level] = tuple(Level)) -> LevelReport:
    """Attack each of `levels`, best first, and report the first that holds.

    Args:
        flavour: A Python flavour; its interpreter runs the attacks.
        levels: Those to try.

    Raises:
        SandboxShortageError: The machine has run out of something, and nothing was found.
    """
    reasons: list[str] = []
    silent = False
    for level in levels:
        reason: str | None = None
        try:
            for limit_user_namespaces in (True, False) if level is Level.NAMESPACES else (True,):
                reason = await _hold(level, flavour, limit_user_namespaces)
                if reason is None:
                    return replace(_report(level, tuple(reasons), limit_user_namespaces), silent=silent)
        except SandboxSilentError as error:
            silent, reason = True, str(error)
        reasons.append(f"{level}: {reason}")
    return LevelReport(None, (), tuple(reasons), os.uname().release, kernel.landlock_abi(), "", silent=silent)


async def _hold(level: Level, flavour: Flavour, limit_user_namespaces: bool) -> str | None:
    """Return None if the level holds against every attack, else the first reason why not."""
    pool = SandboxPool(
        level, flavour, slots=1, limit_user_namespaces=limit_user_namespaces, start_seconds=_START_SECONDS
    )
    try:
        async with pool:
            with shortage_told(), _bait() as (canary, port):
                for attack in _attacks(canary, port):
                    reason = await _withstand(pool, attack)
                    if reason is not None:
                        return reason
    except (SandboxShortageError, SandboxSilentError):
        raise  # the one says nothing of the level, the other all there is to know
    except (SandboxUnavailableError, OSError) as error:
        return str(error)
    return None


async def _withstand(pool: SandboxPool, attack: _Attack) -> str | None:
    (result,) = await pool.run_tests(attack.source.encode(), [b""], _LIMITS)
    if result.status not in attack.expect:
        return f"attack {attack.name!r} ended as {result.status}: {result.message or result.stderr[-300:]!r}"
    if result.status is Status.OK and result.stdout != b"held\n":
        return f"attack {attack.name!r} was not held off"
    if survivors(pool):
        return f"attack {attack.name!r} left processes behind"
    return None


@contextmanager
def _bait() -> Iterator[tuple[Path, int]]:
    """Put out a readable file and a listening port; nothing in a sandbox may reach either."""
    with Scratch() as scratch, socket.create_server(("127.0.0.1", 0)) as server:
        folder = scratch.new("bait")
        folder.chmod(0o755)
        canary = folder / "canary"
        canary.write_bytes(_SECRET)
        canary.chmod(0o644)
        yield canary, server.getsockname()[1]


def survivors(pool: SandboxPool) -> list[int]:
    """Return the processes below the pool's zygotes; while no candidate runs there must be none."""
    children: dict[int, list[int]] = {}
    for name in (entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        try:
            stat = Path(f"/proc/{name}/stat").read_text()
        except OSError:
            continue  # it ended between the listing and the look
        children.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(int(name))
    line = pool.processes()
    for _ in range(2 if pool.level is Level.NAMESPACES else 0):  # bwrap, its process 1, the zygote
        line = [child for pid in line for child in children.get(pid, [])]
    return [child for pid in line for child in children.get(pid, [])]


def _report(level: Level, reasons: tuple[str, ...], limit_user_namespaces: bool) -> LevelReport:
    abi = kernel.landlock_abi()
    layers = ["namespaces user pid mount ipc uts net", "read-only root by bubblewrap", "tmpfs scratch"]
    if level is Level.LANDLOCK:
        layers = ["signals and tracing kept inside by Landlock scopes", "scratch folder, emptied"]
    layers += [f"landlock abi {abi}"] if abi else []
    layers += ["seccomp filter", "resource limits", "sums watched over all processes"]
    layers += ["unprivileged user of its own per slot" if os.geteuid() == 0 else "the service's user"]
    if level is Level.NAMESPACES:
        layers.append(
            "no further user namespaces by " + ("the kernel's limit" if limit_user_namespaces else "a filter")
        )
    digest = filter_digest(slot_filter(kernel.MACHINE, executes=False, namespaces=level is Level.NAMESPACES))
    return LevelReport(level, tuple(layers), reasons, os.uname().release, abi, digest, limit_user_namespaces)
