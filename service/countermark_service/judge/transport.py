"""HTTP/1.1 for many short calls to one server, in httpx's terms.

httpx's own pool looks at every connection for every request: with 64 of them a call
costs several milliseconds of CPU, more than judging. Here connections wait in a
stack, what all requests have in common is written once, replies are parsed by httptools
in C, and a reply is one block of bytes with a bound: what a server sends beyond it is
not read. Nothing is decompressed, redirected or retried here, save a call on a kept
connection that the server had closed already.
"""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import httptools
import httpx

_MOST_HEAD_BYTES = 64 << 10
"""Bytes of one reply that are no body: all headers, those of replies before the reply, and trailers."""
_FRAME_FACTOR = 8
"""Bytes that a byte of a body may take with the frame of a chunk of its own."""


_IDLE_SECONDS = 60.0
"""How long a connection is kept unused. What stands between may forget it, and then says nothing for ever."""


class ReplyTooLargeError(httpx.RemoteProtocolError):
    """The server sent more than the bound."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where requests go, and what all of them begin with."""

    origin: tuple[str, str, int]
    """Scheme, host and port."""
    head: bytes
    """Request line and headers, save the length of the body."""

    @classmethod
    def of(cls, request: httpx.Request) -> "Address":
        """Take both from a request, whose body does not count."""
        url = request.url
        lines = [request.method.encode() + b" " + url.raw_path + b" HTTP/1.1"]
        lines += [
            name + b": " + value for name, value in request.headers.raw if name.lower() != b"content-length"
        ]
        origin = (url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80))
        return cls(origin, b"\r\n".join(lines))


@dataclass(frozen=True, slots=True)
class Received:
    """A whole reply."""

    status: int
    headers: dict[bytes, bytes]
    """Values by name in small letters; of several of one name the last."""
    body: bytes


class BoundedTransport:
    """Kept connections with a bound on replies. For one event loop."""

    def __init__(
        self, *, most_bytes: int, connect_seconds: float = 10.0, idle_seconds: float = _IDLE_SECONDS
    ) -> None:
        """Connect nothing yet.

        Args:
            most_bytes: Most bytes of one reply's body.
            connect_seconds: Wall time that one connection may take, TLS included.
            idle_seconds: Wall time for which a connection is kept unused.
        """
        self._most_bytes = most_bytes
        self._connect_seconds = connect_seconds
        self._idle_seconds = idle_seconds
        self._idle: dict[tuple[str, str, int], list[_Connection]] = defaultdict(list)
        self._tls: ssl.SSLContext | None = None

    async def send(self, address: Address, body: bytes) -> Received:
        """Send a request with `body` and return its whole reply.

        Raises:
            httpx.ConnectError, httpx.ConnectTimeout: No connection.
            httpx.ReadError: It ended before the reply did.
            httpx.RemoteProtocolError: What came is no HTTP, or too large (`ReplyTooLargeError`).
        """
        data = b"%b\r\ncontent-length: %d\r\n\r\n%b" % (address.head, len(body), body)
        origin = address.origin
        idle = self._idle[origin]
        while idle:
            kept = idle.pop()
            if kept.idle_since + self._idle_seconds < asyncio.get_running_loop().time():
                kept.abort()
            if kept.closed:
                continue
            try:
                return await self._exchange(kept, origin, data)
            except httpx.ReadError:
                if kept.received:
                    raise
                break  # the server had closed it; nothing of a reply came, so once more on a fresh one
        return await self._exchange(await self._connect(origin), origin, data)

    async def _exchange(
        self, connection: "_Connection", origin: tuple[str, str, int], data: bytes
    ) -> Received:
        try:
            received = await connection.exchange(data)
        except BaseException:
            connection.abort()
            raise
        if connection.reusable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle[origin].append(connection)
        else:
            connection.abort()
        return received

    async def _connect(self, origin: tuple[str, str, int]) -> "_Connection":
        scheme, host, port = origin
        if scheme == "https" and self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        make: Callable[[], _Connection] = lambda: _Connection(self._most_bytes)  # noqa: E731
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, connection = await asyncio.get_running_loop().create_connection(
                    make, host, port, ssl=self._tls if scheme == "https" else None
                )
        except TimeoutError as exc:
            raise httpx.ConnectTimeout(f"no connection within {self._connect_seconds:g} s") from exc
        except (OSError, ssl.SSLError) as exc:
            raise httpx.ConnectError(str(exc) or type(exc).__name__) from exc
        return connection

    async def aclose(self) -> None:
        """Close what is kept."""
        for idle in self._idle.values():
            for connection in idle:
                connection.abort()
        self._idle.clear()


class _Connection(asyncio.Protocol):
    """One connection with at most one request under way; also takes the parser's calls."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Received] | None = None
        self.closed = False
        self.reusable = False
        self.idle_since = 0.0
        """Time of the loop at which it was last put back."""
        self.received = False
        """Whether anything of the present reply came."""
        self._renew()

    def _renew(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._received_bytes = 0
        self._body: list[bytes] = []
        self._size = 0
        self._informational = False
        self._until_close = False
        self._unread = False

    async def exchange(self, data: bytes) -> Received:
        """Send `data` and wait for the reply."""
        if self._transport is None or self.closed:
            raise httpx.ReadError("the connection is closed")
        self._renew()
        self.received = self.reusable = False
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return await self._waiter

    def abort(self) -> None:
        """Drop the connection."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; see `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one by its methods only

    def data_received(self, data: bytes) -> None:
        """Feed the parser; see `asyncio.Protocol`."""
        if self._waiter is None or self._waiter.done():
            self.abort()  # a server that talks without being asked
            return
        self.received = True
        try:
            self._parser.feed_data(data)
        except (
            httptools.HttpParserError, httptools.HttpParserCallbackError, httptools.HttpParserUpgrade
        ) as exc:  # fmt: skip
            self._fail(httpx.RemoteProtocolError(f"the reply is no HTTP: {exc}"))
        self._received_bytes += len(data)
        if self._received_bytes > _MOST_HEAD_BYTES + _FRAME_FACTOR * self._size:
            self._fail(ReplyTooLargeError(f"the reply's headers are over {_MOST_HEAD_BYTES} bytes"))

    def eof_received(self) -> bool:
        """End a reply that has no length of its own, and close; see `asyncio.Protocol`."""
        if self._until_close:
            self.closed = True
            self.on_message_complete()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request under way; see `asyncio.Protocol`."""
        self.closed = True
        self._fail(httpx.ReadError(f"the server closed the connection{f': {exc}' if exc else ''}"))

    def _fail(self, exc: httpx.HTTPError) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(exc)
            self.abort()

    # --- httptools -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Give up a connection on which a server talks on behind its reply: the next one could be taken for it."""
        if self._waiter is None:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Note a reply before the reply, such as 100 Continue; refuse what would have to be unpacked.

        An error says by its status and headers what it is: only its page is left aside.
        """
        status = self._parser.get_status_code()
        self._informational = status < 200
        named = self._headers
        self._unread = named.get(b"content-encoding", b"identity").strip().lower() != b"identity"
        if self._unread and status == httpx.codes.OK:
            self._fail(httpx.RemoteProtocolError("the reply is compressed, which was not asked for"))
        sized = b"content-length" in named or b"transfer-encoding" in named
        self._until_close = not (sized or self._informational or status in (204, 304))

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body, up to the bound; of an error's body the rest would tell nothing new."""
        self._size += len(data)
        if self._waiter is None or self._waiter.done():
            return
        if self._size <= self._most_bytes:
            if not self._unread:
                self._body.append(data)
        elif self._parser.get_status_code() == httpx.codes.OK:
            self._fail(ReplyTooLargeError(f"the reply is over {self._most_bytes} bytes"))
        else:
            self._answer()
            self.abort()

    def on_message_complete(self) -> None:
        """Hand the reply over."""
        if self._informational:
            self._headers, self._informational = {}, False
            return
        if self._waiter is None or self._waiter.done():
            return
        self.reusable = self._parser.should_keep_alive() and not self.closed
        self._answer()

    def _answer(self) -> None:
        assert self._waiter is not None  # noqa: S101 - its callers have looked
        waiter, self._waiter = self._waiter, None
        waiter.set_result(Received(self._parser.get_status_code(), self._headers, b"".join(self._body)))
