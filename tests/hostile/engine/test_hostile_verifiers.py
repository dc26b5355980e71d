"""Verifiers that hang, fork, eat memory, print, forge, and vanish.

Each case is judged between four healthy items of the same batch: whatever it does,
its neighbours keep their verdicts, and it never becomes a score.
"""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from countermark_service.bundles import Bundle, read_bundle
from countermark_service.engine.environment import EnvironmentCache
from countermark_service.engine.jobs import Failed, Result
from countermark_service.engine.pool import Pool, PoolLimits
from countermark_service.engine.wire import Judged
from countermark_service.errors import UnavailableError
from countermark_service.model import Item
from countermark_service.sandbox import Containment, ContainmentLevel
from tests.support import make_bundle, write_bundle

HOSTILE = """
import ctypes, os, signal, sys, threading, time

def loop():
    while True:
        pass

def grow():
    held = []
    while True:
        held.append(bytearray(b"x" * 1_000_000))

def write_everywhere(text):
    for descriptor in range(1, 200):
        try:
            os.write(descriptor, text)
        except OSError:
            pass

def stop_the_timer():
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, signal.SIG_IGN)
    loop()

class Odd(dict):
    pass

def spawn_thread_and_return():
    threading.Thread(target=lambda: time.sleep(0.01), daemon=True).start()
    return {"outcome": "scored", "score": 1.0, "detail": {}}

CASES = {
    "loops": loop,
    "computes in C": lambda: 9**9**9**9,
    "sleeps": lambda: time.sleep(1000),
    "waits for a signal": lambda: signal.pause(),
    "stops the timer": stop_the_timer,
    "leaves with 0": lambda: os._exit(0),
    "leaves with 3": lambda: os._exit(3),
    "raises SystemExit": lambda: sys.exit(0),
    "raises KeyboardInterrupt": lambda: (_ for _ in ()).throw(KeyboardInterrupt()),
    "raises": lambda: 1 / 0,
    "raises with a surrogate": lambda: (_ for _ in ()).throw(ValueError(chr(0xD800))),
    "recurses": lambda: (lambda f: f(f))(lambda f: f(f)),
    "allocates at once": lambda: bytearray(2 * 10**9),
    "grows": grow,
    "forks": lambda: os.fork(),
    "starts a program": lambda: os.execv("/usr/bin/true", ["true"]),
    "spawns": lambda: os.posix_spawn("/usr/bin/true", ["true"], {}),
    "opens a socket": lambda: __import__("socket").socket(),
    "kills its parent": lambda: os.kill(os.getppid(), 9),
    "kills everybody": lambda: os.kill(-1, 9),
    "closes every descriptor": lambda: os.closerange(0, 200),
    "writes to every descriptor": lambda: write_everywhere(b"x" * 100),
    "writes an empty frame": lambda: write_everywhere(b"\\0\\0\\0\\x02[]"),
    "announces a huge frame": lambda: write_everywhere(b"\\xff\\xff\\xff\\xff"),
    "crashes": lambda: ctypes.string_at(0),
    "aborts": lambda: os.abort(),
    "returns nothing": lambda: None,
    "returns a number": lambda: 1.0,
    "returns a list": lambda: ["scored", 1.0, {}],
    "returns another outcome": lambda: {"outcome": "error", "score": None, "detail": {}},
    "returns more keys": lambda: {"outcome": "scored", "score": 1.0, "detail": {}, "reward": 1.0},
    "scores nan": lambda: {"outcome": "scored", "score": float("nan"), "detail": {}},
    "scores 2": lambda: {"outcome": "scored", "score": 2, "detail": {}},
    "scores -1": lambda: {"outcome": "scored", "score": -1.0, "detail": {}},
    "scores a text": lambda: {"outcome": "scored", "score": "1.0", "detail": {}},
    "scores null": lambda: {"outcome": "scored", "score": None, "detail": {}},
    "scores no_answer 1": lambda: {"outcome": "no_answer", "score": 1.0, "detail": {}},
    "scores bad_reference 0": lambda: {"outcome": "bad_reference", "score": 0.0, "detail": {}},
    "details a function": lambda: {"outcome": "scored", "score": 1.0, "detail": {"f": loop}},
    "details nan": lambda: {"outcome": "scored", "score": 1.0, "detail": {"f": float("nan")}},
    "details a surrogate": lambda: {"outcome": "scored", "score": 1.0, "detail": {"f": chr(0xD800)}},
    "details a megabyte": lambda: {"outcome": "scored", "score": 1.0, "detail": {"f": "x" * 2**20}},
}

def verify(item):
    response = item["response"]
    print("noise", response)
    print("noise", file=sys.stderr)
    if response in CASES:
        return CASES[response]()
    return {"outcome": "scored", "score": float(response == item["reference"]), "detail": {}}
"""
TIMEOUTS = {
    "loops": "cpu_limit",
    "computes in C": "cpu_limit",
    "stops the timer": "cpu_limit",
    "sleeps": "wall_limit",
    "waits for a signal": "wall_limit",
}
ERRORS = {
    "leaves with 0": "verifier_exited",
    "leaves with 3": "verifier_exited",
    "raises SystemExit": "verifier_raised",
    "raises KeyboardInterrupt": "verifier_raised",
    "raises": "verifier_raised",
    "raises with a surrogate": "verifier_raised",
    "recurses": "verifier_raised",
    "allocates at once": "out_of_memory",
    "grows": "out_of_memory",
    "forks": "verifier_raised",
    "starts a program": "verifier_raised",
    "spawns": "verifier_raised",
    "opens a socket": "verifier_raised",
    "kills its parent": "verifier_raised",
    "kills everybody": "verifier_raised",
    "closes every descriptor": "verifier_exited",
    "writes to every descriptor": "protocol_violation",
    "writes an empty frame": "protocol_violation",
    "announces a huge frame": "protocol_violation",
    "crashes": "verifier_crashed",
    "aborts": "verifier_crashed",
    **dict.fromkeys(
        [
            "returns nothing", "returns a number", "returns a list", "returns another outcome",
            "returns more keys", "scores nan", "scores 2", "scores -1", "scores a text", "scores null",
            "scores no_answer 1", "scores bad_reference 0", "details a function", "details nan",
            "details a surrogate", "details a megabyte",
        ],
        "invalid_verdict",
    ),
}  # fmt: skip


@pytest.fixture
def hostile(tmp_path: Path) -> Bundle:
    """A verifier that does whatever the response names."""
    return make_bundle(tmp_path / "bundles", HOSTILE, cpu_seconds=0.5, wall_seconds=1.0, memory_mib=64)


async def judge(pool: Pool, bundle: Bundle, responses: list[str]) -> list[Result]:
    """Judge `responses` against the reference "right", in one batch."""
    results: dict[int, Result] = {}
    payloads = [Item(response, "right").canonical(uses_prompt=False) for response in responses]
    await pool.run(bundle, "verify", payloads, results.__setitem__)
    return [results[index] for index in range(len(responses))]


def scores(results: list[Result]) -> list[float | Result | None]:
    """Return scores; what has none stands for itself, so that a failed comparison tells what it was."""
    return [result.score if isinstance(result, Judged) else result for result in results]


def code_of(result: Result) -> tuple[str, str]:
    """Return outcome and code of a failure."""
    if isinstance(result, Failed):
        return result.outcome, result.code
    assert isinstance(result, Judged)
    assert result.score is None
    text = bytes(result.detail).decode()
    return result.outcome, text.split('"code": "')[1].split('"')[0]


ALONE = {code: case for case, code in (TIMEOUTS | ERRORS).items()}
"""A case of each code; all of them, and more between neighbours, are in the batches below."""


@pytest.mark.parametrize(
    "case", (TIMEOUTS | ERRORS) if os.environ.get("COUNTERMARK_FULL") else ALONE.values()
)
async def test_a_hostile_item_fails_alone(pool: Pool, hostile: Bundle, case: str) -> None:
    results = await judge(pool, hostile, ["right", "wrong", case, "right", "wrong"])

    assert scores([*results[:2], *results[3:]]) == [1.0, 0.0, 1.0, 0.0]
    expected = ("timeout", TIMEOUTS[case]) if case in TIMEOUTS else ("error", ERRORS[case])
    assert code_of(results[2]) == expected


@pytest.mark.parametrize("level", list(ContainmentLevel))
async def test_every_failure_in_one_batch_leaves_every_neighbour_its_verdict(
    environments: EnvironmentCache,
    containment: Containment,
    hostile: Bundle,
    tmp_path: Path,
    level: ContainmentLevel,
) -> None:
    """On every level: what the level lacks is made up for by the call filter and the limits."""
    if list(ContainmentLevel).index(level) < list(ContainmentLevel).index(containment.level):
        pytest.skip(f"this machine gives {containment.level} at best")
    weaker = {
        ContainmentLevel.NAMESPACES: containment,
        ContainmentLevel.LANDLOCK: replace(containment, level=level, bwrap=None),
        ContainmentLevel.LIMITS: replace(containment, level=level, bwrap=None, landlock_abi=0),
    }[level]
    pool = Pool(
        environments=environments, containment=weaker, data=tmp_path / "data", limits=PoolLimits(slots=2)
    )
    cases = [*TIMEOUTS, *ERRORS]
    responses = [part for case in cases for part in ("right", case, "wrong")]

    try:
        results = await judge(pool, hostile, responses)
    finally:
        await pool.close()

    assert scores(results[0::3]) == [1.0] * len(cases)
    assert scores(results[2::3]) == [0.0] * len(cases)
    assert dict(zip(cases, map(code_of, results[1::3]), strict=True)) == {
        **{case: ("timeout", code) for case, code in TIMEOUTS.items()},
        **{case: ("error", code) for case, code in ERRORS.items()},
    }


async def test_the_item_behind_one_whose_worker_was_just_killed_gets_its_verdict(
    environments: EnvironmentCache, containment: Containment, hostile: Bundle, tmp_path: Path
) -> None:
    """The service may decide to kill a worker while its last reply is on the way; that worker gets no more."""
    limits = PoolLimits(slots=1)
    pool = Pool(environments=environments, containment=containment, data=tmp_path / "data", limits=limits)
    payload = Item("right", "right").canonical(uses_prompt=False)
    results: list[Result] = []

    def kill(index: int, result: Result) -> None:
        results.append(result)
        (lane,) = pool._lanes.values()
        for worker in lane._chunks:
            worker.kill("cpu_limit")

    def take(index: int, result: Result) -> None:
        results.append(result)

    try:
        await asyncio.gather(
            pool.run(hostile, "verify", [payload], kill), pool.run(hostile, "verify", [payload], take)
        )
    finally:
        await pool.close()

    assert scores(results) == [1.0, 1.0]
    assert pool.counters.restarts["cpu_limit"] == 1


async def test_workers_killed_by_hand_cost_no_verdict(pool: Pool, hostile: Bundle) -> None:
    responses = ["right", "wrong"] * 4000
    results: dict[int, Result] = {}
    killed: set[int] = set()

    def take(index: int, result: Result) -> None:
        results[index] = result
        if len(results) % 1000 == 0:
            for _, pid in pool.workers():
                if pid not in killed:
                    killed.add(pid)
                    os.kill(pid, signal.SIGKILL)

    payloads = [Item(response, "right").canonical(uses_prompt=False) for response in responses]
    await pool.run(hostile, "verify", payloads, take)

    assert len(killed) >= 4
    assert scores([results[index] for index in range(len(responses))]) == [1.0, 0.0] * 4000


async def test_a_killed_nursery_is_replaced_without_loss(pool: Pool, hostile: Bundle) -> None:
    await judge(pool, hostile, ["right"])
    (_, worker), *_ = pool.workers()
    nursery = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
    responses = ["right", "wrong"] * 2000
    results: dict[int, Result] = {}

    def take(index: int, result: Result) -> None:
        results[index] = result
        if len(results) == 500:
            os.kill(nursery, signal.SIGKILL)

    payloads = [Item(response, "right").canonical(uses_prompt=False) for response in responses]
    await pool.run(hostile, "verify", payloads, take)

    assert scores([results[index] for index in range(len(responses))]) == [1.0, 0.0] * 2000
    assert pool.counters.restarts["nursery_lost"] >= 1


async def test_a_bundle_whose_vectors_do_not_hold_here_is_not_served(pool: Pool, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundles", HOSTILE, name="untrue")
    vector = '{"id": "claims-more", "item": {"response": "wrong", "reference": "right"}, '
    (folder / "vectors.jsonl").write_text(vector + '"expect": {"outcome": "scored", "score": 1.0}}\n')

    with pytest.raises(UnavailableError, match="claims-more"):
        await judge(pool, read_bundle(folder), ["right"])
