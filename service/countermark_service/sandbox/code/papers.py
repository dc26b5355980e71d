"""The memory files that a test's data travels in.

No data crosses by path: code, input and output are anonymous memory files, handed
over by descriptor. An output file is read after the last process that could write to
it is gone, and never beyond its limit.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from countermark_service.sandbox.code.model import Limits

_NAME = "data"
_NOTES_BYTES = 4096


def memory_file(content: bytes = b"", *, sealable: bool = False) -> int:
    """Return the descriptor of a new memory file with `content`, positioned at its start."""
    flags = os.MFD_CLOEXEC | (os.MFD_ALLOW_SEALING if sealable else 0)
    descriptor = os.memfd_create(_NAME, flags)
    view = memoryview(content)
    at = 0
    try:
        while at < len(view):
            at += os.pwrite(descriptor, view[at:], at)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@dataclass(frozen=True)
class Job:
    """One test, as the keeper is told of it."""

    mode: str
    """See `inside.program`."""
    stdin: bytes = b""
    ask: bytes | None = None
    """Content for the test process alone: the call to make, the tester's prelude."""
    files: bytes | None = None
    """Files to write to the scratch first, as plain data."""
    details: Mapping[str, object] = field(default_factory=dict)
    """Further fields of the message: argv, environment, entry points."""
    answers: bool = False
    """Whether the test writes an answer file."""
    fetch: Sequence[str] = ()
    """Files that are wanted after the test, by their path in the scratch."""
    product: bool = False
    """Whether a compiler's product is wanted."""
    binary: int | None = None
    """Descriptor of the program to execute; it stays the caller's."""
    peer: socket.socket | None = None
    """One end of the connection to the other half of a tester run; closed here once it is handed over, so
    that each half sees the other's end."""


class Papers:
    """The descriptors of one test, from just before it starts until its output is read."""

    def __init__(self, job: Job, code: bytes | None = None) -> None:
        """Make the files of `job`; with `code`, also that and the notes, for a test without a keeper."""
        self._job = job
        self._own: dict[str, int] = {"stdin": memory_file(job.stdin)}
        try:
            if code is not None:
                self._own["code"] = memory_file(code)
                self._own["notes"] = memory_file()
            for name in ("stdout", "stderr", *(["answer"] if job.answers else [])):
                self._own[name] = memory_file()
            if job.product:
                self._own["binary_out"] = memory_file()
            if job.fetch:
                self._own["fetched"] = memory_file()
            for name, content in (("ask", job.ask), ("files", job.files)):
                if content is not None:
                    self._own[name] = memory_file(content)
        except OSError:
            self.close()
            raise

    def descriptors(self) -> tuple[Sequence[str], Sequence[int]]:
        """Return names and numbers, in one order, of all that is handed over."""
        every = dict(self._own)
        if self._job.binary is not None:
            every["binary"] = self._job.binary
        if self._job.peer is not None:
            every["peer"] = self._job.peer.fileno()
        return list(every), list(every.values())

    def stdout(self, limits: Limits) -> tuple[bytes, int]:
        """Return the start of the output, and its size."""
        return self._read("stdout", limits.stdout_bytes)

    def stderr(self, limits: Limits) -> tuple[bytes, int]:
        """Return the end of the error output, and its size."""
        descriptor = self._own["stderr"]
        size = os.fstat(descriptor).st_size
        kept = min(size, limits.stderr_bytes)
        return (os.pread(descriptor, kept, size - kept) if kept else b""), size

    def answer(self, limits: Limits) -> bytes:
        """Return the answer file, or nothing where it is larger than allowed."""
        content, size = self._read("answer", limits.answer_bytes)
        return content if size == len(content) else b""

    def fetched(self) -> bytes:
        """Return the wanted files, as the keeper encoded them."""
        descriptor = self._own["fetched"]
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)

    def notes(self) -> str:
        """Return what a lone test noted before candidate code ran."""
        return os.pread(self._own["notes"], _NOTES_BYTES, 0).decode("utf-8", "replace")

    def take_product(self) -> int:
        """Return the compiler's product and give up owning it."""
        return self._own.pop("binary_out")

    def close(self) -> None:
        """Close what is left."""
        for descriptor in self._own.values():
            os.close(descriptor)
        self._own.clear()

    def _read(self, name: str, most: int) -> tuple[bytes, int]:
        size = os.fstat(self._own[name]).st_size
        kept = min(size, most)  # room for all that is allowed would be made first, and that is megabytes
        return (os.pread(self._own[name], kept, 0) if kept else b""), size
