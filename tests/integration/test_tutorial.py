"""The tutorial runs as it stands: its files are written, its commands run, and what it shows comes out."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPOSITORY, SHARED_DATA

PAGE = (REPOSITORY / "service/docs/tutorial.md").read_text()
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
STEPS = re.findall(
    r"^```\ncountermark (.*?)\n```\n\n<!-- output -->\n```\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE
)
OUTPUTS = ("tora_code_34b_gsm8k.jsonl", "tora_70b_gsm8k.jsonl")


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
        [sys.executable, *command], cwd=folder, capture_output=True,
        env={**kept, "COUNTERMARK_DATA": str(folder / "data"), "COLUMNS": "120"},
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_shipped_sample_gives_the_finding_that_the_page_shows(folder: Path) -> None:
    command, shown = STEPS[0]
    run(folder, "make_outputs.py")
    assert run(folder, "-m", "countermark_service", *command.split()) == shown
    finding = " ".join(shown.split("\n\n")[0].split())
    assert finding.partition(". ")[0] in (folder / "attribution" / "attribution.html").read_text()


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"{SHARED_DATA} is not here: published outputs to read")
def test_published_outputs_give_the_finding_that_the_page_shows(folder: Path) -> None:
    command, shown = STEPS[1]
    for name in OUTPUTS:
        (folder / name).symlink_to(SHARED_DATA / name)
    assert run(folder, "-m", "countermark_service", *command.split(), "--out", "published").startswith(shown)
