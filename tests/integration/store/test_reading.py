"""SQLite files are read where nothing can be written, and beside one who writes."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from countermark_service.assembly import build_issuer, build_transcripts
from countermark_service.judge import Transcript, archive_line
from countermark_service.judge.transcripts import id_of, kept_entries
from countermark_service.receipts import Ledger
from countermark_service.settings import Settings, load_settings
from countermark_service.store.reading import open_to_read

Lock = Callable[[], None]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[tuple[Path, Lock]]:
    """A folder on a disk of its own, and what makes the disk read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.strip()}")

    def lock() -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)

    yield folder, lock
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def written(file: Path) -> sqlite3.Connection:
    """Return a connection that has written a row, which is in the log still."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE kept (value)")
    connection.execute("INSERT INTO kept VALUES (1)")
    return connection


def kept(file: Path) -> list[tuple[int]]:
    with closing(open_to_read(file)) as connection:
        return connection.execute("SELECT value FROM kept").fetchall()


def test_what_a_writer_has_just_written_is_read_and_nothing_can_be_changed(tmp_path: Path) -> None:
    file = tmp_path / "a file? #1.sqlite"
    with closing(written(file)) as writer:
        assert kept(file) == [(1,)]
        writer.execute("INSERT INTO kept VALUES (2)")
        assert kept(file) == [(1,), (2,)]
        with (
            closing(open_to_read(file)) as connection,
            pytest.raises(sqlite3.OperationalError, match="readonly"),
        ):
            connection.execute("INSERT INTO kept VALUES (3)")


def test_a_file_that_was_closed_is_read_on_a_disk_that_is_read_only(folder: tuple[Path, Lock]) -> None:
    place, lock = folder
    written(place / "file.sqlite").close()
    lock()
    assert kept(place / "file.sqlite") == [(1,)]


def test_a_log_that_cannot_be_read_is_not_left_out(folder: tuple[Path, Lock], tmp_path: Path) -> None:
    place, lock = folder
    with closing(written(tmp_path / "file.sqlite")):
        for name in ("file.sqlite", "file.sqlite-wal"):
            (place / name).write_bytes((tmp_path / name).read_bytes())
    lock()
    with pytest.raises(sqlite3.OperationalError):
        kept(place / "file.sqlite")


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no database" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        open_to_read(tmp_path / "file")


def test_the_ledger_of_receipts_is_read_on_a_disk_that_is_read_only(folder: tuple[Path, Lock]) -> None:
    place, lock = folder
    ledger = build_issuer(load_settings({"data": place}, environment={})).ledger
    with ledger._connection():  # makes the file
        pass
    ledger.close()
    lock()
    assert Ledger(place / "receipts.sqlite").receipts_naming("sha256:" + "0" * 64) == []


def judge(data: Path, *words: str) -> "subprocess.CompletedProcess[bytes]":
    """Run `countermark judge …` on a data folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COUNTERMARK_")}
    line = [sys.executable, "-m", "countermark_service", "judge", *words, "--data", str(data)]
    return subprocess.run(line, env=environment, capture_output=True, check=False)


async def test_transcripts_are_exported_and_shown_on_a_disk_that_is_read_only(
    folder: tuple[Path, Lock],
) -> None:
    place, lock = folder
    raw = '{"choices": [{"index": 0, "message": {"role": "assistant", "content": "SAME"}}]}'
    made = Transcript(request={"model": "m", "messages": []}, ask=0, raw=raw, served_as="m")
    encoded = made.encode()
    store = build_transcripts(Settings(data=place))
    await store.put_many(kept_entries([(made, encoded)]))
    await store.close()
    lock()

    exported = judge(place, "export", "-")
    shown = judge(place, "show", f"sha256:{id_of(encoded).hex()}")

    assert (exported.returncode, exported.stdout) == (0, archive_line(encoded)), exported.stderr
    assert (shown.returncode, b"SAME" in shown.stdout) == (0, True), shown.stderr


def test_an_export_of_nothing_makes_no_file(tmp_path: Path) -> None:
    ended = judge(tmp_path / "none", "export", "-")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"0 transcripts\n")
    assert not (tmp_path / "none").exists()


def test_transcripts_in_a_file_of_another_program_are_refused(tmp_path: Path) -> None:
    with closing(written(tmp_path / "transcripts.sqlite")):
        pass
    ended = judge(tmp_path, "show", "sha256:" + "0" * 64)
    assert ended.returncode == 1
    assert b"a database of another program" in ended.stderr
