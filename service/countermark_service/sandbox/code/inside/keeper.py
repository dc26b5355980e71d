"""The keeper of one candidate: first process of its namespaces, and the last to go.

Theory of operation. The zygote makes one keeper per candidate. At level `namespaces`
it is process 1 of fresh user, pid, mount, ipc and uts namespaces: nothing inside can
signal it, orphans become its children, and its end ends them all. At level `landlock`
the same holds by other means: it is a subreaper, and the tests run in a Landlock
domain below its own, so that they cannot signal it while it can signal them.

The keeper reads no candidate byte. For each test it receives descriptors over the
channel, forks, waits, then kills whatever is left (`kill(-1)`), reaps until nothing is
left, and reports. The zygote ends a test on its clock, as it sees more of the machine.
A test that leaves something in the scratch folder ends the keeper too: the next test
gets a fresh one. It ends when the channel closes; the service cancels a candidate by
closing it.

    zygote --clone--> keeper --fork--> program (test 0), program (test 1), ...
       service <==== channel ====> keeper       jobs and descriptors in, reports out
"""

import _socket
import importlib
import os
import select
import stat
import struct
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from . import kernel, plain, program
from .report import ENDED, FAILED, LONGEST_WALLS, WALL, our_word, test_message

_signal: Any = importlib.import_module("_signal")
Channel = _socket.socket
"""The C parts alone: the modules around them look up enums, which would cost every keeper dear."""

INNER_ID = 1000
"""User and group that a candidate sees at level `namespaces`; not 0, so that exec gives no capability."""
MESSAGE_BYTES = 1 << 16
_MAX_DESCRIPTORS = 16
_DESCRIPTORS_ROOM = _socket.CMSG_SPACE(_MAX_DESCRIPTORS * 4)
_NUMBERS = tuple(struct.Struct(f"{count}i") for count in range(_MAX_DESCRIPTORS + 1))
message_room = memoryview(bytearray(MESSAGE_BYTES))
"""Where every message is received: a new buffer of that size would touch a page at each end of it."""
_MEBIBYTE = 1 << 20
_MOST_PREPARED = 64
_NOTED = 256
"""Bytes; the room for more would come from another allocator, with pages of its own."""
_SIGNALS = 1024
"""Queued signals and timers: the kernel's memory, and by default enough for tens of megabytes."""


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
        self.large_pages = False
        """Whether the slot's memory lies in large pages, which makes forks cheap."""
        self._prepared: dict[bytes, program.Context] = {}

    def prepared(self, packed: bytes) -> program.Context:
        """Return all that candidates with these limits share, laid out before any of them is forked."""
        found = self._prepared.get(packed)
        if found is None:
            if len(self._prepared) >= _MOST_PREPARED:
                self._prepared.clear()
            limits: dict[str, Any] = our_word(packed)
            found = self._prepared[packed] = program.Context(
                limits, _confining(self, limits), program.limiting(limits, self.tests_domain), self
            )
        return found


def keep(channel: Channel, code: int, cache: int, context: program.Context) -> NoReturn:
    """Be the keeper of one candidate until its channel closes."""
    try:
        context.confining.take()
    except OSError as error:
        send(channel, test_message(0, FAILED, 0, 0.0, 0.0, 0, True, str(error).encode()))
        _wait_for_the_end(channel)
    if not context.namespaces:
        kernel.become_subreaper()
        _signal.signal(_signal.SIGTERM, _stop)
    folder = kernel.OpenFolder(context.scratch)
    poll = select.poll()
    poll.register(channel, select.POLLHUP)
    tools = Tools(poll, folder, folder.mark(), kernel.Children(), os.pipe())
    os.set_blocking(tools.notes[0], False)
    while True:
        received = receive(channel)
        if received is None:
            break
        job, numbers = received
        descriptors = dict(zip(job["descriptors"], numbers, strict=True))
        seen = test(tools, job, descriptors, (code, cache), context)
        for descriptor in numbers:
            os.close(descriptor)
        if seen is None:
            break
        message, last = seen
        if not send(channel, message) or last:
            break
    _sweep(tools.children)
    _wait_for_the_end(channel)


class Tools(NamedTuple):
    """What a keeper needs for each of its tests, made once."""

    poll: "select.poll"
    """Tells when the service has hung up, beside what is added to it."""
    folder: kernel.OpenFolder
    clean: tuple[int, ...]
    """The mark of the scratch folder while nothing has been written into it or onto it."""
    children: kernel.Children
    notes: tuple[int, int]
    """Both ends of the pipe that tests write their notes to."""


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


def receive_raw(channel: Channel) -> tuple[int, Sequence[int]]:
    """Receive a message into the room that all share; return its size, 0 when the other end hung up, and what
    descriptors came with it."""
    try:
        size, ancillary, _, _ = channel.recvmsg_into((message_room,), _DESCRIPTORS_ROOM)
    except ConnectionResetError:
        return 0, ()
    for _, _, data in ancillary:
        return size, _NUMBERS[len(data) // 4].unpack(data)
    return size, ()


def _wait_for_the_end(channel: Channel) -> NoReturn:
    """Take in what still comes until the service hangs up, then end.

    A socket that is closed with messages unread resets the connection, and the last
    report would be lost with it.
    """
    while True:
        received = receive(channel)
        if received is None:
            program.leave(0)
        for descriptor in received[1]:
            os.close(descriptor)


def send(channel: Channel, message: bytes) -> bool:
    """Send a report; False when the service has hung up."""
    try:
        channel.send(message)
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
    _sweep(kernel.Children())
    program.leave(1)


def receive(channel: Channel) -> tuple[dict[str, Any], Sequence[int]] | None:
    """Return the next job with its descriptors, in the order of their names, or None when the service hung up."""
    size, numbers = receive_raw(channel)
    if not size:
        return None
    return our_word(message_room[:size]), numbers


def test(
    tools: Tools,
    job: dict[str, Any],
    descriptors: dict[str, int],
    source: tuple[int, int],
    context: program.Context,
) -> tuple[bytes, bool] | None:
    """Run one test to its end; return its report, and whether it was the last here. None: the service hung up."""
    poll, folder, clean, children, notes = tools
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        if not context.namespaces:
            _signal.signal(_signal.SIGTERM, _signal.SIG_DFL)
        try:
            program.run(job, descriptors, notes[1], source, context)
        finally:
            program.leave(1)
    wall_limit: float = context.limits["wall_seconds"]
    outcome = wait_for(poll, pid, started + LONGEST_WALLS * wall_limit)
    wall = time.monotonic() - started
    status, cpu_seconds, peak_kib = _sweep(children, pid, ended=outcome == ENDED)
    if outcome is None:
        return None
    if wall >= wall_limit and os.WIFSIGNALED(status) and os.WTERMSIG(status) == _signal.SIGKILL:
        outcome = WALL  # by the zygote
    if job["mode"] == "exec" and "product" in job and os.WIFEXITED(status) and not os.WEXITSTATUS(status):
        _collect(job["product"], descriptors["binary_out"], job["product_bytes"])
    if "fetch" in job:
        _gather(job["fetch"], descriptors["fetched"], job["fetch_bytes"])
    last = not folder.is_empty() or folder.mark() != clean
    text = drain(notes[0])
    return test_message(job["index"], outcome, status, cpu_seconds, wall, peak_kib, last, text), last


def wait_for(poll: "select.poll", pid: int, deadline: float) -> int | None:
    """Wait until process `pid` ends or the deadline passes; None where the service hung up before."""
    process = os.pidfd_open(pid)
    poll.register(process, select.POLLIN)
    try:
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return WALL
            for descriptor, _ in poll.poll(left * 1000 + 1):
                return ENDED if descriptor == process else None
    finally:
        poll.unregister(process)
        os.close(process)


def _sweep(children: kernel.Children, first: int = -1, *, ended: bool = False) -> tuple[int, float, int]:
    """Kill and reap every process of the candidate until none is left.

    Args:
        children: They.
        first: The test's own process.
        ended: It has ended by itself, so it is reaped first, that its status is its own.

    Returns:
        The wait status of `first`, the CPU seconds of all, and the largest resident memory of one, in KiB.
    """
    status, cpu_seconds, peak_kib = 0, 0.0, 0
    one = children.reap(first) if ended else None
    while True:
        if one is not None:
            cpu_seconds += one[2]
            if one[0] == first:
                status, first = one[1], -1
            if one[3] > peak_kib:
                peak_kib = one[3]
        children.kill_all()
        one = children.reap()
        if one is None:
            return status, cpu_seconds, peak_kib


def drain(notes: int) -> bytes:
    """Return what a test noted before candidate code ran."""
    noted = b""
    try:
        while piece := os.read(notes, _NOTED):
            noted += piece
            if len(piece) < _NOTED:
                break
    except BlockingIOError:
        pass
    return noted


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
