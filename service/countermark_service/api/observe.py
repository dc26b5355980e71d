"""One log line and one observation a request, never a text of an item; and the edge that no bug passes."""

import asyncio
import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from countermark_service.api.errors import answer, bug, problem_of
from countermark_service.api.metrics import Metrics
from countermark_service.errors import UnavailableError

_log = structlog.get_logger("countermark.request")
_QUIET = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})


class Observe:
    """ASGI middleware: times requests, and logs method, route, status and duration.

    It has `HEAD` answered as `GET`, whose body the server then leaves out: probes of load balancers ask so.

    It is the API's edge as well. The framework's own answers a bug, raises it again, and has
    the server log it once more and drop the connection.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Wrap `app`."""
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status, method = 0, scope["method"]
        if method == "HEAD":
            scope = {**scope, "method": "GET"}

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        except asyncio.CancelledError:
            if status:
                raise
            # The server does it, when it stops and has waited long enough; its own answer would be a bug's.
            stopped = UnavailableError("the service stops, and this request is not done: send it again.")
            await answer(problem_of(stopped))(scope, receive, note)
        except Exception as exc:
            body = problem_of(bug(scope["path"], exc))
            if status:  # an answer has begun that cannot be taken back
                raise
            await answer(body)(scope, receive, note)
        finally:
            seconds = time.perf_counter() - started
            status = status or 500  # cancelled before its answer began
            route = getattr(scope.get("route"), "path", "(no route)")
            self._metrics.request(route, status, seconds)
            level = _log.debug if route in _QUIET else _log.warning if status >= 500 else _log.info
            level("request", method=method, route=route, status=status, ms=round(seconds * 1e3, 2))
