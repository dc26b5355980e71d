"""Where a file or folder cannot be written, every command says which and why; none calls it a bug."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Cli

FIRST = "last-number:1.0.0"

COMMANDS = [
    ("score", "rows.jsonl", "--verifier", FIRST, "--out", "file/out"),
    ("score", "rows.jsonl", "--verifier", FIRST, "--receipts", "file/out"),
    ("audit", "rows.jsonl", "--verifier", FIRST, "--out", "file/out"),
    ("attribute", "--runs", "runs.csv", "--out", "file/out"),
    ("verifier", "new", "rules", "--into", "file/out"),
    ("verifier", "export", FIRST, "--out", "file/out"),
    ("release", "init", "--name", "a/b", "--version", "1", "--no-ask", "--out", "file/out"),
    ("release", "extract", "README.md", "--out", "file/out"),
    ("keys", "export", "--out", "file/out"),
    ("judge", "export", "file/out"),
    ("access", "add", "--scope", "score", "--data", "file/out"),
    ("access", "remove", "1f9c02ab", "--data", "file/out"),
    ("keys", "new", "--data", "file/out"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_what_cannot_be_written_is_named(cli: Cli, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "rows.jsonl").write_text('{"response": "2", "reference": "2"}\n')
    (tmp_path / "runs.csv").write_text("run,data,score\n1,a,0.1\n2,b,0.2\n")
    if "extract" in command:
        (tmp_path / "README.md").write_text("# Data\n")
        assert cli("release", "init", "--name", "a/b", "--version", "1", "--no-ask").code == 0
        assert cli("release", "embed", "--into", "README.md", "--whole").code == 0
    if "--receipts" in command or command[:2] == ("keys", "export"):
        cli("keys", "new")

    ended = cli(*command)

    assert ended.code == 1
    assert "file/out" in ended.err
    assert "Not a directory" in ended.err
    assert "a bug" not in ended.err
    assert (tmp_path / "file").read_text() == "no folder"


@pytest.mark.parametrize("name", ["attribution.json", "attribution.html"])
def test_findings_whose_file_cannot_be_written_are_named(cli: Cli, tmp_path: Path, name: str) -> None:
    (tmp_path / "runs.csv").write_text("run,data,score\n1,a,0.1\n2,b,0.2\n")
    (tmp_path / "out" / name).mkdir(parents=True)

    ended = cli("attribute", "--runs", "runs.csv", "--out", "out")

    assert ended.code == 1
    assert f"out/{name} cannot be written: Is a directory." in " ".join(ended.err.split())
    assert "a bug" not in ended.err
    assert [file.name for file in (tmp_path / "out").iterdir() if file.suffix == ".partial"] == []


@pytest.mark.parametrize(
    "command",
    [
        "score rows.jsonl --verifier exact:1.0.0 > /dev/full",
        "verifier list > /dev/full",
        "settings --json > /dev/full",
        f"score {'n' * 5000} --verifier exact:1.0.0",
    ],
    ids=lambda command: command[:30],
)
def test_an_output_that_is_full_or_a_name_that_is_too_long_is_no_bug(tmp_path: Path, command: str) -> None:
    (tmp_path / "rows.jsonl").write_text('{"response": "2", "reference": "2"}\n')
    ended = subprocess.run(
        f"{sys.executable} -m countermark_service {command}", shell=True, cwd=tmp_path, capture_output=True, text=True
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "a bug" not in ended.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_closed_stream_is_no_bug(tmp_path: Path, closed: str) -> None:
    (tmp_path / "rows.jsonl").write_text('{"response": "2", "reference": "2"}\n')
    command = f"{sys.executable} -m countermark_service verifier list {closed}"
    ended = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    "command",
    [f"score rows.jsonl --verifier {FIRST}", "judge export -", "release extract README.md"],
    ids=lambda command: command.partition(" ")[0],
)
def test_what_is_made_for_a_standard_output_that_was_closed_is_not_lost_in_silence(
    cli: Cli, variables: dict[str, str], tmp_path: Path, command: str
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"response": "2", "reference": "2"}\n')
    (tmp_path / "README.md").write_text("# Data\n")
    assert cli("release", "init", "--name", "a/b", "--version", "1", "--no-ask").code == 0
    assert cli("release", "embed", "--into", "README.md", "--whole").code == 0
    ended = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -m countermark_service {command} >&-', sys.executable],
        env=variables, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1), ended.stderr
    assert "standard output is closed" in ended.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("command", ["settings", "settings --json", "score --help"])
def test_what_an_encoding_does_not_hold_is_written_in_another_way(
    variables: dict[str, str], tmp_path: Path, encoding: str, command: str
) -> None:
    """Frames of tables, and a folder whose name is no UTF-8."""
    ended = subprocess.run(
        [sys.executable, "-m", "countermark_service", *command.split()],
        env=variables | {"PYTHONIOENCODING": encoding, "COUNTERMARK_DATA": f"{tmp_path}/\udcffé"},
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    out = ended.stdout.decode(encoding)
    if "--json" in command:
        assert json.loads(out)["settings"][0]["value"] == f"{tmp_path}/\udcffé"


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (f"score - --verifier {FIRST}", 1, "standard input: cannot be read"),
        ("judge import -", 1, "standard input cannot be read"),
        ("release init --name a/b --version 1 --out card.json", 0, ""),
    ],
)
def test_a_standard_input_that_was_closed_is_no_bug_and_no_empty_input(
    variables: dict[str, str], tmp_path: Path, command: str, code: int, said: str
) -> None:
    ended = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -m countermark_service {command} <&-', sys.executable],
        env=variables, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == code, ended.stderr
    assert said in ended.stderr
