"""The kernel's system calls by name, with their numbers on each kind of machine.

The numbers are the kernel's stable interface. They stand here once, so that a policy is
a list of names with reasons: the worker's in `seccomp`, the code slot's in `code.calls`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

Numbers = tuple[int | None, int | None]
"""On x86_64 and aarch64; None where the architecture has no such call."""


@dataclass(frozen=True)
class Architecture:
    """How the kernel names one kind of machine to a filter."""

    audit: int
    """AUDIT_ARCH value; any other means a foreign call convention (32 bit, say)."""
    column: int
    """Which of the `Numbers` are this architecture's."""
    x32: bool
    """True where a second numbering (bit 30) must be refused."""


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "x86_64": Architecture(0xC000003E, 0, x32=True),
        "aarch64": Architecture(0xC00000B7, 1, x32=False),
    }
)
"""By the machine's name, as `platform.machine` gives it."""

NEWEST = 466
"""The highest call number that the policies were written for; later ones do not exist under a filter."""

NUMBERS: Mapping[str, Numbers] = MappingProxyType(
    {
        "_sysctl": (156, None), "accept": (43, 202), "accept4": (288, 242), "acct": (163, 89),
        "add_key": (248, 217), "adjtimex": (159, 171), "bind": (49, 200), "bpf": (321, 280),
        "chroot": (161, 51), "clock_adjtime": (305, 266), "clock_settime": (227, 112), "clone": (56, 220),
        "clone3": (435, 435), "connect": (42, 203), "delete_module": (176, 106), "execve": (59, 221),
        "execveat": (322, 281), "fanotify_init": (300, 262), "fanotify_mark": (301, 263),
        "finit_module": (313, 273), "fork": (57, None), "fsconfig": (431, 431), "fsmount": (432, 432),
        "fsopen": (430, 430), "fspick": (433, 433), "init_module": (175, 105), "io_uring_enter": (426, 426),
        "io_uring_register": (427, 427), "io_uring_setup": (425, 425), "ioctl": (16, 29),
        "ioperm": (173, None), "iopl": (172, None), "ioprio_set": (251, 30), "kcmp": (312, 272),
        "kexec_file_load": (320, 294), "kexec_load": (246, 104), "keyctl": (250, 219), "kill": (62, 129),
        "listen": (50, 201), "lookup_dcookie": (212, 18), "map_shadow_stack": (453, 453),
        "memfd_create": (319, 279), "memfd_secret": (447, 447), "migrate_pages": (256, 238),
        "mmap": (9, 222), "modify_ldt": (154, None), "mount": (165, 40), "mount_setattr": (442, 442),
        "move_mount": (429, 429), "move_pages": (279, 239), "mq_open": (240, 180), "mq_unlink": (241, 181),
        "mremap": (25, 216), "msgctl": (71, 187), "msgget": (68, 186), "msgrcv": (70, 188),
        "msgsnd": (69, 189), "name_to_handle_at": (303, 264), "nfsservctl": (180, 42),
        "open_by_handle_at": (304, 265), "open_tree": (428, 428), "perf_event_open": (298, 241),
        "personality": (135, 92), "pidfd_getfd": (438, 438), "pidfd_open": (434, 434),
        "pidfd_send_signal": (424, 424), "pivot_root": (155, 41), "prctl": (157, 167),
        "prlimit64": (302, 261), "process_madvise": (440, 440), "process_mrelease": (448, 448),
        "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "ptrace": (101, 117),
        "quotactl": (179, 60), "quotactl_fd": (443, 443), "reboot": (169, 142), "request_key": (249, 218),
        "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "sched_setaffinity": (203, 122),
        "sched_setattr": (314, 274), "sched_setparam": (142, 118), "sched_setscheduler": (144, 119),
        "semctl": (66, 191), "semget": (64, 190), "semop": (65, 193), "semtimedop": (220, 192),
        "setdomainname": (171, 162), "sethostname": (170, 161), "setns": (308, 268),
        "setpriority": (141, 140), "setsockopt": (54, 208), "settimeofday": (164, 170),
        "shmat": (30, 196), "shmctl": (31, 195),
        "shmget": (29, 194), "socket": (41, 198), "socketpair": (53, 199), "swapoff": (168, 225),
        "swapon": (167, 224), "syslog": (103, 116), "tkill": (200, 130), "umount2": (166, 39),
        "unshare": (272, 97), "uselib": (134, None), "userfaultfd": (323, 282), "vfork": (58, None),
        "vhangup": (153, 58),
    }
)  # fmt: skip


def number_of(name: str, machine: str) -> int | None:
    """Return the number of a call on a kind of machine, None where it has no such call.

    Raises:
        KeyError: There is no such name or machine here.
    """
    return NUMBERS[name][ARCHITECTURES[machine].column]
