"""Which receipts were issued here, so that it can be said what a bad verifier touched.

One SQLite file in the data folder. It keeps the envelope of each receipt (about a
kilobyte, whatever the batch), not its leaves: those are with whoever asked for it.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from countermark_service.errors import CountermarkError
from countermark_service.receipts.statement import Envelope, Statement
from countermark_service.store.reading import open_to_read

_APPLICATION_ID = 0x434D4B32
"""`PRAGMA application_id`, "CMK2"."""
_SCHEMA_VERSION = 1
_BUSY_SECONDS = 5.0
_TABLES = """
CREATE TABLE receipts (
  number INTEGER PRIMARY KEY, root TEXT NOT NULL, issued TEXT NOT NULL, ref TEXT NOT NULL, items INTEGER NOT NULL,
  failed INTEGER NOT NULL, release TEXT, keyid TEXT NOT NULL, envelope BLOB NOT NULL);
CREATE TABLE names (digest TEXT NOT NULL, number INTEGER NOT NULL REFERENCES receipts, PRIMARY KEY (digest, number))
  WITHOUT ROWID;
"""


class LedgerError(CountermarkError):
    """The ledger of receipts cannot be read or written."""

    code = "receipt_ledger"


@dataclass(frozen=True)
class IssuedReceipt:
    """One line of the ledger."""

    root: str
    """Of the tree over its verdicts, as hex."""
    issued: str
    ref: str
    """Pin of the verifier."""
    items: int
    failed: int
    release: str | None
    """Ref of the release that was scored by, if any."""
    keyid: str
    envelope: bytes
    """The signed statement, as JSON."""


class Ledger:
    """The ledger of one data folder. It may be used from several threads and processes."""

    def __init__(self, file: Path) -> None:
        """`file` need not exist."""
        self._file = file
        self._lock = threading.Lock()
        self._open: sqlite3.Connection | None = None

    def add(self, statement: Statement, envelope: Envelope) -> None:
        """Keep a receipt that was issued.

        Raises:
            LedgerError: It is not kept.
        """
        predicate = statement.predicate
        release = predicate.release
        verifier = predicate.verifier
        digests = {verifier.digest, *(child.digest for child in verifier.children)}
        digests |= {release.digest} if release else set()
        row = (
            statement.root.hex(), predicate.issued, predicate.verifier.ref, predicate.items, predicate.failed,
            release.ref if release else None, envelope.signatures[0].keyid, msgspec.json.encode(envelope),
        )  # fmt: skip
        with self._lock, self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                number = connection.execute(
                    "INSERT INTO receipts (root, issued, ref, items, failed, release, keyid, envelope)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    row,
                ).lastrowid
                connection.executemany(
                    "INSERT INTO names VALUES (?, ?)", [(each, number) for each in digests]
                )
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def receipts_naming(self, digest: str) -> list[IssuedReceipt]:
        """Return the receipts whose verifier, a child of it or release card has `digest` (``sha256:…``).

        The oldest comes first. Nothing is written, so the data folder may be read-only.

        Raises:
            LedgerError: The file cannot be read.
        """
        if not self._file.exists():
            return []
        with self._told(), closing(open_to_read(self._file)) as connection:
            if not self._is_prepared(connection):
                return []
            rows = connection.execute(
                "SELECT root, issued, ref, items, failed, release, keyid, envelope FROM names JOIN receipts"
                " USING (number) WHERE digest = ? ORDER BY number",
                (digest,),
            ).fetchall()
        return [IssuedReceipt(*row) for row in rows]

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            self._drop()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._told():
                if self._open is None:
                    self._open = self._connect()
                yield self._open
        except LedgerError:
            self._drop()
            raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as exc:
            raise LedgerError(f"the ledger of receipts, {self._file}, cannot be used: {exc}.") from exc

    def _connect(self) -> sqlite3.Connection:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self._file, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("BEGIN IMMEDIATE")
            self._prepare(connection)
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if self._is_prepared(connection):
            return
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    def _is_prepared(self, connection: sqlite3.Connection) -> bool:
        """Whether the file has its tables; raises LedgerError where it has others."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if (application, version) == (_APPLICATION_ID, _SCHEMA_VERSION):
            return True
        if application or version or tables:
            raise LedgerError(
                f"{self._file} is a database of another program, or of a later Countermark: it was left as it is."
            )
        return False

    def _drop(self) -> None:
        if self._open is not None:
            with closing(self._open):
                self._open = None
