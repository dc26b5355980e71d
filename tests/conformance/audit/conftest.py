"""Other people's packages, in environments of their own that are built once."""

import os
import subprocess
from pathlib import Path

import pytest
import uv

from countermark_service.engine.interpreters import InterpreterNotFoundError, find_interpreter


def package_python(root: Path, name: str, python: str, requirement: str) -> Path:
    """Return an interpreter with a package; skips where it cannot be had here."""
    folder = root / "packages" / name
    interpreter = folder / "bin" / "python"
    if not (folder / "complete").exists():
        try:
            found = find_interpreter(python, download=False)
        except InterpreterNotFoundError:
            pytest.skip(f"{requirement} needs Python {python}, and there is none here")
        for command in (
            [
                "venv",
                "--quiet",
                "--clear",
                "--no-python-downloads",
                "--python",
                str(found.executable),
                str(folder),
            ],
            ["pip", "install", "--quiet", "--python", str(interpreter), requirement],
        ):
            done = subprocess.run(
                [uv.find_uv_bin(), *command], capture_output=True, text=True, check=False, timeout=400
            )
            if done.returncode:
                pytest.skip(
                    f"{requirement} under Python {python} cannot be had here: {done.stderr.strip()[-200:]}"
                )
        (folder / "complete").touch()
    return interpreter


@pytest.fixture(scope="session")
def every_eval_ever(shared_root: Path) -> Path:
    """An interpreter with the package of the shared schema, which needs Python 3.12."""
    return package_python(shared_root, "every-eval-ever-0.3.0", "3.12", "every-eval-ever==0.3.0")


@pytest.fixture(scope="session")
def inspect_ai(shared_root: Path) -> Path:
    """An interpreter with Inspect, which takes a minute to install and is built where everything is run."""
    if os.environ.get("COUNTERMARK_FULL") != "1" and not (shared_root / "packages" / "inspect").exists():
        pytest.skip("installs 300 MB: set COUNTERMARK_FULL=1")
    return package_python(shared_root, "inspect", "3.11", "inspect-ai==0.3.285")
