"""The code verifiers against another sandbox service on the same machine, each at its best number of clients.

    python -m tests.bench.against_sandbox http://127.0.0.1:8080

The other service must be running and answer SandboxFusion's `/run_code`. Every program is new, has one test, and
its output is looked at. A batch of 32 over `/v1/score` counts as one client; rounds take turns.
"""

import argparse
import asyncio
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

from tests.bench.bench_code import JSON, batch, check
from tests.bench.measure import ROUNDS, report
from tests.support import REPOSITORY, ServiceProcess

CLIENTS = (1, 2, 4, 8, 16, 32)
BATCH = 32
_numbers = itertools.count()

Round = Callable[[int], Awaitable[float]]
"""Takes a number of clients and returns programs per second."""


async def run_codes(client: httpx.AsyncClient, path: str, clients: int, programs: int) -> float:
    """Return programs per second over a route of SandboxFusion's kind."""
    left = iter(range(programs))

    async def one_client() -> None:
        for _ in left:
            code = f"print(sum(map(int, input().split())))  # {next(_numbers)}"
            asked = {"code": code, "stdin": "20 22\n", "language": "python", "run_timeout": 10}
            answer = (await client.post(path, json=asked)).json()
            if answer["status"] != "Success" or answer["run_result"]["stdout"] != "42\n":
                raise SystemExit(f"{client.base_url}{path}: {answer}")

    started = time.perf_counter()
    await asyncio.gather(*(one_client() for _ in range(clients)))
    return programs / (time.perf_counter() - started)


async def batches(client: httpx.AsyncClient, clients: int) -> float:
    """Return candidates per second in batches over the API."""

    async def one_client() -> None:
        answer = await client.post("/v1/score", content=batch(BATCH), headers=JSON)
        check(answer.content, BATCH)

    started = time.perf_counter()
    await asyncio.gather(*(one_client() for _ in range(clients)))
    return clients * BATCH / (time.perf_counter() - started)


async def compare(ours: httpx.AsyncClient, other: httpx.AsyncClient, path: str, programs: int) -> None:
    """Measure all ways at all numbers of clients in turn, and print each at its best."""
    rounds: dict[str, tuple[Round, tuple[int, ...]]] = {
        "other": (lambda clients: run_codes(other, path, clients, programs), CLIENTS),
        "run_code": (lambda clients: run_codes(ours, "/sandbox-fusion/run_code", clients, 4 * programs), CLIENTS),
        "score": (lambda clients: batches(ours, clients), (1, 2, 4)),
    }  # fmt: skip
    found: dict[tuple[str, int], list[float]] = {}
    for once in range(ROUNDS + 1):
        for name, (measure, numbers) in rounds.items():
            for clients in numbers:
                rate = await measure(clients)
                if once:  # the first round starts what starts at first use
                    found.setdefault((name, clients), []).append(rate)

    def best(name: str) -> tuple[float, int]:
        return max(
            (statistics.median(rates), clients) for (way, clients), rates in found.items() if way == name
        )

    theirs, clients = best("other")
    baseline = f"other service, {clients} clients"
    for name, what in (("run_code", "/sandbox-fusion/run_code"), ("score", f"/v1/score, batches of {BATCH}")):
        rate, clients = best(name)
        report(f"{what}, {clients} at once", rate, "programs/s", theirs, baseline, goal=">= 5")


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", help="where the other service listens")
    parser.add_argument("--path", default="/run_code", help="its route")
    parser.add_argument(
        "--programs", type=int, default=48, help="programs in a round of it; ours get four times as many"
    )
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        data.mkdir()
        kept = REPOSITORY / ".countermark" / "tests" / "environments"
        kept.mkdir(parents=True, exist_ok=True)
        (data / "environments").symlink_to(kept)
        service = ServiceProcess(data, {"COUNTERMARK_LOG_LEVEL": "warning"}).start()
        limits = httpx.Limits(max_connections=64)
        try:
            async with (
                httpx.AsyncClient(base_url=service.url, timeout=300, limits=limits) as ours,
                httpx.AsyncClient(base_url=told.url, timeout=300, limits=limits) as other,
            ):
                await compare(ours, other, told.path, told.programs)
        finally:
            service.stop()


if __name__ == "__main__":
    os.environ.pop("COUNTERMARK_CONFIG", None)
    asyncio.run(main())
