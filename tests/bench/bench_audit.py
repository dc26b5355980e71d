"""What an audit costs beside the engine: the same items under the same two verifiers, scored without an audit.

COUNTERMARK_BENCH_ROWS sets the number of rows, COUNTERMARK_BENCH_ROUNDS the rounds (1),
COUNTERMARK_BENCH_VERIFIERS the verifiers; `COUNTERMARK_FULL=1` takes 100,000 rows. Each
measurement is a process of its own with an empty store, so nothing is cached; times are
from ready workers to the last file, for the audit with reading the inputs and writing
every result of it, the report too. CPU time is of the process and its workers.

The machine drifts within minutes, so the engine has its items in two halves, one before
the audit and one behind it: what changes steadily meets both alike, and how far the two
halves differ says what a ratio is worth. On a machine that others use meanwhile,
COUNTERMARK_BENCH_TOGETHER=1 runs the two at the same time, so that whatever else runs
meets both alike: then the ratio of CPU time is what counts.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

from countermark_service.audit.following import Following
from countermark_service.audit.intake import ReadPlan
from countermark_service.audit.output_files import find_files
from countermark_service.audit.outputs import write_outputs
from countermark_service.audit.plan import AuditPlan, begin, verifiers_of
from countermark_service.audit.run import AuditRun
from countermark_service.audit.verdict_files import write_unusable
from countermark_service.cli.judges import LocalJudge
from countermark_service.model import Item
from countermark_service.settings import load_settings
from tests.bench.measure import cpu_seconds, peak_mib, report, tree
from tests.support import REPOSITORY

VERIFIERS = os.environ.get("COUNTERMARK_BENCH_VERIFIERS", "math-verify:0.9.0 math-verify:0.7.0").split()
ROWS = int(
    os.environ.get(
        "COUNTERMARK_BENCH_ROWS", "100000" if os.environ.get("COUNTERMARK_FULL") == "1" else "3000"
    )
)
ROUNDS = int(os.environ.get("COUNTERMARK_BENCH_ROUNDS", "1"))
TOGETHER = os.environ.get("COUNTERMARK_BENCH_TOGETHER") == "1"
BATCH, OPEN = 256, 4
TEXT = "We look at what is given and go on step by step, as one does with such questions. " * 12


def record(number: int) -> dict[str, Any]:
    """Return the output of a row: about a kilobyte, and no two alike."""
    return {
        "id": number,
        "prompt": f"What is {number} + {number % 97}?",
        "response": f"{TEXT} So {number} and {number % 97} make \\boxed{{{number + number % 97}}}.",
        "reference": str(number + number % 97 + (number % 5 == 0)),
        "score": float(number % 5 != 0),
    }


def cpu() -> float:
    """Return the CPU seconds of this process and of all that it has started, of what has ended too."""
    return sum(cpu_seconds(pid) + ended_seconds(pid) for pid in tree(os.getpid()))


def ended_seconds(pid: int) -> float:
    """Return the CPU seconds of the children that a process has waited for: workers are replaced now and then."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")


async def ready(folder: Path) -> LocalJudge:
    """Return a judge with an empty store and workers that are loaded."""
    data = folder / "data"
    data.mkdir()
    shared = (
        Path(os.environ.get("COUNTERMARK_TEST_DATA") or REPOSITORY / ".countermark" / "tests")
        / "environments"
    )
    shared.mkdir(parents=True, exist_ok=True)
    (data / "environments").symlink_to(shared)
    judge = LocalJudge(load_settings({"data": data}))
    await judge.open(VERIFIERS)
    await judge.prepare()
    return judge


async def engine(folder: Path, file: Path) -> dict[str, Any]:
    """Score the items of a file under both verifiers, with as many batches open as an audit has."""
    judge = await ready(folder)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    items = [Item(row["response"], row["reference"], {}, row["prompt"]) for row in rows]
    before, started = cpu(), time.perf_counter()
    going: deque[asyncio.Task[Any]] = deque()
    for start in range(0, len(items), BATCH):
        batch = items[start : start + BATCH]
        both = asyncio.gather(*(judge.judge(place, batch) for place in range(len(VERIFIERS))))
        going.append(asyncio.ensure_future(both))
        if len(going) == OPEN:
            await going.popleft()
    while going:
        await going.popleft()
    found = {"seconds": time.perf_counter() - started, "cpu": cpu() - before}
    await judge.close()
    return found


async def audit(folder: Path, file: Path) -> dict[str, Any]:
    """Audit the file."""
    judge = await ready(folder)
    before, started = cpu(), time.perf_counter()
    plan = AuditPlan(verifiers_of(None, VERIFIERS, VERIFIERS, judge.pins), ReadPlan())
    out = folder / "audit"
    out.mkdir()
    work = begin(out, plan, find_files([str(file)]), lambda _: None)
    read = time.perf_counter()
    with Following(work.path, out, "jsonl", report=True) as results:
        run = AuditRun(work, judge, batch=BATCH, on_progress=lambda now: results.reach(now.reached))
        progress = await run.run()
        scored = time.perf_counter()
        _, table = results.finish()
    write_unusable(work, out)
    write_outputs(work, out, table=table)
    ended = time.perf_counter()
    found = {
        "seconds": ended - started,
        "cpu": cpu() - before,
        "reading": read - started,
        "scoring": scored - read,
        "writing": ended - scored,
        "verdicts": progress.done,
        "failed": progress.failed,
        "cached": progress.cached,
        "mib": peak_mib(os.getpid()),
        "file_mib": sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / (1 << 20),
    }
    work.close()
    await judge.close()
    return found


def begun(what: str, file: Path) -> "subprocess.Popen[bytes]":
    """Begin a measurement in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.bench_audit", what, str(file)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)


def ended(process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """Wait for a measurement."""
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a measurement ended with code {process.returncode}")
    found: dict[str, Any] = json.loads(said)
    return found


def turn(folder: Path, number: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Measure the audit of some rows, and the engine on their halves before and behind it, or on all beside it."""
    records = [json.dumps(record(number * ROWS + row)) + "\n" for row in range(ROWS)]
    halves = (folder / "first.jsonl", folder / "second.jsonl")
    for file, lines in zip(halves, (records[: ROWS // 2], records[ROWS // 2 :]), strict=True):
        file.write_text("".join(lines))
    whole = folder / "outputs.jsonl"
    whole.write_text("".join(records))
    before = begun("engine", whole if TOGETHER else halves[0])
    alone = [] if TOGETHER else [ended(before)]
    audited = ended(begun("audit", whole))
    alone.append(ended(before if TOGETHER else begun("engine", halves[1])))
    if audited["verdicts"] != len(VERIFIERS) * ROWS or audited["failed"] or audited["cached"]:
        raise SystemExit(f"the audit did not do its part: {audited}")
    return audited, alone


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as temporary:
        turns = [turn(Path(temporary), number) for number in range(ROUNDS)]
    audits = [audited for audited, _ in turns]

    def usual(name: str) -> float:
        return statistics.median(float(one[name]) for one in audits)

    def alone(name: str) -> float:
        return statistics.median(sum(float(half[name]) for half in halves) for _, halves in turns)

    what = f"audit of {ROWS:,} rows under {len(VERIFIERS)} verifiers"
    report(what, usual("seconds"), "s", alone("seconds"), "engine alone", goal="<= 1.10")
    report(f"{what}, CPU", usual("cpu"), "s", alone("cpu"), "engine alone", goal="<= 1.10")
    for part in ("reading", "scoring", "writing"):
        report(f"  of this, {part}", usual(part), "s", usual("seconds"), "audit", goal="-")
    if not TOGETHER:
        first, second = (sum(halves[place]["seconds"] for _, halves in turns) for place in (0, 1))
        report("engine, halves behind the audit", second, "s", first, "halves before it", goal="1: no drift")
    report(f"{what}, memory at most", max(one["mib"] for one in audits), "MiB", 500.0, "limit", goal="<= 1")
    report(f"{what}, files", usual("file_mib"), "MiB", 1.0, "-", goal="-")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        with tempfile.TemporaryDirectory() as own:
            part = engine if sys.argv[1] == "engine" else audit
            print(json.dumps(asyncio.run(part(Path(own), Path(sys.argv[2])))))
    else:
        main()
