"""An interpreter is what runs and says so itself; a file of the right name proves nothing."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from countermark_service.engine.interpreters import (
    InterpreterNotFoundError,
    PythonVersionError,
    find_interpreter,
    probe,
)
from countermark_service.engine.uv_command import UvNotFoundError, find_uv, run_uv

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
Program = Callable[[Path, str], Path]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with empty places to look in: `path`, `pyenv`, and `managed` for uv."""
    for name in ("path", "pyenv", "managed"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/usr/bin:/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "managed"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    return tmp_path


def answering(file: Path, version: str, implementation: str = "cpython") -> Path:
    """Write a program that answers as an interpreter of `version` would."""
    said = {"implementation": implementation, "version": version}
    return script(file, f"echo '{json.dumps({**said, 'executable': str(file), 'base_prefix': '/'})}'")


def script(file: Path, line: str) -> Path:
    """Write a program of one shell line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{line}\n")
    file.chmod(0o755)
    return file


def test_the_running_version_is_found_as_a_real_program_outside_any_environment() -> None:
    interpreter = find_interpreter(PYTHON)
    assert interpreter.minor == PYTHON
    assert interpreter.executable == interpreter.executable.resolve()
    assert interpreter.base_prefix == interpreter.base_prefix.resolve() == Path(sys.base_prefix).resolve()
    code = "import sys; print(sys.prefix == sys.base_prefix, '.'.join(map(str, sys.version_info[:3])))"
    command = [str(interpreter.executable), "-I", "-c", code]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["True", interpreter.version]


def test_the_interpreter_of_an_environment_is_seen_through() -> None:
    """The tests run in one; links and environments come and go, installations stay."""
    seen = probe(Path(sys.executable))
    assert seen is not None
    assert seen == find_interpreter(PYTHON)


def test_a_shim_that_does_not_run_is_passed_over(places: Path) -> None:
    script(places / "path" / "python3.91", "echo 'pyenv: python3.91: command not found' >&2; exit 127")
    found = answering(places / "pyenv/versions/3.91.4/bin/python3.91", "3.91.4")
    assert find_interpreter("3.91").executable == found


def test_the_nearest_place_wins_and_of_one_place_the_newest_patch(places: Path) -> None:
    answering(places / "pyenv/versions/3.92.9/bin/python3.92", "3.92.9")
    answering(places / "pyenv/versions/3.92.10/bin/python3.92", "3.92.10")
    assert find_interpreter("3.92").version == "3.92.10"
    answering(places / "pyenv/versions/3.93.1/bin/python3.93", "3.93.1")
    answering(places / "path" / "python3.93", "3.93.0")
    assert find_interpreter("3.93").version == "3.93.0"


@pytest.mark.parametrize(
    "line",
    [
        "exit 1",
        "echo not json",
        "echo '[]'",
        'echo \'{"implementation": "pypy", "version": "3.94.0"}\'',
        "kill -9 $$",
    ],
)
def test_a_program_that_is_no_cpython_is_none(line: str, tmp_path: Path) -> None:
    assert probe(script(tmp_path / "python3.94", line)) is None


def test_a_file_that_is_no_program_is_none(tmp_path: Path) -> None:
    (tmp_path / "python3.94").write_text("")
    assert probe(tmp_path / "python3.94") is None
    assert probe(tmp_path / "missing") is None


def test_places_that_may_not_be_looked_at_are_passed_over(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container that runs as another user, PATH and HOME often are root's. What cannot be said to be missing is
    here a name that is too long, as root may look at everything."""
    closed = f"/{'x' * 300}"
    monkeypatch.setenv("PATH", f"{closed}:{places / 'path'}:/usr/bin:/bin")
    monkeypatch.setenv("PYENV_ROOT", closed)
    program = answering(places / "path" / "python3.99", "3.99.1")
    assert find_interpreter("3.99").executable == program


@pytest.mark.parametrize("name", ["HOME", "XDG_CACHE_HOME"])
def test_uv_goes_without_a_cache_where_none_can_be_made(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("UV_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, "/dev/null")
    ended = run_uv(find_uv(), ["venv", "--python", sys.executable, tmp_path / "made"], timeout_seconds=120)
    assert (ended.status, (tmp_path / "made").is_dir()) == (0, True), ended.stderr


def test_the_error_says_where_was_looked_what_was_there_and_how_to_install_one(places: Path) -> None:
    shim = script(places / "path" / "python3.95", "exit 127")
    other = places / "pyenv/versions/3.95.0/bin/python3.95"
    other.parent.mkdir(parents=True)
    other.symlink_to(sys.executable)
    with pytest.raises(InterpreterNotFoundError) as caught:
        find_interpreter("3.95", download=False)
    message = str(caught.value)
    assert caught.value.code == "interpreter_not_found"
    assert f"{shim} (does not run)" in message
    assert f"{other} (is Python {find_interpreter(PYTHON).version})" in message
    assert "Fetching one is switched off" in message
    assert "`apt install python3.95`" in message
    assert "`uv python install 3.95`" in message


def test_what_uv_says_of_a_download_that_fails_is_passed_on(places: Path) -> None:
    with pytest.raises(InterpreterNotFoundError, match=r"uv could not fetch it: it ended with .*3\.96"):
        find_interpreter("3.96")


def test_what_was_missing_is_looked_for_again_and_what_was_found_is_not(places: Path) -> None:
    with pytest.raises(InterpreterNotFoundError):
        find_interpreter("3.97", download=False)
    program = answering(places / "path" / "python3.97", "3.97.1")
    first = find_interpreter("3.97")
    program.unlink()
    assert find_interpreter("3.97") is first


def test_a_missing_uv_is_named(places: Path) -> None:
    with pytest.raises(UvNotFoundError, match="/nonexistent/uv"):
        find_interpreter("3.98", uv=Path("/nonexistent/uv"))


@pytest.mark.parametrize("minor", ["3", "3.11.7", "latest", "2.7", "", "3.11; echo"])
def test_only_a_minor_version_is_looked_for(minor: str) -> None:
    with pytest.raises(PythonVersionError, match=r'write it like "3\.11"'):
        find_interpreter(minor)
