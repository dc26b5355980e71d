"""The pool under trouble: cancelled candidates, dead slots, a close in mid-run."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from countermark_service.sandbox.code import levels
from countermark_service.sandbox.code import pool as pools
from countermark_service.sandbox.code.flavour import python_flavour
from countermark_service.sandbox.code.inside import kernel
from countermark_service.sandbox.code.levels import probe, survivors
from countermark_service.sandbox.code.model import Call, Level, Limits, SandboxUnavailableError, Status
from countermark_service.sandbox.code.pool import SandboxPool
from tests.integration.api.parts import is_alive
from tests.support import no_more_than, open_descriptors

ENDLESS = b"while True: pass"
HONEST = b"a, b = map(int, input().split())\nprint(a + b)"
PATIENT = Limits(cpu_seconds=60, wall_seconds=60)


async def started(pool: SandboxPool) -> None:
    """Wait until a candidate's process is there."""
    while not survivors(pool):
        await asyncio.sleep(0)


@pytest.mark.parametrize("tests", [1, 3])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_cancelled_candidate_is_killed_and_its_slot_serves_on(pool: SandboxPool, tests: int) -> None:
    running = asyncio.create_task(pool.run_tests(ENDLESS, [b""] * tests, PATIENT))
    await started(pool)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert survivors(pool) == []
    (result,) = await pool.run_tests(HONEST, [b"1 2\n"], PATIENT)
    assert result.stdout == b"3\n"


@pytest.mark.skipif(
    tuple(map(int, os.uname().release.split(".")[:2])) < (6, 1),
    reason="this kernel makes no large page on demand",
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_slot_s_memory_lies_in_large_pages(pool: SandboxPool) -> None:
    """At both levels: nothing that a slot does before, as to start a thread, may undo what makes forks cheap."""
    await pool.run_tests(HONEST, [b"1 2\n"], PATIENT)
    assert [slot.facts["large_pages"] for slot in pool._running] == [True] * len(pool._running)


@pytest.mark.asyncio(loop_scope="module")
async def test_when_a_slot_dies_its_candidate_runs_again_on_a_fresh_one(pool: SandboxPool) -> None:
    code = b"import time\ntime.sleep(0.5)\nprint(input())"
    running = asyncio.create_task(pool.run_tests(code, [b"x\n"], PATIENT))
    await started(pool)
    before = pool.processes()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    (result,) = await running
    assert (result.status, result.stdout) == (Status.OK, b"x\n")
    assert not set(before) & set(pool.processes())


@pytest.mark.asyncio(loop_scope="module")
async def test_a_candidate_does_not_outlive_its_slot(pool: SandboxPool) -> None:
    """Nobody else would end it: at level `landlock` no namespace ends with the slot. And whoever gives up while
    the slot is replaced has given up."""
    running = asyncio.create_task(pool.run_tests(ENDLESS, [b""], PATIENT))
    await started(pool)
    candidates = survivors(pool)
    for pid in pool.processes():
        os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(30):
        while any(map(is_alive, candidates)):
            await asyncio.sleep(0.005)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.asyncio(loop_scope="module")
async def test_no_folder_of_a_candidate_outlives_its_pool(
    pool: SandboxPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to a candidate's user
        Path(folder).chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        async with SandboxPool(pool.level, pool.flavour, slots=1) as other:
            locked = b"import os\nopen('x', 'w').close()\nos.chmod('.', 0)"
            (result,) = await other.run_tests(locked, [b""], PATIENT)
        assert result.status is Status.OK
        assert list(Path(folder).iterdir()) == []


@pytest.mark.asyncio(loop_scope="module")
async def test_a_slot_is_replaced_after_its_share_of_candidates(
    pool: SandboxPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "CANDIDATES_PER_SLOT", 3)
    seen: set[int] = set()
    for _ in range(8):
        await pool.run_tests(HONEST, [b"1 2\n"], PATIENT)
        seen.update(pool.processes())
    assert len(seen) >= 3


@pytest.mark.asyncio(loop_scope="module")
async def test_a_closed_pool_ends_its_candidates_and_takes_no_more(pool: SandboxPool) -> None:
    other = SandboxPool(pool.level, pool.flavour, slots=1)
    await other.start()
    running = asyncio.create_task(other.run_tests(ENDLESS, [b""], PATIENT))
    await started(other)
    waiting = asyncio.create_task(other.run_tests(HONEST, [b"1 2\n"]))
    (first,), candidates = other.processes(), survivors(other)
    await other.close()
    for task in (running, waiting):
        with pytest.raises(SandboxUnavailableError):
            await task
    assert other.processes() == []
    assert not Path(f"/proc/{first}").exists()
    assert candidates
    assert not any(map(is_alive, candidates))


@pytest.mark.asyncio(loop_scope="module")
async def test_the_total_of_cpu_time_ends_a_candidate(pool: SandboxPool) -> None:
    code = b"import time\nwhile time.process_time() < 0.3: pass"
    results = await pool.run_tests(
        code, [b""] * 4, Limits(cpu_seconds=5, wall_seconds=60, total_cpu_seconds=0.5)
    )
    assert [result.status for result in results] == [
        Status.OK,
        Status.OK,
        Status.TIME_LIMIT,
        Status.TIME_LIMIT,
    ]


@pytest.mark.asyncio(loop_scope="module")
async def test_the_first_failure_can_end_the_tests(pool: SandboxPool) -> None:
    code = b"if input() == 'b': raise ValueError"
    results = await pool.run_tests(code, [b"a\n", b"b\n", b"c\n"], PATIENT, stop_after_failure=True)
    assert [result.status for result in results] == [Status.OK, Status.RUNTIME_ERROR]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_missing_interpreter_is_unavailable_and_says_why() -> None:
    with pytest.raises(SandboxUnavailableError, match="/no/such/python"):
        python_flavour(Path("/no/such/python"))


@pytest.mark.asyncio(loop_scope="module")
async def test_the_probe_finds_the_level_that_the_pool_runs_at(pool: SandboxPool) -> None:
    report = await probe(python_flavour(Path(sys.executable)), levels=[pool.level])
    assert (report.level, report.reasons) == (pool.level, ())
    assert report.filter_hash.startswith("sha256:")
    assert any("seccomp" in layer for layer in report.layers)


@pytest.mark.asyncio(loop_scope="module")
async def test_level_landlock_holds_without_users_of_its_own(
    pool: SandboxPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container, where the service is no root; of root the kernel counts no processes at all."""
    if pool.level is not Level.LANDLOCK:
        pytest.skip("at level namespaces the kernel counts them for each candidate")
    monkeypatch.setattr(os, "geteuid", lambda: 10001)
    for _ in range(3):
        assert (await probe(pool.flavour, levels=[Level.LANDLOCK])).reasons == ()
    few = levels._FORKS.replace(
        "range(64)", "range(32)"
    )  # made before the first look, so that no limit has met them
    async with SandboxPool(Level.LANDLOCK, pool.flavour, slots=1) as own:
        (result,) = await own.run_tests(few.encode(), [b""], levels._LIMITS)
    assert (result.status, result.stdout) == (Status.RESOURCE_LIMIT, b"")


@pytest.mark.asyncio(loop_scope="module")
async def test_the_probe_of_no_level_names_none(pool: SandboxPool) -> None:
    report = await probe(pool.flavour, levels=[])
    assert (report.level, report.layers) == (None, ())


def test_the_levels_are_tried_best_first() -> None:
    assert list(Level) == [Level.NAMESPACES, Level.LANDLOCK]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_slot_starts_whatever_descriptors_the_service_has_open(pool: SandboxPool) -> None:
    """The zygote moves its control socket to a number of its own, which may be the one that it came with."""
    held: list[int] = []
    try:
        for lowest in range(56, 61):
            while not held or held[-1] < lowest - 1:
                held.append(os.open(os.devnull, os.O_RDONLY))
            async with SandboxPool(pool.level, python_flavour(Path(sys.executable)), slots=1) as other:
                (result,) = await other.run_tests(HONEST, [b"1 2\n"], PATIENT)
            assert result.stdout == b"3\n", lowest
    finally:
        for number in held:
            os.close(number)


@pytest.fixture
def busy_machine() -> Iterator[None]:
    """Two endless loops per processor, each in a session of its own: some kernels share out by session."""
    loops = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
        for _ in range(2 * len(os.sched_getaffinity(0)))
    ]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


@pytest.mark.parametrize("kind", ["tests", "calls", "tester"])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_service_without_descriptors_says_so_and_blames_no_candidate(
    pool: SandboxPool, kind: str
) -> None:
    async def run() -> bool:
        if kind == "tests":
            results = await pool.run_tests(b"print(input())", [b"1", b"2"], PATIENT)
            return [result.stdout for result in results] == [b"1\n", b"2\n"]
        if kind == "calls":
            (called,) = await pool.run_calls(b"def f(x): return x", "f", [Call((1,))], PATIENT)
            return called.run.status is Status.OK
        return (await pool.run_tester(b"assert f(1) == 1", b"def f(x): return x", ["f"], PATIENT)).passed

    async def run_with(descriptors: int) -> bool | None:
        try:
            with no_more_than(descriptors):
                return await run()
        except SandboxUnavailableError:
            return None

    assert all(await asyncio.gather(run(), run()))  # both slots are there
    before = open_descriptors()
    passed = [await run_with(descriptors) for descriptors in range(16)]
    assert (passed[0], passed[-1]) == (None, True)
    assert False not in passed
    assert await run()
    assert open_descriptors() == before


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.usefixtures("busy_machine")
async def test_a_busy_machine_takes_no_time_from_a_candidate(pool: SandboxPool) -> None:
    """What a program waits for a processor is no time of its own: with a keeper, without, and in two halves."""
    if pool.level is Level.LANDLOCK and os.environ.get("COUNTERMARK_FULL") != "1":
        pytest.skip("ten busy seconds that everything else waits for: set COUNTERMARK_FULL=1")
    limits = Limits(cpu_seconds=2, wall_seconds=0.6)
    burn = b"import time\ndef f():\n    while time.process_time() < 0.3: pass\n    return 42\n"
    printing = burn + b"print(f())"
    (alone,) = await pool.run_tests(printing, [b""], limits)
    several = await pool.run_tests(printing, [b""] * 2, limits)
    threaded = (
        b"import threading\n" + burn + b"one = threading.Thread(target=f)\none.start(); one.join(); print(42)"
    )
    (in_a_thread,) = await pool.run_tests(threaded, [b""], limits)
    tested = await pool.run_tester(b"assert candidate() == 42", burn, ["f"], limits)
    (called,) = await pool.run_calls(burn, "f", [Call((), {})], limits)
    strict = Limits(cpu_seconds=0.5, wall_seconds=0.6)
    (longer,) = await pool.run_tests(printing, [b""], strict)
    scoped = kernel.landlock_abi() >= kernel.LANDLOCK_SCOPED_ABI
    no_keeper = scoped and (pool.level is Level.NAMESPACES or os.getuid() == 0)
    if no_keeper and longer.wall_seconds > strict.cpu_seconds:
        assert longer.cpu_seconds + longer.waited_seconds > 0.8 * longer.wall_seconds
    ended = [alone, *several, in_a_thread]
    assert [(one.status, one.stdout, one.message) for one in ended] == [(Status.OK, b"42\n", "")] * 4
    assert (called.run.status, called.value) == (Status.OK, 42)
    assert (tested.status, tested.passed) == (Status.OK, True)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.usefixtures("busy_machine")
async def test_a_busy_machine_gives_no_time_to_one_that_sleeps(pool: SandboxPool) -> None:
    limits = Limits(cpu_seconds=1, wall_seconds=0.5)
    sleeps = b"import time\ntime.sleep(60)"
    results = [*await pool.run_tests(sleeps, [b""], limits), *await pool.run_tests(sleeps, [b""] * 2, limits)]
    assert [one.status for one in results] == [Status.TIME_LIMIT] * 3
    assert {one.message for one in results} == {"more than 0.5 s on the clock"}
