"""One worker process, seen from the service: its pipes, its progress, its end.

`harness.py` opens with the theory of operation. A worker is killed through its
pidfd, so never by a number that belongs to another process by then.
"""

import asyncio
import binascii
import contextlib
import mmap
import os
import signal
import struct
import time
from pathlib import Path
from typing import Protocol

from countermark_service.engine.wire import FrameReader, ProtocolViolationError
from countermark_service.errors import UnavailableError

PIPE_BYTES = 1 << 20
"""Bytes that a pipe to or from a worker may hold."""

_PROGRESS = struct.Struct("=QQQ")
_CHECKED = struct.Struct("=24sQ")
_TAKEN_BACK = struct.Struct("=Q")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM_BYTES = 256
_CLOSED_SECONDS = 0.2
"""A worker whose pipe is closed has so long to fail of it by itself."""
_EXITING = 0x4
"""PF_EXITING among the flags in /proc/PID/stat."""


class WorkerListener(Protocol):
    """Who hears what a bundle's processes do."""

    def on_frame(self, worker: "Worker", payload: bytes) -> None:
        """Take a complete frame; may raise ProtocolViolationError."""

    def on_violation(self, worker: "Worker", problem: ProtocolViolationError) -> None:
        """Take notice that the worker broke the protocol; it still runs."""

    def on_exit(self, worker: "Worker", status: int | None) -> None:
        """Take notice that the worker ended, with its wait status (None: the nursery died with it)."""

    def on_lost(self) -> None:
        """Take notice that the nursery ended without having been told to."""


class Worker:
    """One forked worker process, seen from the service."""

    def __init__(
        self, number: int, requests: int, verdicts: int, progress: mmap.mmap, listener: "WorkerListener"
    ) -> None:
        """The descriptors are the service's ends and become this object's to close."""
        self.number = number
        self.pidfd = -1
        self.pid = 0
        """Process id in the service's own namespace."""
        self.items = 0
        """How many items it has judged."""
        self.share = -1
        """Of which share it takes items first, see `jobs.Waiting`; -1 before it was given any."""
        self.killed_for: str | None = None
        """Why the service ended it, where it did."""
        self.exited = False
        self.nice = 0
        """By how much its priority was lowered, see `lower_priority`."""
        self.paused_seconds = 0.0
        """How long it was paused, the pause that lasts left out."""
        self._paused_since: float | None = None
        self._session_settled = True
        self._requests = requests
        self._verdicts = verdicts
        self._progress = progress
        self._outgoing: list[memoryview] = []
        self._frames = FrameReader()
        self._has_violated = False
        self._loop = asyncio.get_running_loop()
        self._listener = listener

    def attach(self, pidfd: int) -> None:
        """Start to listen to the forked process."""
        self.pidfd = pidfd
        self.pid = _pid_of(pidfd)
        os.set_blocking(self._verdicts, False)
        os.set_blocking(self._requests, False)
        self._loop.add_reader(self._verdicts, self._read)

    def send(self, frame: bytes) -> None:
        """Write a frame as fast as the worker takes it; an end of the worker shows elsewhere."""
        self._outgoing.append(memoryview(frame))
        if len(self._outgoing) == 1:
            self._write()

    def _write(self) -> None:
        while self._outgoing:
            head = self._outgoing[0]
            try:
                written = os.write(self._requests, head)
            except BlockingIOError:
                self._loop.add_writer(self._requests, self._write)
                return
            except OSError:
                written = len(head)
            if written == len(head):
                self._outgoing.pop(0)
            else:
                self._outgoing[0] = head[written:]
        self._loop.remove_writer(self._requests)

    def _read(self) -> None:
        try:
            data = os.read(self._verdicts, PIPE_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._verdicts)
            self._loop.call_later(_CLOSED_SECONDS, self._closed_pipe)
            return
        self._take(data)

    def _closed_pipe(self) -> None:
        """Report a worker that has closed its pipe and goes on.

        One that ends closes it too, and what it ended of is told by its exit, which may come late on a busy machine.
        """
        if not self.exited and self.killed_for is None and not self._is_ending():
            problem = ProtocolViolationError("a worker closed its pipe without ending")
            self._listener.on_violation(self, problem)

    def _take(self, data: bytes) -> None:
        if self._has_violated:
            return  # nothing that follows can be told from what it made up
        try:
            for frame in self._frames.feed(data):
                self._listener.on_frame(self, frame)
        except ProtocolViolationError as exc:
            self._has_violated = True
            if not self.exited and self.killed_for is None:
                self._listener.on_violation(self, exc)

    def drain(self) -> None:
        """Take what the ended process has written and nobody has read."""
        while True:
            try:
                data = os.read(self._verdicts, PIPE_BYTES)
            except BlockingIOError:
                return
            if not data:
                return
            self._take(data)

    def progress(self) -> tuple[int, int, int]:
        """Return sequence, index in the chunk, and the CPU nanoseconds at that item's start.

        All are 0, which is no chunk's sequence, where the worker has begun nothing or is just writing them.
        """
        progress, check = _CHECKED.unpack_from(self._progress)
        if binascii.crc32(progress) != check:
            return 0, 0, 0
        sequence, index, start = _PROGRESS.unpack(progress)
        return sequence, index, start

    @property
    def has_begun(self) -> bool:
        """Whether it has begun any item."""
        return any(self._progress[: _CHECKED.size])

    def take_back(self, sequence: int) -> None:
        """Have the chunk `sequence` end after the item at work."""
        _TAKEN_BACK.pack_into(self._progress, _CHECKED.size, sequence)

    def cpu_nanoseconds(self) -> int:
        """Return the CPU time of the process so far; 0 where it has ended."""
        try:
            # The clock id of another process's CPU time, as clock_getcpuclockid(3) makes it.
            return time.clock_gettime_ns((~self.pid << 3) | 2)
        except OSError:
            return 0

    def resident_bytes(self) -> int:
        """Return the resident memory of the process; 0 where it has ended."""
        try:
            descriptor = os.open(f"/proc/{self.pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return 0
        try:
            return int(os.read(descriptor, _STATM_BYTES).split()[1]) * _PAGE
        except (OSError, IndexError):
            return 0
        finally:
            os.close(descriptor)

    def waited_seconds(self) -> float:
        """Return how long the process has waited for a processor so far; 0 where the kernel does not tell."""
        try:
            return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError):
            return 0.0

    def is_asleep(self) -> bool:
        """True where the process lives and neither has a processor nor wants one."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] in "SDTtI"
        except (OSError, IndexError):
            return False

    def _is_ending(self) -> bool:
        """True where the process has ended, or is about to, whoever may have learned of it by now."""
        try:
            flags = int(Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[6])
        except (OSError, IndexError):
            return True  # it has ended, and is reaped already
        return bool(flags & _EXITING)

    def lower_priority(self, nice: int) -> None:
        """Let other processes go first, for good. To be called at every look: it may take several.

        The worker must be at an item: before, it shares its group and session with the nursery. Where
        sessions share the processors (sched_autogroup, a default wherever there are no cgroups), a
        niceness counts within the session only, and the session has one of its own. Of these the
        kernel takes ten changes a second from a user without rights, and refuses the others.
        """
        if nice > self.nice:
            self.nice, self._session_settled = nice, False
            with contextlib.suppress(OSError):  # it has ended, which its exit will tell
                os.setpriority(os.PRIO_PGRP, self.pid, nice)
        if not self._session_settled:
            self._session_settled = _set_session_niceness(self.pid, self.nice)

    @property
    def paused(self) -> bool:
        """Whether it has been stopped until `go_on`."""
        return self._paused_since is not None

    def pause(self) -> None:
        """Stop the process where it is; unlike a lower priority, that can be taken back."""
        if not self.paused:
            self._paused_since = time.monotonic()
            self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let a paused process go on."""
        if self._paused_since is not None:
            self.paused_seconds += time.monotonic() - self._paused_since
            self._paused_since = None
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended, which its exit will tell
            signal.pidfd_send_signal(self.pidfd, number)

    def kill(self, reason: str) -> None:
        """End the process now; its exit is reported as any other."""
        if self.killed_for is None:
            self.killed_for = reason
            self._signal(signal.SIGKILL)

    def retire(self) -> None:
        """Let an idle worker end by itself."""
        self.killed_for = "retired"
        self._close_requests()

    def _close_requests(self) -> None:
        if self._requests >= 0:
            self._loop.remove_writer(self._requests)
            os.close(self._requests)
            self._requests = -1

    def close(self) -> None:
        """Give back the descriptors of an ended worker."""
        self.exited = True
        if self._verdicts >= 0:
            self._loop.remove_reader(self._verdicts)
            os.close(self._verdicts)
            self._verdicts = -1
        self._close_requests()
        self._progress.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def _set_session_niceness(pid: int, nice: int) -> bool:
    """Weigh a process's session down; False where the kernel wants to be asked again."""
    try:
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))
    except BlockingIOError:
        return False
    except OSError:
        return True  # it has no such groups, or the process has ended
    return True


def _pid_of(pidfd: int) -> int:
    for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    raise UnavailableError("the kernel does not tell the process of a pidfd: Linux 5.3 or later is needed.")
