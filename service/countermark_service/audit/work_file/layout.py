"""What stands in the SQLite file of an audit, and how it is opened.

Layout (`PRAGMA user_version` 2, `application_id` "CMA1"):

    meta(key, value)            JSON by name: `plan` (what was asked for), `state`, times, version
    inputs(file, path, size, sha256, format, rows)
    verifiers(pin, name, version, digest, role, asked)
                                pin: place in the order of the report, from 0
                                role: `card` (a route of the card names it) or `asked` (only --verifier does)
                                asked: 1 where it scores every row
    routes(task, pin, params, on_failure)
                                which verifiers score the rows of a task
    rows(row, file, line, published, generation, task, variant, model, sample, metric,
         params, reference, extras, prompt, response)
                                row: from 0 without gaps; params, reference and extras are JSON
    verdicts(row, pin, outcome, score, reward, cached, surroundings, detail)
                                score and reward NULL for a failure (reward as `on_failure` says);
                                detail is JSON; primary key (row, pin)
    surroundings(id, value)     JSON of the surroundings that verdicts were made in, each once
    refusals(row, pin, message) a verifier does not take the row (a parameter it does not know, a response
                                over the limit): no verdict, and no score
    receipts(number, pin, rows, root, key, document)
                                rows: JSON list of the rows whose verdicts the receipt is over, in its order;
                                root as hex; key: id of the key that signed; document: the receipt, JSON
    unusable(file, line, code, message)
                                what was read and is no row; `line` NULL: the whole file
    notes(code, file, line, message, count)
                                what a reader should know of rows that are used (a published score that is no
                                number, columns that were guessed): per code and file the first, and how many
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from countermark_service.errors import CountermarkError

SCHEMA_VERSION = 2
"""`PRAGMA user_version` of the layout above."""

APPLICATION_ID = 0x434D4131
"""`PRAGMA application_id`, "CMA1"."""

CHUNK = 512
"""Rows that are fetched at a time."""

_PAGE_BYTES = 16384
"""Of a page of a new file: a row has some kilobytes."""
_CACHE_KIB = 32768
_LOG_PAGES = 4096
"""Pages in the log at which they go to their places, 64 MiB: one that many rows change goes there once then, and not
once for every 4 MB, which is SQLite's own limit."""

Ready = Callable[[int], None]
"""Waits until all rows before a place are scored as far as they will be."""


def at_once(row: int) -> None:
    """Wait for nothing: the scoring has ended. See `Ready`."""


encode = msgspec.json.Encoder(order="deterministic").encode
decode = msgspec.json.decode

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE inputs (
    file INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, sha256 TEXT NOT NULL,
    format TEXT, rows INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE verifiers (
    pin INTEGER PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL, digest TEXT NOT NULL, role TEXT NOT NULL,
    asked INTEGER NOT NULL
);
CREATE TABLE routes (
    task TEXT NOT NULL, pin INTEGER NOT NULL, params TEXT NOT NULL, on_failure TEXT NOT NULL,
    PRIMARY KEY (task, pin)
) WITHOUT ROWID;
CREATE TABLE rows (
    row INTEGER PRIMARY KEY, file INTEGER NOT NULL, line INTEGER NOT NULL, published REAL,
    generation INTEGER NOT NULL, task TEXT NOT NULL, variant TEXT NOT NULL, model TEXT NOT NULL,
    sample TEXT NOT NULL, metric TEXT, params TEXT NOT NULL, reference TEXT NOT NULL, extras TEXT NOT NULL,
    prompt TEXT, response TEXT NOT NULL
);
CREATE TABLE samples (key BLOB PRIMARY KEY, count INTEGER NOT NULL, first INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE verdicts (
    row INTEGER NOT NULL, pin INTEGER NOT NULL, outcome TEXT NOT NULL, score REAL, reward REAL,
    cached INTEGER NOT NULL, surroundings INTEGER NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (row, pin)
) WITHOUT ROWID;
CREATE TABLE surroundings (id INTEGER PRIMARY KEY, value TEXT NOT NULL UNIQUE);
CREATE TABLE refusals (
    row INTEGER NOT NULL, pin INTEGER NOT NULL, message TEXT NOT NULL, PRIMARY KEY (row, pin)
) WITHOUT ROWID;
CREATE TABLE receipts (
    number INTEGER PRIMARY KEY, pin INTEGER NOT NULL, rows TEXT NOT NULL, root TEXT NOT NULL, key TEXT NOT NULL,
    document BLOB NOT NULL
);
CREATE TABLE unusable (file INTEGER, line INTEGER, code TEXT NOT NULL, message TEXT NOT NULL);
CREATE TABLE notes (
    code TEXT NOT NULL, file INTEGER NOT NULL, line INTEGER, message TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (code, file)
);
"""


class WorkFileError(CountermarkError):
    """A work file that cannot be used."""

    code = "invalid_work_file"

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"the work file {path} {problem}.")
        self.path, self.problem = str(path), problem


class Connected:
    """What has the file open; each subject of it is a class of its own below this one."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Read and write through `connection`, one thread at a time."""
        self.path = path
        self._connection = connection


def connect(path: Path, cache_kib: int = _CACHE_KIB) -> sqlite3.Connection:
    """Open the file; raises what sqlite3 does."""
    connection = sqlite3.connect(
        os.fsencode(path), isolation_level=None, check_same_thread=False, timeout=5.0
    )
    try:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = {-cache_kib}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    except BaseException:  # whatever it was, nobody else has the connection to close it
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the disk raise into a `WorkFileError`."""
    try:
        yield
    except (sqlite3.Error, OSError) as exc:
        raise WorkFileError(path, f"cannot be used: {exc}") from exc


def text(value: Any) -> str:
    """Return a value as JSON, as the columns of the file hold it."""
    return encode(value).decode()
