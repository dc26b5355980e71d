"""Other people's packages, in environments of their own that are built once."""

import subprocess
from pathlib import Path

import pytest

from countermark_service.engine.uv_command import uv_binary


def package_python(root: Path, name: str, python: str, requirement: str) -> Path:
    """Return an interpreter with a package; skips where it cannot be had here."""
    folder = root / "packages" / name
    interpreter = folder / "bin" / "python"
    if not (folder / "complete").exists():
        for command in (
            ["venv", "--quiet", "--clear", "--no-python-downloads", "--python", python, str(folder)],
            ["pip", "install", "--quiet", "--python", str(interpreter), requirement],
        ):
            done = subprocess.run(
                [uv_binary(), *command], capture_output=True, text=True, check=False, timeout=400
            )
            if done.returncode:
                pytest.skip(
                    f"{requirement} under Python {python} cannot be had here: {done.stderr.strip()[-200:]}"
                )
        (folder / "complete").touch()
    return interpreter
