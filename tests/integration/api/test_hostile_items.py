"""Hostile items over HTTP: whatever one does, every other keeps its verdict, its place and its turn."""

import contextlib
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.api.parts import (
    ASKING,
    REDUCING,
    Caller,
    item,
    leaves_below,
    processes_below,
    stream_of,
    wait_until,
)

ENDS = {
    "hang": ("timeout", "cpu_limit"),
    "sleep": ("timeout", "wall_limit"),
    "grow": ("error", "out_of_memory"),
    "crash": ("error", "verifier_crashed"),
    "exit": ("error", "verifier_exited"),
    "raise": ("error", "verifier_raised"),
    "lie": ("error", "invalid_verdict"),
}


@pytest.fixture
def together() -> Iterator[ThreadPoolExecutor]:
    """Threads for requests that run at the same time."""
    with ThreadPoolExecutor(8) as threads:
        yield threads


def healthy(count: int, tag: str) -> list[dict[str, Any]]:
    return [item(f"{tag} {n} {'right' if n % 2 else 'wrong'}", id=f"{tag} {n}") for n in range(count)]


def mixed(tag: str) -> list[dict[str, Any]]:
    """Return healthy items with one hostile item of each kind between them."""
    items = healthy(30 * len(ENDS), tag)
    for number, command in enumerate(ENDS):
        items.insert(31 * number + 15, item(command, tag, id=f"{tag} {command}"))
    return items


def check(items: list[dict[str, Any]], verdicts: list[dict[str, Any]]) -> None:
    """Hold the verdicts to the items: each in its place, the healthy ones scored, the hostile ones failed."""
    assert [one["id"] for one in verdicts] == [one["id"] for one in items]
    for one, verdict in zip(items, verdicts, strict=True):
        command = one["response"].partition(" ")[0]
        if command in ENDS:
            assert (verdict["outcome"], verdict["detail"]["code"]) == ENDS[command]
            assert (verdict["score"], verdict["reward"]) == (None, None)
        else:
            assert verdict["outcome"] == "scored", verdict
            assert verdict["score"] == float(one["response"].endswith("right"))


def test_hostile_items_in_a_batch_fail_alone(caller: Caller) -> None:
    items = mixed("batched")
    check(items, caller.verdicts(items))


def test_hostile_items_in_a_stream_fail_alone(caller: Caller) -> None:
    items = mixed("streamed")
    *lines, last = caller.stream(stream_of(items))
    check(items, sorted(lines, key=lambda line: int(line["index"])))
    assert (last["summary"]["items"], last["summary"]["failed"]) == (len(items), len(ENDS))


def test_a_batch_of_nothing_but_hostile_items_is_answered(caller: Caller) -> None:
    kinds = [command for command in ENDS if command != "sleep"]
    items = [item(command, f"all {n}", id=f"{command} {n}") for n in range(3) for command in kinds]
    check(items, caller.verdicts(items))


def kill(pids: set[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # some end with those before them
            os.kill(pid, signal.SIGKILL)


def test_workers_killed_by_hand_during_a_batch_cost_no_verdict(
    caller: Caller, together: ThreadPoolExecutor
) -> None:
    items = [item(f"work 1 killed {n}", f"killed {n}" if n % 2 else "no", id=n) for n in range(1000)]
    batch = together.submit(caller.verdicts, items)
    killed: set[int] = set()
    start = caller.metric("countermark_verifier_cpu_seconds_total")
    for seconds in (0.1, 0.3, 0.5):
        wait_until(
            lambda: caller.metric("countermark_verifier_cpu_seconds_total") > start + seconds,  # noqa: B023
            "the batch goes on",
        )
        workers = leaves_below(caller.service.process.pid)
        kill(workers)
        killed |= workers

    verdicts = batch.result()
    assert len(killed) >= 3
    assert [one["id"] for one in verdicts] == list(range(1000))
    assert [one for one in verdicts if one["score"] is None] == []
    assert [one["score"] for one in verdicts] == [float(n % 2) for n in range(1000)]
    assert caller.metric("countermark_worker_restarts_total", reason="killed_from_outside") > 0


def test_every_process_killed_by_hand_is_replaced(caller: Caller, together: ThreadPoolExecutor) -> None:
    items = [item(f"work 2 orphaned {n}", f"orphaned {n}") for n in range(300)]
    batch = together.submit(caller.verdicts, items)
    wait_until(lambda: caller.metric("countermark_slots_busy") > 0, "the batch begins")
    kill(processes_below(caller.service.process.pid))
    assert [one["score"] for one in batch.result()] == [1.0] * 300


def test_equal_items_in_flight_are_judged_once(caller: Caller, together: ThreadPoolExecutor) -> None:
    items = [item(f"work 150 shared {n}", f"shared {n}") for n in range(4)]
    before = caller.metric("countermark_items_total", cached="false", verifier="subject")
    first = together.submit(caller.verdicts, items)
    wait_until(lambda: caller.metric("countermark_slots_busy") > 0, "the first batch begins")
    others = [together.submit(caller.verdicts, list(reversed(items))) for _ in range(3)]
    streamed = together.submit(lambda: caller.stream(stream_of(items)))

    batches = [future.result() for future in (first, *others)] + [streamed.result()[:-1]]
    assert all(one["score"] == 1.0 for verdicts in batches for one in verdicts)
    assert sum(not one["cached"] for verdicts in batches for one in verdicts) == len(items)
    judged = caller.metric("countermark_items_total", cached="false", verifier="subject") - before
    assert judged == len(items)


def test_a_failure_is_shared_by_those_who_wait_for_it_and_kept_for_nobody(
    caller: Caller, together: ThreadPoolExecutor
) -> None:
    failing = item("raise when its turn has come")
    before_it = [item(f"work 50 before it {n}") for n in range(30)]
    first = together.submit(caller.verdicts, [*before_it, failing])
    wait_until(lambda: caller.metric("countermark_slots_busy") == 2, "the first batch begins")
    second = together.submit(caller.verdicts, [failing])
    told = [first.result()[-1], second.result()[0]]
    assert [(one["outcome"], one["cached"]) for one in told] == [("error", False), ("error", True)]
    assert caller.verdicts([failing])[0]["cached"] is False


def test_a_short_batch_on_another_verifier_does_not_wait_for_a_long_one(
    caller: Caller, together: ThreadPoolExecutor
) -> None:
    caller.verdicts(healthy(2000, "quick"))  # the pool learns from these that items are quick
    caller.verdicts([item("right")], verifier=ASKING)
    long = together.submit(caller.verdicts, [item(f"work 20 long {n}") for n in range(500)])
    wait_until(lambda: caller.metric("countermark_slots_busy") == 2, "the long batch has every worker")
    before = caller.metric("countermark_verifier_cpu_seconds_total")

    for n in range(3):
        caller.verdicts([item(f"short {n}", prompt="right")], verifier=ASKING)
    used = caller.metric("countermark_verifier_cpu_seconds_total") - before
    assert used < 10 / 3, (
        f"the long batch had {used:.1f} s of its 10 s of CPU before the short ones had their turns"
    )
    assert len(long.result()) == 500


def test_a_short_batch_on_the_same_verifier_does_not_wait_for_a_long_one(
    caller: Caller, together: ThreadPoolExecutor
) -> None:
    caller.verdicts(healthy(2000, "quick, too"))
    long = together.submit(caller.verdicts, [item(f"work 20 longer {n}") for n in range(500)])
    wait_until(lambda: caller.metric("countermark_slots_busy") == 2, "the long batch has every worker")
    before = caller.metric("countermark_verifier_cpu_seconds_total")

    for n in range(3):
        caller.verdicts([item(f"short, same {n}")])
    used = caller.metric("countermark_verifier_cpu_seconds_total") - before
    assert used < 10 / 3, (
        f"the long batch had {used:.1f} s of its 10 s of CPU before the short ones had their turns"
    )
    assert len(long.result()) == 500


def test_batches_on_many_verifiers_at_once_are_all_answered_right(
    caller: Caller, together: ThreadPoolExecutor
) -> None:
    def one(number: int) -> bool:
        verifier = (REDUCING, ASKING)[number % 2]
        items = [item(f"{number} {n} right", prompt="right" if n % 3 else "wrong") for n in range(200)]
        verdicts = caller.verdicts(items, verifier=verifier)
        expected = [1.0] * 200 if verifier == REDUCING else [float(bool(n % 3)) for n in range(200)]
        return [verdict["score"] for verdict in verdicts] == expected

    answers: list[Future[bool]] = [together.submit(one, number) for number in range(16)]
    assert all(answer.result() for answer in answers)


def test_processes_do_not_pile_up(caller: Caller) -> None:
    """Three verifiers with a nursery each; a worker for each of two slots, and as many spares, for each of them."""
    for n in range(2):
        items = [item(command, f"piled {n}") for command in ENDS if command != "sleep"]
        caller.verdicts([*items, *healthy(20, f"piled {n}")])
    wait_until(lambda: caller.metric("countermark_slots_busy") == 0, "every worker comes to rest")
    wait_until(lambda: caller.metric("countermark_slow_lane_busy") == 0, "nothing runs aside")
    most_workers = 3 * (2 + 2)
    wait_until(lambda: caller.metric("countermark_workers") <= most_workers, "those above that are gone")
    nurseries = 3 * 3  # bubblewrap puts two processes around each
    assert len(processes_below(caller.service.process.pid)) <= most_workers + nurseries
