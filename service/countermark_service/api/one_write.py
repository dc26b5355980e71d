"""What the server under the API leaves to be wished for: one write per answer, a bound on headers, one protocol.

An answer's head and body reach the server one after the other, and it hands each to the
socket at once. Each write wakes the client, which takes the head, finds no body, and
sleeps again, on cores that the verifiers need. So what is written within one turn of the
event loop is sent together at its end; an answer that goes on later is held back for that
one turn and no longer.

Headers are kept until they end, and trailers too, before any key is looked at. So what is
no body is bounded here: whoever sends more is answered 431, and the connection is closed.
So is one on which the headers of a request take longer to come than an idle one is kept:
whoever begins many requests and ends none would use up the service's descriptors.

A client may say that it has sent everything by ending its side of the connection, and then
wait for the answer. Nothing tells that from one that has gone but a write that fails. So
what was asked for whole is answered, and the connection is closed behind it.

Some clients offer to go on in another protocol with their first request (`Upgrade: h2c`).
A server may go on as if they had not, but the parser takes all that follows the headers
for bytes of that protocol. So it is given the same headers again, without the offer.

HTTP/1.0 knows neither chunks nor the interim answer that `Expect` asks for. A client of it
is sent an answer of unknown length as it is, and takes its end from that of the connection.
"""

import asyncio
from typing import Any

import httptools
import msgspec
from starlette.types import Message, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from countermark_service.api.document import PROBLEM_JSON
from countermark_service.api.errors import problem

_MOST_HELD = 64 * 1024
"""Bytes; more is sent at once, so that a fast writer still meets the socket's own brake."""


_MOST_HEAD = 64 * 1024
"""Bytes of one request that are no body: request line, headers, trailers."""
_FRAME_FACTOR = 8
"""Bytes that a byte of a body may take with the frame of a chunk of its own."""
_TOO_LARGE = (431, "headers_too_large", f"the headers of a request may have {_MOST_HEAD} bytes.")


class OneWriteProtocol(HttpToolsProtocol):
    """uvicorn's protocol over a transport that joins writes, with a bound on headers; it is HTTP/1.1 and stays so."""

    _unaccounted = 0
    """Bytes of the present request, less what its body accounts for."""
    _begun = _ended = _body = 0
    """Of the bytes just fed: how many requests began and ended with them, and how many were of a body."""
    _in_head = False
    """Whether the headers of a request have begun and not ended."""
    _head_timer: asyncio.TimerHandle | None = None
    """Runs while the headers of a request are waited for, other than between two requests."""
    _offered = False
    """Whether the headers just read offer another protocol, and are to be read again without."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`, which allows any transport here where uvicorn names one kind.

        What is handed on has the methods of a transport that uvicorn calls, and is none by its class.
        """
        self._joining = JoiningTransport(transport, self.loop)
        super().connection_made(self._joining)  # type: ignore[arg-type]
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up what is open; see `asyncio.Protocol`."""
        self._have_head()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep a connection open whose last request is whole and not answered; see `asyncio.Protocol`."""
        last = self.cycle
        if self._in_head or last is None or last.more_body or last.response_complete:
            return False
        last.keep_alive = False
        return True

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.timeout_keep_alive, self._tire)

    def _tire(self) -> None:
        """Close the connection, unless the request before the one that does not come is still being answered."""
        self._head_timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self._await_head()

    def _have_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def data_received(self, data: bytes) -> None:
        """Take bytes; see `asyncio.Protocol`."""
        self._begun = self._ended = self._body = 0
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError as exc:
            self.logger.warning("Invalid HTTP request received.")
            self._refuse(400, "invalid_http", f"this is no request of HTTP/1.1: {_reason(exc)}.")
            return
        if self._begun or self._ended:  # where several came at once, nobody knows what the last of them has
            self._unaccounted = len(data) - self._body if (self._begun, self._ended) == (1, 0) else 0
        else:
            self._unaccounted += len(data) - (1 + _FRAME_FACTOR) * self._body
        if self._in_head:
            self._await_head()
        self._unaccounted = max(0, self._unaccounted)
        if self._unaccounted > _MOST_HEAD and not self.transport.is_closing():
            self._refuse(*_TOO_LARGE)

    def _feed(self, data: bytes) -> None:
        """Have the parser read `data`; raises `HttpParserError`."""
        rest = memoryview(data)
        while rest:
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as offer:
                rest = rest[offer.args[0] :]
            self._offered = False
            if self.parser.get_method() == b"CONNECT":
                raise httptools.HttpParserError("CONNECT is for proxies")
            self.parser.feed_data(self._head_without_offer())

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        kept = [b"%b: %b\r\n" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"%b %b HTTP/%b\r\n%b\r\n" % (self.parser.get_method(), self.url, version, b"".join(kept))

    def _refuse(self, status: int, code: str, text: str) -> None:
        """Close the connection, after an answer where the client can take it for one to what is wrong."""
        cycle = self.cycle
        behind_others = cycle is not None and (
            self.pipeline or not (cycle.more_body or cycle.response_complete)
        )
        begun = cycle is not None and cycle.response_started and not cycle.response_complete
        if not (behind_others or begun):
            body = msgspec.json.encode(problem(status, code, text))
            self.transport.write(
                b"%bcontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (STATUS_LINE[status], PROBLEM_JSON.encode(), len(body), body)
            )
        self.transport.close()

    def on_message_begin(self) -> None:
        """Count anew; see `httptools`."""
        self._begun += 1
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin to answer, unless these headers are to be read again; see `httptools`."""
        self._in_head = False
        self._have_head()
        self._offered = self.parser.should_upgrade()
        if not self._offered:
            self.expect_100_continue &= self.parser.get_http_version() != "1.0"
            super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        unframed = cycle.scope["http_version"] == "1.0"
        super()._start_asgi_task(cycle, _without_chunks(app, cycle) if unframed else app)

    def on_message_complete(self) -> None:
        """Count no more; see `httptools`."""
        self._ended += 1
        if not self._offered:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Send what is held of the answer: nothing more belongs to it. See uvicorn, which calls it."""
        self._joining.flush()
        super().on_response_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body; see `httptools`."""
        self._body += len(body)
        super().on_body(body)


def _without_chunks(app: Any, cycle: RequestResponseCycle) -> Any:
    """Have `app` answer so that the end of the connection is that of the body, where no length is said."""

    async def answer(scope: Any, receive: Any, send: Send) -> None:
        unsaid = False

        async def send_plain(message: Message) -> None:
            nonlocal unsaid
            if message["type"] == "http.response.start":
                unsaid = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
                if unsaid:
                    cycle.chunked_encoding = False
            elif unsaid:
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, send_plain)

    return answer


def _reason(exc: httptools.HttpParserError) -> str:
    """Return what the parser says, which names the fault and quotes nothing."""
    if isinstance(exc, httptools.HttpParserCallbackError):  # what was read could not be taken
        return "its path cannot be read"
    return str(exc)


class JoiningTransport:
    """A transport that sends what is written in one turn of the loop with one write."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._size = 0
        self._turn: asyncio.Handle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send `data` at the end of this turn, or of the answer."""
        if self._turn is None:
            self._turn = self._loop.call_soon(self.flush)
        self._held.append(data)
        self._size += len(data)
        if self._size > _MOST_HELD:
            self.flush()

    def close(self) -> None:
        """Send what is held, then close."""
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Send what is held; where the client has gone, nobody can be sent anything."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        held, self._held, self._size = self._held, [], 0
        if held and not self._transport.is_closing():
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))
