"""The system-call filter of a verifier worker, as classic BPF bytes.

A worker computes; it needs memory, files that it may read, and its pipes. What
is refused, and why:

- new processes and programs: a verifier that forks could outlive its deadline;
- sockets: no network, even where no network namespace is to be had;
- signals to others, ptrace and the like: workers of one bundle share a user id;
- kernel interfaces with a history of holes (bpf, io_uring, userfaultfd, keys);
- one mapping of more than the memory limit: the process is killed outright. A
  failed allocation would surface as MemoryError, which verifier libraries catch
  and turn into "not equal": a failure would become a zero.

The filter is the same bytes for every worker of a bundle; it is loaded by the
harness after the fork, when nothing of the item has been read.
"""

import platform
import struct
from dataclasses import dataclass

_LD_W_ABS = 0x20
_JEQ = 0x15
_JGE = 0x35
_JSET = 0x45
_RET = 0x06

_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_EPERM = 0x00050000 | 1
_ENOSYS = 0x00050000 | 38

_OFFSET_NR = 0
_OFFSET_ARCH = 4
_CLONE_THREAD = 0x00010000


def _argument(index: int, *, high: bool = False) -> int:
    return 16 + 8 * index + (4 if high else 0)


@dataclass(frozen=True)
class _Architecture:
    audit: int
    column: int
    """Which number of a `_CALLS` row is this architecture's."""
    x32: bool
    """True where a second numbering (bit 30) must be refused."""


_ARCHITECTURES = {
    "x86_64": _Architecture(0xC000003E, 0, x32=True),
    "aarch64": _Architecture(0xC00000B7, 1, x32=False),
}

# Numbers on x86_64 and aarch64; None where the architecture has no such call.
_HOT: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63), "write": (1, 64), "setitimer": (38, 103), "openat": (257, 56), "close": (3, 57),
    "getdents64": (217, 61), "futex": (202, 98), "brk": (12, 214), "munmap": (11, 215),
}  # fmt: skip
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200),
    "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242),
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kill": (62, 129), "tkill": (200, 130), "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430), "fsmount": (432, 432),
    "fsconfig": (431, 431), "fspick": (433, 433), "mount_setattr": (442, 442),
    "pivot_root": (155, 41), "chroot": (161, 51), "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "msgget": (68, 186), "semget": (64, 190), "shmget": (29, 194), "mq_open": (240, 180),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "setpriority": (141, 140),
    "sched_setscheduler": (144, 119), "sched_setattr": (314, 274), "syslog": (103, 116),
    "personality": (135, 92), "fanotify_init": (300, 262),
}  # fmt: skip
_CLONE = (56, 220)
_CLONE3 = (435, 435)
_PRLIMIT = (302, 261)
_MMAP = (9, 222)
_MREMAP = (25, 216)


def worker_filter(*, largest_mapping: int, machine: str | None = None) -> bytes | None:
    """Return the filter as an array of `struct sock_filter`, None on an unknown machine.

    Args:
        largest_mapping: Bytes; a single mapping of this size or more kills the process.
        machine: Machine name as `platform.machine` gives it; this one's by default.
    """
    architecture = _ARCHITECTURES.get(machine or platform.machine())
    if architecture is None:
        return None
    code = [
        _op(_LD_W_ABS, _OFFSET_ARCH),
        _op(_JEQ, architecture.audit, 1, 0),
        _op(_RET, _KILL_PROCESS),
        _op(_LD_W_ABS, _OFFSET_NR),
    ]
    if architecture.x32:
        code += [_op(_JGE, 0x40000000, 0, 1), _op(_RET, _ENOSYS)]
    column = architecture.column
    code += _answer([row[column] for row in _HOT.values()], _ALLOW)
    code += _answer([row[column] for row in _REFUSED.values()], _EPERM)
    code += _answer([_CLONE3[column]], _ENOSYS)
    code += _when(_CLONE[column], _threads_only())
    code += _when(_PRLIMIT[column], _own_process_only())
    code += _when(_MMAP[column], _below(_argument(1), _argument(1, high=True), largest_mapping))
    code += _when(_MREMAP[column], _below(_argument(2), _argument(2, high=True), largest_mapping))
    code.append(_op(_RET, _ALLOW))
    return b"".join(code)


def _op(code: int, k: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, jump_true, jump_false, k)


def _answer(numbers: list[int | None], action: int) -> list[bytes]:
    """Answer any call of `numbers` with `action`; fall through otherwise."""
    present = [number for number in numbers if number is not None]
    tests = [_op(_JEQ, number, len(present) - place, 0) for place, number in enumerate(present)]
    # The last test falls into the jump over the action; the others jump to the action itself.
    return [*tests, _op(0x05, 1), _op(_RET, action)]


def _when(number: int, body: list[bytes]) -> list[bytes]:
    """Run `body`, which ends in returns, where the call is `number`."""
    return [_op(_JEQ, number, 0, len(body)), *body]


def _threads_only() -> list[bytes]:
    return [
        _op(_LD_W_ABS, _argument(0)),
        _op(_JSET, _CLONE_THREAD, 0, 1),
        _op(_RET, _ALLOW),
        _op(_RET, _EPERM),
    ]


def _own_process_only() -> list[bytes]:
    return [_op(_LD_W_ABS, _argument(0)), _op(_JEQ, 0, 0, 1), _op(_RET, _ALLOW), _op(_RET, _EPERM)]


def _below(low: int, high: int, limit: int) -> list[bytes]:
    """Allow where the 64-bit argument is under `limit` (under 4 GiB itself), else kill."""
    return [
        _op(_LD_W_ABS, high),
        _op(_JEQ, 0, 0, 3),
        _op(_LD_W_ABS, low),
        _op(_JGE, min(limit, 0xFFFFFFFF), 1, 0),
        _op(_RET, _ALLOW),
        _op(_RET, _KILL_PROCESS),
    ]
