"""What an adapter costs: a TRL batch of 1,024 completions beside the bare request, and beside the engine alone.

The items are real model solutions with answers of their own, judged by math-verify, none of them stored. Wall
time is compared with as many other such items in one prepared request over a kept connection, nothing of whose
answer is read. CPU time of everything (adapter, service, workers) is compared with that of the engine called in
this process: look-up, reduction, workers, but no service, no HTTP and no client. A batch whose verdicts are all
stored shows the adapter's own time.
"""

import asyncio
import json
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path

import httpx

from countermark.adapters.trl import RewardFunction, reward
from countermark.adapters.verl import compute_score
from countermark_service.model import Item
from tests.bench.bench_engine import REF, Bench, distinct_items
from tests.bench.measure import ROUNDS, cpu_seconds, report, tree
from tests.support import REPOSITORY, ServiceProcess

COMPLETIONS = 1024


def service_cpu(service: ServiceProcess) -> float:
    """Return the CPU seconds of the service and its workers so far, ended ones that were waited for left out."""
    return sum(cpu_seconds(pid) for pid in tree(service.process.pid))


def rows(number: int) -> list[Item]:
    """Return 1,024 real solutions, each ending in an answer that no other item of any round ends in.

    What counts is the answer: math-verify's bundle reduces an item to what it extracts, and gives items that
    are equal then one verdict.
    """
    found = []
    for place, item in enumerate(distinct_items(COMPLETIONS)):
        value = (number + 3) * COMPLETIONS + place
        text = item.response.rpartition("\\boxed")[0]
        found.append(Item(f"{text}\\boxed{{\\frac{{{value}}}{{7}}}}", f"{value + place % 2}/7"))
    return found


def by_adapter(function: RewardFunction, items: list[Item], loop: asyncio.AbstractEventLoop) -> float:
    """Return the wall seconds of a batch through the adapter, from an event loop as TRL's."""
    texts, golds = [item.response for item in items], [item.reference for item in items]
    started = time.perf_counter()
    coroutine = function(prompts=["?"] * len(items), completions=texts, solution=golds, trainer_state=None)
    rewards = asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    seconds = time.perf_counter() - started
    if len(rewards) != len(items) or any(reward is None for reward in rewards):
        raise SystemExit("some items got no reward")
    return seconds


def by_request(client: httpx.Client, items: list[Item]) -> float:
    """Return the wall seconds of the bare request."""
    wire = [{"response": item.response, "reference": item.reference} for item in items]
    body = json.dumps({"verifier": REF, "items": wire}).encode()
    started = time.perf_counter()
    answer = client.post("/v1/score", content=body, headers={"content-type": "application/json"})
    seconds = time.perf_counter() - started
    if answer.status_code != 200:
        raise SystemExit(answer.text)
    return seconds


def one_by_one(items: list[Item]) -> float:
    """Return the wall seconds of a batch of single calls at the same time, as verl makes them."""

    async def every() -> None:
        calls = (compute_score("x", item.response, item.reference, {}, verifier=REF) for item in items)
        await asyncio.gather(*calls)

    started = time.perf_counter()
    asyncio.run(every())
    return time.perf_counter() - started


async def engine(folder: Path, items: list[Item]) -> float:
    """Return the CPU seconds of the engine, its workers included."""
    async with Bench(folder, 2) as bench:
        await bench.scorer.score_batch(bench.bundle, [Item("\\boxed{1}", "1")] * 2)
        before = time.process_time() + bench.worker_cpu()
        scored, _ = await bench.scorer.score_batch(bench.bundle, items)
        cpu = time.process_time() + bench.worker_cpu() - before
    if any(verdict.score is None for verdict, _ in scored):
        raise SystemExit("some items got no score")
    return cpu


def measured(service: ServiceProcess, folder: Path, loop: asyncio.AbstractEventLoop) -> None:
    """Measure in rounds, in which the ways take turns, and print."""
    function = reward(REF, base_url=service.url)
    names = ("adapter", "request", "client", "cpu", "engine", "own", "bare", "single")
    columns: dict[str, list[float]] = {name: [] for name in names}
    with httpx.Client(base_url=service.url, timeout=300) as client:
        by_adapter(function, rows(-1), loop)
        by_request(client, rows(-2))
        for number in range(ROUNDS):
            first, second, third = rows(3 * number), rows(3 * number + 1), rows(3 * number + 2)
            if number % 2:  # who comes first after a pause finds colder caches
                columns["request"].append(by_request(client, second))
            own, others = time.process_time(), service_cpu(service)
            columns["adapter"].append(by_adapter(function, first, loop))
            columns["client"].append(time.process_time() - own)
            columns["cpu"].append(columns["client"][-1] + service_cpu(service) - others)
            if not number % 2:
                columns["request"].append(by_request(client, second))
            columns["engine"].append(asyncio.run(engine(folder / str(number), third)))
            columns["own"].append(by_adapter(function, first, loop))
            columns["bare"].append(by_request(client, first))
            columns["single"].append(one_by_one(first))
    middle = {name: statistics.median(values) for name, values in columns.items()}
    what = f"TRL, {COMPLETIONS:,} completions"
    with_client = middle["engine"] + middle["client"]
    stored, bare = middle["own"] * 1e3, middle["bare"] * 1e3
    report(f"{what}, wall", middle["adapter"], "s", middle["request"], "one bare request", goal="<= 1.10")
    report(f"{what}, CPU, adapter + engine", with_client, "s", middle["engine"], "engine", goal="<= 1.10")
    report(f"{what}, CPU, with the service", middle["cpu"], "s", middle["engine"], "engine", goal="-")
    report(f"{what}, stored, wall", stored, "ms", bare, "one bare request", goal="-")
    report(
        "verl, as many single calls, stored", middle["single"] * 1e3, "ms", bare, "one bare request", goal="-"
    )


def main() -> None:
    """Measure and print."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        shared = Path(os.environ.get("COUNTERMARK_TEST_DATA") or REPOSITORY / ".countermark" / "tests")
        data.mkdir()
        (shared / "environments").mkdir(parents=True, exist_ok=True)
        (data / "environments").symlink_to(shared / "environments")
        service = ServiceProcess(data, {"COUNTERMARK_PRELOAD": REF}).start()
        os.environ["COUNTERMARK_URL"] = service.url
        try:
            measured(service, Path(temporary), loop)
        finally:
            service.stop()
            loop.call_soon_threadsafe(loop.stop)


if __name__ == "__main__":
    main()
