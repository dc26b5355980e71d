"""What is written in one turn of the loop leaves with one write, in order, and nothing is lost at a close."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from countermark_service.api.one_write import JoiningTransport, OneWriteProtocol


class Recorder(asyncio.Transport):
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.written.append(b"(closed)")

    def is_closing(self) -> bool:
        return b"(closed)" in self.written


def test_head_and_body_leave_together_and_later_parts_later() -> None:
    async def answer() -> list[bytes]:
        recorder = Recorder()
        transport = JoiningTransport(recorder, asyncio.get_running_loop())
        transport.write(b"head ")
        transport.write(b"body")
        assert recorder.written == []
        await asyncio.sleep(0)
        transport.write(b"more")
        await asyncio.sleep(0)
        return recorder.written

    assert asyncio.run(answer()) == [b"head body", b"more"]


def test_a_close_sends_what_is_held_first() -> None:
    async def answer() -> list[bytes]:
        recorder = Recorder()
        transport = JoiningTransport(recorder, asyncio.get_running_loop())
        transport.write(b"answer")
        transport.close()
        await asyncio.sleep(0)
        return recorder.written

    assert asyncio.run(answer()) == [b"answer", b"(closed)"]


def test_a_writer_that_does_not_pause_reaches_the_socket_before_the_turn_is_over() -> None:
    async def answer() -> list[int]:
        recorder = Recorder()
        transport = JoiningTransport(recorder, asyncio.get_running_loop())
        for _ in range(5):
            transport.write(bytes(30_000))
        early = [len(part) for part in recorder.written]
        await asyncio.sleep(0)
        return [*early, sum(map(len, recorder.written))]

    assert asyncio.run(answer()) == [90_000, 150_000]


def test_everything_else_is_the_transports_own() -> None:
    async def answer() -> object:
        return JoiningTransport(Recorder(), asyncio.get_running_loop()).get_extra_info("peername")

    assert asyncio.run(answer()) == ("127.0.0.1", 1)


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"


@pytest.mark.parametrize(
    ("sent", "closed"),
    [
        ([], True),
        ([HEAD], True),
        ([HEAD, b"X: 1\r\n", b"X: 2\r\n", b"X: 3\r\n"], True),
        ([HEAD + b"\r\n", b"{"], False),
        ([HEAD, b"\r\n"], False),
    ],
    ids=["nothing", "half of a head", "a head that goes on", "half of a body", "a head in two"],
)
def test_a_head_that_does_not_come_ends_the_connection_and_a_body_may_take_its_time(
    sent: list[bytes], closed: bool
) -> None:
    async def answer() -> list[bytes]:
        looked = asyncio.Event()

        async def app(_scope: object, _receive: object, send: Callable[..., Awaitable[None]]) -> None:
            await looked.wait()
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})

        recorder = Recorder()
        config = Config(app, timeout_keep_alive=0, log_config=None)  # no time at all
        protocol = OneWriteProtocol(config, ServerState(), {})
        protocol.connection_made(recorder)
        for piece in sent:
            protocol.data_received(piece)
        for _ in range(5):
            await asyncio.sleep(0)
        written = list(recorder.written)
        looked.set()
        await asyncio.gather(*protocol.tasks)
        return written

    assert (b"(closed)" in asyncio.run(answer())) is closed
