"""What the system-call filter of a slot refuses, by name, with the reason for each group.

Policy lives here as data; `filter` turns it into code.
"""

_OTHER_PROCESSES = (
    "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "process_madvise",
    "process_mrelease", "ioprio_set", "migrate_pages", "move_pages",
)  # fmt: skip
_KERNEL_SURFACE = (
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
    "keyctl", "add_key", "request_key", "init_module", "finit_module", "delete_module", "kexec_load",
    "kexec_file_load", "reboot", "syslog", "swapon", "swapoff", "acct", "quotactl", "quotactl_fd",
    "personality", "modify_ldt", "uselib", "iopl", "ioperm", "vhangup", "lookup_dcookie", "nfsservctl",
    "_sysctl", "fanotify_init", "fanotify_mark", "settimeofday", "clock_settime", "adjtimex",
    "clock_adjtime", "memfd_secret", "map_shadow_stack",
)  # fmt: skip
_FILE_SYSTEMS = (
    "umount2", "pivot_root", "chroot", "unshare", "setns", "open_tree", "move_mount", "fsopen", "fsconfig",
    "fsmount", "fspick", "mount_setattr", "name_to_handle_at", "open_by_handle_at", "sethostname",
    "setdomainname",
)  # fmt: skip
_NETWORK = ("socket", "connect", "bind", "listen", "accept", "accept4")
_SHARED_OBJECTS = (
    "shmget", "shmat", "shmctl", "msgget", "msgsnd", "msgrcv", "msgctl", "semget", "semop", "semctl",
    "semtimedop", "mq_open", "mq_unlink", "memfd_create",
)  # fmt: skip

REFUSED = (*_OTHER_PROCESSES, *_KERNEL_SURFACE, *_FILE_SYSTEMS, *_NETWORK, *_SHARED_OBJECTS)
"""Never needed by anything in a slot: other processes, kernel interfaces with a history of holes,
mounts, the network, and objects that would outlive the candidate or whose memory no limit counts."""

EXECUTION = ("execve", "execveat")
"""Refused as well where candidates are Python programs: none of them becomes another program."""

MISSING = ("clone3",)
"""Answered as if the kernel were older: its flags lie in memory, where no filter can look."""

OWN_PROCESS_ONLY = (
    "prlimit64", "sched_setscheduler", "sched_setparam", "sched_setattr", "sched_setaffinity",
)  # fmt: skip
"""Allowed with a first argument of 0 only: same user ids would let a candidate cripple its keeper."""
