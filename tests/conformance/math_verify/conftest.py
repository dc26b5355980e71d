"""Puts a bundle and the library it wraps side by side, each in its own process in the locked environment.

``COUNTERMARK_FULL=1`` runs every release of the library, the whole corpus and many more examples; without it the
oldest and the newest stand for all, as those between share the newest's code. Of each release, the last bundle
is run.
"""

import contextlib
import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.support import REPOSITORY, SHARED_DATA, python_of

BUNDLES = REPOSITORY / "verifiers" / "math-verify"
ALL_VERSIONS = ("0.5.2", "0.6.1-r2", "0.7.0-r2", "0.8.0-r2", "0.9.0-r2")
PYTHON_OPTIONS = ("-s", "-P", "-B")
SURROUNDINGS = {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8"}
FULL = os.environ.get("COUNTERMARK_FULL") == "1"
VERSIONS = ALL_VERSIONS if FULL else ("0.5.2", "0.9.0-r2")
SAMPLE = 40
"""Pairs taken of each part of the corpus when the run is not full."""

GSM8K_MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
TORA_FILES = ("tora_70b_gsm8k.jsonl", "tora_code_34b_gsm8k.jsonl")

Json = Any
"""What `json.loads` gives: the edge where programs are asked."""


class Program:
    """A script of this folder, running in a bundle's environment; it answers each line of JSON with one."""

    def __init__(self, version: str, script: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [interpreter(version), *PYTHON_OPTIONS, Path(__file__).with_name(script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=SURROUNDINGS,
            text=True,
        )

    def ask(self, questions: list[Json]) -> list[Json]:
        """Return the answers, in order; questions go in while answers come out, so no pipe fills up."""
        requests, replies = self._process.stdin, self._process.stdout
        assert requests is not None
        assert replies is not None

        def send() -> None:
            with contextlib.suppress(BrokenPipeError):  # the reader below reports the death
                for question in questions:
                    requests.write(json.dumps(question) + "\n")
                requests.flush()

        sender = Thread(target=send)
        sender.start()
        answers = [replies.readline() for _ in questions]
        sender.join()
        assert all(answers), f"the program ended with {self._process.poll()} before its last answer"
        return [json.loads(answer) for answer in answers]

    def close(self) -> None:
        """End the program."""
        self._process.communicate()


def interpreter(version: str) -> Path:
    """Return the interpreter of the environment that the bundle's lock describes."""
    return python_of(BUNDLES / version)


@pytest.fixture(scope="session", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """Each version under test in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def programs(version: str) -> Iterator[dict[str, Program]]:
    """The programs of one version, started together, as each imports sympy."""
    folder = str(BUNDLES / version)
    started = {
        "bundle": Program(version, "bundle_worker.py", folder),
        "library": Program(version, "direct_library.py"),
        "searches": Program(version, "search_worker.py", folder),
    }
    yield started
    for program in started.values():
        program.close()


@pytest.fixture(scope="session")
def bundle(programs: dict[str, Program]) -> Program:
    """The bundle: takes items, answers with verdict and reduction."""
    return programs["bundle"]


@pytest.fixture(scope="session")
def library(programs: dict[str, Program]) -> Program:
    """The library: takes responses and gold texts, answers with outcome and score."""
    return programs["library"]


@pytest.fixture(scope="session")
def searches(programs: dict[str, Program]) -> Program:
    """Both searches: takes texts, answers with the matches of either, in the order of trying."""
    return programs["searches"]


@pytest.fixture(scope="session")
def vectors(version: str) -> list[dict[str, Json]]:
    """The bundle's vectors, in file order."""
    lines = (BUNDLES / version / "vectors.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def corpus() -> list[tuple[str, str]]:
    """Real responses with references, in three shapes; skipped where the shared data are absent.

    As they were published; with a boxed answer behind them, that of another question; and as the end of a
    long text, as rollouts are.
    """
    if not SHARED_DATA.exists():
        pytest.skip("shared/data is not beside the repository")
    published = [*_gsm8k(), *_tora()]
    shuffled = random.Random(0).sample(published, len(published))
    boxed = [
        (f"{response}\n\nThe final answer is $\\boxed{{{other}}}$.", reference)
        for (response, reference), (_, other) in zip(published, shuffled, strict=True)
    ]
    long = [
        ("\n\n".join(other for other, _ in shuffled[place : place + 9]) + "\n\n" + response, reference)
        for place, (response, reference) in enumerate(published)
    ]
    if FULL:
        return [*published, *boxed, *long]
    return [pair for part in (published, boxed, long) for pair in random.Random(1).sample(part, SAMPLE)]


def _gsm8k() -> Iterator[tuple[str, str]]:
    for line in (SHARED_DATA / "gsm8k_model_solutions.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        reference = row["ground_truth"].rpartition("A: ")[2]
        yield from ((row[model]["solution"], reference) for model in GSM8K_MODELS)


def _tora() -> Iterator[tuple[str, str]]:
    for name in TORA_FILES:
        for line in (SHARED_DATA / name).read_text("utf-8").splitlines():
            row = json.loads(line)
            yield row["code"][0], str(row["gt"])
