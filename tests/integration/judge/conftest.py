"""A scripted judge and a scorer that asks it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.judge.parts import Judging
from tests.integration.judge.scripted import ScriptedJudge


@pytest.fixture
async def server() -> AsyncIterator[ScriptedJudge]:
    """A scripted judge that answers well until it is told otherwise."""
    async with ScriptedJudge() as server:
        yield server


@pytest.fixture
async def judging(server: ScriptedJudge, tmp_path: Path) -> AsyncIterator[Callable[..., Judging]]:
    """A maker of scorers over shipped bundles; each argument is one of `Judging`."""
    async with AsyncExitStack() as stack:

        def make(**changes: Any) -> Judging:
            made = Judging(**{"server": server, "data": tmp_path / "data", **changes})
            stack.push_async_callback(made.close)
            return made

        yield make


@pytest.fixture
def judging_in_memory(judging: Callable[..., Judging]) -> Callable[..., Judging]:
    """The same, with stores that end with the test."""
    return lambda **changes: judging(**{"on_disk": False, **changes})
