"""A machine on which no worker can be made ready: neither verifier nor item is to blame."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from countermark_service.bundles import Bundle
from countermark_service.engine.environment import EnvironmentCache
from countermark_service.engine.jobs import Failed, Result
from countermark_service.engine.pool import Pool, PoolLimits
from countermark_service.engine.wire import Judged
from countermark_service.errors import UnavailableError
from countermark_service.model import Item
from countermark_service.sandbox.containment import Containment, ContainmentLevel
from tests.support import make_bundle

CODE = """
import os

def verify(item):
    if item["response"] == "leave":
        os._exit(72)
    return {"outcome": "scored", "score": float(item["response"] == "right"), "detail": {}}
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "bundles", CODE)


@pytest.fixture
async def bare_pool(environments: EnvironmentCache, tmp_path: Path) -> AsyncIterator[Pool]:
    """A pool whose workers have their scratches in the data folder."""
    pool = Pool(
        environments=environments,
        containment=Containment(ContainmentLevel.LIMITS, 0, None),
        data=tmp_path / "data",
        limits=PoolLimits(slots=2),
    )
    yield pool
    await pool.close()


async def judge(pool: Pool, bundle: Bundle, responses: list[str]) -> list[Result]:
    results: dict[int, Result] = {}
    payloads = [Item(response, "right").canonical(uses_prompt=False) for response in responses]
    await pool.run(bundle, "verify", payloads, results.__setitem__)
    return [results[index] for index in range(len(responses))]


def scores(results: list[Result]) -> list[float | None]:
    return [one.score if isinstance(one, Judged) else None for one in results]


async def without_scratch(pool: Pool, bundle: Bundle, data: Path) -> tuple[Path, Path]:
    """Have the bundle's nursery run, no worker of it, and the place of their scratches gone; say where it is."""
    assert scores(await judge(pool, bundle, ["right"])) == [1.0]
    (place,) = data.glob("scratch/*/*/scratch")
    away = place.with_name("away")
    place.rename(away)
    for _, pid in pool.workers():
        os.kill(pid, signal.SIGKILL)
    while pool.workers():
        await asyncio.sleep(0.01)
    return away, place


async def test_who_waits_is_told_what_the_machine_lacks(
    bare_pool: Pool, bundle: Bundle, tmp_path: Path
) -> None:
    await without_scratch(bare_pool, bundle, tmp_path / "data")
    said = r"no worker of subject:1\.0\.0 can be started: .*No such file or directory: .*/scratch/"
    with pytest.raises(UnavailableError, match=said):
        await judge(bare_pool, bundle, ["right"] * 100)


async def test_items_wait_for_a_worker_and_get_their_verdicts(
    bare_pool: Pool, bundle: Bundle, tmp_path: Path
) -> None:
    away, place = await without_scratch(bare_pool, bundle, tmp_path / "data")
    judged = asyncio.create_task(judge(bare_pool, bundle, ["right", "wrong"] * 50))
    while not bare_pool.counters.restarts.get("worker_unprepared"):
        await asyncio.sleep(0.01)
    away.rename(place)
    assert scores(await judged) == [1.0, 0.0] * 50
    assert bare_pool.counters.restarts["worker_unprepared"] < 5, "tries are made with pauses"


async def test_a_verifier_that_ends_with_the_same_status_is_to_blame(bare_pool: Pool, bundle: Bundle) -> None:
    right, left = await judge(bare_pool, bundle, ["right", "leave"])
    assert scores([right]) == [1.0]
    assert isinstance(left, Failed)
    assert (left.outcome, left.code) == ("error", "verifier_exited")
