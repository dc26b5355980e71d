"""The two filters of a code slot: `calls` says what is refused, `bpf` makes bytes of it.

The slot's is loaded once by the zygote and inherited by every keeper and test, so that
it costs no run anything. The candidate's is small and only loaded where the kernel would
otherwise let a candidate make user namespaces of its own.
"""

import hashlib

from countermark_service.sandbox import bpf
from countermark_service.sandbox.code.calls import EXECUTION, MISSING, OWN_PROCESS_ONLY, REFUSED

_AF_UNIX, _SOCK_STREAM, _SOCK_KIND = 1, 1, 0xF
_SOL_SOCKET, _SO_SNDBUF, _SO_SNDBUFFORCE = 1, 7, 32
_NAMESPACE_FLAGS = 0x7E020080
"""Every CLONE_NEW* flag."""
_PR_SET_DUMPABLE, _PR_SET_MM = 4, 35
_TERMINAL_INJECTION = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX."""
_FILE_ATTRIBUTES = (0x40086602, 0x401C5820, 0x40087602, 0x40086604, 0x800C6613)
"""FS_IOC_SETFLAGS, FSSETXATTR, SETVERSION, ext4's own of it, SET_ENCRYPTION_POLICY: they would stay with a
scratch folder that the next candidate gets."""

_NO_NAMESPACES: dict[str, bpf.Action] = {
    "clone": bpf.refuse_if_any_bit(0, _NAMESPACE_FLAGS),
    "mount": bpf.EPERM,
}
# Connected UNIX streams only: a datagram pair could send to any socket that has a name.
_STREAM_PAIRS_ONLY = (
    *bpf.require(0, _AF_UNIX), *bpf.require(1, _SOCK_STREAM, mask=_SOCK_KIND), *bpf.answer(bpf.ALLOW)
)  # fmt: skip
# What lies in the buffers of a socket counts as nobody's memory: they stay as large as they come.
_NO_LARGER_BUFFERS = (
    *bpf.unless(1, _SOL_SOCKET, bpf.refuse_values(2, (_SO_SNDBUF, _SO_SNDBUFFORCE))), *bpf.answer(bpf.ALLOW)
)  # fmt: skip
_OWN_PRIORITY_ONLY = (*bpf.require(0, 0), *bpf.require(1, 0), *bpf.answer(bpf.ALLOW))
# PR_SET_DUMPABLE may only be switched off: a core dump would leave the sandbox.
_PRCTL = (
    *bpf.unless(0, _PR_SET_MM, bpf.answer(bpf.EPERM)),
    *bpf.unless(0, _PR_SET_DUMPABLE, bpf.allow_only(1, 0)),
    *bpf.answer(bpf.ALLOW),
)


def slot_filter(machine: str, *, executes: bool, namespaces: bool) -> bytes:
    """Return the filter that every process of a slot is under.

    Args:
        machine: ``x86_64`` or ``aarch64``.
        executes: Candidates are programs to execute (compilers, binaries), not Python source.
        namespaces: The zygote makes namespaces; then `clone` and `mount` stay open for it, and
            what keeps a candidate from them is that it has no capability and can make no user
            namespace (`candidate_filter`, or the namespace's own limit).
    """
    actions: dict[str, bpf.Action] = {
        **dict.fromkeys((*REFUSED, *(() if executes else EXECUTION)), bpf.EPERM),
        **dict.fromkeys(MISSING, bpf.ENOSYS),
        **dict.fromkeys(OWN_PROCESS_ONLY, bpf.allow_only(0, 0)),
        "socketpair": _STREAM_PAIRS_ONLY,
        "setpriority": _OWN_PRIORITY_ONLY,
        "prctl": _PRCTL,
        "ioctl": bpf.refuse_values(1, _TERMINAL_INJECTION + _FILE_ATTRIBUTES),
        "setsockopt": _NO_LARGER_BUFFERS,
    }
    return bpf.assemble(machine, actions if namespaces else actions | _NO_NAMESPACES)


def candidate_filter(machine: str) -> bytes:
    """Return what a keeper adds where the kernel's own limit on user namespaces cannot be set."""
    return bpf.assemble(machine, _NO_NAMESPACES)


def filter_digest(program: bytes) -> str:
    """Return the name of a filter for the record: the SHA-256 of its bytes."""
    return "sha256:" + hashlib.sha256(program).hexdigest()
