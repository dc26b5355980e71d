"""Where a release card may be written."""

import os
from pathlib import Path

from countermark_service.cli.release.card_file import write_file


def test_a_pipe_or_a_device_is_written_to_and_stays_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    with os.fdopen(os.open(pipe, os.O_RDWR), "rb", buffering=0) as reading:
        write_file(pipe, b"card")
        assert reading.read(100) == b"card"
    assert pipe.is_fifo()
    assert [one.name for one in tmp_path.iterdir()] == ["pipe"]
