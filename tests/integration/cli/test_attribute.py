"""`countermark attribute` as people have it: cards in, a finding out; what cannot be compared is refused.

The bundle `last-number` of the tests reads a response's last number in 1.0.0 and its first in 1.1.0.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.conftest import Cli
from tests.support import REPOSITORY

Release = Callable[..., Path]

FIRST, SECOND = "last-number:1.0.0", "last-number:1.1.0"
WRONG, BOTH, ONLY_FIRST_NUMBER, NONE = "so it is 5", "so it is 4", "4, not 5", "who knows"


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """Write a release: responses to the questions q0, q1, …, each held against "4", and a card."""

    def write(
        name: str, responses: Sequence[str], verifier: str | None, *, outputs: bool = True, **card: Any
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        rows = [{"id": f"q{n}", "response": text, "reference": "4"} for n, text in enumerate(responses)]
        (folder / "outputs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        result: dict[str, Any] = {"metric": "mean_score", "value": 0.5, "task": "sums", "verifier": verifier}
        if outputs:
            result["outputs"] = {"file": "outputs.jsonl", "columns": {"id": "id"}}
        document = {
            "schema_version": 1, "name": f"lab/{name}", "version": "1.0",
            "verifier": {"routes": [{"task": "sums", "verifier": verifier}] if verifier else []},
            "results": [result], **card,
        }  # fmt: skip
        (folder / "countermark.json").write_text(json.dumps(document))
        return folder

    return write


def finding(cli: Cli, *arguments: str | Path) -> dict[str, Any]:
    ended = cli("attribute", *arguments, "--json")
    assert ended.code == 0, ended.err
    (found,) = ended.json["findings"]
    assert isinstance(found, dict)
    return found


def values(found: dict[str, Any]) -> dict[str, float]:
    return {name: round(one["value"], 6) for name, one in found["effects"].items()}


FIRST_OUTPUTS = [BOTH] * 5 + [ONLY_FIRST_NUMBER] * 5 + [WRONG] * 10
SECOND_OUTPUTS = [BOTH] * 8 + [ONLY_FIRST_NUMBER] * 9 + [NONE] * 3


def test_a_gap_is_taken_apart_under_both_verifiers(cli: Cli, release: Release, tmp_path: Path) -> None:
    """By hand: the first outputs get 5 and 10 of 20, the second 8 and 17; the gap is 12 of 20."""
    one, two = release("one", FIRST_OUTPUTS, FIRST), release("two", SECOND_OUTPUTS, SECOND)
    found = finding(cli, one, two)

    assert {name: one["value"] for name, one in found["cells"].items()} == pytest.approx(
        {"first_first": 0.25, "first_second": 0.5, "second_first": 0.4, "second_second": 0.85}
    )
    assert values(found) == {
        "gap": 0.6, "verifier": 0.35, "outputs": 0.25, "verifier_on_first_outputs": 0.25,
        "verifier_on_second_outputs": 0.45, "outputs_under_first_verifier": 0.15,
        "outputs_under_second_verifier": 0.35, "interaction": 0.2,
    }  # fmt: skip
    assert found["sentence"].startswith(
        "Of +60.0 points between lab/one:1.0 and lab/two:1.0 on sums, +35.0 are the"
    )
    assert found["first"]["verifier"].startswith(f"{FIRST}@sha256:")
    assert found["counts"]["sides"][1]["no_answer"] == [3, 3]
    assert (
        "lab/one:1.0 published 50.0 (mean_score); under its own verifier the questions compared here give 25.0"
        in (" ".join(found["sentences"]))
    )
    page = (tmp_path / "attribution" / "attribution.html").read_text()
    assert found["sentence"] in page
    assert "<script" not in page
    assert json.loads((tmp_path / "attribution" / "attribution.json").read_text())["findings"] == [found]


def test_nothing_of_a_card_is_run_by_the_page(cli: Cli, release: Release, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    sides = []
    for name, said in (("one", FIRST_OUTPUTS), ("two", SECOND_OUTPUTS)):
        folder = release(
            name, said, FIRST, base_model={"id": f"{name} {evil}"}, scaffold={"prompt_template": evil + name}
        )
        text = (folder / "countermark.json").read_text().replace('"sums"', json.dumps(f"sums {evil}"))
        (folder / "countermark.json").write_text(text)
        sides.append(folder)
    assert finding(cli, *sides)["task"] == f"sums {evil}"
    page = (tmp_path / "attribution" / "attribution.html").read_text()
    assert "alert(1)" in page
    assert "<script" not in page
    assert "<img" not in page


def test_a_number_that_counts_failures_as_zeros_or_is_no_mean_is_told_apart(
    cli: Cli, release: Release
) -> None:
    one, two = release("one", FIRST_OUTPUTS, FIRST), release("two", SECOND_OUTPUTS, SECOND)
    for folder, change in ((one, {"on_failure": "zero"}), (two, {"metric": "pass@8"})):
        card = json.loads((folder / "countermark.json").read_text())
        card["results"][0] |= change
        (folder / "countermark.json").write_text(json.dumps(card))
    said = " ".join(finding(cli, one, two)["sentences"])
    assert "\u221225.0: its card counts outputs without a score as zeros." in said
    assert "lab/two:1.0 published 50.0 (pass@8), which is no mean over outputs" in said


def test_for_people_there_are_sentences_and_tables(cli: Cli, release: Release) -> None:
    ended = cli("attribute", release("one", FIRST_OUTPUTS, FIRST), release("two", SECOND_OUTPUTS, SECOND))
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert any(line.split()[:2] == ["gap", "+60.0"] for line in lines)
    assert any(line.split()[:3] == ["the", "verifier", "+35.0"] for line in lines)


def test_the_same_command_goes_on_with_what_is_there(cli: Cli, release: Release) -> None:
    one, two = release("one", FIRST_OUTPUTS, FIRST), release("two", SECOND_OUTPUTS, SECOND)
    assert finding(cli, one, two) == finding(cli, one, two)


def test_a_service_can_do_the_scoring(cli: Cli, release: Release, service: str) -> None:
    one, two = release("one", FIRST_OUTPUTS, FIRST), release("two", SECOND_OUTPUTS, SECOND)
    found = finding(cli, one, two, "--server", service)
    assert (values(found)["gap"], values(found)["verifier"]) == (0.6, 0.35)


def test_under_one_verifier_nothing_of_the_gap_is_its(cli: Cli, release: Release) -> None:
    found = finding(cli, release("one", FIRST_OUTPUTS, FIRST), release("two", SECOND_OUTPUTS, FIRST))
    assert found["same_verifier"]
    assert (values(found)["gap"], values(found)["verifier"]) == (0.15, 0.0)
    assert "none are the verifier, which is the same" in found["sentence"]


def test_a_reference_and_its_pin_are_one_verifier(cli: Cli, release: Release) -> None:
    pin = finding(cli, release("a", FIRST_OUTPUTS, FIRST), release("b", SECOND_OUTPUTS, FIRST))["first"][
        "verifier"
    ]
    found = finding(
        cli, release("one", FIRST_OUTPUTS, FIRST), release("two", SECOND_OUTPUTS, pin), "--out", "other"
    )
    assert found["same_verifier"]


def test_files_of_outputs_do_without_cards_where_the_verifiers_are_named(cli: Cli, release: Release) -> None:
    files = [
        release(name, said, FIRST) / "outputs.jsonl"
        for name, said in (("a", FIRST_OUTPUTS), ("b", SECOND_OUTPUTS))
    ]
    found = finding(cli, *files, "--verifier-a", FIRST, "--verifier-b", SECOND)
    assert values(found)["verifier"] == 0.35
    assert found["remainder"] is None
    ended = cli("attribute", *files)
    assert ended.code == 1
    assert "nothing says who scored it: name the verifier with --verifier-a" in ended.err


def test_the_cards_say_what_the_rest_may_be_and_which_run_would_tell(cli: Cli, release: Release) -> None:
    one = release(
        "one", FIRST_OUTPUTS, FIRST, data={"sources": [{"id": "d", "revision": "1"}]}, inference={"temperature": 0.0}
    )  # fmt: skip
    two = release(
        "two", SECOND_OUTPUTS, SECOND, data={"sources": [{"id": "d", "revision": "2"}]}, inference={"temperature": 1.0}
    )  # fmt: skip
    found = finding(cli, one, two)["remainder"]
    assert found["differing"] == ["data", "inference"]
    assert found["next_run"]["needs"] == "generation"
    assert found["next_run"]["from_second"] == ["data"]


def test_published_numbers_of_different_verifiers_are_not_subtracted(cli: Cli, release: Release) -> None:
    one, two = release("one", [], FIRST, outputs=False), release("two", [], SECOND, outputs=False)
    ended = cli("attribute", one, two)
    assert (ended.code, ended.out) == (1, "")
    assert "these scores were made by different verifiers" in ended.err
    assert "Name the outputs in the cards' results" in ended.err


def test_outputs_that_are_not_those_of_the_card_are_refused(cli: Cli, release: Release) -> None:
    one, two = release("one", FIRST_OUTPUTS, FIRST), release("two", SECOND_OUTPUTS, SECOND)
    card = json.loads((one / "countermark.json").read_text())
    good = hashlib.sha256((one / "outputs.jsonl").read_bytes()).hexdigest()
    card["results"][0]["outputs"]["digest"] = f"sha256:{good}"
    (one / "countermark.json").write_text(json.dumps(card))
    assert values(finding(cli, one, two))["gap"] == 0.6

    with (one / "outputs.jsonl").open("a") as file:
        file.write(json.dumps({"id": "q20", "response": BOTH, "reference": "4"}) + "\n")
    ended = cli("attribute", one, two)
    assert ended.code == 1
    assert "these are not the outputs that were published" in ended.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "name two releases or more"),
        (("nowhere",), 2, "has nothing to be compared with"),
        (("nowhere", "nor here"), 1, "nowhere does not exist"),
        (("--runs", "runs.csv", "nowhere"), 2, "name two releases or more, or a table"),
        (("--runs", "no.csv"), 1, "no.csv cannot be read"),
        (("a", "b", "--confidence", "2"), 2, "must be from 0.5"),
    ],
)
def test_what_names_nothing_to_compare_is_refused(
    cli: Cli, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended = cli("attribute", *arguments)
    assert ended.code == code
    assert said in " ".join(ended.err.replace("│", " ").split())


def test_four_releases_give_effects_under_each_verifier(cli: Cli, release: Release) -> None:
    """By hand, of 10 questions: right under 1.0.0 are 2, 4, 5 and 9; 1.1.0 finds one more in the last."""
    sides = []
    for place, (right, more) in enumerate([(2, 0), (4, 0), (5, 0), (9, 1)]):
        said = [BOTH] * right + [ONLY_FIRST_NUMBER] * more + [WRONG] * (10 - right - more)
        data = {"sources": [{"id": "d", "revision": str(place % 2)}]}
        inference = {"temperature": float(place // 2)}
        by = FIRST if place else SECOND
        sides.append(release(f"run{place}", said, by, data=data, inference=inference))
    ended = cli("attribute", *sides, "--json")
    assert ended.code == 0, ended.err
    by_pin = {one["verifier"].partition("@")[0]: one for one in ended.json["findings"]}
    assert set(by_pin) == {FIRST, SECOND}
    effects = {
        pin: {one["term"]: round(one["estimate"], 6) for one in found["effects"]}
        for pin, found in by_pin.items()
    }
    assert effects[FIRST] == {"data": 0.3, "inference": 0.4, "data x inference": 0.1}
    assert effects[SECOND] == {"data": 0.35, "inference": 0.45, "data x inference": 0.15}
    assert by_pin[FIRST]["full_factorial"]
    assert (
        by_pin[FIRST]["effects"][0]["over_questions"]["low"]
        < 0.3
        < by_pin[FIRST]["effects"][0]["over_questions"]["high"]
    )


def test_releases_that_differ_in_seeds_are_repetitions(cli: Cli, release: Release) -> None:
    """By hand: 2 and 4 of 10 at the one level, 7 and 9 at the other; each pair has the variance 2 (in tenths)."""
    sides = []
    for place, right in enumerate((2, 4, 7, 9)):
        data = {"sources": [{"id": "d", "revision": str(place // 2)}]}
        said = [BOTH] * right + [WRONG] * (10 - right)
        sides.append(release(f"run{place}", said, FIRST, data=data, optimizer={"seeds": [place]}))
    found = finding(cli, *sides)
    assert [(one["term"], round(one["estimate"], 6)) for one in found["effects"]] == [("data", 0.5)]
    assert (found["error"], found["degrees_of_freedom"]) == ("replicates", 2)
    assert found["standard_error"] == pytest.approx((0.02 * (1 / 2 + 1 / 2)) ** 0.5)


TABLE = """run,temperature,concentration,catalyst,score
1,160,20,A,60
2,180,20,A,72
3,160,40,A,54
4,180,40,A,68
5,160,20,B,52
6,180,20,B,83
7,160,40,B,45
8,180,40,B,80
"""


def test_what_rounding_leaves_of_no_effect_is_zero(cli: Cli, tmp_path: Path) -> None:
    rows = [f"{a},{b},{0.1 + 0.2 * (a == 'new')}" for a in ("old", "new") for b in ("x", "y")]
    (tmp_path / "runs.csv").write_text("\n".join(["data,scaffold,score", *rows, *rows]) + "\n")
    lines = [line.split() for line in cli("attribute", "--runs", "runs.csv").out.splitlines()]
    assert ["data", "+0.2", "+0.2", "to", "+0.2"] in lines
    assert ["scaffold", "+0", "+0", "to", "+0"] in lines


def test_a_table_of_runs_gives_effects_and_says_what_is_aliased(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(TABLE)
    ended = cli("attribute", "--runs", "runs.csv", "--json")
    (found,) = ended.json["findings"]
    assert {one["term"]: round(one["estimate"], 6) for one in found["effects"]}["temperature"] == 23.0
    assert (found["error"], found["full_factorial"]) == ("lenth", True)
    assert json.loads((tmp_path / "attribution/attribution.json").read_text()) == ended.json
    page = (tmp_path / "attribution/attribution.html").read_text()
    assert "8 runs, mean 64.25." in " ".join(page.split())
    assert "+23</td>" in page  # as given, not in points
    assert "Scores were made again" not in page

    half = [line for n, line in enumerate(TABLE.splitlines()) if n in (0, 2, 3, 5, 8)]
    (tmp_path / "half.csv").write_text("\n".join(half) + "\n")
    ended = cli("attribute", "--runs", "half.csv")
    assert ended.code == 0, ended.err
    assert "The effect of temperature is aliased: it holds concentration x catalyst as well." in " ".join(
        ended.out.split()
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("score\n", "score,verifier\n"), "another number of fields than the header"),
        (("A,60", "A,failed"), "1 has the score 'failed', which is no number. A run that failed is left out"),
        (("A,60", "A,"), "has the score ''"),
        (("score", "points"), "has no column 'score'"),
    ],
)
def test_a_table_that_cannot_be_analysed_is_refused(
    cli: Cli, tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    (tmp_path / "runs.csv").write_text(TABLE.replace(*change))
    ended = cli("attribute", "--runs", "runs.csv")
    assert ended.code == 1
    assert said in ended.err


def test_runs_that_different_verifiers_scored_are_not_averaged(cli: Cli, tmp_path: Path) -> None:
    rows = [
        {
            "run": f"r{n}",
            "data": n % 2,
            "scaffold": n // 2,
            "score": n / 4,
            "verifier": FIRST if n else SECOND,
        }
        for n in range(4)
    ]
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ended = cli("attribute", "--runs", "runs.jsonl")
    assert ended.code == 1
    assert (
        "these scores were made by different verifiers (r0 by last-number:1.1.0; r1 by last-number:1.0.0"
        in ended.err
    )

    (tmp_path / "same.jsonl").write_text(
        "".join(json.dumps({**row, "verifier": FIRST}) + "\n" for row in rows)
    )
    assert cli("attribute", "--runs", "same.jsonl").code == 0


def test_the_page_on_attribution_shows_what_its_table_gives(cli: Cli, tmp_path: Path) -> None:
    page = (REPOSITORY / "service/docs/attribution.md").read_text()
    (name, table), (command, shown) = (
        re.findall(r"<!-- file: (\S+) -->\n```csv\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)[0],
        re.findall(
            r"^countermark (.*?)\n```\n\n<!-- output -->\n```\n(.*?)^```$", page, re.DOTALL | re.MULTILINE
        )[0],
    )
    (tmp_path / name).write_text(table)
    assert cli(*command.split(), env={"COLUMNS": "120"}).out == shown


def test_without_the_extra_it_says_which_to_install(tmp_path: Path) -> None:
    """A folder that comes before the real packages, as if they were not there."""
    (tmp_path / "runs.csv").write_text(TABLE)
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "scipy.py").write_text("raise ModuleNotFoundError('No module', name='scipy')")
    done = subprocess.run(
        [sys.executable, "-m", "countermark_service", "attribute", "--runs", "runs.csv"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path / "hidden")}, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        1, "countermark: this command needs scipy: pip install 'countermark[audit]'.\n",
    )  # fmt: skip
