"""The page for auditors says what is so: its commands run, and what it shows is what comes out."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from countermark_service.audit.readers import DOCUMENTS, RECORDS
from tests.integration.test_readme import blocks
from tests.support import REPOSITORY

PAGE = (REPOSITORY / "service/docs/audit.md").read_text()


@pytest.fixture(scope="module")
def shell(shared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables of a shell that finds `countermark`, with a data folder of its own and shared environments."""
    data = tmp_path_factory.mktemp("data")
    (shared_root / "environments").mkdir(exist_ok=True)
    (data / "environments").symlink_to(shared_root / "environments")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COUNTERMARK_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "COUNTERMARK_DATA": str(data), "COLUMNS": "80"}


def test_the_commands_of_the_page_for_auditors_print_what_it_shows(
    shell: dict[str, str], tmp_path: Path
) -> None:
    audit, query = blocks(PAGE, "sh")
    (tmp_path / "service").symlink_to(REPOSITORY / "service")

    done = subprocess.run(
        ["sh", "-c", audit], env=shell, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == blocks(PAGE, "text")[0]
    files = re.findall(
        r"^\| (`[^|]+`) \|", PAGE.split("The folder then has")[1].split("## ")[0], re.MULTILINE
    )
    named = {name for cell in files for name in re.findall(r"`([^`]+)`", cell)}
    there = {path.name + "/" * path.is_dir() for path in (tmp_path / "audit-demo").iterdir()}
    assert named == {name for name in there if not name.startswith(".")}
    if shutil.which("sqlite3"):
        asked = subprocess.run(["sh", "-c", query], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert [line.split("|")[:2] for line in asked.stdout.splitlines()] == [
            ["no_answer", "9"],
            ["scored", "220"],
        ]


def test_the_commands_about_receipts_run_and_the_files_are_as_the_page_says(
    shell: dict[str, str], tmp_path: Path
) -> None:
    (commands,) = blocks(PAGE.split("## Receipts")[1].split("## Large")[0], "")
    (tmp_path / "service").symlink_to(REPOSITORY / "service")

    done = subprocess.run(
        ["sh", "-ec", commands],
        env=shell,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("1 of 1 receipts hold.") == 1  # one file alone is told in full
    (file,) = (tmp_path / "audit-signed/receipts").iterdir()
    assert re.fullmatch(r"rows-0000000-0000228\.numeric-1\.4\.0\.[0-9a-f]{16}\.json", file.name)
    assert list(json.loads(file.read_text())) == ["verifier", "rows", "receipt"]
    assert (tmp_path / "audit-signed/receipt-keys.json").exists()


def test_the_page_for_auditors_names_every_format() -> None:
    named = set(re.findall(r"^\| `([a-z0-9-]+)` \|", PAGE.split("## What is read")[1], re.MULTILINE))

    assert named == {one.name for one in DOCUMENTS} | {one.name for one in RECORDS}
