"""Equal programs run once, and a caller that cannot wait finds the run when it comes again."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from countermark_service.assembly import Service, assemble
from countermark_service.errors import CountermarkError, RequestError, SaturatedError, UnavailableError
from countermark_service.running import Program, Runner
from countermark_service.runtimes.sandboxes import Kind
from countermark_service.sandbox.code.model import Status
from countermark_service.settings import load_settings
from countermark_service.store import MemoryStore, TieredStore
from tests.support import no_more_than

pytestmark = pytest.mark.asyncio(loop_scope="module")

PYTHON = Kind("python")
UNIQUE = "import os\nprint(os.urandom(8).hex(), flush=True)\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def parts(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """The parts of a service with one slot, of which the sandboxes are used."""
    data: Path = tmp_path_factory.mktemp("running")
    service = assemble(load_settings({"data": data, "sandbox_slots": 1, "sandbox_queue": 64}, environment={}))
    yield service
    await service.close()


@pytest.fixture
def runner(parts: Service) -> Runner:
    """A runner with a store of its own."""
    return Runner(parts.sandboxes, TieredStore(MemoryStore()))


class Remembering(MemoryStore):
    """A store that knows its keys."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[bytes] = []

    async def put_many(self, entries: Mapping[bytes, bytes]) -> None:
        self.keys += entries
        await super().put_many(entries)


class Counting(MemoryStore):
    """A store that counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self.asked += 1
        return await super().get_many(keys)


async def printed(runner: Runner, program: Program) -> str:
    return (await runner.run(program))[0].result.stdout.decode()


async def test_what_differs_in_anything_that_counts_is_another_program(runner: Runner) -> None:
    base = Program(PYTHON, UNIQUE)
    others = [
        Program(PYTHON, UNIQUE + "\n"),
        Program(PYTHON, UNIQUE, stdin="x"),
        Program(PYTHON, UNIQUE, files={"x": b""}),
        Program(PYTHON, UNIQUE, files={"x": b"y"}),
        Program(PYTHON, UNIQUE, limits={"cpu_seconds": 1}),
        Program(PYTHON, UNIQUE, fetch=("x",)),
        Program(Kind("python", preload=("json",)), UNIQUE),
    ]
    seen = [await printed(runner, one) for one in (base, *others)]
    again = [await printed(runner, one) for one in (base, *others)]
    assert len(set(seen)) == len(seen)
    assert again == seen


async def test_equal_programs_that_come_at_once_run_once(runner: Runner) -> None:
    came = await asyncio.gather(*(runner.run(Program(PYTHON, UNIQUE)) for _ in range(20)))
    assert len({ran.result.stdout for ran, _ in came}) == 1
    assert sum(not before for _, before in came) == 1
    await runner.run(Program(PYTHON, UNIQUE))
    counters = runner.counters
    assert (counters.run, counters.joined, counters.kept, counters.turned_away) == (1, 19, 1, 0)


async def test_where_a_queue_waits_programs_are_looked_up_together(parts: Service) -> None:
    store = Counting()
    runner = Runner(parts.sandboxes, TieredStore(store))

    async def one(number: int) -> str:
        for _ in range(number):  # one after the other, each in a turn of the loop of its own
            await asyncio.sleep(0)
        return await printed(runner, Program(PYTHON, f"print({number})"))

    parts.sandboxes.waiting += 8
    try:
        answers = await asyncio.gather(*map(one, range(10)))
    finally:
        parts.sandboxes.waiting -= 8
    assert answers == [f"{number}\n" for number in range(10)]
    assert store.asked < 5


@pytest.mark.parametrize(
    ("code", "status", "kept"),
    [
        ("print(1)", Status.OK, True),
        ("print(1); 1/0", Status.RUNTIME_ERROR, True),
        ("def f(:", Status.COMPILE_ERROR, True),
        ("while True: pass", Status.TIME_LIMIT, False),
        ("import time; time.sleep(9)", Status.TIME_LIMIT, False),
        ("print('x' * 3000)", Status.OUTPUT_LIMIT, False),
        ("x = bytearray(200 << 20)", Status.MEMORY_LIMIT, False),
        ("import os; os.kill(os.getpid(), 9)", Status.RUNTIME_ERROR, False),
        ("import time\nwhile time.process_time() < 0.25: pass", Status.OK, False),
    ],
)
async def test_only_what_no_limit_and_no_signal_had_a_say_in_is_kept(
    runner: Runner, code: str, status: Status, kept: bool
) -> None:
    wall = 0.5 if "sleep" in code else 30
    limits = {"cpu_seconds": 0.4, "wall_seconds": wall, "memory_mib": 64, "stdout_bytes": 2000}
    program = Program(PYTHON, code, limits=limits)
    first, before = await runner.run(program)
    assert (first.result.status, before) == (status, False)
    assert (await runner.run(program))[1] is kept


async def test_a_kept_run_outlives_the_service_and_damage_to_it_is_seen(parts: Service) -> None:
    backend = Remembering()
    store = TieredStore(backend)
    await store.start()
    program = Program(PYTHON, UNIQUE)
    ran, _ = await Runner(parts.sandboxes, store).run(program)
    await store.close()
    assert await Runner(parts.sandboxes, TieredStore(backend)).run(program) == (ran, True)

    damaged = MemoryStore()
    await damaged.put_many({key: b"\x93" + os.urandom(20) for key in backend.keys})
    assert (await Runner(parts.sandboxes, TieredStore(damaged)).run(program))[1] is False


async def test_who_wants_it_run_anew_gets_it_run_anew(runner: Runner) -> None:
    program = Program(PYTHON, UNIQUE)
    ran, _ = await runner.run(program)
    anew, before = await runner.run(program, lasting=False)
    assert (before, anew.result.stdout != ran.result.stdout) == (False, True)
    assert (await runner.run(program))[0] == ran


async def test_who_cannot_wait_is_told_and_finds_the_run_under_way_or_done(runner: Runner) -> None:
    program = Program(PYTHON, UNIQUE + "while True: pass", limits={"cpu_seconds": 0.5})
    for _ in range(2):
        with pytest.raises(SaturatedError, match=r"nothing came out within 0\.1 s"):
            await runner.run(program, within=0.1)
    assert runner.counters.turned_away == 2
    ran, before = await runner.run(program)
    assert (ran.result.status, before) == (Status.TIME_LIMIT, True)


async def test_a_result_that_nobody_was_there_for_is_held_for_a_while(runner: Runner, parts: Service) -> None:
    program = Program(PYTHON, UNIQUE + "while True: pass", limits={"cpu_seconds": 0.2})
    while runner.counters.run == 0:  # on a busy machine the time may be over before the run has begun
        with pytest.raises(SaturatedError):
            await runner.run(program, within=0.05)
    while parts.sandboxes.waiting:
        await asyncio.sleep(0.01)
    ran, before = await runner.run(program, within=30)
    assert (ran.result.status, before) == (Status.TIME_LIMIT, True)
    assert runner.counters.run == 1


async def test_what_cannot_be_run_is_told_to_all_who_wait_and_held_for_nobody(runner: Runner) -> None:
    program = Program(PYTHON, "1", files={"../x": b""})
    for _ in range(2):
        refused = await asyncio.gather(*(runner.run(program) for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in refused] == [RequestError] * 3


async def test_closing_ends_what_is_under_way(runner: Runner) -> None:
    waiting = asyncio.create_task(
        runner.run(Program(PYTHON, "import time; time.sleep(60)", limits={"cpu_seconds": 60}))
    )
    await asyncio.sleep(0.1)
    await runner.close()
    with pytest.raises((asyncio.CancelledError, CountermarkError)):
        await waiting


async def test_a_machine_that_has_run_out_of_descriptors_is_told_from_one_that_contains_nothing(
    tmp_path: Path,
) -> None:
    service = assemble(load_settings({"data": tmp_path}, environment={}))
    sandboxes = service.sandboxes
    held = [
        os.open(os.devnull, os.O_RDONLY) for _ in range(64)
    ]  # programs inherit the limit, and need so many
    told: list[str] = []
    try:
        while sandboxes.report is None:
            try:
                with no_more_than(len(told)):
                    level = await sandboxes.level()
            except UnavailableError as exc:
                told.append(str(exc))
        assert len(told) >= 5
        assert all("the machine has run out: Too many open files" in one for one in told), told

        sandboxes._probed_at = float("-inf")  # as if it were time for another look
        with no_more_than(6):
            assert await sandboxes.level() is level
            await asyncio.gather(*sandboxes._tasks)
        assert sandboxes.state()["available"]
        assert await sandboxes.level() is level
    finally:
        for descriptor in held:
            os.close(descriptor)
        await service.close()
