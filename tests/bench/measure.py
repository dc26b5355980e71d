"""How benches measure: CPU time of processes, medians of rounds, ratios to a baseline of the same minute."""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROUNDS = int(os.environ.get("COUNTERMARK_BENCH_ROUNDS", "5"))


def cpu_seconds(pid: int) -> float:
    """Return user and system seconds of a process so far, to the microsecond."""
    return time.clock_gettime(~pid << 3 | 2)  # Linux's clock of another process: clock_getcpuclockid(3)


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += tree(int(child))
    return found


def peak_mib(pid: int) -> float:
    """Return the most memory that a process has had, in MiB, since its program began.

    Unlike the maximum of getrusage(2), which counts what the process that started it had at that time.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"the kernel does not tell the peak of process {pid}")


def resident_mib(pid: int) -> float:
    """Return the resident memory of one process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def median_of(measure: Callable[[], float], rounds: int = ROUNDS) -> float:
    """Return the median of some rounds."""
    return statistics.median(measure() for _ in range(rounds))


def interleaved(measures: Sequence[Callable[[], float]], rounds: int = ROUNDS) -> list[float]:
    """Return the median of each measure; their rounds take turns, so that noise meets all alike."""
    values: list[list[float]] = [[] for _ in measures]
    for _ in range(rounds):
        for place, measure in enumerate(measures):
            values[place].append(measure())
    return [statistics.median(column) for column in values]


def report(what: str, value: float, unit: str, baseline: float, baseline_name: str, *, goal: str) -> None:
    """Print one line: the figure, its baseline, the ratio, and what is to be reached."""
    ratio = value / baseline if baseline else float("inf")
    figures = f"{value:>10.4g} {unit:<16} {baseline_name}: {baseline:.4g}   ratio {ratio:.2f}   goal {goal}"
    print(f"{what:<58} {figures}", flush=True)
