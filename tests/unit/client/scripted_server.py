"""A service made to misbehave: real HTTP over a real socket, every byte under the test's control.

By default it answers as the service's contract says, with one verifier, ``exact:1.0.0``: score 1 if response
and reference are the same text. A response that begins with ``!`` names an outcome, so that failures can be
asked for. A test scripts what happens instead: each scoring request is met by the next reaction of the
script, and by an ordinary answer when the script is used up. Standard library only; it runs in a thread of
its own, so that blocking and asynchronous clients can both be held against it.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

DIGEST = "sha256:" + "a1" * 32
OTHER_DIGEST = "sha256:" + "b2" * 32
NAME = "exact:1.0.0"
PIN = f"{NAME}@{DIGEST}"
VERIFIER = {"ref": PIN, "name": "exact", "version": "1.0.0", "digest": DIGEST}
OTHER_VERIFIER = {**VERIFIER, "ref": f"{NAME}@{OTHER_DIGEST}", "digest": OTHER_DIGEST}
SUMMARY = {**VERIFIER, "runtime": "python", "summary": "The same text", "a field of a later service": 1}
SURROUNDINGS = {"python": "3.11.7", "platform": "linux-x86_64", "containment": "namespaces"}
FAILURES = frozenset({"timeout", "error", "abstain", "bad_reference"})

Document: TypeAlias = dict[str, Any]


@dataclass
class Received:
    """One request, as it came over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    arrived: float
    """Seconds on the server's clock."""

    @property
    def document(self) -> Document:
        """The body of ``/v1/score``."""
        document: Document = json.loads(self.body)
        return document

    @property
    def lines(self) -> list[Document]:
        """The body of ``/v1/score/stream``."""
        return [json.loads(line) for line in self.body.splitlines()]

    @property
    def items(self) -> list[Document]:
        """The items of a scoring request of either kind."""
        return self.lines[1:] if self.path.endswith("/stream") else self.document["items"]

    @property
    def verifier(self) -> str:
        """The ref that was asked for."""
        ref = (self.lines[0] if self.path.endswith("/stream") else self.document)["verifier"]
        assert isinstance(ref, str)
        return ref


@dataclass
class Wire:
    """The server's end of one connection."""

    writer: asyncio.StreamWriter
    closing: asyncio.Event

    async def reply(
        self, status: int, body: bytes, *headers: str, content_type: str = "application/json"
    ) -> None:
        """Send a whole answer."""
        await self.send(
            head(status, f"content-length: {len(body)}", f"content-type: {content_type}", *headers) + body
        )

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    def drop(self) -> None:
        """Break the connection without a goodbye."""
        self.writer.transport.abort()


Reaction: TypeAlias = Callable[[Received, Wire], Awaitable[None]]


def head(status: int, *headers: str) -> bytes:
    """Return the first lines of an answer."""
    return "\r\n".join([f"HTTP/1.1 {status} Because", *headers, "", ""]).encode()


# What the service would say -----------------------------------------------------------------------


def verdict(item: Document, on_failure: str = "null") -> Document:
    """Return the contract's verdict on an item."""
    response = item["response"]
    failed = response.startswith("!")
    score = None if failed else float(response == item["reference"])
    return {
        "id": item.get("id"),
        "outcome": response[1:] if failed else "scored",
        "score": score,
        "reward": 0.0 if failed and on_failure == "zero" else score,
        "cached": False,
        "detail": {"code": "scripted", "message": "as asked"} if failed else {},
        "surroundings": SURROUNDINGS,
        "a field of a later service": {"is": "ignored"},
    }


def batch(request: Received) -> Document:
    """Return the contract's answer to ``/v1/score``."""
    asked = request.document
    verdicts = [verdict(item, asked["on_failure"]) for item in asked["items"]]
    failed = sum(v["score"] is None for v in verdicts)
    return {
        "verifier": dict(VERIFIER),
        "verdicts": verdicts,
        "stats": {"items": len(verdicts), "cached": 0, "failed": failed, "seconds": 0.5},
    }


def stream_lines(request: Received) -> list[bytes]:
    """Return the contract's answer to ``/v1/score/stream``, the last item finishing first."""
    header, *items = request.lines
    policy = header.get("on_failure", "null")
    verdicts = [{"index": i, **verdict(item, policy)} for i, item in enumerate(items)]
    summary = {
        "verifier": VERIFIER,
        "items": len(items),
        "cached": 0,
        "failed": 0,
        "seconds": 0.5,
        "degraded": [],
    }
    return [json.dumps(line).encode() + b"\n" for line in [*reversed(verdicts), {"summary": summary}]]


# Reactions ----------------------------------------------------------------------------------------


async def answer(request: Received, wire: Wire) -> None:
    """Answer as the contract says."""
    if request.method == "POST" and request.verifier not in (NAME, PIN, "exact:1.0.1"):
        await problem(404, "unknown_verifier", "there is no such verifier")(request, wire)
    elif request.path == "/v1/score":
        await wire.reply(200, json.dumps(batch(request)).encode())
    elif request.path == "/v1/score/stream":
        await wire.reply(200, b"".join(stream_lines(request)), content_type="application/x-ndjson")
    elif request.path in ("/livez", "/readyz"):
        await wire.reply(200, b"{}")
    elif request.path == "/v1/verifiers":
        await wire.reply(200, json.dumps({"verifiers": [SUMMARY]}).encode())
    elif request.path in (f"/v1/verifiers/{NAME}", f"/v1/verifiers/{PIN}"):
        detail = {
            "description": "long",
            "parameters": {"type": "object"},
            "vectors": [{"id": "v"}],
            "advisories": [],
        }
        await wire.reply(200, json.dumps({**SUMMARY, **detail, "license": "Apache-2.0"}).encode())
    else:
        await problem(404, "unknown_verifier", "there is no such verifier")(request, wire)


def problem(status: int, code: str, detail: str, *headers: str, **values: object) -> Reaction:
    """Answer with a problem document."""
    document = {
        "type": f"about:{code}",
        "title": code,
        "status": status,
        "detail": detail,
        "code": code,
        **values,
    }

    async def react(request: Received, wire: Wire) -> None:
        await wire.reply(
            status, json.dumps(document).encode(), *headers, content_type="application/problem+json"
        )

    return react


def page(status: int, html: str, *headers: str) -> Reaction:
    """Answer with a web page, as proxies do."""

    async def react(request: Received, wire: Wire) -> None:
        await wire.reply(status, html.encode(), *headers, content_type="text/html")

    return react


def edited(edit: Callable[[Document], object]) -> Reaction:
    """Answer a batch with a document that `edit` changed."""

    async def react(request: Received, wire: Wire) -> None:
        document = batch(request)
        edit(document)
        await wire.reply(200, json.dumps(document).encode())

    return react


def lines(edit: Callable[[list[bytes]], list[bytes]]) -> Reaction:
    """Answer a stream with other lines, and end the answer properly."""

    async def react(request: Received, wire: Wire) -> None:
        await wire.reply(200, b"".join(edit(stream_lines(request))), content_type="application/x-ndjson")

    return react


def cut_stream(after: int, *, last: bytes = b"") -> Reaction:
    """Send `after` lines of a stream and `last`, then break the connection once they have arrived."""

    async def react(request: Received, wire: Wire) -> None:
        body = b"".join(stream_lines(request)[:after]) + last
        await wire.send(head(200, "transfer-encoding: chunked") + b"%x\r\n%b\r\n" % (len(body), body))
        wire.writer.close()  # an orderly end of the connection in the middle of a chunked body

    return react


async def hang(request: Received, wire: Wire) -> None:
    """Never answer."""
    await wire.closing.wait()


async def drop(request: Received, wire: Wire) -> None:
    """Break the connection in place of an answer."""
    wire.drop()


async def drop_half_way(request: Received, wire: Wire) -> None:
    """Break the connection in the middle of the body."""
    body = json.dumps(batch(request)).encode()
    await wire.send(head(200, f"content-length: {len(body)}") + body[: len(body) // 2])
    wire.writer.close()


async def trickle(request: Received, wire: Wire) -> None:
    """Answer correctly, a byte per hundredth of a second: every read makes progress, the whole never ends."""
    body = (
        b"".join(stream_lines(request))
        if request.path.endswith("/stream")
        else json.dumps(batch(request)).encode()
    )
    await wire.send(head(200, f"content-length: {len(body)}"))
    for position in range(len(body)):
        await wire.send(body[position : position + 1])
        await asyncio.sleep(0.01)


# The server ---------------------------------------------------------------------------------------


@dataclass
class ScriptedServer:
    """The server. `react` decides what meets a scoring request; by default the script does, in order."""

    script: list[Reaction] = field(default_factory=list)
    elsewhere: dict[str, Reaction] = field(default_factory=dict)
    """Reactions to requests that carry no items, by path."""
    react: Callable[[Received], Reaction] | None = None
    requests: list[Received] = field(default_factory=list)
    """Every request so far, in order of arrival."""
    tls: ssl.SSLContext | None = None
    """Speak TLS with this certificate; None for plain HTTP."""
    connections: int = 0
    most_at_once: int = 0
    """The largest number of requests that were unanswered at one time."""
    url: str = ""
    _unanswered: int = 0

    @property
    def streamed(self) -> list[Received]:
        """The streaming requests so far."""
        return [request for request in self.requests if request.path.endswith("/stream")]

    @property
    def scored(self) -> list[Received]:
        """The scoring requests so far."""
        return [request for request in self.requests if request.method == "POST"]

    def _reaction(self, request: Received) -> Reaction:
        if request.method != "POST" or not request.items:
            return self.elsewhere.get(request.path, answer)
        if self.react is not None:
            return self.react(request)
        return self.script.pop(0) if self.script else answer

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, closing: asyncio.Event
    ) -> None:
        """Meet the requests of one connection, one after the other."""
        self.connections += 1
        try:
            while not writer.is_closing():
                request = await _read(reader)
                self.requests.append(request)
                self._unanswered += 1
                self.most_at_once = max(self.most_at_once, self._unanswered)
                try:
                    await self._reaction(request)(request, Wire(writer, closing))
                finally:
                    self._unanswered -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went away, which is its right
        finally:
            writer.close()

    def _run(self, started: threading.Event, stop: list[Callable[[], object]]) -> None:
        async def main() -> None:
            closing = asyncio.Event()
            tasks: set[asyncio.Task[None]] = set()
            writers: set[asyncio.StreamWriter] = set()

            def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writers.add(writer)
                task = asyncio.create_task(self._serve(reader, writer, closing))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

            server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=2**26, ssl=self.tls)
            scheme = "https" if self.tls else "http"
            self.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            loop = asyncio.get_running_loop()
            stop.append(lambda: loop.call_soon_threadsafe(closing.set))
            started.set()
            await closing.wait()
            server.close()
            # No transport may outlive its loop: one may still be on its way to `connected`, a task that is
            # cancelled before its first step never closes its writer, and a closed writer waits for a reader.
            if accepting := asyncio.all_tasks() - tasks - {asyncio.current_task()}:
                await asyncio.wait(accepting, timeout=1)
            for writer in writers:
                writer.transport.abort()
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run(main())

    @contextmanager
    def running(self) -> Iterator[ScriptedServer]:
        """Serve in a thread until the context is left."""
        started, stop = threading.Event(), list[Callable[[], object]]()
        thread = threading.Thread(target=self._run, args=(started, stop))
        thread.start()
        started.wait()
        try:
            yield self
        finally:
            stop[0]()
            thread.join()


async def _read(reader: asyncio.StreamReader) -> Received:
    """Read one request."""
    text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *rest = text.rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in rest)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body, asyncio.get_running_loop().time())
