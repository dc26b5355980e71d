"""What goes over the wire between a framework's client and the service, kept as golden files.

A `Wire` stands between the two, passes everything on as it is, and remembers the
requests. While the service is away it does what gateways do: it waits a while and then
says 504. What a client sends, without what changes from run to run, is compared with
a golden file beside the tests; the facades are also tested with these files alone, so
they stay tested where a package cannot be had.

Write them anew with ``COUNTERMARK_GOLDEN=write make conformance``.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import httpx

GOLDEN = Path(__file__).with_name("golden")
_KEPT_HEADERS = ("accept", "authorization", "content-type", "x-api-key", "xrl-authorization", "businesstype")
_AWAY_SECONDS = 8.0
_NOT_PASSED_ON = frozenset({"host", "connection", "content-length", "transfer-encoding", "keep-alive"})

Interfere = Callable[[int], tuple[int, bytes] | None]
"""Takes the number of a request, from 0, and returns an answer to give in place of the service's, or None."""


class Wire:
    """A proxy on a port of its own that remembers requests, in the order in which they came."""

    def __init__(self, upstream: str, interfere: Interfere = lambda number: None) -> None:
        """Stand before the service at `upstream`."""
        self.requests: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self._lock = threading.Lock()
        self._upstream = httpx.Client(
            base_url=upstream, timeout=300, limits=httpx.Limits(max_connections=512)
        )
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, headers, content = wire.pass_on(
                    self.command, self.path, dict(self.headers), body, interfere
                )
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in _NOT_PASSED_ON | {"date", "content-encoding"}:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = handle_any  # noqa: N815 - the library's names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 512
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that went away is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._upstream.close()

    def pass_on(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, interfere: Interfere
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Remember a request and return the service's answer, or the one to give in its place."""
        with self._lock:
            number = len(self.requests)
            self.requests.append(_as_sent(method, path, headers, body))
        instead = interfere(number)
        if instead is not None:
            answer: tuple[int, Mapping[str, str], bytes] = (instead[0], {}, instead[1])
        else:
            passed = {name: value for name, value in headers.items() if name.lower() not in _NOT_PASSED_ON}
            try:
                got = self._upstream.request(method, path, headers=passed, content=body)
                answer = (got.status_code, got.headers, got.content)
            except httpx.TransportError:
                self._wait_for_service()
                answer = (504, {}, b"the service was away")
        with self._lock:
            self.statuses.append(answer[0])
        return answer

    def _wait_for_service(self) -> None:
        """Hold a request while the service is away, as gateways do, for as long as it may take to start."""
        deadline = time.monotonic() + _AWAY_SECONDS
        while time.monotonic() < deadline:
            try:
                self._upstream.get("/livez")
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return


def _as_sent(method: str, path: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    kept = {name.lower(): value for name, value in headers.items() if name.lower() in _KEPT_HEADERS}
    try:
        content = json.loads(body) if body else None
    except ValueError:
        content = body.decode("utf-8", "replace")
    return {"method": method, "path": path, "headers": dict(sorted(kept.items())), "body": content}


def golden(name: str) -> list[dict[str, Any]]:
    """Return the requests of a golden file."""
    requests: list[dict[str, Any]] = json.loads((GOLDEN / f"{name}.json").read_text())
    return requests


def hold_to_golden(name: str, requests: Sequence[Mapping[str, Any]]) -> None:
    """Compare requests with a golden file, whatever their order was; with COUNTERMARK_GOLDEN=write, write it."""
    file = GOLDEN / f"{name}.json"
    rows = sorted(json.dumps(one, sort_keys=True) for one in requests)
    found = [json.loads(row) for row in dict.fromkeys(rows)]
    if os.environ.get("COUNTERMARK_GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert found == golden(name), f"{name} sends something else; see how wire.py has it written anew"


def replay(request: Mapping[str, Any], client: httpx.Client) -> httpx.Response:
    """Send a request of a golden file."""
    content = None if request["body"] is None else json.dumps(request["body"]).encode()
    return client.request(request["method"], request["path"], headers=request["headers"], content=content)
