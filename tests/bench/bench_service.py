"""The service as a process: how soon it is ready, and whether it stays as small as it was."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import httpx

from tests.bench.measure import ROUNDS, cpu_seconds, report, resident_mib, tree
from tests.support import REPOSITORY, ServiceProcess

IMPORTS = "import fastapi, uvicorn"
BATCH = 1000


@dataclass(frozen=True)
class Start:
    """What one start took."""

    wall: float
    """Seconds until it was ready."""
    cpu: float
    """CPU seconds of the process until then; a busy machine changes them less."""


def importing() -> Start:
    """Return what a bare import of the web framework and server takes."""
    started, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    wall, after = time.perf_counter() - started, os.times()
    return Start(
        wall, after.children_user - before.children_user + after.children_system - before.children_system
    )


def starting(folder: Path) -> Start:
    """Return what `countermark serve` takes until it is ready."""
    service = ServiceProcess(folder / "start")
    started = time.perf_counter()
    service.start()
    start = Start(time.perf_counter() - started, cpu_seconds(service.process.pid))
    service.stop()
    return start


def starts(folder: Path) -> None:
    """Print wall and CPU seconds of a start beside those of a bare import, by the median of rounds that take turns."""
    importing()
    starting(folder)  # the first of both compile the sources
    rounds = [(importing(), starting(folder)) for _ in range(ROUNDS)]
    for name, of in (("", attrgetter("wall")), (", CPU", attrgetter("cpu"))):
        bare, ready = (statistics.median(map(of, column)) for column in zip(*rounds, strict=True))
        what = f"start of `countermark serve` to ready{name}"
        report(what, ready, "s", bare, "bare import", goal="<= 2 + worker start")


def sizes(folder: Path) -> tuple[float, float, float, float]:
    """Return MiB of the service alone and with its workers, after 1,000 and after 50,000 distinct items."""
    data = folder / "size"
    data.mkdir()
    (data / "environments").symlink_to(REPOSITORY / ".countermark" / "tests" / "environments")
    service = ServiceProcess(data, {"COUNTERMARK_LOG_LEVEL": "warning"}).start()
    found: list[float] = []
    try:
        with httpx.Client(timeout=300) as client:
            for start in range(0, 50_000, BATCH):
                items = [
                    {"response": f"{'So we go on. ' * 20}The answer is {n}.", "reference": str(n)}
                    for n in range(start, start + BATCH)
                ]
                body = json.dumps({"verifier": "gsm8k-answer:1.0.0", "items": items})
                answer = client.post(
                    f"{service.url}/v1/score", content=body, headers={"content-type": "application/json"}
                )
                if answer.status_code != 200 or answer.json()["stats"]["failed"]:
                    raise SystemExit(answer.text[:500])
                if start in (0, 49_000):
                    pids = tree(service.process.pid)
                    found += [resident_mib(service.process.pid), sum(map(resident_mib, pids))]
    finally:
        service.stop()
    return found[0], found[1], found[2], found[3]


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        starts(folder)
        alone_first, all_first, alone_last, all_last = sizes(folder)
        report(
            "service after 50,000 items", alone_last, "MiB", alone_first, "after 1,000", goal="+ <= 50 MiB"
        )
        report(
            "service and workers after 50,000 items",
            all_last,
            "MiB",
            all_first,
            "after 1,000",
            goal="+ <= 50 MiB",
        )


if __name__ == "__main__":
    os.environ.pop("COUNTERMARK_CONFIG", None)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # it would have each start compile the sources anew
    main()
