"""The pages say what is so: their commands run, and what they show is what comes out."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import typer

from countermark_service.cli.app import app
from countermark_service.judge import Endpoint, read_endpoints
from countermark_service.registry import read_advisories
from countermark_service.settings import Settings
from tests.support import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
PAGES = sorted(
    page
    for page in REPOSITORY.rglob("*.md")
    if not any(part.startswith(".") for part in page.relative_to(REPOSITORY).parts)
)


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_the_request_of_the_readme_gets_the_answer_of_the_readme(service_url: str) -> None:
    command = next(block for block in blocks(README, "") if block.startswith("curl"))
    body = command.split("-d '")[1].rsplit("'", 1)[0]
    shown = json.loads(blocks(README, "json")[0])

    answer = httpx.post(f"{service_url}/v1/score", json=json.loads(body), timeout=120).json()

    for changing in ("seconds", "cached"):
        shown["stats"].pop(changing)
        answer["stats"].pop(changing)
    shown["verdicts"][0].pop("surroundings")
    answer["verdicts"][0].pop("surroundings")
    shown["verdicts"][0].pop("cached")
    answer["verdicts"][0].pop("cached")
    assert answer == shown


def test_nothing_that_is_pasted_names_a_version_with_an_advisory() -> None:
    """Pages, help and docstrings name versions that nothing is known against."""
    marked = {
        str(one.pin).partition("@")[0] for one in read_advisories(REPOSITORY / "verifiers/advisories.toml")
    }
    sources = [*(REPOSITORY / "clients").rglob("*.py"), *(REPOSITORY / "service").rglob("*.py")]
    named = [
        (str(file.relative_to(REPOSITORY)), ref)
        for file in [*PAGES, *sources]
        for ref in re.findall(r"[a-z][a-z0-9./_-]*:[0-9](?:[\w.-]*\w)?", file.read_text())
    ]
    assert ("README.md", "math-verify:0.9.0-r2") in named
    assert "math-verify:0.9.0" in marked
    assert [(file, ref) for file, ref in named if ref in marked] == []


def test_the_example_for_trainers_runs_as_it_stands(service_url: str, tmp_path: Path) -> None:
    page = (REPOSITORY / "service/docs/train.md").read_text()
    script = tmp_path / "example.py"
    script.write_text(blocks(page, "python")[0].replace("http://127.0.0.1:8000", service_url))

    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=180)

    assert done.returncode == 0, done.stderr
    first, a, b = done.stdout.splitlines()
    assert first.startswith("math-verify:0.9.0-r2@sha256:")
    assert (a, b) == ("a scored 1.0", "b no_answer 0.0")


def test_the_table_of_what_ships_is_true_and_names_all(service_url: str) -> None:
    page = (REPOSITORY / "service/docs/train.md").read_text()
    section = page.split("## What ships")[1].split("## ")[0]
    code = (REPOSITORY / "service/docs/code.md").read_text()
    listed = httpx.get(f"{service_url}/v1/verifiers", timeout=300).json()["verifiers"]
    newest = {entry["name"]: entry["ref"] for entry in sorted(listed, key=lambda entry: entry["version"])}
    rows = re.findall(r"^\| `([a-z0-9-]+)`.*\| `([^`]+)` \| `([^`]+)` \|$", section, re.MULTILINE)

    assert len(rows) == 7
    for name, reference, response in rows:
        item = {"response": response, "reference": json.loads(reference)}
        body = {"verifier": newest[name], "items": [item]}
        (verdict,) = httpx.post(f"{service_url}/v1/score", json=body, timeout=120).json()["verdicts"]
        assert verdict["score"] == 1.0, (name, verdict)
    missing = [name for name in newest if f"`{name}`" not in section + code]
    assert [name for name in missing if not name.startswith("openai/")] == []  # those are a facade's


def test_the_demo_in_the_readme_names_the_pins_of_today() -> None:
    demo = README.split("<!-- demo -->")[1].split("<!-- /demo -->")[0]
    published = (REPOSITORY / "verifiers/published.toml").read_text()

    versions = re.findall(r"math-verify:(\d\.\d\.\d(?:-r\d)?)@sha256:([0-9a-f]{12})", demo)

    assert len(dict(versions)) == 5
    for version, digest in versions:
        entry = published.split(f'name = "math-verify"\nversion = "{version}"')[1]
        assert f'digest = "sha256:{digest}' in entry.split("[[bundle]]")[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())

    missing = [link for link in links if not (page.parent / link).exists()]

    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_to_a_heading_finds_it(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)", page.read_text())

    missing = [
        f"{name}#{anchor}"
        for name, anchor in links
        if anchor not in _anchors((page.parent / name if name else page).read_text())
    ]

    assert missing == []


def _anchors(text: str) -> set[str]:
    """Return the names by which a page's headings are linked to."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_every_bundle_is_in_the_list_of_bundles() -> None:
    page = (REPOSITORY / "verifiers/README.md").read_text()
    names = {
        file.parent.parent.relative_to(REPOSITORY / "verifiers").as_posix()
        for file in (REPOSITORY / "verifiers").rglob("verifier.toml")
    }

    assert len(names) > 20
    assert sorted(name for name in names if f"`{name}`" not in page) == []


def test_every_page_is_in_the_list_of_pages() -> None:
    index = (REPOSITORY / "service/README.md").read_text()
    pages = [page.name for page in (REPOSITORY / "service/docs").glob("*.md")]

    assert len(pages) > 10
    assert [name for name in pages if f"(docs/{name})" not in index] == []


def test_the_table_of_endpoints_on_the_page_of_judges_can_be_used(tmp_path: Path) -> None:
    page = (REPOSITORY / "service/docs/judges.md").read_text()
    file = tmp_path / "judges.toml"
    file.write_text(blocks(page, "toml")[0])

    (endpoint,) = read_endpoints(file).values()

    assert (endpoint.served, endpoint.key_env, endpoint.concurrency) == ("qwen", "JUDGE_KEY", 64)
    missing = [name for name in Endpoint.model_fields if name != "model" and f"{name}" not in page]
    assert missing == []


def test_the_commands_for_those_who_write_verifiers_run_as_they_stand(
    shared_root: Path, tmp_path: Path
) -> None:
    page = (REPOSITORY / "service/docs/verifiers.md").read_text()
    commands = next(block for block in blocks(page, "") if block.startswith("countermark verifier new"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/environments").symlink_to(shared_root / "environments")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COUNTERMARK_")}
    environment |= {"COUNTERMARK_DATA": str(tmp_path / "data")}

    for line in commands.splitlines():
        words = [sys.executable, "-m", "countermark_service", *line.split()[1:]]
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr

    assert 'name = "exact-number"' in (tmp_path / "verifiers/published.toml").read_text()


def test_every_setting_is_on_the_page_of_settings() -> None:
    page = (REPOSITORY / "service/docs/settings.md").read_text()

    missing = [name for name in Settings.model_fields if f"COUNTERMARK_{name.upper()}" not in page]

    assert missing == []


def test_every_figure_and_every_event_of_the_judges_is_on_the_page_of_the_operator(service_url: str) -> None:
    page = (REPOSITORY / "service/docs/operate.md").read_text()
    item = {"response": "It is 12.", "reference": "a dozen"}
    body = {"verifier": "judge/equivalence:1.0.0", "items": [item]}  # fails, so that failures have a label
    httpx.post(f"{service_url}/v1/score", json=body, timeout=60)

    metrics = httpx.get(f"{service_url}/metrics").text
    kinds = dict(re.findall(r"^# TYPE (\S+) (\w+)$", metrics, re.MULTILINE))
    names = {
        name + ("_total" if kind == "counter" and not name.endswith("_total") else "")
        for name, kind in kinds.items()
        if not name.endswith("_created")
    }
    events = set(re.findall(r'countermark_judge_events_total\{event="(\w+)"', metrics))

    assert len(names) > 10
    assert len(events) > 10
    assert sorted(name for name in names | events if name not in page) == []


def test_every_command_that_a_page_names_exists() -> None:
    known = _commands(app)
    groups = {command.split()[0] for command in known if " " in command}
    named = [
        match.groups()
        for page in PAGES
        for match in re.finditer(
            r"(?:`|^)countermark ([a-z]+)(?: ([a-z]+(?:-[a-z]+)*))?", page.read_text(), re.MULTILINE
        )
    ]

    unknown = [
        (first, second)
        for first, second in named
        if (f"{first} {second}" if first in groups and second else first) not in known | groups
    ]

    assert len(named) > 10
    assert unknown == []


def _commands(program: typer.Typer) -> set[str]:
    def names(group: object, before: str) -> set[str]:
        found: set[str] = set()
        for name, command in getattr(group, "commands", {}).items():
            if getattr(command, "commands", None):
                found |= names(command, f"{before}{name} ")
            else:
                found.add(f"{before}{name}")
        return found

    return names(typer.main.get_command(program), "")
