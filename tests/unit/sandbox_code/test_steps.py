"""Calls made ready before a fork do after it what they say, in order, and stop at the first that fails."""

import os
import resource
from pathlib import Path

import pytest

from countermark_service.sandbox.code.inside import kernel


def in_a_child(steps: kernel.Steps, then: str = "") -> str:
    """Take `steps` in a forked process; return what went wrong, or the answer to `then` (`folder`, `limit`)."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            steps.take()
            said = {"folder": str(Path.cwd()), "limit": str(resource.getrlimit(resource.RLIMIT_NOFILE))}.get(
                then, ""
            )
        except OSError as error:
            said = str(error)
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with os.fdopen(read) as answer:
        return answer.read()


@pytest.fixture
def steps() -> kernel.Steps:
    return kernel.Steps()


def test_a_folder_is_entered_and_a_file_written(steps: kernel.Steps, tmp_path: Path) -> None:
    (tmp_path / "map").write_text("")
    steps.write_file(str(tmp_path / "map"), "1000 0 1")
    steps.change_folder(str(tmp_path))
    assert in_a_child(steps, "folder") == str(tmp_path)
    assert (tmp_path / "map").read_text() == "1000 0 1"


def test_a_limit_holds_soft_and_hard(steps: kernel.Steps) -> None:
    steps.limit(kernel.RLIMIT_NOFILE, 33)
    assert in_a_child(steps, "limit") == "(33, 33)"


def test_a_call_that_fails_is_named_and_ends_the_rest(steps: kernel.Steps, tmp_path: Path) -> None:
    (tmp_path / "after").write_text("untouched")
    steps.change_folder(str(tmp_path / "missing"))
    steps.write_file(str(tmp_path / "after"), "written")
    assert in_a_child(steps) == "[Errno 2] chdir: No such file or directory"
    assert (tmp_path / "after").read_text() == "untouched"


def test_a_file_that_takes_no_write_is_named(steps: kernel.Steps) -> None:
    steps.write_file("/dev/full", "x")
    assert in_a_child(steps) == "[Errno 28] write /dev/full: No space left on device"


def test_a_file_that_cannot_be_opened_is_named(steps: kernel.Steps, tmp_path: Path) -> None:
    steps.write_file(str(tmp_path / "missing"), "x")
    assert in_a_child(steps) == f"[Errno 2] write {tmp_path}/missing: No such file or directory"
