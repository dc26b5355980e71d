"""What the server under the API leaves to be wished for: one write per answer, and a bound on headers.

An answer's head and body reach the server one after the other, and it hands each to the
socket at once. Each write wakes the client, which takes the head, finds no body, and
sleeps again, on cores that the verifiers need. So what is written within one turn of the
event loop is sent together at its end; an answer that goes on later is held back for that
one turn and no longer.

Headers are kept until they end, and trailers too, before any key is looked at. So what is
no body is bounded here: whoever sends more is answered 431, and the connection is closed.
"""

import asyncio
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from countermark_service.api.document import PROBLEM_JSON
from countermark_service.api.errors import problem

_MOST_HELD = 64 * 1024
"""Bytes; more is sent at once, so that a fast writer still meets the socket's own brake."""


_MOST_HEAD = 64 * 1024
"""Bytes of one request that are no body: request line, headers, trailers."""
_FRAME_FACTOR = 8
"""Bytes that a byte of a body may take with the frame of a chunk of its own."""
_TOO_LARGE = msgspec.json.encode(
    problem(431, "headers_too_large", f"the headers of a request may have {_MOST_HEAD} bytes.")
)
_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: %b\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b"
    % (PROBLEM_JSON.encode(), len(_TOO_LARGE), _TOO_LARGE)
)


class OneWriteProtocol(HttpToolsProtocol):
    """uvicorn's protocol over a transport that joins writes, with a bound on headers."""

    _unaccounted = 0
    """Bytes of the present request, less what its body accounts for."""
    _begun = _ended = _body = 0
    """Of the bytes just fed: how many requests began and ended with them, and how many were of a body."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`, which allows any transport here where uvicorn names one kind.

        What is handed on has the methods of a transport that uvicorn calls, and is none by its class.
        """
        super().connection_made(JoiningTransport(transport, self.loop))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Take bytes; see `asyncio.Protocol`."""
        self._begun = self._ended = self._body = 0
        super().data_received(data)
        if self._begun or self._ended:  # where several came at once, nobody knows what the last of them has
            self._unaccounted = len(data) - self._body if (self._begun, self._ended) == (1, 0) else 0
        else:
            self._unaccounted += len(data) - (1 + _FRAME_FACTOR) * self._body
        self._unaccounted = max(0, self._unaccounted)
        if self._unaccounted > _MOST_HEAD and not self.transport.is_closing():
            if self.cycle is None or not self.cycle.response_started:
                self.transport.write(_REFUSAL)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Count anew; see `httptools`."""
        self._begun += 1
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Count no more; see `httptools`."""
        self._ended += 1
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Send what is held of the answer: nothing more belongs to it. See uvicorn, which calls it."""
        self.transport.flush()  # type: ignore[attr-defined]  # a JoiningTransport
        super().on_response_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body; see `httptools`."""
        self._body += len(body)
        super().on_body(body)


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
        """Send what is held."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        if self._held:
            held, self._held, self._size = self._held, [], 0
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))
