"""Versions that are marked as bad, from the command line, and what they touched."""

import json
from pathlib import Path

import pytest

from countermark import Client
from countermark_service.cli.served import served
from countermark_service.registry import Registry
from tests.integration.cli.conftest import Cli

NUMBER = "last-number:1.0.0"


@pytest.fixture
def own(tmp_path: Path, data: Path) -> dict[str, str]:
    """A data folder of this test alone, with the environments of all."""
    folder = tmp_path / "own"
    folder.mkdir()
    (data / "environments").mkdir(exist_ok=True)
    (folder / "environments").symlink_to(data / "environments")
    return {"COUNTERMARK_DATA": str(folder)}


def test_an_advisory_is_shown_wherever_the_verifier_is(cli: Cli, own: dict[str, str], bundles: Path) -> None:
    pin = str(Registry([bundles]).resolve(NUMBER).ref)
    words = ("--reason", "Reads years.", "--replacement", "last-number:1.1.0", "--date", "2026-11-28")

    added = cli("advisory", "add", NUMBER, "--yank", *words, "--json", env=own)
    again = cli("advisory", "add", pin, "--yank", *words, "--json", env=own)

    assert (added.json["added"], again.json["added"]) == (True, False)
    assert (added.json["pin"], added.json["kind"], added.json["id"]) == (pin, "yanked", again.json["id"])
    assert "YANKED since 2026-11-28" in cli("verifier", "show", NUMBER, env=own).out
    assert (
        cli("verifier", "show", NUMBER, "--json", env=own).json["advisories"][0]["reason"] == "Reads years."
    )
    listed = " ".join(cli("advisory", "list", env=own).out.split())
    assert "Reads years. Instead: last-number:1.1.0." in listed
    assert f"{own['COUNTERMARK_DATA']}/advisories.toml: {added.json['id']}" in listed
    assert cli("verifier", "show", "last-number:1.1.0", "--json", env=own).json["advisories"] == []
    marked = {
        one["ref"]: one["advisories"] for one in cli("verifier", "list", "--json", env=own).json["verifiers"]
    }
    assert [ref for ref, about in marked.items() if added.json["id"] in [one["id"] for one in about]] == [pin]
    assert "YANKED: " in cli("verifier", "list", env=own).out

    take_back = ("advisory", "withdraw", added.json["id"], "--reason", "It does not.")
    withdrawn = cli(*take_back, "--json", env=own)

    assert withdrawn.code == 0
    assert (withdrawn.json["id"], withdrawn.json["withdrawn"]) == (added.json["id"], "It does not.")
    assert "is taken back already: It does not." in cli(*take_back, env=own).err
    assert cli("verifier", "show", NUMBER, "--json", env=own).json["advisories"] == []
    assert cli("advisory", "list", "--json", env=own).json["advisories"][0]["withdrawn"] == "It does not."


def test_a_child_that_is_marked_marks_the_composites_that_ask_it(cli: Cli, own: dict[str, str]) -> None:
    def marks() -> list[str]:
        shown = cli("verifier", "show", "composite/boxed-numeric:1.0.0", "--json", env=own).json
        return [one["reason"] for one in shown["advisories"]]

    before = marks()
    cli("advisory", "add", "numeric:1.0.0", "--reason", "Rounds.", env=own)

    assert sorted(marks()) == sorted([*before, "Rounds."])


def test_what_is_not_here_can_be_marked_by_its_pin_only(cli: Cli, own: dict[str, str]) -> None:
    gone = "gone:1.0@sha256:" + "1" * 64

    by_name, by_pin = (cli("advisory", "add", one, "--reason", "x", env=own) for one in ("gone:1.0", gone))

    assert (by_name.code, by_pin.code) == (1, 0)
    assert "no verifier 'gone:1.0' is here" in by_name.err
    assert cli("advisory", "withdraw", "adv-nothing", "--reason", "x", env=own).code == 1


def test_who_uses_finds_composites_releases_and_receipts(
    cli: Cli, own: dict[str, str], tmp_path: Path
) -> None:
    routes = [
        {"task": "sums", "verifier": "composite/boxed-numeric:1.0.0"},
        {"task": "words", "verifier": "exact:1.0.0"},
    ]
    (tmp_path / "countermark.json").write_text(
        json.dumps(
            {"schema_version": 1, "name": "tests/used", "version": "1", "verifier": {"routes": routes}}
        )
    )
    assert cli("release", "lock", env=own).code == 0
    assert cli("release", "register", env=own).code == 0
    assert cli("keys", "new", env=own).code == 0
    items = [{"response": r"\boxed{2}", "reference": "2"}] * 3
    with served(Path(own["COUNTERMARK_DATA"])) as url, Client(url) as client:
        client.score("numeric:1.0.0", items, receipt=True)
        client.score(release="tests/used:1", task="sums", items=items, receipt=True)
        client.score("exact:1.0.0", items, receipt=True)

    found = cli("registry", "who-uses", "numeric:1.0.0", "--json", env=own).json

    assert "composite/boxed-numeric:1.0.0" in [one.partition("@")[0] for one in found["composites"]]
    (release,) = found["releases"]
    assert release["ref"].startswith("tests/used:1@")
    assert release["places"] == ["verifier.routes[0].verifier"]
    assert [one["verifier"].partition("@")[0] for one in found["receipts"]] == [
        "numeric:1.0.0",
        "composite/boxed-numeric:1.0.0",
    ]
    assert [one["items"] for one in found["receipts"]] == [3, 3]
    by_digest = cli("registry", "who-uses", found["digest"], env=own)
    assert "1 release, 2 receipts over 6 items" in by_digest.out
    by_card = cli("registry", "who-uses", "tests/used:1", "--json", env=own).json
    assert (by_card["releases"][0]["places"], len(by_card["receipts"])) == (["the card itself"], 1)
    assert cli("registry", "who-uses", "nobody:1", env=own).code == 1


def test_a_command_that_scores_says_once_and_in_a_sentence_what_is_known(
    cli: Cli, own: dict[str, str], tmp_path: Path
) -> None:
    cli("advisory", "add", NUMBER, "--reason", "Reads years.", env=own)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": "a", "response": "4", "reference": "4"}\n')
    sides = ("--verifier-a", NUMBER, "--verifier-b", "last-number:1.1.0")

    scored = cli("score", rows, "--verifier", NUMBER, env=own)
    attributed = cli("attribute", rows, rows, *sides, "--out", tmp_path / "found", env=own)
    document = json.loads((tmp_path / "found/attribution.json").read_text())["findings"][0]

    (said,) = document["advisories"]
    assert "has a warning: Reads years" in said
    assert f"{said}." in document["sentences"]
    assert scored.err.count("Reads years") == 1
    assert attributed.out.count(f"{said}.\n") == 1
    assert "Reads years" not in attributed.err
    assert "Reads years" in (tmp_path / "found/attribution.html").read_text()
