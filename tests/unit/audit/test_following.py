"""Files that are written while the scoring goes on: they hold what came later, and leave none that was given up."""

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from countermark_service.audit import WorkFile
from countermark_service.audit.every_eval_ever import write_every_eval_ever
from countermark_service.audit.following import Following
from countermark_service.audit.table import read_table
from countermark_service.audit.verdict_files import OutputError, write_verdicts
from tests.unit.audit.sample import make_work_file

QUESTIONS, FIRST = 400, 600


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A work file of 1600 rows, all scored."""
    make_work_file(tmp_path / "audit.sqlite", QUESTIONS).close()
    return tmp_path / "audit.sqlite"


def wait_for(found: Callable[[], bool]) -> None:
    """Wait for a state."""
    for _ in range(2000):
        if found():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to that")


def instances(folder: Path) -> dict[str, list[dict[str, object]]]:
    """Return the instance files of the shared schema, without the time that they are made at."""
    return {
        file.name: [
            {name: value for name, value in json.loads(line).items() if name != "evaluation_id"}
            for line in file.read_text().splitlines()
        ]
        for file in folder.rglob("*_samples.jsonl")
    }


def test_what_is_scored_later_is_in_the_files_as_if_they_were_written_at_the_end(
    path: Path, tmp_path: Path
) -> None:
    out, after = tmp_path / "out", tmp_path / "after"
    with WorkFile.reading(path) as work:
        write_verdicts(work, after, "jsonl")
        write_every_eval_ever(work, after)
        whole = read_table(work)
    with closing(sqlite3.connect(path)) as there, there:
        later = {
            name: there.execute(f"SELECT * FROM {name} WHERE row >= ?", (FIRST,)).fetchall()
            for name in ("verdicts", "refusals")
        }
        for name in later:
            there.execute(f"DELETE FROM {name} WHERE row >= ?", (FIRST,))

    with Following(path, out, "jsonl", report=True) as results:
        results.reach(FIRST)
        wait_for(
            lambda: (out / "verdicts.jsonl.partial").exists() and any(out.rglob("*_samples.jsonl.partial"))
        )
        with closing(sqlite3.connect(path)) as there, there:
            for name, rows in later.items():
                for row in rows:
                    there.execute(f"INSERT INTO {name} VALUES ({','.join('?' * len(row))})", row)
        results.reach(QUESTIONS * 4)
        files, table = results.finish()

    assert files == [out / "verdicts.jsonl", out / "every_eval_ever"]
    assert (out / "verdicts.jsonl").read_bytes() == (after / "verdicts.jsonl").read_bytes()
    assert instances(out) == instances(after)
    assert sum(map(len, instances(out).values())) > 2000
    assert table is not None
    assert np.array_equal(table.scores, whole.scores, equal_nan=True)
    assert np.array_equal(table.outcomes, whole.outcomes)


def test_what_is_given_up_leaves_no_file_and_nobody_waits(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    with Following(path, out, "jsonl.zst", report=True) as results:
        results.reach(QUESTIONS // 2)  # no group is scored to its end: the file of one that is would be whole
        wait_for((out / "verdicts.jsonl.zst.partial").exists)

    assert [file for file in out.rglob("*") if file.is_file()] == []


def test_a_file_that_cannot_be_written_is_said_at_the_end(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("a file where the folder should be")

    with (
        Following(path, out, "jsonl", report=False) as results,
        pytest.raises(OutputError, match="cannot be written"),
    ):
        results.finish()
