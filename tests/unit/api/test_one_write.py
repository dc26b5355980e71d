"""What is written in one turn of the loop leaves with one write, in order, and nothing is lost at a close."""

import asyncio

from countermark_service.api.one_write import JoiningTransport


class Recorder(asyncio.Transport):
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.written.append(b"(closed)")


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
