"""The document of an audit, against the numbers that its work file was made with, and against figures by hand."""

import io
import json
from collections import Counter
from pathlib import Path

import pytest

from countermark_service.audit import AuditVerifier, Input, OutputRow, Refusal, WorkFile, summary
from countermark_service.audit.disagreements import EXAMPLES_PER_KIND
from countermark_service.audit.document import PUBLISHED, Document
from countermark_service.audit.findings import headline_of
from countermark_service.audit.flips import FlipKind
from countermark_service.audit.summary import summarise
from countermark_service.audit.work_file import NewVerdict, Route
from countermark_service.model import BundleRef
from tests.unit.audit.sample import LENIENT, STRICT, make_work_file

ROWS = 96


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Document, bytes]:
    flips = io.BytesIO()
    with make_work_file(tmp_path_factory.mktemp("audit") / "audit.sqlite") as work:
        return summarise(work, flips), flips.getvalue()


@pytest.fixture
def document(made: tuple[Document, bytes]) -> Document:
    return made[0]


def test_a_failure_is_in_no_mean_and_in_the_bounds(document: Document) -> None:
    # Of 96 rows strict says right on 48, wrong on 24, nothing readable on 12; 12 time out, 12 have bad references.
    strict = document.overall.column(str(STRICT))
    assert strict is not None
    assert strict.outcomes == {"scored": 60, "no_answer": 12, "timeout": 12, "bad_reference": 12}
    assert strict.score is not None
    assert strict.score.rows == 72
    assert strict.score.value == pytest.approx(36 / 72)
    assert strict.bounds is not None
    assert (strict.bounds.low, strict.bounds.high) == pytest.approx((36 / 96, 60 / 96))


def test_a_row_that_a_verifier_does_not_take_is_counted_apart(document: Document) -> None:
    lenient = document.overall.column(str(LENIENT))
    assert lenient is not None
    assert (lenient.due, lenient.refused, lenient.waiting) == (96, 1, 0)
    assert sum(lenient.outcomes.values()) == 95
    (refused,) = [note for note in document.notes if "does not take" in note]
    assert "does not take 1 row, so" in refused
    assert "outputs.jsonl, row 1: params.x: unknown parameter." in refused


def test_pairs_count_rows_that_both_scored_and_rows_that_only_one_did(document: Document) -> None:
    pair = document.overall.comparison(str(STRICT), str(LENIENT))
    assert pair is not None
    # Of each 8: 0 and 1 agree, 2 and 3 gain, 4 loses, 5 and 7 have one score, 6 none. Row 0 is refused by one.
    assert (pair.both_right, pair.both_wrong) == (11, 12)
    assert (pair.first_only, pair.second_only) == (12, 24)
    assert (pair.first_alone, pair.second_alone) == (12, 12)
    assert pair.rows == 59
    assert pair.difference is not None
    assert pair.difference.value == pytest.approx(12 / 59)


def test_disagreements_are_sorted_by_kind(document: Document) -> None:
    pair = document.overall.comparison(str(STRICT), str(LENIENT))
    assert pair is not None
    assert pair.kinds == {
        FlipKind.FORMAT: 12, FlipKind.EQUIVALENCE: 24, FlipKind.TIMEOUT: 12, FlipKind.FAILURE: 12,
    }  # fmt: skip
    assert sum(pair.kinds.values()) == pair.disagreements
    # Strict alone takes an answer on 12 rows, finds none on 12, and runs out of time; lenient fails.
    assert pair.about_first == {FlipKind.FORMAT: 12, FlipKind.EQUIVALENCE: 12, FlipKind.TIMEOUT: 12}
    # The published scores say not what was read, so against lenient the kind is inferred.
    assert [(kind.kind, kind.rows, kind.inferred) for kind in document.kinds] == [
        (FlipKind.EXTRACTION, 24, 24), (FlipKind.EQUIVALENCE, 24, 0), (FlipKind.FORMAT, 12, 0),
        (FlipKind.TIMEOUT, 12, 0), (FlipKind.FAILURE, 12, 0),
    ]  # fmt: skip


def test_every_disagreeing_row_is_a_line_of_the_flips(made: tuple[Document, bytes]) -> None:
    document, data = made
    lines = [json.loads(line) for line in data.splitlines()]
    assert document.flips is not None
    assert len(lines) == document.flips.rows == 60
    assert [line["row"] for line in lines] == sorted(
        row for row in range(ROWS) if row % 24 % 8 in (2, 3, 4, 5, 7)
    )
    kinds = Counter(pair["kind"] for line in lines for pair in line["pairs"])
    counted: Counter[str] = Counter()
    for one in document.overall.comparisons:
        counted.update({str(kind): count for kind, count in one.kinds.items()})
    assert kinds == counted


def test_examples_are_few_and_whole(document: Document) -> None:
    for kind in document.kinds:
        assert 0 < len(kind.examples) <= EXAMPLES_PER_KIND
        for example in kind.examples:
            assert kind.kind in {pair.kind for pair in example.pairs}
            assert {side.column for side in example.sides} <= {PUBLISHED, str(STRICT), str(LENIENT)}


def test_each_task_and_model_is_a_part_with_its_own_finding(document: Document) -> None:
    assert [(part.task, part.model, part.rows) for part in document.parts] == [
        ("algebra", "model-a", 24), ("algebra", "model-b", 24),
        ("geometry", "model-a", 24), ("geometry", "model-b", 24),
    ]  # fmt: skip
    assert [one.task for one in document.tasks] == ["algebra", "geometry"]
    assert [one.model for one in document.models] == ["model-a", "model-b"]
    assert sum(part.rows for part in document.parts) == document.overall.rows == ROWS
    for part in document.parts:
        pair = part.comparison(PUBLISHED, str(STRICT))
        assert pair is not None
        assert (pair.rows, pair.flips) == (18, 0)


def test_both_models_answer_the_same_questions(document: Document) -> None:
    assert document.overall.items == 48
    assert document.parts[0].items == 24
    pair = document.overall.comparison(str(STRICT), str(LENIENT))
    assert pair is not None
    assert pair.items_up is not None
    assert pair.difference is not None
    assert pair.difference.method == "bootstrap"


def test_the_document_survives_json(document: Document) -> None:
    assert Document.model_validate_json(document.model_dump_json()) == document


def test_what_was_asked_for_is_in_the_command(document: Document) -> None:
    assert document.command == [
        "countermark", "audit", "outputs.jsonl", "--verifier", str(STRICT), "--verifier", str(LENIENT),
    ]  # fmt: skip


def work_of(path: Path, rows: list[tuple[float | None, float | None]], metric: str = "score") -> WorkFile:
    """Make a work file of one task and verifier from (published, score) pairs; no score is a timeout."""
    work = WorkFile.create(path)
    with work.transaction():
        work.add_input(Input("rows.jsonl", 1, "0" * 64, "jsonl"))
        work.set_verifiers([AuditVerifier(STRICT, "asked")])
        work.add_routes("task", [Route(0, {}, "null")])
        for index, (published, score) in enumerate(rows):
            row = OutputRow(
                index=index, file="rows.jsonl", line=index + 1, task="task", sample=str(index), response="7",
                reference="7", published=published, metric=None if published is None else metric,
            )  # fmt: skip
            work.add_rows([row])
            outcome = "timeout" if score is None else "scored"
            work.add_verdicts([NewVerdict(index, 0, outcome, score, score, False, b"{}", b"{}")])
    return work


def summarised(path: Path, rows: list[tuple[float | None, float | None]]) -> Document:
    with work_of(path / "audit.sqlite", rows) as work:
        return summarise(work, io.BytesIO())


@pytest.mark.parametrize(
    ("rows", "standing", "headline"),
    [
        (
            [(1.0, 1.0), (0.0, 0.0)] * 20,
            "reproduced",
            "The published score holds: every verdict is reproduced.",
        ),
        (
            [(1.0, 1.0)] * 60 + [(1.0, 0.0)] * 20,
            "differs",
            "does not hold: \u221225.0 points under strict:1.0.0",
        ),
        (
            [(1.0, 1.0)] * 300 + [(1.0, 0.0), (0.0, 1.0)] * 3,
            "agrees",
            "holds up (0.0 points), though 6 verdicts do not",
        ),
        ([(1.0, 1.0)] * 300 + [(1.0, 0.0)] * 4, "agrees", "though 4 verdicts do not"),
        (
            [(1.0, 1.0)] * 60 + [(1.0, 0.0)] * 4,
            "too_few",
            "64 answers are too few to tell whether the published score holds: \u22126.2 points on them",
        ),
        (
            [(0.0, 1.0)] * 5,
            "too_few",
            "too few to tell whether the published score holds: +100.0 points on them (exact test p = 0.062).",
        ),
        ([(0.0, 1.0)] * 6, "differs", "does not hold: +100.0 points under strict:1.0.0"),
        ([(0.5, 1.0)] * 3, "too_few", "3 answers are too few"),
        ([(0.25, 0.5)] * 40, "differs", "does not hold: +25.0 points"),
        (
            [(0.0, 1.0)],
            "too_few",
            "One answer cannot tell whether a published score holds: its own moves by +100.0 points.",
        ),
        (
            [(1.0, 1.0)],
            "reproduced",
            "The published score holds for its one answer: the verdict is reproduced.",
        ),
        ([(1.0, 1.0), (0.0, 0.0)] * 20 + [(1.0, None)] * 20, "undecided", "Cannot be decided: 20 answers"),
        ([(None, 1.0)] * 5, "unpublished", "there is no published score"),
        ([(1.0, None)] * 5, "unscored", "Nothing was scored again."),
    ],
)
def test_the_finding_follows_from_the_numbers(
    tmp_path: Path, rows: list[tuple[float | None, float | None]], standing: str, headline: str
) -> None:
    document = summarised(tmp_path, rows)
    assert document.overall.finding.standing == standing
    assert headline in document.headline


def test_why_names_who_takes_what_the_other_refuses(document: Document, tmp_path: Path) -> None:
    found = summarised(tmp_path, [(1.0, 1.0)] * 60 + [(1.0, None)] * 20)
    assert found.overall.finding.why.endswith("In all 20 disagreements strict:1.0.0 ran out of time.")
    assert all("lenient:2.0.0 disagrees on" in part.finding.why for part in document.parts)


def test_a_reproduced_score_with_a_failure_is_not_called_reproduced(tmp_path: Path) -> None:
    document = summarised(tmp_path, [(1.0, 1.0)] * 200 + [(0.0, 0.0)] * 200 + [(0.0, None)])
    assert document.overall.finding.standing != "reproduced"
    assert "left out, not counted as wrong" in document.overall.finding.holds


def test_rows_that_are_refused_leave_a_claim_undecided_and_are_numbered(tmp_path: Path) -> None:
    with work_of(tmp_path / "audit.sqlite", [(1.0, 1.0), (0.0, 0.0)] * 20) as work:
        with work.transaction():
            for index in range(40, 60):
                row = OutputRow(
                    index=index, file="rows.jsonl", line=index + 1, task="task", sample=str(index), response="7",
                    reference="7", published=1.0, metric="score",
                )  # fmt: skip
                work.add_rows([row])
                work.add_refusal(Refusal(index, 0, "too long"))
        document = summarise(work, io.BytesIO())
    assert document.headline == "Cannot be decided: 20 answers got no score again."


def test_an_audit_that_was_stopped_says_that_rows_wait(tmp_path: Path) -> None:
    with work_of(tmp_path / "audit.sqlite", [(1.0, 1.0), (0.0, 0.0)] * 20) as work:
        with work.transaction():
            row = OutputRow(
                index=40, file="rows.jsonl", line=41, task="task", sample="40", response="7", reference="7",
                published=1.0, metric="score",
            )  # fmt: skip
            work.add_rows([row])
        document = summarise(work, io.BytesIO())
    assert not document.complete
    assert document.headline.startswith("Not finished: rows still wait for their score. So far: ")
    assert document.overall.finding.standing != "reproduced"


def test_published_scores_of_minus_one_and_one_are_shifted_and_said(tmp_path: Path) -> None:
    document = summarised(tmp_path, [(1.0, 1.0), (-1.0, 0.0)] * 10)
    assert document.overall.finding.standing == "reproduced"
    assert any("taken as 0 and 1" in note for note in document.notes)


def test_published_scores_on_another_scale_are_compared_with_nothing(tmp_path: Path) -> None:
    document = summarised(tmp_path, [(87.5, 1.0), (12.0, 0.0)] * 10)
    published = document.overall.column(PUBLISHED)
    assert published is not None
    assert (published.score, published.unusable) == (None, 20)
    assert document.overall.finding.standing == "unpublished"
    assert any("12 to 87.5" in note for note in document.notes)


def test_scores_in_parts_are_compared_without_being_rounded(tmp_path: Path) -> None:
    document = summarised(tmp_path, [(0.5, 0.75), (0.25, 0.25), (1.0, 1.0), (0.0, 0.0)] * 10)
    pair = document.overall.comparison(PUBLISHED, str(STRICT))
    assert pair is not None
    assert (pair.flips, pair.changed) == (0, 10)
    assert pair.difference is not None
    assert pair.difference.value == pytest.approx(0.0625)
    assert document.overall.finding.standing == "differs"


def test_few_answers_are_said_to_be_few(tmp_path: Path) -> None:
    alone = summarised(tmp_path / "one", [(0.0, 1.0)]).overall.finding
    assert "1 answer that has both scores" in alone.holds
    assert "neither that the score holds nor that it does not" in alone.why
    assert alone.why.startswith("On other answers of this kind the difference might be")
    five = summarised(tmp_path / "five", [(0.0, 1.0)] * 5).overall.finding
    assert "(p = 0.062)" in five.why
    same = summarised(tmp_path / "same", [(1.0, 1.0)]).overall.finding
    assert same.holds.startswith("strict:1.0.0 gives 1.000, and its verdict is the published one.")
    assert "Of other answers so few say little" in same.holds
    many = summarised(tmp_path / "many", [(1.0, 1.0)] * 100).overall.finding
    assert many.holds == "strict:1.0.0 gives 1.000, and each of the 100 verdicts is the published one."


def test_several_scores_of_few_answers_are_told_together(tmp_path: Path) -> None:
    part = summarised(tmp_path, [(0.0, 1.0)] * 3).parts[0]
    both = [part, part]
    assert headline_of(part, both, complete=True) == (
        "None of the 2 published scores has enough answers to tell whether it holds."
    )
    reproduced = part.model_copy(
        update={"finding": part.finding.model_copy(update={"standing": "reproduced"})}
    )
    assert headline_of(part, [part, reproduced], complete=True) == (
        "Of 2 published scores, 1 is reproduced verdict for verdict and 1 has too few answers to tell."
    )


def test_an_empty_audit_says_so(tmp_path: Path) -> None:
    document = summarised(tmp_path, [])
    assert document.headline == "Nothing was scored again."
    assert document.parts == []
    assert document.kinds == []


def test_two_pins_of_one_version_are_told_apart(tmp_path: Path) -> None:
    other = BundleRef(STRICT.name, STRICT.version, "sha256:" + "c" * 64)
    work = WorkFile.create(tmp_path / "audit.sqlite")
    with work, work.transaction():
        work.add_input(Input("rows.jsonl", 1, "0" * 64, "jsonl"))
        work.set_verifiers([AuditVerifier(STRICT, "card"), AuditVerifier(other, "asked")])
        work.add_routes("task", [Route(0, {}, "null"), Route(1, {}, "null")])
        row = OutputRow(
            index=0, file="rows.jsonl", line=1, task="task", sample="0", response="7", reference="7"
        )
        work.add_rows([row])
        for pin, score in enumerate((1.0, 0.0)):
            work.add_verdicts([NewVerdict(0, pin, "scored", score, score, False, b"{}", b"{}")])
    with WorkFile.open(tmp_path / "audit.sqlite") as reopened:
        document = summarise(reopened, io.BytesIO())
    labels = [column.label for column in document.overall.columns]
    assert labels == ["strict:1.0.0@aaaaaaaa", "strict:1.0.0@cccccccc"]


def test_a_file_with_another_model_in_every_row_stays_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "MOST_PARTS", 5)
    with make_work_file(tmp_path / "audit.sqlite", questions=0) as work:
        with work.transaction():
            for index in range(20):
                row = OutputRow(
                    index=index, file="outputs.jsonl", line=index + 1, task="algebra", model=f"m{index % 9}",
                    sample=str(index), response="7", reference="7", published=1.0, metric="score",
                )  # fmt: skip
                work.add_rows([row])
                work.add_verdicts([NewVerdict(index, 0, "scored", 1.0, 1.0, False, b"{}", b"{}")])
        document = summarise(work, io.BytesIO())
    assert [part.model for part in document.parts] == ["m0", "m1", "m2", "m3", "m4"]
    assert [part.rows for part in document.parts] == [3, 3, 2, 2, 2]
    assert document.parts_left_out == 4
    assert document.overall.rows == 20
    assert any("9 sets of outputs" in note for note in document.notes)


def test_what_the_answers_of_a_kind_have_in_common_is_told_for_each_pair(tmp_path: Path) -> None:
    other = BundleRef("lenient", "2.0.0", "sha256:" + "b" * 64)
    with WorkFile.create(tmp_path / "audit.sqlite") as work:
        with work.transaction():
            work.add_input(Input("rows.jsonl", 1, "0" * 64, "jsonl"))
            work.set_verifiers([AuditVerifier(STRICT, "asked"), AuditVerifier(other, "asked")])
            work.add_routes("task", [Route(0, {}, "null"), Route(1, {}, "null")])
            for index in range(60):
                percent = index % 10 == 0
                read = json.dumps({"gold": ["20"], "answer": ["20\\%" if percent else "20"]}).encode()
                row = OutputRow(
                    index=index, file="rows.jsonl", line=index + 1, task="task", sample=str(index),
                    response="20", reference="20", published=1.0, metric="score",
                )  # fmt: skip
                work.add_rows([row])
                for pin, score in enumerate((float(not percent), 1.0)):
                    work.add_verdicts([NewVerdict(index, pin, "scored", score, score, False, read, b"{}")])
        document = summarise(work, io.BytesIO())
    pair = document.overall.comparison(PUBLISHED, str(STRICT))
    assert pair is not None
    mark = pair.marks[FlipKind.EQUIVALENCE]
    assert (mark.name, mark.rows, mark.of) == ("a percent sign", 6, 6)
    assert mark.usual == pytest.approx(0.1)
    assert document.overall.finding.why == (
        "In all 6 disagreements both read the same answer, and only the publisher takes it as equal to the "
        "reference (all 6 such answers have a percent sign; 10\u00a0% of all answers do). The published verdicts "
        "are those of lenient:2.0.0: all 60 agree with it."
    )


def test_tasks_of_different_verifiers_have_no_common_mean(tmp_path: Path) -> None:
    with WorkFile.create(tmp_path / "audit.sqlite") as work:
        with work.transaction():
            work.add_input(Input("rows.jsonl", 1, "0" * 64, "jsonl"))
            work.set_verifiers([AuditVerifier(STRICT, "card"), AuditVerifier(LENIENT, "card")])
            for pin, task in enumerate(("algebra", "geometry")):
                work.add_routes(task, [Route(pin, {}, "null")])
            for index in range(80):
                pin = index % 2
                score = float(pin == 0 or index % 4 == 1)
                row = OutputRow(
                    index=index, file="rows.jsonl", line=index + 1, task=("algebra", "geometry")[pin],
                    sample=str(index), response="7", reference="7", published=1.0, metric="score",
                )  # fmt: skip
                work.add_rows([row])
                work.add_verdicts([NewVerdict(index, pin, "scored", score, score, False, b"{}", b"{}")])
        document = summarise(work, io.BytesIO())
    assert [part.finding.standing for part in document.parts] == ["reproduced", "differs"]
    assert (
        document.headline == "Of 2 published scores, 1 is reproduced verdict for verdict and 1 does not hold."
    )
    assert document.overall.finding.claimed == (
        "2 published scores; a mean over all of them would mix verifiers."
    )
    assert (
        "Of 80 answers with both scores, 20 verdicts change: 20 from right" in document.overall.finding.holds
    )
    columns = {column.id: column.due for column in document.overall.columns}
    assert columns == {PUBLISHED: 80, str(STRICT): 40, str(LENIENT): 40}


def test_routes_of_many_tasks_that_are_alike_are_told_once(document: Document) -> None:
    assert [(route.pin, route.tasks, route.task_count) for route in document.routes] == [
        (str(STRICT), ["algebra", "geometry"], 2), (str(LENIENT), ["algebra", "geometry"], 2),
    ]  # fmt: skip


def test_variants_of_a_task_are_parts_of_their_own_and_said(tmp_path: Path) -> None:
    with work_of(tmp_path / "audit.sqlite", []) as work:
        with work.transaction():
            for index, variant in enumerate(("strict-match", "flexible-extract")):
                row = OutputRow(
                    index=index, file="rows.jsonl", line=index + 1, task="task", variant=variant, sample="0",
                    response="7", reference="7", published=float(index), metric="exact_match",
                )  # fmt: skip
                work.add_rows([row])
                work.add_verdicts([NewVerdict(index, 0, "scored", 1.0, 1.0, False, b"{}", b"{}")])
        document = summarise(work, io.BytesIO())
    assert [(part.variant, part.rows) for part in document.parts] == [
        ("flexible-extract", 1),
        ("strict-match", 1),
    ]
    assert any("variants" in note for note in document.notes)
    assert document.overall.items == 1
