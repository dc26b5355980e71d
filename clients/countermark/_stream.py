"""A stream: items go out in parts, verdicts come in as they finish.

A `StreamRun` lives in an event loop and knows nothing of the iterable that the items come from: whoever
drives it (`AsyncVerdictStream` in the same loop, `VerdictStream` from another thread) brings a part when
there is room for one and asks for verdicts when it wants some. So items are pulled where the caller runs, and
no further ahead than the requests that are under way.

The ref is resolved before the first part goes out, because a streamed answer names its verifier only at the
end. When an answer breaks off, only the items without a verdict are sent again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any

from ._core import MAX_REPLY_BYTES, Core, Deadline
from ._decode import read_advisories, read_degraded, read_json, read_seconds, read_verdict
from ._errors import (
    ApiError,
    ConnectError,
    CountermarkClientError,
    InvalidInputError,
    InvalidItemError,
    ProtocolError,
    TransportError,
    VerdictFailedError,
    api_error,
)
from ._http import Reply
from ._items import Part, split_stream
from ._options import check_seconds
from ._subject import Answered, Subject, opening, policy_of, read_answered
from ._types import Advisory, IndexedVerdict, Item, JudgeMode, OnFailure, Stats, StreamSummary

STREAM_ITEMS = 256
"""Items in one streamed request at most. The request is sent whole before its answer is read; this few
verdicts fit in the buffers between the two ends, so the service never has to wait for the client to read."""
STREAM_BYTES = 4 * 2**20
"""Bytes of items in one streamed request at most, unless one item alone is larger."""


def stream_parts(core: Core, items: Iterable[Item | Mapping[str, Any]]) -> Iterator[Part]:
    """Cut the input of a stream into requests, as the parts are asked for."""
    return split_stream(
        items,
        max_items=min(STREAM_ITEMS, core.settings.max_items_per_request),
        max_bytes=min(STREAM_BYTES, core.settings.max_bytes_per_request),
    )


class StreamRun:
    """One stream under way.

    Args:
        core: Carries the requests.
        subject: The ref of a verifier, or a task of a release.
        on_failure: What a failed item's reward becomes; with ``raise``, failed items are held back and raised
            at the end. None leaves it to a release's card.
        deadline: Seconds for the whole stream, None for no limit. Each request has the client's timeout
            besides.
        judge_mode: Where judges' replies come from; None leaves it to the service.
    """

    def __init__(
        self,
        core: Core,
        subject: Subject,
        on_failure: OnFailure | None,
        deadline: float | None,
        judge_mode: JudgeMode | None = None,
    ) -> None:
        self._summary: StreamSummary | None = None
        self._core = core
        self._subject = subject
        self._on_failure = on_failure
        self._seconds = math.inf if deadline is None else check_seconds("deadline", deadline)
        self._judge_mode = judge_mode
        opening(subject, on_failure, judge_mode)  # what cannot be sent is refused at once
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deadline: Deadline
        self._answered: Answered
        self._open: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._ready: list[IndexedVerdict] = []
        self._held_back: list[IndexedVerdict] = []
        self._error: BaseException | None = None
        self._items = self._cached = self._failed = 0
        self._service_seconds = 0.0
        self._degraded: dict[str, None] = {}
        self._advisories: dict[str, Advisory] = {}

    @property
    def free(self) -> int:
        """How many parts may be started now; none after an error, and none while there are verdicts to read.

        The latter keeps a service that is faster than the reader from filling memory.
        """
        if self._error or self._ready:
            return 0
        return self._core.settings.concurrency - len(self._open)

    async def start(self, part: Part) -> None:
        """Begin to score `part`."""
        await self._begin()
        task = asyncio.create_task(self._run(part))
        self._open.add(task)
        task.add_done_callback(self._close)
        await asyncio.sleep(0)  # lets the request go out while the caller prepares the next part

    async def step(self) -> list[IndexedVerdict]:
        """Return the verdicts that have come since the last step, after waiting for one if there is none.

        Returns:
            At least one verdict, or none if no part is under way any more.

        Raises:
            CountermarkClientError: A part failed. Everything that arrived was returned before.
        """
        await self._begin()
        while not self._ready and self._open:
            self._news.clear()
            await self._news.wait()
        batch, self._ready = self._ready, []
        if not batch and self._error is not None:
            raise self._error
        return batch

    async def finish(self) -> None:
        """Close the books after the last step.

        Raises:
            VerdictFailedError: Items were held back.
        """
        self._summary = StreamSummary(
            self._answered.verifier,
            Stats(self._items, self._cached, self._failed, self._service_seconds),
            tuple(self._degraded),
            self._answered.release,
            tuple(self._advisories.values()),
        )
        if self._held_back:
            raise VerdictFailedError(tuple(sorted(self._held_back, key=_index)), total=self._items)

    @property
    def summary(self) -> StreamSummary:
        """Who judged, and the counts; known after `finish`.

        Raises:
            InvalidInputError: The stream has not ended.
        """
        if self._summary is None:
            raise InvalidInputError("the stream has not ended. Read its summary after its last verdict.")
        return self._summary

    def fail(self, error: BaseException) -> None:
        """Start no further part; `step` raises `error` once the parts under way have ended."""
        self._error = self._error or error

    def pull(self, parts: Iterator[Part]) -> Part | None:
        """Return the next of `parts`; None at their end, or where an item cannot be sent."""
        try:
            return next(parts, None)
        except InvalidItemError as error:
            self.fail(error)  # what is under way comes first
            return None

    async def aclose(self) -> None:
        """Give up the requests that are under way, if this is the process that made them."""
        if self._loop is not asyncio.get_running_loop():
            return
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _begin(self) -> None:
        """On the first call, start the clock and learn which digest the ref means."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            self._deadline = Deadline(self._seconds)
            resolved = await self._core.resolve(
                self._subject, self._on_failure, self._deadline.sooner(self._core.settings.timeout)
            )
            self._answered = Answered(resolved.verifier, resolved.release)
            self._advisories.update({one.id: one for one in resolved.advisories})
        elif self._loop is not loop:
            raise TransportError(
                "this stream is over: its client was closed, or it was begun in another event loop or "
                "process. Begin a stream where it is read."
            )

    def _close(self, task: asyncio.Task[None]) -> None:
        self._open.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)
        self._news.set()

    async def _run(self, part: Part) -> None:
        """Send `part`, and what is left of it after a broken answer, until every item has its verdict."""
        answers = PartAnswers(
            part, self._answered, self._on_failure, self._core.settings.base_url, self._judge_mode
        )
        deadline = self._deadline.sooner(self._core.settings.timeout)

        async def send() -> None:
            async with self._core.exchange(
                "POST", "/v1/score/stream", answers.request(), "application/x-ndjson"
            ) as reply:
                await self._core.expect_ok(reply)
                async for line in read_lines(reply):
                    entry = answers.take(line)
                    if entry is not None:
                        self._publish(entry)
            answers.end()

        try:
            await self._core.attempt(
                send, f"streaming {len(part.ids)} items to {self._answered.verifier.ref}", deadline
            )
        except CountermarkClientError as error:
            error.items = part.indices
            if isinstance(error, ApiError):
                error.locate(answers.sent)
            raise
        self._service_seconds += answers.seconds
        self._degraded.update(dict.fromkeys(answers.degraded))
        self._advisories.update({one.id: one for one in answers.advisories})

    def _publish(self, entry: IndexedVerdict) -> None:
        """Count a verdict and hand it to the next step."""
        self._items += 1
        self._cached += entry.verdict.cached
        self._failed += entry.verdict.failed
        if entry.verdict.failed and self._on_failure == "raise":
            self._held_back.append(entry)
            return
        self._ready.append(entry)
        self._news.set()


class PartAnswers:
    """The answers to one part, over as many requests as it takes; no input or output.

    Args:
        part: The items.
        answered: Who must answer.
        on_failure: What was asked for; None leaves it to a release's card.
        base_url: Where the answers come from, for messages.
        judge_mode: What was asked for; None leaves it to the service.
    """

    def __init__(
        self,
        part: Part,
        answered: Answered,
        on_failure: OnFailure | None,
        base_url: str,
        judge_mode: JudgeMode | None = None,
    ) -> None:
        self.seconds = 0.0
        self.degraded: list[str] = []
        self.advisories: list[Advisory] = []
        self._part, self._answered, self._base_url = part, answered, base_url
        self._opening = opening(answered.subject, on_failure, judge_mode)
        self._policy = policy_of(on_failure, answered)
        self._missing = set(range(len(part.ids)))
        self._sent: list[int] = []
        self._ended = False

    @property
    def sent(self) -> list[int]:
        """Positions in the input of the items of the last request."""
        return [self._part.start + offset for offset in self._sent]

    def request(self) -> bytes:
        """Return the request for the items that have no verdict yet."""
        self._sent, self._ended = sorted(self._missing), False
        return b"\n".join(
            [b"{%b}" % self._opening, *(self._part.pieces[offset] for offset in self._sent), b""]
        )

    def take(self, line: bytes) -> IndexedVerdict | None:
        """Read one line of the answer; return its verdict, None for the summary.

        Raises:
            ApiError: The service gave up.
            ProtocolError: The line does not fit the request.
        """
        document = read_json(line, "a line of the stream")
        if self._ended:
            raise ProtocolError("the stream goes on after its summary")
        if "error" in document:
            raise _fatal(document["error"])
        if "summary" in document:
            self._take_summary(document["summary"])
            return None
        offset = self._offset(document.get("index"))
        index = self._part.start + offset
        verdict = read_verdict(
            document, self._answered.verifier.ref, self._part.ids[offset], self._policy, index=index
        )
        self._missing.remove(offset)
        return IndexedVerdict(index, verdict)

    def end(self) -> None:
        """Say that the answer is over.

        Raises:
            ConnectError: It broke off; the missing items can be sent again.
            ProtocolError: It claims to be whole and is not.
        """
        if self._missing and self._ended:
            raise ProtocolError(f"the stream ended without verdicts on {len(self._missing)} items")
        if self._missing:
            raise ConnectError(
                self._base_url,
                f"the stream broke off with {len(self._missing)} of {len(self._sent)} verdicts missing",
            )

    def _offset(self, position: Any) -> int:
        """Return which item of the part a line is about, by its position in the request."""
        if type(position) is not int or not 0 <= position < len(self._sent):
            raise ProtocolError(f"a line of the stream has the index {position!r} of {len(self._sent)} items")
        offset = self._sent[position]
        if offset not in self._missing:
            raise ProtocolError(f"the stream has two verdicts with the index {position}")
        return offset

    def _take_summary(self, summary: Any) -> None:
        if not isinstance(summary, Mapping):
            raise ProtocolError(f"the summary of the stream is {summary!r:.200}, not an object")
        read_answered(summary, self._answered.subject, self._answered, "the summary of the stream")
        self.seconds += read_seconds(summary.get("seconds")) or 0.0
        self.degraded.extend(read_degraded(summary))
        self.advisories.extend(read_advisories(summary, "the summary of the stream"))
        self._ended = True


async def read_lines(reply: Reply) -> AsyncIterator[bytes]:
    """Yield the lines of a body as they become whole, less blank ones and a last one that was cut short."""
    pieces: list[bytes] = []
    size = 0
    async for chunk in reply.chunks:
        size += len(chunk)
        if size > MAX_REPLY_BYTES:
            raise ProtocolError(f"the answer is larger than {MAX_REPLY_BYTES} bytes")
        first, newline, rest = chunk.partition(b"\n")
        pieces.append(first)
        if not newline:
            continue
        *whole, last = rest.split(b"\n")
        for line in (b"".join(pieces), *whole):
            if line.strip():
                yield line
        pieces = [last]


def _fatal(problem: Any) -> CountermarkClientError:
    """Return the error in a stream's error line."""
    if not isinstance(problem, Mapping):
        return ProtocolError(f"the error line of the stream is {problem!r:.200}, not an object")
    status = problem.get("status")
    return api_error(
        status if isinstance(status, int) else 500,
        problem,
        "the stream was given up",
        retry_after=read_seconds(problem.get("retry_after")),
    )


def _index(entry: IndexedVerdict) -> int:
    return entry.index
