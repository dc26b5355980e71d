"""`countermark audit` as people have it: a process, a folder, and what is in it afterwards."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet  # type: ignore[import-untyped]
import pytest
import zstandard

from tests.cards import bare_card
from tests.integration.cli.conftest import SECONDS, Cli, Ended
from tests.support import write_bundle

FIRST, SECOND = "last-number:1.0.0", "last-number:1.1.0"

SLOW = '''
"""Says when it judges, and takes its time."""
import os, time

def verify(item):
    time.sleep(0.02)
    return {"outcome": "scored", "score": float(item["reference"] in item["response"]), "detail": {}}
'''


@pytest.fixture
def audit(cli: Cli) -> Cli:
    """Run `countermark audit` without its report, which takes seconds to draw."""

    def run(*arguments: str | Path, **named: Any) -> Ended:
        return cli("audit", *arguments, "--no-report", **named)

    return run


def outputs(path: Path, count: int = 6, **more: Any) -> Path:
    """Outputs of two tasks: even rows are right, and what was published says that all are."""
    records = [
        {
            "id": number, "task": ("sums", "products")[number % 2], "model": "org/m",
            "prompt": f"{number}?", "response": f"first {number + number % 2}, so it is {number + number % 2}",
            "reference": str(number), "score": 1.0, **more,
        }
        for number in range(count)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def card(path: Path, routes: list[dict[str, Any]]) -> Path:
    """Write a release card with these routes."""
    path.write_text(json.dumps(bare_card(verifier={"routes": routes})))
    return path


def test_an_audit_scores_every_row_under_every_verifier_and_says_what_came_out(
    audit: Cli, tmp_path: Path
) -> None:
    file = outputs(tmp_path / "rows.jsonl")

    ended = audit(file, "--verifier", FIRST, "--verifier", SECOND, "--out", "a", "--json")

    assert ended.code == 0, ended.err
    said = ended.json
    assert said["rows"] == 6
    assert said["published"] == {"rows": 6, "mean": 1.0}
    assert [(v["name"], v["version"], v["mean_score"], v["items"]) for v in said["verifiers"]] == [
        ("last-number", "1.0.0", 0.5, 6), ("last-number", "1.1.0", 0.5, 6),
    ]  # fmt: skip
    assert said["inputs"][0]["format"] == "table"
    assert len(said["inputs"][0]["sha256"]) == 64
    assert said["again"].endswith("--out a --json --no-report")
    verdicts = lines(tmp_path / "a" / "verdicts.jsonl")
    assert [(v["row"], v["line"], v["task"], v["sample"], v["published"]) for v in verdicts[:2]] == [
        (0, 1, "sums", "0", 1.0), (1, 2, "products", "1", 1.0),
    ]  # fmt: skip
    assert [one["score"] for one in verdicts[1]["verdicts"]] == [0.0, 0.0]
    assert verdicts[0]["verdicts"][0]["verifier"].startswith(f"{FIRST}@sha256:")
    assert verdicts[0]["verdicts"][0]["detail"] == {"answer": "0"}
    assert verdicts[0]["verdicts"][0]["surroundings"]["python"].startswith("3.11.")


def test_the_table_for_people_shows_scores_side_by_side(audit: Cli, tmp_path: Path) -> None:
    ended = audit(outputs(tmp_path / "rows.jsonl"), "--verifier", FIRST)

    assert ended.code == 0, ended.err
    assert "published" in ended.out
    assert "1.0000" in ended.out
    assert "0.5000" in ended.out
    assert "(1 columns_guessed): columns by their usual names: response is 'response'" in " ".join(
        ended.out.split()
    )
    assert "the audit is in audit" in ended.err


def test_the_report_and_its_numbers_are_written_from_the_same_verdicts(cli: Cli, tmp_path: Path) -> None:
    file = outputs(tmp_path / "rows.jsonl")

    ended = cli("audit", file, "--verifier", FIRST, "--verifier", SECOND, "--out", "a", "--json")

    assert ended.code == 0, ended.err
    document = json.loads((tmp_path / "a/audit.json").read_text())
    columns = {one["id"]: one["score"]["value"] for one in document["overall"]["columns"]}
    assert columns == {"published": 1.0} | {
        one["verifier"]: one["mean_score"] for one in ended.json["verifiers"]
    }
    assert ended.json["headline"]
    assert ended.json["headline"] in (tmp_path / "a/report.html").read_text()
    for name in ("audit.json", "flips.jsonl", "report.html", "verdicts.jsonl", "unusable.jsonl"):
        assert str(Path("a") / name) in ended.json["files"]


def test_a_card_sends_each_task_to_its_verifier_with_its_parameters(audit: Cli, tmp_path: Path) -> None:
    release = card(
        tmp_path / "countermark.json",
        [
            {"task": "sums", "verifier": FIRST, "on_failure": "zero"},
            {"task": "p", "data_sources": ["products"], "verifier": SECOND},
        ],
    )

    ended = audit(outputs(tmp_path / "rows.jsonl"), "--card", release, "--out", "a", "--json")

    assert ended.code == 0, ended.err
    assert f"the card names {FIRST} at verifier.routes[0].verifier without its digest" in ended.err
    assert [(v["version"], v["role"], v["items"]) for v in ended.json["verifiers"]] == [
        ("1.0.0", "card", 3), ("1.1.0", "card", 3),
    ]  # fmt: skip
    used = [
        [one["verifier"][:17] for one in line["verdicts"]] for line in lines(tmp_path / "a/verdicts.jsonl")
    ]
    assert used == [[FIRST], [SECOND]] * 3


def test_a_verifier_that_is_asked_for_scores_what_the_card_does_not_route_too(
    audit: Cli, tmp_path: Path
) -> None:
    release = card(tmp_path / "countermark.json", [{"task": "sums", "verifier": FIRST}])
    file = outputs(tmp_path / "rows.jsonl")

    alone = audit(file, "--card", release, "--out", "a", "--json")
    both = audit(file, "--card", release, "--verifier", SECOND, "--out", "b", "--json")

    assert alone.code == 4
    assert alone.json["notes"]["no_route"] == 3
    assert both.code == 0, both.err
    assert [(v["version"], v["items"]) for v in both.json["verifiers"]] == [("1.0.0", 3), ("1.1.0", 6)]


def test_what_cannot_be_used_is_counted_listed_and_told_by_the_exit_code(audit: Cli, tmp_path: Path) -> None:
    file = outputs(tmp_path / "rows.jsonl")
    file.write_text(file.read_text() + '{"id": 9, "task": "sums", "response": "9"}\n{"id": 10, "resp')

    ended = audit(file, "--verifier", FIRST, "--out", "a", "--json")

    assert ended.code == 4, ended.err
    assert ended.json["ok"] is False
    assert ended.json["unusable"] == {"no_reference": 1, "not_json": 1}
    listed = [one for one in lines(tmp_path / "a/unusable.jsonl") if one["kind"] == "unusable"]
    assert [(one["file"], one["line"], one["code"]) for one in listed] == [
        (str(file), 7, "no_reference"), (str(file), 8, "not_json"),
    ]  # fmt: skip


def test_failures_have_no_score_and_are_made_again_when_asked(
    audit: Cli, tmp_path: Path, variables: dict[str, str]
) -> None:
    code = (
        "import os\n"
        "def verify(item):\n"
        "    if item['response'].endswith('3') or 'so it is 4' in item['response']:\n"
        "        os._exit(3)\n"
        "    return {'outcome': 'scored', 'score': 1.0, 'detail': {}}\n"
    )
    write_bundle(tmp_path / "own", code, name="crashes")
    env = {"COUNTERMARK_BUNDLES": f"{variables['COUNTERMARK_BUNDLES']}:{tmp_path / 'own'}"}
    file = outputs(tmp_path / "rows.jsonl")

    ended = audit(file, "--verifier", "crashes:1.0.0", "--out", "a", "--json", env=env)
    again = audit(file, "--verifier", "crashes:1.0.0", "--out", "a", "--retry-failed", "--json", env=env)

    assert ended.code == again.code == 4, ended.err
    (tally,) = ended.json["verifiers"]
    assert (tally["outcomes"]["scored"], tally["outcomes"]["error"]) == (4, 2)
    assert tally["mean_score"] == 1.0, "two crashes are no zeros"
    assert "2 verdicts without a score are made again" in again.err
    assert again.json["verdicts_before"] == 4


def test_a_server_gives_the_same_verdicts(audit: Cli, tmp_path: Path, service: str) -> None:
    file = outputs(tmp_path / "rows.jsonl")

    here = audit(file, "--verifier", FIRST, "--out", "a", "--in-process")
    there = audit(file, "--verifier", FIRST, "--out", "b", "--server", service)

    assert here.code == there.code == 0, there.err

    def verdicts(folder: str) -> list[Any]:
        return [
            [{**one, "cached": 0} for one in v["verdicts"]]
            for v in lines(tmp_path / folder / "verdicts.jsonl")
        ]

    assert verdicts("a") == verdicts("b")


@pytest.mark.parametrize("where", ["here", "there"])
def test_a_row_that_a_verifier_does_not_take_has_no_verdict_and_the_others_have(
    audit: Cli, tmp_path: Path, service: str, where: str
) -> None:
    file = outputs(tmp_path / "rows.jsonl", 4)
    odd = {"id": "odd", "response": "4", "reference": "4", "params": {"tolerance": 1}, "task": "sums"}
    file.write_text(json.dumps(odd) + "\n" + file.read_text())
    server = ["--server", service] if where == "there" else []

    ended = audit(file, "--verifier", FIRST, "--out", "a", "--json", *server)

    assert ended.code == 4, ended.err
    (tally,) = ended.json["verifiers"]
    assert (tally["refused"], tally["items"]) == (1, 4)
    refused = lines(tmp_path / "a/verdicts.jsonl")[0]["verdicts"][0]
    assert "tolerance" in refused["refused"]
    assert "score" not in refused

    again = audit(file, "--verifier", FIRST, "--out", "a", *server)
    assert "does not take 1 row; the first is" in " ".join(again.out.split())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_goes_on_without_scoring_twice(
    tmp_path: Path, variables: dict[str, str], audit: Cli, how: signal.Signals
) -> None:
    write_bundle(tmp_path / "own", SLOW, name="slow")
    env = {**variables, "COUNTERMARK_BUNDLES": f"{variables['COUNTERMARK_BUNDLES']}:{tmp_path / 'own'}"}
    file = outputs(tmp_path / "rows.jsonl", 120)
    file.write_text(file.read_text().replace("first", how.name))  # nothing that the other case has judged
    command = [str(file), "--verifier", "slow:1.0.0", "--out", str(tmp_path / "a"), "--batch", "8"]
    work = tmp_path / "a" / "audit.sqlite"
    process = subprocess.Popen(
        [sys.executable, "-m", "countermark_service", "audit", *command],
        env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + SECONDS
    while stored(work) < 24:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, how)
    _, said = process.communicate(timeout=SECONDS)
    kept = dict(stored_rows(work))

    ended = audit(*command, "--json", env=env)

    assert process.returncode == (130 if how is signal.SIGINT else -signal.SIGKILL)
    assert ("the same command goes on from there" in said) is (how is signal.SIGINT)
    assert "Traceback" not in said
    assert 24 <= len(kept) < 120, "it was stopped in the middle"
    assert ended.code == 0, ended.err
    assert ended.json["verdicts_before"] == len(kept)
    assert ended.json["verifiers"][0]["items"] == 120
    assert f"{len(kept)} of 120 verdicts were there already" in ended.err
    verdicts = lines(tmp_path / "a" / "verdicts.jsonl")
    assert [line["row"] for line in verdicts] == list(range(120))
    assert [len(line["verdicts"]) for line in verdicts] == [1] * 120
    assert kept.items() <= dict(stored_rows(work)).items(), "what was there is untouched"


def stored(work: Path) -> int:
    """How many verdicts a work file has."""
    return len(stored_rows(work))


def stored_rows(work: Path) -> list[tuple[int, float]]:
    """Return row and score of each verdict of a work file, with the place where it is stored."""
    if not work.exists():
        return []
    try:
        with sqlite3.connect(f"file:{work}?mode=ro", uri=True) as connection:
            return connection.execute("SELECT row, score FROM verdicts").fetchall()
    except sqlite3.OperationalError:
        return []  # its tables are being made
    finally:
        connection.close()


def test_a_finished_audit_is_not_scored_again_and_its_files_are_made_again(
    audit: Cli, tmp_path: Path
) -> None:
    file = outputs(tmp_path / "rows.jsonl")
    audit(file, "--verifier", FIRST, "--out", "a")
    first = (tmp_path / "a/verdicts.jsonl").read_bytes()
    (tmp_path / "a/verdicts.jsonl").unlink()

    again = audit(file, "--verifier", FIRST, "--out", "a", "--json")

    assert again.json["verdicts_before"] == 6
    assert (tmp_path / "a/verdicts.jsonl").read_bytes() == first


def test_the_folder_of_an_audit_may_lie_among_its_inputs(audit: Cli, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    outputs(tmp_path / "results" / "rows.jsonl")

    for _ in range(2):
        ended = audit("results", "--verifier", FIRST, "--out", "results/audit", "--json")

        assert ended.code == 0, ended.err
        assert [one["path"] for one in ended.json["inputs"]] == ["results/rows.jsonl"]


def test_another_audit_in_the_same_folder_is_refused_and_says_why(audit: Cli, tmp_path: Path) -> None:
    file = outputs(tmp_path / "rows.jsonl")
    audit(file, "--verifier", FIRST, "--out", "a")
    before = (tmp_path / "a/verdicts.jsonl").read_bytes()

    pins = audit(file, "--verifier", SECOND, "--out", "a")
    columns = audit(file, "--verifier", FIRST, "--out", "a", "--columns", "response=prompt")
    outputs(file, 7)
    changed = audit(file, "--verifier", FIRST, "--out", "a")

    for ended, said in ((pins, "verifiers: there last-number:1.0.0@"), (columns, "columns: there nothing"),
                        (changed, f"input {file} has changed: sha256")):  # fmt: skip
        assert ended.code == 1
        assert "a/audit.sqlite holds another audit" in ended.err
        assert said in ended.err
        assert "Traceback" not in ended.err
    assert (tmp_path / "a/verdicts.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["none.jsonl", "--verifier", FIRST], 1, "none.jsonl: does not exist"),
        (["rows.jsonl"], 1, "name a verifier with --verifier"),
        (["rows.jsonl", "--verifier", "last-number"], 1, "Write one of: 1.0.0, 1.1.0"),
        (["rows.jsonl", "--card", "none.json"], 1, "none.json: cannot be read"),
        (["rows.jsonl", "--verifier", FIRST, "--columns", "answer=x"], 2, "PART=COLUMN"),
        (["rows.jsonl", "--verifier", FIRST, "--columns", "reference=x,reference=y"], 2, "names reference twice"),
        (["rows.jsonl", "--verifier", FIRST, "--server", "http://127.0.0.1:1", "--in-process"], 2, "exclude"),
        (["rows.jsonl", "--verifier", FIRST, "--reference-pattern", "(("], 2, "no regular expression"),
        (["rows.jsonl", "--verifier", FIRST, "--columns", "response=nothing"], 1, "no column 'nothing'"),
        (["rows.jsonl", "--verifier", FIRST, "--out", "rows.jsonl"], 1, "rows.jsonl cannot be written"),
    ],
)  # fmt: skip
def test_what_is_asked_for_wrongly_is_one_sentence(
    audit: Cli, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    outputs(tmp_path / "rows.jsonl")

    ended = audit(*arguments)

    assert (ended.code, said in ended.err.replace("│ │", " ")) == (code, True), ended.err
    assert "Traceback" not in ended.err


def test_two_audits_do_not_write_into_one_folder(audit: Cli, tmp_path: Path) -> None:
    import fcntl

    file = outputs(tmp_path / "rows.jsonl")
    (tmp_path / "a").mkdir()
    with (tmp_path / "a/.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        ended = audit(file, "--verifier", FIRST, "--out", "a")

    assert ended.code == 1
    assert "another audit is running in a" in ended.err


def test_verdicts_in_zstd_and_parquet_say_the_same(audit: Cli, tmp_path: Path) -> None:
    file = outputs(tmp_path / "rows.jsonl")
    for kind in ("jsonl", "jsonl.zst", "parquet"):
        assert audit(file, "--verifier", FIRST, "--out", "a", "--verdicts", kind).code == 0

    plain = lines(tmp_path / "a/verdicts.jsonl")
    with zstandard.open(tmp_path / "a/verdicts.jsonl.zst", "rt") as packed:
        assert [json.loads(line) for line in packed] == plain
    table = pyarrow.parquet.read_table(tmp_path / "a/verdicts.parquet").to_pylist()
    assert [row["sample"] for row in table] == [row["sample"] for row in plain]
    assert [[v["score"] for v in row["verdicts"]] for row in table] == [
        [v["score"] for v in row["verdicts"]] for row in plain
    ]
    assert json.loads(table[0]["verdicts"][0]["detail"]) == plain[0]["verdicts"][0]["detail"]


def test_lists_of_generations_and_equal_responses_each_get_their_verdict(audit: Cli, tmp_path: Path) -> None:
    record = {
        "uuid": "u",
        "problem": "?",
        "answer": "4",
        "generations": ["4"] * 50,
        "correctness_math_verify": [True] * 50,
    }
    file = tmp_path / "generations.jsonl"
    file.write_text(json.dumps(record) + "\n")

    ended = audit(file, "--verifier", FIRST, "--out", "a", "--json")

    (tally,) = ended.json["verifiers"]
    assert (tally["items"], tally["cached"], tally["mean_score"]) == (50, 49, 1.0)


def test_the_shared_schema_accepts_what_is_written(audit: Cli, tmp_path: Path) -> None:
    file = outputs(tmp_path / "rows.jsonl", reference="no number")
    good = outputs(tmp_path / "good.jsonl", model="org/n")

    audit(file, good, "--verifier", FIRST, "--verifier", SECOND, "--out", "a")

    written = sorted(
        path.relative_to(tmp_path / "a/every_eval_ever") for path in (tmp_path / "a").rglob("*_samples.jsonl")
    )
    assert [path.parts[:4] for path in written] == [
        ("data", "products", "org", "n"), ("data", "sums", "org", "n"),
    ], "rows whose reference cannot be read have no score, and no zero in its place"  # fmt: skip
    for path in written:
        samples = tmp_path / "a/every_eval_ever" / path
        aggregate = json.loads(samples.with_name(samples.name.replace("_samples.jsonl", ".json")).read_text())
        assert aggregate["detailed_evaluation_results"]["total_rows"] == len(lines(samples)) == 6
        assert [
            r["score_details"]["uncertainty"]["num_samples"] for r in aggregate["evaluation_results"]
        ] == [3, 3]
        pins = {r["metric_config"]["additional_details"]["verifier"] for r in aggregate["evaluation_results"]}
        assert pins == {one["answer_attribution"][0]["extraction_method"] for one in lines(samples)}
        assert len(pins) == 2


def test_names_that_are_no_utf_8_are_refused_as_inputs_and_taken_for_folders(
    audit: Cli, tmp_path: Path
) -> None:
    rows, odd = outputs(tmp_path / "rows.jsonl"), os.fsdecode(b"odd\xff")
    (tmp_path / odd).mkdir()
    copy = tmp_path / odd / "rows.jsonl"
    copy.write_bytes(rows.read_bytes())

    refused = audit(copy, "--verifier", "exact:1.0.0", "--out", "a")
    taken = audit(rows, "--verifier", "exact:1.0.0", "--out", tmp_path / odd / "b", "--json")

    assert refused.code == 1
    assert "odd\\xff/rows.jsonl: has a name that is no text here" in refused.err
    assert taken.code == 0, taken.err
    assert (tmp_path / odd / "b" / "verdicts.jsonl").is_file()


def test_what_became_known_of_a_verifier_is_said_and_does_not_stop_the_audit(
    audit: Cli, cli: Cli, tmp_path: Path
) -> None:
    env = {"COUNTERMARK_DATA": str(tmp_path / "data")}
    added = cli("advisory", "add", "exact:1.0.0", "--yank", "--reason", "Eats commas.", env=env)
    assert added.code == 0, added.err

    ended = audit(
        outputs(tmp_path / "rows.jsonl"), "--verifier", "exact:1.0.0", "--out", "a", "--json", env=env
    )

    assert ended.code == 0, ended.err
    (said,) = ended.json["advisories"]
    assert said.startswith("exact:1.0.0@sha256:")
    assert "is yanked: Eats commas" in said
    assert said in ended.err


def test_where_judges_replies_come_from_is_part_of_the_plan(audit: Cli, tmp_path: Path) -> None:
    file = outputs(tmp_path / "rows.jsonl")
    assert audit(file, "--verifier", FIRST, "--out", "a").code == 0

    other = audit(file, "--verifier", FIRST, "--out", "a", "--judge-mode", "replay")

    assert other.code == 1
    assert "judge_mode: there nothing, here replay" in other.err
