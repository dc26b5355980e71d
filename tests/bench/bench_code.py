"""Code verifiers: what the service adds to the bare sandbox, and whether it stays as small as it was.

Both share two processors with whoever asks, so that is done with as little as it takes: a connection of the
standard library's that is kept. With httpx a batch takes about 4 % longer, of which nothing is the service's.

With COUNTERMARK_FULL=1 the size is looked at over 20,000 candidates, otherwise over 2,000.
"""

import asyncio
import http.client
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from countermark_service.sandbox.code.flavour import python_flavour
from countermark_service.sandbox.code.levels import probe
from countermark_service.sandbox.code.pool import SandboxPool
from tests.bench.measure import ROUNDS, report, resident_mib, tree
from tests.support import REPOSITORY, ServiceProcess

BATCH = 32
ROUNDS_OF_BATCHES = max(ROUNDS, 5) * 3
CANDIDATES = 20_000 if os.environ.get("COUNTERMARK_FULL") == "1" else 2_000
SIZE_BATCH = 100
JSON = {"content-type": "application/json"}
_numbers = itertools.count()


def program() -> str:
    """Return a program that no store has seen."""
    return f"print(sum(map(int, input().split())))  # {next(_numbers)}"


async def direct(pool: SandboxPool) -> float:
    """Return the seconds of one batch on the bare sandbox."""
    sources = [program().encode() for _ in range(BATCH)]
    started = time.perf_counter()
    results = await asyncio.gather(*(pool.run_tests(source, [b"20 22\n"]) for source in sources))
    if any(result.stdout != b"42\n" for (result,) in results):
        raise SystemExit(f"the sandbox failed: {results[0]}")
    return time.perf_counter() - started


def batch(size: int = BATCH) -> str:
    """Return the body of a request for a batch that no store has seen."""
    reference = {"tests": [{"input": "20 22\n", "output": "42\n"}]}
    items = [{"response": f"```python\n{program()}\n```", "reference": reference} for _ in range(size)]
    return json.dumps({"verifier": "python-stdio:1.0.0", "items": items})


def check(answer: bytes, size: int = BATCH) -> None:
    """End the bench where not every candidate of a batch was accepted."""
    verdicts: list[dict[str, Any]] = json.loads(answer).get("verdicts", [])
    if len(verdicts) != size or any(verdict["score"] != 1.0 for verdict in verdicts):
        raise SystemExit(answer[:1000].decode())


def served(connection: http.client.HTTPConnection, size: int = BATCH) -> float:
    """Return the seconds of one batch over the API."""
    body = batch(size)
    started = time.perf_counter()
    connection.request("POST", "/v1/score", body, JSON)
    answer = connection.getresponse().read()
    seconds = time.perf_counter() - started
    check(answer, size)
    return seconds


async def compare(connection: http.client.HTTPConnection) -> None:
    """Measure batches on both ways in turn."""
    flavour = python_flavour(Path(sys.executable))
    found = await probe(flavour)
    if found.level is None:
        raise SystemExit(f"no sandbox here: {found.reasons}")
    pool = SandboxPool(found.level, flavour, limit_user_namespaces=found.limit_user_namespaces)
    async with pool:
        ways: list[list[float]] = [[], []]
        await direct(pool)
        served(connection)
        for _ in range(ROUNDS_OF_BATCHES):
            ways[0].append(await direct(pool))
            ways[1].append(served(connection))
    bare, whole = (BATCH / statistics.median(seconds) for seconds in ways)
    report(f"batch of {BATCH} over /v1/score", whole, "candidates/s", bare, "bare sandbox", goal=">= 0.80")


def grow(connection: http.client.HTTPConnection, service: ServiceProcess) -> None:
    """Measure the service alone, and with all that it started, early and late."""
    pid = service.process.pid
    figures: list[tuple[float, float]] = []
    for done in range(0, CANDIDATES, SIZE_BATCH):
        served(connection, SIZE_BATCH)
        if done in (4 * SIZE_BATCH, CANDIDATES - SIZE_BATCH):
            figures.append((resident_mib(pid), sum(map(resident_mib, tree(pid)))))
    (alone, everything), (alone_late, everything_late) = figures
    after = f"after {5 * SIZE_BATCH}"
    what = f"service after {CANDIDATES} candidates"
    report(what, alone_late, "MiB", alone, after, goal="+ <= 50 MiB")
    report(f"{what}, with its processes", everything_late, "MiB", everything, after, goal="+ <= 50 MiB")


async def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        data.mkdir()
        kept = REPOSITORY / ".countermark" / "tests" / "environments"
        kept.mkdir(parents=True, exist_ok=True)
        (data / "environments").symlink_to(kept)
        service = ServiceProcess(data, {"COUNTERMARK_LOG_LEVEL": "warning"}).start()
        try:
            connection = http.client.HTTPConnection(service.url.removeprefix("http://"), timeout=300)
            await compare(connection)
            grow(connection, service)
            connection.close()
        finally:
            service.stop()


if __name__ == "__main__":
    os.environ.pop("COUNTERMARK_CONFIG", None)
    asyncio.run(main())
