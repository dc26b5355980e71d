"""What one process would share, and a tester and a candidate do not: where they print, what they read, chance.

A test redirects standard output and looks at what was printed, gives `input` an answer of its own, or seeds `random`.
So each question tells the candidate what the tester has in those places, and what is printed meanwhile comes back to
where the tester has it go. All of it goes one way: a candidate's own state never becomes the tester's.
"""

import builtins
import contextlib
import importlib
import io
import sys
from array import array
from collections.abc import Callable, Iterator
from typing import Any

_FUNCTIONS = ("input", "print", "open")
"""Python's own, which tests replace to answer or to watch the program."""
_STREAMS = ("stdout", "stderr")
_USUAL = {name: getattr(builtins, name) for name in _FUNCTIONS}
Number = Callable[[Any], int]
Printed = Callable[[], tuple[str, ...]]
Around = dict[str, Any]


class Tester:
    """The tester's side: says what it has, where that is not what both have had from the start."""

    def __init__(self, *, seeds: bool) -> None:
        """Look at nothing yet; `seeds` is whether the test program seeds anything."""
        self._seeds = seeds
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
        if self._seeds and (state := _chance()) != self._state:
            found["chance"] = self._state = state
        return found

    @staticmethod
    def show(printed: Any) -> None:
        """Print what the candidate has printed.

        Raises:
            ValueError: It is no text.
        """
        if (
            type(printed) is not tuple
            or len(printed) > len(_STREAMS)
            or not all(type(it) is str for it in printed)
        ):
            raise ValueError("something that is no text was printed")
        for name, text in zip(_STREAMS, printed, strict=False):
            if text:
                getattr(sys, name).write(text)


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
def as_the_tester_has_it(around: Around, thing: Callable[[int], Any]) -> Iterator[Printed]:
    """Have this process's surroundings be the tester's for a while; gives what returns the text printed since.

    Args:
        around: What `Tester.around` has said.
        thing: Returns the function of a number.
    """
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

    def printed() -> tuple[str, ...]:
        found = []
        for name in _STREAMS:
            stream = streams.get(name)
            found.append("" if stream is None or stream.closed else stream.getvalue())
            if stream is not None and not stream.closed:
                stream.seek(0)
                stream.truncate()
        return tuple(found) if streams else ()

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
