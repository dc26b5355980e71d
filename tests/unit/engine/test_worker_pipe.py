"""What a worker's pipe tells: nothing any more once the worker has broken the protocol, and not why it ended."""

import asyncio
import mmap
import os
import signal

from countermark_service.engine.wire import LENGTH, ProtocolViolationError
from countermark_service.engine.worker import Worker


class Heard:
    """Notes what a worker's listener hears; the frame ``no frame`` breaks the protocol."""

    def __init__(self) -> None:
        """Nothing heard yet."""
        self.frames: list[bytes] = []
        self.violations = 0

    def on_frame(self, worker: Worker, payload: bytes) -> None:
        """Note a frame."""
        if payload == b"no frame":
            raise ProtocolViolationError("that is no frame")
        self.frames.append(payload)

    def on_violation(self, worker: Worker, problem: ProtocolViolationError) -> None:
        """Note it and, as the pool does, end the worker."""
        self.violations += 1
        worker.kill("protocol_violation")

    def on_exit(self, worker: Worker, status: int | None) -> None:
        """Never comes: the process is the test's own."""
        raise AssertionError

    def on_lost(self) -> None:
        """Never comes: there is no nursery."""
        raise AssertionError


def framed(payload: bytes) -> bytes:
    return LENGTH.pack(len(payload)) + payload


async def test_nothing_is_taken_from_a_worker_that_has_broken_the_protocol() -> None:
    """Its later frames come in reads of their own, and once more when its end is told."""
    requests_read, requests = os.pipe()
    verdicts, verdicts_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.execv("/bin/sleep", ["sleep", "600"])
    heard = Heard()
    worker = Worker(1, requests, verdicts, mmap.mmap(-1, mmap.PAGESIZE), heard)
    try:
        worker.attach(os.pidfd_open(child))
        os.write(verdicts_write, framed(b"a frame"))
        while not heard.frames:
            await asyncio.sleep(0.001)

        os.write(verdicts_write, framed(b"no frame"))
        while not heard.violations:
            await asyncio.sleep(0.001)
        os.write(verdicts_write, framed(b"a forged frame") + framed(b"no frame"))
        await asyncio.sleep(0.05)
        os.write(verdicts_write, framed(b"another"))
        worker.drain()

        assert heard.frames == [b"a frame"]
        assert heard.violations == 1
        assert worker.killed_for == "protocol_violation"
    finally:
        worker.close()
        os.waitpid(child, 0)
        for descriptor in (requests_read, verdicts_write):
            os.close(descriptor)


async def test_a_worker_that_has_ended_is_no_violator_however_late_its_exit_is_told() -> None:
    """Its end closes the pipe at once; the nursery that tells of it may not get a processor for long."""
    requests_read, requests = os.pipe()
    verdicts, verdicts_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.execv("/bin/sleep", ["sleep", "600"])
    os.close(verdicts_write)
    heard = Heard()
    worker = Worker(1, requests, verdicts, mmap.mmap(-1, mmap.PAGESIZE), heard)
    pidfd = os.pidfd_open(child)
    try:
        os.kill(child, signal.SIGPROF)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        worker.attach(os.dup(pidfd))  # reads the end of the pipe; nobody reaps the child meanwhile
        await asyncio.sleep(0.5)
        assert heard.violations == 0
        assert worker.killed_for is None
    finally:
        worker.close()
        os.waitpid(child, 0)
        os.close(pidfd)
        os.close(requests_read)


async def test_a_worker_that_closes_its_pipe_and_goes_on_is_a_violator() -> None:
    requests_read, requests = os.pipe()
    verdicts, verdicts_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.execv("/bin/sleep", ["sleep", "600"])
    os.close(verdicts_write)
    heard = Heard()
    worker = Worker(1, requests, verdicts, mmap.mmap(-1, mmap.PAGESIZE), heard)
    try:
        worker.attach(os.pidfd_open(child))
        while not heard.violations:
            await asyncio.sleep(0.001)
        assert worker.killed_for == "protocol_violation"
    finally:
        worker.close()
        os.waitpid(child, 0)
        os.close(requests_read)
