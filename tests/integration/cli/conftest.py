"""The command line as people have it: a process, its output, its exit code; one data folder for all."""

import itertools
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from countermark_service.__main__ import main
from countermark_service.cli.served import served
from countermark_service.cli.verifier.new import new

SECONDS = 120.0
"""After this time a command hangs."""

PRELOADED = [
    "countermark_service.cli.app",
    "countermark_service.assembly",
    "countermark",
    "structlog",
    "countermark_service.cli.attribute_run",
    __name__,
]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


Cli = Callable[..., Ended]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that all commands of a session share, so that environments are built once."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two versions of a verifier: 1.0.0 reads a response's last number, 1.1.0 its first."""
    folder = tmp_path_factory.mktemp("bundles")
    for version in ("1.0.0", "1.1.0"):
        new(f"last-number:{version}", into=folder)
    first = folder / "last-number" / "1.1.0"
    change(first / "verifier.py", "found[-1]", "found[0]")
    change(first / "vectors.jsonl", '"score": 0.0, "detail": {"answer": "41"}', '"score": 1.0')
    return folder


def change(file: Path, old: str, new: str) -> None:
    """Replace text in a file; it must be there."""
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture(scope="session")
def variables(data: Path, bundles: Path) -> dict[str, str]:
    """The environment of a command: this machine's, without the developer's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COUNTERMARK_")}
    ours = {"COUNTERMARK_DATA": str(data), "COUNTERMARK_BUNDLES": str(bundles), "COUNTERMARK_WORKERS": "2"}
    return {**kept, **ours}


@pytest.fixture
def cli(variables: dict[str, str], tmp_path: Path) -> Cli:
    """Run `countermark` to its end, in an empty folder, in a process of its own.

    The processes are forked from one that has the modules loaded: a command imports for half a second.
    """
    calls = itertools.count()

    def run(
        *arguments: str | Path,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Ended:
        files = [tmp_path / f".{next(calls)}.{name}" for name in ("in", "out", "err")]
        files[0].write_bytes(stdin)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        process = context.Process(
            target=command_process,
            args=([*map(str, arguments)], {**variables, **(env or {})}, cwd or tmp_path, files),
        )
        process.start()
        process.join(SECONDS)
        assert process.exitcode is not None, f"{arguments} takes longer than {SECONDS} s"
        code = process.exitcode
        process.close()
        return Ended(code, files[1].read_text("utf-8"), files[2].read_text("utf-8"))

    return run


def command_process(arguments: list[str], env: dict[str, str], folder: Path, files: list[Path]) -> None:
    """Become the command: its arguments, environment, folder and standard files; never returns."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    modes = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT)
    for target, (file, mode) in enumerate(zip(files, modes, strict=True)):
        os.dup2(os.open(file, mode), target)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.argv = ["countermark", *arguments]
    main()
    sys.exit(0)


@pytest.fixture(scope="session")
def service(data: Path, variables: dict[str, str]) -> Iterator[str]:
    """The address of a running service over the shared data folder."""
    ours = {name: value for name, value in variables.items() if name.startswith("COUNTERMARK_")}
    with served(data, ours) as url:
        yield url


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A file of five rows: right, wrong, no answer, bad reference, and one with more columns."""
    file = tmp_path / "rows.jsonl"
    lines = [
        {"id": "right", "response": "so it is 4", "reference": "4"},
        {"id": "wrong", "response": "so it is 5", "reference": "4"},
        {"id": 3, "response": "I do not know", "reference": "4"},
        {"response": "so it is 4", "reference": "four"},
        {"id": "more", "response": "so it is 4.0", "reference": 4, "prompt": "2 + 2?", "model": "m"},
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file
