"""HTTP by httpx. The only module that knows httpx.

Connections belong to the event loop that made them. So there is one httpx client per loop, made when it is
first needed: one `AsyncClient` then serves several ``asyncio.run`` in a row, and a process that was forked
never touches its parent's connections. A loop gives its connections back at its end: what closes them is an
asynchronous generator that waits, as ``asyncio.run`` brings those to their end before it closes its loop.
"""

from __future__ import annotations

import asyncio
import ssl
import weakref
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from ._errors import ConnectError, ProtocolError, TransportError
from ._http import Reply, Request

CONNECT_SECONDS = 10.0
"""How long making one connection may take; then it counts as failed and is tried again."""
MAX_CONNECTIONS = 100
"""Connections of one client to the service, over all calls that are under way."""

_SETTINGS = "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE, SSL_CERT_DIR and SSLKEYLOGFILE"
"""What httpx takes from the environment when a connection is made."""

_Keeper: TypeAlias = AsyncGenerator[None, None]
_Clients: TypeAlias = weakref.WeakKeyDictionary[
    asyncio.AbstractEventLoop, dict[str, tuple[httpx.AsyncClient, _Keeper]]
]


class HttpxTransport:
    """A `Transport` over httpx.

    Args:
        inner: The httpx transport to use in place of the network, e.g. ``httpx.ASGITransport(app)``.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport | None = None) -> None:
        self.__setstate__((inner,))

    def __getstate__(self) -> tuple[httpx.AsyncBaseTransport | None]:
        return (self._inner,)  # connections stay where they were made

    def __setstate__(self, state: tuple[httpx.AsyncBaseTransport | None]) -> None:
        (self._inner,) = state
        self._clients: _Clients = weakref.WeakKeyDictionary()
        self._trust: ssl.SSLContext | None = None

    @asynccontextmanager
    async def exchange(self, request: Request) -> AsyncIterator[Reply]:
        """Send `request` and give its reply; see `Transport.exchange`."""
        try:
            client = await self._client(request.url)
        except (httpx.InvalidURL, _BadProxyError):
            # The reason is not told: httpx takes a password with a '/' or '#' in it for the port, and quotes that.
            raise TransportError(
                "the address of a proxy cannot be read. What is special in its name and password must be written "
                "as %23 and so on, and a port is at most 65535. Look at HTTP_PROXY, HTTPS_PROXY and ALL_PROXY."
            ) from None
        except (ValueError, ImportError, OSError) as exc:
            raise TransportError(
                f"no connection can be made as the environment asks for it: {exc} Look at {_SETTINGS}."
            ) from exc
        try:
            async with client.stream(
                request.method, request.url, headers=request.headers, content=request.body
            ) as response:
                yield Reply(response.status_code, response.headers, response.aiter_bytes())
        except httpx.DecodingError as exc:
            raise ProtocolError(f"the body of the answer to {request.url} is broken: {exc}") from exc
        except (
            httpx.TimeoutException,
            httpx.NetworkError,
            httpx.RemoteProtocolError,
            httpx.ProxyError,
        ) as exc:
            reason = f"{type(exc).__name__}: {exc}".rstrip(": ")
            if self._inner is None:
                reason += _through_proxy(request.url)
            raise ConnectError(_origin(request.url), reason) from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise TransportError(f"cannot carry a request to {request.url[:200]}: {exc}") from exc

    async def aclose(self) -> None:
        """Close the running loop's connections."""
        for _, keeper in self._clients.pop(asyncio.get_running_loop(), {}).values():
            await keeper.aclose()

    async def _client(self, url: str) -> httpx.AsyncClient:
        """Return the running loop's httpx client for the scheme of `url`."""
        scheme, loop = urlsplit(url).scheme, asyncio.get_running_loop()
        if loop not in self._clients:
            self._forget_closed_loops()
        clients = self._clients.setdefault(loop, {})
        if scheme not in clients or clients[scheme][0].is_closed:
            if self._inner is None:
                _check_proxies()
            client = httpx.AsyncClient(
                verify=self._tls(scheme),
                transport=self._inner,
                timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
                limits=httpx.Limits(
                    max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS
                ),
            )
            clients[scheme] = client, _keeper(client)
            await anext(clients[scheme][1])  # from here on the loop knows it; this waits for nothing
        return clients[scheme][0]

    def _forget_closed_loops(self) -> None:
        """Let go of loops that were closed without an end: their connections hold them, and would be kept for ever."""
        for loop in list(self._clients):
            if loop.is_closed():
                self._clients.pop(loop, None)

    def _tls(self, scheme: str) -> ssl.SSLContext:
        """Return whom to trust; plain HTTP goes without, as reading certificates takes a tenth of a second.

        The context for plain HTTP trusts nobody: were it ever used, the connection would fail, not be open.
        """
        if scheme != "https":
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self._trust is None:
            self._trust = httpx.create_ssl_context()
        return self._trust


async def _keeper(client: httpx.AsyncClient) -> _Keeper:
    """Wait, and close `client` when told to end."""
    try:
        yield
    finally:
        await client.aclose()


class _BadProxyError(Exception):
    """The environment names a proxy that nobody can connect to."""


def _check_proxies() -> None:
    """Raise `_BadProxyError` for a proxy's port that is none: httpx takes any number, and anyio fails with it later."""
    for scheme, address in getproxies().items():
        if scheme in ("http", "https", "all"):
            try:
                urlsplit(address if "://" in address else f"//{address}").port  # noqa: B018 - it is read to be checked
            except ValueError:
                raise _BadProxyError from None


def _origin(url: str) -> str:
    """Return scheme, host and port of `url`."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _through_proxy(url: str) -> str:
    """Return a remark on the proxy that stands before `url`, where there is one: it may be what fails."""
    parts = urlsplit(url)
    proxies = getproxies()
    scheme = next((scheme for scheme in (parts.scheme.lower(), "all") if proxies.get(scheme)), None)
    if scheme is None or proxy_bypass(parts.hostname or ""):
        return ""
    return f" (asked through the proxy of {scheme.upper()}_PROXY; NO_PROXY leaves addresses out)"
