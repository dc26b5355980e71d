"""Slow items make way: they cost their own time and nobody else's, and get the verdict they would have got."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from countermark_service.bundles import Bundle
from countermark_service.engine.jobs import Failed, Place, Result
from countermark_service.engine.lane import Lane
from countermark_service.engine.pool import Pool, PoolLimits
from countermark_service.engine.wire import Judged
from countermark_service.engine.worker import Worker
from countermark_service.errors import UnavailableError
from countermark_service.model import Item
from tests.support import make_bundle

SLOW = """
import os, time

def verify(item):
    if item["response"] == "sleep":
        time.sleep(1000)
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
    return PoolLimits(slots=1, slow_lane=1, paused=0, slow_seconds=0.1)


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


def _workers_of(lane: Lane) -> list[Worker]:
    return [] if lane._nursery is None else list(lane._nursery.workers.values())


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


async def test_what_was_stopped_begins_again_when_nothing_else_is_left_to_do(
    pool: Pool, slow: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where fewer workers are idle than are kept for items that may come, and none is being made."""
    pool.limits = PoolLimits(slots=2, slow_lane=1, paused=0, slow_seconds=0.1)
    await order_of(pool, slow, ["0"])
    (lane,) = pool._lanes.values()
    lane._spares = 50
    monkeypatch.setattr(lane, "keep_spares", lambda: None)

    _, results = await asyncio.wait_for(order_of(pool, slow, [*["0.3"] * 6, *["0"] * 20]), 300)

    assert pool.counters.restarts["moved_aside"] >= 1
    assert all(isinstance(result, Judged) and result.score == 1.0 for result in results.values())


async def test_a_worker_without_an_item_is_marked_with_its_cpu_time_of_then(pool: Pool, slow: Bundle) -> None:
    """A mark of 0, read with half of the next one, would make a new item one that has run for ever."""
    await order_of(pool, slow, ["0.05", "0"])

    workers = [worker for lane in pool._lanes.values() for worker in _workers_of(lane)]
    worked = [worker for worker in workers if worker.progress()[0]]  # the others are spares
    assert worked
    for worker in worked:
        _, _, start = worker.progress()
        assert 0 < start <= worker.cpu_nanoseconds()


async def test_what_short_items_cost_is_counted_also_when_each_comes_alone(
    pool: Pool, tmp_path: Path
) -> None:
    """A process's clock stands still between two ticks while a timer runs on it, as that of a budget does."""
    code = """
def verify(item):
    sum(range(20_000))
    return {"outcome": "scored", "score": 1.0}
"""
    bundle = make_bundle(tmp_path / "bundles", code)
    await order_of(pool, bundle, ["0"])
    ((worker,),) = [_workers_of(lane) for lane in pool._lanes.values()]
    before = worker.cpu_nanoseconds() / 1e9
    counted = pool.counters.cpu_seconds
    for _ in range(300):
        await order_of(pool, bundle, ["0"])

    assert worker.cpu_nanoseconds() / 1e9 - before < 2 * (pool.counters.cpu_seconds - counted)


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


async def test_items_that_come_while_unused_processes_are_looked_for_keep_their_worker(
    pool: Pool, slow: Bundle
) -> None:
    _, before = await order_of(pool, slow, ["0"])
    pool.limits = PoolLimits(slots=1, idle_seconds=1e-9)

    sweep = asyncio.create_task(pool.sweep())
    _, results = await asyncio.create_task(order_of(pool, slow, ["0"]))
    await sweep

    assert pids_of(results) == pids_of(before)


async def test_spares_are_given_back_when_no_item_has_needed_them_for_a_while(
    pool: Pool, slow: Bundle
) -> None:
    await order_of(pool, slow, ["0.3", *["0"] * 40])
    await until(lambda: len(pool.workers()) > 1)

    await pool.sweep()
    await until(
        lambda: len(pool.workers()) == 2
    )  # one for the slot, and the spare that the slow item called for
    await pool.sweep()
    await until(lambda: len(pool.workers()) == 1)
    _, results = await order_of(pool, slow, ["0"])
    assert isinstance(results[0], Judged)


def pids_of(results: dict[int, Result]) -> list[int]:
    """Return the process that judged each item, in order."""
    judged = [results[index] for index in sorted(results)]
    return [int(msgspec.json.decode(one.detail)["pid"]) for one in judged if isinstance(one, Judged)]


async def until(condition: Callable[[], object]) -> None:
    """Wait for an event that comes at once or never."""
    async with asyncio.timeout(300):
        while not condition():
            await asyncio.sleep(0.005)


async def test_an_item_that_is_soon_done_steps_back_and_its_worker_comes_back(
    pool: Pool, slow: Bundle
) -> None:
    pool.limits = PoolLimits(slots=1, slow_seconds=5.0)
    order, results = await order_of(pool, slow, ["0.3", *["0"] * 40])
    again, later = await order_of(pool, slow, ["0"] * 200)

    assert order[-1] == 0
    assert pool.counters.moved_aside == 1
    assert "aside_done" not in pool.counters.restarts
    assert pids_of(results)[0] in pids_of(later)
    assert sorted(again) == list(range(200))
    assert all(isinstance(result, Judged) for result in later.values())


def states_of(pool: Pool) -> dict[int, str]:
    """Return the kernel's letter for the state of each worker: R runs, S sleeps, T is paused."""
    stats = {pid: Path(f"/proc/{pid}/stat").read_text() for _, pid in pool.workers()}
    return {pid: stat.rpartition(")")[2].split()[0] for pid, stat in stats.items()}


async def test_a_slow_item_is_paused_where_others_need_its_processor_and_goes_on_behind_them(
    pool: Pool, slow: Bundle
) -> None:
    pool.limits = PoolLimits(slots=1, slow_seconds=5.0)
    judging = asyncio.ensure_future(order_of(pool, slow, ["0.3", *["0.005"] * 100]))
    await until(lambda: "T" in states_of(pool).values())
    order, results = await judging

    assert order[-1] == 0
    assert all(isinstance(result, Judged) for result in results.values())
    assert "T" not in states_of(pool).values()


async def test_a_wall_limit_leaves_out_what_a_worker_was_paused(pool: Pool, tmp_path: Path) -> None:
    pool.limits = PoolLimits(slots=1, slow_seconds=5.0)
    bundle = make_bundle(tmp_path / "bundles", SLOW, cpu_seconds=0.8, wall_seconds=0.8)
    order, results = await order_of(pool, bundle, ["0.5", *["0.005"] * 600])

    assert order.index(0) > 200, "the others before it took longer than its wall limit"
    assert isinstance(results[0], Judged)


async def test_a_paused_item_whose_caller_has_gone_is_stopped(pool: Pool, slow: Bundle) -> None:
    pool.limits = PoolLimits(slots=1, slow_seconds=5.0)
    gone = asyncio.ensure_future(order_of(pool, slow, ["0.9"]))
    await until(lambda: pool.busy == 1)
    others = asyncio.ensure_future(order_of(pool, slow, ["0.005"] * 400))
    await until(lambda: "T" in states_of(pool).values())
    gone.cancel()
    await until(lambda: pool.counters.restarts.get("abandoned"))
    _, results = await others

    assert pool.counters.restarts["abandoned"] == 1
    assert [result for result in results.values() if not isinstance(result, Judged)] == []


async def test_a_pool_that_closes_ends_paused_workers_too(pool: Pool, slow: Bundle) -> None:
    pool.limits = PoolLimits(slots=1, slow_seconds=5.0)
    judging = asyncio.ensure_future(order_of(pool, slow, ["0.9", *["0.005"] * 400]))
    await until(lambda: "T" in states_of(pool).values())
    pids = list(states_of(pool))
    await pool.close()

    with pytest.raises(UnavailableError):
        await judging
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


async def test_an_item_makes_way_also_where_all_that_have_are_being_ended(pool: Pool, slow: Bundle) -> None:
    """Their exits are on the way, and nobody is left to be stopped."""
    pool.limits = PoolLimits(slots=1, paused=0, slow_seconds=5.0)
    judging = asyncio.ensure_future(order_of(pool, slow, ["0.9", *["0.005"] * 200]))
    await until(lambda: pool.taken[Place.BACK] == 1)
    (lane,) = pool._lanes.values()
    ((ended, _),) = lane.back()
    ended.killed_for = "cpu_limit"  # as by the look that finds its budget spent, before its exit is heard of
    pool.make_room_back()
    assert pool.taken[Place.BACK] == 1
    ended.killed_for = None
    _, results = await judging

    assert all(isinstance(result, Judged) and result.score == 1.0 for result in results.values())


async def test_many_looping_items_fail_alone_and_every_other_keeps_its_verdict_and_place(
    pool: Pool, tmp_path: Path
) -> None:
    pool.limits = PoolLimits(slots=2, paused=0)
    bundle = make_bundle(tmp_path / "bundles", SLOW, cpu_seconds=0.4, wall_seconds=30.0)
    costs = [cost for _ in range(12) for cost in ("9", *["0"] * 20, "0.06")]
    order, results = await order_of(pool, bundle, costs)

    assert sorted(order) == list(range(len(costs)))
    for index, cost in enumerate(costs):
        result = results[index]
        if cost == "9":
            assert isinstance(result, Failed)
            assert (result.outcome, result.code) == ("timeout", "cpu_limit")
        else:
            assert isinstance(result, Judged)
            assert (result.outcome, result.score) == ("scored", 1.0)
    assert pool.counters.restarts["moved_aside"] >= 1
    assert (pool.busy, pool.aside, pool.stopped, pool.waiting_items) == (0, 0, 0, 0)


async def test_workers_killed_while_items_make_way_cost_no_verdict(pool: Pool, slow: Bundle) -> None:
    pool.limits = PoolLimits(slots=2, slow_lane=2, slow_seconds=0.1)
    costs = [cost for _ in range(8) for cost in ("0.25", *["0.001"] * 30)]
    judging = asyncio.ensure_future(order_of(pool, slow, costs))
    for moved in (1, 4):  # an item whose worker is killed for the third time is an error
        await until(lambda: judging.done() or pool.counters.moved_aside >= moved)  # noqa: B023
        for _, pid in pool.workers():
            with contextlib.suppress(ProcessLookupError):  # it has ended, and nobody has been told yet
                os.kill(pid, signal.SIGKILL)
    order, results = await judging

    assert pool.counters.restarts["killed_from_outside"] >= 2
    assert sorted(order) == list(range(len(costs)))
    assert all(isinstance(result, Judged) and result.score == 1.0 for result in results.values())


async def test_an_item_that_sleeps_makes_way_as_one_that_computes(pool: Pool, tmp_path: Path) -> None:
    pool.limits = PoolLimits(slots=1)
    bundle = make_bundle(tmp_path / "bundles", SLOW, cpu_seconds=1.0, wall_seconds=2.0)
    order, results = await order_of(pool, bundle, ["sleep", *["0"] * 30])

    assert order[-1] == 0
    assert isinstance(results[0], Failed)
    assert (results[0].outcome, results[0].code) == ("timeout", "wall_limit")
    assert all(isinstance(results[index], Judged) for index in range(1, 31))


async def test_a_wall_limit_leaves_out_what_a_worker_waits_for_a_processor(
    pool: Pool, tmp_path: Path
) -> None:
    """Four items on one processor, which takes longer than their wall limit."""
    pool.limits = PoolLimits(slots=2, slow_lane=4, slow_seconds=0.03)
    bundle = make_bundle(tmp_path / "bundles", SLOW, cpu_seconds=1.0, wall_seconds=1.0)
    await order_of(pool, bundle, ["0"])
    for pid in nurseries_of(pool):
        os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))})
    _, results = await order_of(pool, bundle, ["0.6"] * 4 + ["0.001"] * 100)

    assert all(isinstance(result, Judged) and result.score == 1.0 for result in results.values())


def nurseries_of(pool: Pool) -> set[int]:
    """Return the processes that fork the pool's workers."""
    stats = [Path(f"/proc/{pid}/stat").read_text() for _, pid in pool.workers()]
    return {int(stat.rpartition(")")[2].split()[1]) for stat in stats}


async def test_a_slow_item_whose_caller_has_gone_is_stopped(pool: Pool, slow: Bundle) -> None:
    judging = asyncio.ensure_future(order_of(pool, slow, ["0.9", "0.9"]))
    await until(lambda: pool.busy == 1)
    judging.cancel()
    await until(lambda: pool.counters.restarts.get("abandoned"))

    assert (pool.busy, pool.aside, pool.stopped) == (0, 0, 0)
    _, results = await order_of(pool, slow, ["0"])
    assert isinstance(results[0], Judged)


async def test_a_worker_of_a_slow_item_has_a_low_priority_with_its_whole_session(
    pool: Pool, slow: Bundle
) -> None:
    judging = asyncio.ensure_future(order_of(pool, slow, ["0.5", *["0.005"] * 400]))
    await until(lambda: pool.aside == 1 and 15 in niceness_of(pool))
    lowered = niceness_of(pool)[15]
    group = Path(f"/proc/{lowered}/autogroup")
    if group.exists() and group.read_text().strip():
        await until(lambda: judging.done() or "nice 15" in group.read_text())
    _, results = await judging

    assert [result for result in results.values() if not isinstance(result, Judged)] == []


def niceness_of(pool: Pool) -> dict[int, int]:
    """Return a worker by the niceness that it has."""
    return {os.getpriority(os.PRIO_PROCESS, pid): pid for _, pid in pool.workers()}
