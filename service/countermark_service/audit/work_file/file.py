"""One work file: opening it, keeping what belongs together, and forgetting."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from countermark_service.audit.work_file.layout import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    TABLES,
    WorkFileError,
    connect,
    explained,
)
from countermark_service.audit.work_file.receipts import Receipts
from countermark_service.audit.work_file.verdicts import Verdicts

_READING_CACHE_KIB = 4096
"""Of those who read, there may be several, and they go through the rows once."""


class WorkFile(Verdicts, Receipts):
    """One open work file; a context manager. Use `create`, `open` or `reading`."""

    @classmethod
    def create(cls, path: Path) -> "WorkFile":
        """Make an empty work file.

        Raises:
            WorkFileError: Something of that name exists, or it cannot be written.
        """
        if path.exists():
            raise WorkFileError(path, "exists already")
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = connect(path)
            connection.executescript(
                f"BEGIN;{TABLES}PRAGMA application_id={APPLICATION_ID};PRAGMA user_version={SCHEMA_VERSION};COMMIT;"
            )
        return cls(path, connection)

    @classmethod
    def open(cls, path: Path, **options: int) -> "WorkFile":
        """Open a work file to go on with it.

        Raises:
            WorkFileError: It does not exist, is damaged, or is of another program or a newer version.
        """
        if not path.is_file():
            raise WorkFileError(path, "does not exist")
        with explained(path):
            connection = connect(path, **options)
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
        work = cls.open(path, cache_kib=_READING_CACHE_KIB)
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
        with explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            kept = False
            try:
                yield
                self._connection.execute("COMMIT")
                kept = True
            finally:
                if not kept:  # an interrupt, too, leaves the file as it was
                    self._surroundings.clear()
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")

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

    def forget_failures(self) -> int:
        """Drop the verdicts that say nothing about the item (timeout, error, abstain); return how many.

        A receipt goes with the last of its verdicts.
        """
        forgotten = self._connection.execute(
            "DELETE FROM verdicts WHERE outcome IN ('timeout', 'error', 'abstain')"
        ).rowcount
        if forgotten:
            self._drop_empty_receipts()
        return forgotten
