"""The demo, with a small sample and two versions that differ."""

import json
from pathlib import Path

import pytest

from countermark_service.cli.demo import _bundles
from countermark_service.registry import Registry
from tests.integration.cli.conftest import Cli, change
from tests.support import REPOSITORY

VERSIONS = ("--verifier", "last-number:1.0.0", "--verifier", "last-number:1.1.0")


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """Three responses: one on which first and last number differ, one of each verdict besides."""
    lines = [
        {"id": "both-right", "response": "it is 4", "reference": "4", "right": True, "shape": "plain"},
        {"id": "both-wrong", "response": "it is 5", "reference": "4", "right": False, "shape": "plain"},
        {"id": "sum", "response": "2 and 2\nmake  4", "reference": "4", "right": True, "shape": "working"},
    ]
    file = tmp_path / "sample.jsonl"
    file.write_text("".join(json.dumps({"prompt": "2 + 2?", **line}) + "\n" for line in lines))
    return file


def test_the_demo_shows_where_versions_disagree_and_answers_the_second_pass_from_the_store(
    cli: Cli, sample: Path, tmp_path: Path
) -> None:
    ended = cli("demo", "--sample", sample, *VERSIONS, "--json", "--data", tmp_path / "demo")
    wide = cli("demo", "--sample", sample, *VERSIONS, "--data", tmp_path / "demo", env={"COLUMNS": "110"})

    assert ended.code == 0, ended.out + ended.err
    last, first = ended.json["verifiers"]
    assert (last["right"], last["wrong"], last["agrees"]) == (2, 1, 3)
    assert (first["right"], first["wrong"], first["agrees"]) == (1, 2, 2)
    assert [one["cached"] for one in (last, first)] == [[0, 3], [0, 3]]
    assert [one["cached"] for one in ended.json["passes"]] == [0, 6]
    (item,) = ended.json["disagreements"]
    assert (item["id"], item["final"], item["right"]) == ("sum", "2 and 2 make 4", True)
    assert [one["score"] for one in item["verdicts"]] == [1.0, 0.0]
    assert ended.json["faults"] == []
    assert wide.code == 0, wide.err
    assert last["verifier"] in wide.out
    assert max(map(len, wide.out.splitlines())) <= 110
    (line,) = [line for line in wide.out.splitlines() if line.startswith("sum ")]
    assert line.split()[-3:] == ["T", "F", "T"]


def test_the_demo_is_readable_on_a_narrow_terminal(cli: Cli, sample: Path) -> None:
    ended = cli("demo", "--sample", sample, *VERSIONS, env={"COLUMNS": "44"})

    assert ended.code == 0, ended.err
    assert "sum  T F  truth T" in ended.out
    assert "working: 4 <- 2 and 2 make 4" in ended.out
    longer = [line for line in ended.out.splitlines() if len(line) > 44]
    assert [line.partition("@")[0] for line in longer] == ["last-number:1.0.0", "last-number:1.1.0"]


def test_a_demo_in_which_a_verifier_fails_says_so_and_exits_with_1(
    cli: Cli, sample: Path, tmp_path: Path
) -> None:
    folder = tmp_path / cli("verifier", "new", "raising").out.strip()
    change(folder / "verifier.py", "    expected =", "    assert item['prompt'] is None\n    expected =")
    change(folder / "verifier.toml", "uses_prompt = false", "uses_prompt = true")

    ended = cli(
        "demo", "--sample", sample, "--verifier", "raising:1.0.0",
        env={"COUNTERMARK_BUNDLES": str(tmp_path / "verifiers")},
    )  # fmt: skip

    assert ended.code == 1
    assert "not as it must be: raising:1.0.0 failed on 3 items" in ended.out


def test_a_demo_without_its_verifiers_or_sample_is_one_sentence(cli: Cli, sample: Path) -> None:
    for arguments, said in (
        (("--sample", "none.jsonl"), "the sample none.jsonl cannot be read"),
        (("--sample", sample, "--verifier", "none:1"), "no verifier 'none:1' is here"),
    ):
        ended = cli("demo", *arguments)
        assert ended.code == 1
        assert said in ended.err
        assert "Traceback" not in ended.err


def test_the_demo_takes_the_last_bundle_of_each_release_of_the_library() -> None:
    found = [bundle.manifest.version for bundle in _bundles(Registry([REPOSITORY / "verifiers"]), [])]

    assert found == ["0.5.2", "0.6.1-r2", "0.7.0-r2", "0.8.0-r2", "0.9.0-r2"]
