"""The keeper of one candidate: first process of its namespaces, and the last to go.

Theory of operation. The zygote makes one keeper per candidate. At level `namespaces`
it is process 1 of fresh user, pid, mount, ipc and uts namespaces: nothing inside can
signal it, orphans become its children, and its end ends them all. At level `landlock`
the same holds by other means: it is a subreaper, and the tests run in a Landlock
domain below its own, so that they cannot signal it while it can signal them.

The keeper reads no candidate byte. For each test it receives descriptors over the
channel, forks, waits with a clock, then kills whatever is left (`kill(-1)`), reaps
until nothing is left, and reports. A test that leaves something in the scratch folder
ends the keeper too: the next test gets a fresh one. It ends when the channel closes;
the service cancels a candidate by closing it.

    zygote --clone--> keeper --fork--> program (test 0), program (test 1), ...
       service <==== channel ====> keeper       jobs and descriptors in, reports out
"""

import _socket
import array
import importlib
import marshal
import os
import select
import stat
import time
from contextlib import suppress
from typing import Any, NoReturn

from . import kernel, plain, program, scratch
from .report import ENDED, FAILED, WALL, TestReport

_signal: Any = importlib.import_module("_signal")
Channel = _socket.socket
"""The C parts alone: the modules around them look up enums, which would cost every keeper dear."""

INNER_ID = 1000
"""User and group that a candidate sees at level `namespaces`; not 0, so that exec gives no capability."""
MESSAGE_BYTES = 1 << 16
_MAX_DESCRIPTORS = 16
_MEBIBYTE = 1 << 20
_MOST_PREPARED = 64
_SIGNALS = 1024
"""Queued signals and timers: the kernel's memory, and by default enough for tens of megabytes."""
WAIT_ALL = 0x40000000
"""__WALL: also children made by `clone` without SIGCHLD, which a plain wait would leave running."""


class Confinement:
    """What the zygote prepared once for all its candidates."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.namespaces: bool = config["level"] == "namespaces"
        self.scratch: str = config["scratch"]
        self.executes: bool = config["executes"]
        self.candidate_filter: bytes = bytes.fromhex(config["candidate_filter"])
        self.nproc_base: int = config["nproc_base"]
        self.uid, self.gid = os.getuid(), os.getgid()
        self.domain: int | None = None
        self.tests_domain: int | None = None
        self.kept_folders = 0
        self._prepared: dict[tuple[object, ...], program.Context] = {}

    def prepared(self, limits: dict[str, Any]) -> program.Context:
        """Return all that candidates with these limits share, laid out before any of them is forked."""
        key = tuple(limits.items())
        found = self._prepared.get(key)
        if found is None:
            if len(self._prepared) >= _MOST_PREPARED:
                self._prepared.clear()
            found = self._prepared[key] = program.Context(
                limits, _confining(self, limits), program.limiting(limits, self.tests_domain), self
            )
        return found


def keep(channel: Channel, code: int, cache: int, context: program.Context) -> NoReturn:
    """Be the keeper of one candidate until its channel closes."""
    try:
        context.confining.take()
    except OSError as error:
        send(channel, TestReport(0, FAILED, 0, 0.0, 0.0, 0, True, str(error).encode()))
        _wait_for_the_end(channel)
    if not context.namespaces:
        kernel.become_subreaper()
        _signal.signal(_signal.SIGTERM, _stop)
    notes_read, notes_write = os.pipe()
    os.set_blocking(notes_read, False)
    last = False
    while not last:
        received = receive(channel)
        if received is None:
            break
        job, descriptors = received
        report = _test(channel, job, descriptors, (notes_read, notes_write), (code, cache), context)
        for descriptor in descriptors.values():
            os.close(descriptor)
        if report is None or not send(channel, report):
            break
        last = report.last
    _sweep()
    _wait_for_the_end(channel)


def run_alone(job: dict[str, Any], descriptors: dict[str, int], context: program.Context) -> NoReturn:
    """Be a candidate's only test: confine this process, then run it here, with no keeper above.

    The zygote keeps the clock and sweeps. It costs half of what a keeper and its test do.
    """
    notes = descriptors["notes"]
    try:
        kernel.set_parent_death_signal(_signal.SIGKILL)
        context.confining.take()
    except OSError as error:
        os.write(notes, program.SETUP_FAILED + str(error).encode())
        program.leave(1)
    program.run(job, descriptors, notes, (descriptors["code"], None), context)


def _wait_for_the_end(channel: Channel) -> NoReturn:
    """Take in what still comes until the service hangs up, then end.

    A socket that is closed with messages unread resets the connection, and the last
    report would be lost with it.
    """
    while True:
        received = receive(channel)
        if received is None:
            program.leave(0)
        for descriptor in received[1].values():
            os.close(descriptor)


def send(channel: Channel, report: TestReport) -> bool:
    """Send a report; False when the service has hung up."""
    try:
        channel.send(report.pack())
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _confining(own: Confinement, limits: dict[str, Any]) -> kernel.Steps:
    """Return how a process shuts itself in; nothing of it can be undone from inside."""
    steps = kernel.Steps()
    if own.namespaces:
        for path, line in (
            ("/proc/self/setgroups", "deny"),
            ("/proc/self/gid_map", f"{INNER_ID} {own.gid} 1"),
            ("/proc/self/uid_map", f"{INNER_ID} {own.uid} 1"),
        ):
            steps.write_file(path, line)
        steps.mount_tmpfs(
            own.scratch,
            size=limits["scratch_mib"] * _MEBIBYTE,
            inodes=limits["scratch_inodes"],
            executable=False,
        )
        if not own.candidate_filter:
            steps.write_file("/proc/sys/user/max_user_namespaces", "0")
        steps.drop_capabilities()
    elif own.domain is None or own.tests_domain is None:
        raise OSError("level landlock without a domain: a sweep would reach beyond the candidate")
    steps.set_dumpable(False)
    steps.change_folder(own.scratch)
    steps.umask(0o077)
    steps.limit(kernel.RLIMIT_NPROC, limits["processes"] + own.nproc_base)
    for kind in (kernel.RLIMIT_CORE, kernel.RLIMIT_MEMLOCK, kernel.RLIMIT_MSGQUEUE):
        steps.limit(kind, 0)
    steps.limit(kernel.RLIMIT_SIGPENDING, _SIGNALS)
    if own.domain is not None:
        steps.landlock_enter(own.domain)
    if own.candidate_filter:
        steps.load_filter(own.candidate_filter)
    return steps


def _stop(_number: int, _frame: object) -> NoReturn:
    """End on the zygote's word. Only at level `landlock`: process 1 is simply killed."""
    _sweep()
    program.leave(1)


def receive(channel: Channel) -> tuple[dict[str, Any], dict[str, int]] | None:
    """Return the next job with its descriptors by name, or None when the service hung up."""
    room = _socket.CMSG_SPACE(_MAX_DESCRIPTORS * 4)
    try:
        message, ancillary, _, _ = channel.recvmsg(MESSAGE_BYTES, room)
    except ConnectionResetError:
        return None
    if not message:
        return None
    numbers = array.array("i")
    for _, _, data in ancillary:
        numbers.frombytes(data)
    job: dict[str, Any] = marshal.loads(message)  # noqa: S302 - the service's own, and its word is law here
    return job, dict(zip(job["descriptors"], numbers, strict=True))


def _test(
    channel: Channel,
    job: dict[str, Any],
    descriptors: dict[str, int],
    notes_pipe: tuple[int, int],
    source: tuple[int, int],
    context: program.Context,
) -> TestReport | None:
    """Run one test to its end and return its report; None if the service hung up meanwhile."""
    before = scratch.mark(context.scratch)
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        if not context.namespaces:
            _signal.signal(_signal.SIGTERM, _signal.SIG_DFL)
        try:
            channel.close()
            program.run(job, descriptors, notes_pipe[1], source, context)
        finally:
            program.leave(1)
    deadline = started + context.limits["wall_seconds"]
    outcome = wait_for(channel, pid, deadline)
    wall = time.monotonic() - started
    reaped = _sweep(pid if outcome == ENDED else None)
    if outcome is None:
        return None
    status = reaped.statuses[pid]
    if job["mode"] == "exec" and "product" in job and os.WIFEXITED(status) and not os.WEXITSTATUS(status):
        _collect(job["product"], descriptors["binary_out"], job["product_bytes"])
    if "fetch" in job:
        _gather(job["fetch"], descriptors["fetched"], job["fetch_bytes"])
    left = scratch.holds_anything(context.scratch) or scratch.mark(context.scratch) != before
    notes = drain(notes_pipe[0])
    return TestReport(job["index"], outcome, status, reaped.cpu_seconds, wall, reaped.peak_kib, left, notes)


def wait_for(channel: Channel, pid: int, deadline: float) -> int | None:
    """Wait until process `pid` ends or the deadline passes; None where the service hung up before."""
    process = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.register(channel, select.POLLHUP)
    try:
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return WALL
            for descriptor, _ in poll.poll(left * 1000 + 1):
                return ENDED if descriptor == process else None
    finally:
        os.close(process)


class Reaped:
    """What the processes of one test used, as the kernel counted it when they were reaped."""

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.cpu_seconds = 0.0
        self.peak_kib = 0

    def add(self, pid: int, status: int, usage: Any) -> None:
        """Count one process that ended."""
        self.statuses[pid] = status
        self.cpu_seconds += usage.ru_utime + usage.ru_stime
        self.peak_kib = max(self.peak_kib, usage.ru_maxrss)


def _sweep(ended: int | None = None) -> Reaped:
    """Kill and reap every process of the candidate until none is left.

    Args:
        ended: A process that has ended by itself; it is reaped first, so that its status is its own.
    """
    reaped = Reaped()
    if ended is not None:
        reaped.add(*os.wait4(ended, WAIT_ALL))
    while True:
        with suppress(ProcessLookupError, PermissionError):  # nobody that this process may signal
            os.kill(-1, 9)
        try:
            reaped.add(*os.wait4(-1, WAIT_ALL))
        except ChildProcessError:
            return reaped


def drain(notes: int) -> bytes:
    """Return what a test noted before candidate code ran."""
    try:
        return os.read(notes, 4096)
    except BlockingIOError:
        return b""


def _collect(name: str, target: int, most: int) -> None:
    """Copy the compiler's product into the memory file `target`, if it is a plain file of sane size."""
    try:
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        size = min(os.fstat(source).st_size, most)
        while size > 0:
            piece = os.read(source, min(size, _MEBIBYTE))
            if not piece:
                break
            os.write(target, piece)
            size -= len(piece)
    finally:
        os.close(source)


def _gather(names: list[str], target: int, most: int) -> None:
    """Write the files `names` of the scratch into the memory file `target`, and whether all fit `most` bytes.

    Every process of the candidate is gone by now, so nothing moves under the reader's feet.
    """
    found: dict[str, bytes] = {}
    complete = True
    for name in names:
        content = _plain_file(name, most + 1)
        if content is None:
            continue
        if len(content) > most:
            complete = False
            continue
        found[name] = content
        most -= len(content)
    left = memoryview(plain.encode((complete, found)))
    while left:
        left = left[os.write(target, left) :]


def _plain_file(name: str, most: int) -> bytes | None:
    """Return up to `most` bytes of a file below this folder, None where there is no plain file. No link is followed."""
    opened: list[int] = []
    kind = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        opened.append(os.open(".", kind | os.O_DIRECTORY))
        *folders, last = name.split("/")
        for folder in folders:
            opened.append(os.open(folder, kind | os.O_DIRECTORY, dir_fd=opened[-1]))
        opened.append(os.open(last, kind | os.O_NONBLOCK, dir_fd=opened[-1]))
        if not stat.S_ISREG(os.fstat(opened[-1]).st_mode):
            return None
        content = b""
        while len(content) < most and (piece := os.read(opened[-1], min(_MEBIBYTE, most - len(content)))):
            content += piece
        return content
    except OSError:
        return None
    finally:
        for descriptor in opened:
            os.close(descriptor)
