"""The rows of an audit: what was read, what could not be, and what a reader should know of it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from countermark_service.audit.rows import OutputRow, Unusable
from countermark_service.audit.work_file.asked import Asked
from countermark_service.audit.work_file.layout import CHUNK, Ready, WorkFileError, at_once, decode, text
from countermark_service.audit.work_file.values import Note, Texts


class Rows(Asked):
    """The tables `rows`, `samples`, `unusable` and `notes`."""

    def add_rows(self, rows: Sequence[OutputRow]) -> None:
        """Store rows; their `file` is one of the inputs, and their indices go on where the last ended."""
        self._connection.executemany(
            "INSERT INTO rows VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            [
                (
                    row.index, self._place(row.file), row.line, row.published, row.generation, row.task,
                    row.variant, row.model, row.sample, row.metric, text(row.params), text(row.reference),
                    text(row.extras), row.prompt, row.response,
                )
                for row in rows
            ],
        )  # fmt: skip

    def finish_rows(self) -> None:
        """Make the rows easy to find by task and model, once all are there."""
        self._connection.execute("CREATE INDEX IF NOT EXISTS rows_by_group ON rows (task, model)")

    def samples(self, keys: Sequence[bytes]) -> dict[bytes, tuple[int, int]]:
        """Return how many answers there are to questions so far, and the row of the first; by key, where any is."""
        found: dict[bytes, tuple[int, int]] = {}
        for start in range(0, len(keys), CHUNK):
            some = keys[start : start + CHUNK]
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
        for first in range(start, end, CHUNK):
            yield from self._rows("row >= ? AND row < ?", (first, min(first + CHUNK, end)))

    def _rows(self, where: str, values: Sequence[int]) -> Iterator[OutputRow]:
        found = self._connection.execute(
            "SELECT row, path, line, task, variant, model, sample, generation, prompt, response, reference, "  # noqa: S608 - callers name columns
            f"params, published, metric, extras FROM rows JOIN inputs USING (file) WHERE {where} ORDER BY row",
            values,
        ).fetchall()
        for one in found:
            yield OutputRow(
                index=one[0], file=one[1], line=one[2], task=one[3], variant=one[4], model=one[5],
                sample=one[6], generation=one[7], prompt=one[8], response=one[9],
                reference=decode(one[10]), params=decode(one[11]), published=one[12], metric=one[13],
                extras=decode(one[14]),
            )  # fmt: skip

    def spans(self, ready: Ready = at_once) -> Iterator[tuple[int, int]]:
        """Yield all rows as spans of some hundred (the first, the first behind it), each when `ready` lets it."""
        rows = self.row_count()
        for start in range(0, rows, CHUNK):
            stop = min(start + CHUNK, rows)
            ready(stop)
            yield start, stop

    def placed(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """Yield for the rows of a span, in order, what they are and where they stand, without their texts."""
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
            "FROM rows JOIN inputs USING (file) WHERE row >= ? AND row < ? ORDER BY row",
            (start, stop),
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
            Texts(row, task, prompt, response, decode(reference), decode(params))
            for row, task, prompt, response, reference, params in found
            if row in wanted
        ]

    def tasks(self) -> list[tuple[str, str, int, int]]:
        """Return every task with a file it comes from, its first line there and its number of rows there."""
        return self._connection.execute(
            "SELECT task, path, min(line), count(*) FROM rows JOIN inputs USING (file) GROUP BY task, file "
            "ORDER BY min(row)"
        ).fetchall()

    def groups(self) -> list[tuple[str, str, str, int]]:
        """Return every task, variant and model that occur together, with the number of rows."""
        return self._connection.execute(
            "SELECT task, variant, model, count(*) FROM rows GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        ).fetchall()

    def published(self) -> tuple[int, float | None]:
        """Return how many rows have a published score, and its mean over them; None without any."""
        # sqlite3's rows have no types; both aggregates are declared above.
        return self._connection.execute("SELECT count(published), avg(published) FROM rows").fetchone()  # type: ignore[no-any-return]

    def add_unusable(self, found: Iterable[Unusable]) -> None:
        """Note what cannot be scored."""
        self._connection.executemany(
            "INSERT INTO unusable VALUES (?, ?, ?, ?)",
            [(self._place(one.file), one.line, one.code, one.message) for one in found],
        )

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
