"""Starts that are refused: one line that says why, a code of its own, and no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import write_bundle


def start(data: Path, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `countermark serve`, which must end by itself."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COUNTERMARK_")}
    named = {f"COUNTERMARK_{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "countermark_service", "serve", "--port", "0", *options],
        env={**clean, "COUNTERMARK_DATA": str(data), **named},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def line_of(ended: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a refused start prints."""
    assert ended.returncode == 1
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("countermark: ")
    return line


def test_an_open_address_without_keys_is_refused(tmp_path: Path) -> None:
    line = line_of(start(tmp_path, "--host", "0.0.0.0"))
    assert "`host` is '0.0.0.0'" in line
    assert "countermark access add" in line
    assert "--open-access" in line


def test_a_data_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = line_of(start(tmp_path / "file" / "data"))
    assert "`data` is" in line
    assert "cannot be made" in line


def test_a_data_folder_that_cannot_be_written_to_is_refused() -> None:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    fixed = [
        Path(where)
        for _, where, _, options, *_ in mounts
        if "ro" in options.split(",") and Path(where).is_dir()
    ]
    if not fixed:
        pytest.skip("nothing is mounted read-only here")
    line = line_of(start(fixed[0]))
    assert "`data` is" in line
    assert "cannot be written to" in line


def test_a_verifier_to_preload_that_is_not_here_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundles", "def verify(item): ...\n")
    line = line_of(start(tmp_path / "data", bundles=str(tmp_path / "bundles"), preload="subject:2.0.0"))
    assert "no verifier 'subject:2.0.0' is here. Versions here: 1.0.0." in line


def test_a_folder_of_cards_with_a_fault_is_refused_with_its_place(tmp_path: Path) -> None:
    missing = line_of(start(tmp_path / "data", releases=str(tmp_path / "cards")))
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "one.json").write_text('{"schema_version": 1, "name": "a", "version": "1", "x": 1}')
    wrong = line_of(start(tmp_path / "data", releases=str(tmp_path / "cards")))

    assert "is no folder of release cards" in missing
    assert "one.json, `x`: is no field of a card" in wrong


def test_a_list_of_advisories_with_a_fault_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "advisories.toml").write_text('[[advisory]]\nid = "adv-1"\n')
    line = line_of(start(tmp_path / "data"))
    assert "advisories.toml, [[advisory]] 1: `date` is missing" in line
