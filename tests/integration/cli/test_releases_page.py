"""The page for releasers, run from top to bottom as it stands."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from countermark_service.cli.served import served
from countermark_service.releases import ReleaseCard, read_release_file
from tests.integration.cli.conftest import Cli
from tests.support import REPOSITORY

PAGE = (REPOSITORY / "service" / "docs" / "releases.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of one language, in order."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [text for named, text in fences if named == language]


@pytest.mark.slow
def test_the_page_for_releasers_runs_as_it_stands(
    cli: Cli, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "environments").mkdir(exist_ok=True)
    own = tmp_path / "own"
    own.mkdir()
    (own / "environments").symlink_to(data / "environments")
    env = {"COUNTERMARK_DATA": str(own)}
    (tmp_path / "run.sh").write_text(blocks("sh")[0])
    (tmp_path / "outputs.jsonl").write_text(blocks("jsonl")[0])
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Sums\n")
    said: dict[str, str] = {}

    for line in "".join(blocks("")).splitlines():
        words = _words(line)
        ended = cli(*words, env=env)
        assert ended.code == 0, f"{line}\n{ended.out}{ended.err}"
        said[" ".join(words[:2])] = ended.out
        if words[:2] == ["release", "init"]:
            _add_result(tmp_path / "countermark.json", json.loads(blocks("json")[0]))

    assert "computed again 0.5000 over 4 outputs" in " ".join(said["release check"].split())
    assert "verl" in said["release init"]
    assert "everything essential is said by both" in said["release diff"]
    assert "1 release," in said["registry who-uses"]
    by_client, by_hand = blocks("python")
    monkeypatch.chdir(tmp_path)
    with served(own) as url:
        exec(by_client.replace("http://127.0.0.1:8000", url), {})
    exec(by_hand.replace('json.load(open("countermark.json"))', "json.loads(__text)"),
         {"__text": (tmp_path / "countermark.json").read_text()})  # fmt: skip
    rewards, digest = capsys.readouterr().out.splitlines()
    release = read_release_file(tmp_path)
    assert rewards.split()[:2] == ["[1.0]", str(release.ref)]
    assert digest == release.digest


def test_the_page_names_every_field_of_a_card() -> None:
    table = PAGE.partition("## The card")[2]

    missing = [name for name in ReleaseCard.model_fields if f"`{name}" not in table]

    assert missing == []


def _words(line: str) -> list[str]:
    import shlex

    program, *words = shlex.split(line)
    assert program == "countermark"
    return words


def _add_result(file: Path, result: dict[str, Any]) -> None:
    card = json.loads(file.read_text())
    file.write_text(json.dumps({**card, "results": [result]}, indent=2))
