"""How a slot is started: the command line, and the zygote's first message.

At level `namespaces` bubblewrap builds a root of the interpreter, its packages and the
system's libraries, read-only, with nothing of the service in it. It runs before any
privilege is dropped, so an interpreter below a folder that candidates' user cannot
enter (another user's home) is bound all the same. At level `landlock` the zygote is a
plain child and Landlock keeps it to the same paths.
"""

import itertools
import os
import shutil
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from countermark_service.sandbox.code.filter import candidate_filter, slot_filter
from countermark_service.sandbox.code.flavour import Flavour
from countermark_service.sandbox.code.inside import kernel
from countermark_service.sandbox.code.model import Level, SandboxUnavailableError
from countermark_service.sandbox.scratch import Scratch

INSIDE = Path(__file__).resolve().parent / "inside"
"""The programs that run in the sandbox."""
_BOX, _SCRATCH, _PROGRAMS = "/box", "/box/w", "/box/lib"
_FIRST_UID, _UIDS = 60578, 600
"""A range that systemd's documentation leaves unused; each slot takes the next one."""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_LIBRARIES = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/share/zoneinfo")
_LINKS = ("/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin")
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - names inside the sandbox, where they lead to the scratch
_PASSWD = b"candidate:x:1000:1000::/box/w:/bin/false\n"
_GROUP = b"candidate:x:1000:\n"
_USER_TASKS_SLACK = 64

_uids = itertools.cycle(range(_FIRST_UID, _FIRST_UID + _UIDS))


@dataclass(frozen=True)
class Claim:
    """A user id that is one slot's alone, on this machine, until `lock` is closed."""

    uid: int
    lock: socket.socket


@dataclass(frozen=True)
class Launch:
    """All that is needed to start one slot."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    config: dict[str, Any]
    data: tuple[tuple[str, bytes], ...]
    """Files to hand over by descriptor: the placeholder in `argv`, the content."""
    sweeps: bool
    """Whether the zygote may kill all that it can signal: nobody else shares its processes or its user,
    and Landlock keeps candidates from signalling it."""
    scratch: Path | None
    """A folder of the host that must be removed at the end (level `landlock`)."""
    claim: Claim | None = None
    """The slot's user, where the service may choose one."""


def _claim_user() -> Claim:
    """Take the next user id that no slot of any service on this machine has.

    The lock is a name in the abstract socket space: the kernel frees it when the
    service ends, however it ends, and no file is left to clean.
    """
    for _ in range(_UIDS):
        uid = next(_uids)
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            lock.bind(f"\0countermark-candidate-{uid}")
        except OSError:
            lock.close()
            continue
        return Claim(uid, lock)
    raise SandboxUnavailableError(f"all {_UIDS} user ids from {_FIRST_UID} on are taken by other sandboxes")


def environment(scratch: str) -> dict[str, str]:
    """Return the whole environment of candidates; nothing of the service's is passed on.

    The C library would reserve 64 MiB for each thread: the address space would be full before there are as many
    threads as are allowed.
    """
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        "PATH": "/usr/bin:/bin", "USER": "candidate", "HOME": scratch, "TMPDIR": scratch,
        "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC",
        "PYTHONHASHSEED": "0", "OPENSSL_CONF": "/dev/null", "LD_BIND_NOW": "1",
        "MALLOC_ARENA_MAX": "2", **threads,
    }  # fmt: skip


def prepare(
    level: Level, flavour: Flavour, scratch: Scratch, *, limit_user_namespaces: bool = True
) -> Launch:
    """Return how to start a slot of `flavour` at `level`.

    Args:
        level: How candidates are held.
        flavour: What they are written in.
        scratch: Where the slot's folder is made, if the level needs one.
        limit_user_namespaces: Keep candidates from making user namespaces by the kernel's own
            counter, which costs next to nothing; False uses a second filter per candidate.

    Raises:
        SandboxUnavailableError: The level's tools are missing.
    """
    if not kernel.supported():
        raise SandboxUnavailableError(
            f"no system call numbers for {kernel.MACHINE}; x86_64 and aarch64 are known"
        )
    claim = _claim_user() if os.geteuid() == 0 else None
    uid = claim.uid if claim is not None else None
    try:
        if level is Level.NAMESPACES:
            return replace(_in_namespaces(flavour, uid, limit_user_namespaces), claim=claim)
        return replace(_by_landlock(flavour, uid, scratch), claim=claim)
    except BaseException:
        if claim is not None:
            claim.lock.close()
        raise


def _in_namespaces(flavour: Flavour, uid: int | None, limit_user_namespaces: bool) -> Launch:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxUnavailableError(
            "bubblewrap (bwrap) is not on the PATH; install it, or allow level landlock"
        )
    argv = [bwrap, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    argv += ["--unshare-user"] if uid is None else []
    argv += ["--die-with-parent", "--new-session", "--hostname", "box", "--clearenv"]
    places = {path: _place_inside(path, number) for number, path in enumerate(_readable(flavour))}
    for folder in sorted(
        {str(parent) for path in places.values() for parent in Path(path).parents} | {_BOX, "/etc", "/var"}
    ):
        argv += ["--dir", folder]  # by itself bwrap makes parents that only their owner can enter
    for path, place in places.items():
        argv += ["--ro-bind", path, place]
    for link in _LINKS:
        if Path(link).is_symlink():
            argv += ["--symlink", str(Path(link).readlink()), link]
        elif Path(link).is_dir():
            argv += ["--ro-bind", link, link]
    argv += ["--ro-bind", str(INSIDE), _PROGRAMS, "--proc", "/proc"]
    if limit_user_namespaces:
        argv += ["--bind", "/proc/sys/user", "/proc/sys/user"]
    argv += ["--dir", "/dev"]
    for device in _DEVICES:
        argv += ["--dev-bind", device, device]
    for link, target in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
                         ("stderr", "/proc/self/fd/2"), ("shm", _SCRATCH)):  # fmt: skip
        argv += ["--symlink", target, f"/dev/{link}"]
    argv += ["--dir", _SCRATCH, *(part for link in _TEMPORARY for part in ("--symlink", _SCRATCH, link))]
    argv += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    argv += ["--perms", "0444", "--ro-bind-data", "{passwd}", "/etc/passwd"]
    argv += ["--perms", "0444", "--ro-bind-data", "{group}", "/etc/group"]
    argv += ["--remount-ro", "/", "--chdir", "/"]
    for name, value in environment(_SCRATCH).items():
        argv += ["--setenv", name, value]
    argv += [
        "--",
        str(flavour.interpreter.executable),
        "-s",
        "-P",
        "-S",
        "-B",
        f"{_PROGRAMS}/boot.py",
        "{control}",
    ]
    config = _config(Level.NAMESPACES, flavour, uid)
    config |= {
        "scratch": _SCRATCH,
        "scratch_rule": _BOX,
        "nproc_base": 1,
        "candidate_filter": "" if limit_user_namespaces else candidate_filter(kernel.MACHINE).hex(),
        "readable": [*places.values(), *(link for link in _LINKS if not Path(link).is_symlink()), "/etc"],
        "import_folders": [places.get(folder, folder) for folder in config["import_folders"]],
    }
    scoped = kernel.landlock_abi() >= kernel.LANDLOCK_SCOPED_ABI
    return Launch(tuple(argv), {}, config, (("passwd", _PASSWD), ("group", _GROUP)), scoped, None)


def _place_inside(path: str, number: int) -> str:
    """Return where a folder of the host is seen: at its own path, unless the scratch lies there."""
    return f"/packages/{number}" if path.startswith(tuple(f"{link}/" for link in _TEMPORARY)) else path


def _by_landlock(flavour: Flavour, uid: int | None, place: Scratch) -> Launch:
    if kernel.landlock_abi() < kernel.LANDLOCK_SCOPED_ABI:
        raise SandboxUnavailableError(
            f"the kernel offers Landlock ABI {kernel.landlock_abi()}; level landlock needs "
            f"{kernel.LANDLOCK_SCOPED_ABI} (Linux 6.12), so that candidates cannot signal other processes"
        )
    scratch = place.new("candidate")
    if uid is not None:
        os.chown(scratch, uid, uid)
    argv = (str(flavour.interpreter.executable), "-s", "-P", "-S", "-B", str(INSIDE / "boot.py"), "{control}")
    config = _config(Level.LANDLOCK, flavour, uid)
    config |= {
        "scratch": str(scratch),
        "scratch_rule": str(scratch),
        "nproc_base": 4 if uid is not None else _user_tasks() + _USER_TASKS_SLACK,
        "candidate_filter": "",
        "readable": [
            *_readable(flavour),
            *(link for link in _LINKS if not Path(link).is_symlink()),
            "/etc/ld.so.cache",
        ],
    }
    return Launch(argv, environment(str(scratch)), config, (), uid is not None, scratch)


def _config(level: Level, flavour: Flavour, uid: int | None) -> dict[str, Any]:
    executes = flavour.program is not None
    program = slot_filter(kernel.MACHINE, executes=executes, namespaces=level is Level.NAMESPACES)
    return {
        "level": str(level),
        "uid": uid,
        "gid": uid,
        "executes": executes,
        "landlock": kernel.landlock_abi() > 0,
        "slot_filter": program.hex(),
        "devices": list(_DEVICES),
        "import_folders": [str(path) for path in (*flavour.interpreter.library, *flavour.site_packages)],
        "preload": list(flavour.preload),
    }


def _readable(flavour: Flavour) -> list[str]:
    """Return the folders that candidates may read, none inside another."""
    wanted = {str(flavour.interpreter.prefix), *(str(path) for path in flavour.site_packages)}
    wanted |= {"/usr"} if flavour.program is not None else set(_LIBRARIES)
    present = sorted(path for path in wanted if Path(path).is_dir())
    return [
        path for path in present if not any(path != top and path.startswith(top + "/") for top in present)
    ]


def _user_tasks() -> int:
    """Count the tasks of this service's user, as the kernel does for its process limit."""
    mine, count = os.getuid(), 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if entry.stat().st_uid == mine:
                    count += len(list((entry / "task").iterdir()))
            except OSError:
                continue  # it ended meanwhile
    return count
