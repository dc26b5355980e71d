"""Scoring files: verdicts by row, counts by verifier, and rows that cannot be scored."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.cli.conftest import SECONDS, Cli

FIRST, SECOND = "last-number:1.0.0", "last-number:1.1.0"


def test_every_row_gets_a_line_with_one_verdict_per_verifier_in_order(cli: Cli, rows: Path) -> None:
    ended = cli("score", rows, "--verifier", FIRST, "--verifier", SECOND)

    assert ended.code == 0, ended.err
    assert [line["line"] for line in ended.lines] == [1, 2, 3, 4, 5]
    assert [line["id"] for line in ended.lines] == ["right", "wrong", 3, None, "more"]
    pins = [verdict["verifier"].partition("@")[0] for verdict in ended.lines[0]["verdicts"]]
    assert pins == [FIRST, SECOND]
    first = [line["verdicts"][0] for line in ended.lines]
    assert [one["outcome"] for one in first] == ["scored", "scored", "no_answer", "bad_reference", "scored"]
    assert [one["score"] for one in first] == [1.0, 0.0, 0.0, None, 1.0]
    assert first[0]["detail"] == {"answer": "4"}
    assert first[0]["surroundings"]["python"].startswith("3.11.")
    assert FIRST in ended.err, "the summary stands beside the verdicts"


def test_the_summary_counts_failures_apart_and_leaves_them_out_of_the_mean(
    cli: Cli, rows: Path, tmp_path: Path
) -> None:
    out = tmp_path / "verdicts.jsonl"

    ended = cli("score", rows, "--verifier", FIRST, "--out", out, "--json")

    assert ended.code == 0, ended.err
    (tally,) = ended.json["verifiers"]
    assert tally["items"] == 5
    assert tally["mean_score"] == 0.5
    assert tally["outcomes"] == {
        "scored": 3, "no_answer": 1, "bad_reference": 1, "timeout": 0, "error": 0, "abstain": 0,
    }  # fmt: skip
    (unscored,) = tally["unscored"]
    assert (unscored["outcome"], unscored["items"]) == ("bad_reference", 1)
    assert len(out.read_text().splitlines()) == 5
    assert list(tmp_path.glob("*.partial")) == []


def test_the_summary_says_why_items_have_no_score(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"response": "4", "reference": "[b]none"}\n' * 3)
    bad = ["--verifier", "numeric:1.2.1", "--verifier", "judge/equivalence:1.4.0"]

    ended = cli("score", tmp_path / "rows.jsonl", *bad, "--out", tmp_path / "out.jsonl")

    said = " ".join(ended.out.split())
    assert "No score from numeric:1.2.1: 3 x bad_reference, no_number: there is no number" in said
    assert re.search(r"No score from judge/equivalence:1\.4\.0: 3 x \w+, \w+: ", said)


def test_a_pipe_or_a_device_is_written_to_and_stays_what_it_is(cli: Cli, rows: Path, tmp_path: Path) -> None:
    """A file in place of /dev/null would break the machine."""
    os.mkfifo(pipe := tmp_path / "pipe")
    with os.fdopen(os.open(pipe, os.O_RDWR), "rb", buffering=0) as reading:
        ended = cli("score", rows, "--verifier", FIRST, "--out", pipe)
        assert ended.code == 0, ended.err
        assert len(reading.read(1 << 16).splitlines()) == 5
    assert pipe.is_fifo()
    assert list(tmp_path.glob("*.partial")) == []


@pytest.mark.parametrize("out", ["rows.jsonl", "./rows.jsonl", "link.jsonl"])
def test_the_file_of_rows_is_never_written_over(cli: Cli, tmp_path: Path, out: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"response": "4", "reference": "4"}\n')
    (tmp_path / "link.jsonl").hardlink_to(file)

    ended = cli("score", "rows.jsonl", "--verifier", FIRST, "--out", out, cwd=tmp_path)

    assert ended.code == 1
    assert "it is the file of rows" in ended.err
    assert file.read_text() == '{"response": "4", "reference": "4"}\n'


def test_a_server_gives_the_same_verdicts_and_has_them_the_second_time(
    cli: Cli, rows: Path, service: str
) -> None:
    here = cli("score", rows, "--verifier", FIRST)
    there = cli("score", rows, "--verifier", FIRST, "--server", service, "--json")
    again = cli("score", rows, "--verifier", FIRST, "--server", service, "--json")

    def verdicts(lines: list[dict[str, list[dict[str, object]]]]) -> list[object]:
        return [{**line["verdicts"][0], "cached": None} for line in lines]

    assert there.code == 0, there.err
    assert verdicts(there.lines) == verdicts(here.lines)
    assert json.loads(again.err)["verifiers"][0]["cached"] == 5


def test_a_bad_row_stops_the_command_before_anything_is_scored(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    good = '{"response": "4", "reference": "4"}\n'
    file.write_text(good + '{"response": 4, "reference": "4"}\n[1]\n\n{"answer": "4"}\n' + good * 3)

    ended = cli("score", file, "--verifier", FIRST)

    assert ended.code == 1
    assert ended.out == ""
    assert "3 rows of" in ended.err
    assert "line 2: 'response' is a number; it must be text, or chat messages." in ended.err
    assert "line 3: holds a list" in ended.err
    assert "line 5: has no 'response' but 'answer'; name another column with --response-column." in ended.err
    assert "--skip-bad-rows" in ended.err
    assert "Traceback" not in ended.err


def test_bad_rows_can_be_left_out_and_are_counted(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"response": "4", "reference": "4"}\n{"response": "4"}\n')

    ended = cli("score", file, "--verifier", FIRST, "--skip-bad-rows", "--out", "v.jsonl", "--json")

    assert ended.code == 0, ended.err
    assert ended.json["rows"] == 1
    assert ended.json["bad_rows"] == 1
    assert "line 2 is left out" in ended.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PAR1" + bytes(200), "the file is Parquet; `countermark audit` reads that"),
        (b"PK\x03\x04" + bytes(200), "the file is a ZIP archive"),
        ('{"response": "4", "reference": "4"}\n'.encode("utf-16"), "the file is UTF-16; convert it to UTF-8"),
        (b'{"response": "4", "reference": "4"}\r' * 3, "end in CR alone; write LF instead"),
        (b'[\n  {"response": "4",\n   "reference": "4"}\n]\n', "one document over many lines"),
        (b"version https://git-lfs.github.com/spec/v1\n", "`git lfs pull` fetches that"),
    ],
)
@pytest.mark.parametrize("piped", [False, True])
def test_a_file_that_holds_no_rows_is_named_for_what_it_is(
    variables: dict[str, str], tmp_path: Path, content: bytes, said: str, piped: bool
) -> None:
    """Once, and not line by line; at both ends of a pipe, too."""
    (file := tmp_path / "rows.jsonl").write_bytes(content)
    with file.open("rb") as opened:
        done = subprocess.run(
            [sys.executable, "-m", "countermark_service", "score", "-" if piped else file, "--verifier", FIRST],
            env=variables, stdin=opened, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_table_with_tabs_is_read_as_it_is_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "rows.tsv").write_text("response\treference\nit is 4\t4\nit is 5\t4\n")
    ended = cli("score", tmp_path / "rows.tsv", "--verifier", FIRST)
    assert [line["verdicts"][0]["score"] for line in ended.lines] == [1.0, 0.0]


@pytest.mark.parametrize("text", ["[]", "{} {}", "{"])
def test_parameters_that_are_no_object_are_refused_without_advice_on_lines(
    cli: Cli, rows: Path, text: str
) -> None:
    ended = cli("score", rows, "--verifier", FIRST, "--params", text)
    said = " ".join(ended.err.replace("│", "").split())
    assert ended.code == 2
    assert """Write it like '{"extract": "boxed"}'.""" in said
    assert "line" not in said


def test_a_parameter_that_the_verifier_does_not_know_is_a_bad_row_here_and_at_a_server(
    cli: Cli, rows: Path, service: str
) -> None:
    here = cli("score", rows, "--verifier", FIRST, "--params", '{"tolerance": 1}')
    there = cli("score", rows, "--verifier", FIRST, "--params", '{"tolerance": 1}', "--server", service)

    for ended in (here, there):
        assert ended.code == 1
        assert "line 1: params" in ended.err
        assert "tolerance" in ended.err
        assert "Traceback" not in ended.err


def test_csv_from_a_gzip_with_columns_of_other_names(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "answers.csv.gz"
    text = '\ufeffkey,model_output,gold\na,"so, it is\n""4""",4\nb,five,4\n'
    file.write_bytes(gzip.compress(text.encode()))

    ended = cli(
        "score", file, "--verifier", FIRST,
        "--response-column", "model_output", "--reference-column", "gold", "--id-column", "key",
    )  # fmt: skip

    assert ended.code == 0, ended.err
    found = [(line["line"], line["id"], line["verdicts"][0]["score"]) for line in ended.lines]
    assert found == [(2, "a", 1.0), (4, "b", 0.0)]


def test_standard_input_is_scored_as_it_comes_up_to_a_bad_row(cli: Cli) -> None:
    rows = b'{"response": "4", "reference": "4"}\n{"response": "4", "reference": "5"}\nnonsense\n'

    ended = cli("score", "-", "--verifier", FIRST, stdin=rows)

    assert ended.code == 1
    assert [line["verdicts"][0]["score"] for line in ended.lines] == [1.0, 0.0]
    assert "line 3" in ended.err
    assert "The rows before it are scored." in ended.err


def test_on_failure_zero_changes_the_reward_and_never_the_score(cli: Cli, rows: Path) -> None:
    ended = cli("score", rows, "--verifier", FIRST, "--on-failure", "zero")

    bad_reference = ended.lines[3]["verdicts"][0]
    assert bad_reference["score"] is None
    assert bad_reference["reward"] == 0.0


def test_on_failure_raise_ends_the_command_and_names_the_line(cli: Cli, rows: Path) -> None:
    ended = cli("score", rows, "--verifier", FIRST, "--on-failure", "raise", "--out", "verdicts.jsonl")

    assert ended.code == 1
    assert "line 4 (bad_reference" in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.jsonl", "--verifier", FIRST], "none.jsonl: cannot be opened"),
        (["rows.jsonl", "--verifier", "last-number"], "Write one of: 1.0.0, 1.1.0"),
        (["rows.jsonl", "--verifier", FIRST, "--server", "localhost:1"], "--server is 'localhost:1'"),
    ],
)
def test_what_is_asked_for_wrongly_is_one_sentence(
    cli: Cli, rows: Path, arguments: list[str], said: str
) -> None:
    ended = cli("score", *arguments, cwd=rows.parent)

    assert ended.code == 1
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_an_interrupt_while_waiting_for_a_line_ends_at_once_with_130(variables: dict[str, str]) -> None:
    command = [sys.executable, "-m", "countermark_service", "score", "-", "--verifier", FIRST, "--batch", "1"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for _ in range(4):  # a batch is written when four are open
        process.stdin.write(b'{"response": "4", "reference": "4"}\n')
    process.stdin.flush()
    assert b"last-number" in process.stdout.readline()

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=SECONDS)

    assert process.returncode == 130
    assert b"Traceback" not in err


def test_an_interrupt_says_where_the_verdicts_so_far_are(variables: dict[str, str], tmp_path: Path) -> None:
    part = tmp_path / "out.jsonl.partial"
    command = [sys.executable, "-m", "countermark_service", "score", "-", "--verifier", FIRST, "--batch", "1"]
    process = subprocess.Popen(
        [*command, "--out", tmp_path / "out.jsonl"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=variables,
    )
    assert process.stdin is not None
    deadline = time.monotonic() + SECONDS
    while not part.exists():
        process.stdin.write(b'{"response": "4", "reference": "4"}\n')
        process.stdin.flush()
        assert time.monotonic() < deadline
        time.sleep(0.05)

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=SECONDS)

    assert process.returncode == 130
    assert f"the verdicts so far are in {part}." in " ".join(err.decode().split())


@pytest.mark.parametrize("module", ["typer", "countermark_service.cli", "countermark_service.errors"])
def test_an_interrupt_while_the_command_is_being_loaded_ends_it_with_130(
    variables: dict[str, str], module: str
) -> None:
    program = f"""
import signal, sys

class Interrupting:
    def find_spec(self, name, *_):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)

from countermark_service.__main__ import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting())
main()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, env=variables, check=False)

    assert (ended.returncode, ended.stderr) == (130, b"")
