"""The work file: what goes in comes out, in order, and what is due is known."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from countermark_service.audit import Mark, OutputRow, WorkFile, WorkFileError
from countermark_service.audit.work_file import NewVerdict
from countermark_service.model import Outcome
from tests.unit.audit.sample import LENIENT, STRICT, make_work_file

ROWS = 96


@pytest.fixture
def work(tmp_path: Path) -> Iterator[WorkFile]:
    with make_work_file(tmp_path / "audit.sqlite") as made:
        yield made


def test_rows_come_out_as_they_went_in_and_in_order(work: WorkFile) -> None:
    rows = list(work.rows())

    assert [row.index for row in rows] == list(range(ROWS))
    assert rows[1] == OutputRow(
        index=1, file="outputs.jsonl", line=2, task="algebra", model="model-a", sample="1",
        prompt="What is 1 + 1?", response="It is <b>\\boxed{2}</b>.", reference="2", published=0.0,
        metric="accuracy", extras={"metrics": {"accuracy": 0.0}},
    )  # fmt: skip
    assert list(work.rows(5, 7)) == rows[5:7]
    assert work.row(40) == rows[40]


def test_marks_stand_at_the_place_of_their_verifier(work: WorkFile) -> None:
    judged = list(work.judged())

    assert [one.index for one in judged] == list(range(ROWS))
    assert [one.pin for one in work.verifiers] == [STRICT, LENIENT]
    assert judged[0].marks == (Mark(Outcome.SCORED, 1.0), None), "the second verifier refused the row"
    assert judged[2].marks == (Mark(Outcome.NO_ANSWER, 0.0), Mark(Outcome.SCORED, 1.0))
    assert judged[5].marks == (Mark(Outcome.TIMEOUT, None), Mark(Outcome.SCORED, 1.0))
    assert judged[5].published is None


def test_counts_agree_with_what_is_there(work: WorkFile) -> None:
    assert work.row_count() == ROWS
    assert work.verdict_count() == 2 * ROWS - 1
    assert work.verdict_count(1) == ROWS - 1
    assert work.due_count() == 2 * ROWS
    assert work.outcomes(0) == {"scored": 60, "no_answer": 12, "timeout": 12, "bad_reference": 12}
    assert work.unusable_counts() == {"no_reference": 1}
    assert [(one.code, one.line, one.count) for one in work.notes()] == [("columns_guessed", 7, 1)]
    assert [(one.row, one.pin) for one in work.refusals()] == [(0, 1)]
    assert sum(1 for _ in work.verdicts(1)) == ROWS - 1
    assert {pin: one.outcome for pin, one in work.verdicts_of(7).items()} == {0: "scored", 1: "error"}


def test_what_is_missing_is_what_is_due_and_neither_judged_nor_refused(work: WorkFile) -> None:
    assert work.missing(0, 1000) == []

    with work.transaction():
        assert work.forget_failures() == 12 + 12

    assert work.missing(0, 3) == [(5, 0), (7, 1), (13, 0)]
    assert work.missing(8, 1) == [(13, 0)]


def test_a_second_verdict_of_one_verifier_on_one_row_is_refused(work: WorkFile) -> None:
    with pytest.raises(WorkFileError, match="UNIQUE"):
        work.add_verdicts([NewVerdict(3, 0, "scored", 1.0, 1.0, False, b"{}", b"{}")])


def test_what_fails_within_a_transaction_leaves_nothing(work: WorkFile) -> None:
    def half() -> None:
        with work.transaction():
            work.forget_failures()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()

    assert work.missing(0, 1000) == []


def test_another_programs_file_is_refused_and_not_touched(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    text = tmp_path / "text.sqlite"
    text.write_text("these are notes, and no database at all")

    with pytest.raises(WorkFileError, match="no work file of an audit"):
        WorkFile.open(other)
    with pytest.raises(WorkFileError, match="cannot be used"):
        WorkFile.open(text)
    with pytest.raises(WorkFileError, match="exists already"):
        WorkFile.create(text)
    with pytest.raises(WorkFileError, match="does not exist"):
        WorkFile.open(tmp_path / "none.sqlite")
    assert text.read_text().startswith("these are notes")
