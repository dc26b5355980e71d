"""SQLite as a store: restarts, neighbours on the same file, its size, and every way a file can be bad."""

import asyncio
import contextlib
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from countermark_service.store import SqliteStore, StoreSchemaError, StoreUnavailableError
from countermark_service.store.sqlite_file import VerdictReader, VerdictWriter
from tests.integration.store.conftest import entries, key

PROGRAM = Path(__file__).with_name("sqlite_service.py")
NOBODY = 65534


@contextlib.asynccontextmanager
async def opened(
    file: Path, *, max_bytes: int = 1024**3, busy_seconds: float = 5.0
) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(file, max_bytes=max_bytes, busy_seconds=busy_seconds)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "verdicts.sqlite"


async def written(file: Path, count: int, *, size: int = 100) -> dict[bytes, bytes]:
    """Make a file with `count` entries and return them."""
    kept = entries(0, count, size=size)
    async with opened(file) as store:
        await store.put_many(kept)
    return kept


async def refusal(file: Path) -> StoreUnavailableError:
    """Return what a store says at start, at a lookup and at a write, which must be one thing."""
    problems = []
    async with opened(file) as store:
        for attempt in (store.start(), store.get_many([key(1)]), store.put_many({key(1): b"x"})):
            with pytest.raises(StoreUnavailableError) as caught:
                await attempt
            problems.append(caught.value)
    assert len({str(problem) for problem in problems}) == 1
    return problems[0]


# Restarts and neighbours


async def test_verdicts_survive_a_restart(file: Path) -> None:
    kept = await written(file, 500)
    async with opened(file) as store:
        assert await store.get_many(list(kept)) == list(kept.values())


async def test_close_leaves_one_file_without_a_log_beside_it(file: Path) -> None:
    await written(file, 500)
    assert [each.name for each in file.parent.iterdir()] == [file.name]


async def test_a_write_that_was_under_way_at_close_is_kept(file: Path) -> None:
    async with opened(file) as store:
        writes = [asyncio.ensure_future(store.put_many(entries(first, 100))) for first in range(0, 1000, 100)]
        await asyncio.sleep(0)
    await asyncio.gather(*writes)
    async with opened(file) as store:
        assert None not in await store.get_many(list(entries(0, 1000)))


async def test_the_first_value_of_a_key_stays(file: Path) -> None:
    async with opened(file) as store:
        await store.put_many({key(1): b"first"})
        await store.put_many({key(1): b"second", key(2): b"new"})
        assert await store.get_many([key(1), key(2)]) == [b"first", b"new"]


def started(file: Path, first: int, count: int, batch: int, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, PROGRAM, file, str(first), str(count), str(batch), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(service: subprocess.Popen[str]) -> list[str]:
    """Return what the service printed, in lines; it must have ended in order."""
    output, errors = service.communicate("go\n", timeout=300)
    assert service.returncode == 0, errors
    return output.splitlines()


async def test_services_that_create_one_file_at_once_and_write_the_same_and_other_keys_lose_nothing(
    file: Path,
) -> None:
    services = [started(file, first, 1000, 100) for first in (0, 500, 1000)]
    for service in services:
        assert service.stdin is not None
        service.stdin.write("go\n")
        service.stdin.flush()
    outputs = [await asyncio.to_thread(finished, service) for service in services]
    assert [output[-2:] for output in outputs] == [["kept 1000", "read 1000"]] * 3
    kept = entries(0, 2000, size=400)
    async with opened(file) as store:
        assert await store.get_many(list(kept)) == list(kept.values())


@pytest.fixture
def restless_threads() -> Iterator[None]:
    """Let threads take turns as often as they can, so that they meet in every place."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("round_", range(10))
@pytest.mark.usefixtures("restless_threads")
async def test_stores_that_create_one_file_at_once_all_start(file: Path, round_: int) -> None:
    stores = [SqliteStore(file) for _ in range(8)]
    try:
        await asyncio.gather(*[store.start() for store in stores])
        await asyncio.gather(*[store.put_many(entries(0, 5)) for store in stores])
        for store in stores:
            assert await store.get_many(list(entries(0, 5))) == list(entries(0, 5).values())
    finally:
        for store in stores:
            await store.close()


async def test_what_was_acknowledged_survives_a_service_that_is_killed_while_it_writes(file: Path) -> None:
    service = started(file, 0, 1_000_000, 50)
    assert service.stdin is not None
    assert service.stdout is not None
    service.stdin.write("go\n")
    service.stdin.flush()
    acknowledged = [service.stdout.readline() for _ in range(10)]
    service.kill()
    service.communicate()
    assert acknowledged[-1] == "kept 500\n"
    kept = entries(0, 500, size=400)
    async with opened(file) as store:
        assert await store.get_many(list(kept)) == list(kept.values())
        await store.put_many(entries(5_000_000, 10))


async def test_a_file_that_another_process_keeps_locked_can_be_read_and_refuses_writes_until_it_is_free(
    file: Path,
) -> None:
    kept = await written(file, 10)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    async with opened(file, busy_seconds=0.05) as store:
        assert await store.get_many(list(kept)) == list(kept.values())
        with pytest.raises(StoreUnavailableError, match="another service kept it locked"):
            await store.put_many({key(77): b"x"})
        other.execute("ROLLBACK")
        other.close()
        await store.put_many({key(77): b"x"})
        assert await store.get_many([key(77)]) == [b"x"]


# Size


async def test_the_file_stays_within_its_bound_and_goes_on_taking_entries(file: Path) -> None:
    bound = 2 * 1024**2
    async with opened(file, max_bytes=bound) as store:
        for first in range(0, 20_000, 500):
            await store.put_many(entries(first, 500, size=500))
        assert store.evicted > 10_000
        kept = entries(0, 20_000, size=500)
        answers = await store.get_many(list(kept))
        assert all(answer in (None, right) for answer, right in zip(answers, kept.values(), strict=True))
        still = sum(answer is not None for answer in answers)
        assert still == 20_000 - store.evicted
        assert still * 500 > bound // 2
    assert file.stat().st_size < bound + 1024**2


async def test_a_bound_that_holds_nothing_is_refused(file: Path) -> None:
    with pytest.raises(ValueError, match="max_bytes must be at least"):
        SqliteStore(file, max_bytes=1000)


# Damage


async def test_a_flipped_bit_in_a_value_is_a_miss_and_the_verdict_can_be_stored_again(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = await written(file, 300)
    damaged = bytearray(file.read_bytes())
    at = damaged.index(b"value 123 ")
    damaged[at] ^= 0x04
    file.write_bytes(damaged)
    async with opened(file) as store:
        answers = dict(zip(kept, await store.get_many(list(kept)), strict=True))
        assert answers.pop(key(123)) is None
        assert all(kept[each] == answer for each, answer in answers.items())
        assert store.damaged == 1
        assert "are damaged" in caplog.text
        await store.put_many({key(123): kept[key(123)]})
        assert await store.get_many([key(123)]) == [kept[key(123)]]


@pytest.mark.parametrize("column", ["head", "value"])
@pytest.mark.parametrize("junk", ["'text'", "17", "1.5", "x''", "zeroblob(41)"])
async def test_a_row_of_the_wrong_shape_is_a_miss_and_costs_no_neighbour(
    file: Path, column: str, junk: str
) -> None:
    kept = await written(file, 20)
    with contextlib.closing(sqlite3.connect(file)) as other, other:
        victim = int.from_bytes(key(5)[:8], "little", signed=True)
        other.execute(f"UPDATE verdicts SET {column} = {junk} WHERE id = {victim}")
    async with opened(file) as store:
        answers = dict(zip(kept, await store.get_many(list(kept)), strict=True))
        assert answers.pop(key(5)) is None
        assert all(kept[each] == answer for each, answer in answers.items())
        await store.put_many(kept)
        assert await store.get_many([key(5)]) == [kept[key(5)]]


@pytest.mark.parametrize("seed", range(12))
async def test_a_file_with_pages_of_noise_gives_right_answers_or_none(file: Path, seed: int) -> None:
    kept = await written(file, 3000)
    noise = random.Random(seed)
    damaged = bytearray(file.read_bytes())
    for _ in range(noise.randint(1, 6)):
        length = noise.choice([1, 100, 8192])
        at = noise.randrange(100, len(damaged) - length)
        damaged[at : at + length] = noise.randbytes(length)
    file.write_bytes(damaged)
    keys = list(kept)
    async with opened(file) as store:
        for first in range(0, len(keys), 250):
            asked = keys[first : first + 250]
            try:
                answers = await store.get_many(asked)
            except StoreUnavailableError:
                continue
            assert all(answer in (None, kept[each]) for each, answer in zip(asked, answers, strict=True))
        with contextlib.suppress(StoreUnavailableError):
            await store.put_many(entries(10_000, 100))


async def test_a_file_that_was_cut_off_is_unavailable(file: Path) -> None:
    kept = await written(file, 3000)
    os.truncate(file, file.stat().st_size // 2)
    async with opened(file) as store:
        with pytest.raises(StoreUnavailableError, match="Move it away"):
            await store.get_many(list(kept))


@pytest.mark.parametrize("content", [b"no database at all\n" * 500, b"SQLite format 3\0" + b"\xff" * 9000])
async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    problem = await refusal(file)
    assert "Move it away" in str(problem)
    assert str(file) in str(problem)
    assert file.read_bytes() == content


async def test_a_store_that_was_replaced_by_a_good_file_is_used_again(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"no database at all\n" * 500)
    async with opened(file) as store:
        with pytest.raises(StoreUnavailableError):
            await store.get_many([key(1)])
        file.unlink()
        await store.put_many({key(1): b"one"})
        assert await store.get_many([key(1)]) == [b"one"]


async def test_a_store_that_was_damaged_while_it_was_open_takes_the_file_that_replaces_it(file: Path) -> None:
    kept = await written(file, 3000)
    async with opened(file) as store:
        await store.get_many([key(1)])
        os.truncate(file, 8192 * 3)
        with pytest.raises(StoreUnavailableError, match="Move it away"):
            await store.get_many(list(kept))
        with pytest.raises(StoreUnavailableError, match="Move it away"):
            await store.put_many(entries(9000, 100))
        for each in file.parent.iterdir():
            each.unlink()
        await store.put_many({key(1): b"one"})
        assert await store.get_many([key(1), key(2)]) == [b"one", None]
        async with opened(file) as other:
            assert await other.get_many([key(1)]) == [b"one"]


# Files that cannot be opened or written


async def test_a_folder_in_the_place_of_the_file_is_unavailable(file: Path) -> None:
    file.mkdir(parents=True)
    assert "it cannot be opened" in str(await refusal(file))


async def test_a_file_in_the_place_of_the_folder_is_unavailable(file: Path) -> None:
    file.parent.write_text("a file")
    assert "it cannot be used" in str(await refusal(file))


async def test_an_empty_file_becomes_a_store(file: Path) -> None:
    file.parent.mkdir()
    file.touch()
    await written(file, 5)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, so that the test can give up its rights."""
    with tempfile.TemporaryDirectory(prefix="cm-store-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """Be a user to whom file permissions apply: root becomes nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_a_read_only_file_refuses_writes_and_the_folder_is_named(open_folder: Path) -> None:
    file = open_folder / "verdicts.sqlite"
    await written(file, 20)
    file.chmod(0o444)
    open_folder.chmod(0o555)
    try:
        with without_rights():
            async with opened(file) as store:
                with pytest.raises(StoreUnavailableError, match=r"permissions|writable") as caught:
                    await store.put_many({key(99): b"x"})
                assert str(file) in str(caught.value)
    finally:
        open_folder.chmod(0o755)


async def test_a_file_that_became_read_only_is_still_read_and_written_again_when_it_may_be(
    open_folder: Path,
) -> None:
    file = open_folder / "verdicts.sqlite"
    kept = await written(file, 20)
    open_folder.chmod(0o777)
    file.chmod(0o444)
    with without_rights():
        async with opened(file) as store:
            with pytest.raises(StoreUnavailableError, match="it cannot be written"):
                await store.put_many({key(99): b"x"})
            assert await store.get_many(list(kept)) == list(kept.values())
    for each in open_folder.iterdir():  # SQLite gave its log the permissions of the file
        each.chmod(0o666)
    with without_rights():
        async with opened(file) as store:
            await store.put_many({key(99): b"x"})
            assert await store.get_many([key(99)]) == [b"x"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], capture_output=True)
    if made.returncode != 0:
        pytest.skip("this user may not mount a file system; the test with a file size limit covers the rest")
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


async def test_a_full_disk_refuses_writes_keeps_what_was_there_and_recovers(small_disk: Path) -> None:
    file = small_disk / "verdicts.sqlite"
    kept: dict[bytes, bytes] = {}

    async def fill() -> None:
        for first in range(0, 100_000, 50):
            await store.put_many(entries(first, 50, size=400))
            kept.update(entries(first, 50, size=400))

    async with opened(file) as store:
        with pytest.raises(StoreUnavailableError, match=r"disk is full|space left") as caught:
            await fill()
        assert caught.value.code == "store_unavailable"
        assert len(kept) > 200
        assert await store.get_many(list(kept)) == list(kept.values())
        subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
        await store.put_many(entries(200_000, 50))
        assert None not in await store.get_many(list(entries(200_000, 50)))


async def test_a_disk_that_is_full_from_the_start_is_unavailable(small_disk: Path) -> None:
    with (small_disk / "filler").open("wb") as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(65536))
            filler.flush()
    async with opened(small_disk / "verdicts.sqlite") as store:
        with pytest.raises(StoreUnavailableError):
            await store.put_many(entries(0, 10))
        (small_disk / "filler").unlink()
        await store.put_many(entries(0, 10))
        assert None not in await store.get_many(list(entries(0, 10)))


async def test_a_file_size_limit_refuses_writes_and_the_service_goes_on_reading(file: Path) -> None:
    service = started(file, 0, 100_000, 50, str(1024**2))
    lines = await asyncio.to_thread(finished, service)
    assert lines[-2].startswith("refused store_unavailable ")
    acknowledged = lines[-3].removeprefix("kept ")
    assert int(acknowledged) > 200
    assert lines[-1] == f"read {acknowledged}"


# Files that are not ours to touch


async def test_a_file_of_a_newer_release_is_refused_and_left_as_it_is(file: Path) -> None:
    await written(file, 5)
    with contextlib.closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA user_version = 9")
    before = file.read_bytes()
    problem = await refusal(file)
    assert isinstance(problem, StoreSchemaError)
    assert problem.code == "store_schema"
    assert "version 9, this Countermark knows up to 1" in str(problem)
    assert file.read_bytes() == before


async def test_a_database_of_another_program_is_refused_and_left_as_it_is(file: Path) -> None:
    file.parent.mkdir()
    with contextlib.closing(sqlite3.connect(file)) as other, other:
        other.execute("CREATE TABLE notes (text)")
    before = file.read_bytes()
    problem = await refusal(file)
    assert isinstance(problem, StoreSchemaError)
    assert "another program" in str(problem)
    assert file.read_bytes() == before
    assert [each.name for each in file.parent.iterdir()] == [file.name]


# Statements


async def test_a_batch_is_one_statement_and_one_row(file: Path) -> None:
    """A thread hands over the interpreter lock for every row: beside a busy event loop that costs most."""
    kept = entries(0, 1024)
    ran: list[str] = []

    def traced(opened_file: VerdictReader | VerdictWriter) -> None:
        opened_file.open()
        assert opened_file._open is not None
        opened_file._open.set_trace_callback(ran.append)

    writer = VerdictWriter(file, busy_seconds=1.0, max_bytes=1024**3)
    traced(writer)
    writer.put_many(kept)
    assert [line.split()[0] for line in ran] == ["BEGIN", "INSERT", "COMMIT", "PRAGMA", "PRAGMA", "PRAGMA"]
    ran.clear()
    reader = VerdictReader(file, busy_seconds=1.0)
    traced(reader)
    assert reader.get_many(list(kept)).values == list(kept.values())
    assert [line.split("(")[0] for line in ran] == ["SELECT CAST"]
    reader.close()
    writer.close()
