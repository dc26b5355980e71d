"""The program inside a worker process. Standard library only; started by path, never imported.

Theory of operation
-------------------
One *nursery* process per bundle, started by the service (contained), loads the
verifier once and then only forks. Each fork is a *worker*: it inherits the loaded
verifier, gives up every right that it does not need, and judges items until it is
told to stop or is killed.

    service ──SEQPACKET──▶ nursery ──fork──▶ worker 1
       │                      └─────fork──▶ worker 2 …
       ├──pipe "requests"──────────────────▶ worker
       ◀──pipe "verdicts"─────────────────── worker
       └──shared page "progress"────────────  (which item is at work, since when;
                                                is the rest of the chunk still wanted)

The nursery sends the service a pidfd of each worker, so the service can kill it
without asking anybody, and reports how it ended after it has killed what is left
of its process group. The service never waits for the nursery to decide a deadline.

An item's CPU budget is a timer on the process's CPU clock whose signal keeps its
default action: the kernel ends the process when the budget is spent, be it in
Python or deep in C. (ITIMER_PROF counts whole ticks: on a busy machine it is a
fifth too early, and verdicts would depend on load.) What the verifier prints goes nowhere; the pipes have numbers
that it does not know and that are closed in anything it could start.

Messages to the nursery are JSON: ``{"load": …}`` first, then ``{"fork": n}`` with
three descriptors (requests, verdicts, progress). Frames of a worker are a 4-byte
big-endian length and JSON: ``[operation, sequence, budget_seconds, [item, …]]`` in,
``[sequence, first, [result, …], done]`` out, where an item is
``[response, reference, params, prompt]``, a result of "verify" is
``[outcome, score, detail, cpu_microseconds]`` and one of "reduce" is
``[key or null, cpu_microseconds]``. Bundles that have programs run know "plan" and
"judge", whose items of "judge" have what the runs came to as a fifth member; their
result is one of "verify", or the outcome ``run`` with what is to be run as detail.
"""

import base64
import binascii
import contextlib
import ctypes
import errno
import fcntl
import gc
import hashlib
import importlib
import json
import mmap
import os
import random
import resource
import select
import shutil
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

Verifier = Callable[..., Any]

_LENGTH = struct.Struct(">I")
_PROGRESS = struct.Struct("=QQQ")  # sequence, index in the chunk, CPU nanoseconds at the item's start
_CHECKED = struct.Struct("=24sQ")  # the progress, and its CRC-32
# After these: sequence of the chunk whose rest the service took back.
_TAKEN_BACK = struct.Struct("=Q")
_FLUSH_SECONDS = 0.010
_CHUNK_SECONDS = 0.060
_LARGEST_DETAIL = 64 * 1024
_LARGEST_PLAN = 48 * 1024 * 1024
_VECTOR_SECONDS = 3.0
_LONGEST_MESSAGE = 500
_OUTCOMES = {"scored", "no_answer", "bad_reference"}
_DESCRIPTORS = 64
_UNPREPARED = 72
"""Exit status of a worker that could not be made ready, see `endings`."""

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_LANDLOCK_CREATE = 444
_LANDLOCK_ADD = 445
_LANDLOCK_RESTRICT = 446
_LANDLOCK_PATH_BENEATH = 1
_FS_READ = 0b1101  # execute, read file, read folder
_FS_OF_FILES = 0b111  # execute, write, read
_FS_ALL = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
_FS_ALL_FROM_5 = (1 << 16) - 1
_NET_ALL = 0b11
_SCOPE_ALL = 0b11
_CLOCK_PROCESS_CPUTIME = 2
_SIGNAL_EVENT = struct.Struct("=Qii48x")  # value, signal, SIGEV_SIGNAL = 0

_libc = ctypes.CDLL(None, use_errno=True)


# --- nursery ---------------------------------------------------------------------------------------------


def nursery(control: socket.socket) -> None:
    """Load the verifier, then fork a worker for each request until the service goes away."""
    load = json.loads(control.recv(1 << 20))["load"]
    try:
        with _ending_with(control):
            verifier = _load(load)
    except BaseException:  # whatever a bundle's import does, the service must hear why
        control.send(json.dumps({"failed": traceback.format_exc()[-4000:]}).encode())
        return
    control.send(json.dumps({"ready": {"python": sys.version.split()[0]}}).encode())
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, _noticed)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    workers: dict[int, int] = {}
    try:
        while True:
            readable, _, _ = select.select([control.fileno(), wake_read], [], [])
            if wake_read in readable:
                os.read(wake_read, 4096)
                _reap(control, workers)
            if control.fileno() in readable:
                message, descriptors, _, _ = socket.recv_fds(control, 65536, 3)
                if not message:
                    return
                number = json.loads(message)["fork"]
                pid = os.fork()
                if pid == 0:
                    _become_worker(descriptors, number, load, verifier)
                for descriptor in descriptors:
                    os.close(descriptor)
                workers[pid] = number
                pidfd = os.pidfd_open(pid)
                socket.send_fds(control, [json.dumps({"forked": number}).encode()], [pidfd])
                os.close(pidfd)
    finally:
        for pid in workers:
            _kill_group(pid)


@contextlib.contextmanager
def _ending_with(control: socket.socket) -> Iterator[None]:
    """Have the kernel end this process, and what it starts, once the service has closed its end of `control`.

    Nothing may come from there meanwhile. An import may take for ever and looks at no socket; and who was to take
    it along, the process around it, may have been killed before that was settled.
    """
    flags = fcntl.fcntl(control, fcntl.F_GETFL)
    with contextlib.suppress(OSError):  # kernels that are no Linux may lack it: then it ends with its import
        fcntl.fcntl(control, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(control, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(control, fcntl.F_SETFL, flags | os.O_ASYNC)
    closed = select.poll()
    closed.register(control, select.POLLHUP)
    if closed.poll(0):  # before the kernel was asked to look
        os._exit(70)
    try:
        yield
    finally:
        fcntl.fcntl(control, fcntl.F_SETFL, flags)


def _noticed(number: int, frame: FrameType | None) -> None:
    """Do nothing: the signal is seen through the wake-up descriptor."""


def _load(load: dict[str, Any]) -> dict[str, Verifier]:
    sys.path.insert(0, load["code"])
    functions: dict[str, Verifier] = {}
    for operation, target in load["functions"].items():
        module, _, name = target.partition(":")
        functions[operation] = getattr(importlib.import_module(module), name)
    if load["vectors"]:
        _hold_to_vectors(load["vectors"], functions["verify"])
    gc.collect()
    gc.freeze()
    return functions


def _hold_to_vectors(file: str, verify: Verifier) -> None:
    """Judge the bundle's own vectors, for some seconds at most.

    A machine on which they do not hold must not serve the bundle. And what a library keeps between calls
    (tables of a parser, say) is then there before the forks, so no worker begins cold.
    """
    start = time.process_time()
    with open(file, encoding="utf-8") as lines:
        for line in lines:
            if not line.strip() or time.process_time() - start > _VECTOR_SECONDS:
                continue
            vector = json.loads(line)
            item, expect = vector["item"], vector["expect"]
            if expect["outcome"] not in _OUTCOMES:
                continue
            random.seed(0)
            verdict = verify(
                {
                    "response": item["response"],
                    "reference": item["reference"],
                    "params": item.get("params", {}),
                    "prompt": item.get("prompt"),
                }
            )
            expected, found = (expect["outcome"], expect.get("score")), (verdict["outcome"], verdict["score"])
            if expected != found:
                raise ValueError(
                    f"vector {vector['id']!r} does not hold here: expected {expected}, got {found}"
                )


def _reap(control: socket.socket, workers: dict[int, int]) -> None:
    for pid in list(workers):
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            continue
        _kill_group(pid)  # before the reaping, so that the number cannot belong to another yet
        _, status = os.waitpid(pid, 0)
        control.send(json.dumps({"exited": workers.pop(pid), "status": status}).encode())


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):  # it may have ended before it had a group of its own
        os.kill(pid, signal.SIGKILL)


# --- worker ----------------------------------------------------------------------------------------------


def _become_worker(
    descriptors: list[int], number: int, load: dict[str, Any], verifier: dict[str, Verifier]
) -> NoReturn:
    try:
        os.setsid()
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        requests, verdicts, page = _take_descriptors(descriptors)
        scratch = os.path.join(load["scratch"], str(number))
        os.mkdir(scratch, 0o700)
        os.chdir(scratch)
        progress = mmap.mmap(page, mmap.PAGESIZE)
        _limit(load)
        _confine(load, scratch)
    except BaseException as exc:  # the machine lacks something; the service tells those who wait what it is
        print(exc, file=sys.stderr, flush=True)
        os._exit(_UNPREPARED)
    os.dup2(1, 2)
    try:
        _serve(requests, verdicts, progress, verifier, scratch)
    except BaseException:  # the service has gone, or a result cannot be told
        os._exit(70)
    os._exit(0)


def _take_descriptors(descriptors: list[int]) -> list[int]:
    """Move the three descriptors to high numbers and close all others but 0 to 2; of these, 2 stays as it is."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed < _DESCRIPTORS:
        raise OSError(errno.EMFILE, f"a worker needs {_DESCRIPTORS} descriptors, and {allowed} are allowed")
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(null, standard)
    moved = [os.dup2(fd, place, inheritable=False) for fd, place in zip(descriptors, (60, 61, 62))]
    os.closerange(3, 60)
    os.closerange(63, 4096)
    return moved


def _limit(load: dict[str, Any]) -> None:
    hard = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 64 << 20,
        resource.RLIMIT_NOFILE: _DESCRIPTORS,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_AS: load["address_space"],
    }
    for which, value in hard.items():
        _, ceiling = resource.getrlimit(which)
        value = value if ceiling == resource.RLIM_INFINITY else min(value, ceiling)
        resource.setrlimit(which, (value, value))


def _confine(load: dict[str, Any], scratch: str) -> None:
    """Give up rights for good: no new privileges, Landlock, the call filter."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if load["landlock"]:
        _landlock(load["landlock"], load["readable"], scratch)
    if load["filter"]:
        code = base64.b64decode(load["filter"])
        buffer = ctypes.create_string_buffer(code, len(code))
        program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
        holder = ctypes.create_string_buffer(program, len(program))
        _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, holder, 0, 0), "seccomp")


def _landlock(abi: int, readable: list[str], scratch: str) -> None:
    handled = _FS_ALL.get(abi, _FS_ALL[3] if abi == 4 else _FS_ALL_FROM_5)
    attributes = struct.pack("=QQQ", handled, _NET_ALL if abi >= 4 else 0, _SCOPE_ALL if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = _check(_libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(size), 0), "landlock")
    for path, rights in [*((path, _FS_READ) for path in readable), (scratch, handled), ("/dev", 0b110)]:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        if not os.path.isdir(path):
            rights &= _FS_OF_FILES
        rule = struct.pack("=Qi", rights & handled, descriptor)
        _check(_libc.syscall(_LANDLOCK_ADD, ruleset, _LANDLOCK_PATH_BENEATH, rule, 0), f"landlock {path}")
        os.close(descriptor)
    _check(_libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0), "landlock restrict")
    os.close(ruleset)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _serve(
    requests: int, verdicts: int, progress: mmap.mmap, verifier: dict[str, Verifier], scratch: str
) -> None:
    """Judge chunk after chunk until the service closes the pipe."""
    _budget.make()
    stream = os.fdopen(requests, "rb", buffering=1 << 16)
    operations = {"verify": _verify, "reduce": _reduce, "plan": _step, "judge": _step}
    # The verifier is called as deep in the stack as from the top of a script of its own, so that
    # code which runs into the recursion limit does so at the same place.
    sys.setrecursionlimit(1000 + _depth() + 2)
    while True:
        head = stream.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            return
        operation, sequence, budget, items = json.loads(stream.read(_LENGTH.unpack(head)[0]))
        judge = operations[operation]
        function = verifier[operation]
        results: list[str] = []
        first, begun = 0, time.monotonic()
        flushed = begun
        for index, item in enumerate(items):
            random.seed(0)
            progress[: _CHECKED.size] = _mark(sequence, index, time.process_time_ns())
            # The thread's clock, as the process's is read to a tick only while a timer runs on it: between short
            # items, most of what they cost would be nobody's.
            start = time.thread_time_ns()
            result, spoiled = judge(function, item, budget)
            results.append(f"[{result},{(time.thread_time_ns() - start) // 1000}]")
            if os.listdir(scratch) or os.getcwd() != scratch:
                _empty(scratch)
            now = time.monotonic()
            # A chunk was cut by what items usually cost. Where these cost more, the rest is given back:
            # others wait for the slot, and some of the items may be nobody's by now.
            (taken_back,) = _TAKEN_BACK.unpack_from(progress, _CHECKED.size)
            done = index == len(items) - 1 or now - begun > _CHUNK_SECONDS or taken_back == sequence
            if done:  # no item is at work: the service may be late to read what follows
                progress[: _CHECKED.size] = _mark(sequence, len(items), time.process_time_ns())
            if spoiled or done or now - flushed > _FLUSH_SECONDS:
                _send(verdicts, sequence, first, results, done=done)
                results, first, flushed = [], index + 1, now
            if spoiled:
                os._exit(71)
            if done:
                break


def _mark(sequence: int, index: int, nanoseconds: int) -> bytes:
    """Return what the progress page says of the item at work.

    Other processes read the page while it is written, and this one may lose its processor half-way: who reads
    a new index beside an old start would take the item for one that has run for as long as the worker. So the
    whole carries a checksum.
    """
    progress = _PROGRESS.pack(sequence, index, nanoseconds)
    return _CHECKED.pack(progress, binascii.crc32(progress))


class _Budget:
    """Ends this process when it has used so much CPU time more, all its threads together."""

    def __init__(self) -> None:
        """No timer yet: a fork has none of its parent's."""
        self._library = _libc if hasattr(_libc, "timer_create") else ctypes.CDLL("librt.so.1", use_errno=True)
        self._timer = ctypes.c_void_p()
        # A struct itimerspec: seconds and nanoseconds of the interval, and of what is left.
        self._left = (ctypes.c_long * 4)()

    def make(self) -> None:
        """Make the timer of this process."""
        event = ctypes.create_string_buffer(_SIGNAL_EVENT.pack(0, signal.SIGPROF, 0), _SIGNAL_EVENT.size)
        made = self._library.timer_create(_CLOCK_PROCESS_CPUTIME, event, ctypes.byref(self._timer))
        _check(made, "timer_create")

    def start(self, seconds: float) -> None:
        """Begin to count anew."""
        nanoseconds = max(1, int(seconds * 1e9))
        self._set(nanoseconds // 1_000_000_000, nanoseconds % 1_000_000_000)

    def stop(self) -> None:
        """Count no more."""
        self._set(0, 0)

    def _set(self, seconds: int, nanoseconds: int) -> None:
        self._left[2], self._left[3] = seconds, nanoseconds
        _check(self._library.timer_settime(self._timer, 0, self._left, None), "timer_settime")


_budget = _Budget()


def _depth() -> int:
    frame: FrameType | None = sys._getframe()
    depth = 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def _verify(
    function: Verifier, item: list[Any], budget: float, runs_allowed: bool = False
) -> tuple[str, bool]:
    """Return the result without its closing bracket, and whether the process must not go on."""
    argument = {"response": item[0], "reference": item[1], "params": item[2], "prompt": item[3]}
    try:
        _budget.start(budget)
        verdict = function(argument, *item[4:])
        _budget.stop()
    except MemoryError:
        _budget.stop()
        return _failure("out_of_memory", "the verifier ran out of memory"), True
    except BaseException as exc:  # the worker's edge: whatever a verifier raises is this item's error
        _budget.stop()
        return _failure("verifier_raised", _describe(exc)), False
    try:
        if runs_allowed and type(verdict) is dict and verdict.keys() == {"run"}:
            return _runs(verdict["run"]), False
        return _checked(verdict), False
    except (TypeError, ValueError, RecursionError) as exc:
        return _failure("invalid_verdict", _describe(exc)), False


def _step(function: Verifier, item: list[Any], budget: float) -> tuple[str, bool]:
    """As `_verify`, for a bundle that may ask for runs before it has a verdict."""
    return _verify(function, item, budget, runs_allowed=True)


def _reduce(function: Verifier, item: list[Any], budget: float) -> tuple[str, bool]:
    argument = {"response": item[0], "reference": item[1], "params": item[2], "prompt": item[3]}
    try:
        _budget.start(budget)
        reduction = function(argument)
        _budget.stop()
        if reduction is None:
            return "null", False
        text = json.dumps(reduction, sort_keys=True, ensure_ascii=True, allow_nan=False)
        return f'"{hashlib.sha256(text.encode()).hexdigest()}"', False
    except MemoryError:
        _budget.stop()
        return "null", True
    except BaseException:  # no reduction: the whole item is judged, and that shows what is wrong
        _budget.stop()
        return "null", False


def _checked(verdict: Any) -> str:
    """Return the encoded outcome, score and detail of a verdict that holds to the protocol."""
    if type(verdict) is not dict or not {"outcome", "score"} <= verdict.keys() <= {
        "outcome",
        "score",
        "detail",
    }:
        raise ValueError("a verdict is a dict with outcome, score and, if wanted, detail")
    outcome, score, detail = verdict["outcome"], verdict["score"], verdict.get("detail", {})
    if outcome not in _OUTCOMES:
        raise ValueError(f"outcome {outcome!r:.80} is none of {sorted(_OUTCOMES)}")
    if type(detail) is not dict:
        raise ValueError(f"detail is a {type(detail).__name__}, not a dict")
    if outcome == "bad_reference":
        if score is not None:
            raise ValueError(f"bad_reference has no score, got {score!r:.80}")
        number = "null"
    else:
        if type(score) not in (int, float, bool) or not 0.0 <= score <= 1.0:
            raise ValueError(f"score {score!r:.80} is no number in [0, 1]")
        if outcome == "no_answer" and score != 0:
            raise ValueError(f"no_answer scores 0, got {score!r:.80}")
        number = repr(float(score))
    text = json.dumps(detail, ensure_ascii=False, allow_nan=False)
    if len(text) > _LARGEST_DETAIL:
        raise ValueError(f"detail has {len(text)} characters; at most {_LARGEST_DETAIL}")
    text.encode("utf-8")
    return f'"{outcome}",{number},{text}'


def _runs(runs: Any) -> str:
    """Return the encoded wish to have programs run; the service checks what is in it."""
    text = json.dumps({"run": runs}, allow_nan=False)
    if len(text) > _LARGEST_PLAN:
        raise ValueError(f"what is to be run has {len(text)} characters; at most {_LARGEST_PLAN}")
    return f'"run",null,{text}'


def _failure(code: str, message: str) -> str:
    return f'"error",null,{json.dumps({"code": code, "message": message})}'


def _describe(exc: BaseException) -> str:
    text = "".join(traceback.format_exception_only(exc)).strip()
    return text.encode("utf-8", "replace").decode()[:_LONGEST_MESSAGE]


def _send(verdicts: int, sequence: int, first: int, results: list[str], done: bool) -> None:
    payload = f"[{sequence},{first},[{','.join(results)}],{'true' if done else 'false'}]".encode()
    frame = memoryview(_LENGTH.pack(len(payload)) + payload)
    while frame:
        frame = frame[os.write(verdicts, frame) :]


def _empty(scratch: str) -> None:
    """Leave nothing of one item to the next."""
    os.chdir(scratch)
    for entry in os.scandir(scratch):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


if __name__ == "__main__":
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    nursery(socket.socket(fileno=int(sys.argv[1])))
