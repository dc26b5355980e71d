"""One slot: a long-lived sandbox with a warm zygote, and the keepers it forks.

Theory of operation. Four kinds of processes, each made by the one above:

    service (this process, asyncio)
      └─ bwrap            builds the root once, stays as process 1 of the slot   [level namespaces]
          └─ zygote       warm interpreter, unprivileged, under the slot's filter
              └─ keeper   one per candidate: process 1 of its own namespaces
                  └─ test one per test: limits, then candidate code

A candidate with a single test needs no keeper between: the zygote forks the *lone test*
straight into fresh user, mount, ipc and uts namespaces (the process namespace is then the
slot's own), keeps its clock, and sweeps behind it, which halves the cost. It does so only
where Landlock keeps the test from signalling the zygote, and where the sweep can meet
nobody else: in a slot's own process namespace, or under a user id that is the slot's alone.

Two sockets, both of messages with descriptors. The *control* socket goes to the zygote
and lives as long as the slot: "start a keeper" in, "that keeper is gone" out. The
*channel* goes to one keeper: jobs in, reports out. Data never goes over either; it is
in memory files whose descriptors do.

Who kills: the keeper, everything below it after each test; the zygote, each test on its
clock, what a lone test leaves, and whatever exceeds a sum; the service, a candidate by closing
its channel (a lone test by a message), and the slot by closing the control socket, then by
SIGKILL. An answer is given, and the slot passed on, only after the zygote has reaped.
"""

import asyncio
import marshal
import math
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from countermark_service.sandbox.code.inside import plain
from countermark_service.sandbox.code.inside.report import (
    END,
    HEADER,
    KEEPER,
    LONE_TEST,
    GoneReport,
    TestReport,
)
from countermark_service.sandbox.code.launch import Launch
from countermark_service.sandbox.code.model import (
    MARSHAL,
    Limits,
    SandboxSilentError,
    SandboxUnavailableError,
)
from countermark_service.sandbox.code.papers import memory_file
from countermark_service.sandbox.code.shortage import shortage_told
from countermark_service.sandbox.sacrifice import going_first

_MESSAGE_BYTES = 1 << 17
START_SECONDS = 60.0
_STOP_SECONDS = 5.0
_DIAGNOSIS_BYTES = 2000


class SlotLostError(Exception):
    """The slot or a keeper died without a reason that is known; never leaves this room."""


class Candidate:
    """One keeper, seen from the service: send jobs, await reports."""

    def __init__(
        self, number: int, channel: socket.socket, gone: "asyncio.Future[GoneReport | None]"
    ) -> None:
        self.number = number
        self.gone = gone
        """Done when the zygote has reaped the keeper, and nothing is left; None if the slot died."""
        self._channel = channel
        self._reports: list[TestReport | None] = []
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(channel, self._read)

    def send(self, job: dict[str, object], descriptors: Sequence[int]) -> bool:
        """Hand a job over; False where the keeper is gone already (its report says more)."""
        try:
            socket.send_fds(self._channel, [marshal.dumps(job, MARSHAL)], list(descriptors))
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    async def report(self) -> TestReport | None:
        """Return the next report, None when the keeper hung up."""
        while not self._reports:
            self._waiter = self._loop.create_future()
            await self._waiter
        return self._reports.pop(0)

    def hang_up(self) -> None:
        """Close the channel, which ends the keeper and all that it keeps."""
        if self._channel.fileno() >= 0:
            self._loop.remove_reader(self._channel)
            self._channel.close()

    def _read(self) -> None:
        try:
            message = self._channel.recv(_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            message = b""
        if not message:
            self._loop.remove_reader(self._channel)
        self._reports.append(TestReport.unpack(message) if message else None)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Slot:
    """A running sandbox that candidates pass through, one after the other."""

    def __init__(self, launch: Launch, *, start_seconds: float = START_SECONDS) -> None:
        self._launch = launch
        self._start_seconds = start_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._diagnosis = -1
        self._gone: dict[int, asyncio.Future[GoneReport | None]] = {}
        self._next = 0
        self.served = 0
        """Candidates that passed through."""
        self.sound = True
        """False once anything happened that makes a fresh slot the better choice."""
        self.runs_alone = launch.sweeps
        """Whether a candidate's only test can do without a keeper, because the zygote can sweep."""
        self.facts: dict[str, Any] = {}
        """What the zygote said of itself: interpreter version, user id, whether its memory lies in large pages."""

    async def start(self) -> None:
        """Start the processes and wait until the zygote is warm.

        Raises:
            SandboxUnavailableError: The sandbox cannot be built here; the message says why.
            SandboxSilentError: It says nothing in time.
        """
        loop = asyncio.get_running_loop()
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.setblocking(False)
            self._control = ours
            with theirs:
                self._spawn(theirs)
        except (
            BaseException
        ):  # whatever keeps it from starting, a cancellation too: its socket and process go
            await self.close()
            raise
        try:
            await loop.sock_sendall(ours, marshal.dumps(self._launch.config, MARSHAL))
            message = await self._first_message(ours)
        except TimeoutError as error:
            silent = f"the sandbox did not start within {self._start_seconds:.0f} s; {self._diagnose()}"
            await self.close()
            raise SandboxSilentError(silent) from error
        except OSError as error:
            message = plain.encode({"failed": str(error)})
        except asyncio.CancelledError:
            await asyncio.shield(self.close())
            raise
        self.facts = plain.decode(message) if message else {"failed": "it ended at once"}
        if "failed" in self.facts:
            text = f"the sandbox did not start: {self.facts['failed']}; {self._diagnose()}"
            await self.close()
            raise SandboxUnavailableError(text)
        loop.add_reader(ours, self._read)

    async def _first_message(self, ours: socket.socket) -> bytes:
        """Return what the zygote says first; raises TimeoutError where it says nothing in time.

        It is waited for second by second: where the machine or the container is paused meanwhile, all have stood
        still, and it takes one of them.
        """
        loop = asyncio.get_running_loop()
        coming = loop.create_task(loop.sock_recv(ours, _MESSAGE_BYTES))
        try:
            for _ in range(math.ceil(self._start_seconds)):
                done, _ = await asyncio.wait({coming}, timeout=1.0)
                if done:
                    return coming.result()
            raise TimeoutError
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)  # the socket may be closed now

    @property
    def pid(self) -> int | None:
        """The slot's first process, None when there is none."""
        return self._process.pid if self._process is not None else None

    def open(self, limits: Limits, code: int, cache: int) -> Candidate:
        """Start a keeper for one candidate.

        Args:
            limits: For each of its tests.
            code: Descriptor of the source.
            cache: Descriptor of a sealable memory file for the compiled code.

        Raises:
            SlotLostError: The zygote is gone.
        """
        number = self._number()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            message = HEADER.pack(number, KEEPER) + marshal.dumps((limits.packed(), {}), MARSHAL)
            try:
                self._tell(message, [theirs.fileno(), code, cache])
            except SlotLostError:
                ours.close()
                raise
        ours.setblocking(False)
        return Candidate(number, ours, self._await_end(number))

    def run_alone(
        self, limits: Limits, job: dict[str, object], descriptors: Sequence[int]
    ) -> "tuple[int, asyncio.Future[GoneReport | None]]":
        """Run a candidate's only test without a keeper.

        Args:
            limits: For the test.
            job: What to do; its ``descriptors`` name the numbers, ``code`` and ``notes`` among them.
            descriptors: The numbers.

        Returns:
            The test's number for `end`, and its end.

        Raises:
            SlotLostError: The zygote is gone.
        """
        number = self._number()
        message = HEADER.pack(number, LONE_TEST) + marshal.dumps((limits.packed(), job), MARSHAL)
        self._tell(message, descriptors)
        return number, self._await_end(number)

    def end(self, number: int) -> None:
        """End a lone test before its time."""
        if self._control is not None:
            with suppress(SlotLostError):  # then it has ended, and whoever waits learns it from the socket
                self._tell(HEADER.pack(number, END), [])

    def _number(self) -> int:
        if self._control is None or not self.sound:
            raise SlotLostError("the slot is closed")
        self._next += 1
        self.served += 1
        return self._next

    def _tell(self, message: bytes, descriptors: Sequence[int]) -> None:
        """Send the zygote a message."""
        if self._control is None:
            raise SlotLostError("the slot is closed")
        try:
            socket.send_fds(self._control, [message], list(descriptors))
        except OSError as error:
            self.sound = False
            raise SlotLostError(f"the zygote is gone: {error}") from error

    def _await_end(self, number: int) -> "asyncio.Future[GoneReport | None]":
        gone: asyncio.Future[GoneReport | None] = asyncio.get_running_loop().create_future()
        self._gone[number] = gone
        return gone

    async def close(self) -> None:
        """End the slot and all its processes, and wait until they are gone."""
        self.sound = False
        self._lose()
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(_end, process)
        if self._diagnosis >= 0:
            os.close(self._diagnosis)
            self._diagnosis = -1
        if self._launch.claim is not None:
            self._launch.claim.lock.close()
        if self._launch.scratch is not None:
            with suppress(OSError):  # not empty after a death at the wrong moment: its pool's end removes it
                self._launch.scratch.rmdir()

    def _spawn(self, control: socket.socket) -> None:
        """Start the first process; it gets the control socket and the data files, nothing else."""
        self._diagnosis = memory_file()
        files = {name: memory_file(content) for name, content in (*self._launch.data, ("stdin", b""))}
        numbers = {name: str(number) for name, number in files.items()} | {"control": str(control.fileno())}
        argv = [part.format_map(numbers) if part.startswith("{") else part for part in self._launch.argv]
        try:
            with shortage_told():
                self._process = subprocess.Popen(
                    going_first(argv),
                    stdin=files["stdin"],
                    stdout=subprocess.DEVNULL,
                    stderr=self._diagnosis,
                    env=self._launch.environment,
                    cwd="/",
                    pass_fds=(control.fileno(), *files.values()),
                    start_new_session=True,
                )
        except OSError as error:
            raise SandboxUnavailableError(f"{argv[0]} does not start: {error}") from error
        finally:
            for number in files.values():
                os.close(number)

    def _read(self) -> None:
        """Take in the zygote's messages; its silence is the end of the slot."""
        if self._control is None:
            return
        try:
            message = self._control.recv(_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            message = b""
        if not message:
            self.sound = False
            self._lose()
            return
        end = GoneReport.unpack(message)
        if not end.clean:
            self.sound = False
        future = self._gone.pop(end.number, None)
        if future is not None and not future.done():
            future.set_result(end)

    def _lose(self) -> None:
        """Let go of the control socket; whoever waits for a keeper learns that it is lost."""
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
            self._control = None
        for future in self._gone.values():
            if not future.done():
                future.set_result(None)
        self._gone.clear()

    def _diagnose(self) -> str:
        text = os.pread(self._diagnosis, _DIAGNOSIS_BYTES, 0).decode("utf-8", "replace").strip().rstrip(".")
        return text or "no message"


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Wait a little for a process that was told to end, then kill its group; reap it."""
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
