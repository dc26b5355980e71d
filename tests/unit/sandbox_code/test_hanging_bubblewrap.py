"""A bubblewrap that hangs (a mount that does not answer, another program of that name) is waited for once."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from countermark_service.cli import checks
from countermark_service.cli.checks import CHECKS, Check, Machine
from countermark_service.sandbox import ContainmentLevel, containment, detect_containment
from countermark_service.sandbox.code import levels
from countermark_service.sandbox.code.flavour import python_flavour
from countermark_service.sandbox.code.levels import probe
from countermark_service.sandbox.code.model import Level
from countermark_service.settings import Settings


@pytest.fixture
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file to which a bubblewrap that never ends writes a line at each start; it comes first on the path."""
    program, told = tmp_path / "bin" / "bwrap", tmp_path / "starts"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho started >>{told}\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(containment, "_PROBE_SECONDS", 1.0)
    monkeypatch.setattr(levels, "_START_SECONDS", 1.0)
    monkeypatch.setattr(checks, "_PROBE_SECONDS", 0.2)
    return told


def below(pid: int) -> str:
    """Return the children of a process that are there."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


def test_containment_goes_on_without_it_and_says_that_it_did_not_end(starts: Path) -> None:
    found = detect_containment()
    assert found.level is not ContainmentLevel.NAMESPACES
    assert "did not end within 1 s" in found.reasons[0]
    assert starts.read_text().count("started") == 1


async def test_the_level_of_candidates_that_it_would_make_does_not_hold(starts: Path) -> None:
    report = await probe(python_flavour(Path(sys.executable)), levels=[Level.NAMESPACES])
    assert report.level is None
    assert report.silent
    assert "did not start within 1 s" in report.reasons[0]
    assert starts.read_text().count("started") == 1


def test_doctor_waits_for_it_once_in_each_of_its_checks(starts: Path, tmp_path: Path) -> None:
    machine = Machine(Settings(data=tmp_path / "data"))
    looks = dict(CHECKS)
    found: dict[str, Check] = {
        check.name: check for name in ("containment", "code sandbox") for check in looks[name](machine)
    }
    assert found["bubblewrap"].status == found["containment"].status == found["code sandbox"].status == "warn"
    assert "--version was stopped because it took too long" in found["bubblewrap"].found
    assert "did not end within" in found["containment"].advice
    assert "did not start within" in found["code sandbox"].found
    assert starts.read_text().count("started") == 3


async def test_a_pause_of_the_machine_while_a_sandbox_starts_is_no_time_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Everything stands still: the clock goes on, and the loop finds all its waits ended at once."""
    monkeypatch.setattr(levels, "_START_SECONDS", 4.0)
    loop = asyncio.get_running_loop()
    clock = loop.time
    looking = asyncio.create_task(probe(python_flavour(Path(sys.executable)), levels=[Level.NAMESPACES]))
    while not below(os.getpid()):
        await asyncio.sleep(0)
    monkeypatch.setattr(loop, "time", lambda: clock() + 3600)
    report = await looking
    assert not report.silent


def test_a_pause_while_containment_is_looked_at_is_no_time_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bwrap = shutil.which("bwrap")
    if bwrap is None or containment._try_bubblewrap(bwrap, bounded=True) is not None:
        pytest.skip("no bubblewrap that works here, and so nothing that could be paused")
    clock, paused = time.monotonic, 0

    def after_a_pause() -> float:
        """Return the time; from the second look on an hour later, as all waits find it that the pause has met."""
        nonlocal paused
        paused += 1
        return clock() + (3600 if paused > 1 else 0)

    monkeypatch.setattr(subprocess, "_time", after_a_pause)
    assert containment._try_bubblewrap(bwrap, bounded=True) is None
    assert paused > 1
