"""The base install is light: built as a wheel, installed alone, and held to what it brings and loads."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.unit.client.scripted_server import NAME, ScriptedServer

ROOT = Path(__file__).parents[3]
HTTPX_AND_WHAT_IT_NEEDS = {"anyio", "certifi", "h11", "httpcore", "httpx", "idna", "typing_extensions"}


def succeed(*command: str | Path) -> str:
    """Run a command, show what it said if it failed, and return its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def base_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the distribution without extras, and nothing else."""
    folder = tmp_path_factory.mktemp("base")
    succeed(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    (wheel,) = folder.glob("countermark-*.whl")
    succeed(sys.executable, "-m", "uv", "venv", "--quiet", "--python", sys.executable, folder / "venv")
    python = folder / "venv" / "bin" / "python"
    succeed(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python, wheel)
    return python


def test_the_wheel_says_that_the_client_is_typed(base_python: Path) -> None:
    (wheel,) = base_python.parents[2].glob("countermark-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert "countermark/py.typed" in archive.namelist()


def test_the_base_install_brings_httpx_and_nothing_else(base_python: Path) -> None:
    listed = succeed(
        sys.executable, "-m", "uv", "pip", "list", "--python", base_python, "--format", "json", "--quiet"
    )
    names = {entry["name"].replace("-", "_") for entry in json.loads(listed)}
    assert names - {"countermark"} <= HTTPX_AND_WHAT_IT_NEEDS
    assert {"countermark", "httpx"} <= names


def test_importing_the_client_loads_httpx_and_nothing_else(base_python: Path) -> None:
    program = """
import sys
before = set(sys.modules)
import countermark
tops = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(tops - set(sys.stdlib_module_names)))
"""
    loaded = set(succeed(base_python, "-I", "-c", program).split())
    assert {"countermark", "httpx"} <= loaded
    assert loaded - {"countermark"} <= HTTPX_AND_WHAT_IT_NEEDS


def test_the_base_install_scores_without_ever_loading_the_service(
    base_python: Path, server: ScriptedServer
) -> None:
    program = """
import asyncio, sys
from countermark import AsyncClient, Client
ITEMS = [{"response": "4", "reference": "4"}, {"response": "5", "reference": "4"}]
url, verifier = sys.argv[1:]
with Client(url) as client:
    print(client.score(verifier, ITEMS).rewards, sorted(i for i, _ in client.stream(verifier, ITEMS)))
async def main():
    async with AsyncClient(url) as client:
        print((await client.score(verifier, ITEMS)).rewards)
asyncio.run(main())
print([name for name in sys.modules if name.startswith("countermark_service")])
"""
    out = succeed(base_python, "-I", "-W", "error", "-c", program, server.url, NAME)
    assert out.splitlines() == ["[1.0, 0.0] [0, 1]", "[1.0, 0.0]", "[]"]


def test_adapters_need_the_base_install_and_their_framework_only(
    base_python: Path, server: ScriptedServer
) -> None:
    program = """
import asyncio, sys, types
from countermark.adapters import axolotl, ms_swift, openrlhf, slime, trl, verl
url, ref = sys.argv[1:]
texts, golds = ["4", "5"], ["4", "4"]
print(asyncio.run(trl.reward(ref, base_url=url)(completions=texts, solution=golds)))
print(ms_swift.orm(ref, base_url=url)()(texts, solution=golds))
print(openrlhf.reward(ref, base_url=url)(["p4", "p5"], ["p", "p"], golds)["rewards"])
print([verl.compute_score_sync("d", t, g, {}, verifier=ref, base_url=url)["score"] for t, g in zip(texts, golds)])
samples = [types.SimpleNamespace(response=t, label=g, metadata={}, prompt="p") for t, g in zip(texts, golds)]
args = types.SimpleNamespace(countermark_verifier=ref, countermark_base_url=url)
print(asyncio.run(slime.rm_score(args, samples)))
tops = {name.partition(".")[0] for name in sys.modules}
print(*sorted(tops & {"countermark_service", "torch", "numpy", "ray", "trl", "verl", "openrlhf", "slime", "swift"}))
"""
    out = succeed(base_python, "-I", "-W", "error", "-c", program, server.url, NAME)
    assert out.splitlines() == ["[1.0, 0.0]"] * 5 + [""]
