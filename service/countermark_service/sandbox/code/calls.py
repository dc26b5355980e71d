"""What the system-call filter of a slot refuses, by name, with the reason for each group.

The numbers are the kernel's stable interface: one column per architecture, None
where it has no such call. Policy lives here as data; `filter` turns it into code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

Numbers = tuple[int | None, int | None]


@dataclass(frozen=True)
class Architecture:
    """How the kernel names one kind of machine to a filter."""

    audit: int
    """AUDIT_ARCH value; any other means a foreign call convention (32 bit, say)."""
    column: int
    """Which number of a row is this architecture's."""
    x32: bool
    """True where a second numbering (bit 30) must be refused."""


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "x86_64": Architecture(0xC000003E, 0, x32=True),
        "aarch64": Architecture(0xC00000B7, 1, x32=False),
    }
)

NEWEST = 466
"""The highest call number that this policy was written for; later ones do not exist for a candidate."""

_OTHER_PROCESSES: dict[str, Numbers] = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    "process_mrelease": (448, 448), "ioprio_set": (251, 30),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
}  # fmt: skip
_KERNEL_SURFACE: dict[str, Numbers] = {
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "syslog": (103, 116),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "personality": (135, 92), "modify_ldt": (154, None), "uselib": (134, None),
    "iopl": (172, None), "ioperm": (173, None), "vhangup": (153, 58), "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42), "_sysctl": (156, None), "fanotify_init": (300, 262), "fanotify_mark": (301, 263),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "memfd_secret": (447, 447), "map_shadow_stack": (453, 453),
}  # fmt: skip
_FILE_SYSTEMS: dict[str, Numbers] = {
    "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "sethostname": (170, 161),
    "setdomainname": (171, 162),
}  # fmt: skip
_NETWORK: dict[str, Numbers] = {
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242),
}  # fmt: skip
_SHARED_OBJECTS: dict[str, Numbers] = {
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "msgget": (68, 186), "msgsnd": (69, 189),
    "msgrcv": (70, 188), "msgctl": (71, 187), "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191),
    "semtimedop": (220, 192), "mq_open": (240, 180), "mq_unlink": (241, 181),
}  # fmt: skip

REFUSED: Mapping[str, Numbers] = MappingProxyType(
    _OTHER_PROCESSES | _KERNEL_SURFACE | _FILE_SYSTEMS | _NETWORK | _SHARED_OBJECTS
)
"""Never needed by anything in a slot: other processes, kernel interfaces with a history of holes,
mounts, the network, and objects that would outlive the candidate."""

EXECUTION: Mapping[str, Numbers] = MappingProxyType(
    {"execve": (59, 221), "execveat": (322, 281), "memfd_create": (319, 279)}
)
"""Refused as well where candidates are Python programs: none of them becomes another program."""

MISSING: Mapping[str, Numbers] = MappingProxyType({"clone3": (435, 435)})
"""Answered as if the kernel were older: its flags lie in memory, where no filter can look."""

SOCKETPAIR: Numbers = (53, 199)
CLONE: Numbers = (56, 220)
MOUNT: Numbers = (165, 40)
PRCTL: Numbers = (157, 167)
IOCTL: Numbers = (16, 29)
SETPRIORITY: Numbers = (141, 140)
OWN_PROCESS_ONLY: Mapping[str, Numbers] = MappingProxyType(
    {
        "prlimit64": (302, 261),
        "sched_setscheduler": (144, 119),
        "sched_setparam": (142, 118),
        "sched_setattr": (314, 274),
        "sched_setaffinity": (203, 122),
    }
)
"""Allowed with a first argument of 0 only: same user ids would let a candidate cripple its keeper."""
