"""One run of `countermark score`: batches of rows go out, verdicts come back and are written in order.

At most `_BATCHES_OPEN` batches are open at a time, so the workers have the next one
while the last one is written, and memory holds no more than that.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from countermark_service.audit.judging import Judge, Judged, Judgement, RowRefusedError
from countermark_service.audit.receipt_files import receipt_name, write_receipt
from countermark_service.cli.rows import BadRow, Columns, Row, RowFormat, Rows, open_rows
from countermark_service.cli.tally import Summary
from countermark_service.errors import CountermarkError
from countermark_service.model import OnFailure

_BATCHES_OPEN = 4
_BATCH_CHARACTERS = 8 << 20
"""Characters of responses at which a batch is closed, so that long ones do not fill the memory."""
_SHOWN_BAD_ROWS = 10

T = TypeVar("T")


class BadRowsError(CountermarkError):
    """Rows that cannot be scored, and nobody said to leave them out."""

    code = "bad_rows"

    def __init__(self, file: str, rows: Sequence[BadRow], count: int, consequence: str) -> None:
        shown = "".join(f"\n  line {row.line}: {row.problem.rstrip('.')}." for row in rows)
        more = f"\n  and {count - len(rows)} more." if count > len(rows) else ""
        super().__init__(
            f"{count} {'row' if count == 1 else 'rows'} of {file} cannot be scored:{shown}{more}\n"
            f"{consequence} Mend what is wrong, or leave it out with --skip-bad-rows."
        )
        self.file, self.count = file, count
        self.lines = [row.line for row in rows]


class NoVerdictError(CountermarkError):
    """Items have no score, and --on-failure raise was asked for."""

    code = "verdict_failed"

    def __init__(self, line: int, verifier: str, outcome: str, count: int) -> None:
        super().__init__(
            f"{count} {'verdict has' if count == 1 else 'verdicts have'} no score, the first on line {line} "
            f"({outcome} from {verifier}). A failure is not a zero: without --on-failure raise the run goes "
            "on and shows each of them; what was judged so far is kept in the store."
        )
        self.line, self.verifier, self.outcome, self.count = line, verifier, outcome, count


@dataclass(frozen=True)
class Plan:
    """What was asked for."""

    file: str
    """Path, or ``-``."""
    verifiers: Sequence[str]
    on_failure: OnFailure
    params: Mapping[str, Any]
    """Parameters of every row."""
    columns: Columns
    row_format: RowFormat | None
    batch: int
    """Rows that go together."""
    skip_bad_rows: bool
    receipts: Path | None = None
    """Folder for the receipts, where the judge signs."""

    def open(self) -> Rows:
        """Open the file; raises `InputFileError`."""
        return open_rows(self.file, self.columns, self.params, self.row_format)


class Sink(Protocol):
    """Where lines of verdicts go."""

    def write(self, data: bytes, /) -> object:
        """Take some lines."""


def refuse_bad_rows(plan: Plan, judge: Judge) -> None:
    """Read the whole file once, before anything is scored; what can be read once only is left alone.

    Raises:
        BadRowsError: Some of its rows cannot be scored; names the first of them.
        InputFileError: The file cannot be read.
    """
    if not Path(plan.file).is_file():
        return
    bad: list[BadRow] = []
    count = 0
    with plan.open() as rows:
        for found in rows:
            row = checked(found, judge)
            if isinstance(row, BadRow):
                count += 1
                bad.extend([row] if count <= _SHOWN_BAD_ROWS else [])
    if count:
        raise BadRowsError(plan.file, bad, count, "Nothing was scored.")


def checked(row: Row | BadRow, judge: Judge) -> Row | BadRow:
    """Return `row`, as a bad one where a verifier does not take it."""
    if isinstance(row, BadRow):
        return row
    problems = (judge.refusals(verifier, [row.item]).get(0) for verifier in range(len(judge.pins)))
    problem = next((problem for problem in problems if problem is not None), None)
    return row if problem is None else BadRow(row.line, problem)


class ScoreRun:
    """The work on one file."""

    def __init__(
        self,
        plan: Plan,
        judge: Judge,
        rows: Rows,
        sink: Sink,
        summary: Summary,
        *,
        on_bad_row: Callable[[BadRow], None],
        on_progress: Callable[[], None],
    ) -> None:
        """Join the parts.

        Args:
            plan: What was asked for.
            judge: Opened and prepared.
            rows: The rows to score.
            sink: Takes lines of JSON, in the order of the rows.
            summary: Counts what happens.
            on_bad_row: Hears of every row that is left out.
            on_progress: Is called after every batch.
        """
        self._plan = plan
        self._judge = judge
        self._rows = rows
        self._incoming = iter(rows)
        self._sink = sink
        self._summary = summary
        self._on_bad_row, self._on_progress = on_bad_row, on_progress
        self._stop: BadRow | None = None

    async def run(self) -> None:
        """Score everything.

        Raises:
            BadRowsError: A row cannot be scored; those before it are.
            NoVerdictError: An item has no score, and the plan says that this is an error.
            CountermarkError: The file, the verifiers or the service failed.
        """
        started = time.perf_counter()
        open_batches: deque[asyncio.Task[tuple[list[Row], list[Judged]]]] = deque()
        try:
            while self._stop is None and (batch := await _in_thread(self._next_batch)):
                open_batches.append(asyncio.create_task(self._judged(batch)))
                if len(open_batches) == _BATCHES_OPEN:
                    self._take(*await open_batches.popleft())
            while open_batches:
                self._take(*await open_batches.popleft())
        finally:
            self._summary.seconds = time.perf_counter() - started
            for task in open_batches:
                task.cancel()
            await asyncio.gather(*open_batches, return_exceptions=True)
        if self._stop is not None:
            raise BadRowsError(self._rows.name, [self._stop], 1, "The rows before it are scored.")

    def _next_batch(self) -> list[Row]:
        """Read rows up to a full batch, to the end of the file, or to a row that ends the run."""
        batch: list[Row] = []
        size = 0
        for found in self._incoming:
            row = checked(found, self._judge)
            if isinstance(row, BadRow):
                if not self._plan.skip_bad_rows:
                    self._stop = row
                    break
                self._leave_out(row)
                continue
            batch.append(row)
            size += len(row.item.response)
            if len(batch) == self._plan.batch or size >= _BATCH_CHARACTERS:
                break
        return batch

    def _leave_out(self, row: BadRow) -> None:
        self._summary.bad_rows += 1
        self._on_bad_row(row)

    async def _judged(self, batch: list[Row]) -> tuple[list[Row], list[Judged]]:
        """Return the rows of a batch and, per verifier, their verdicts; without what a verifier refuses."""
        while batch:
            try:
                async with asyncio.TaskGroup() as group:
                    asked = [group.create_task(self._ask(v, batch)) for v in range(len(self._judge.pins))]
                return batch, [task.result() for task in asked]
            except BaseExceptionGroup as exc:
                first = exc.exceptions[0]
                if not isinstance(first, RowRefusedError):
                    raise first from None
                refused = BadRow(batch[first.index].line, first.problem)
                if not self._plan.skip_bad_rows:
                    raise BadRowsError(self._rows.name, [refused], 1, "Its batch was not scored.") from exc
                self._leave_out(refused)
                batch = batch[: first.index] + batch[first.index + 1 :]
        return [], [Judged([]) for _ in self._judge.pins]

    async def _ask(self, verifier: int, batch: list[Row]) -> Judged:
        tally = self._summary.tallies[verifier]
        tally.begin()
        try:
            judged = await self._judge.judge(verifier, [row.item for row in batch])
        finally:
            tally.end()
        self._summary.degraded |= judged.degraded
        return judged

    def _take(self, batch: list[Row], found: list[Judged]) -> None:
        """Write and count a batch; its receipts first, so that there is no verdict without its receipt."""
        if self._plan.receipts is not None:
            self._write_receipts(self._plan.receipts, batch, found)
        judged = [one.judgements for one in found]
        self._sink.write(b"".join(self._lines(batch, judged)))
        self._summary.add(judged)
        self._on_progress()
        if self._plan.on_failure is OnFailure.RAISE:
            self._refuse_failures(batch, judged)

    def _write_receipts(self, folder: Path, batch: list[Row], found: list[Judged]) -> None:
        for pin, judged in zip(self._judge.pins, found, strict=True):
            for one in judged.receipts:
                lines = [row.line for row in batch[one.start : one.start + one.items]]
                path = folder / receipt_name("lines", lines[0], lines[-1], pin, one.root)
                write_receipt(path, pin, "lines", lines, one.document)

    def _lines(self, batch: list[Row], judged: list[list[Judgement]]) -> list[bytes]:
        pins = [str(pin) for pin in self._judge.pins]
        zero = self._plan.on_failure is OnFailure.ZERO
        lines = []
        for row, verdicts in zip(batch, zip(*judged, strict=True), strict=True):
            said = [
                {
                    "verifier": pin,
                    "outcome": one.outcome,
                    "score": one.score,
                    "reward": 0.0 if zero and one.score is None else one.score,
                    "cached": one.cached,
                    "detail": one.detail,
                    "surroundings": one.surroundings,
                }
                for pin, one in zip(pins, verdicts, strict=True)
            ]
            lines.append(msgspec.json.encode({"line": row.line, "id": row.id, "verdicts": said}) + b"\n")
        return lines

    def _refuse_failures(self, batch: list[Row], judged: list[list[Judgement]]) -> None:
        failed = [
            (row.line, str(pin), verdicts[place].outcome)
            for place, row in enumerate(batch)
            for pin, verdicts in zip(self._judge.pins, judged, strict=True)
            if verdicts[place].score is None
        ]
        if failed:
            raise NoVerdictError(*failed[0], count=len(failed))


async def _in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread that nobody waits for at the end.

    A read from standard input cannot be called off, and the loop's own threads are joined
    at the end: an interrupt would wait for the next line.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, exc: BaseException | None) -> None:
        if not done.done():
            done.set_exception(exc) if exc is not None else done.set_result(value)  # type: ignore[arg-type]

    def thread() -> None:
        value, failure = None, None
        try:
            value = work()
        except BaseException as exc:  # noqa: BLE001 - whatever it is, it is raised where it is waited for
            failure = exc
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, value, failure)

    threading.Thread(target=thread, daemon=True, name="rows").start()
    return await done
