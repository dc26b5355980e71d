"""One stream of items in, one stream of verdicts out, at the speed of the slower side.

Lines are read while earlier items are judged. At most `_OPEN_ITEMS` items are
open at a time, so a stream of millions costs the memory of a few thousand. The
reply may begin before the request has ended; a client that only reads when it has
sent everything is served too, as finished lines wait for it.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import structlog
from fastapi import Request

from countermark_service.api import replies
from countermark_service.api.bodies import ItemBody, decode_head, decode_line, items_of, read_lines
from countermark_service.api.errors import problem, problem_of
from countermark_service.api.metrics import Metrics
from countermark_service.assembly import Service
from countermark_service.bundles import Bundle
from countermark_service.errors import CountermarkError, RequestError, VerdictFailedError
from countermark_service.model import OnFailure, Verdict
from countermark_service.scoring import Run

_OPEN_ITEMS = 4096
_WINDOW_ITEMS = 256
_WINDOW_SECONDS = 0.02
_LINES_PER_CHUNK = 64
_WAITING_BYTES = 256 << 20

_log = structlog.get_logger("countermark.api")


class ScoreStream:
    """A stream that is being scored."""

    def __init__(
        self,
        service: Service,
        metrics: Metrics,
        bundle: Bundle,
        on_failure: OnFailure,
        lines: AsyncIterator[bytes],
    ) -> None:
        """Use `begin`, which reads the head first."""
        self._service = service
        self._metrics = metrics
        self._bundle = bundle
        self._on_failure = on_failure
        self._incoming = lines
        self._total = Run()
        self._open = 0
        self._room = asyncio.Event()
        self._room.set()
        self._done: list[bytes] = []
        self._waiting_bytes = 0
        self._news = asyncio.Event()
        self._finished = False

    @classmethod
    async def begin(cls, request: Request, service: Service, metrics: Metrics) -> "ScoreStream":
        """Read the head line and resolve the verifier.

        Raises:
            CountermarkError: No head, or a verifier that is not here; the answer is an error
                as for a batch, as nothing has been sent yet.
        """
        lines = read_lines(request, service.body_limit)
        head_line = await anext(lines, None)
        if head_line is None:
            raise RequestError('the stream is empty: its first line is {"verifier": "name:version"}.')
        head = decode_head(head_line)
        bundle = service.scorer.resolve(head.verifier)
        await service.scorer.runtime(bundle).prepare(bundle)
        return cls(service, metrics, bundle, head.on_failure, lines)

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield the reply, some lines at a time."""
        started = time.perf_counter()
        work = asyncio.create_task(self._work())
        work.add_done_callback(lambda _: self._news.set())
        try:
            while not work.done() or self._done:
                await self._news.wait()
                self._news.clear()
                while self._done:
                    chunk, self._done = self._done[:_LINES_PER_CHUNK], self._done[_LINES_PER_CHUNK:]
                    self._waiting_bytes -= sum(map(len, chunk))
                    if not self._is_full():
                        self._room.set()
                    yield b"\n".join(chunk) + b"\n"
                if work.done():
                    break
            self._total.seconds = time.perf_counter() - started
            yield self._last_line(work) + b"\n"
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    def _last_line(self, work: asyncio.Task[None]) -> bytes:
        exc = work.exception()
        if exc is None:
            return replies.summary_json(self._bundle, self._total)
        if isinstance(exc, CountermarkError):
            return msgspec.json.encode({"error": problem_of(exc)}, enc_hook=str)
        _log.error("unexpected", path="/v1/score/stream", exc_info=exc)
        text = "the service met an error that it does not know; its log has the details."
        return msgspec.json.encode({"error": problem(500, "internal", text)})

    async def _work(self) -> None:
        """Read windows of items and have each scored beside the others."""
        try:
            async with asyncio.TaskGroup() as tasks:
                first = 0
                async for window in self._windows():
                    self._open += len(window)
                    tasks.create_task(self._score(window, first))
                    first += len(window)
                    while self._is_full():
                        self._room.clear()
                        await self._room.wait()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    def _is_full(self) -> bool:
        return self._open >= _OPEN_ITEMS or self._waiting_bytes >= _WAITING_BYTES

    async def _windows(self) -> AsyncIterator[list[ItemBody]]:
        """Yield items as they come: what has arrived within a moment goes together."""
        queue: asyncio.Queue[ItemBody | None] = asyncio.Queue(maxsize=_WINDOW_ITEMS)

        async def read() -> None:
            index = 0
            try:
                async for line in self._incoming:
                    await queue.put(decode_line(line, index))
                    index += 1
            finally:
                await queue.put(None)

        reader = asyncio.create_task(read())
        try:
            ended = False
            while not ended:
                item = await queue.get()
                window = [] if item is None else [item]
                ended = item is None
                until = time.monotonic() + _WINDOW_SECONDS
                while not ended and len(window) < _WINDOW_ITEMS and (left := until - time.monotonic()) > 0:
                    try:
                        item = (
                            queue.get_nowait() if queue.qsize() else await asyncio.wait_for(queue.get(), left)
                        )
                    except TimeoutError:
                        break
                    if item is None:
                        ended = True
                    else:
                        window.append(item)
                if window:
                    yield window
            await reader
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _score(self, window: list[ItemBody], first: int) -> None:
        items = items_of(window, first=first)
        self._service.scorer.check(self._bundle, items, self._service.item_limits, first=first)
        failed: list[dict[str, Any]] = []

        def take(index: int, verdict: Verdict, cached: bool) -> None:
            item_id = items[index].id
            if verdict.score is None and self._on_failure is OnFailure.RAISE:
                place = {"index": first + index, "id": item_id, "outcome": verdict.outcome.value}
                failed.append({**place, "detail": verdict.detail()})
            self._metrics.count(self._bundle, verdict)
            self._take(
                replies.verdict_json((verdict, cached), item_id, self._on_failure, index=first + index)
            )

        run = await self._service.scorer.score(self._bundle, items, take)
        self._total.add(run)
        if failed:
            raise VerdictFailedError(failed, self._total.items)

    def _take(self, line: bytes) -> None:
        self._done.append(line)
        self._waiting_bytes += len(line)
        self._open -= 1
        self._news.set()
        if not self._is_full():
            self._room.set()
