"""What an audit was asked for: who scores what, and when a work file is of another audit."""

import json
from pathlib import Path
from typing import Any

import pytest

from countermark_service.audit import WorkFile
from countermark_service.audit.intake import ReadPlan
from countermark_service.audit.output_files import find_files
from countermark_service.audit.plan import (
    AuditPlan,
    AuditPlanError,
    OtherAuditError,
    begin,
    refs_of,
    verifiers_of,
)
from countermark_service.audit.work_file import NewVerdict
from countermark_service.model import BundleRef
from countermark_service.releases import Release, release_of
from tests.cards import EXACT, NUMERIC, bare_card
from tests.unit.audit.reading import write_lines

OTHER = BundleRef("other", "1.0.0", "sha256:" + "c" * 64)
ROWS = [
    {"id": str(n), "task": ("sums", "words", "else")[n % 3], "response": "2", "reference": "2"}
    for n in range(9)
]


@pytest.fixture
def release() -> Release:
    """A release with a verifier for each of two tasks."""
    routes = [
        {"task": "sums", "verifier": NUMERIC, "params": {"rel_tolerance": 0.01}, "on_failure": "zero"},
        {"task": "words", "verifier": EXACT},
    ]
    return release_of(bare_card(verifier={"routes": routes}))


def plan(release: Release | None, *asked: str, **reading: Any) -> AuditPlan:
    """Plan an audit; every reference is a pin."""
    refs = refs_of(release, asked)
    pins = [BundleRef.parse(ref) for ref in refs]
    return AuditPlan(verifiers_of(release, asked, refs, pins), ReadPlan(**reading), release)


def judge_one_row(work: WorkFile) -> None:
    """Add a verdict."""
    with work.transaction():
        work.add_verdicts([NewVerdict(0, 0, "scored", 1.0, 1.0, False, b"{}", b"{}")])


def test_a_card_routes_its_tasks_and_whoever_is_asked_for_scores_all(release: Release) -> None:
    both = plan(release, str(OTHER))

    assert [(str(one.pin), one.role, one.asked) for one in both.verifiers] == [
        (NUMERIC, "card", False), (EXACT, "card", False), (str(OTHER), "asked", True),
    ]  # fmt: skip
    routes = {
        task: [(r.pin, r.params, r.on_failure) for r in both.routes(task)]
        for task in ("sums", "words", "else")
    }
    assert routes == {
        "sums": [(0, {"rel_tolerance": 0.01}, "zero"), (2, {}, "null")],
        "words": [(1, {}, "null"), (2, {}, "null")],
        "else": [(2, {}, "null")],
    }
    assert plan(release).routes("else") == []


def test_a_verifier_of_the_card_that_is_asked_for_too_scores_all_and_keeps_the_cards_parameters(
    release: Release,
) -> None:
    both = plan(release, NUMERIC)

    assert [(one.role, one.asked) for one in both.verifiers] == [("card", True), ("card", False)]
    assert [(r.pin, r.params) for r in both.routes("sums")] == [(0, {"rel_tolerance": 0.01})]
    assert [(r.pin, r.params) for r in both.routes("words")] == [(0, {}), (1, {})]


def test_an_audit_that_names_no_verifier_says_how(release: Release) -> None:
    with pytest.raises(AuditPlanError, match="--verifier"):
        refs_of(None, [])
    with pytest.raises(AuditPlanError, match="the card has no routes"):
        refs_of(release_of(bare_card()), [])


def test_a_run_that_was_killed_while_it_read_reads_again(tmp_path: Path) -> None:
    files = find_files([str(write_lines(tmp_path / "rows.jsonl", ROWS))])
    asked = plan(None, str(OTHER))
    with begin(tmp_path, asked, files, lambda _: None) as work:
        work.set_meta("state", "reading")
        work._connection.execute("DELETE FROM rows WHERE row > 3")

    with begin(tmp_path, asked, files, lambda _: None) as work:
        assert work.row_count() == 9
        assert work.unusable_counts() == {}, "what was read before the kill is no duplicate"
        assert work.due_count() == 9
        assert len(work.missing(0, 100)) == 9


def test_a_second_start_reads_nothing_again_and_hears_of_all_bytes(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "rows.jsonl", ROWS)
    heard: list[int] = []
    for _ in range(2):
        heard.clear()
        with begin(tmp_path, plan(None, str(OTHER)), find_files([str(file)]), heard.append) as work:
            assert work.meta("state") == "read"

    assert sum(heard) == 2 * file.stat().st_size


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metric": "acc"}, "metric: there nothing, here acc"),
        ({"model": "m"}, "model: there nothing, here m"),
        ({"columns": {"response": "x"}}, "columns: there nothing, here {'response': 'x'}"),
    ],
)
def test_another_way_of_reading_is_another_audit(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    files = find_files([str(write_lines(tmp_path / "rows.jsonl", ROWS))])
    with begin(tmp_path, plan(None, str(OTHER)), files, lambda _: None) as work:
        judge_one_row(work)

    with pytest.raises(OtherAuditError) as caught:
        begin(tmp_path, plan(None, str(OTHER), **change), files, lambda _: None)

    assert caught.value.differences == [said]


def test_another_card_or_input_is_another_audit(tmp_path: Path, release: Release) -> None:
    file = write_lines(tmp_path / "rows.jsonl", ROWS)
    more = write_lines(tmp_path / "more.jsonl", ROWS)
    with begin(tmp_path, plan(release), find_files([str(file)]), lambda _: None) as work:
        judge_one_row(work)
    routes = json.loads(json.dumps(release.document))["verifier"]["routes"]
    routes[0]["params"] = {"rel_tolerance": 0.02}

    changed = release_of(bare_card(verifier={"routes": routes}))

    with pytest.raises(OtherAuditError, match=r"release: there tests/bare:1\.0@sha256"):
        begin(tmp_path, plan(changed), find_files([str(file)]), lambda _: None)
    with pytest.raises(OtherAuditError, match=r"more\.jsonl: here, and not there"):
        begin(tmp_path, plan(release), find_files([str(file), str(more)]), lambda _: None)


def test_an_audit_that_has_no_verdict_yet_may_be_asked_for_otherwise(tmp_path: Path) -> None:
    file = write_lines(
        tmp_path / "rows.jsonl", [{"out": "2", "reference": "2"}, {"out": "3", "reference": "2"}]
    )
    files = find_files([str(file)])

    with pytest.raises(AuditPlanError, match="no row can be scored"):
        begin(tmp_path, plan(None, str(OTHER)), files, lambda _: None)

    with begin(tmp_path, plan(None, EXACT, columns={"response": "out"}), files, lambda _: None) as work:
        assert [row.response for row in work.rows()] == ["2", "3"]
        assert [str(one.pin) for one in work.verifiers] == [EXACT]
        assert list(work.unusable()) == []


def test_nothing_to_score_is_an_error_that_says_why(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "rows.jsonl", [{"id": str(n), "response": "2"} for n in range(30)])

    with pytest.raises(AuditPlanError) as caught:
        begin(tmp_path, plan(None, str(OTHER)), find_files([str(file)]), lambda _: None)

    assert "no row can be scored" in str(caught.value)
    assert f"{file}: row 1 has no reference" in str(caught.value)
    assert "In all: 30 no_reference." in str(caught.value)


def test_tasks_that_no_route_names_are_noted_with_their_rows(tmp_path: Path, release: Release) -> None:
    files = find_files([str(write_lines(tmp_path / "rows.jsonl", ROWS))])

    with begin(tmp_path, plan(release), files, lambda _: None) as work:
        notes = {note.code: (note.count, note.message) for note in work.notes()}
        assert notes["no_route"][0] == 3
        assert "'else'" in notes["no_route"][1]
        assert "it routes 'sums', 'words'" in notes["no_route"][1]
        assert work.due_count() == 6


def test_a_file_whose_rows_name_no_task_is_of_the_task_that_the_card_s_result_says(tmp_path: Path) -> None:
    rows = [{"id": "1", "response": "2", "reference": "2"}]
    files = [write_lines(tmp_path / name, rows) for name in ("mine.jsonl", "other.jsonl")]
    result = {"metric": "accuracy", "value": 1.0, "task": "words", "outputs": {"file": "runs/mine.jsonl"}}
    routes = [{"task": "sums", "verifier": NUMERIC}, {"task": "words", "verifier": EXACT}]
    stating = release_of(bare_card(verifier={"routes": routes}, results=[result]))

    with begin(tmp_path, plan(stating), find_files([str(file) for file in files]), lambda _: None) as work:
        assert [task for task, *_ in work.tasks()] == ["words", "other"]
        assert [note.count for note in work.notes() if note.code == "no_route"] == [1]


def test_a_card_of_one_task_is_of_every_file_whose_rows_name_none(tmp_path: Path) -> None:
    release = release_of(bare_card(verifier={"routes": [{"task": "sums", "verifier": NUMERIC}]}))
    named = [{"id": "1", "task": "else", "response": "2", "reference": "2"}]
    unnamed = [{"id": "1", "response": "2", "reference": "2"}]
    files = [write_lines(tmp_path / "a.jsonl", unnamed), write_lines(tmp_path / "b.jsonl", named)]

    with begin(tmp_path, plan(release), find_files([str(file) for file in files]), lambda _: None) as work:
        assert [task for task, *_ in work.tasks()] == ["sums", "else"]


def test_rows_that_only_verifiers_asked_for_score_are_noted_too(tmp_path: Path, release: Release) -> None:
    files = find_files([str(write_lines(tmp_path / "rows.jsonl", ROWS))])

    with begin(tmp_path, plan(release, str(OTHER)), files, lambda _: None) as work:
        notes = {note.code: (note.count, note.message) for note in work.notes()}
        assert "no_route" not in notes
        assert notes["not_in_card"][0] == 3
        assert "its 3 rows are scored by the verifiers that were asked for alone" in notes["not_in_card"][1]
