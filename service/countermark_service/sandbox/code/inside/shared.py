# ruff: noqa: PTH103, PTH112, PTH120, PTH123
# Every fork would pay for the memory of pathlib.
"""What one process would share, and a tester and a candidate do not: where they print, what they read, chance, files.

A test redirects standard output and looks at what was printed, gives `input` an answer of its own, seeds `random`, or
writes a file for the program to read. So each question tells the candidate what the tester has in those places, and
what is printed and written meanwhile comes back. All else goes one way: a candidate's own state never becomes the
tester's.
"""

import builtins
import contextlib
import importlib
import io
import os
import stat
import sys
from array import array
from collections.abc import Callable, Iterator
from typing import Any

_FUNCTIONS = ("input", "print", "open")
"""Python's own, which tests replace to answer or to watch the program."""
_STREAMS = ("stdout", "stderr")
_USUAL = {name: getattr(builtins, name) for name in _FUNCTIONS}
Number = Callable[[Any], int]
Told = tuple[tuple[str, ...], Any]
"""What was printed to each stream, and what has become of the files."""
Printed = Callable[[], Told]
Around = dict[str, Any]


class Tester:
    """The tester's side: says what it has, where that is not what both have had from the start."""

    def __init__(self, *, seeds: bool, folder: str | None) -> None:
        """Look at nothing yet.

        Args:
            seeds: Whether the test program seeds anything.
            folder: Where it writes its files; None where the candidate writes to the same folder.
        """
        self._seeds = seeds
        self._folder = None if folder is None else Folder(folder)
        self._state: Any = None
        self._stand_ins = {name: _stand_in(builtins, name) for name in _FUNCTIONS}
        self._reads = {name: _of_stdin(name) for name in ("read", "readline")}

    def around(self, number: Number) -> Around:
        """Return what the candidate is to have; `number` gives the one of a function that it may call."""
        found: Around = {}
        for name, usual in _USUAL.items():
            if getattr(builtins, name) is not usual:
                found[name] = number(self._stand_ins[name])
        if sys.stdin is not sys.__stdin__:
            found["stdin"] = tuple(number(read) for read in self._reads.values())
        streams = tuple(name for name in _STREAMS if getattr(sys, name) is not getattr(sys, f"__{name}__"))
        if streams:
            found["streams"] = streams
        if self._folder is not None:
            found["files"] = self._folder.changes()
        if self._seeds and (state := _chance()) != self._state:
            found["chance"] = self._state = state
        return found

    def take(self, told: Any) -> None:
        """Print what the candidate has printed, and have the files that it has.

        Raises:
            ValueError: It is no text, or no file.
        """
        if type(told) is not tuple or len(told) != 2 or type(told[0]) is not tuple:
            raise ValueError("nothing is told of what was printed")
        printed, files = told
        if len(printed) > len(_STREAMS) or not all(type(text) is str for text in printed):
            raise ValueError("something that is no text was printed")
        for name, text in zip(_STREAMS, printed, strict=False):
            if text:
                getattr(sys, name).write(text)
        if files is not None and self._folder is not None:
            self._folder.take(files)


class Folder:
    """The files of one side, held against those of the other: plain files and folders, and no links."""

    def __init__(self, path: str) -> None:
        """Look at nothing yet: a folder is empty at first."""
        self._path = path
        self._seen: dict[str, Any] = {}

    def changes(self) -> tuple[dict[str, bytes | None], tuple[str, ...]]:
        """Return what is new or different since the last look, None for a folder, and what has gone."""
        before, self._seen = self._seen, self._look()
        new = {name: self._content(name) for name, mark in self._seen.items() if before.get(name, ()) != mark}
        return new, tuple(name for name in before if name not in self._seen)

    def take(self, changes: Any) -> None:
        """Have what the other side has.

        Raises:
            ValueError: The other side names no files below this folder, or more than this one holds.
        """
        try:
            new, gone = changes
            if not new and not gone:
                return
            for name in (*gone, *new):
                if not name or name.startswith("/") or ".." in name.split("/"):
                    raise ValueError("a file that lies elsewhere")
            for name in sorted(gone, reverse=True):
                with contextlib.suppress(
                    OSError
                ):  # it has gone here as well, or is a folder with files in it
                    (os.rmdir if os.path.isdir(self._at(name)) else os.remove)(self._at(name))
            for name, content in new.items():
                self._write(name, content)
        except (TypeError, AttributeError, OSError) as error:
            raise ValueError(f"no files: {error}") from error
        self._seen = self._look()

    def _write(self, name: str, content: bytes | None) -> None:
        if content is None:
            os.makedirs(self._at(name), exist_ok=True)
            return
        os.makedirs(os.path.dirname(self._at(name)), exist_ok=True)
        with open(self._at(name), "wb") as file:
            file.write(content)

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"

    def _content(self, name: str) -> bytes | None:
        if self._seen[name] is None:
            return None
        with open(self._at(name), "rb", buffering=0) as file:
            return file.readall()

    def _look(self) -> dict[str, Any]:
        """Return a mark of each file that changes with its content, None for a folder, before what that holds."""
        found: dict[str, Any] = {}
        waiting = [""]
        for folder in waiting:
            with (
                contextlib.suppress(OSError),
                os.scandir(self._at(folder)) as entries,
            ):  # or nobody may read it
                for entry in entries:
                    name = f"{folder}/{entry.name}" if folder else entry.name
                    mark = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(mark.st_mode):
                        found[name] = None
                        waiting.append(name)
                    elif stat.S_ISREG(mark.st_mode) and os.access(self._at(name), os.R_OK):
                        found[name] = mark.st_ino, mark.st_size, mark.st_mtime_ns
        return found


def _stand_in(owner: Any, name: str) -> Callable[..., Any]:
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        found = getattr(owner, name)(*args, **kwargs)
        return None if name == "print" else found

    return stand_in


def _of_stdin(name: str) -> Callable[..., Any]:
    return lambda *args: getattr(sys.stdin, name)(*args)


def _chance() -> Any:
    """Return the state of Python's own source of chance, and of numpy's, as far as they are loaded."""
    found: Around = {}
    random, numpy = sys.modules.get("random"), sys.modules.get("numpy.random")
    if random is not None:
        version, state, gauss = random.getstate()
        found["random"] = version, array("I", state).tobytes(), gauss
    if numpy is not None:
        name, keys, *rest = numpy.get_state()
        found["numpy.random"] = name, keys.tobytes(), *map(float, rest)
    return found


@contextlib.contextmanager
def as_the_tester_has_it(around: Around, thing: Callable[[int], Any], folder: Folder) -> Iterator[Printed]:
    """Have this process's surroundings be the tester's for a while; gives what tells of all since it last did.

    Args:
        around: What `Tester.around` has said.
        thing: Returns the function of a number.
        folder: Where the candidate writes its files.
    """
    if "files" in around:
        folder.take(around["files"])
    kept = [(builtins, name, getattr(builtins, name)) for name in _FUNCTIONS if name in around]
    streams = {name: io.StringIO() for name in around.get("streams", ())}
    kept += [
        (sys, name, getattr(sys, name, None))
        for name in (*streams, *(("stdin",) if "stdin" in around else ()))
    ]
    for owner, name, _ in kept:
        if owner is builtins:
            setattr(builtins, name, thing(around[name]))
    for name, stream in streams.items():
        setattr(sys, name, stream)
    if "stdin" in around:
        sys.stdin = _Input(*map(thing, around["stdin"]))
    if "chance" in around:
        _take_chance(around["chance"])

    def printed() -> Told:
        found = []
        for name in _STREAMS:
            stream = streams.get(name)
            found.append("" if stream is None or stream.closed else stream.getvalue())
            if stream is not None and not stream.closed:
                stream.seek(0)
                stream.truncate()
        return tuple(found) if streams else (), folder.changes() if "files" in around else None

    try:
        yield printed
    finally:
        for owner, name, value in kept:
            setattr(owner, name, value)


def _take_chance(state: Around) -> None:
    if "random" in state:
        import random

        version, content, gauss = state["random"]
        random.setstate((version, tuple(array("I", content)), gauss))
    if "numpy.random" in state:
        numpy = importlib.import_module("numpy")
        name, content, place, has_gauss, gauss = state["numpy.random"]
        keys = numpy.frombuffer(content, numpy.uint32)
        numpy.random.set_state((name, keys, int(place), int(has_gauss), gauss))


class _Input(io.TextIOBase):
    """Standard input as the tester has it."""

    def __init__(self, read: Callable[..., str], readline: Callable[..., str]) -> None:
        self._read, self._readline = read, readline

    def readable(self) -> bool:
        """It is there to be read."""
        return True

    def read(self, size: int | None = -1) -> str:
        """Return so much of the text, or all of it."""
        return self._read() if size is None or size < 0 else self._read(size)

    def readline(self, size: int = -1) -> str:  # type: ignore[override]
        """Return the next line."""
        return self._readline() if size < 0 else self._readline(size)
