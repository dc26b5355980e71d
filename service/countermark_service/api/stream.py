"""One stream of items in, one stream of verdicts out, at the speed of the slower side.

Lines are read while earlier items are judged. At most `_OPEN_ITEMS` items are
open at a time, so a stream of millions costs the memory of a few thousand. The
reply may begin before the request has ended; a client that only reads when it has
sent everything is served too, as finished lines wait for it.

A line that cannot be scored ends the stream, but costs no other item its verdict:
what was sent before it is answered, then the error comes as the last line.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

import msgspec
import structlog
from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from countermark_service.api import replies
from countermark_service.api.bodies import asked_of, decode_head, decode_line
from countermark_service.api.errors import bug, problem_of
from countermark_service.api.intake import read_lines
from countermark_service.api.metrics import Metrics
from countermark_service.assembly import Service
from countermark_service.errors import CountermarkError, RequestError, VerdictFailedError
from countermark_service.judge import JudgeMode, judging
from countermark_service.model import Item, OnFailure, Verdict
from countermark_service.scoring import Asked, Run

_OPEN_ITEMS = 4096
"""Items of one stream that are read and not yet answered; fewer where the queue is short."""
_WINDOW_ITEMS = 256
_WINDOW_SECONDS = 0.02
_LINES_PER_CHUNK = 64
_WAITING_BYTES = 256 << 20

_log = structlog.get_logger("countermark.api")


class StreamedReply(StreamingResponse):
    """A reply that leaves the messages of the request to whoever makes the reply.

    The framework's own waits for a disconnect while it sends. A body that is still
    coming arrives by the same way, so it would take pieces of it for itself.
    """

    def __init__(self, lines: AsyncGenerator[bytes, None], media_type: str) -> None:
        """Send `lines` as they are made; they are closed when the reply ends, however it ends."""
        super().__init__(lines, media_type=media_type)
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything that is made."""
        async with aclosing(self._lines):
            await self.stream_response(send)


class ScoreStream:
    """A stream that is being scored."""

    def __init__(
        self,
        service: Service,
        metrics: Metrics,
        asked: Asked,
        judge_mode: JudgeMode | None,
        lines: AsyncIterator[bytes],
        receive: Receive,
    ) -> None:
        """Use `begin`, which reads the head first."""
        self._service = service
        self._metrics = metrics
        self._asked = asked
        self._judge_mode = judge_mode
        self._bundle = asked.bundle
        self._on_failure = asked.on_failure
        self._incoming = lines
        self._receive = receive
        self._all_read = asyncio.Event()
        queue_items = service.settings.queue_items
        self._most_open = min(_OPEN_ITEMS, max(queue_items // 2, 1))
        self._window_items = min(_WINDOW_ITEMS, max(queue_items // 4, 1))
        self._total = Run()
        self._open = 0
        self._room = asyncio.Event()
        self._room.set()
        self._done: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._news = asyncio.Event()

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
        asked = service.scorer.asked(**asked_of(head))
        with judging(head.wished_mode):
            await service.scorer.runtime(asked.bundle).prepare(asked.bundle)
        return cls(service, metrics, asked, head.wished_mode, lines, request.receive)

    # --- what goes out -----------------------------------------------------------------------------

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """Yield the reply, some lines at a time."""
        started = time.perf_counter()
        with judging(self._judge_mode):  # a task keeps what held at its start
            work = asyncio.create_task(self._work())
        work.add_done_callback(lambda _: self._news.set())
        watch = asyncio.create_task(self._end_when_gone(work))
        try:
            while not work.done():
                await self._news.wait()
                self._news.clear()
                while self._done:
                    yield self._next_lines()
            self._total.seconds = time.perf_counter() - started
            last = self._last_line(work)
            if last is not None:
                yield last + b"\n"
        finally:
            work.cancel()
            watch.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)

    def _next_lines(self) -> bytes:
        lines = [self._done.popleft() for _ in range(min(len(self._done), _LINES_PER_CHUNK))]
        self._waiting_bytes -= sum(map(len, lines))
        if not self._is_full():
            self._room.set()
        return b"\n".join(lines) + b"\n"

    def _last_line(self, work: asyncio.Task[None]) -> bytes | None:
        """Return the line that ends the reply; None where nobody is there to read it."""
        exc = asyncio.CancelledError() if work.cancelled() else work.exception()
        if exc is None:
            return replies.summary_json(self._asked, self._total)
        if isinstance(exc, CountermarkError):
            return msgspec.json.encode({"error": problem_of(exc)}, enc_hook=str)
        if isinstance(exc, (ClientDisconnect, asyncio.CancelledError)):
            _log.info("client gone", path="/v1/score/stream", items=self._total.items)
            return None
        return msgspec.json.encode({"error": problem_of(bug("/v1/score/stream", exc))})

    async def _end_when_gone(self, work: asyncio.Task[None]) -> None:
        """Stop the work when the client goes away; until all is read, the reading itself shows that."""
        await self._all_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        work.cancel()

    # --- what comes in -----------------------------------------------------------------------------

    async def _work(self) -> None:
        """Read windows of items and have each scored beside the others."""
        fault: CountermarkError | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                first = 0
                try:
                    async with aclosing(self._windows()) as windows:
                        async for window in windows:
                            self._open += len(window)
                            tasks.create_task(self._score(window, first))
                            first += len(window)
                            while self._is_full():
                                self._room.clear()
                                await self._room.wait()
                except CountermarkError as exc:
                    fault = exc  # raised when what came before it is answered
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        if fault is not None:
            raise fault

    def _is_full(self) -> bool:
        return self._open >= self._most_open or self._waiting_bytes >= _WAITING_BYTES

    async def _windows(self) -> AsyncGenerator[list[Item], None]:
        """Yield items as they come: what has arrived within a moment goes together."""
        queue: asyncio.Queue[Item | None] = asyncio.Queue(maxsize=self._window_items)
        reader = asyncio.create_task(self._read_into(queue))
        try:
            ended = False
            while not ended:
                window, ended = await self._window(queue)
                if window:
                    yield window
            await reader
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _window(self, queue: asyncio.Queue[Item | None]) -> tuple[list[Item], bool]:
        """Return the next item with what comes within a moment of it, and whether that is the end."""
        window: list[Item] = []
        item = await queue.get()
        with suppress(TimeoutError):
            async with asyncio.timeout(_WINDOW_SECONDS):
                while item is not None:
                    window.append(item)
                    if len(window) == self._window_items:
                        return window, False
                    item = await queue.get()
                return window, True
        return window, False

    async def _read_into(self, queue: asyncio.Queue[Item | None]) -> None:
        """Put every item of the request into `queue`, checked; None at the end or before a fault."""
        scorer, limits, index = self._service.scorer, self._service.item_limits, 0
        try:
            async for line in self._incoming:
                items = self._asked.items((decode_line(line, index),), first=index)
                scorer.check(self._bundle, items, limits, first=index)
                await queue.put(items[0])
                index += 1
        except Exception:
            await queue.put(None)  # whatever ended the reading, who waits for items must hear of it
            raise
        self._all_read.set()
        await queue.put(None)

    async def _score(self, items: list[Item], first: int) -> None:
        failed: list[dict[str, Any]] = []

        def take(index: int, verdict: Verdict, cached: bool) -> None:
            item_id = items[index].id
            if verdict.score is None and self._on_failure is OnFailure.RAISE:
                place = {"index": first + index, "id": item_id, "outcome": verdict.outcome.value}
                failed.append({**place, "detail": verdict.detail()})
            self._metrics.count(self._bundle, verdict, cached=cached)
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
