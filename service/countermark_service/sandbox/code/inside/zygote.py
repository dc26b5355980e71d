# ruff: noqa: PTH110
# Every fork would pay for the memory of pathlib.
"""The zygote: a warm interpreter in one slot that forks a keeper for each candidate.

It loads what candidates commonly import once, gives up every privilege, installs the
filter that all of them inherit, and waits on the control socket. A request brings
descriptors and limits; the zygote forks and forgets them, so that no byte of one
candidate is ever in the memory that the next one is forked from. While a keeper or a
lone test lives, the zygote watches its sums (see `watch`) and kills it when one is
exceeded; of a lone test it also sweeps up. It keeps the clock of every test, as it alone
sees what a test has waited for a processor, which its wall limit leaves out: on a busy
machine a program would be ended for what the machine did. When the control socket
closes, the zygote ends a lone test that still runs, then itself, and with it the slot.
"""

import _sitebuiltins
import builtins
import gc
import importlib
import io
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from . import keeper, kernel, pages, plain, program, scratch, warm, watch
from .keeper import Channel, Confinement, keep, run_alone
from .report import (
    END,
    ENDED,
    FILES,
    HEADER,
    LONE_TEST,
    LONGEST_WALLS,
    NOTHING,
    WALL,
    gone_message,
    our_word,
)

_STOOD_STILL_SECONDS = 0.5
"""A round that takes so much longer than it waits was kept from going on."""
_FIRST_LOOK_SECONDS, _WATCH_SECONDS = 0.05, 0.02
"""Most tests end before the first look, and then the account costs them nothing."""
_CONTROL = 60
"""Descriptor of the control socket, above those that tests keep."""
_STDIO_BYTES = 1 << 16
_ANY_LEFT = os.WNOHANG | kernel.WAIT_ALL
_NAMESPACES = (
    kernel.CLONE_NEWUSER
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNS
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUTS
)


def main(control: int) -> None:
    """Prepare this process as the first message says, report, and serve until the socket closes."""
    if control == _CONTROL:  # as the service's own numbers would have it
        os.set_inheritable(control, False)
    else:
        os.dup2(control, _CONTROL, inheritable=False)
        os.close(control)
    program.hold_extras()
    with socket.socket(fileno=_CONTROL) as channel:
        config = our_word(channel.recv(keeper.MESSAGE_BYTES * 4))
        try:
            own = _prepare(config)
        except (OSError, ImportError, ValueError) as error:
            channel.send(plain.encode({"failed": f"{type(error).__name__}: {error}"}))
            return
        channel.send(plain.encode(_report(own)))
        Zygote(channel, own).serve()
        program.leave(0)  # at once: there is nothing to tidy, and whoever replaces this slot waits


def _prepare(config: dict[str, Any]) -> Confinement:
    """Drop privileges, warm up, and build what candidates share."""
    folders = _open_folders(config["import_folders"])
    if config["uid"] is not None:
        kernel.drop_bounding_set()
        os.setgroups([])
        os.setresgid(config["gid"], config["gid"], config["gid"])
        os.setresuid(config["uid"], config["uid"], config["uid"])
    kernel.set_no_new_privileges()
    kernel.set_parent_death_signal(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # process 1 is immune only where it has no handler
    _set_path(config["import_folders"], folders)
    _preload(config["preload"])
    warm.warm_up()
    builtins.exit = _sitebuiltins.Quitter(
        "exit", "Ctrl-D (i.e. EOF)"
    )  # what `site` adds, which does not run here
    builtins.help = _sitebuiltins._Helper()
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    _renew_streams()
    own = Confinement(config)
    own.kept_folders = len(folders)
    _build_domains(own, config)
    kernel.become_subreaper()
    kernel.set_dumpable(own.namespaces)  # a keeper writes its own uid_map, which needs it
    kernel.load_filter(bytes.fromhex(config["slot_filter"]))
    sys.argv[:] = ["main.py"]
    gc.collect()
    warm.open_fresh_pools()
    kernel.give_back_memory()
    gc.freeze()
    own.large_pages = pages.lay_into_large_pages()
    return own


def _open_folders(paths: list[str]) -> list[int]:
    """Open the import folders, while this process still may, at the descriptors that tests keep."""
    folders: list[int] = []
    for path in paths:
        descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY)
        wanted = program.KEPT_FOLDERS + len(folders)
        if descriptor != wanted:
            os.dup2(descriptor, wanted, inheritable=False)
            os.close(descriptor)
        folders.append(wanted)
    return folders


def _set_path(paths: list[str], folders: list[int]) -> None:
    """Import from `paths`; through a descriptor where this user cannot walk to the folder.

    An interpreter below another user's home stays importable this way: the magic link
    in /proc leads to the folder itself, past the parents.
    """
    moved = {}
    for path, descriptor in zip(paths, folders, strict=True):
        reachable = os.access(path, os.R_OK | os.X_OK)
        moved[path] = path if reachable else f"/proc/self/fd/{descriptor}"
    sys.path[:] = moved.values()
    sys.path_importer_cache.clear()
    for module in list(sys.modules.values()):
        package_path = getattr(module, "__path__", None)
        if isinstance(package_path, list):
            package_path[:] = [_move(entry, moved) for entry in package_path]


def _move(entry: str, moved: dict[str, str]) -> str:
    for old, new in moved.items():
        if entry.startswith(old + "/"):
            return new + entry[len(old) :]
    return entry


def _preload(names: list[str]) -> None:
    """Import what candidates commonly use, without the work that a module asks for after each fork.

    `random` would draw a new seed in every keeper and test, which costs a tenth of a
    run; instead it is seeded once, and each test finds it in that same state.
    """
    register = os.register_at_fork
    os.register_at_fork = lambda **_: None
    try:
        for name in names:
            importlib.import_module(name)
    finally:
        os.register_at_fork = register
    if "random" in sys.modules:
        sys.modules["random"].seed(0)


def _renew_streams() -> None:
    """Make the three standard streams as a program with files for stdio would find them.

    Forks inherit them; nothing is read or written before, so they are as good as new
    and cost nothing per run.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        raw: Any = io.FileIO(number, mode, closefd=False)
        raw.name = f"<{name}>"
        buffer: Any = (
            io.BufferedReader(raw, _STDIO_BYTES) if mode == "r" else io.BufferedWriter(raw, _STDIO_BYTES)
        )
        errors = "backslashreplace" if name == "stderr" else "surrogateescape"
        stream: Any = io.TextIOWrapper(buffer, "utf-8", errors, line_buffering=name == "stderr")
        stream.mode = mode
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _build_domains(own: Confinement, config: dict[str, Any]) -> None:
    """Build the Landlock rulesets that keepers and tests enter."""
    abi = kernel.landlock_abi() if config["landlock"] else 0
    if not abi:
        return
    ruleset = kernel.landlock_ruleset(abi, files=True)
    read = kernel.LANDLOCK_READ_FILE | kernel.LANDLOCK_READ_DIR
    if own.executes:
        read |= kernel.LANDLOCK_EXECUTE
    for path in config["readable"]:
        if os.path.exists(path):
            kernel.landlock_allow(ruleset, path, read)
    for descriptor in range(program.KEPT_FOLDERS, program.KEPT_FOLDERS + own.kept_folders):
        kernel.landlock_allow(ruleset, f"/proc/self/fd/{descriptor}", read)
    write = kernel.LANDLOCK_READ_FILE | kernel.LANDLOCK_WRITE_FILE
    for device in config["devices"]:
        kernel.landlock_allow(ruleset, device, write)
    scratch = kernel.landlock_rights(abi) & ~(kernel.LANDLOCK_EXECUTE | kernel.LANDLOCK_IOCTL_DEV)
    kernel.landlock_allow(ruleset, config["scratch_rule"], scratch)
    own.domain = ruleset
    if not own.namespaces:
        own.tests_domain = kernel.landlock_ruleset(abi, files=False)


def _report(own: Confinement) -> dict[str, Any]:
    return {
        "python": sys.version.split()[0],
        "uid": own.uid,
        "landlock": own.domain is not None,
        "memory": watch.own_memory(),
        "large_pages": own.large_pages,
    }


class Kept:
    """One keeper, or one lone test, that lives."""

    __slots__ = (
        "account",
        "alone",
        "begun",
        "deadline",
        "excess",
        "limits",
        "number",
        "outcome",
        "pid",
        "started",
        "test",
        "waited_before",
    )

    def __init__(self, number: int, pid: int, limits: dict[str, Any], alone: bool) -> None:
        self.number, self.pid, self.limits, self.alone = number, pid, limits, alone
        self.started = time.monotonic()
        self.test: tuple[int, int] | None = None
        """The test of a keeper whose clock runs (see `watch.Watched.test`)."""
        self.begun = self.started
        """When the test that runs began."""
        self.waited_before = 0.0
        """What the candidate had waited for a processor by then."""
        self.deadline: float | None = self.begun + limits["wall_seconds"] if alone else None
        """When it must end; None where none is seen to run."""
        self.account: watch.Watched | None = None
        """Made at the first look, which most candidates do not live to see."""
        self.outcome, self.excess = ENDED, NOTHING

    def follow(self, test: tuple[int, int] | None, waited: float) -> None:
        """Start the clock of a keeper's next test, where it has begun one."""
        if test != self.test:
            self.test, self.deadline, self.waited_before = test, None, waited
            if test is not None and test != (0, 0):
                self.begun = watch.began_at(test[0])
                self.deadline = self.begun + self.limits["wall_seconds"]

    def later(self, waited: float) -> float:
        """Return when the test must end, after the candidate has waited so long for a processor."""
        wall: float = self.limits["wall_seconds"]
        return min(self.begun + wall + waited - self.waited_before, self.latest)

    @property
    def test_pid(self) -> int:
        """The test's own process; 0 where none is seen to run."""
        return self.pid if self.alone else 0 if self.test is None else self.test[1]

    @property
    def latest(self) -> float:
        """When the test must end whatever it has waited for."""
        wall: float = self.limits["wall_seconds"]
        return self.begun + LONGEST_WALLS * wall

    def end_test(self) -> None:
        """End the test on its clock; what it left is swept when it is gone."""
        self.deadline = None
        if self.alone:
            self.outcome = WALL
            os.kill(self.pid, signal.SIGKILL)
        elif self.test is not None:  # its keeper sees how it ended, and knows what time it is
            watch.kill(self.test_pid, self.test[0])


class Zygote:
    """The loop: requests in, keepers out, ends reported."""

    def __init__(self, control: socket.socket, own: Confinement) -> None:
        self._control, self._own = control, own
        self._inherited = watch.own_memory()
        self._keepers: dict[int, Kept] = {}
        """By the keeper's pidfd."""
        self._children = kernel.Children()
        self._ended: list[tuple[int, int, int, int, float, float, float, int]] = []
        """What there is to say of those that are buried, until the last of two halves is."""
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._next_look = 0.0
        self._waiting = watch.Waiting()
        """Of the candidate that is here."""

    def serve(self) -> None:
        """Serve until the service closes the control socket."""
        seen = time.monotonic()
        while True:
            patience = self._patience()
            events = self._poll.poll(patience)
            now = time.monotonic()
            # From one round to the next, as it may have been stopped at work as well as asleep; and no deadline is
            # held against a later look at the clock than this one.
            still = now - seen - (patience or 0.0) / 1000
            seen = now
            if still > _STOOD_STILL_SECONDS:
                self._leave_out(still, now)
            for descriptor, _ in events:
                if descriptor == _CONTROL:
                    if not self._obey():
                        self._abandon()
                        return
                else:
                    self._bury(descriptor)
            if self._keepers:
                if now >= self._next_look:
                    self._watch()
                late = [
                    kept
                    for kept in self._keepers.values()
                    if kept.deadline is not None and now >= kept.deadline
                ]
                if late:
                    self._heed_clock(late, now)

    def _leave_out(self, seconds: float, now: float) -> None:
        """Count no test the time in which this process stood still: what pauses a machine pauses all of it."""
        for kept in self._keepers.values():
            kept.begun = min(kept.begun + seconds, now)
            if kept.deadline is not None:
                kept.deadline += seconds

    def _heed_clock(self, late: list[Kept], now: float) -> None:
        """End the tests whose time is over, and give the others what they have waited for a processor.

        Both halves of a tester run get what either has waited: one sleeps while the other works.
        """
        self._count_waiting(watch.look()[1])
        for kept in late:
            kept.deadline = kept.later(self._waiting.seconds)
            if kept.deadline <= now and self._waiting.goes_on() and now < kept.latest:
                kept.deadline = now + _WATCH_SECONDS  # how long it has waited is told when it runs again
            elif kept.deadline <= now:
                kept.end_test()

    def _count_waiting(self, children: dict[int, list[int]]) -> None:
        """Look at what the candidate's processes have waited; `children` are those of each process."""
        keepers = {kept.pid for kept in self._keepers.values() if not kept.alone}
        tests = {kept.test_pid for kept in self._keepers.values()}
        self._waiting.look(watch.below(keepers, children), tests)

    def _abandon(self) -> None:
        """End a lone test that nobody waits for any more; keepers end by themselves, as their channels close."""
        if any(kept.alone for kept in self._keepers.values()):
            _sweep_orphans(self._children)

    def _patience(self) -> float | None:
        """Return the milliseconds until there is something to do unasked."""
        if not self._keepers:
            return None
        moment = self._next_look
        for kept in self._keepers.values():
            if kept.deadline is not None and kept.deadline < moment:
                moment = kept.deadline
        return max(0.0, moment - time.monotonic()) * 1000 + 1

    def _obey(self) -> bool:
        """Do what the next message says; False when the socket is closed."""
        size, numbers = keeper.receive_raw(self._control)
        if not size:
            return False
        message = keeper.message_room[:size]
        number, wanted = HEADER.unpack_from(message)
        if wanted == END:
            for kept in self._keepers.values():
                if kept.number == number:
                    self._end(kept)
            return True
        limits, job = our_word(message[HEADER.size :])
        try:
            context = self._own.prepared(limits)
            pid = kernel.clone(self._flags(wanted))
            if pid == 0:
                self._become(wanted, job, numbers, context)
        except OSError as error:
            self._control.send(
                gone_message(number, 0, NOTHING, 0, 0.0, 0.0, 0.0, ENDED, False, str(error).encode())
            )
            pid = -1
        message[:] = bytes(size)  # no byte of one candidate in the memory that the next is forked from
        for descriptor in numbers:
            os.close(descriptor)
        if pid > 0:
            if not self._keepers:
                self._next_look = time.monotonic() + _FIRST_LOOK_SECONDS
                self._waiting = watch.Waiting()
            process = os.pidfd_open(pid)
            self._keepers[process] = Kept(number, pid, context.limits, wanted == LONE_TEST)
            self._poll.register(process, select.POLLIN)
        return True

    def _flags(self, wanted: int) -> int:
        """Return the namespaces of a new process. A lone test stays in the slot's own of processes.

        There the zygote sweeps as a keeper would, and Landlock keeps the test from
        signalling it; a test that were process 1 would be deaf to its own signals.
        """
        if not self._own.namespaces:
            return 0
        return _NAMESPACES if wanted != LONE_TEST else _NAMESPACES & ~kernel.CLONE_NEWPID

    def _become(
        self, wanted: int, job: dict[str, Any], numbers: Sequence[int], context: program.Context
    ) -> NoReturn:
        """Turn this new process into what was asked for."""
        try:
            os.close(_CONTROL)
            if wanted == LONE_TEST:
                run_alone(job, dict(zip(job["descriptors"], numbers, strict=True)), context)
            channel = Channel(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, numbers[0])
            keep(channel, numbers[1], numbers[2], context)
        finally:
            program.leave(1)

    def _bury(self, process: int) -> None:
        """Reap a keeper or test that ended, and say so once nothing of it is left."""
        kept = self._keepers.pop(process)
        self._poll.unregister(process)
        os.close(process)
        wall = time.monotonic() - kept.started
        waited = 0.0
        if kept.alone and wall > kept.limits["cpu_seconds"]:  # as long as it is not reaped, the kernel knows
            self._count_waiting(watch.look()[1])
            waited = self._waiting.seconds
        reaped = self._children.reap(kept.pid, 0)
        if reaped is None:
            raise ChildProcessError(f"process {kept.pid} has ended, and is no child")
        _, status, cpu, peak_kib = reaped
        peak = peak_kib * 1024
        if kept.account is not None:
            peak, cpu = max(peak, kept.account.peak), max(cpu, kept.account.cpu)
        self._ended.append((kept.number, status, kept.excess, peak, cpu, wall, waited, kept.outcome))
        if kept.alone and self._keepers:
            return  # the other half of a tester run: the sweep would end it too
        if kept.alone:
            _sweep_orphans(self._children)
        clean = self._own.namespaces or bool(self._keepers) or scratch.empty(self._own.scratch)
        for gone in self._ended:
            self._control.send(gone_message(*gone, clean))
        self._ended.clear()

    def _watch(self) -> None:
        began = time.monotonic()
        processes, children = watch.look()
        waited = self._waiting.seconds  # a test that is seen for the first time now began after the last look
        self._count_waiting(children)
        for kept in self._keepers.values():
            if kept.account is None:
                kept.account = watch.Watched(kept.pid, kept.limits, self._inherited, alone=kept.alone)
            excess = kept.account.excess(processes, children)
            if not kept.alone:
                kept.follow(kept.account.test, waited)
            if (
                excess == NOTHING
                and not self._own.namespaces
                and scratch.holds_too_much(
                    self._own.scratch, kept.account.scratch_bytes, kept.account.scratch_entries
                )
            ):
                excess = FILES
            if excess != NOTHING and kept.excess == NOTHING:
                kept.excess = excess
                self._end(kept)
        ended = time.monotonic()
        self._next_look = ended + max(_WATCH_SECONDS, 5 * (ended - began))

    def _end(self, kept: Kept) -> None:
        """End a test or keeper and all below it: a keeper that is not process 1 sweeps first."""
        gently = not self._own.namespaces and not kept.alone
        os.kill(kept.pid, signal.SIGTERM if gently else signal.SIGKILL)


def _sweep_orphans(children: kernel.Children) -> None:
    """Kill and reap all that a lone test left: every process that this one may signal.

    That is exactly the candidate's: at level `namespaces` nobody else is in the slot's
    process namespace, at level `landlock` nobody else has the slot's user.
    """
    while (found := children.reap(-1, _ANY_LEFT)) is not None:
        if found[0] == 0:
            children.kill_all()
            children.reap()
