"""What an audit was asked for: inputs, verifiers, and which of these score which task."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from countermark_service.audit.work_file.layout import Connected, WorkFileError, decode, text
from countermark_service.audit.work_file.values import AuditVerifier, Input, Route
from countermark_service.model import BundleRef


class Asked(Connected):
    """The tables `meta`, `inputs`, `verifiers` and `routes`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """See `Connected`."""
        super().__init__(path, connection)
        self._places: dict[str, int] = {}

    def meta(self, key: str) -> Any:
        """Return a value of `meta`; None where there is none."""
        found = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if found is None else decode(found[0])

    def set_meta(self, key: str, value: Any) -> None:
        """Keep a JSON value under a name."""
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, text(value)))

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

    def finish_input(self, path: str, format_name: str | None, rows: int) -> None:
        """Note how an input file was read and what came of it."""
        self._connection.execute(
            "UPDATE inputs SET format = ?, rows = ? WHERE path = ?", (format_name, rows, path)
        )

    def _place(self, path: str) -> int:
        if path not in self._places:
            found = self._connection.execute("SELECT file FROM inputs WHERE path = ?", (path,)).fetchone()
            if found is None:
                raise WorkFileError(self.path, f"has no input {path!r}")
            self._places[path] = found[0]
        return self._places[path]

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
            yield task, Route(pin, decode(params), on_failure)

    def routes_of(self, task: str) -> list[Route]:
        """Return which verifiers score the rows of a task, and how."""
        found = self._connection.execute(
            "SELECT pin, params, on_failure FROM routes WHERE task = ? ORDER BY pin", (task,)
        )
        return [Route(pin, decode(params), on_failure) for pin, params, on_failure in found]

    def add_routes(self, task: str, routes: Iterable[Route]) -> None:
        """Say which verifiers score the rows of a task."""
        self._connection.executemany(
            "INSERT INTO routes VALUES (?, ?, ?, ?)",
            [(task, route.pin, text(route.params), route.on_failure) for route in routes],
        )
