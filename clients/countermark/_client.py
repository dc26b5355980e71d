"""The client for ordinary blocking code: it hands calls to the asynchronous core in a thread of its own."""

from __future__ import annotations

import weakref
from collections.abc import Generator, Iterable, Iterator, Mapping
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
from ._portal import Portal
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


class Client:
    """Scores model outputs at a Countermark service.

    It may be called from several threads, from inside a running event loop (which it blocks), and in a
    process that was forked after it was made. A copy, or what is unpickled in another process, has the same
    settings and connections of its own. The arguments are those of `AsyncClient`.
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
        self._portal = Portal(at_end=self._core.aclose)
        weakref.finalize(
            self, self._portal.stop, wait=False
        ).atexit = False  # the portal sees to the exit itself

    def score(
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
        """Score `items` and return one verdict for each, in order; see `AsyncClient.score`."""
        subject = subject_of(verifier, release, task)
        parts = list(self._core.batch_parts(given_items(items)))
        seconds = self._core.seconds(deadline)
        return self._portal.call(
            self._core.score(subject, parts, on_failure, seconds, receipt=receipt, judge_mode=judge_mode)
        )

    def score_one(
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
        return self.score(verifier, [item], on_failure=on_failure, deadline=deadline).verdicts[0]

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
    ) -> VerdictStream:
        """Score `items` and give each verdict as soon as it is there; see `AsyncClient.stream`.

        The items are pulled in the thread that reads the stream.
        """
        run = StreamRun(self._core, subject_of(verifier, release, task), on_failure, deadline, judge_mode)
        return VerdictStream(self._portal, run, stream_parts(self._core, given_items(items)))

    def verifiers(self, *, deadline: float | None = None) -> list[VerifierSummary]:
        """Return every verifier that the service has."""
        return self._portal.call(self._core.verifiers(self._core.seconds(deadline)))

    def verifier(self, ref: str, *, deadline: float | None = None) -> VerifierDetail:
        """Return everything that the service tells about the verifier `ref`, its pin included."""
        return self._portal.call(self._core.verifier(ref, self._core.seconds(deadline)))

    def releases(self, *, deadline: float | None = None) -> list[ReleaseSummary]:
        """Return every release that is registered at the service."""
        return self._portal.call(self._core.releases(self._core.seconds(deadline)))

    def release(self, ref: str, *, deadline: float | None = None) -> ReleaseDetail:
        """Return everything that the service tells about the release `ref`, its card included."""
        return self._portal.call(self._core.release(ref, self._core.seconds(deadline)))

    def register(self, card: Mapping[str, Any], *, deadline: float | None = None) -> ReleaseSummary:
        """Register a release card; see `AsyncClient.register`."""
        return self._portal.call(self._core.register(card, self._core.seconds(deadline)))

    def receipt_keys(self, *, deadline: float | None = None) -> dict[str, Any]:
        """Return the public keys of the service's receipts; see `AsyncClient.receipt_keys`."""
        return self._portal.call(self._core.receipt_keys(self._core.seconds(deadline)))

    def livez(self, *, deadline: float = 5.0) -> Probe:
        """Ask once whether the service is running; true or false, an unreachable service being false."""
        return self._portal.call(self._core.probe("/livez", _options.check_seconds("deadline", deadline)))

    def readyz(self, *, deadline: float = 5.0) -> Probe:
        """Ask once whether the service can score now; see `livez`."""
        return self._portal.call(self._core.probe("/readyz", _options.check_seconds("deadline", deadline)))

    def close(self) -> None:
        """Give back the connections and end the client's thread. A later call would begin anew."""
        self._portal.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<countermark.Client {self._settings.base_url}>"


class VerdictStream:
    """Verdicts as they finish: ``for index, verdict in stream``.

    Leaving ``with stream:``, or `close`, gives up what is still under way; so does dropping the stream.
    """

    def __init__(self, portal: Portal, run: StreamRun, parts: Iterator[Part]) -> None:
        self._run = run
        self._verdicts = _drive(portal, run, parts)

    @property
    def summary(self) -> StreamSummary:
        """Who judged, and the counts; known once the stream has ended.

        Raises:
            InvalidInputError: It has not ended.
        """
        return self._run.summary

    def __iter__(self) -> Iterator[IndexedVerdict]:
        return self

    def __next__(self) -> IndexedVerdict:
        return next(self._verdicts)

    def close(self) -> None:
        """Give up what is still under way."""
        self._verdicts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _drive(portal: Portal, run: StreamRun, parts: Iterator[Part]) -> Generator[IndexedVerdict, None, None]:
    """Bring parts to `run` while it has room, and yield what comes back."""
    exhausted = False
    try:
        while True:
            while run.free and not exhausted:
                part = run.pull(parts)
                exhausted = part is None
                if part is not None:
                    portal.call(run.start(part))
            batch = portal.call(run.step())
            yield from batch
            if not batch and exhausted:
                portal.call(run.finish())
                return
    finally:
        # Not waited for: a stream that is dropped may be collected in any thread, the portal's own included.
        portal.post(run.aclose())
