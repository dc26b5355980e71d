"""The system-call filter of a verifier worker.

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

from countermark_service.sandbox import bpf
from countermark_service.sandbox.system_calls import ARCHITECTURES

_CLONE_THREAD = 0x00010000
_REFUSED = (
    "socket", "socketpair", "connect", "bind", "listen", "accept", "accept4",
    "fork", "vfork", "execve", "execveat",
    "ptrace", "process_vm_readv", "process_vm_writev", "kill", "tkill", "pidfd_send_signal", "pidfd_open",
    "pidfd_getfd", "rt_sigqueueinfo", "rt_tgsigqueueinfo",
    "bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key",
    "io_uring_setup", "io_uring_enter", "io_uring_register",
    "unshare", "setns", "mount", "umount2", "move_mount", "open_tree", "fsopen", "fsmount", "fsconfig",
    "fspick", "mount_setattr", "pivot_root", "chroot", "memfd_create", "memfd_secret",
    "msgget", "semget", "shmget", "mq_open",
    "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot",
    "swapon", "swapoff", "acct", "quotactl", "name_to_handle_at", "open_by_handle_at", "setpriority",
    "sched_setscheduler", "sched_setattr", "syslog", "personality", "fanotify_init",
)  # fmt: skip


def worker_filter(*, largest_mapping: int, machine: str | None = None) -> bytes | None:
    """Return the filter as an array of `struct sock_filter`, None on an unknown machine.

    Args:
        largest_mapping: Bytes; a single mapping of this size or more kills the process.
        machine: Machine name as `platform.machine` gives it; this one's by default.
    """
    machine = machine or platform.machine()
    if machine not in ARCHITECTURES:
        return None
    actions: dict[str, bpf.Action] = {
        **dict.fromkeys(_REFUSED, bpf.EPERM),
        "clone3": bpf.ENOSYS,  # its flags lie in memory, where no filter can look
        "clone": bpf.allow_if_any_bit(0, _CLONE_THREAD),
        "prlimit64": bpf.allow_only(0, 0),
        "mmap": bpf.kill_from(1, largest_mapping),
        "mremap": bpf.kill_from(2, largest_mapping),
    }
    return bpf.assemble(machine, actions)
