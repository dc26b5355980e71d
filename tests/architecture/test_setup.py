"""Setting up says what is wrong before it changes anything.

The whole of it runs at every `make`; what is tried here is the part that a
finished checkout never shows: a machine without a Python that fits.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CANDIDATES = ("python3.11", "python3.12", "python3.13", "python3")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that was never set up, with a `bin` whose interpreters exist and do not run."""
    folder = tmp_path / "checkout"
    (folder / "scripts").mkdir(parents=True)
    for name in ("scripts/setup.sh", "scripts/lock-entry.sh", "requirements.lock", "pyproject.toml"):
        shutil.copy2(REPOSITORY / name, folder / name)
    (folder / "bin").mkdir()
    for name in CANDIDATES:
        shim = folder / "bin" / name
        shim.write_text("#!/bin/sh\necho 'no such version' >&2\nexit 127\n")
        shim.chmod(0o755)
    return folder


def set_up(checkout: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script with the checkout's interpreters first on the path, and without apt."""
    path = f"{checkout / 'bin'}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(checkout), "COUNTERMARK_APT": "no", **variables}
    command = ["bash", str(checkout / "scripts" / "setup.sh")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_interpreters_that_exist_and_do_not_run_are_passed_over_and_named(checkout: Path) -> None:
    ended = set_up(checkout)
    assert ended.returncode == 1
    assert "Python 3.11 or newer is needed" in ended.stderr
    assert all(name in ended.stderr for name in CANDIDATES)
    assert not (checkout / ".venv").exists()


def test_a_named_interpreter_that_does_not_fit_is_an_error_and_not_replaced(checkout: Path) -> None:
    ended = set_up(checkout, PYTHON=str(checkout / "bin" / "python3.12"))
    assert ended.returncode == 1
    assert f"PYTHON={checkout}/bin/python3.12 does not run or is older than 3.11" in ended.stderr
    assert not (checkout / ".venv").exists()


def test_a_python_without_ensurepip_and_pip_is_told_which_package_to_install(checkout: Path) -> None:
    python = checkout / "bin" / "python3.11"  # what Debian has before python3.11-venv is installed
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "  *ensurepip*|'-m venv'*|'-m pip'*) exit 1 ;;\n"
        "  *version_info*) case \"$*\" in *'%d.%d'*) echo 3.11 ;; esac ;;\n"
        "esac\n"
    )
    ended = set_up(checkout)
    assert ended.returncode == 1
    assert "sudo apt-get install python3.11-venv" in ended.stderr
    assert not (checkout / ".venv").exists()


def test_uv_is_told_what_any_file_of_pip_says(checkout: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(checkout / ".venv")], check=True)
    uv, told = checkout / ".venv/bin/uv", checkout / "told"
    uv.write_text(f'#!/bin/sh\n[ "$1" = --version ] || echo "$UV_DEFAULT_INDEX $SSL_CERT_FILE" >{told}\n')
    uv.chmod(0o755)
    (checkout / "pip.conf").write_text(
        "[install]\nindex-url = https://mirror.example/simple\n[global]\ncert = /a/lab.pem\n"
    )
    set_up(checkout, PYTHON=sys.executable, PIP_CONFIG_FILE=str(checkout / "pip.conf"))
    assert told.read_text().split() == ["https://mirror.example/simple", "/a/lab.pem"]
    set_up(
        checkout,
        PYTHON=sys.executable,
        PIP_CONFIG_FILE=str(checkout / "pip.conf"),
        UV_DEFAULT_INDEX="https://other.example",
    )
    assert told.read_text().split() == ["https://other.example", "/a/lab.pem"]


def test_where_the_sources_are_can_be_read_in_every_locale() -> None:
    """Python reads the file in the locale's encoding: the path of a folder with an umlaut ended every start."""
    (file,) = (REPOSITORY / ".venv" / "lib").glob("python3.*/site-packages/_countermark.pth")
    lines = file.read_text().splitlines()
    assert [(file.parent / line).resolve() for line in lines] == [
        REPOSITORY / "clients",
        REPOSITORY / "service",
    ]
    assert not any(Path(line).is_absolute() for line in lines)
