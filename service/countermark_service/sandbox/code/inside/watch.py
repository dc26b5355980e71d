# ruff: noqa: PTH208
# Every fork would pay for the memory of pathlib.
"""What the zygote alone can see of a candidate: the sums over its processes that no kernel limit covers, and
for how long it has waited for a processor.

Limits of the kernel count per process; a candidate may start several. The zygote
looks at a candidate's whole process tree every few milliseconds: memory (anonymous and
shared pages and the tables that map them, beyond what the fork inherited), CPU time (of the living, and
of the dead as last seen), and number of tasks. Orphans stay in the tree, because the
keeper adopts them. Programs that end before the first look cost nothing.
"""

import os
import signal
import time
from collections.abc import Container, Iterable
from typing import Any

from .report import CPU, MEMORY, NOTHING, PROCESSES

_TICKS = os.sysconf("SC_CLK_TCK")
_MEBIBYTE = 1 << 20
_MEMORY = (b"\nRssAnon:", b"\nRssShmem:", b"\nVmPTE:")
"""Lines of /proc/PID/status. What is mapped of files is no memory of its own; the rest is, and what several
processes share counts for each of them: nothing tells how many do."""


class Watched:
    """The running account of one candidate."""

    def __init__(self, keeper: int, limits: dict[str, Any], inherited: int, *, alone: bool) -> None:
        self.keeper, self.alone = keeper, alone
        self.inherited = inherited
        self.memory_bytes = limits["memory_mib"] * _MEBIBYTE
        self.cpu_seconds: float = limits["cpu_seconds"]
        self.tasks: int = limits["processes"] + 1
        self.scratch_bytes = limits["scratch_mib"] * _MEBIBYTE
        self.scratch_entries: int = limits["scratch_inodes"]
        self.peak = 0
        self.cpu = 0.0
        """Seconds that the test now running has used, as last seen."""
        self._cpu: dict[tuple[int, int], float] = {}
        self.test: tuple[int, int] | None = None
        """When the test now running began, in ticks since boot, and its first process, as last seen; (0, 0) for
        none."""

    def excess(self, processes: "dict[int, Seen]", children: dict[int, list[int]]) -> int:
        """Return which sum is over its limit now, NOTHING where none is."""
        if self.alone:  # itself the test; its orphans are the zygote's children
            seen = [processes[pid] for pid in _descendants(os.getpid(), children)]
            test = (0, self.keeper)
        else:
            seen = [processes[pid] for pid in _descendants(self.keeper, children)]
            test = min(
                ((processes[pid].started, pid) for pid in children.get(self.keeper, ())), default=(0, 0)
            )
        if not seen:
            return NOTHING
        if test != self.test:  # the keeper's oldest child is the test itself; a new one, a new account
            self.test, self._cpu = test, {}
        memory = tasks = 0
        for process in seen:
            memory += max(0, process.memory - self.inherited)
            tasks += process.tasks
            self._cpu[(process.pid, process.started)] = process.cpu
        self.peak = max(self.peak, memory)
        if memory > self.memory_bytes:
            return MEMORY
        self.cpu = sum(self._cpu.values())
        if self.cpu > self.cpu_seconds:
            return CPU
        return PROCESSES if tasks > self.tasks else NOTHING


class Seen:
    """One process at one moment: `memory` in bytes, `cpu` in seconds, `started` in ticks since boot."""

    __slots__ = ("cpu", "memory", "parent", "pid", "started", "tasks")

    def __init__(self, pid: int, stat: bytes, status: bytes) -> None:
        fields = stat[stat.rindex(b")") + 2 :].split()
        self.pid = pid
        self.parent = int(fields[1])
        self.cpu = (int(fields[11]) + int(fields[12])) / _TICKS
        self.tasks = int(fields[17])
        self.started = int(fields[19])
        self.memory = sum(_bytes_of(line, status) for line in _MEMORY)


def _bytes_of(line: bytes, status: bytes) -> int:
    """Return a line's value; a process that has ended has none. Its name, the first line, holds no line end."""
    at = status.find(line)
    return 0 if at < 0 else int(status[at + len(line) :].split(None, 1)[0]) * 1024


def look() -> tuple[dict[int, Seen], dict[int, list[int]]]:
    """Return every process in sight, and the children of each."""
    processes: dict[int, Seen] = {}
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                seen = Seen(int(name), _read(f"/proc/{name}/stat"), _read(f"/proc/{name}/status"))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended between the listing and the look
            processes[seen.pid] = seen
            children.setdefault(seen.parent, []).append(seen.pid)
    return processes, children


class Waiting:
    """How long a candidate has waited for a processor so far, which is the machine's doing.

    Between two looks it is the longest that a thread of a test's own process has waited, for both halves of a
    tester run together, as they take turns, and the longest of all other threads. It is no sum over those: a
    program could have as many as it likes. It is never more than the time that has passed, and 0 where the kernel
    does not tell.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._before: dict[str, tuple[int, int]] = {}
        self._unrun: list[str] = []
        self._began = time.monotonic()

    def look(self, pids: Iterable[int], tests: Container[int]) -> None:
        """Add what the tasks of these processes have waited since the last look; `tests` are the tests' own."""
        now, before = time.monotonic(), self._before
        found: dict[str, tuple[int, int]] = {}
        added = others = 0
        for pid in pids:
            threads = dict(_times(pid))
            waits = [waited - before.get(task, (0, 0))[1] for task, (_, waited) in threads.items()]
            longest = max([0, *waits])  # less than before is another task, which got an old one's number
            if pid in tests:
                added += longest
            else:
                others = max(others, longest)
            found |= threads
        # A wait is told when it is over, so one look may tell of more than its own time.
        self.seconds = min(self.seconds + (added + others) / 1e9, now - self._began)
        self._unrun = [task for task, (ran, _) in found.items() if before.get(task, (-1, 0))[0] == ran]
        self._before = found

    def goes_on(self) -> bool:
        """Whether a task is waiting still, at the last look: the kernel tells of a wait when it is over."""
        return any(map(_wants_to_run, self._unrun))


def below(besides: Iterable[int], children: dict[int, list[int]]) -> set[int]:
    """Return the processes below this one, but for `besides`."""
    return set(_descendants(os.getpid(), children)).difference(besides)


def _times(pid: int) -> list[tuple[str, tuple[int, int]]]:
    """Return each task of a process, by its folder, and the nanoseconds that it has run and has waited."""
    found: list[tuple[str, tuple[int, int]]] = []
    try:
        for name in os.listdir(f"/proc/{pid}/task"):
            folder = f"/proc/{pid}/task/{name}"
            ran, waited, _ = _read(f"{folder}/schedstat").split()
            found.append((folder, (int(ran), int(waited))))
    except (FileNotFoundError, ProcessLookupError):
        return found  # one has ended meanwhile, or the kernel keeps no such account
    return found


def _wants_to_run(folder: str) -> bool:
    try:
        stat = _read(f"{folder}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat[stat.rindex(b")") + 2 :][:1] == b"R"


def began_at(ticks: int) -> float:
    """Return when a process began, by the monotonic clock, and up to a tick later; `ticks` are since boot."""
    return time.monotonic() - time.clock_gettime(time.CLOCK_BOOTTIME) + (ticks + 1) / _TICKS


def kill(pid: int, started: int) -> None:
    """Kill a process that began at `started`, in ticks since boot; nothing that has its number by now."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if Seen(pid, _read(f"/proc/{pid}/stat"), b"").started == started:
            signal.pidfd_send_signal(process, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        pass
    finally:
        os.close(process)


def own_memory() -> int:
    """Return the bytes that a fork of this process inherits."""
    return Seen(os.getpid(), _read("/proc/self/stat"), _read("/proc/self/status")).memory


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)


def _descendants(pid: int, children: dict[int, list[int]]) -> list[int]:
    found: list[int] = []
    waiting = list(children.get(pid, ()))
    while waiting:
        child = waiting.pop()
        found.append(child)
        waiting += children.get(child, ())
    return found
