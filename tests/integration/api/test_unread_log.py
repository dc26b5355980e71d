"""A service whose standard output and error go into a pipe that nobody reads."""

import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.api.parts import link_environments, service_environment
from tests.support import ServiceProcess

_F_SETPIPE_SZ = 1031
REQUESTS = 300
"""Their lines fill the pipe ten times."""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe that holds 4 KiB."""
    read, write = os.pipe()
    fcntl.fcntl(write, _F_SETPIPE_SZ, 4096)
    yield read, write
    os.close(read)


@pytest.fixture
def service(
    pipe: tuple[int, int], tmp_path: Path, shared_root: Path, subjects: Path
) -> Iterator[ServiceProcess]:
    """A service that prints into the pipe, and has been asked for what is not there many times."""
    service = ServiceProcess(
        link_environments(tmp_path / "data", shared_root), service_environment(subjects)
    ).start(output=pipe[1])
    os.close(pipe[1])
    try:
        with httpx.Client(base_url=service.url, timeout=60) as client:
            for number in range(REQUESTS):
                assert client.get(f"/v1/verifiers/nowhere:{number}").status_code == 404
        yield service
    finally:
        service.stop(signal.SIGKILL)


def read_all(descriptor: int) -> list[str]:
    """Return every line until nobody can write any more."""
    return b"".join(iter(lambda: os.read(descriptor, 65536), b"")).decode().splitlines()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_it_answers_and_tells_all_where_somebody_reads_at_its_end(
    service: ServiceProcess, pipe: tuple[int, int], number: signal.Signals, code: int
) -> None:
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(read_all(pipe[0])))
    service.process.send_signal(number)
    reader.start()
    assert service.process.wait(60) == code
    reader.join()
    assert sum("status=404" in line for line in lines) == REQUESTS
    assert "listening" in "".join(lines[:8])
    assert "Finished server process" in lines[-1]


def test_it_ends_where_nobody_reads_at_all(service: ServiceProcess, pipe: tuple[int, int]) -> None:
    assert httpx.get(f"{service.url}/metrics").text.count("countermark_log_lines_dropped_total 0.0") == 1
    assert service.stop() == -signal.SIGTERM
    lines = read_all(pipe[0])
    assert "listening" in "".join(lines[:8])
    assert len(lines) < REQUESTS


def test_a_start_that_fails_says_why_last(pipe: tuple[int, int], tmp_path: Path, subjects: Path) -> None:
    """What was logged before stands before it."""
    data = tmp_path / "data"
    environment = {
        **service_environment(subjects),
        "COUNTERMARK_PROT": "1",
        "COUNTERMARK_PRELOAD": "subject:9",
    }
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(read_all(pipe[0])))
    reader.start()
    with pytest.raises(AssertionError, match="did not start"):
        ServiceProcess(data, environment).start(output=pipe[1])
    os.close(pipe[1])
    reader.join()
    assert "COUNTERMARK_PROT is no setting" in lines[0]
    assert lines[-1].startswith("countermark: no verifier 'subject:9' is here.")
