"""Work files side by side: which questions count, and that what has no score becomes no number."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from countermark_service.audit.attribution.cells import SideScores, cross, read_side
from countermark_service.audit.attribution.errors import AttributionError
from countermark_service.audit.rows import OutputRow
from countermark_service.audit.work_file import AuditVerifier, Input, NewVerdict, Refusal, WorkFile
from countermark_service.model import BundleRef

Made = Callable[..., SideScores]
PINS = [BundleRef("numeric", version, "sha256:" + version[0] * 64) for version in ("1.0.0", "2.0.0")]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Make a side from rows: sample, what each verifier said (a score, an outcome, or None for a refusal)."""

    def make(
        name: str, rows: Sequence[tuple[str, Any, Any]], *, reference: Any = "4", **facts: Any
    ) -> SideScores:
        with WorkFile.create(tmp_path / name / "audit.sqlite") as work, work.transaction():
            work.add_input(Input("f", 1, "0" * 64))
            work.set_verifiers([AuditVerifier(pin, "asked") for pin in PINS])
            for index, (sample, *marks) in enumerate(rows):
                row = OutputRow(
                    index=index, file="f", line=index + 1, task="t", sample=sample, generation=index, response="r",
                    reference=reference, **facts,
                )  # fmt: skip
                work.add_rows([row])
                for pin, mark in enumerate(marks):
                    if mark is None:
                        work.add_refusal(Refusal(index, pin, "no such parameter"))
                    else:
                        outcome = mark if isinstance(mark, str) else "scored"
                        score = 0.0 if mark == "no_answer" else None if isinstance(mark, str) else mark
                        work.add_verdicts(
                            [NewVerdict(index, pin, outcome, score, score, False, b"{}", b"{}")]
                        )
            work.finish_rows()
            return read_side(name, work)

    return make


def test_questions_are_matched_by_name_and_scores_stand_side_by_side(made: Made) -> None:
    first = made("first", [("q1", 1.0, 0.0), ("q2", 0.0, 1.0), ("only here", 1.0, 1.0)])
    second = made("second", [("q2", 0.5, 1.0), ("q1", 0.0, 0.0)])
    crossed = cross([first, second])
    assert crossed.scores.tolist() == [[[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [0.5, 1.0]]]
    assert (crossed.common, crossed.without_score, crossed.other_reference) == (2, 0, 0)


def test_a_question_with_several_outputs_is_their_mean(made: Made) -> None:
    first = made("first", [("q", 1.0, 1.0), ("q", 0.0, 1.0)])
    second = made("second", [("q", 0.0, 0.0)])
    assert cross([first, second]).scores.tolist() == [[[0.5, 1.0], [0.0, 0.0]]]


@pytest.mark.parametrize("failure", ["timeout", "error", "abstain", "bad_reference", None])
def test_an_output_that_one_verifier_gives_no_score_counts_under_neither(
    made: Made, failure: str | None
) -> None:
    """The failed output was right under the other verifier: a zero, or half a pair, would move the mean."""
    first = made("first", [("q1", 1.0, failure), ("q1", 0.0, 0.0), ("q2", 1.0, 1.0)])
    second = made("second", [("q1", 1.0, 1.0), ("q2", 1.0, 1.0)])
    crossed = cross([first, second])
    assert crossed.scores.tolist() == [[[0.0, 0.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]]
    assert (first.rows, first.used) == (3, 2)
    assert first.without_score == [{}, {failure or "refused": 1}]


def test_a_question_whose_outputs_all_failed_is_left_out_on_both_sides_and_counted(made: Made) -> None:
    first = made("first", [("q1", "timeout", 1.0), ("q2", 1.0, 1.0)])
    second = made("second", [("q1", 1.0, 1.0), ("q2", 0.0, 0.0)])
    crossed = cross([first, second])
    assert crossed.scores.tolist() == [[[1.0, 1.0], [0.0, 0.0]]]
    assert (crossed.common, crossed.without_score) == (2, 1)
    assert crossed.document()["left_out"] == {"without_score": 1, "other_reference": 0}


def test_no_answer_is_a_verdict_and_counts(made: Made) -> None:
    first = made("first", [("q", "no_answer", "no_answer")])
    assert cross([first, made("second", [("q", 1.0, 1.0)])]).scores.tolist() == [[[0.0, 0.0], [1.0, 1.0]]]
    assert first.no_answer == [1, 1]


def test_a_question_that_is_held_against_another_reference_is_another_question(made: Made) -> None:
    first = made("first", [("q", 1.0, 1.0)])
    with pytest.raises(AttributionError, match="1 are held against different references"):
        cross([first, made("second", [("q", 1.0, 1.0)], reference="5")])


def test_releases_without_a_question_in_common_are_not_compared(made: Made) -> None:
    sides = [made("first", [("a-1", 1.0, 1.0)]), made("second", [("b-1", 1.0, 1.0)])]
    with pytest.raises(
        AttributionError, match=r"no question was answered on all sides \(first has 'a-1', …; second"
    ):
        cross(sides)


def test_failures_on_every_question_leave_nothing_to_compare(made: Made) -> None:
    sides = [made("first", [("q", "error", 1.0)]), made("second", [("q", 1.0, 1.0)])]
    with pytest.raises(AttributionError, match="nothing is left to compare"):
        cross(sides)


def test_outputs_of_two_models_are_not_averaged(made: Made, tmp_path: Path) -> None:
    with WorkFile.create(tmp_path / "two" / "audit.sqlite") as work:
        with work.transaction():
            work.add_input(Input("f", 1, "0" * 64))
            work.set_verifiers([AuditVerifier(PINS[0], "asked")])
            row = OutputRow(
                index=0, file="f", line=1, task="t", sample="q", response="r", reference="4", model="m1"
            )
            work.add_rows([row, msgspec.structs.replace(row, index=1, model="m2", line=2)])
        with pytest.raises(AttributionError, match=r"outputs of 2 models \(m1, m2\)"):
            read_side("two", work)
