"""The scoring of an audit: rows of the work file out, verdicts back into it.

What is due and not there yet is looked up in the work file itself, so a run that
was killed goes on behind its last transaction, and a finished one has nothing to
do. Equal items cost one judgement, since whoever judges coalesces them; every row
gets its own verdict in the file. A row that a verifier does not take is noted as
refused, without a score. Receipts, where the judge gives them, are written in one
transaction with the verdicts that they are over: there is no verdict without its
receipt, and a batch that a kill cut off is signed again whole.

At most `_BATCHES_OPEN` batches are open at a time, so the workers have the next one
while the last one is written, and memory holds no more than that. What came back is
written `_WRITE_SECONDS` after the last writing, or when it is `_WRITE_VERDICTS`: a
transaction costs as much for one batch as for ten, and a kill costs no more than what
is open. The work file is used from one thread, beside the loop that talks to the
workers.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from countermark_service.audit.judging import Judge, Judgement, RowRefusedError
from countermark_service.audit.receipt_files import keep_keys
from countermark_service.audit.work_file import (
    NewVerdict,
    Refusal,
    Route,
    StoredReceipt,
    Texts,
    WorkFile,
)
from countermark_service.model import Item, OnFailure

_BATCHES_OPEN = 4
_WRITE_SECONDS = 0.5
_WRITE_VERDICTS = 8192
_BATCH_CHARACTERS = 8 << 20
"""Characters of texts at which a batch is closed, so that long ones do not fill the memory."""

_encode = msgspec.json.encode


@dataclass
class _Batch:
    """Rows that go together."""

    rows: list[Texts]
    due: Mapping[int, Sequence[int]]
    """Per verifier, the places in `rows` that have no verdict of it."""
    routes: Mapping[str, Mapping[int, Route]]
    """Of the tasks of `rows`, by the place of the verifier."""


@dataclass
class _Judged:
    """What came back for a batch."""

    verdicts: list[NewVerdict] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    receipts: list[StoredReceipt] = field(default_factory=list)
    degraded: set[str] = field(default_factory=set)
    reached: int = 0
    """Every row before this one has come back."""

    def add(self, other: "_Judged") -> None:
        """Take over what came back for another batch."""
        self.verdicts += other.verdicts
        self.refusals += other.refusals
        self.receipts += other.receipts
        self.degraded |= other.degraded
        self.reached = max(self.reached, other.reached)


@dataclass
class Progress:
    """How far a run is."""

    due: int = 0
    """Verdicts of the whole audit."""
    before: int = 0
    """Verdicts that were there when the run began."""
    done: int = 0
    """Verdicts and refusals that this run added."""
    cached: int = 0
    """Of these, verdicts that somebody had made before."""
    failed: int = 0
    """Of these, verdicts without a score."""
    reached: int = 0
    """Every row before this one is scored as far as it will be, and that is kept."""
    seconds: float = 0.0
    degraded: set[str] = field(default_factory=set)
    """Codes of what did not work meanwhile; it cost time, no verdicts."""


class AuditRun:
    """Scores what a work file holds."""

    def __init__(
        self, work: WorkFile, judge: Judge, *, batch: int, on_progress: Callable[[Progress], None]
    ) -> None:
        """Join the parts.

        Args:
            work: Rows, routes and verifiers; its verifiers are `judge`'s pins, in the same order.
            judge: Opened and prepared.
            batch: Rows that go together.
            on_progress: Is called when verdicts were written.
        """
        self._work, self._judge, self._batch = work, judge, batch
        self._on_progress = on_progress
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="work-file")
        self._next = 0
        self._held = _Judged()
        self._written = time.perf_counter()
        self.progress = Progress()

    async def run(self) -> Progress:
        """Score everything that is due.

        Raises:
            CountermarkError: The work file, the verifiers or the service failed. What came before is kept.
        """
        started = time.perf_counter()
        self.progress.due = await self._apart(self._work.due_count)
        self.progress.before = await self._apart(self._work.verdict_count)
        self._on_progress(self.progress)
        open_batches: deque[asyncio.Task[_Judged]] = deque()
        try:
            while (batch := await self._apart(self._next_batch)) is not None:
                open_batches.append(asyncio.create_task(self._judged(batch)))
                if len(open_batches) == _BATCHES_OPEN:
                    await self._take(await open_batches.popleft())
            while open_batches:
                await self._take(await open_batches.popleft())
        finally:
            for task in open_batches:
                task.cancel()
            await asyncio.gather(*open_batches, return_exceptions=True)
            try:
                await self._keep()
            finally:
                self.progress.seconds = time.perf_counter() - started
                self._thread.shutdown()
        return self.progress

    async def _apart(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _next_batch(self) -> _Batch | None:
        """Read rows that lack verdicts up to a full batch; None where none is left."""
        missing = self._work.missing(self._next, self._batch)
        if not missing:
            return None
        rows = self._work.texts(list(dict.fromkeys(row for row, _ in missing)))
        size = 0
        for count, row in enumerate(rows, start=1):
            size += len(row.response) + len(row.prompt or "")
            if size >= _BATCH_CHARACTERS:
                rows = rows[:count]
                break
        self._next = rows[-1].row + 1
        routes: dict[str, dict[int, Route]] = {}
        for row in rows:
            if row.task not in routes:
                routes[row.task] = {route.pin: route for route in self._work.routes_of(row.task)}
        places = {row.row: place for place, row in enumerate(rows)}
        due: defaultdict[int, list[int]] = defaultdict(list)
        for index, pin in missing:
            if index in places:
                due[pin].append(places[index])
        return _Batch(rows, due, routes)

    async def _judged(self, batch: _Batch) -> _Judged:
        """Score a batch under every verifier that lacks verdicts of it."""
        judged = _Judged(reached=batch.rows[-1].row + 1)
        try:
            async with asyncio.TaskGroup() as group:
                for pin, places in batch.due.items():
                    rows = [batch.rows[place] for place in places]
                    routes = {row.task: batch.routes[row.task][pin] for row in rows}
                    group.create_task(self._ask(pin, rows, routes, judged))
        except BaseExceptionGroup as exc:
            raise exc.exceptions[0] from None
        return judged

    async def _ask(
        self, pin: int, rows: Sequence[Texts], routes: Mapping[str, Route], judged: _Judged
    ) -> None:
        items = [
            Item(row.response, row.reference, {**row.params, **routes[row.task].params}, row.prompt)
            for row in rows
        ]
        taken = list(rows)
        refused = self._judge.refusals(pin, items)
        for place in sorted(refused, reverse=True):
            judged.refusals.append(Refusal(taken[place].row, pin, refused[place]))
            del items[place], taken[place]
        while items:
            try:
                found = await self._judge.judge(pin, items)
            except RowRefusedError as exc:
                judged.refusals.append(Refusal(taken[exc.index].row, pin, exc.problem))
                del items[exc.index], taken[exc.index]
                continue
            judged.degraded |= found.degraded
            pairs = zip(taken, found.judgements, strict=True)
            judged.verdicts += [_verdict(row.row, pin, routes[row.task], one) for row, one in pairs]
            for one in found.receipts:
                signed = [row.row for row in taken[one.start : one.start + one.items]]
                judged.receipts.append(StoredReceipt(pin, signed, one.root, one.key, one.document))
            return

    async def _take(self, judged: _Judged) -> None:
        self._held.add(judged)
        waited = time.perf_counter() - self._written
        if waited >= _WRITE_SECONDS or len(self._held.verdicts) >= _WRITE_VERDICTS:
            await self._keep()

    async def _keep(self) -> None:
        """Write what is held, and say so."""
        judged, self._held = self._held, _Judged()
        await self._apart(partial(self._write, judged))
        self._written = time.perf_counter()
        progress = self.progress
        progress.done += len(judged.verdicts) + len(judged.refusals)
        progress.cached += sum(one.cached for one in judged.verdicts)
        progress.failed += sum(one.score is None for one in judged.verdicts)
        progress.degraded |= judged.degraded
        progress.reached = max(progress.reached, judged.reached)
        self._on_progress(progress)

    def _write(self, judged: _Judged) -> None:
        with self._work.transaction():
            self._work.add_verdicts(judged.verdicts)
            for refusal in judged.refusals:
                self._work.add_refusal(refusal)
            for receipt in judged.receipts:
                self._work.add_receipt(receipt)
            if judged.receipts and (keys := self._judge.receipt_keys) is not None:
                keep_keys(self._work, keys)


def _verdict(row: int, pin: int, route: Route, one: Judgement) -> NewVerdict:
    zero = one.score is None and route.on_failure == OnFailure.ZERO
    reward = 0.0 if zero else one.score
    detail, surroundings = _encode(one.detail), _encode(one.surroundings)
    return NewVerdict(row, pin, one.outcome, one.score, reward, one.cached, detail, surroundings)
