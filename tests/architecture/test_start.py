"""Holds the start of the service to what it needs: what serves later is imported later.

A library that is imported once more somewhere costs every start, and nobody sees it. So the start is made
in a process of its own, and what it has loaded is read from there.
"""

import json
import subprocess
import sys
from typing import Any

import pytest

START = """
import gc, json, sys
from pathlib import Path

import countermark_service.cli.serve as serve

with serve._nothing_collected():
    settings, app = serve._assembled({"data": Path(sys.argv[1])})
print(json.dumps({"modules": list(sys.modules), "collecting": gc.isenabled(), "frozen": gc.get_freeze_count()}))
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
def started(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what a process holds once the app stands: its `modules`, and the state of its garbage collector."""
    data = tmp_path_factory.mktemp("start")
    ran = subprocess.run([sys.executable, "-c", START, str(data)], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("library", LATER)
def test_a_start_does_without(library: str, started: dict[str, Any]) -> None:
    assert "fastapi" in started["modules"]
    assert library not in started["modules"], (
        f"it is for {LATER[library]}; import it there, and say why there"
    )


def test_garbage_is_looked_for_again_once_the_app_stands(started: dict[str, Any]) -> None:
    assert started["collecting"] is True
    assert started["frozen"] > 10_000


@pytest.mark.parametrize("library", ["asyncio", "pydantic", "structlog", "fastapi"])
def test_the_command_line_begins_without_what_only_some_commands_need(
    library: str, loaded_by_commands: list[str]
) -> None:
    assert "countermark_service.cli.app" in loaded_by_commands
    assert library not in loaded_by_commands, "import it inside of the command that needs it"


@pytest.fixture(scope="module")
def loaded_by_commands() -> list[str]:
    """Return what a process has loaded before any command runs."""
    told = "import json, sys, countermark_service.cli; print(json.dumps(list(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(ran.stdout)
    return found
