"""The service as a process: how soon it is ready, and whether it stays as small as it was."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.bench.measure import interleaved, report, resident_mib, tree
from tests.support import REPOSITORY, ServiceProcess

IMPORTS = "import fastapi, uvicorn"
BATCH = 1000


def importing() -> float:
    """Return the seconds of a bare import of the web framework and server."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    return time.perf_counter() - started


def starting(folder: Path) -> float:
    """Return the seconds from the start of `countermark serve` to ready."""
    service = ServiceProcess(folder / "start")
    started = time.perf_counter()
    service.start()
    seconds = time.perf_counter() - started
    service.stop()
    return seconds


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
        bare, ready = interleaved([importing, lambda: starting(folder)])
        report(
            "start of `countermark serve` to ready",
            ready,
            "s",
            bare,
            "bare import",
            goal="<= 2 + worker start",
        )
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
