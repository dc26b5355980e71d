"""The work file of an audit: rows in, verdicts beside them, in one SQLite file.

Everything that an audit knows is here, so a run that was killed goes on where it
was, a report can be made again without scoring, and an auditor can ask questions
in SQL. Rows are read in order and a chunk at a time: memory does not grow with
their number.

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

Use one object from one thread at a time.
"""

import contextlib
import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from countermark_service.audit.rows import OutputRow, Unusable
from countermark_service.errors import CountermarkError
from countermark_service.model import BundleRef, Outcome

SCHEMA_VERSION = 2
"""`PRAGMA user_version` of the layout above."""

APPLICATION_ID = 0x434D4131
"""`PRAGMA application_id`, "CMA1"."""

_CHUNK = 512
"""Rows that are fetched at a time."""

_KNOWN_SURROUNDINGS = 1024
"""How many are kept in memory; there is one for each kind of worker, but a judge's may differ by item."""

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.decode

_TABLES = """
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

Role = Literal["card", "asked"]


class WorkFileError(CountermarkError):
    """A work file that cannot be used."""

    code = "invalid_work_file"

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"the work file {path} {problem}.")
        self.path, self.problem = str(path), problem


@dataclass(frozen=True)
class Input:
    """An input file, as it was when it was read."""

    path: str
    """As it was named; a file of a folder with its path below the folder."""
    size: int
    """Bytes."""
    sha256: str
    """Of its bytes: 64 hex digits."""
    format: str | None = None
    """Name of the reader that read it, such as ``lm-eval``; None where none could."""
    rows: int = 0
    """Usable rows that came from it."""


@dataclass(frozen=True)
class AuditVerifier:
    """One verifier of the audit."""

    pin: BundleRef
    """Name, version and digest."""
    role: Role
    """``card``: a route of the release card names it. ``asked``: it was named with --verifier only."""
    asked: bool = True
    """Whether it scores every row; one that only the card names scores the rows of its tasks."""


@dataclass(frozen=True)
class Route:
    """That the rows of a task are scored by a verifier."""

    pin: int
    """Place among the verifiers."""
    params: Mapping[str, Any]
    """Parameters for the verifier; a row may add others and not change these."""
    on_failure: str
    """``null``, ``zero`` or ``raise``: what `reward` is where there is no score."""


class StoredVerdict(msgspec.Struct, frozen=True, gc=False):
    """One verdict, whole."""

    row: int
    """Index of the row."""
    pin: int
    """Place of the verifier, from 0."""
    outcome: Outcome
    score: float | None
    """In [0, 1], or None for a failure."""
    reward: float | None
    """`score`, or what `on_failure` puts in its place."""
    cached: bool
    detail: dict[str, Any]
    """What the verifier found; for a failure `code` and `message`."""
    surroundings: dict[str, Any]
    """Interpreter, platform and containment that it was made in."""


class NewVerdict(msgspec.Struct, frozen=True, gc=False):
    """One verdict on its way in or out, its `detail` and `surroundings` as JSON objects that nobody reads."""

    row: int
    pin: int
    outcome: str
    score: float | None
    reward: float | None
    cached: bool
    detail: bytes
    surroundings: bytes


class Mark(msgspec.Struct, frozen=True, gc=False):
    """What statistics need of a verdict."""

    outcome: Outcome
    score: float | None
    """In [0, 1], or None for a failure."""


class JudgedRow(msgspec.Struct, frozen=True):
    """A row without its texts, with what every verifier said: what statistics need, and cheap to read."""

    index: int
    task: str
    variant: str
    model: str
    sample: str
    generation: int
    published: float | None
    metric: str | None
    marks: tuple[Mark | None, ...]
    """One per verifier, by its place; None where it does not score this task, refused the row, or has not yet."""


class Texts(msgspec.Struct, frozen=True, gc=False):
    """What scoring needs of a row."""

    row: int
    task: str
    prompt: str | None
    response: str
    reference: Any
    params: dict[str, Any]


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """That a verifier does not take a row; there is no verdict."""

    row: int
    pin: int
    message: str


class StoredReceipt(msgspec.Struct, frozen=True, gc=False):
    """A signed receipt over verdicts of one verifier."""

    pin: int
    rows: list[int]
    """Whose verdicts it is over, in its order."""
    root: str
    """Of the tree over them, as hex."""
    key: str
    """Id of the key that signed it."""
    document: bytes
    """The receipt, JSON."""


class Note(msgspec.Struct, frozen=True, gc=False):
    """What a reader should know of rows that are used."""

    file: str
    line: int | None
    """Of the first row that it is about."""
    code: str
    message: str
    """What was found on the first of them, as a sentence."""
    count: int
    """How many rows of the file it is about."""


class WorkFile:
    """One open work file; a context manager."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Use `create`, `open` or `reading`."""
        self.path = path
        self._connection = connection
        self._surroundings: dict[str, int] = {}
        self._places: dict[str, int] = {}

    # --- opening -------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path) -> "WorkFile":
        """Make an empty work file.

        Raises:
            WorkFileError: Something of that name exists, or it cannot be written.
        """
        if path.exists():
            raise WorkFileError(path, "exists already")
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = _connect(path)
            connection.executescript(
                f"BEGIN;{_TABLES}PRAGMA application_id={APPLICATION_ID};PRAGMA user_version={SCHEMA_VERSION};COMMIT;"
            )
        return cls(path, connection)

    @classmethod
    def open(cls, path: Path) -> "WorkFile":
        """Open a work file to go on with it.

        Raises:
            WorkFileError: It does not exist, is damaged, or is of another program or a newer version.
        """
        if not path.is_file():
            raise WorkFileError(path, "does not exist")
        with _explained(path):
            connection = _connect(path)
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        if (application, version) != (APPLICATION_ID, SCHEMA_VERSION):
            connection.close()
            what = (
                f"is of layout {version}" if application == APPLICATION_ID else "is no work file of an audit"
            )
            raise WorkFileError(path, f"{what}; this version reads layout {SCHEMA_VERSION}")
        return cls(path, connection)

    @classmethod
    def reading(cls, path: Path) -> "WorkFile":
        """Open a work file to read it only; raises as `open`."""
        work = cls.open(path)
        work._connection.execute("PRAGMA query_only = ON")
        return work

    def close(self) -> None:
        """Close it; what was committed is kept."""
        self._connection.close()

    def __enter__(self) -> "WorkFile":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep everything that the block writes, or nothing of it.

        Raises:
            WorkFileError: It cannot be written: the disk is full, say.
        """
        with _explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._surroundings.clear()
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    # --- what was asked for --------------------------------------------------------------------------

    def meta(self, key: str) -> Any:
        """Return a value of `meta`; None where there is none."""
        found = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if found is None else _decode(found[0])

    def set_meta(self, key: str, value: Any) -> None:
        """Keep a JSON value under a name."""
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, _text(value)))

    @property
    def inputs(self) -> list[Input]:
        """The input files, in their order."""
        found = self._connection.execute("SELECT path, size, sha256, format, rows FROM inputs ORDER BY file")
        return [Input(*one) for one in found]

    def add_input(self, one: Input) -> None:
        """Note an input file, behind the others."""
        place = self._connection.execute("SELECT count(*) FROM inputs").fetchone()[0]
        self._places[one.path] = place
        self._connection.execute(
            "INSERT INTO inputs VALUES (?, ?, ?, ?, ?, ?)",
            (place, one.path, one.size, one.sha256, one.format, one.rows),
        )

    def finish_rows(self) -> None:
        """Make the rows easy to find by task and model, once all are there."""
        self._connection.execute("CREATE INDEX IF NOT EXISTS rows_by_group ON rows (task, model)")

    def finish_input(self, path: str, format_name: str | None, rows: int) -> None:
        """Note how an input file was read and what came of it."""
        self._connection.execute(
            "UPDATE inputs SET format = ?, rows = ? WHERE path = ?", (format_name, rows, path)
        )

    @property
    def verifiers(self) -> list[AuditVerifier]:
        """The verifiers, by their place."""
        found = self._connection.execute(
            "SELECT name, version, digest, role, asked FROM verifiers ORDER BY pin"
        )
        return [
            AuditVerifier(BundleRef(name, version, digest), role, asked=bool(asked))
            for name, version, digest, role, asked in found
        ]

    def set_verifiers(self, verifiers: Sequence[AuditVerifier]) -> None:
        """Name the verifiers; their order is the order of everything."""
        self._connection.executemany(
            "INSERT INTO verifiers VALUES (?, ?, ?, ?, ?, ?)",
            [(i, v.pin.name, v.pin.version, v.pin.digest, v.role, v.asked) for i, v in enumerate(verifiers)],
        )

    def routes(self) -> Iterator[tuple[str, Route]]:
        """Yield every route with its task."""
        found = self._connection.execute(
            "SELECT task, pin, params, on_failure FROM routes ORDER BY task, pin"
        )
        for task, pin, params, on_failure in found:
            yield task, Route(pin, _decode(params), on_failure)

    def routes_of(self, task: str) -> list[Route]:
        """Return which verifiers score the rows of a task, and how."""
        found = self._connection.execute(
            "SELECT pin, params, on_failure FROM routes WHERE task = ? ORDER BY pin", (task,)
        )
        return [Route(pin, _decode(params), on_failure) for pin, params, on_failure in found]

    def add_routes(self, task: str, routes: Iterable[Route]) -> None:
        """Say which verifiers score the rows of a task."""
        self._connection.executemany(
            "INSERT INTO routes VALUES (?, ?, ?, ?)",
            [(task, route.pin, _text(route.params), route.on_failure) for route in routes],
        )

    # --- rows ----------------------------------------------------------------------------------------

    def clear_rows(self) -> None:
        """Forget everything that was asked for, read and scored."""
        for table in (
            "inputs",
            "verifiers",
            "routes",
            "rows",
            "samples",
            "verdicts",
            "surroundings",
            "refusals",
            "unusable",
            "notes",
        ):
            self._connection.execute(f"DELETE FROM {table}")  # noqa: S608 - the names stand one line up
        self._surroundings.clear()
        self._places.clear()

    def add_rows(self, rows: Sequence[OutputRow]) -> None:
        """Store rows; their `file` is one of the inputs, and their indices go on where the last ended."""
        self._connection.executemany(
            "INSERT INTO rows VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            [
                (
                    row.index, self._place(row.file), row.line, row.published, row.generation, row.task,
                    row.variant, row.model, row.sample, row.metric, _text(row.params), _text(row.reference),
                    _text(row.extras), row.prompt, row.response,
                )
                for row in rows
            ],
        )  # fmt: skip

    def samples(self, keys: Sequence[bytes]) -> dict[bytes, tuple[int, int]]:
        """Return how many answers there are to questions so far, and the row of the first; by key, where any is."""
        found: dict[bytes, tuple[int, int]] = {}
        for start in range(0, len(keys), _CHUNK):
            some = keys[start : start + _CHUNK]
            wanted = ",".join("?" * len(some))
            found |= {
                key: (count, first)
                for key, count, first in self._connection.execute(
                    f"SELECT key, count, first FROM samples WHERE key IN ({wanted})",  # noqa: S608 - marks only
                    some,
                )
            }
        return found

    def keep_samples(self, samples: Mapping[bytes, tuple[int, int]]) -> None:
        """Store what `samples` returns, with the answers that came since."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO samples VALUES (?, ?, ?)",
            [(key, count, first) for key, (count, first) in sorted(samples.items())],
        )

    def place_of(self, row: int) -> tuple[str, int]:
        """Return file and line of a row."""
        path, line = self._connection.execute(
            "SELECT path, line FROM rows JOIN inputs USING (file) WHERE row = ?", (row,)
        ).fetchone()
        return path, line

    def add_unusable(self, found: Iterable[Unusable]) -> None:
        """Note what cannot be scored."""
        self._connection.executemany(
            "INSERT INTO unusable VALUES (?, ?, ?, ?)",
            [(self._place(one.file), one.line, one.code, one.message) for one in found],
        )

    def _place(self, path: str) -> int:
        if path not in self._places:
            found = self._connection.execute("SELECT file FROM inputs WHERE path = ?", (path,)).fetchone()
            if found is None:
                raise WorkFileError(self.path, f"has no input {path!r}")
            self._places[path] = found[0]
        return self._places[path]

    def row_count(self) -> int:
        """How many rows there are."""
        return int(self._connection.execute("SELECT count(*) FROM rows").fetchone()[0])

    def row(self, index: int) -> OutputRow:
        """Return one row.

        Raises:
            WorkFileError: There is no such row.
        """
        for found in self.rows(index, index + 1):
            return found
        raise WorkFileError(self.path, f"has no row {index}")

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[OutputRow]:
        """Yield the rows from `start` to before `stop`, in order."""
        end = self.row_count() if stop is None else stop
        for first in range(start, end, _CHUNK):
            yield from self._rows("row >= ? AND row < ?", (first, min(first + _CHUNK, end)))

    def _rows(self, where: str, values: Sequence[int]) -> Iterator[OutputRow]:
        found = self._connection.execute(
            "SELECT row, path, line, task, variant, model, sample, generation, prompt, response, reference, "  # noqa: S608
            f"params, published, metric, extras FROM rows JOIN inputs USING (file) WHERE {where} ORDER BY row",
            values,
        ).fetchall()
        for one in found:
            yield OutputRow(
                index=one[0], file=one[1], line=one[2], task=one[3], variant=one[4], model=one[5],
                sample=one[6], generation=one[7], prompt=one[8], response=one[9],
                reference=_decode(one[10]), params=_decode(one[11]), published=one[12], metric=one[13],
                extras=_decode(one[14]),
            )  # fmt: skip

    def group(self, task: str, model: str) -> Iterator[tuple[OutputRow, list[NewVerdict]]]:
        """Yield the rows of a task and model in order, each with its verdicts, whose objects are unread."""
        found = self._connection.execute(
            "SELECT row FROM rows WHERE task = ? AND model = ? ORDER BY row", (task, model)
        )
        while chunk := [row for (row,) in found.fetchmany(_CHUNK)]:
            wanted = ",".join("?" * len(chunk))
            rows = self._rows(f"row IN ({wanted})", chunk)
            verdicts: dict[int, list[NewVerdict]] = {}
            for verdict in self._raw_verdicts(f"row IN ({wanted})", chunk):
                verdicts.setdefault(verdict.row, []).append(verdict)
            for row in rows:
                yield row, verdicts.get(row.index, [])

    def placed(self) -> Iterator[dict[str, Any]]:
        """Yield for every row, in order, what it is and where it stands, without its texts."""
        names = (
            "row",
            "file",
            "line",
            "task",
            "variant",
            "model",
            "sample",
            "generation",
            "published",
            "metric",
        )
        found = self._connection.execute(
            "SELECT row, path, line, task, variant, model, sample, generation, published, metric "
            "FROM rows JOIN inputs USING (file) ORDER BY row"
        )
        for one in found:
            yield dict(zip(names, one, strict=True))

    def texts(self, rows: Sequence[int]) -> list[Texts]:
        """Return what scoring needs of rows, in their order; the rows lie near to each other."""
        wanted = set(rows)
        found = self._connection.execute(
            "SELECT row, task, prompt, response, reference, params FROM rows "
            "WHERE row BETWEEN ? AND ? ORDER BY row",
            (min(rows), max(rows)),
        )
        return [
            Texts(row, task, prompt, response, _decode(reference), _decode(params))
            for row, task, prompt, response, reference, params in found
            if row in wanted
        ]

    def tasks(self) -> list[tuple[str, str, int, int]]:
        """Return every task with a file it comes from, its first line there and its number of rows there."""
        return self._connection.execute(
            "SELECT task, path, min(line), count(*) FROM rows JOIN inputs USING (file) GROUP BY task, file "
            "ORDER BY min(row)"
        ).fetchall()

    def unusable(self, limit: int | None = None, code: str | None = None) -> Iterator[Unusable]:
        """Yield what cannot be scored, in the order it was read; of one reason only where `code` is given."""
        found = self._connection.execute(
            "SELECT path, line, code, message FROM unusable JOIN inputs USING (file) "
            "WHERE ? IS NULL OR code = ? ORDER BY unusable.rowid LIMIT ?",
            (code, code, -1 if limit is None else limit),
        )
        for one in found:
            yield Unusable(*one)

    def unusable_counts(self) -> dict[str, int]:
        """How much cannot be scored, by reason."""
        return dict(
            self._connection.execute("SELECT code, count(*) FROM unusable GROUP BY code ORDER BY 2 DESC, 1")
        )

    def add_note(self, file: str, line: int | None, code: str, message: str, count: int = 1) -> None:
        """Note something about rows that are used; of a code and a file, the first message is kept."""
        self._connection.execute(
            "INSERT INTO notes VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET count = count + excluded.count",
            (code, self._place(file), line, message, count),
        )

    def notes(self) -> Iterator[Note]:
        """Yield what a reader should know of rows that are used."""
        found = self._connection.execute(
            "SELECT path, line, code, message, count FROM notes JOIN inputs USING (file) ORDER BY notes.rowid"
        )
        for one in found:
            yield Note(*one)

    def groups(self) -> list[tuple[str, str, str, int]]:
        """Return every task, variant and model that occur together, with the number of rows."""
        return self._connection.execute(
            "SELECT task, variant, model, count(*) FROM rows GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        ).fetchall()

    # --- verdicts ------------------------------------------------------------------------------------

    def missing(self, start: int, limit: int) -> list[tuple[int, int]]:
        """Return (row, pin) of verdicts that are due and not there, of at most `limit` rows from `start` on.

        In the order of the rows; empty where nothing is left behind `start`.
        """
        pins: dict[str, list[int]] = {}
        for task, route in self.routes():
            pins.setdefault(task, []).append(route.pin)
        found: list[tuple[int, int]] = []
        rows = 0
        while chunk := self._connection.execute(
            "SELECT row, task FROM rows WHERE row >= ? ORDER BY row LIMIT ?", (start, max(limit, _CHUNK))
        ).fetchall():
            start = chunk[-1][0] + 1
            done = self._done(chunk[0][0], start)
            for row, task in chunk:
                due = [(row, pin) for pin in pins.get(task, ()) if (row, pin) not in done]
                if due:
                    found += due
                    rows += 1
                    if rows == limit:
                        return found
        return found

    def _done(self, start: int, stop: int) -> set[tuple[int, int]]:
        """Return (row, pin) of what is judged or refused, of the rows from `start` to before `stop`."""
        done: set[tuple[int, int]] = set()
        for table in ("verdicts", "refusals"):
            done.update(
                self._connection.execute(
                    f"SELECT row, pin FROM {table} WHERE row >= ? AND row < ?",  # noqa: S608 - named above
                    (start, stop),
                )
            )
        return done

    def add_verdicts(self, verdicts: Iterable[NewVerdict]) -> None:
        """Store verdicts.

        Raises:
            WorkFileError: There is one of the same row and verifier already.
        """
        with _explained(self.path):
            self._connection.executemany(
                "INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        one.row, one.pin, one.outcome, one.score, one.reward, one.cached,
                        self._surrounded(one.surroundings.decode()), one.detail.decode(),
                    )
                    for one in verdicts
                ],
            )  # fmt: skip

    def _surrounded(self, value: str) -> int:
        known = self._surroundings.get(value)
        if known is None:
            self._connection.execute("INSERT OR IGNORE INTO surroundings (value) VALUES (?)", (value,))
            known = self._connection.execute(
                "SELECT id FROM surroundings WHERE value = ?", (value,)
            ).fetchone()[0]
            if len(self._surroundings) < _KNOWN_SURROUNDINGS:
                self._surroundings[value] = known
        return known

    def add_refusal(self, refusal: Refusal) -> None:
        """Note that a verifier does not take a row."""
        self._connection.execute(
            "INSERT INTO refusals VALUES (?, ?, ?)", (refusal.row, refusal.pin, refusal.message)
        )

    def forget_failures(self) -> int:
        """Drop the verdicts that say nothing about the item (timeout, error, abstain); return how many.

        A receipt goes with the last of its verdicts.
        """
        forgotten = self._connection.execute(
            "DELETE FROM verdicts WHERE outcome IN ('timeout', 'error', 'abstain')"
        ).rowcount
        if forgotten:
            self._connection.execute(
                "DELETE FROM receipts WHERE NOT EXISTS (SELECT 1 FROM json_each(receipts.rows) AS signed "
                "JOIN verdicts v ON v.row = signed.value AND v.pin = receipts.pin)"
            )
        return forgotten

    # --- receipts ------------------------------------------------------------------------------------

    def add_receipt(self, receipt: StoredReceipt) -> None:
        """Store a receipt, in the transaction of the verdicts that it is over."""
        self._connection.execute(
            "INSERT INTO receipts (pin, rows, root, key, document) VALUES (?, ?, ?, ?, ?)",
            (receipt.pin, _text(receipt.rows), receipt.root, receipt.key, receipt.document),
        )

    def receipts(self, *, documents: bool = True) -> Iterator[StoredReceipt]:
        """Yield the receipts, in the order in which they came; without `documents`, theirs are empty."""
        document = "document" if documents else "x''"
        found = self._connection.execute(
            f"SELECT pin, rows, root, key, {document} FROM receipts ORDER BY number"  # noqa: S608
        )
        for pin, rows, root, key, document in found:
            yield StoredReceipt(pin, _decode(rows), root, key, document)

    def verdict_count(self, pin: int | None = None) -> int:
        """How many verdicts there are, of one verifier or of all."""
        return int(
            self._connection.execute(
                "SELECT count(*) FROM verdicts WHERE ?1 IS NULL OR pin = ?1", (pin,)
            ).fetchone()[0]
        )

    def due_count(self, pin: int | None = None) -> int:
        """How many verdicts there will be when everything is scored; refused rows are among them."""
        return int(
            self._connection.execute(
                "SELECT count(*) FROM rows JOIN routes USING (task) WHERE ?1 IS NULL OR pin = ?1", (pin,)
            ).fetchone()[0]
        )

    def outcomes(self, pin: int) -> Counter[str]:
        """How many verdicts of a verifier ended in which outcome."""
        found = self._connection.execute(
            "SELECT outcome, count(*) FROM verdicts WHERE pin = ? GROUP BY 1", (pin,)
        )
        return Counter(dict(found.fetchall()))

    def cached_count(self, pin: int) -> int:
        """How many verdicts of a verifier had been made before, for whomever."""
        found = self._connection.execute("SELECT total(cached) FROM verdicts WHERE pin = ?", (pin,))
        return int(found.fetchone()[0])

    def score_sum(self, pin: int) -> float:
        """Sum of the scores of a verifier, over the verdicts that have one."""
        found = self._connection.execute("SELECT total(score) FROM verdicts WHERE pin = ?", (pin,))
        return float(found.fetchone()[0])

    def published(self) -> tuple[int, float | None]:
        """Return how many rows have a published score, and its mean over them; None without any."""
        return self._connection.execute("SELECT count(published), avg(published) FROM rows").fetchone()  # type: ignore[no-any-return]

    def verdicts_of(self, row: int) -> dict[int, StoredVerdict]:
        """Return the verdicts on a row, by the place of the verifier."""
        return {one.pin: one for one in self._verdicts("v.row = ?", (row,))}

    def verdicts(self, pin: int | None = None) -> Iterator[StoredVerdict]:
        """Yield the verdicts of one verifier or of all, in the order of rows and then of verifiers."""
        yield from self._verdicts("?1 IS NULL OR v.pin = ?1", (pin,))

    def raw_verdicts(self) -> Iterator[NewVerdict]:
        """Yield all verdicts, in the order of rows and then of verifiers, their objects unread."""
        return self._raw_verdicts("TRUE", ())

    def _raw_verdicts(self, where: str, values: Sequence[int]) -> Iterator[NewVerdict]:
        known = {
            place: value.encode()
            for place, value in self._connection.execute(
                "SELECT id, value FROM surroundings ORDER BY id LIMIT ?", (_KNOWN_SURROUNDINGS,)
            )
        }
        found = self._connection.execute(
            "SELECT row, pin, outcome, score, reward, cached, surroundings, detail FROM verdicts "  # noqa: S608
            f"WHERE {where} ORDER BY row, pin",
            values,
        )
        for row, pin, outcome, score, reward, cached, place, detail in found:
            surroundings = known.get(place) or self._surroundings_at(place)
            yield NewVerdict(row, pin, outcome, score, reward, bool(cached), detail.encode(), surroundings)

    def _surroundings_at(self, place: int) -> bytes:
        found = self._connection.execute("SELECT value FROM surroundings WHERE id = ?", (place,)).fetchone()
        return str(found[0]).encode()

    def _verdicts(self, where: str, values: tuple[Any, ...]) -> Iterator[StoredVerdict]:
        found = self._connection.execute(
            "SELECT v.row, v.pin, v.outcome, v.score, v.reward, v.cached, v.detail, s.value FROM verdicts v "  # noqa: S608
            f"LEFT JOIN surroundings s ON s.id = v.surroundings WHERE {where} ORDER BY v.row, v.pin",
            values,
        )
        for row, pin, outcome, score, reward, cached, detail, surroundings in found:
            yield StoredVerdict(
                row,
                pin,
                Outcome(outcome),
                score,
                reward,
                bool(cached),
                _decode(detail),
                _decode(surroundings),
            )

    def surroundings_of(self, pin: int, limit: int = 8) -> list[dict[str, Any]]:
        """Return the surroundings that a verifier's verdicts were made in, the most frequent first."""
        found = self._connection.execute(
            "SELECT s.value FROM verdicts v JOIN surroundings s ON s.id = v.surroundings WHERE v.pin = ? "
            "GROUP BY s.id ORDER BY count(*) DESC, s.id LIMIT ?",
            (pin, limit),
        )
        return [_decode(value) for (value,) in found]

    def judged(self) -> Iterator[JudgedRow]:
        """Yield every row in order, without its texts, with the marks of all verifiers."""
        pins = self._connection.execute("SELECT count(*) FROM verifiers").fetchone()[0]
        rows = self._connection.execute(
            "SELECT row, task, variant, model, sample, generation, published, metric FROM rows ORDER BY row"
        )
        marks = self._connection.execute("SELECT row, pin, outcome, score FROM verdicts ORDER BY row, pin")
        by_row = itertools.groupby(marks, key=lambda one: one[0])
        ahead = next(by_row, None)
        for row, *facts in rows:
            found: list[Mark | None] = [None] * pins
            if ahead is not None and ahead[0] == row:
                for _, pin, outcome, score in ahead[1]:
                    found[pin] = Mark(Outcome(outcome), score)
                ahead = next(by_row, None)
            task, variant, model, sample, generation, published, metric = facts
            yield JudgedRow(row, task, variant, model, sample, generation, published, metric, tuple(found))

    def refusals(self, pin: int | None = None) -> Iterator[Refusal]:
        """Yield the rows that a verifier does not take, in order."""
        found = self._connection.execute(
            "SELECT row, pin, message FROM refusals WHERE ?1 IS NULL OR pin = ?1 ORDER BY row, pin", (pin,)
        )
        for one in found:
            yield Refusal(*one)

    def refusal_count(self, pin: int) -> int:
        """How many rows a verifier does not take."""
        return int(
            self._connection.execute("SELECT count(*) FROM refusals WHERE pin = ?", (pin,)).fetchone()[0]
        )


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -32768")
    return connection


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as exc:
        raise WorkFileError(path, f"cannot be used: {exc}") from exc


def _text(value: Any) -> str:
    return _encode(value).decode()
