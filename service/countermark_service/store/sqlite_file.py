"""The SQLite file behind the store: its layout and every statement, without threads.

One table, `verdicts(id, head, value)`. `id` is the first eight bytes of the key as
a signed little-endian integer and is the rowid: SQLite finds integers in about half
the time it needs for blobs, and a row may fill a whole page before it spills. The
whole key is in `head`, so two keys that share eight bytes are told apart (the later
one is simply not kept). `head` also holds the value's length and a CRC-32 over key
and value, because SQLite has no checksums of its own: a flipped bit on disk must be
a miss, never another verdict. `value` is what was put, untouched, so an auditor can
query it.

Whole batches travel in one statement, as one row or one list of values. The
sqlite3 module hands the interpreter lock back and forth for every row, and beside
a thread that computes each return can take 5 ms: 256 rows took up to 600 ms, one
row with all of them 15 ms (`tests/bench/bench_store.py`).

Room is made by key range. Digests are spread evenly, so deleting one 64th of the
range of `id` deletes one 64th of the entries, on neighbouring pages, with no
index by age. Under independent requests random replacement hits as often as
first in, first out (Gelenbe 1973), and the recent past is kept by the LRU in front.

A later table (transcripts, say) raises `SCHEMA_VERSION` and adds a step to
`_prepare`; files of a newer version are refused.
"""

import contextlib
import itertools
import secrets
import sqlite3
import struct
import sys
import time
import zlib
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from countermark_service.store.interface import (
    KEY_BYTES,
    StoreSchemaError,
    StoreUnavailableError,
    check_keys,
)
from countermark_service.store.reading import open_to_read

SCHEMA_VERSION = 1
"""`PRAGMA user_version` of the layout above."""

APPLICATION_ID = 0x434D4B31
"""`PRAGMA application_id`, "CMK1": tells a file of ours from another program's."""

PAGE_BYTES = 8192
READ_CACHE_KIB = 16 * 1024
WAL_PAGES = 4000
"""Length of the write-ahead log, about 32 MiB, at which it is copied into the file."""
WAL_KEEP_BYTES = 64 * 1024 * 1024
"""A write-ahead log that a burst made longer is cut back to this."""

BATCH_SIZES = (4, 16, 64, 256, 1024)
"""Keys or entries per statement; lists are padded to the next size, so that few statements are prepared."""

SWEEP_STEPS = 64
"""Into how many ranges of `id` an eviction divides the table."""

_Row = TypeVar("_Row")
_HEAD = struct.Struct(f">{KEY_BYTES}sII")
_ID_MIN, _ID_SPAN = -(2**63), 2**64

_TABLE = "CREATE TABLE verdicts (id INTEGER PRIMARY KEY, head BLOB NOT NULL, value BLOB NOT NULL)"


@dataclass(frozen=True, slots=True)
class Found:
    """What a lookup gave."""

    values: list[bytes | None]
    """One value per key, in order; None where nothing sound is kept."""
    damaged: list[int]
    """`id` of every row whose checksum is wrong."""


class _SqliteFile:
    """One lazily opened connection; errors close it, so that the next call opens the file anew."""

    def __init__(self, path: Path, *, busy_seconds: float) -> None:
        self._path = path
        self._busy_seconds = busy_seconds
        self._open: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file, and create it where there is none.

        Raises:
            StoreUnavailableError: It cannot be opened.
            StoreSchemaError: It is of a newer version or of another program.
        """
        with self._connection():
            pass

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        if self._open is not None:
            with contextlib.suppress(sqlite3.Error):  # a failing checkpoint loses nothing: the log stays
                self._open.close()
            self._open = None

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._open is None:
                self._open = self._connect()
            yield self._open
        except (sqlite3.Error, OSError) as exc:
            self.close()
            raise _unavailable(self._path, exc) from exc

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self._path, timeout=self._busy_seconds, isolation_level=None, cached_statements=32
        )
        try:
            _prepare(connection, self._path, self._busy_seconds)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_KEEP_BYTES}")
        except BaseException:
            connection.close()
            raise
        return connection


class VerdictReader(_SqliteFile):
    """Looks verdicts up. Use from one thread."""

    def _connect(self) -> sqlite3.Connection:
        connection = super()._connect()
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA cache_size = -{READ_CACHE_KIB}")
        return connection

    def get_many(self, keys: Sequence[bytes]) -> Found:
        """Return one value per key, in order, and the rows that were found damaged.

        Raises:
            ValueError: A key has not 32 bytes.
            StoreUnavailableError: The file cannot be read.
        """
        found: dict[bytes, bytes] = {}
        damaged: list[int] = []
        with self._connection() as connection:
            for ids in _padded(_row_ids(keys)):
                damaged += _read(connection, ids, found)
        return Found([found.get(key) for key in keys], damaged)


class KeptReader(VerdictReader):
    """Looks up in a file that stays as it is, and may lie where nothing can be written."""

    def _connect(self) -> sqlite3.Connection:
        connection = open_to_read(self._path)
        try:
            _version(connection, self._path)
        except BaseException:  # nobody else has it yet, to close it
            connection.close()
            raise
        return connection


class VerdictWriter(_SqliteFile):
    """Keeps verdicts, and the file within its bound. Use from one thread."""

    def __init__(self, path: Path, *, busy_seconds: float, max_bytes: int) -> None:
        super().__init__(path, busy_seconds=busy_seconds)
        self._max_bytes = max_bytes
        self._sweep = secrets.randbelow(SWEEP_STEPS)

    def put_many(self, entries: Mapping[bytes, bytes]) -> int:
        """Keep every entry whose key is not there yet, in one transaction, then make room.

        Returns:
            How many entries were evicted.

        Raises:
            ValueError: A key has not 32 bytes.
            StoreUnavailableError: Nothing of the batch was kept.
        """
        heads = [_head(key, value) for key, value in entries.items()]
        rows = sorted(zip(_row_ids(entries), heads, entries.values(), strict=True))
        with self._connection() as connection:
            with _transaction(connection):
                for batch in _padded(rows):
                    marks = ",".join(["(?,?,?)"] * len(batch))
                    connection.execute(
                        f"INSERT OR IGNORE INTO verdicts VALUES {marks}",  # noqa: S608 - question marks only
                        list(itertools.chain.from_iterable(batch)),
                    )
            return self._make_room(connection)

    def discard_damaged(self, ids: Sequence[int]) -> None:
        """Delete damaged rows, so that their verdicts can be kept anew.

        Raises:
            StoreUnavailableError: They are still there.
        """
        with self._connection() as connection, _transaction(connection):
            connection.executemany("DELETE FROM verdicts WHERE id = ?", [(each,) for each in ids])

    def discard_many(self, keys: Sequence[bytes]) -> None:
        """Delete what is kept under some keys.

        Raises:
            ValueError: A key has not 32 bytes.
            StoreUnavailableError: It is still there.
        """
        rows = list(zip(_row_ids(keys), keys, strict=True))
        with self._connection() as connection, _transaction(connection):
            connection.executemany(
                f"DELETE FROM verdicts WHERE id = ? AND substr(head, 1, {KEY_BYTES}) = ?",  # noqa: S608 - a number of ours only
                rows,
            )

    def _make_room(self, connection: sqlite3.Connection) -> int:
        """Delete range after range until the pages in use are within the bound; return how many entries."""
        evicted = 0
        for _ in range(SWEEP_STEPS):
            if _used_bytes(connection) <= self._max_bytes:
                break
            first = _ID_MIN + self._sweep * (_ID_SPAN // SWEEP_STEPS)
            last = first + _ID_SPAN // SWEEP_STEPS - 1
            self._sweep = (self._sweep + 1) % SWEEP_STEPS
            with _transaction(connection):
                cursor = connection.execute("DELETE FROM verdicts WHERE id BETWEEN ? AND ?", (first, last))
                evicted += cursor.rowcount
        return evicted


def _prepare(connection: sqlite3.Connection, path: Path, busy_seconds: float) -> None:
    """Create the tables in an empty file; refuse a file that is not ours to touch."""
    with _transaction(connection, "DEFERRED"):  # one view of the file, while another service may create it
        if _version(connection, path) == SCHEMA_VERSION:
            return
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    _switch_to_wal(connection, busy_seconds)
    with _transaction(connection):
        if _version(connection, path) != SCHEMA_VERSION:  # look again: another service may have been faster
            connection.execute(_TABLE)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the layout's version, 0 for an empty file."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application == APPLICATION_ID:
        if version > SCHEMA_VERSION:
            raise StoreSchemaError(
                "sqlite",
                str(path),
                f"its layout is version {version}, this Countermark knows up to {SCHEMA_VERSION}",
                "Upgrade Countermark, or give this release a data folder of its own.",
            )
        return int(version)
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application or version or tables:
        raise StoreSchemaError(
            "sqlite",
            str(path),
            "it is a database of another program",
            "It was left as it is. Name another file, or move this one away.",
        )
    return 0


def _switch_to_wal(connection: sqlite3.Connection, busy_seconds: float) -> None:
    """Set the write-ahead log. SQLite does not wait here for a service that is doing the same; this does."""
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """Write everything or nothing. IMMEDIATE, so that waiting for another writer happens at the start."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite rolls back by itself on some errors, a full disk among them
            connection.execute("ROLLBACK")
        raise


def _read(connection: sqlite3.Connection, ids: Sequence[int], found: dict[bytes, bytes]) -> list[int]:
    """Add the sound rows of `ids` to `found`; return the ids of the damaged ones."""
    marks = ",".join("?" * len(ids))
    try:
        (joined,) = connection.execute(
            # One row for all: see the head of this module. `||` and group_concat copy bytes as they are.
            f"SELECT CAST(group_concat(head || value, '') AS BLOB) FROM verdicts WHERE id IN ({marks})",  # noqa: S608 - question marks only
            ids,
        ).fetchone()
        if _split(joined or b"", found):
            return []
    except sqlite3.DataError:
        pass  # together over SQLite's bound for one value (1 GB): go one by one, too
    return _read_one_by_one(connection, ids, found)


def _split(joined: bytes, found: dict[bytes, bytes]) -> bool:
    """Add the entries of `joined` to `found` up to the first damaged one; return whether all are sound."""
    at, end = 0, len(joined)
    unpack, head_bytes, crc32 = _HEAD.unpack_from, _HEAD.size, zlib.crc32
    while at < end:
        if end - at < head_bytes:
            return False
        key, length, check = unpack(joined, at)
        at += head_bytes
        value = joined[at : at + length]
        if crc32(value, crc32(key)) != check:
            return False
        found[key] = value
        at += length
    return True


def _read_one_by_one(
    connection: sqlite3.Connection, ids: Sequence[int], found: dict[bytes, bytes]
) -> list[int]:
    """Do what `_read` does, slowly, so that one damaged row costs none of its neighbours."""
    damaged = []
    for each in ids:
        row = connection.execute(
            # Damage can change a column's type, too: the casts make bytes of whatever is there.
            "SELECT CAST(head AS BLOB), CAST(value AS BLOB) FROM verdicts WHERE id = ?",
            (each,),
        ).fetchone()
        if row is not None and not _split((row[0] or b"") + (row[1] or b""), found):
            damaged.append(each)
    return sorted(set(damaged))


def _padded(rows: Sequence[_Row]) -> Iterator[Sequence[_Row]]:
    """Cut `rows` into pieces of a size in `BATCH_SIZES`, the last one filled up with its own last row."""
    largest = BATCH_SIZES[-1]
    for start in range(0, len(rows), largest):
        piece = list(rows[start : start + largest])
        size = next(size for size in BATCH_SIZES if size >= len(piece))
        yield piece + [piece[-1]] * (size - len(piece))


def _row_ids(keys: Collection[bytes]) -> list[int]:
    """Return the `id` of each key, in order.

    Raises:
        ValueError: A key has not 32 bytes.
    """
    check_keys(keys)
    words = array("q", b"".join(keys))
    if sys.byteorder == "big":
        words.byteswap()
    return words[:: KEY_BYTES // words.itemsize].tolist()


def _head(key: bytes, value: bytes) -> bytes:
    return _HEAD.pack(key, len(value), zlib.crc32(value, zlib.crc32(key)))


def _used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of pages in use; free pages do not count, they are filled first."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * page_bytes)


_ADVICE = {
    sqlite3.SQLITE_FULL: ("the disk is full", "Free space; writing goes on by itself."),
    sqlite3.SQLITE_READONLY: ("it cannot be written", "Make it, its -wal and -shm and the folder writable."),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "Check the path, its folder and the permissions."),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", "Move it away: it is a cache and is made anew."),
    sqlite3.SQLITE_NOTADB: ("it is no SQLite file", "Move it away: it is a cache and is made anew."),
    sqlite3.SQLITE_BUSY: ("another service kept it locked", "If this stays, give each its own data folder."),
    sqlite3.SQLITE_IOERR: ("reading or writing it failed", "Check the disk and the space left on it."),
}


def _unavailable(path: Path, exc: Exception) -> StoreUnavailableError:
    code = getattr(exc, "sqlite_errorcode", None)
    problem, advice = _ADVICE.get((code or 0) & 0xFF, ("it cannot be used", "Check the data folder."))
    return StoreUnavailableError("sqlite", str(path), f"{problem} ({exc})", advice)
