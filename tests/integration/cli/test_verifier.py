"""Writing, proving, publishing and moving verifiers."""

import hashlib
import json
import re
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Cli, change

FIRST = "last-number:1.0.0"

WAVERING = '''
"""Everything that a verifier must not do."""
_SEEN = []

def verify(item):
    _SEEN.append(item["response"])
    if item["response"] == "":
        raise ValueError("an empty response")
    detail = {"seen": len(_SEEN)} if item["reference"] == "count" else {}
    return {"outcome": "scored", "score": float(item["response"] == item["reference"]), "detail": detail}

def reduce(item):
    return item["reference"]
'''

VECTORS: list[tuple[str, dict[str, object], float]] = [
    ("fine", {"response": "a", "reference": "a"}, 1.0),
    ("wrong", {"response": "a", "reference": "b"}, 1.0),
    ("counts", {"response": "a", "reference": "count"}, 0.0),
    ("undeclared", {"response": "c", "reference": "c", "params": {"strict": True}}, 1.0),
]


def write_vectors(folder: Path, vectors: list[tuple[str, dict[str, object], float]]) -> None:
    """Write vectors that are all scored."""
    lines = [
        {"id": name, "item": item, "expect": {"outcome": "scored", "score": score}}
        for name, item, score in vectors
    ]
    (folder / "vectors.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_new_bundle_passes_its_check_and_is_published_once(cli: Cli, tmp_path: Path) -> None:
    made = cli("verifier", "new", "team/rules:2.0")
    folder = made.out.strip()
    checked = cli("verifier", "check", folder, "--json")
    published = cli("verifier", "publish", folder)
    again = cli("verifier", "publish", folder, "--json")

    assert folder == "verifiers/team/rules/2.0"
    assert checked.code == 0, checked.out + checked.err
    assert checked.json["ok"] is True
    assert checked.json["vectors"] == 8
    assert checked.json["attacks"] > 30
    assert published.code == 0, published.err
    assert published.out.strip() == checked.json["verifier"]
    assert again.json["added"] is False
    digest = checked.json["verifier"].partition("@")[2]
    text = (tmp_path / "verifiers" / "published.toml").read_text()
    assert text.count("[[bundle]]") == 1
    assert digest in text


def test_the_commands_that_are_shown_next_can_be_typed_as_they_stand(cli: Cli, tmp_path: Path) -> None:
    made = cli("verifier", "new", "rules", "--into", "my verifiers")

    assert "countermark verifier check 'my verifiers/rules/1.0.0'\n" in made.err
    assert "COUNTERMARK_BUNDLES='my verifiers' countermark serve" in made.err


def test_a_published_version_that_changed_is_refused_everywhere(cli: Cli, tmp_path: Path) -> None:
    cli("verifier", "new", "rules")
    cli("verifier", "publish", "verifiers/rules/1.0.0")
    with (tmp_path / "verifiers/rules/1.0.0/verifier.py").open("a") as file:
        file.write("# a harmless change\n")
    bundles = {"COUNTERMARK_BUNDLES": str(tmp_path / "verifiers")}

    for command, *options in (("check",), ("publish",), ("export", "--out", "rules.zip")):
        ended = cli("verifier", command, "verifiers/rules/1.0.0", *options)
        assert ended.code == 1
        assert "does not match published.toml" in ended.err
        assert "publish the change as a new version" in ended.err
    assert not (tmp_path / "rules.zip").exists()
    listed = cli("verifier", "list", "--json", env=bundles)
    assert [one["code"] for one in listed.json["broken"]] == ["digest_mismatch"]
    assert cli("doctor", env=bundles).code == 1


def test_a_bundle_is_not_made_over_another(cli: Cli) -> None:
    cli("verifier", "new", "rules")

    ended = cli("verifier", "new", "rules")
    other = cli("verifier", "new", "rules:1.0.1", "--json")

    assert ended.code == 1
    assert "is there already" in ended.err
    assert other.json == {"name": "rules", "version": "1.0.1", "folder": "verifiers/rules/1.0.1"}


def test_check_shows_every_way_in_which_a_bundle_does_not_hold(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / cli("verifier", "new", "wavering").out.strip()
    (folder / "verifier.py").write_text(WAVERING)
    write_vectors(folder, VECTORS)
    change(folder / "verifier.toml", 'entry = "', 'reduce = "verifier:reduce"\nentry = "')

    ended = cli("verifier", "check", folder, "--json")
    for_people = cli("verifier", "check", folder)

    assert ended.code == for_people.code == 1
    found = {(one["rule"], one["case"]): one["problem"] for one in ended.json["problems"]}
    assert found["vector", "wrong"] == "score: expected 1.0, got 0.0 ({})"
    assert "strict" in found["parameters", "undeclared"]
    assert "seen" in found["wavers", "counts"]
    assert "an empty response" in found["attack", "response empty"]
    assert "its verdict is not" in found["reduce", "fine, text before"]
    assert ("vector", "fine") not in found
    assert "score: expected 1.0, got 0.0" in for_people.out
    # Its own number, as what wavers does so otherwise in every run.
    assert re.search(r"^\d\d differences$", for_people.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("cpu_seconds = 2.0", "cpu_seconds = -1", "key `limits.cpu_seconds` is -1.0"),
        ('python = "3.11"', 'python = "latest"', "key `python` is 'latest'"),
        ("protocol = 1", "protocoll = 1", "key `protocol`"),
        ('"vectors.jsonl"]', '"vectors.jsonl", "more.py"]', "declares 'more.py', which is not there"),
    ],
)
def test_a_wrong_manifest_names_file_key_and_value(
    cli: Cli, tmp_path: Path, old: str, new: str, said: str
) -> None:
    manifest = tmp_path / cli("verifier", "new", "rules").out.strip() / "verifier.toml"
    change(manifest, old, new)

    ended = cli("verifier", "check", manifest.parent)

    assert ended.code == 1
    assert str(manifest) in ended.err
    assert said in ended.err


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("\ndef verify(item:\n    pass\n", "SyntaxError: '(' was never closed (verifier.py, line 2)"),
        ("\n\nimport nowhere\n", "ModuleNotFoundError: No module named 'nowhere' (verifier.py, line 3)"),
        ("x = 1\n", "verify"),
    ],
)
def test_a_verifier_that_cannot_be_loaded_says_why_and_where(
    cli: Cli, tmp_path: Path, code: str, problem: str
) -> None:
    folder = cli("verifier", "new", FIRST).out.strip()
    (tmp_path / folder / "verifier.py").write_text(code)

    checked = cli("verifier", "check", folder)

    assert checked.code == 1
    assert "cannot be loaded" in checked.err
    assert problem in " ".join(checked.err.split())
    assert "Traceback" not in checked.err


def test_show_and_list_have_the_pin(cli: Cli) -> None:
    listed = cli("verifier", "list", "--json").json["verifiers"]
    (pin,) = [one["ref"] for one in listed if one["ref"].startswith(FIRST)]

    shown = cli("verifier", "show", FIRST, "--vectors")

    assert pin in shown.out
    assert "last-number-wins" in shown.out
    assert cli("verifier", "show", pin, "--json").json["ref"] == pin
    assert cli("verifier", "show", "last-number").code == 1


def test_show_says_what_a_composite_or_a_judge_is_made_of(cli: Cli) -> None:
    composite = cli("verifier", "show", "composite/boxed-numeric:1.0.0").out
    judge = cli("verifier", "show", "judge/pairwise:1.0.0").out

    for child in ("regex:1.0.0@sha256:", "numeric:1.0.0@sha256:", '"extract": "boxed"', '"/format"'):
        assert child in composite
    assert "gate" in composite
    assert "Qwen/Qwen2.5-7B-Instruct" in judge
    for nothing in ("reduction", "requirements", "CPU time"):
        assert nothing not in composite + judge.partition("runtime ")[2]


@pytest.mark.parametrize("name", ["verifiers/rules/1.0.1", "./nowhere", "/nowhere/rules/1.0.0"])
def test_a_folder_that_is_not_there_is_named_as_one(cli: Cli, name: str) -> None:
    for command in ("check", "publish", "show"):
        ended = cli("verifier", command, name)
        assert ended.code == 1
        assert f"{name} is no folder of a bundle here" in ended.err


def test_a_name_in_a_namespace_without_a_version_gets_the_versions(cli: Cli) -> None:
    assert (
        "Write one of: 1.0.0, 1.1.0, 1.2.0, 1.3.0, 1.4.0." in cli("verifier", "show", "judge/equivalence").err
    )


def test_build_says_which_python_and_fails_where_there_is_none(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / cli("verifier", "new", "future").out.strip()
    change(folder / "verifier.toml", 'python = "3.11"', 'python = "3.99"')
    env = {"COUNTERMARK_BUNDLES": str(tmp_path / "verifiers"), "COUNTERMARK_OFFLINE": "1"}

    ended = cli("verifier", "build", "future:1.0.0", "gsm8k-answer:1.0.0", "--json", env=env)
    doctor = cli("doctor", "--json", env=env)

    assert ended.code == 1
    future, gsm8k = ended.json["environments"]
    assert future["error"]["code"] == "interpreter_not_found"
    assert gsm8k["state"] in ("built", "found")
    assert gsm8k["python"].startswith("3.11.")
    assert doctor.code == 1
    (line,) = [one for one in doctor.json["checks"] if one["name"] == "python 3.99"]
    assert line["status"] == "fail"
    assert "uv python install 3.99" in line["advice"]


def bake(folder: Path) -> str:
    """Write a tiny wheel into `folder`; return its lock."""
    folder.mkdir(parents=True)
    info = "tinynumbers-1.0.dist-info"
    content = {
        "tinynumbers.py": b"ANSWER = '42'\n",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tinynumbers\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*content, f"{info}/RECORD"])
    wheel = folder / "tinynumbers-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as package:
        for name, data in {**content, f"{info}/RECORD": record.encode()}.items():
            package.writestr(zipfile.ZipInfo(name), data)
    return f"tinynumbers==1.0 \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def test_a_bundle_moves_to_a_machine_without_an_index_and_scores_there(cli: Cli, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    folder = tmp_path / cli("verifier", "new", "locked").out.strip()
    (folder / "requirements.lock").write_text(bake(here / "wheels"))
    (folder / "verifier.py").write_text(
        "from tinynumbers import ANSWER\n\n"
        "def verify(item):\n"
        '    return {"outcome": "scored", "score": float(item["response"] == ANSWER), "detail": {}}\n'
    )
    write_vectors(folder, [("plain", {"response": "42", "reference": None}, 1.0)])
    no_index = {
        "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0", "UV_FIND_LINKS": "",
    }  # fmt: skip
    row = b'{"response": "42", "reference": null}\n'

    exported = cli(
        "verifier", "export", folder, "--out", "locked.zip", "--data", here,
        env={**no_index, "UV_CACHE_DIR": str(tmp_path / "cache-here")},
    )  # fmt: skip
    env = {**no_index, "UV_CACHE_DIR": str(tmp_path / "cache-there"), "COUNTERMARK_DATA": str(there)}
    imported = cli("verifier", "import", "locked.zip", env=env)
    again = cli("verifier", "import", "locked.zip", "--json", env=env)
    scored = cli("score", "-", "--verifier", exported.out.strip(), stdin=row, env=env)

    assert exported.code == 0, exported.err
    assert imported.code == 0, imported.err
    assert imported.out == exported.out
    assert again.json["folder"] == str(there / "bundles/locked/1.0.0")
    (wheel,) = (there / "wheels").rglob("*.whl")
    assert wheel.parent.name == hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert scored.code == 0, scored.err
    assert scored.lines[0]["verdicts"][0]["score"] == 1.0


def test_imports_of_one_archive_at_the_same_time_all_find_it_taken(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / cli("verifier", "new", "sought-after").out.strip()
    cli("verifier", "export", folder, "--out", "sought.zip")
    there = tmp_path / "there"

    with ThreadPoolExecutor(6) as threads:
        ended = list(
            threads.map(lambda _: cli("verifier", "import", "sought.zip", "--data", there), range(6))
        )

    assert [(one.code, one.err) for one in ended if one.code] == []
    assert len({one.out for one in ended}) == 1
    assert [found.name for found in there.glob(".importing-*")] == []


def test_an_import_takes_the_place_of_nothing_that_is_no_verifier(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / cli("verifier", "new", "in-the-way").out.strip()
    cli("verifier", "export", folder, "--out", "way.zip")
    notes = tmp_path / "there/bundles/in-the-way/1.0.0/notes"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")

    ended = cli("verifier", "import", "way.zip", "--data", tmp_path / "there")

    assert (ended.code, notes.read_text()) == (1, "mine")
    assert "is in the way" in ended.err


def test_an_archive_of_a_version_that_is_here_with_other_content_is_refused(cli: Cli, tmp_path: Path) -> None:
    other = tmp_path / cli("verifier", "new", FIRST).out.strip()
    (other / "requirements.lock").write_text("# another comment\n")
    cli("verifier", "export", other, "--out", "other.zip")

    ended = cli("verifier", "import", "other.zip")

    assert ended.code == 1
    assert "does not match" in ended.err
    assert "Traceback" not in ended.err
