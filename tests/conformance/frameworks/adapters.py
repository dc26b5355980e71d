"""What the conformance tests of adapters share: rows with every kind of ending, and a service that never answers.

A driver runs the framework's own code with the adapter in a process of its own, against
the real service, and says which rewards the framework ended up with. They are compared,
sample by sample, with what the service answers when it is asked directly.
"""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from countermark import Client
from tests.support import REPOSITORY, ServiceProcess

DRIVERS = Path(__file__).with_name("drivers")
VERIFIER = "exact:1.0.0"
"""Needs no environment; its four endings are one right, one wrong, one unread, one without a verdict."""
ROWS = [
    {"response": "Paris", "reference": "Paris"},
    {"response": "Rome", "reference": "Paris"},
    {"response": "", "reference": "Paris"},
    {"response": "Paris", "reference": ""},
    {"response": "x", "reference": "x"},
]
MANY = [{"response": str(n % 3), "reference": str(n % 2)} for n in range(200)]
_DRIVER_SECONDS = 240


def pasted(page: str, language: str) -> list[str]:
    """Return the blocks of one language on an adapter's page, in order, with the verifier of these tests.

    The drivers run them, so that what a user pastes is what is tested.
    """
    text = (REPOSITORY / "service/docs/adapters" / f"{page}.md").read_text()
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [re.sub(r"math-verify:[\w.-]+", VERIFIER, block) for block in blocks]


def direct(url: str, rows: list[dict[str, Any]]) -> tuple[str, list[float | None]]:
    """Return the pin and the scores of ``/v1/score``, None where there is no verdict."""
    with Client(url) as client:
        result = client.score(VERIFIER, rows)
    return result.verifier.ref, [verdict.score for verdict in result.verdicts]


def drive(folder: Path, driver: str, **told: Any) -> Any:
    """Run a driver with a framework's code and return what it says."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COUNTERMARK_"))
    }
    done = subprocess.run(
        [sys.executable, "-s", str(DRIVERS / f"{driver}.py")],
        input=json.dumps(told),
        env={**kept, "PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / ".hf")},
        capture_output=True,
        text=True,
        timeout=_DRIVER_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{driver} failed:\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def hung_service() -> Iterator[str]:
    """Give the address of a service that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(512)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def restarted_at(mark: Path, service: ServiceProcess) -> Iterator[None]:
    """Kill a service when the file `mark` appears, and start it again; it must have appeared at the end."""
    ended = threading.Event()
    failed: list[BaseException] = []
    before = service.process.pid

    def watch() -> None:
        while not mark.exists() and not ended.wait(0.01):
            pass
        if mark.exists():
            service.process.kill()
            service.process.wait()
            time.sleep(0.3)  # a while in which connections are refused
            try:
                service.start()
            except AssertionError as exc:
                failed.append(exc)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
    assert not failed, failed
    assert service.process.pid != before, f"{mark} was never made"
