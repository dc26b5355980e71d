"""The large files of an audit, written while it is scored.

Rows are scored in their order, and files of results have them in that order. So each is
written by a thread that follows a short way behind the scoring, on a connection of its
own, and little is left to do when the last verdict has come. It reads what is kept in
the work file and nothing else: an audit that is taken up again writes what one that was
never stopped does. The scoring waits for no writer, and a file that cannot be written
ends no scoring. One of the writers works at a time, for some hundred rows: several would take the
interpreter from each other, and from the loop that feeds the workers.
"""

import importlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from countermark_service.audit.every_eval_ever import write_every_eval_ever
from countermark_service.audit.verdict_files import VerdictFormat, write_verdicts
from countermark_service.audit.work_file import WorkFile

if TYPE_CHECKING:
    from countermark_service.audit.table import Table

Result = TypeVar("Result")


class GivenUpError(Exception):
    """The scoring ended before its end; what follows it ends too."""


class _Scored:
    """How far the rows are scored: told by one thread, waited for by others."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        """Held by the thread that works; it is not held while one waits."""
        self._changed = threading.Condition()
        self._row = 0
        self._ended = False
        self._given_up = False

    def reach(self, row: int) -> None:
        with self._changed:
            self._row = row
            self._changed.notify_all()

    def end(self, *, given_up: bool) -> None:
        with self._changed:
            self._ended, self._given_up = True, given_up
            self._changed.notify_all()

    def wait(self, row: int) -> None:
        """Give up the turn until all rows before `row` are scored, or no more will be; raises `GivenUpError`."""
        self.turn.release()
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._row >= row)
                if self._given_up:
                    raise GivenUpError
        finally:
            self.turn.acquire()


class Following:
    """The writers of one audit; a context manager, which gives up what `finish` was not called for."""

    def __init__(self, path: Path, folder: Path, kind: VerdictFormat, *, report: bool) -> None:
        """Begin to write; the rows are read already.

        Args:
            path: The work file.
            folder: Takes the files.
            kind: Of the file of verdicts.
            report: Whether the numbers of a report are wanted.
        """
        self._path = path
        self._scored = _Scored()
        self._pool = ThreadPoolExecutor(3, thread_name_prefix="results")
        ready = self._scored.wait
        self._files = [
            self._apart(lambda work: write_verdicts(work, folder, kind, ready)),
            self._apart(lambda work: write_every_eval_ever(work, folder, ready=ready)),
        ]
        self._table = self._apart(self._read_table) if report else None

    def _apart(self, write: Callable[[WorkFile], Result]) -> "Future[Result]":
        def run() -> Result:
            with self._scored.turn, WorkFile.reading(self._path) as work:
                return write(work)

        return self._pool.submit(run)

    def _read_table(self, work: WorkFile) -> "Table":
        # Here, beside the scoring: these take a while to load, and not every installation has what they need. The
        # first is what makes the report, which is wanted as soon as the scoring has ended.
        importlib.import_module("countermark_service.audit.outputs")
        from countermark_service.audit.table import read_table

        return read_table(work, self._scored.wait)

    def reach(self, row: int) -> None:
        """Say that all rows before `row` are scored and kept."""
        self._scored.reach(row)

    def finish(self) -> "tuple[list[Path], Table | None]":
        """Say that the scoring has ended; return what was written, and the numbers of the report if wanted.

        Raises:
            OutputError: A file cannot be written.
            WorkFileError: The work file cannot be read.
        """
        self._scored.end(given_up=False)
        files = [file.result() for file in self._files]
        return files, None if self._table is None else self._table.result()

    def __enter__(self) -> "Following":
        return self

    def __exit__(self, *exc: object) -> None:
        self._scored.end(given_up=True)
        self._pool.shutdown()
