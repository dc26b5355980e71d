"""Log lines that nobody reads, or that cannot be written: nobody waits, and what is missing is counted and told."""

import fcntl
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from countermark_service import log_lines
from countermark_service.log_lines import LogThread, dropped_lines

_F_SETPIPE_SZ = 1031
PIPE_BYTES = 4096
WAITING = 20_000


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """The end of a pipe to read from, and a stream into it that holds 4 KiB."""
    read, write = os.pipe()
    fcntl.fcntl(write, _F_SETPIPE_SZ, PIPE_BYTES)
    with os.fdopen(write, "w", encoding="utf-8") as stream:
        yield read, stream
    os.close(read)


def log(handler: logging.Handler, numbers: range) -> None:
    """Log a line of 100 characters for each number."""
    for number in numbers:
        line = f"line {number:05} ".ljust(99, ".")
        handler.handle(logging.LogRecord("test", logging.INFO, __file__, 0, line, (), None))


def until(read: int, last: bytes) -> list[str]:
    """Read lines until one that holds `last`."""
    content = b""
    while last not in content or not content.endswith(b"\n"):
        content += os.read(read, 65536)
    return content.decode().splitlines()


def test_who_logs_does_not_wait_and_the_gap_is_told_where_it_is(pipe: tuple[int, TextIO]) -> None:
    read, stream = pipe
    handler = LogThread(stream, waiting_characters=WAITING)
    log(handler, range(1000))  # nobody reads
    assert handler.dropped > 700
    lines = until(read, b"missing here")
    log(handler, range(1000, 1050))
    lines += until(read, b"line 01049")
    handler.end()

    told = [index for index, line in enumerate(lines) if "missing here" in line]
    numbers = [int(line.split()[1]) for line in lines if line.startswith("line")]
    assert len(told) == 1
    assert f"missing here: {handler.dropped}. " in lines[told[0]]
    assert numbers[: told[0]] == list(range(1000 - handler.dropped))
    assert numbers[told[0] :] == list(range(1000, 1050))


def test_lines_flow_again_once_half_of_what_may_wait_is_free(pipe: tuple[int, TextIO]) -> None:
    read, stream = pipe
    handler = LogThread(stream, waiting_characters=WAITING)
    log(handler, range(1000))
    dropped = handler.dropped
    last = 999 - dropped
    content = os.read(read, PIPE_BYTES)  # less than half
    log(handler, range(1000, 1010))
    assert handler.dropped == dropped + 10
    lines = content.decode() + "\n".join(until(read, b"missing here"))
    handler.end()
    assert f"line {last:05}" in lines
    assert re.findall(r"missing here: (\d+)", lines) == [str(dropped + 10)]


def test_the_end_waits_for_a_reader_and_nothing_is_lost(pipe: tuple[int, TextIO]) -> None:
    read, stream = pipe
    handler = LogThread(stream)
    log(handler, range(30))
    handler.end()  # all of it fits into the pipe
    log(handler, range(30, 35))
    assert [line.split()[1] for line in until(read, b"00034")] == [f"{n:05}" for n in range(35)]
    assert handler.dropped == 0


def test_the_end_does_not_wait_for_ever_for_who_does_not_read(
    pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "_DRAIN_SECONDS", 0.1)
    read, stream = pipe
    handler = LogThread(stream)
    log(handler, range(100))
    handler.end()
    log(handler, range(100, 101))
    lines = until(read, b"00099")  # the thread that was left behind ends
    assert len(lines) == 100


def test_a_pipe_that_does_not_wait_gets_every_line(pipe: tuple[int, TextIO]) -> None:
    read, stream = pipe
    os.set_blocking(stream.fileno(), False)
    handler = LogThread(stream)
    log(handler, range(500))
    lines = until(read, b"line 00499")
    handler.end()
    assert [line.split()[1] for line in lines] == [f"{n:05}" for n in range(500)]


def test_lines_that_cannot_be_written_are_counted_and_told_of_once_they_can(tmp_path: Path) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as stream, (tmp_path / "log").open("w") as file:
        handler = LogThread(stream)
        logging.getLogger().addHandler(handler)
        try:
            log(handler, range(20))
            while handler.dropped < 20:
                os.sched_yield()
            os.dup2(file.fileno(), stream.fileno())  # there is room again
            log(handler, range(20, 22))
            handler.end()
            assert dropped_lines() == 20
        finally:
            logging.getLogger().removeHandler(handler)
    told, *lines = (tmp_path / "log").read_text().splitlines()
    assert "missing here: 20. " in told
    assert [line.split()[1] for line in lines] == ["00020", "00021"]


def test_no_line_is_torn_by_others_that_write_to_the_pipe(pipe: tuple[int, TextIO]) -> None:
    read, stream = pipe
    first, second = LogThread(stream), LogThread(stream)
    log(first, range(500))
    log(second, range(500))
    lines: list[str] = []
    rest = b""
    while len(lines) < 1000:
        rest += os.read(read, 65536)
        whole, _, rest = rest.rpartition(b"\n")
        lines += whole.decode().splitlines()
    first.end()
    second.end()
    assert {len(line) for line in lines} == {99}
