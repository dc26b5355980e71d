"""The kernel's side of containment: raw system calls, each checked.

Python has no binding for most of what a sandbox is made of (`clone` with
namespaces, `mount`, `capset`, `seccomp`, `landlock_*`), so this module calls them
through ctypes. Every return value is looked at: a layer that failed must stop the
process and never be skipped. It knows numbers and structures, and no policy.

What a process does after it was forked, or has forked, costs it twice: the work, and a
copy of each page of memory that the work touches. `Steps`, `Children` and `OpenFolder`
lay calls out before, so that then they only have to be made, and make few objects.
"""

import ctypes
import os
import stat
import struct
from typing import Any, NoReturn

MACHINE = os.uname().machine

_NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "write": 1, "close": 3, "lseek": 8, "clone": 56, "wait4": 61, "kill": 62, "chdir": 80, "umask": 95,
        "capset": 126, "setpriority": 141, "prctl": 157, "mount": 165, "flistxattr": 196, "getdents64": 217,
        "openat": 257, "prlimit64": 302, "seccomp": 317, "statx": 332,
        "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446,
    },
    "aarch64": {
        "flistxattr": 13, "mount": 40, "chdir": 49, "openat": 56, "close": 57, "getdents64": 61, "lseek": 62,
        "write": 64, "capset": 91, "kill": 129, "setpriority": 140, "umask": 166, "prctl": 167, "clone": 220,
        "wait4": 260, "prlimit64": 261, "seccomp": 277, "statx": 291,
        "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446,
    },
}  # fmt: skip

SIGCHLD = 17
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000

MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8

RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_STACK, RLIMIT_CORE = 0, 1, 3, 4
RLIMIT_NPROC, RLIMIT_NOFILE, RLIMIT_MEMLOCK, RLIMIT_AS = 6, 7, 8, 9
RLIMIT_SIGPENDING, RLIMIT_MSGQUEUE = 11, 12

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 36, 38
_LAST_CAPABILITY = 63
_SECCOMP_SET_MODE_FILTER = 1
_AT_FDCWD = -100
_UNLIMITED = (1 << 64) - 1
_LOWEST_PRIORITY = 19

LANDLOCK_EXECUTE, LANDLOCK_WRITE_FILE, LANDLOCK_READ_FILE, LANDLOCK_READ_DIR = 1, 2, 4, 8
LANDLOCK_TRUNCATE, LANDLOCK_IOCTL_DEV = 1 << 14, 1 << 15
LANDLOCK_FILE_RIGHTS = (
    LANDLOCK_EXECUTE | LANDLOCK_WRITE_FILE | LANDLOCK_READ_FILE | LANDLOCK_TRUNCATE | LANDLOCK_IOCTL_DEV
)
"""The rights that make sense on something that is not a folder; others are refused there."""
LANDLOCK_SCOPED_ABI = 6
"""The first ABI with scopes. Below it a candidate could signal processes outside."""
_LANDLOCK_TCP, _LANDLOCK_SCOPES = 3, 3
_LANDLOCK_RIGHTS_BY_ABI = {1: 1 << 13, 2: 1 << 14, 3: 1 << 15, 4: 1 << 15, 5: 1 << 16}
_LANDLOCK_CREATE_RULESET_VERSION = 1
_LANDLOCK_RULE_PATH_BENEATH = 1

_c_long = ctypes.c_long
_libc = ctypes.PyDLL(
    None, use_errno=True
)  # PyDLL: the lock stays held, so a child of `clone` wakes up holding it
_raw = _libc.syscall
_raw.restype = _c_long
_raw.argtypes = [_c_long] * 7
_before_fork = ctypes.pythonapi.PyOS_BeforeFork
_after_fork_in_parent, _after_fork_in_child = (
    ctypes.pythonapi.PyOS_AfterFork_Parent,
    ctypes.pythonapi.PyOS_AfterFork_Child,
)  # looked up here: a look-up in the child would be done anew in each
for _hook in (_before_fork, _after_fork_in_parent, _after_fork_in_child):
    _hook.restype, _hook.argtypes = None, ()


WAIT_ALL = 0x40000000
"""__WALL: also children made by `clone` without SIGCHLD, which a plain wait would leave running."""
_SIGKILL, _ECHILD, _EINTR = 9, 10, 4
_ENDED = struct.Struct("=i12xqqqqq")
"""Where `wait4` is told to write: the status, then of `struct rusage` user and system time and the peak."""
_AT_EMPTY_PATH, _STATX_MODE_AND_CTIME = 0x1000, 0x82
_FACTS = struct.Struct("=28xH66xqI")
"""Of `struct statx`: the mode and the time of the last change."""
_STATX_BYTES, _ENTRIES_BYTES = 256, 64
_NO_ENTRIES = struct.Struct("=19x2s22x3s")
"""The two names of an empty folder's list, which takes 48 bytes."""

_KEPT_ON_TOP = ctypes.c_size_t(128 << 10)
"""Bytes of free memory for what forks allocate first, so that they need not ask the system for it."""

_CLOSE = _NUMBERS.get(MACHINE, {}).get("close", -1)


def supported() -> bool:
    """Whether this module knows the system call numbers of the machine it runs on."""
    return os.uname().sysname == "Linux" and MACHINE in _NUMBERS


def _call(name: str, *args: int) -> int:
    """Make the system call `name` and return its result; raise OSError with its name on failure."""
    result: int = _raw(*_padded(name, *args))
    if result == -1:
        _fail(name)
    return result


def _padded(name: str, *args: int) -> tuple[int, ...]:
    """Return the number of the system call `name` and its six arguments."""
    return (_NUMBERS[MACHINE][name], *(*args, 0, 0, 0, 0, 0, 0)[:6])


def _fail(name: str) -> NoReturn:
    """Raise the error that the last call has left."""
    code = ctypes.get_errno()
    raise OSError(code, f"{name}: {os.strerror(code)}")


def clone(flags: int) -> int:
    """Fork into new namespaces; return 0 in the child and the child's pid in the parent.

    `os.fork` cannot pass flags, and `unshare` plus a fork costs a second process.
    The interpreter's own hooks run as `os.fork` would run them.
    """
    _before_fork()
    pid = _raw(_NUMBERS[MACHINE]["clone"], flags | SIGCHLD, 0, 0, 0, 0, 0)
    if pid == 0:
        _after_fork_in_child()
        return 0
    code = ctypes.get_errno()
    _after_fork_in_parent()
    if pid == -1:
        raise OSError(code, f"clone: {os.strerror(code)}")
    return int(pid)


class Steps:
    """System calls made ready, to be made later in this order; where one fails, those after it are not made."""

    def __init__(self) -> None:
        self._calls: list[tuple[str, tuple[int, ...], tuple[int, ...] | None]] = []
        """Name for errors, number and arguments; and, of a file that is opened, how it is written."""
        self._kept: list[Any] = []
        """What the arguments point to."""

    def take(self) -> None:
        """Make the calls.

        Raises:
            OSError: One failed; says which.
        """
        for name, arguments, writing in self._calls:
            result = _raw(*arguments)
            if result != -1 and writing is not None:
                opened, result = result, _raw(writing[0], result, *writing[1:])
                if _raw(_CLOSE, opened, 0, 0, 0, 0, 0) == -1:
                    _fail(name)
            if result == -1:
                _fail(name)

    def change_folder(self, path: str) -> None:
        """Make `path` the working folder."""
        self._add("chdir", self._text(path))

    def umask(self, mode: int) -> None:
        """Set the rights that new files are not given."""
        self._add("umask", mode)

    def limit(self, kind: int, most: int, ceiling: int | None = None) -> None:
        """Set a resource limit, soft and hard alike unless a `ceiling` is given; negative for none."""
        soft, hard = most & _UNLIMITED, (most if ceiling is None else ceiling) & _UNLIMITED
        self._add("prlimit64", 0, kind, self._bytes(struct.pack("=QQ", min(soft, hard), hard)))

    def lower_priority(self, by: int) -> None:
        """Set the niceness to what it is now, while this is made ready, and `by` more."""
        niceness = min(os.getpriority(os.PRIO_PROCESS, 0) + by, _LOWEST_PRIORITY)
        self._add("setpriority", os.PRIO_PROCESS, 0, niceness)

    def write_file(self, path: str, content: str) -> None:
        """Write `content` to the existing file `path`, at once."""
        text = content.encode()
        opening = _padded("openat", _AT_FDCWD, self._text(path), os.O_WRONLY | os.O_CLOEXEC)
        number, *rest = _padded("write", self._bytes(text), len(text))
        self._calls.append((f"write {path}", opening, (number, *rest[:-1])))

    def mount_tmpfs(self, target: str, *, size: int, inodes: int, executable: bool) -> None:
        """Mount an empty tmpfs of `size` bytes and `inodes` entries on the folder `target`."""
        kind = self._text("tmpfs")
        options = self._text(f"size={size},nr_inodes={inodes},mode=700")
        flags = MS_NOSUID | MS_NODEV | (0 if executable else MS_NOEXEC)
        self._add("mount", kind, self._text(target), kind, flags, options)

    def drop_capabilities(self) -> None:
        """Give up every capability of this process, in all three sets."""
        self._add("capset", self._bytes(struct.pack("=Ii", 0x20080522, 0)), self._bytes(bytes(24)))

    def set_dumpable(self, dumpable: bool) -> None:
        """Allow or refuse that others of the same user trace this process and read its /proc entries."""
        self._add("prctl", _PR_SET_DUMPABLE, int(dumpable))

    def load_filter(self, program: bytes) -> None:
        """Install a seccomp filter, given as packed `sock_filter` records of 8 bytes."""
        header = struct.pack("@HxxxxxxQ", len(program) // 8, self._bytes(program))
        self._add("seccomp", _SECCOMP_SET_MODE_FILTER, 0, self._bytes(header))

    def landlock_enter(self, ruleset: int) -> None:
        """Put this process, for ever, into a new domain under `ruleset`."""
        self._add("landlock_restrict_self", ruleset, 0)

    def _add(self, name: str, *arguments: int) -> None:
        self._calls.append((name, _padded(name, *arguments), None))

    def _text(self, text: str) -> int:
        return self._bytes(os.fsencode(text) + b"\0")

    def _bytes(self, content: bytes) -> int:
        """Keep `content` in memory that stays where it is; return where that is."""
        buffer = ctypes.create_string_buffer(content, len(content))
        self._kept.append(buffer)
        return ctypes.addressof(buffer)


class Children:
    """The processes below this one, reaped with what they used.

    `os.wait4` makes a record of sixteen numbers each time, and of a call that meets nobody an exception.
    """

    def __init__(self, end_by: int = _SIGKILL) -> None:
        """`end_by` is the signal that ends all; 0 ends nobody, where nobody is to be ended."""
        self._room = ctypes.create_string_buffer(256)
        status = ctypes.addressof(self._room)
        self._wait4 = _NUMBERS[MACHINE]["wait4"], status, status + 16
        self._kill_all = _padded("kill", -1, end_by)

    def reap(self, pid: int = -1, options: int = WAIT_ALL) -> tuple[int, int, float, int] | None:
        """Wait for child `pid`, or for any; see wait4(2).

        Returns:
            Its number, wait status, CPU seconds, and largest resident memory in KiB, of itself and all that it
            has waited for; 0 and nothing used where none has ended and `options` say not to wait; None where
            there is no such child.
        """
        number, status, usage = self._wait4
        while True:
            found = _raw(number, pid, status, options, usage, 0, 0)
            if found > 0:
                ended, user, user_part, system, system_part, peak = _ENDED.unpack_from(self._room)
                return found, ended, user + system + (user_part + system_part) / 1e6, peak
            if found == 0:
                return 0, 0, 0.0, 0
            code = ctypes.get_errno()
            if code == _ECHILD:
                return None
            if code != _EINTR:
                _fail("wait4")

    def kill_all(self) -> None:
        """Kill every process that this one may signal but itself. That there is none is no failure."""
        _raw(*self._kill_all)


class OpenFolder:
    """A folder that is held open, and whether anything has changed in it or on it."""

    def __init__(self, path: str) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._room = ctypes.create_string_buffer(_STATX_BYTES + _ENTRIES_BYTES)
        at = ctypes.addressof(self._room)
        self._path = ctypes.create_string_buffer(b"")
        path_at = ctypes.addressof(self._path)
        self._statx = _padded("statx", self.number, path_at, _AT_EMPTY_PATH, _STATX_MODE_AND_CTIME, at)
        self._attributes = _padded("flistxattr", self.number, 0, 0)
        self._rewind = _padded("lseek", self.number, 0, os.SEEK_SET)
        self._list = _padded("getdents64", self.number, at + _STATX_BYTES, _ENTRIES_BYTES)

    def mark(self) -> tuple[int, ...]:
        """Return what changes when anything is written into the folder or onto it."""
        if _raw(*self._statx) == -1:
            _fail("statx")
        return *_FACTS.unpack_from(self._room), _raw(*self._attributes)

    def is_empty(self) -> bool:
        """Whether nothing is in it, as far as can be told."""
        listed = _raw(*self._rewind) == 0 and _raw(*self._list) == 48 and _raw(*self._list) == 0
        if not listed:  # the second call has written nothing
            return False
        return _NO_ENTRIES.unpack_from(self._room, _STATX_BYTES) == (b".\0", b"..\0")


def give_back_memory() -> None:
    """Return freed memory to the system: a fork copies the tables of all pages, whether they are in use or not."""
    if hasattr(_libc, "malloc_trim"):  # glibc's
        _libc.malloc_trim(_KEPT_ON_TOP)


def drop_bounding_set() -> None:
    """Make sure that no later `exec` can bring a capability back."""
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            _call("prctl", _PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == 22:  # EINVAL: past the last one that this kernel knows
                return
            raise


def set_no_new_privileges() -> None:
    """Forbid privileges through exec; needed before a filter or a Landlock domain without root."""
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1)


def set_dumpable(dumpable: bool) -> None:
    """See `Steps.set_dumpable`; at once."""
    steps = Steps()
    steps.set_dumpable(dumpable)
    steps.take()


def set_parent_death_signal(number: int) -> None:
    """Have the kernel send signal `number` when the parent ends."""
    _call("prctl", _PR_SET_PDEATHSIG, number)


def become_subreaper() -> None:
    """Adopt every orphan below this process, so that none can slip away."""
    _call("prctl", _PR_SET_CHILD_SUBREAPER, 1)


def load_filter(program: bytes) -> None:
    """See `Steps.load_filter`; at once."""
    steps = Steps()
    steps.load_filter(program)
    steps.take()


def landlock_abi() -> int:
    """Return the Landlock ABI of the kernel, 0 where it has none or keeps it switched off."""
    try:
        return _call("landlock_create_ruleset", 0, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    except OSError:
        return 0


def landlock_rights(abi: int) -> int:
    """Return every file system right that a kernel of this ABI can refuse."""
    return _LANDLOCK_RIGHTS_BY_ABI[min(abi, 5)] - 1


def landlock_ruleset(abi: int, *, files: bool) -> int:
    """Return the descriptor of a new ruleset that refuses all that no rule allows.

    Args:
        abi: What the kernel offers, at least 1; later rights are left out below their ABI.
        files: Handle the file system and TCP too, beside signals and abstract sockets.
    """
    rights = landlock_rights(abi) if files else 0
    tcp = _LANDLOCK_TCP if files and abi >= 4 else 0
    scopes = _LANDLOCK_SCOPES if abi >= LANDLOCK_SCOPED_ABI else 0
    attribute = ctypes.create_string_buffer(struct.pack("=QQQ", rights, tcp, scopes), 24)
    return _call("landlock_create_ruleset", ctypes.addressof(attribute), 24, 0)


def landlock_allow(ruleset: int, path: str, access: int) -> None:
    """Allow `access` on `path` and, if it is a folder, on everything beneath it.

    A folder's rule also covers what is mounted on its subfolders later; a rule on
    a mount point itself would not.
    """
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            access &= LANDLOCK_FILE_RIGHTS
        rule = ctypes.create_string_buffer(struct.pack("=Qi", access, descriptor), 12)
        _call("landlock_add_rule", ruleset, _LANDLOCK_RULE_PATH_BENEATH, ctypes.addressof(rule), 0)
    finally:
        os.close(descriptor)
