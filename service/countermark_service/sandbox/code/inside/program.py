# ruff: noqa: PTH103, PTH120, PTH123
# Every fork would pay for the memory of pathlib.
"""The last process of the chain: one test of one candidate, in a fork that never returns.

Everything before `ready` runs our code only: descriptors, limits, source. What comes
after may be hostile, shares this process with us, and is trusted with nothing: the
notes are closed by then, exits go through a saved `os._exit`, and the only thing
that a candidate can forge is its own output.

Jobs have one of five modes:

    program   run the source as a script
    call      run the source, call one function once, write one answer frame
    serve     run the source, answer calls from the tester's socket until it closes
    tester    run a (trusted) test program whose entry points are proxies over that socket
    exec      write the files, then become another program (compiler, node, compiled code)
"""

import atexit
import builtins
import contextlib
import fcntl
import gc
import importlib
import marshal
import os
import resource
import signal
import sys
from collections.abc import Callable
from types import BuiltinMethodType, CodeType, FrameType, FunctionType, ModuleType
from typing import Any, NoReturn, Protocol

from . import kernel, plain, serve, testing
from .report import our_word

NICENESS = 5
FIRST_EXTRA = 3
"""Where a job's answer and peer descriptors are put: 3 and 4. The zygote keeps both taken until then."""
KEPT_FOLDERS = 5
"""From here on: folder descriptors that imports go through (level `landlock` only)."""
_FIRST_UNUSED = 1 << 20
_RECURSION = sys.getrecursionlimit()
_LONG = 1 << 63
"""Exit statuses from here on are -1 to the interpreter."""

_File: Any = importlib.import_module("_io")._IOBase
"""What all files are, those of a program's own making too."""
_signal: Any = importlib.import_module("_signal")
"""The C part alone: the module around it looks up enums, which would cost every fork dear."""
_exit: Callable[[int], NoReturn] = os._exit
_write, _close_range = os.write, os.closerange
"""Looked up here, as all that `run` calls: what it did itself would be found out anew in each fork."""
_MEBIBYTE = 1 << 20
_ADD_SEALS, _GET_SEALS = 1033, 1034
_SEALED = 0xF
"""No further seal, no shrinking, no growing, no writing."""

SETUP_FAILED, SETUP = b"S", b"B"
RUNNING, COMPILE_ERROR, FILES_FAILED, NOT_EXECUTABLE = b"R", b"C", b"F", b"X"
"""What a test writes to its notes before candidate code runs: one of the first line, then one of the
second; text follows the failures, and X follows R."""


def leave(status: int) -> NoReturn:
    """End this process at once, whatever a candidate did to the modules."""
    while True:
        _exit(status)


def run(
    job: dict[str, Any],
    descriptors: dict[str, int],
    notes: int,
    source: tuple[int, int | None],
    context: "Context",
) -> NoReturn:
    """Carry out `job` in this freshly forked process.

    Args:
        job: The message's fields.
        descriptors: What came with it, by name.
        notes: See `SETUP`.
        source: Descriptors of the candidate's source, and of the file that keeps it compiled.
        context: What holds for every test under the same limits.
    """
    set_up(descriptors, notes, context.limiting)
    mode = job["mode"]
    if mode == "exec":
        _become(job, descriptors, notes, context)
    request, code = load(descriptors, notes, source, keep=job["more"])
    _write(notes, RUNNING)
    _close_range(KEPT_FOLDERS + context.kept_folders, _FIRST_UNUSED)
    if mode == "program":
        if "files" in descriptors:
            sys.path.insert(0, context.scratch)
        leave(finish(execute, code, "__main__"))
    if mode == "call":
        leave(finish(_answer, code, request))
    if mode == "serve":
        leave(finish(_serve, code, context.scratch))
    folder = context.scratch if context.namespaces else None
    leave(finish(testing.test, code, request, job, folder, FIRST_EXTRA, FIRST_EXTRA + 1))


def load(
    descriptors: dict[str, int], notes: int, source: tuple[int, int | None], *, keep: bool
) -> tuple[bytes, CodeType]:
    """Return what is asked of the program, and the program; write its files before."""
    request = _contents(descriptors["ask"]) if "ask" in descriptors else b""
    if "files" in descriptors:
        _write_files(descriptors["files"], notes)
    return request, _code(source, notes, keep=keep)


def _answer(code: CodeType, request: bytes) -> None:
    serve.answer_once(execute(code, "solution"), request, FIRST_EXTRA)


def _serve(code: CodeType, scratch: str) -> None:
    serve.serve(execute(code, "solution"), FIRST_EXTRA + 1, scratch)


class Surroundings(Protocol):
    """What a test needs to know of how its keeper was confined."""

    scratch: str
    namespaces: bool
    kept_folders: int


class Context:
    """What all tests under the same limits share, fixed before the first byte of any is looked at."""

    def __init__(
        self, limits: dict[str, Any], confining: kernel.Steps, limiting: kernel.Steps, own: "Surroundings"
    ) -> None:
        self.limits = limits
        self.confining = confining
        """Taken once for each candidate."""
        self.limiting = limiting
        """Taken by each test."""
        self.scratch = own.scratch
        self.namespaces = own.namespaces
        self.kept_folders = own.kept_folders


def set_up(descriptors: dict[str, int], notes: int, limiting: kernel.Steps) -> None:
    """Do all that comes before anything of the candidate is looked at; where it fails, end."""
    try:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        _place(descriptors)
        limiting.take()
        os.write(notes, SETUP)
    except BaseException as error:  # noqa: BLE001 - whatever it is, no candidate code ran: say so and stop
        _note(notes, SETUP_FAILED, error)
        leave(1)


def _place(descriptors: dict[str, int]) -> None:
    """Put the job's descriptors where they belong: 0, 1, 2, then answer and peer."""
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        os.dup2(descriptors[name], number)
    for name, number in (("answer", FIRST_EXTRA), ("peer", FIRST_EXTRA + 1)):
        if name in descriptors:
            os.dup2(descriptors[name], number, inheritable=False)
        else:
            os.close(number)


def hold_extras() -> None:
    """Keep the places of a job's answer and peer taken, so that nothing else comes to lie there."""
    for number in (FIRST_EXTRA, FIRST_EXTRA + 1):
        os.dup2(0, number, inheritable=False)


def limiting(limits: dict[str, Any], domain: int | None) -> kernel.Steps:
    """Return how a test limits itself and, by inheritance, each process below it; `domain` is Landlock's."""
    address_space = limits["address_space_mib"]
    steps = kernel.Steps()
    for kind, most in (
        (kernel.RLIMIT_AS, address_space * _MEBIBYTE if address_space else resource.RLIM_INFINITY),
        (kernel.RLIMIT_CPU, limits["cpu_ceiling"]),
        (kernel.RLIMIT_FSIZE, limits["file_bytes"]),
        (kernel.RLIMIT_NOFILE, limits["open_files"]),
    ):
        steps.limit(kind, most)
    # Many a contest program raises its stack first; what it holds then counts as its memory all the same.
    ceiling = resource.getrlimit(resource.RLIMIT_STACK)[1]
    steps.limit(kernel.RLIMIT_STACK, limits["stack_mib"] * _MEBIBYTE, ceiling)
    steps.lower_priority(NICENESS)
    if domain is not None:
        steps.landlock_enter(domain)
    return steps


def _note(notes: int, kind: bytes, error: BaseException) -> None:
    text = f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace")
    os.write(notes, kind + text[:1000])


def _contents(descriptor: int) -> bytes:
    """Return what a memory file holds; whatever its offset is, which only we look at."""
    size = os.lseek(descriptor, 0, os.SEEK_END)
    return os.pread(descriptor, size, 0) if size else b""


def _write_files(files: int, notes: int) -> None:
    """Write the job's files into the scratch, as the unprivileged user that the program is."""
    try:
        for name, content in plain.decode(_contents(files)).items():
            folder = os.path.dirname(name)
            if folder:
                os.makedirs(folder, exist_ok=True)
            with open(name, "wb") as file:
                file.write(content)
    except (OSError, MemoryError) as error:
        _note(notes, FILES_FAILED, error)
        leave(1)


def _code(source: tuple[int, int | None], notes: int, *, keep: bool) -> CodeType:
    """Compile the candidate's source, or load what the candidate's first test compiled.

    The cache is sealed before candidate code runs, and it is read here, where the
    candidate runs anyway; it is never read by a trusted process.
    """
    text, cache = source
    if cache is not None and fcntl.fcntl(cache, _GET_SEALS) == _SEALED:
        loaded: CodeType = our_word(_contents(cache))
        return loaded
    try:
        code = compile(_contents(text), "main.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        sys.excepthook(type(error), error.with_traceback(None), None)
        _flush()
        _note(notes, COMPILE_ERROR, error)
        leave(1)
    if keep and cache is not None:
        _keep(code, cache)
    return code


def _keep(code: CodeType, cache: int) -> None:
    """Keep what was compiled; where it cannot be, as it is too deep or too large, each test compiles anew."""
    written = 0
    try:
        compiled = memoryview(marshal.dumps(code))
        while written < len(compiled):
            written += os.pwrite(cache, compiled[written:], written)
    except (ValueError, OSError):
        return
    fcntl.fcntl(cache, _ADD_SEALS, _SEALED)


def execute(code: CodeType, name: str) -> dict[str, Any]:
    """Run `code` as the top level of a fresh module `name`; return its globals."""
    module = ModuleType(name)
    module.__dict__.update(__builtins__=builtins, __file__="main.py", __annotations__={})
    sys.modules[name] = module
    sys.setrecursionlimit(_RECURSION + _frames())  # as deep as where nothing stands above a program
    exec(code, module.__dict__)  # noqa: S102 - this is what the sandbox is for
    return module.__dict__


def _frames() -> int:
    """Return how many frames stand above the one that calls this."""
    frame: FrameType | None = sys._getframe(1)
    found = 0
    while frame is not None:
        frame, found = frame.f_back, found + 1
    return found


def finish(work: Callable[..., object], *arguments: object) -> int:
    """Call `work` and end as the interpreter would: message, threads, exit handlers, flush."""
    status = 0
    try:
        try:
            work(*arguments)
        except SystemExit as error:
            status = _exit_status(error)
        except BaseException as error:  # noqa: BLE001 - the program's own error, shown as Python shows it
            status = 1
            _show(error)
        threading = sys.modules.get("threading")
        if threading is not None:
            threading._shutdown()
        atexit._run_exitfuncs()
    except BaseException as error:  # noqa: BLE001 - an exit handler's own error
        status = status or 1
        _show(error)
    flushed = _flush()
    try:
        _let_go()
    except BaseException:  # noqa: BLE001 - of a value that nobody will see, as the interpreter shows none either
        leave(status if flushed else status or 120)
    return status if flushed else status or 120


def _let_go() -> None:
    """Write out the files that the program has left open, and let go of its variables where that may print.

    The interpreter does so at its end. Without a class that has a `__del__` nobody would see the latter, and it takes
    time.
    """
    module = sys.modules.get("__main__")
    names = module.__dict__ if type(module) is ModuleType else {}
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    if True in list(map(_may_print, names.values())):
        for name in list(names):
            if name != "__builtins__":
                names[name] = None
        gc.collect()
    _flush()


def _may_print(value: Any) -> bool:
    """Return whether letting go of a value may run code of the program; a file is written out at once instead."""
    owner = value.__self__ if type(value) is BuiltinMethodType else value
    if isinstance(owner, _File):
        with contextlib.suppress(OSError, ValueError):  # closed, detached or full: nobody is told
            owner.flush()
    kind = owner if isinstance(owner, type) else type(owner)
    return type(getattr(kind, "__del__", None)) is FunctionType


def _exit_status(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF if abs(error.code) < _LONG else 0xFF
    print(error.code, file=sys.stderr)
    return 1


def _show(error: BaseException) -> None:
    """Print `error` without our own frames."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__package__") == __package__:
        trace = trace.tb_next
    try:
        sys.excepthook(type(error), error.with_traceback(trace), trace)
    except BaseException:  # noqa: BLE001 - the candidate replaced the hook by something broken: its loss
        leave(1)


def _flush() -> bool:
    """Write out what the program printed; False if that failed. A stream that the program has closed is no failure."""
    done = True
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        try:
            if stream is not None and not getattr(stream, "closed", False):
                stream.flush()
        except BaseException:  # noqa: BLE001 - replaced or full: output ends here
            done = False
    return done


def _keep_only(numbers: set[int]) -> None:
    """Close every descriptor but the three standard ones and `numbers`, and have those end with `exec`.

    What comes with a message is inherited, so else the new program would find the notes, by which
    it is judged, and memory files that a candidate's tests have in common.
    """
    lowest = 3
    for number in sorted(numbers):
        os.set_inheritable(number, False)
        os.closerange(lowest, number)
        lowest = number + 1
    os.closerange(lowest, _FIRST_UNUSED)


def _become(job: dict[str, Any], descriptors: dict[str, int], notes: int, context: Context) -> NoReturn:
    """Replace this process by the program that `job` names."""
    if "files" in descriptors:
        _write_files(descriptors["files"], notes)
    path: int | str = job["argv"][0]
    if "binary" in descriptors:
        path = descriptors["binary"]
    _keep_only({notes, *([path] if isinstance(path, int) else [])})
    try:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores both, and exec would keep that
            signal.signal(number, signal.SIG_DFL)
        os.write(notes, RUNNING)
        os.execve(path, job["argv"], os.environ)  # noqa: S606 - no shell is the point
    except BaseException as error:  # noqa: BLE001 - nothing ran: say why and stop
        _note(notes, NOT_EXECUTABLE, error)
    leave(127)
