"""The tutorial runs as it stands: its files are written, its commands run, and what it shows comes out."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import REPOSITORY, SHARED_DATA

PAGE = (REPOSITORY / "service/docs/tutorial.md").read_text()
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
STEPS = re.findall(
    r"^```\ncountermark (.*?)\n```\n\n<!-- output -->\n```\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE
)
OUTPUTS = ("tora_code_34b_gsm8k.jsonl", "tora_70b_gsm8k.jsonl")
FULL = os.environ.get("COUNTERMARK_FULL") == "1"
SOME = 40
"""Rows of the published outputs that are scored where not everything is asked for."""


@pytest.fixture(scope="module")
def folder(shared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader's folder, with the files of the page."""
    (shared_root / "environments").mkdir(exist_ok=True)
    made = tmp_path_factory.mktemp("tutorial")
    (made / "data").mkdir()
    (made / "data" / "environments").symlink_to(shared_root / "environments")
    for name, content in FILES.items():
        (made / name).write_text(content)
    return made


def run(folder: Path, *command: str) -> str:
    """Run Python in the reader's folder and return what it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COUNTERMARK_")}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env={**kept, "COUNTERMARK_DATA": str(folder / "data")},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_shipped_sample_gives_the_finding_that_the_page_shows(folder: Path) -> None:
    command, shown = STEPS[0]
    run(folder, "make_outputs.py")
    assert run(folder, "-m", "countermark_service", *command.split()) == shown
    finding = " ".join(shown.split("\n\n")[0].split())
    assert finding.partition(". ")[0] in (folder / "attribution" / "attribution.html").read_text()


def means(folder: Path, pins: list[str], file: str) -> list[float]:
    """Return the mean score of a file's rows under each verifier, worked out from single verdicts."""
    wanted = [part for pin in pins for part in ("--verifier", pin)]
    lines = run(folder, "-m", "countermark_service", "score", file, *wanted).splitlines()
    rows = [[one["score"] for one in json.loads(line)["verdicts"]] for line in lines]
    return [sum(column) / len(column) for column in zip(*rows, strict=True)]


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"{SHARED_DATA} is not here: published outputs to read")
def test_published_outputs_give_the_finding_that_the_page_shows(folder: Path) -> None:
    """All rows give the page's very lines. Some rows take seconds; then the four means are worked out apart."""
    command, shown = STEPS[1]
    for name in OUTPUTS:
        lines = (SHARED_DATA / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(lines if FULL else lines[:SOME]))
    printed = run(folder, "-m", "countermark_service", *command.split(), "--out", "published")
    if FULL:
        assert printed.startswith(shown)
        return
    (finding,) = json.loads((folder / "published" / "attribution.json").read_text())["findings"]
    assert printed.startswith("Of ")
    assert "points between tora/code-34b:1.0 and tora/70b:1.0 on gsm8k" in " ".join(printed.split())
    assert finding["counts"]["questions"] == SOME
    pins = [finding[side]["verifier"] for side in ("first", "second")]
    for side, name in zip(("first", "second"), OUTPUTS, strict=True):
        flat = folder / f"flat-{name}"
        flat.write_text("".join(_flat(line) for line in (folder / name).read_text().splitlines()))
        cells = [finding["cells"][f"{side}_{by}"]["value"] for by in ("first", "second")]
        assert cells == pytest.approx(means(folder, pins, flat.name))


def _flat(line: str) -> str:
    row: dict[str, Any] = json.loads(line)
    return json.dumps({"response": row["code"][0], "reference": row["gt"]}) + "\n"
