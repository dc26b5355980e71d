"""A scripted judge that passes everything, which is the worst that a judge can do."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.judge.parts import Judging
from tests.integration.judge.scripted import ScriptedJudge


@pytest.fixture
async def server() -> AsyncIterator[ScriptedJudge]:
    """A judge that says SAME to everything."""
    async with ScriptedJudge(reply=lambda body: "SAME") as server:
        yield server


@pytest.fixture
async def judging(server: ScriptedJudge, tmp_path: Path) -> AsyncIterator[Judging]:
    """A scorer that asks it."""
    made = Judging(server=server, data=tmp_path / "data", on_disk=False)
    yield made
    await made.close()
