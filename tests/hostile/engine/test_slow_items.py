"""Slow items are moved aside: they cost their own time and nobody else's."""

from pathlib import Path

import pytest

from countermark_service.bundles import Bundle
from countermark_service.engine.jobs import Result
from countermark_service.engine.pool import Pool, PoolLimits
from countermark_service.engine.wire import Judged
from countermark_service.model import Item
from tests.support import make_bundle

SLOW = """
import os, time

def verify(item):
    spend = float(item["response"])
    until = time.process_time() + spend
    while time.process_time() < until:
        pass
    detail = {"left": os.listdir("."), "pid": os.getpid()}
    open("left behind", "w").close()
    return {"outcome": "scored", "score": 1.0, "detail": detail}
"""


@pytest.fixture
def small_limits() -> PoolLimits:
    """One slot, so that a slow item has it all to itself."""
    return PoolLimits(slots=1, slow_lane=1, slow_seconds=0.1)


@pytest.fixture
def slow(tmp_path: Path) -> Bundle:
    """A verifier that spends the CPU seconds that the response names."""
    return make_bundle(tmp_path / "bundles", SLOW, cpu_seconds=1.0, wall_seconds=30.0)


async def order_of(pool: Pool, bundle: Bundle, costs: list[str]) -> tuple[list[int], dict[int, Result]]:
    """Judge items of the given costs; return the order in which they ended, and their results."""
    order: list[int] = []
    results: dict[int, Result] = {}

    def take(index: int, result: Result) -> None:
        order.append(index)
        results[index] = result

    await pool.run(bundle, "verify", [Item(cost, None).canonical(uses_prompt=False) for cost in costs], take)
    return order, results


async def test_items_behind_a_slow_one_do_not_wait_for_it(pool: Pool, slow: Bundle) -> None:
    order, results = await order_of(pool, slow, ["0.8", *["0"] * 40])

    assert order[-1] == 0
    assert all(isinstance(result, Judged) and result.score == 1.0 for result in results.values())
    assert pool.counters.moved_aside == 1


async def test_slow_items_past_the_room_aside_begin_again_and_still_get_their_verdict(
    pool: Pool, slow: Bundle
) -> None:
    order, results = await order_of(pool, slow, ["0.5", "0.6", "0.4", *["0"] * 20])

    assert set(order[-3:]) == {0, 1, 2}
    assert all(isinstance(result, Judged) and result.score == 1.0 for result in results.values())
    assert pool.counters.restarts["moved_aside"] >= 1


async def test_a_slow_item_alone_keeps_its_slot(pool: Pool, slow: Bundle) -> None:
    await order_of(pool, slow, ["0.4"])

    assert pool.counters.moved_aside == 0


async def test_nothing_of_one_item_is_left_to_the_next(pool: Pool, slow: Bundle) -> None:
    _, results = await order_of(pool, slow, ["0"] * 50)

    left = [bytes(result.detail) for result in results.values() if isinstance(result, Judged)]
    assert len(left) == 50
    assert all(b'"left": []' in detail for detail in left)


async def test_a_bundle_without_work_gives_its_processes_back(
    environments: object, pool: Pool, slow: Bundle
) -> None:
    await order_of(pool, slow, ["0"])
    assert pool.workers()

    pool.limits = PoolLimits(slots=1, idle_seconds=1e-9)
    await pool.sweep()

    assert not pool.workers()
    _, results = await order_of(pool, slow, ["0"])
    assert isinstance(results[0], Judged)
