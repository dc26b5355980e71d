"""What the client needs of an HTTP library, and no more.

One exchange is one request with its whole body in memory and one reply whose body is read as it comes.
`_transport` fills this in with httpx; a successor of httpx, or a test, can fill it in as well. A transport
raises `ConnectError` when the connection fails and knows nothing of retries, deadlines or JSON: a deadline
reaches it as cancellation.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request."""

    method: str
    """``GET`` or ``POST``."""
    url: str
    """Absolute, already quoted."""
    headers: Mapping[str, str] = field(repr=False)
    """All headers but the ones that follow from URL and body; holds the API key, hence not in the repr."""
    body: bytes | None = field(default=None, repr=False)
    """The whole body, None for none."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply, open for reading."""

    status: int
    """HTTP status."""
    headers: Mapping[str, str]
    """Headers, names in lower case."""
    chunks: AsyncIterator[bytes] = field(repr=False)
    """The body in pieces, decoded, as it comes."""


class Transport(Protocol):
    """Carries requests to the service."""

    def exchange(self, request: Request) -> AbstractAsyncContextManager[Reply]:
        """Send `request`; the reply can be read inside the ``async with``, and is given up when that is left.

        Raises:
            ConnectError: The connection could not be made, or broke (also while the body is read).
            ProtocolError: The body's encoding is broken.
        """

    async def aclose(self) -> None:
        """Give back the connections of the running event loop. The transport may be used again."""
