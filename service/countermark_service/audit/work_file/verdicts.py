"""The verdicts of an audit: what is due, what came out, and what a verifier does not take."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from countermark_service.audit.rows import OutputRow
from countermark_service.audit.work_file.layout import CHUNK, Ready, at_once, decode, explained
from countermark_service.audit.work_file.rows import Rows
from countermark_service.audit.work_file.values import JudgedRow, Mark, NewVerdict, Refusal, StoredVerdict
from countermark_service.model import Outcome

_KNOWN_SURROUNDINGS = 1024
"""How many are kept in memory; there is one for each kind of worker, but a judge's may differ by item."""


class Verdicts(Rows):
    """The tables `verdicts`, `surroundings` and `refusals`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """See `Connected`."""
        super().__init__(path, connection)
        self._surroundings: dict[str, int] = {}

    def missing(self, start: int, limit: int) -> list[tuple[int, int]]:
        """Return (row, pin) of verdicts that are due and not there, of at most `limit` rows from `start` on.

        In the order of the rows; empty where nothing is left behind `start`.
        """
        pins: dict[str, list[int]] = {}
        for task, pin in self._connection.execute("SELECT task, pin FROM routes ORDER BY task, pin"):
            pins.setdefault(task, []).append(pin)
        found: list[tuple[int, int]] = []
        rows = 0
        while chunk := self._connection.execute(
            "SELECT row, task FROM rows WHERE row >= ? ORDER BY row LIMIT ?", (start, max(limit, CHUNK))
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
        with explained(self.path):
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

    def verdicts_of(self, row: int) -> dict[int, StoredVerdict]:
        """Return the verdicts on a row, by the place of the verifier."""
        return {one.pin: one for one in self._verdicts("v.row = ?", (row,))}

    def verdicts(self, pin: int | None = None) -> Iterator[StoredVerdict]:
        """Yield the verdicts of one verifier or of all, in the order of rows and then of verifiers."""
        yield from self._verdicts("?1 IS NULL OR v.pin = ?1", (pin,))

    def raw_verdicts(self, start: int, stop: int) -> Iterator[NewVerdict]:
        """Yield the verdicts of a span, in the order of rows and then of verifiers, their objects unread."""
        return self._raw_verdicts("row >= ? AND row < ?", (start, stop))

    def _raw_verdicts(self, where: str, values: Sequence[int]) -> Iterator[NewVerdict]:
        known = {
            place: value.encode()
            for place, value in self._connection.execute(
                "SELECT id, value FROM surroundings ORDER BY id LIMIT ?", (_KNOWN_SURROUNDINGS,)
            )
        }
        found = self._connection.execute(
            "SELECT row, pin, outcome, score, reward, cached, surroundings, detail FROM verdicts "  # noqa: S608 - callers name columns
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
            "SELECT v.row, v.pin, v.outcome, v.score, v.reward, v.cached, v.detail, s.value FROM verdicts v "  # noqa: S608 - callers name columns
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
                decode(detail),
                decode(surroundings),
            )

    def surroundings_of(self, pin: int, limit: int = 8) -> list[dict[str, Any]]:
        """Return the surroundings that a verifier's verdicts were made in, the most frequent first."""
        found = self._connection.execute(
            "SELECT s.value FROM verdicts v JOIN surroundings s ON s.id = v.surroundings WHERE v.pin = ? "
            "GROUP BY s.id ORDER BY count(*) DESC, s.id LIMIT ?",
            (pin, limit),
        )
        return [decode(value) for (value,) in found]

    def group(
        self, task: str, model: str, ready: Ready = at_once
    ) -> Iterator[tuple[OutputRow, list[NewVerdict]]]:
        """Yield the rows of a task and model in order, each with its verdicts, whose objects are unread."""
        behind = -1
        while chunk := [
            row
            for (row,) in self._connection.execute(
                "SELECT row FROM rows WHERE task = ? AND model = ? AND row > ? ORDER BY row LIMIT ?",
                (task, model, behind, CHUNK),
            )
        ]:
            behind = chunk[-1]
            ready(behind + 1)
            wanted = ",".join("?" * len(chunk))
            rows = self._rows(f"row IN ({wanted})", chunk)
            verdicts: dict[int, list[NewVerdict]] = {}
            for verdict in self._raw_verdicts(f"row IN ({wanted})", chunk):
                verdicts.setdefault(verdict.row, []).append(verdict)
            for row in rows:
                yield row, verdicts.get(row.index, [])

    def judged(self, ready: Ready = at_once) -> Iterator[JudgedRow]:
        """Yield every row in order, without its texts, with the marks of all verifiers."""
        pins = self._connection.execute("SELECT count(*) FROM verifiers").fetchone()[0]
        for span in self.spans(ready):
            marks: list[list[Mark | None]] = [[None] * pins for _ in range(*span)]
            for row, pin, outcome, score in self._connection.execute(
                "SELECT row, pin, outcome, score FROM verdicts WHERE row >= ? AND row < ?", span
            ):
                marks[row - span[0]][pin] = Mark(Outcome(outcome), score)
            for row, task, variant, model, sample, generation, published, metric in self._connection.execute(
                "SELECT row, task, variant, model, sample, generation, published, metric FROM rows "
                "WHERE row >= ? AND row < ? ORDER BY row",
                span,
            ):
                said = tuple(marks[row - span[0]])
                yield JudgedRow(row, task, variant, model, sample, generation, published, metric, said)

    def refusals(self, start: int = 0, stop: int | None = None) -> Iterator[Refusal]:
        """Yield the rows, of a span or of all, that a verifier does not take, in order."""
        found = self._connection.execute(
            "SELECT row, pin, message FROM refusals WHERE row >= ?1 AND (?2 IS NULL OR row < ?2) ORDER BY row, pin",
            (start, stop),
        )
        for one in found:
            yield Refusal(*one)

    def why_refused(self, pin: int) -> str:
        """Say where the first row stands that a verifier does not take, and why; empty where it takes all."""
        found = self._connection.execute(
            "SELECT path, line, message FROM refusals JOIN rows USING (row) JOIN inputs USING (file) "
            "WHERE pin = ? ORDER BY row LIMIT 1",
            (pin,),
        ).fetchone()
        return "" if found is None else f"{found[0]}, row {found[1]}: {found[2].rstrip('.')}"

    def refusal_count(self, pin: int) -> int:
        """How many rows a verifier does not take."""
        return int(
            self._connection.execute("SELECT count(*) FROM refusals WHERE pin = ?", (pin,)).fetchone()[0]
        )
