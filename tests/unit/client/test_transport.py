"""The seam to HTTP: another transport can stand in, and an application can be called without a port."""

from __future__ import annotations

import json
import traceback
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from countermark import (
    AsyncClient,
    Client,
    ConnectError,
    HttpxTransport,
    ProtocolError,
    Reply,
    Request,
    TransportError,
)
from tests.unit.client.conftest import QUICK
from tests.unit.client.scripted_server import NAME, PIN, Received, batch

ITEMS = [{"response": "1", "reference": "1"}, {"response": "0", "reference": "1"}]


class WithoutHttpx:
    """A transport that answers from memory: what a successor of httpx would have to offer."""

    def __init__(self) -> None:
        self.closed = 0

    @asynccontextmanager
    async def exchange(self, request: Request) -> AsyncIterator[Reply]:
        answer = batch(Received(request.method, "/v1/score", {}, request.body or b"", 0.0))

        async def chunks() -> AsyncIterator[bytes]:
            for byte in json.dumps(answer).encode():
                yield bytes([byte])

        yield Reply(200, {}, chunks())

    async def aclose(self) -> None:
        self.closed += 1


async def test_another_transport_can_stand_in() -> None:
    transport = WithoutHttpx()
    with Client(transport=transport) as client:
        assert client.score(NAME, ITEMS).rewards == [1.0, 0.0]
    async with AsyncClient(transport=transport) as other:
        assert (await other.score(NAME, ITEMS)).verifier.ref == PIN
    assert transport.closed == 2


async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    """An ASGI application that answers a batch."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    answer = json.dumps(batch(Received(scope["method"], scope["path"], {}, body, 0.0))).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": answer})


async def test_an_application_is_called_without_a_port_by_both_clients() -> None:
    with Client(transport=HttpxTransport(httpx.ASGITransport(app))) as client:
        assert client.score(NAME, ITEMS).rewards == [1.0, 0.0]
    async with AsyncClient(transport=HttpxTransport(httpx.ASGITransport(app))) as other:
        assert (await other.score(NAME, ITEMS)).rewards == [1.0, 0.0]


async def test_a_body_that_is_not_what_its_encoding_says_is_a_protocol_error() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b"no gzip"))

    async with AsyncClient(transport=HttpxTransport(httpx.MockTransport(answer)), backoff=QUICK) as client:
        with pytest.raises(ProtocolError, match=r"the body of the answer to http.* is broken"):
            await client.score(NAME, ITEMS)


async def test_a_fault_of_the_transport_itself_is_not_tried_again() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        raise httpx.UnsupportedProtocol("no such scheme")

    async with AsyncClient(transport=HttpxTransport(httpx.MockTransport(answer)), backoff=QUICK) as client:
        with pytest.raises(TransportError, match=r"cannot carry a request to .*no such scheme"):
            await client.score(NAME, ITEMS)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("url", "variable", "value", "said"),
    [
        ("http://127.0.0.1:9", "ALL_PROXY", "gopher://x", "Look at HTTP_PROXY"),
        ("http://127.0.0.1:9", "ALL_PROXY", "http://name:pa55#word@proxy:80", "must be written as %23"),
        ("http://127.0.0.1:9", "ALL_PROXY", "http://name:pa55@127.0.0.1:99999", "at most 65535"),
        ("http://127.0.0.1:9", "HTTP_PROXY", "127.0.0.1:65536", "at most 65535"),
        ("https://127.0.0.1:9", "SSL_CERT_FILE", "/dev/null/none", "Look at HTTP_PROXY"),
        ("http://999.1.1.1", "NO_PROXY", "", "cannot carry a request to http://999.1.1.1"),
        ("http://\udcff", "NO_PROXY", "", "cannot carry a request to http://"),
        ("http://h/" + "a" * 70_000, "NO_PROXY", "", "cannot carry a request to http://h/"),
    ],
    ids=[
        "a proxy",
        "a password",
        "a port",
        "a bare port",
        "certificates",
        "numbers",
        "a surrogate",
        "a long path",
    ],
)
def test_what_no_connection_can_be_made_for_is_an_error_of_the_client(
    monkeypatch: pytest.MonkeyPatch, url: str, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with Client(url, backoff=QUICK) as client, pytest.raises(TransportError) as caught:
        client.score(NAME, ITEMS)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert "pa55" not in "".join(traceback.format_exception(caught.value))


def test_a_proxy_that_stands_between_is_named_where_no_answer_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    for exempt, named in (("", True), ("127.0.0.1", False)):
        monkeypatch.setenv("NO_PROXY", exempt)
        monkeypatch.setenv("no_proxy", exempt)
        with Client("http://127.0.0.1:9", max_retries=0) as client, pytest.raises(ConnectError) as caught:
            client.score(NAME, ITEMS)
        assert ("asked through the proxy of HTTP_PROXY" in str(caught.value)) is named


def test_a_blocking_call_from_the_clients_own_thread_is_refused_and_not_a_deadlock() -> None:
    client = Client(transport=WithoutHttpx())

    async def inside() -> None:
        client.score(NAME, ITEMS)

    with client, pytest.raises(RuntimeError, match="would wait for itself for ever"):
        client._portal.call(inside())
