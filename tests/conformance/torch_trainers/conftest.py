"""Where the trainers live, and how their programs are talked to."""

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from countermark import Client
from tests.support import ServiceProcess

HERE = Path(__file__).parent
SECONDS = 400.0


class Program:
    """A program in the trainers' environment that speaks in lines of JSON."""

    def __init__(self, python: str, script: str, task: Any, url: str) -> None:
        """Run it."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "COUNTERMARK_", "VIRTUAL_ENV"))
        }
        self._process = subprocess.Popen(
            [python, "-s", str(HERE / script)],
            env={
                **kept,
                "COUNTERMARK_URL": url,
                "HF_HUB_OFFLINE": "1",
                "TOKENIZERS_PARALLELISM": "false",
                "OMP_NUM_THREADS": "1",
                "RAY_USAGE_STATS_ENABLED": "0",
            },
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._errors: list[str] = []
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()
        self._end = threading.Timer(SECONDS, self._process.kill)
        self._end.daemon = True
        self._end.start()
        self.say(task)

    def say(self, what: Any) -> None:
        """Send it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield what it tells, until it ends."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("@"):
                yield json.loads(line[1:])

    def end(self) -> tuple[int, str]:
        """Wait for its end and return its exit code and its standard error."""
        code = self._process.wait(SECONDS)
        self._end.cancel()
        self._reader.join(60)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
        return code, "".join(self._errors)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors.extend(self._process.stderr)


Run = Callable[..., Program]
"""Takes a script, its task, and an address, and runs it."""


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs programs in the trainers' environment; without one, the test is skipped."""
    python = os.environ.get("COUNTERMARK_TORCH_PYTHON")
    if not python:
        pytest.skip("trainers with torch have a job of their own: make conformance-torch")
    return lambda script, task, url: Program(python, script, task, url)


@pytest.fixture
def own_service(run: Run, shared_root: Path, tmp_path: Path) -> Iterator[ServiceProcess]:
    """A service that a test may kill."""
    (shared_root / "environments").mkdir(exist_ok=True)
    (tmp_path / "environments").symlink_to(shared_root / "environments")
    process = ServiceProcess(tmp_path).start()
    yield process
    process.stop()


def direct(url: str, ref: str, responses: list[str], references: list[Any]) -> list[float | None]:
    """Return the rewards of ``/v1/score``, None where there is no verdict."""
    with Client(url) as client:
        items = [{"response": a, "reference": b} for a, b in zip(responses, references, strict=True)]
        return client.score(ref, items).rewards
