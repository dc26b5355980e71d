"""Holds the start of the service to what it needs: what serves later is imported later.

A library that is imported once more somewhere costs every start, and nobody sees it. So the start is made
in a process of its own, and what it has loaded is read from there.
"""

import subprocess
import sys

import pytest

START = """
import sys
from pathlib import Path

import countermark_service.cli.serve as serve

settings, app = serve._assembled({"data": Path(sys.argv[1])})
print(*sys.modules, sep="\\n")
"""
LATER = {
    "jsonschema": "the first schema",
    "packaging": "the first lock",
    "httpx": "the first question to a model",
    "redis": "Redis is set",
    "cryptography": "the first receipt",
    "jinja2": "the first page",
    "numpy": "the first audit",
    "pyarrow": "the first audit",
}
"""Libraries that a start does without, and what they wait for."""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the modules that are loaded once the app stands."""
    data = tmp_path_factory.mktemp("start")
    ran = subprocess.run([sys.executable, "-c", START, str(data)], capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


@pytest.mark.parametrize("library", LATER)
def test_a_start_does_without(library: str, loaded: set[str]) -> None:
    assert "fastapi" in loaded
    assert library not in loaded, f"it is for {LATER[library]}; import it there, and say why there"
