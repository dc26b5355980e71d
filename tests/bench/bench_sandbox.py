"""Contained runs against uncontained ones: `subprocess.run` of the same interpreter, the same program.

Rounds of both sides take turns within one minute, so that noise meets both; figures are
medians of the rounds. Both sides keep two programs going at a time.

COUNTERMARK_BENCH_PYTHON names another interpreter for both sides. What is measured is in good part how long
that takes to start: of two builds of one version the one that starts faster has the lower ratio.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvloop

from countermark_service.sandbox.code.flavour import Flavour, python_flavour
from countermark_service.sandbox.code.model import Level, Status
from countermark_service.sandbox.code.pool import SandboxPool
from tests.bench.measure import ROUNDS, report, resident_mib

SUM = b"a, b = map(int, input().split())\nprint(a + b)\n"
NUMPY = b"import numpy\na, b = map(int, input().split())\nprint(int(numpy.add(a, b)))\n"
STDIN, STDOUT = b"20 22\n", b"42\n"
PYTHON = os.environ.get("COUNTERMARK_BENCH_PYTHON", sys.executable)
AT_A_TIME = 2
CANDIDATES = 150
GROWTH_CANDIDATES = int(os.environ.get("COUNTERMARK_BENCH_CANDIDATES", "2000"))


def bare(code: bytes, runs: int, environment: dict[str, str] | None = None) -> float:
    """Return runs per second of a plain interpreter, two at a time."""

    def one(_: int) -> None:
        command = [PYTHON, "-c", code.decode()]
        done = subprocess.run(command, input=STDIN, capture_output=True, env=environment, check=True)
        if done.stdout != STDOUT:
            raise AssertionError(done)

    with ThreadPoolExecutor(AT_A_TIME) as threads:
        started = time.perf_counter()
        list(threads.map(one, range(runs)))
        return runs / (time.perf_counter() - started)


async def contained(pool: SandboxPool, code: bytes, candidates: int, tests: int) -> float:
    """Return tests per second in the sandbox, all slots busy."""

    async def one() -> None:
        for result in await pool.run_tests(code, [STDIN] * tests):
            if (result.status, result.stdout) != (Status.OK, STDOUT):
                raise AssertionError(result)

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(candidates)))
    return candidates * tests / (time.perf_counter() - started)


async def compare(
    what: str,
    baseline: Callable[[], float],
    measure: Callable[[], Coroutine[None, None, float]],
    goal: str,
) -> None:
    """Print the medians of both sides and their ratio."""
    values = [(await asyncio.to_thread(baseline), await measure()) for _ in range(ROUNDS)]
    plain, held = (statistics.median(column) for column in zip(*values, strict=True))
    report(what, held, "tests/s", plain, "bare", goal=goal)


async def latency(pool: SandboxPool) -> float:
    """Return the median time of one candidate with one test, alone, in milliseconds."""
    times: list[float] = []
    for _ in range(CANDIDATES):
        started = time.perf_counter()
        await contained(pool, SUM, 1, 1)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


async def growth(pool: SandboxPool) -> None:
    """Print how much the service's memory grows over many candidates."""
    await contained(pool, SUM, CANDIDATES, 1)
    before = resident_mib(os.getpid())
    for _ in range(GROWTH_CANDIDATES // CANDIDATES):
        await contained(pool, SUM, CANDIDATES, 1)
    grown = resident_mib(os.getpid()) - before
    print(
        f"growth of the service over {GROWTH_CANDIDATES} candidates: {grown:.1f} MiB   goal <= 50", flush=True
    )


async def measure_level(level: Level, flavour: Flavour) -> None:
    """Print the table's rows for one level."""
    async with SandboxPool(level, flavour, slots=AT_A_TIME) as pool:
        await contained(pool, SUM, 20, 1)
        goals = ("3.5", "5.5") if level is Level.NAMESPACES else ("4", "-")
        for tests, goal in zip((1, 10), goals, strict=True):
            await compare(
                f"{level}: {tests} test(s) per candidate",
                lambda: bare(SUM, 50),
                lambda tests=tests: contained(pool, SUM, CANDIDATES // tests, tests),  # type: ignore[misc]
                goal,
            )
        print(f"{level}: one candidate alone, median {await latency(pool):.2f} ms   goal <= 3", flush=True)
        await growth(pool)


async def measure_numpy(level: Level) -> None:
    """Print the row of a program that imports numpy, in an installation made for this run."""
    with tempfile.TemporaryDirectory() as folder:
        uv = str(Path(sys.executable).parent / "uv")
        # Compiled, as pip leaves it: without, the plain interpreter would compile numpy at each start.
        install = [uv, "pip", "install", "-q", "--compile-bytecode", "--python", PYTHON]
        command = [*install, "--target", folder, "numpy"]
        if subprocess.run(command, check=False).returncode:
            print("numpy cannot be installed here; its row is left out")
            return
        Path(folder).chmod(0o755)  # candidates are another user
        environment = {**os.environ, "PYTHONPATH": folder, "OPENBLAS_NUM_THREADS": "1"}
        flavour = python_flavour(Path(PYTHON), site_packages=[Path(folder)], preload=["numpy"])
        async with SandboxPool(level, flavour, slots=AT_A_TIME) as pool:
            await contained(pool, NUMPY, 20, 1)
            await compare(
                f"{level}: a program that imports numpy",
                lambda: bare(NUMPY, 6, environment),
                lambda: contained(pool, NUMPY, CANDIDATES, 1),
                "25",
            )


async def main(levels: Sequence[Level]) -> None:
    """Measure each level, then numpy on the first."""
    flavour = python_flavour(Path(PYTHON))
    for level in levels:
        await measure_level(level, flavour)
    await measure_numpy(levels[0])


if __name__ == "__main__":
    uvloop.run(main([Level(name) for name in sys.argv[1:]] or list(Level)))
