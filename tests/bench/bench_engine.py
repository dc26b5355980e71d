"""Workers against the library in a loop: what the engine costs, shares out, and saves.

The baseline is the wrapped library itself, called in a loop in the main thread of a process of its
own, in the bundle's own environment. "CPU" of the engine is everything: the service's process (event
event loop, keys, store) and its workers, loading of the verifier left out on both sides.

Two processors are not always twice one: they may be two threads of one core, or share its memory. So
what two workers reach stands beside what two loops reach that run at once and know nothing of each other.
And each of two workers has to read for itself what the other has read, which is most of its work in the
beginning. So two are held against one that does the work of both: of each one its share, after the same others.
"""

import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvloop

from countermark_service.bundles import Bundle
from countermark_service.engine.environment import EnvironmentCache
from countermark_service.engine.jobs import mark_of
from countermark_service.engine.pool import Pool, PoolLimits
from countermark_service.model import Item, Verdict
from countermark_service.registry import Registry, bundle_roots
from countermark_service.runtimes import PythonRuntime
from countermark_service.sandbox import detect_containment
from countermark_service.scoring import Scorer
from countermark_service.store import MemoryStore, TieredStore
from tests.bench.grpo_traffic import grpo_items
from tests.bench.measure import ROUNDS, report
from tests.support import REPOSITORY, SHARED_DATA

REF = "math-verify:0.9.0"
LOOP = """
import json, sys, time
from math_verify import parse, verify
items = [json.loads(line) for line in sys.stdin]
verify(parse("\\\\boxed{1}"), parse("\\\\boxed{1}"))
start, wall = time.process_time(), time.perf_counter()
for item in items:
    gold = item["reference"]
    verify(parse("\\\\boxed{" + gold + "}"), parse(item["response"]))
print(time.process_time() - start, time.perf_counter() - wall)
"""


def distinct_items(count: int) -> list[Item]:
    """Return real model solutions with their references, each response once; made ones where the data is not."""
    file = SHARED_DATA / "gsm8k_model_solutions.jsonl"
    if not file.exists():
        return [Item(f"We add {n} and {n}. \\boxed{{{2 * n}}}", str(2 * n + n % 2)) for n in range(count)]
    found: dict[str, Item] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        gold = row["ground_truth"].split("A: ")[-1].strip()
        for model in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
            text = row[model]["solution"]
            answer = text.replace("\n", " ").split("A: ")[-1].strip() if "A: " in text else text.split()[-1]
            response = f"{text}\nThe final answer is \\boxed{{{answer}}}."
            found.setdefault(response, Item(response, gold))
    return list(itertools.islice(found.values(), count))


def loop_seconds(python: Path, items: Sequence[Item]) -> tuple[float, float]:
    """Return the CPU seconds and wall seconds of the library in a loop."""
    lines = "".join(
        json.dumps({"response": item.response, "reference": item.reference}) + "\n" for item in items
    )
    done = subprocess.run([python, "-c", LOOP], input=lines, capture_output=True, text=True, check=True)
    cpu, wall = done.stdout.split()
    return float(cpu), float(wall)


def two_loops_speedup(python: Path, items: Sequence[Item]) -> float:
    """Return how much more two loops at once do than one: 2 on two processors that share nothing."""
    _, alone = loop_seconds(python, items)
    with ThreadPoolExecutor(2) as threads:
        walls = [wall for _, wall in threads.map(loop_seconds, [python] * 2, [items] * 2)]
    return 2 * alone / max(walls)


def _stat(pid: int) -> list[int]:
    """Return the fields of a process from its state on, that one as 0."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [0, *map(int, fields[1:])]


class Bench:
    """A scorer of its own, with a pool of some slots and an empty store."""

    def __init__(self, folder: Path, slots: int) -> None:
        """Prepare; nothing runs yet."""
        self.environments = EnvironmentCache(REPOSITORY / ".countermark" / "tests" / "environments")
        self.pool = Pool(
            environments=self.environments, containment=detect_containment(), data=folder,
            limits=PoolLimits(slots=slots),
        )  # fmt: skip
        extra = os.environ.get("COUNTERMARK_BUNDLES", "")
        self.registry = Registry(bundle_roots([Path(folder) for folder in extra.split(os.pathsep) if folder]))
        self.runtime = PythonRuntime(self.pool)
        self.scorer = Scorer(self.registry, {"python": self.runtime}, TieredStore(MemoryStore()))
        self.bundle: Bundle = self.registry.resolve(REF)

    def cpu(self) -> float:
        """Return the CPU seconds of this process and its verifiers so far."""
        return time.process_time() + self.pool.counters.cpu_seconds

    def worker_cpu(self) -> float:
        """Return the CPU seconds of the workers, forking and pipes included, and of those that have ended."""
        workers = [pid for _, pid in self.pool.workers()]
        ended = 0.0
        for nursery in {_stat(pid)[1] for pid in workers}:
            ended += (_stat(nursery)[13] + _stat(nursery)[14]) / os.sysconf("SC_CLK_TCK")
        return ended + sum(time.clock_gettime((~pid << 3) | 2) for pid in workers)

    async def __aenter__(self) -> "Bench":
        await self.scorer.store.start()
        await self.runtime.prepare(self.bundle)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.scorer.close()


async def judged(bench: Bench, items: Sequence[Item]) -> tuple[float, float]:
    """Return wall seconds and CPU seconds (service and workers) of judging distinct items, store left out."""
    payloads = [item.canonical(uses_prompt=False) for item in items]
    verdicts: list[Verdict] = []
    await bench.runtime.verify(bench.bundle, payloads[:1], lambda _, verdict: verdicts.append(verdict))
    wall, own, workers = time.perf_counter(), time.process_time(), bench.worker_cpu()
    await bench.runtime.verify(bench.bundle, payloads, lambda _, verdict: verdicts.append(verdict))
    cpu = time.process_time() - own + bench.worker_cpu() - workers
    if len(verdicts) != len(items) + 1 or any(verdict.score is None for verdict in verdicts):
        raise SystemExit("some items got no score")
    return time.perf_counter() - wall, cpu


def share(items: Sequence[Item], number: int) -> list[Item]:
    """Return those of `items` that a pool of two workers gives to its first, 0, or to its second, 1."""
    return [item for item in items if mark_of(item.canonical(uses_prompt=False)) % 2 == number]


async def two_against_one(folder: Path, others: Sequence[Item], items: Sequence[Item]) -> float:
    """Return how much faster two workers are with `items` than one of them after the other, both with their shares.

    Each worker has judged its share of the others before, in both cases.
    """
    apart = 0.0
    for number in (0, 1):
        async with Bench(folder / f"one-{number}", 1) as single:
            await judged(single, share(others, number))
            seconds, _ = await judged(single, share(items, number))
            apart += seconds
    async with Bench(folder / "two", 2) as double:
        await judged(double, others)
        together, _ = await judged(double, items)
    return apart / together


async def distinct(folder: Path) -> None:
    """Distinct items on one worker and on two."""
    some = distinct_items(5000)
    items, others = some[:3000], some[3000:4000]
    rates: list[float] = []
    baselines: list[float] = []
    beginning: list[float] = []
    settled: list[float] = []
    loops: list[float] = []
    for number in range(ROUNDS):  # with new workers each: a library may remember the items it has seen
        async with Bench(folder / f"alone-{number}", 1) as single:
            python = single.environments.ensure(single.bundle.lock, "3.11").python
            await judged(single, others)
            _, cpu = await judged(single, items)
        baselines.append(len(items) / loop_seconds(python, items)[0])
        rates.append(len(items) / cpu)
        beginning.append(await two_against_one(folder / f"beginning-{number}", others, items))
        settled.append(await two_against_one(folder / f"settled-{number}", items, some[3000:]))
        loops.append(two_loops_speedup(python, items))
    rate, baseline = statistics.median(rates), statistics.median(baselines)
    report(
        "distinct items, one worker, service included",
        rate,
        "items/CPU s",
        baseline,
        "library loop",
        goal=">= 0.95",
    )
    for name, speedups in (
        ("two workers on two cores (wall), after 1,000 others", beginning),
        ("two workers on two cores (wall), after 3,000 others", settled),
    ):
        report(
            name,
            statistics.median(speedups),
            "x one worker",
            statistics.median(loops),
            "two loops at once",
            goal=">= 1.8 x",
        )


def items_of_many_shapes() -> list[Item]:
    """Return the demo's items: sets, matrices, intervals, equations, of which many take tens of milliseconds."""
    sample = REPOSITORY / "service" / "countermark_service" / "demo" / "sample.jsonl"
    rows = map(json.loads, sample.read_text(encoding="utf-8").splitlines())
    return [Item(row["response"], row["reference"]) for row in rows]


async def many_shapes(folder: Path) -> None:
    """Items whose costs differ by a thousand, on two workers: what is unusual to one batch is usual to another."""
    items = items_of_many_shapes()
    rates: list[float] = []
    baselines: list[float] = []
    lost: list[int] = []
    for number in range(ROUNDS):
        async with Bench(folder / f"shapes-{number}", 2) as bench:
            _, cpu = await judged(bench, items)
            python = bench.environments.ensure(bench.bundle.lock, "3.11").python
            rates.append(len(items) / cpu)
            lost.append(sum(bench.pool.counters.restarts.values()))
        baselines.append(len(items) / loop_seconds(python, items)[0])
    rate, baseline = statistics.median(rates), statistics.median(baselines)
    report(
        "items of many shapes, two workers, service included",
        rate,
        "items/CPU s",
        baseline,
        "library loop",
        goal=">= 0.95",
    )
    print(f"{'':<58} {statistics.median(lost):g} workers ended")


async def grpo(folder: Path) -> None:
    """GRPO-shaped traffic through the whole scorer: keys, store, reduction, workers."""
    rows = grpo_items()
    items = [Item(row["response"], row["reference"]) for row in rows]
    rates: list[float] = []
    baselines: list[float] = []
    shares: list[float] = []
    for number in range(ROUNDS):
        async with Bench(folder / f"grpo-{number}", 2) as bench:
            await bench.scorer.score_batch(bench.bundle, [Item("\\boxed{1}", "1")])
            own, workers = time.process_time(), bench.worker_cpu()
            cached = 0
            for start in range(0, len(items), 512):
                _, run = await bench.scorer.score_batch(bench.bundle, items[start : start + 512])
                cached += run.cached
            rates.append(len(items) / (time.process_time() - own + bench.worker_cpu() - workers))
            shares.append(cached / len(items))
            python = bench.environments.ensure(bench.bundle.lock, "3.11").python
        baselines.append(len(items) / loop_seconds(python, items)[0])
    rate, baseline = statistics.median(rates), statistics.median(baselines)
    report(
        "GRPO-shaped, 512 x 16, service included",
        rate,
        "items/CPU s",
        baseline,
        "library loop",
        goal=">= 1.3",
    )
    print(f"{'':<58} {statistics.median(shares):.1%} of the verdicts came from an equal reduction")


async def p99(bench: Bench, healthy: Sequence[Item], hostile: Sequence[Item]) -> float:
    """Return the 99th percentile, in seconds, of single healthy requests, 16 at a time."""
    times: list[float] = []
    gate = asyncio.Semaphore(16)

    async def one(item: Item, note: Callable[[float], None]) -> None:
        async with gate:
            started = time.perf_counter()
            await bench.scorer.score_batch(bench.bundle, [item])
            note(time.perf_counter() - started)

    async def beside(item: Item) -> None:
        await bench.scorer.score_batch(bench.bundle, [item])

    work: list[Awaitable[None]] = []
    aside: list[asyncio.Task[None]] = []
    every = len(healthy) // max(len(hostile), 1)
    for number, item in enumerate(healthy):
        if hostile and number % every == 0 and number // every < len(hostile):
            aside.append(asyncio.create_task(beside(hostile[number // every])))
        work.append(asyncio.create_task(one(item, times.append)))
        if number % 64 == 63:
            await asyncio.gather(*work[-64:])
    await asyncio.gather(*work)
    for task in aside:
        task.cancel()
    await asyncio.gather(*aside, return_exceptions=True)
    return statistics.quantiles(times, n=100)[98]


async def hostile_neighbours(folder: Path) -> None:
    """Healthy items while one in a hundred loops until its budget."""
    healthy = distinct_items(2000)
    quiet: list[float] = []
    loud: list[float] = []
    for number in range(ROUNDS):
        for hostile, found in (
            ([], quiet),
            ([Item(f"\\boxed{{9^{{9^{{9^{{{n + 9}}}}}}}}}", "1") for n in range(20)], loud),
        ):
            async with Bench(folder / f"p99-{number}-{len(hostile)}", 2) as bench:
                await judged(bench, healthy[:200])
                found.append(await p99(bench, healthy, hostile) * 1e3)
    report(
        "p99 of healthy items beside 1 % that loop",
        statistics.median(loud),
        "ms",
        statistics.median(quiet),
        "without them",
        goal="<= 3",
    )


async def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as temporary:
        for bench in (distinct, many_shapes, grpo, hostile_neighbours):
            if len(sys.argv) < 2 or bench.__name__ in sys.argv[1:]:
                await bench(Path(temporary))


if __name__ == "__main__":
    uvloop.run(main())
