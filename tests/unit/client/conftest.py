"""Both clients behind one face, so that a behaviour is stated once and held against both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from countermark import (
    AsyncClient,
    Backoff,
    Client,
    IndexedVerdict,
    Probe,
    ScoreResult,
    StreamSummary,
    Verdict,
    VerifierDetail,
    VerifierSummary,
)
from tests.unit.client.scripted_server import ScriptedServer

QUICK = Backoff(base_seconds=0.001, cap_seconds=0.01)


class Caller:
    """A client of either kind; the blocking one is called inside a running event loop, as in a notebook."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client

    async def score(self, *args: Any, **kwargs: Any) -> ScoreResult:
        result = self.client.score(*args, **kwargs)
        return result if isinstance(result, ScoreResult) else await result

    async def score_one(self, *args: Any, **kwargs: Any) -> Verdict:
        result = self.client.score_one(*args, **kwargs)
        return result if isinstance(result, Verdict) else await result

    async def stream(
        self, *args: Any, into: list[IndexedVerdict] | None = None, **kwargs: Any
    ) -> tuple[list[IndexedVerdict], StreamSummary]:
        """Read a whole stream; `into` keeps what came before an error."""
        came = [] if into is None else into
        if isinstance(self.client, Client):
            with self.client.stream(*args, **kwargs) as stream:
                came.extend(stream)
                return came, stream.summary
        async with self.client.stream(*args, **kwargs) as verdicts:
            async for entry in verdicts:
                came.append(entry)
            return came, verdicts.summary

    async def verifiers(self) -> list[VerifierSummary]:
        result = self.client.verifiers()
        return result if isinstance(result, list) else await result

    async def verifier(self, ref: str) -> VerifierDetail:
        result = self.client.verifier(ref)
        return result if isinstance(result, VerifierDetail) else await result

    async def readyz(self, **kwargs: Any) -> Probe:
        result = self.client.readyz(**kwargs)
        return result if isinstance(result, Probe) else await result

    async def livez(self) -> Probe:
        result = self.client.livez()
        return result if isinstance(result, Probe) else await result

    async def close(self) -> None:
        if isinstance(self.client, Client):
            self.client.close()
        else:
            await self.client.aclose()


class Connect:
    """Makes callers of one kind, and closes them."""

    def __init__(self, kind: type[Client] | type[AsyncClient]) -> None:
        self._kind = kind
        self._made: list[Caller] = []

    def __call__(self, server: ScriptedServer | str, **options: Any) -> Caller:
        url = server if isinstance(server, str) else server.url
        caller = Caller(self._kind(url, **{"backoff": QUICK, "timeout": 20.0, **options}))
        self._made.append(caller)
        return caller

    async def close(self) -> None:
        for caller in self._made:
            await caller.close()


@pytest.fixture(params=[Client, AsyncClient], ids=["blocking", "async"])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """Connects a client of each kind to a server."""
    connect = Connect(request.param)
    yield connect
    await connect.close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that behaves until it is scripted not to."""
    with ScriptedServer().running() as server:
        yield server
