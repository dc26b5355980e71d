"""What the report of an audit costs: time beside one plain read of the work file, memory, size.

COUNTERMARK_BENCH_ROWS sets the number of rows (20,000), COUNTERMARK_BENCH_FLIPS the share on which the two
verifiers disagree (0.05). `COUNTERMARK_FULL=1` takes 100,000 rows. The making is a process of its own, so its
peak of memory is its own too. Several answers per question and four models, so that the dearer
intervals are the ones that are made.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from countermark_service.audit import AuditVerifier, Input, OutputRow, WorkFile
from countermark_service.audit.outputs import REPORT, write_outputs
from countermark_service.audit.work_file import NewVerdict, Route
from countermark_service.model import BundleRef
from tests.bench.measure import peak_mib, report
from tests.support import REPOSITORY

FULL = os.environ.get("COUNTERMARK_FULL") == "1"
ROWS = int(os.environ.get("COUNTERMARK_BENCH_ROWS", "100000" if FULL else "20000"))
FLIPS = float(os.environ.get("COUNTERMARK_BENCH_FLIPS", "0.05"))
MODELS, ANSWERS, CHUNK = 4, 4, 1000
TEXT = "We look at what is given and go on step by step, as one does with such questions. " * 12


def fill(path: Path) -> None:
    """Make a scored work file."""
    pins = [BundleRef("one", f"{n}.0.0", "sha256:" + str(n) * 64) for n in (1, 2)]
    surroundings = b'{"python":"3.11","platform":"linux-x86_64","containment":"namespaces"}'
    with WorkFile.create(path) as work, work.transaction():
        work.add_input(Input("outputs.jsonl", ROWS * 1100, "0" * 64, "jsonl", ROWS))
        work.set_verifiers([AuditVerifier(pin, "asked") for pin in pins])
        work.add_routes("task", [Route(0, {}, "null"), Route(1, {}, "null")])
        for first in range(0, ROWS, CHUNK):
            rows, verdicts = [], []
            for index in range(first, min(first + CHUNK, ROWS)):
                right = index % 5 != 0
                flip = (index * 7919) % 10_000 < FLIPS * 10_000
                detail = msgspec.json.encode({"gold": [str(index)], "answer": [f"{index}\\%"]})
                rows.append(
                    OutputRow(
                        index=index, file="outputs.jsonl", line=index + 1, task="task", model=f"m{index % MODELS}",
                        sample=str(index // (MODELS * ANSWERS)), generation=index // MODELS % ANSWERS,
                        prompt="What is it?", response=f"{TEXT} So \\boxed{{{index}\\%}}.", reference=str(index),
                        published=float(right), metric="accuracy",
                    )
                )  # fmt: skip
                for pin, score in enumerate((float(right), float(right is not flip))):
                    verdicts.append(
                        NewVerdict(index, pin, "scored", score, score, False, detail, surroundings)
                    )
            work.add_rows(rows)
            work.add_verdicts(verdicts)


def measured(path: Path) -> dict[str, float]:
    """Read the work file once, then make the report; runs in a process of its own."""
    began = time.process_time()
    with WorkFile.reading(path) as work:
        sum(1 for _ in work.judged())
    read = time.process_time() - began
    began = time.process_time()
    with WorkFile.reading(path) as work:
        document = write_outputs(work, path.parent / "out")
    return {
        "read": read,
        "made": time.process_time() - began,
        "mib": peak_mib(os.getpid()),
        "flips": document.flips.rows if document.flips else 0,
    }


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "audit.sqlite"
        fill(path)
        command = [sys.executable, __file__, str(path)]
        done = subprocess.run(
            command, cwd=REPOSITORY, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(done.stderr)
        found = json.loads(done.stdout)
        size = (path.parent / "out" / REPORT).stat().st_size / 1e6
    what = f"report of {ROWS} rows x 2, {found['flips']:.0f} flips"
    report(what, found["made"], "CPU s", found["read"], "plain read", goal="a few seconds per 100,000")
    report("its peak of memory", found["mib"], "MiB", 500, "goal", goal="ratio <= 1")
    report("its size", size, "MB", 3, "goal", goal="ratio < 1")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measured(Path(sys.argv[1]))))
    else:
        main()
