"""Runs the rule bundles as they are deployed: own environment from the lock, own process, `python -I`."""

import contextlib
import json
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import REPOSITORY, SHARED_DATA, python_of

RUNNER = Path(__file__).with_name("runner.py")
SURROUNDINGS = {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"}

Json = Any
"""What `json.loads` gives: the edge where bundles are called."""


class VerifierRaisedError(AssertionError):
    """A bundle raised instead of returning a verdict."""


class VerifierDiedError(AssertionError):
    """A bundle's process ended before it answered, for example at its CPU limit."""


class Bundle:
    """One bundle and, from its first call on, one process that runs it."""

    def __init__(self, root: Path, cpu_seconds: int | None = None) -> None:
        self.root = root
        self.manifest: dict[str, Json] = tomllib.loads((root / "verifier.toml").read_text("utf-8"))
        self._cpu_seconds = cpu_seconds
        self._process: subprocess.Popen[str] | None = None

    def vectors(self) -> list[dict[str, Json]]:
        """Return the bundle's vectors, in file order."""
        lines = (self.root / "vectors.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def verify(self, response: str, reference: Json, **params: Json) -> dict[str, Json]:
        """Return the verdict on one item."""
        item = {"response": response, "reference": reference, "params": params, "prompt": None}
        verdict: dict[str, Json] = self.call("verify", item)
        return verdict

    def call(self, function: str, item: dict[str, Json]) -> Json:
        """Return what `function` of the bundle returns for `item`.

        Raises:
            VerifierRaisedError: The function raised.
            VerifierDiedError: The process ended without an answer.
        """
        process = self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):  # the reader below reports the death
            process.stdin.write(json.dumps({"call": function, "item": item}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        if not line:
            raise VerifierDiedError(f"{self.root} ended with {process.wait()} and no answer")
        answer = json.loads(line)
        if "raised" in answer:
            raise VerifierRaisedError(f"{self.root}: {answer['raised']}")
        return answer["value"]

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.communicate()

    def _start(self) -> subprocess.Popen[str]:
        if self._process is None:
            limit = [] if self._cpu_seconds is None else [str(self._cpu_seconds)]
            self._process = subprocess.Popen(
                [python_of(self.root), "-I", "-B", RUNNER, self.root, *limit],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=SURROUNDINGS,
                text=True,
            )
        return self._process


def _folder(name: str) -> Path:
    name, _, version = name.partition(":")
    versions = (REPOSITORY / "verifiers" / name).iterdir()
    return max(
        versions, key=lambda folder: (folder.name == version, [int(n) for n in folder.name.split(".")])
    )


@pytest.fixture(scope="session")
def bundle() -> Iterator[Callable[[str], Bundle]]:
    """Give a bundle by `name` (its newest version) or ``name:version``, each with one process for the session."""
    known: dict[str, Bundle] = {}

    def by_name(name: str) -> Bundle:
        if name not in known:
            known[name] = Bundle(_folder(name))
        return known[name]

    yield by_name
    for one in known.values():
        one.close()


@pytest.fixture
def limited() -> Iterator[Callable[[str, int], Bundle]]:
    """Give a bundle by name in a fresh process that the kernel kills after so many CPU seconds."""
    started: list[Bundle] = []

    def by_name(name: str, cpu_seconds: int) -> Bundle:
        started.append(Bundle(_folder(name), cpu_seconds))
        return started[-1]

    yield by_name
    for one in started:
        one.close()


@pytest.fixture(scope="session")
def outputs() -> Callable[[str], list[dict[str, Json]]]:
    """Read a file of real model outputs beside the repository, or skip the test where it is absent."""

    def read(name: str) -> list[dict[str, Json]]:
        path = SHARED_DATA / name
        if not path.exists():
            pytest.skip(f"shared/data/{name} is not beside the repository")
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]

    return read
