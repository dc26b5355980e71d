"""The part of pytest that test programs of data sets use, for sandboxes that have no pytest.

This text becomes the module `pytest` of a test program that names it; `asserts` refuses what needs more. `run` calls
a test as pytest would: once for each set of parameters, with fixtures for the other arguments.
"""

import importlib
import inspect
import io
import itertools
import math
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Test = Callable[..., Any]


class Raised:
    """What was caught."""

    value: Any = None
    type: Any = None

    def match(self, pattern: str) -> bool:
        """Hold the text to a pattern."""
        assert re.search(pattern, str(self.value)), f"{pattern!r} is not in {str(self.value)!r}"
        return True


class _Raises:
    def __init__(self, kind: Any, match: str | None) -> None:
        self._kind, self._pattern, self._found = kind, match, Raised()

    def __enter__(self) -> Raised:
        return self._found

    def __exit__(self, kind: Any, error: Any, _trace: Any) -> bool:
        assert kind is not None, f"{self._kind} was not raised"
        if not issubclass(kind, self._kind):
            return False
        self._found.value, self._found.type = error, kind
        return self._pattern is None or self._found.match(self._pattern)


def raises(kind: Any, *called: Any, match: str | None = None, **named: Any) -> Any:
    """Catch an exception that must come, of a block or of a call."""
    caught = _Raises(kind, match)
    if not called:
        return caught
    with caught as found:
        called[0](*called[1:], **named)
    return found


class approx:  # noqa: N801 - as pytest has it
    """Numbers within a tolerance, also as members of lists, tuples and dicts."""

    def __init__(self, expected: Any, rel: Any = None, abs: Any = None, nan_ok: bool = False) -> None:  # noqa: A002
        self._expected, self._relative, self._absolute, self._nan_ok = expected, rel, abs, nan_ok

    def __eq__(self, actual: Any) -> bool:
        return self._equal(actual, self._expected)

    __hash__ = None  # type: ignore[assignment]

    def _equal(self, actual: Any, expected: Any) -> bool:
        if isinstance(expected, dict):
            return actual.keys() == expected.keys() and all(
                self._equal(actual[key], value) for key, value in expected.items()
            )
        if isinstance(expected, list | tuple):
            return len(actual) == len(expected) and all(map(self._equal, actual, expected))
        if (
            not isinstance(expected, int | float | complex)
            or isinstance(expected, bool)
            or actual == expected
        ):
            return bool(actual == expected)
        if not isinstance(actual, int | float | complex) or abs(expected) == math.inf:
            return False
        if expected != expected:
            return self._nan_ok and actual != actual
        relative = self._relative if self._relative is not None else 1e-6 if self._absolute is None else 0.0
        return bool(abs(actual - expected) <= max(self._absolute or 1e-12, relative * abs(expected)))


class _Set(tuple[Any, ...]):
    """A set of parameters."""

    __slots__ = ()


def param(*values: Any, id: str | None = None) -> _Set:  # noqa: A002
    """Return one set of parameters."""
    return _Set(values)


class _AnyMark(type):
    """Marks that only name a test."""

    def __getattr__(cls, name: str) -> Any:
        def marked(*given: Any, **_named: Any) -> Any:
            return given[0] if len(given) == 1 and inspect.isfunction(given[0]) else lambda test: test

        return marked


class mark(metaclass=_AnyMark):  # noqa: N801
    """What may stand before a test."""

    @staticmethod
    def parametrize(names: Any, sets: Any, ids: Any = None) -> Callable[[Test], Test]:
        """Have a test called for each set of parameters."""
        wanted = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)

        def marked(test: Test) -> Test:
            rows = [row if len(wanted) > 1 or isinstance(row, _Set) else (row,) for row in sets]
            given = [dict(zip(wanted, row, strict=True)) for row in rows]
            test.__dict__.setdefault("given", []).append(given)
            return test

        return marked


def fixture(function: Any = None, **_options: Any) -> Any:
    """Mark what makes an argument of that name."""
    return function if function is not None else lambda one: one


class _Captured(NamedTuple):
    out: str
    err: str


class _Capsys:
    """What was printed since it was last asked."""

    def __init__(self) -> None:
        self._before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = self._new()

    def _new(self) -> tuple[io.StringIO, io.StringIO]:
        self._out, self._err = io.StringIO(), io.StringIO()
        return self._out, self._err

    def readouterr(self) -> _Captured:
        found = _Captured(self._out.getvalue(), self._err.getvalue())
        sys.stdout, sys.stderr = self._new()
        return found

    def end(self) -> None:
        sys.stdout, sys.stderr = self._before


class _MonkeyPatch:
    """Puts something in the place of something else until the test has ended."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def setattr(
        self, owner: Any, name: Any, value: Any = inspect.Parameter.empty, raising: bool = True
    ) -> None:
        if value is inspect.Parameter.empty:
            value = name
            path, _, name = owner.rpartition(".")
            owner = importlib.import_module(path)
        self._before.append((owner, name, getattr(owner, name) if raising else getattr(owner, name, None)))
        setattr(owner, name, value)

    def end(self) -> None:
        for owner, name, value in reversed(self._before):
            setattr(owner, name, value)


def capsys() -> Iterator[_Capsys]:
    """What a test has been printing."""
    made = _Capsys()
    yield made
    made.end()


def monkeypatch() -> Iterator[_MonkeyPatch]:
    """What a test replaces."""
    made = _MonkeyPatch()
    yield made
    made.end()


def tmp_path() -> Iterator[Any]:
    """A folder of the test's own."""
    with importlib.import_module("tempfile").TemporaryDirectory() as folder:
        yield importlib.import_module("pathlib").Path(folder)


def main(*_: Any) -> int:
    """Do nothing: the tests are run one by one."""
    return 0


def run(test: Test, names: dict[str, Any]) -> None:
    """Call a test; `names` are those of its module."""
    for given in itertools.product(*getattr(test, "given", [])):
        values = {name: value for each in given for name, value in each.items()}
        ends: list[Iterator[Any]] = []
        owner = getattr(test, "__self__", None)
        for prepare in ("setup_method", "setup"):
            if hasattr(owner, prepare):
                _with_fixtures(getattr(owner, prepare), {"method": test}, names, ends)
        made = _with_fixtures(test, values, names, ends)
        if inspect.iscoroutine(made):
            importlib.import_module("asyncio").run(made)
        for end in reversed(ends):
            next(end, None)


def _with_fixtures(
    function: Test, values: dict[str, Any], names: dict[str, Any], ends: list[Iterator[Any]]
) -> Any:
    wanted = [one for one in inspect.signature(function).parameters.values() if one.default is one.empty]
    for one in wanted:
        if one.name not in values:
            made = _with_fixtures(names.get(one.name) or globals()[one.name], {}, names, ends)
            if inspect.isgenerator(made):
                ends.append(made)
                made = next(made)
            values[one.name] = made
    return function(**{one.name: values[one.name] for one in wanted} | _more(function, values))


def _more(function: Test, values: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that have a default and are given all the same."""
    return {name: values[name] for name in inspect.signature(function).parameters if name in values}
