"""Runs a script as the cell of a notebook, inside a sandbox; started as a program, never imported.

The script comes by standard input. What goes out is one line of JSON: ``text`` is the value
of the script's last expression, as a notebook shows it, ``error`` the exception that ended
it, ``stdout`` and ``stderr`` what it printed.

Scripts that reward code run the code of the model with ``subprocess.run(["python3", "-c",
code], input=…)``. No program can be executed here, so that call is answered by forking. The
process that forks is split off before the script is read: what a model's code inherits holds
nothing of the script, neither its tests nor what they expect.
"""

import ast
import base64
import builtins
import io
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

_PIECE = 65536
_MOST_BYTES = 4 << 20
"""Output of one forked program that is kept; the sandbox's own limits end what writes more."""


class Forker:
    """A process that was split off early, and forks a fresh one for each program."""

    def __init__(self) -> None:
        asked_read, asked_write = os.pipe()
        told_read, told_write = os.pipe()
        if os.fork() == 0:
            os.close(asked_write)
            os.close(told_read)
            _fork_on_demand(os.fdopen(asked_read, "rb"), os.fdopen(told_write, "wb"))
        os.close(asked_read)
        os.close(told_write)
        self._asked, self._told = os.fdopen(asked_write, "wb"), os.fdopen(told_read, "rb")
        self._lock = threading.Lock()

    def run(self, code: str, argv: Sequence[str], given: bytes, timeout: float | None) -> dict[str, Any]:
        """Run `code` in a fresh process and return its ``code`` (None: out of time), ``stdout`` and ``stderr``."""
        with self._lock:
            asked = {
                "code": code,
                "argv": list(argv),
                "input": base64.b64encode(given).decode(),
                "timeout": timeout,
            }
            self._asked.write(json.dumps(asked).encode() + b"\n")
            self._asked.flush()
            line = self._told.readline()
        if not line:
            raise OSError("the process that forks has ended")
        told: dict[str, Any] = json.loads(line)
        return told | {name: base64.b64decode(told[name]) for name in ("stdout", "stderr")}


def _fork_on_demand(asked: io.BufferedReader, told: io.BufferedWriter) -> NoReturn:
    for line in asked:
        request = json.loads(line)
        answer = _forked(request)
        told.write(json.dumps(answer).encode() + b"\n")
        told.flush()
    os._exit(0)


def _forked(request: dict[str, Any]) -> dict[str, Any]:
    """Fork, feed, read until the end or the deadline, and reap."""
    pipes = [os.pipe() for _ in range(3)]
    pid = os.fork()
    if pid == 0:
        for number, (read, write) in enumerate(pipes):
            os.dup2(read if number == 0 else write, number)
        os.closerange(3, 64)
        _become(request["code"], request["argv"])
    for number, (read, write) in enumerate(pipes):
        os.close(read if number == 0 else write)
    timeout = request["timeout"]
    deadline = None if timeout is None else time.monotonic() + timeout
    outputs, in_time = _exchange(
        pipes[0][1], pipes[1][0], pipes[2][0], base64.b64decode(request["input"]), deadline
    )
    if not in_time:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    stdout, stderr = (base64.b64encode(output).decode() for output in outputs)
    code = os.waitstatus_to_exitcode(status) if in_time else None
    return {"code": code, "stdout": stdout, "stderr": stderr}


def _exchange(
    stdin: int, stdout: int, stderr: int, given: bytes, deadline: float | None
) -> tuple[tuple[bytes, bytes], bool]:
    """Write `given` and read both outputs until they end; say whether they did by `deadline`."""
    kept = {stdout: bytearray(), stderr: bytearray()}
    left = memoryview(given)
    in_time = True
    with selectors.DefaultSelector() as selector:
        selector.register(stdin, selectors.EVENT_WRITE)
        selector.register(stdout, selectors.EVENT_READ)
        selector.register(stderr, selectors.EVENT_READ)
        os.set_blocking(stdin, False)
        while selector.get_map().keys() & kept.keys():
            wait = None if deadline is None else deadline - time.monotonic()
            if wait is not None and wait <= 0:
                in_time = False
                break
            for key, _ in selector.select(wait):
                if key.fd == stdin:
                    try:
                        left = left[os.write(stdin, left[:_PIECE]) :] if left else left
                    except BrokenPipeError:
                        left = left[:0]
                    if not left:
                        selector.unregister(stdin)
                        os.close(stdin)
                    continue
                piece = os.read(key.fd, _PIECE)
                if not piece:
                    selector.unregister(key.fd)
                elif len(kept[key.fd]) < _MOST_BYTES:
                    kept[key.fd] += piece
        if stdin in selector.get_map():
            os.close(stdin)
    os.close(stdout)
    os.close(stderr)
    return (bytes(kept[stdout]), bytes(kept[stderr])), in_time


def _become(code: str, argv: Sequence[str]) -> NoReturn:
    """Run a program as the interpreter would, in this freshly forked process."""
    status = 1
    try:
        sys.stdin, sys.stdout, sys.stderr = (
            open(number, mode, closefd=False)  # noqa: SIM115 - they live as long as the process
            for number, mode in ((0, "r"), (1, "w"), (2, "w"))
        )
        sys.argv = ["-c", *argv]
        module = ModuleType("__main__")
        module.__dict__["__builtins__"] = builtins
        sys.modules["__main__"] = module
        exec(compile(code, "<string>", "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - this is what it is for
        status = 0
    except SystemExit as error:
        if error.code is not None and not isinstance(error.code, int):
            print(error.code, file=sys.stderr)
        status = error.code & 0xFF if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - the program's own error, shown as Python shows it
        traceback.print_exc()
    with suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _answering(forker: Forker) -> Any:
    """Return what stands in for `subprocess.run`."""
    real = subprocess.run

    def run(args: Any, *more: Any, **options: Any) -> Any:
        program = _python_program(args)
        if program is None or more:
            return real(args, *more, **options)
        text = any(options.get(name) for name in ("text", "universal_newlines", "encoding", "errors"))
        given = options.get("input") or b""
        if isinstance(given, str):
            given = given.encode()
        timeout = options.get("timeout")
        told = forker.run(*program, given, timeout)
        stdout, stderr = (
            told[name].decode("utf-8", "replace") if text else told[name] for name in ("stdout", "stderr")
        )
        if told["code"] is None:
            raise subprocess.TimeoutExpired(args, float(timeout or 0), output=stdout, stderr=stderr)
        wanted = options.get("capture_output")
        if not wanted and options.get("stdout") is None:
            print(stdout if text else stdout.decode("utf-8", "replace"), end="")
        done = subprocess.CompletedProcess(
            args,
            told["code"],
            stdout if wanted or options.get("stdout") == subprocess.PIPE else None,
            stderr if wanted or options.get("stderr") == subprocess.PIPE else None,
        )
        if options.get("check"):
            done.check_returncode()
        return done

    return run


def _python_program(args: Any) -> tuple[str, list[str]] | None:
    """Return source and arguments where `args` starts an interpreter, else None."""
    if not isinstance(args, (list, tuple)) or len(args) < 2 or not all(isinstance(one, str) for one in args):
        return None
    if not Path(args[0]).name.startswith("python"):
        return None
    if args[1] == "-c" and len(args) > 2:
        return args[2], list(args[3:])
    if not args[1].startswith("-"):
        try:
            return Path(args[1]).read_text(encoding="utf-8"), list(args[2:])
        except OSError:
            return None
    return None


def _cell(script: str) -> Any:
    """Run a script at the top level and return the value of its last expression, None if it ends otherwise."""
    tree = ast.parse(_dedented(script), "script.py")
    names: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "script.py", "exec"), names)  # noqa: S102 - this is what it is for
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), "script.py", "eval"), names)  # noqa: S307


def _dedented(script: str) -> str:
    """Take the indentation of the first line off every line, as notebooks do."""
    lines = script.splitlines(keepends=True)
    first = next((line for line in lines if line.strip()), "")
    indent = first[: len(first) - len(first.lstrip())]
    return "".join(line.removeprefix(indent) for line in lines)


def main() -> None:
    """Run the script on standard input and print what came of it."""
    forker = Forker()
    subprocess.run = _answering(forker)
    script = sys.stdin.read()
    printed, complained = io.StringIO(), io.StringIO()
    text, error = None, None
    with redirect_stdout(printed), redirect_stderr(complained):
        try:
            value = _cell(script)
            text = None if value is None else repr(value)
        except BaseException as exc:  # noqa: BLE001 - the script's own error, told as a notebook does
            shown = "".join(traceback.format_exception(exc))
            error = {"name": type(exc).__name__, "value": str(exc)[:2000], "traceback": shown[-4000:]}
    out = {"text": text, "error": error, "stdout": printed.getvalue(), "stderr": complained.getvalue()}
    print(json.dumps(out))


if __name__ == "__main__":
    main()
