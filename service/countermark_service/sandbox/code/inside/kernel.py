"""The kernel's side of containment: raw system calls, each checked.

Python has no binding for most of what a sandbox is made of (`clone` with
namespaces, `mount`, `capset`, `seccomp`, `landlock_*`), so this module calls them
through ctypes. Every return value is looked at: a layer that failed must stop the
process and never be skipped. It knows numbers and structures, and no policy.
"""

import ctypes
import os
import stat
import struct

MACHINE = os.uname().machine

_NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "clone": 56, "capset": 126, "prctl": 157, "mount": 165, "seccomp": 317,
        "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446,
    },
    "aarch64": {
        "clone": 220, "capset": 91, "prctl": 167, "mount": 40, "seccomp": 277,
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
_api = ctypes.pythonapi


def supported() -> bool:
    """Whether this module knows the system call numbers of the machine it runs on."""
    return os.uname().sysname == "Linux" and MACHINE in _NUMBERS


def _call(name: str, *args: int) -> int:
    """Make the system call `name` and return its result; raise OSError with its name on failure."""
    padded = (*args, 0, 0, 0, 0, 0, 0)[:6]
    result: int = _raw(_NUMBERS[MACHINE][name], *padded)
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def clone(flags: int) -> int:
    """Fork into new namespaces; return 0 in the child and the child's pid in the parent.

    `os.fork` cannot pass flags, and `unshare` plus a fork costs a second process.
    The interpreter's own hooks run as `os.fork` would run them.
    """
    _api.PyOS_BeforeFork()
    pid = _raw(_NUMBERS[MACHINE]["clone"], flags | SIGCHLD, 0, 0, 0, 0, 0)
    if pid == 0:
        _api.PyOS_AfterFork_Child()
        return 0
    code = ctypes.get_errno()
    _api.PyOS_AfterFork_Parent()
    if pid == -1:
        raise OSError(code, f"clone: {os.strerror(code)}")
    return int(pid)


def mount_tmpfs(target: str, *, size: int, inodes: int, executable: bool) -> None:
    """Mount an empty tmpfs of `size` bytes and `inodes` entries on the folder `target`."""
    kind = ctypes.create_string_buffer(b"tmpfs")
    where = ctypes.create_string_buffer(os.fsencode(target))
    options = ctypes.create_string_buffer(b"size=%d,nr_inodes=%d,mode=700" % (size, inodes))
    flags = MS_NOSUID | MS_NODEV | (0 if executable else MS_NOEXEC)
    kind_at = ctypes.addressof(kind)
    _call("mount", kind_at, ctypes.addressof(where), kind_at, flags, ctypes.addressof(options))


def drop_capabilities() -> None:
    """Give up every capability of this process, in all three sets."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0), 8)
    data = ctypes.create_string_buffer(24)
    _call("capset", ctypes.addressof(header), ctypes.addressof(data))


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
    """Allow or refuse that others of the same user trace this process and read its /proc entries."""
    _call("prctl", _PR_SET_DUMPABLE, int(dumpable))


def set_parent_death_signal(number: int) -> None:
    """Have the kernel send signal `number` when the parent ends."""
    _call("prctl", _PR_SET_PDEATHSIG, number)


def become_subreaper() -> None:
    """Adopt every orphan below this process, so that none can slip away."""
    _call("prctl", _PR_SET_CHILD_SUBREAPER, 1)


def load_filter(program: bytes) -> None:
    """Install a seccomp filter, given as packed `sock_filter` records of 8 bytes."""
    code = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(
        struct.pack("@HxxxxxxQ", len(program) // 8, ctypes.addressof(code)), 16
    )
    _call("seccomp", _SECCOMP_SET_MODE_FILTER, 0, ctypes.addressof(header))


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


def landlock_enter(ruleset: int) -> None:
    """Put this process, for ever, into a new domain under `ruleset`."""
    _call("landlock_restrict_self", ruleset, 0)
