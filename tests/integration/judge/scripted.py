"""A real HTTP server that speaks chat completions, and misbehaves on order.

It runs in the test's own event loop on a port of its own. Every question that is not
a probe's takes the next of `faults`, then `reply` answers. What came is kept byte by
byte in `seen`.
"""

import asyncio
import json
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

Body = dict[str, Any]
Fault = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Seen:
    """One request, as it came."""

    headers: dict[str, str]
    raw: bytes
    body: Body

    @property
    def user(self) -> str:
        """Content of the last user message."""
        return str([one["content"] for one in self.body["messages"] if one["role"] == "user"][-1])


@dataclass
class Exchange:
    """A request and the way to answer it."""

    seen: Seen
    writer: asyncio.StreamWriter
    server: "ScriptedJudge"

    async def send(self, status: int, body: bytes, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Send a whole reply."""
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *(f"{k}: {v}" for k, v in headers)]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await self.writer.drain()

    async def answer(self) -> None:
        """Answer as a good server would."""
        await self.send(200, completion(self.server.reply(self.seen.body), model=self.seen.body["model"]))


def completion(content: str | None, **changes: Any) -> bytes:
    """Return the body of a chat completion."""
    message = {"role": "assistant", "content": content, **changes.pop("message", {})}
    choice = {"index": 0, "message": message, "finish_reason": changes.pop("finish_reason", "stop")}
    made = {
        "id": "cmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice],
        "system_fingerprint": "fp_1", "usage": {"prompt_tokens": 100, "completion_tokens": 10}, **changes,
    }  # fmt: skip
    return json.dumps(made).encode()


@dataclass
class ScriptedJudge:
    """The server; an async context manager."""

    reply: Callable[[Body], str] = lambda body: "They agree.\nSAME"
    faults: list[Fault] = field(default_factory=list)
    gate: asyncio.Event | None = None
    """Where set, no answer goes out before it."""
    seen: list[Seen] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    async def __aenter__(self) -> "ScriptedJudge":
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", 0, limit=1 << 26, backlog=1024
        )
        self.port = int(self._server.sockets[0].getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.arrived = asyncio.Condition()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for _ in range(3):  # the turns of the loop that an accepted connection needs to come to `_connected`
            await asyncio.sleep(0)
        for writer in list(self._writers):
            writer.transport.abort()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()  # some faults never end by themselves
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def wait_for(self, requests: int) -> None:
        """Wait until so many requests have come."""
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.seen) >= requests)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Here and not in the task, which may be cancelled before its first step.
        self._writers.add(writer)
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {
                    k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)
                }
                raw = await reader.readexactly(int(headers["content-length"]))
                seen = Seen({**headers, ":path": head[0].split()[1]}, raw, json.loads(raw))
                await self._handle(Exchange(seen, writer, self))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side is done
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _handle(self, exchange: Exchange) -> None:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        async with self.arrived:
            self.seen.append(exchange.seen)
            self.arrived.notify_all()
        try:
            if self.gate is not None:
                await self.gate.wait()
            if self.faults:
                await self.faults.pop(0)(exchange)
            else:
                await exchange.answer()
        finally:
            self.under_way -= 1


def status(code: int, **headers: str) -> Fault:
    """Return a fault: an error of that status; `retry_after="1"` becomes the header."""
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]

    async def fault(exchange: Exchange) -> None:
        await exchange.send(code, b'{"error": {"message": "scripted"}}', named)

    return fault


def body(content: bytes, *headers: tuple[str, str]) -> Fault:
    """Return a fault: status 200 with any bytes."""

    async def fault(exchange: Exchange) -> None:
        await exchange.send(200, content, headers)

    return fault


def says(content: str | None, **changes: Any) -> Fault:
    """Return one scripted answer."""
    return body(completion(content, **changes))


async def upgrade(exchange: Exchange) -> None:
    """Switch to a protocol that nobody asked for."""
    exchange.writer.write(b"HTTP/1.1 101 X\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\nPRI")
    await exchange.writer.drain()


async def endless_trailers(exchange: Exchange) -> None:
    """Answer, and then send headers of the reply for ever."""
    content = completion("SAME")
    exchange.writer.write(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n")
    exchange.writer.write(b"%x\r\n%b\r\n0\r\n" % (len(content), content))
    while not exchange.writer.is_closing():
        exchange.writer.write(b"x-more: " + b"t" * 1000 + b"\r\n")
        await exchange.writer.drain()


async def many_keys(exchange: Exchange) -> None:
    """Answer with an object of very many keys, the last of them twice."""
    keys = ",".join(f'"{number}":0' for number in range(5_000))
    last = '"4999":0'
    await exchange.send(
        200, f'{{"choices":[{{"message":{{"content":"SAME"}}}}],"x":{{{keys},{last}}}}}'.encode()
    )


async def drop(exchange: Exchange) -> None:
    """Close the connection without a word."""
    exchange.writer.transport.abort()


async def half(exchange: Exchange) -> None:
    """Send half of a reply, then close."""
    content = completion("SAME")
    exchange.writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(content) + content[: len(content) // 2]
    )
    await exchange.writer.drain()
    exchange.writer.close()


async def never(exchange: Exchange) -> None:
    """Say nothing until the other side goes."""
    await exchange.writer.wait_closed()


async def drip(exchange: Exchange) -> None:
    """Send one byte after the other and never end."""
    exchange.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        exchange.writer.write(b" ")
        await exchange.writer.drain()
        await asyncio.sleep(0.01)


def endless(code: int) -> Fault:
    """Return a fault: a body without a length and without an end."""

    async def fault(exchange: Exchange) -> None:
        exchange.writer.write(b"HTTP/1.1 %d X\r\ntransfer-encoding: chunked\r\n\r\n" % code)
        while True:
            exchange.writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await exchange.writer.drain()

    return fault


async def bomb(exchange: Exchange) -> None:
    """Send a small body that would unpack to 64 MiB."""
    await exchange.send(200, zlib.compress(b" " * (64 << 20)), [("content-encoding", "deflate")])


async def no_http(exchange: Exchange) -> None:
    """Send what is no HTTP at all."""
    exchange.writer.write(b"\x00\x01 SAME SAME SAME\r\n\r\n")
    await exchange.writer.drain()


async def until_close(exchange: Exchange) -> None:
    """Send a good reply without a length, ended by closing."""
    exchange.writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + completion("SAME"))
    await exchange.writer.drain()
    exchange.writer.close()
