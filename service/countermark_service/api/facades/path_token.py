"""A key in the path, for clients that can send no header: ``/t/{key}/openrlhf/…``.

It is taken out of the path before anything else sees it, so that no log line, no
metric, no error and no route knows of it, and goes on as the `Authorization` header
that all other clients send. A key in a URL is still seen by whatever lies between
(proxies, the trainer's own logs), so it serves facades only, and deserves a key of
its own with as few scopes as will do.
"""

from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

_MARK = "/t/"
_REDACTED = "/t/(key)"


class PathToken:
    """ASGI middleware; it stands before the one that logs."""

    def __init__(self, app: ASGIApp, prefixes: Sequence[str]) -> None:
        """Wrap `app`; `prefixes` are the paths of the facades, such as ``/openrlhf``."""
        self._app = app
        self._prefixes = tuple(prefixes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] == "http" and scope["path"].startswith(_MARK):
            scope = self._without_token(scope)
        await self._app(scope, receive, send)

    def _without_token(self, scope: Scope) -> Scope:
        token, slash, rest = scope["path"].removeprefix(_MARK).partition("/")
        path = slash + rest
        below = any(path == prefix or path.startswith(prefix + "/") for prefix in self._prefixes)
        if not below:  # a path of no facade leads nowhere, and keeps the key to itself all the same
            path = _REDACTED + path
        headers = [(name, value) for name, value in scope["headers"] if name.lower() != b"authorization"]
        if below:
            headers.append((b"authorization", b"Bearer " + token.encode("utf-8", "surrogateescape")))
        return {**scope, "path": path, "raw_path": path.encode("utf-8", "replace"), "headers": headers}
