"""A process that may open nothing more: items wait, or their callers are told why; none loses its verdict by it."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from countermark_service.bundles import Bundle
from countermark_service.engine.jobs import Result
from countermark_service.engine.pool import Pool
from countermark_service.engine.wire import Judged
from countermark_service.errors import UnavailableError
from countermark_service.model import Item
from tests.support import make_bundle, no_more_than, open_descriptors

CODE = """
def verify(item):
    return {"outcome": "scored", "score": float(item["response"] == "right"), "detail": {}}
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "bundles", CODE)


async def judge(pool: Pool, bundle: Bundle, responses: list[str]) -> list[float | None]:
    results: dict[int, Result] = {}
    payloads = [Item(response, "right").canonical(uses_prompt=False) for response in responses]
    await pool.run(bundle, "verify", payloads, results.__setitem__)
    found = [results[index] for index in range(len(responses))]
    return [one.score if isinstance(one, Judged) else None for one in found]


async def without_workers(pool: Pool, bundle: Bundle) -> None:
    """Have the bundle's nursery run, and no worker of it."""
    assert await judge(pool, bundle, ["right"]) == [1.0]
    while pool.workers():
        for _, pid in pool.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("spare", [0, 1, 3, 4, 5, 6, 7], ids="{} more".format)
async def test_items_wait_for_descriptors_and_get_their_verdicts(
    pool: Pool, bundle: Bundle, spare: int
) -> None:
    await without_workers(pool, bundle)
    open_before = open_descriptors()
    with no_more_than(spare):
        judged = asyncio.create_task(judge(pool, bundle, ["right", "wrong"] * 50))
        while not pool.counters.restarts.get("fork_failed") and not judged.done():
            await asyncio.sleep(0.01)
        assert pool.counters.restarts.get("fork_failed", 0) < 3, "tries are made with pauses"
    assert await judged == [1.0, 0.0] * 50
    assert judged.done()
    await without_workers(pool, bundle)
    assert open_descriptors() <= open_before, "nothing is left open of the tries that failed"


async def test_where_no_worker_ever_starts_those_who_wait_are_told(pool: Pool, bundle: Bundle) -> None:
    await without_workers(pool, bundle)
    with no_more_than(0), pytest.raises(UnavailableError, match=r"no worker of subject:1.0.0 can be started"):
        await judge(pool, bundle, ["right"])
    assert await judge(pool, bundle, ["right", "wrong"]) == [1.0, 0.0]
