"""The client for asynchronous code, and the stream that it gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from . import _options
from ._core import Core
from ._http import Transport
from ._items import Part, one_item
from ._options import (
    DEFAULT_BYTES,
    DEFAULT_CONCURRENCY,
    DEFAULT_ITEMS,
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT_SECONDS,
)
from ._retry import Backoff
from ._stream import StreamRun, stream_parts
from ._subject import given_items, subject_of
from ._transport import HttpxTransport
from ._types import (
    IndexedVerdict,
    Item,
    JudgeMode,
    Message,
    OnFailure,
    Probe,
    ReleaseDetail,
    ReleaseSummary,
    ScoreResult,
    StreamSummary,
    Verdict,
    VerifierDetail,
    VerifierSummary,
)


class AsyncClient:
    """Scores model outputs at a Countermark service; for asyncio.

    It may serve several event loops one after the other. Close it, or use it in ``async with``, in the loop
    whose connections are to be given back. A copy, or what is unpickled in another process, has the same
    settings and connections of its own.

    Args:
        base_url: Address of the service; else ``COUNTERMARK_URL``, else ``http://127.0.0.1:8000``.
        api_key: Bearer key; else ``COUNTERMARK_API_KEY``, else none.
        timeout: Seconds that a call may take in all, over every request, retry and wait; ``math.inf`` for no
            limit. In a stream: that one request of the stream may take.
        max_retries: Attempts after the first, for each request. Repeated are broken connections and 429, 502,
            503 and 504.
        max_items_per_request: A larger input is sent in several requests.
        max_bytes_per_request: The same for the size of the items as JSON.
        concurrency: Requests of one call that are under way at once.
        backoff: How long to wait between attempts, if the service does not say.
        transport: What carries the requests in place of httpx over the network, for tests.

    Raises:
        InvalidInputError: An argument cannot be used.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        max_retries: int = DEFAULT_RETRIES,
        max_items_per_request: int = DEFAULT_ITEMS,
        max_bytes_per_request: int = DEFAULT_BYTES,
        concurrency: int = DEFAULT_CONCURRENCY,
        backoff: Backoff | None = None,
        transport: Transport | None = None,
    ) -> None:
        settings = _options.settings(
            base_url=base_url,
            api_key=api_key,
            timeout=timeout,
            max_retries=max_retries,
            max_items_per_request=max_items_per_request,
            max_bytes_per_request=max_bytes_per_request,
            concurrency=concurrency,
            backoff=backoff,
        )
        self.__setstate__((settings, transport if transport is not None else HttpxTransport()))

    def __getstate__(self) -> tuple[_options.Settings, Transport]:
        """Return what another process needs to make the same client; the key is in it, connections are not."""
        return self._settings, self._transport

    def __setstate__(self, state: tuple[_options.Settings, Transport]) -> None:
        self._settings, self._transport = state
        self._core = Core(self._settings, self._transport)

    async def score(
        self,
        verifier: str | None = None,
        items: Iterable[Item | Mapping[str, Any]] | None = None,
        *,
        release: str | None = None,
        task: str | None = None,
        on_failure: OnFailure | None = None,
        deadline: float | None = None,
        receipt: bool = False,
        judge_mode: JudgeMode | None = None,
    ) -> ScoreResult:
        """Score `items` and return one verdict for each, in order.

        Every item is checked before the first is sent.

        Args:
            verifier: Ref of the verifier, ``[namespace/]name:version``, with ``@sha256:…`` as a pin.
            items: `Item` values or dicts with the same keys.
            release: In place of `verifier`: a registered release, ``[namespace/]name:version``. Its card gives
                verifier, parameters and, where it says so, `on_failure`.
            task: With `release`: a task or data source of its card.
            on_failure: What the reward of an item without a verdict becomes: ``null`` for None, ``zero`` for
                0.0, ``raise`` for a `VerdictFailedError`. Not said, it is what a release's card says, else
                ``null``; the service refuses what contradicts the card.
            deadline: Seconds for this call in place of the client's `timeout`.
            receipt: Whether the service is to sign what came out; the result's `receipts` has it. A service
                without a signing key refuses that.
            judge_mode: Where the replies of judges come from: ``replay`` for transcripts only (exact, or an
                error), ``fresh`` for the model only, ``auto`` for what is there and else the model. None leaves
                it to the service. No other verifier heeds it.

        Raises:
            InvalidItemError: An item cannot be sent; nothing was sent.
            ApiError: The service refused; see `countermark` for the classes by reason.
            TransportError: No usable answer came in time.
            VerdictFailedError: An item has no verdict and `on_failure` is ``raise``.

        Where a large call fails in one of its requests, the error's `partial` has the verdicts of the others.
        """
        subject = subject_of(verifier, release, task)
        parts = []
        for part in self._core.batch_parts(given_items(items)):
            parts.append(part)
            await asyncio.sleep(0)  # encoding a large input must not hold up the loop
        seconds = self._core.seconds(deadline)
        return await self._core.score(
            subject, parts, on_failure, seconds, receipt=receipt, judge_mode=judge_mode
        )

    async def score_one(
        self,
        verifier: str,
        response: str | Iterable[Message],
        reference: Any,
        *,
        prompt: str | None = None,
        params: Mapping[str, Any] | None = None,
        on_failure: OnFailure = "null",
        deadline: float | None = None,
    ) -> Verdict:
        """Score one response and return its verdict; see `score`. Many at once are cheaper with `score`."""
        item = one_item(response, reference, prompt, params)
        return (await self.score(verifier, [item], on_failure=on_failure, deadline=deadline)).verdicts[0]

    def stream(
        self,
        verifier: str | None = None,
        items: Iterable[Item | Mapping[str, Any]] | None = None,
        *,
        release: str | None = None,
        task: str | None = None,
        on_failure: OnFailure | None = None,
        deadline: float | None = None,
        judge_mode: JudgeMode | None = None,
    ) -> AsyncVerdictStream:
        """Score `items` and give each verdict, with its item's position, as soon as it is there.

        The items are pulled as requests go out, so the input may be larger than memory.

        Args:
            verifier, release, task: See `score`.
            items: See `score`. One that cannot be sent is an error when it is reached; those before it are
                scored.
            on_failure: See `score`. With ``raise``, failed items are left out and named in an error at the
                end.
            deadline: Seconds for the whole stream; no limit if None. Each request has the client's `timeout`.
            judge_mode: See `score`.
        """
        run = StreamRun(self._core, subject_of(verifier, release, task), on_failure, deadline, judge_mode)
        return AsyncVerdictStream(run, stream_parts(self._core, given_items(items)))

    async def verifiers(self, *, deadline: float | None = None) -> list[VerifierSummary]:
        """Return every verifier that the service has."""
        return await self._core.verifiers(self._core.seconds(deadline))

    async def verifier(self, ref: str, *, deadline: float | None = None) -> VerifierDetail:
        """Return everything that the service tells about the verifier `ref`, its pin included."""
        return await self._core.verifier(ref, self._core.seconds(deadline))

    async def releases(self, *, deadline: float | None = None) -> list[ReleaseSummary]:
        """Return every release that is registered at the service."""
        return await self._core.releases(self._core.seconds(deadline))

    async def release(self, ref: str, *, deadline: float | None = None) -> ReleaseDetail:
        """Return everything that the service tells about the release `ref`, its card included."""
        return await self._core.release(ref, self._core.seconds(deadline))

    async def register(self, card: Mapping[str, Any], *, deadline: float | None = None) -> ReleaseSummary:
        """Register a release card, the content of a `countermark.json`; needs a key with the scope ``admin``.

        The same card again changes nothing; its `new` is false then.

        Raises:
            ReleaseConflictError: Another card has this name and version.
            InvalidRequestError: It is no card, or one that cannot be scored under.
        """
        return await self._core.register(card, self._core.seconds(deadline))

    async def receipt_keys(self, *, deadline: float | None = None) -> dict[str, Any]:
        """Return the public keys of the service's receipts as a document: what ``--keys`` of a check takes.

        Whoever answers here names the keys: compare them with what the issuer published elsewhere.
        """
        return await self._core.receipt_keys(self._core.seconds(deadline))

    async def livez(self, *, deadline: float = 5.0) -> Probe:
        """Ask once whether the service is running; true or false, an unreachable service being false."""
        return await self._core.probe("/livez", _options.check_seconds("deadline", deadline))

    async def readyz(self, *, deadline: float = 5.0) -> Probe:
        """Ask once whether the service can score now; see `livez`."""
        return await self._core.probe("/readyz", _options.check_seconds("deadline", deadline))

    async def aclose(self) -> None:
        """Give back the connections of the running event loop."""
        await self._core.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<countermark.AsyncClient {self._settings.base_url}>"


class AsyncVerdictStream:
    """Verdicts as they finish: ``async for index, verdict in stream``.

    Leaving ``async with stream:``, or `aclose`, gives up what is still under way.
    """

    def __init__(self, run: StreamRun, parts: Iterator[Part]) -> None:
        self._run = run
        self._verdicts = _drive(run, parts)

    @property
    def summary(self) -> StreamSummary:
        """Who judged, and the counts; known once the stream has ended.

        Raises:
            InvalidInputError: It has not ended.
        """
        return self._run.summary

    def __aiter__(self) -> AsyncIterator[IndexedVerdict]:
        return self

    async def __anext__(self) -> IndexedVerdict:
        return await anext(self._verdicts)

    async def aclose(self) -> None:
        """Give up what is still under way."""
        await self._verdicts.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


async def _drive(run: StreamRun, parts: Iterator[Part]) -> AsyncGenerator[IndexedVerdict, None]:
    """Bring parts to `run` while it has room, and yield what comes back."""
    exhausted = False
    try:
        while True:
            while run.free and not exhausted:
                part = run.pull(parts)
                exhausted = part is None
                if part is not None:
                    await run.start(part)
            batch = await run.step()
            for entry in batch:
                yield entry
            if not batch and exhausted:
                await run.finish()
                return
    finally:
        await run.aclose()
