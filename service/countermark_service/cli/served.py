"""A service in a process of its own, for as long as a block runs.

It is the real thing: `countermark serve` on a free port, with its own data folder.
It says itself where it listens, so no port is guessed. It gets a session of its own:
an interrupt at the terminal reaches this process, which then ends the service in
order.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import IO

from countermark_service.errors import CountermarkError

_STOP_SECONDS = 40.0
_LAST_LINES = 8
_STOPPED = frozenset({0, -signal.SIGTERM})


class ServiceEndedError(CountermarkError):
    """The service did not start, or did not end as it should."""

    code = "service_ended"

    def __init__(self, what: str, status: int | None, lines: list[str]) -> None:
        said = "".join(f"\n  {line}" for line in lines)
        super().__init__(f"the service {what} (exit status {status}). The last it said:{said or ' nothing'}")
        self.status = status


@contextlib.contextmanager
def served(data: Path, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a service with the data folder `data`; gives its address.

    Args:
        data: Its data folder.
        environment: Variables beside those of this process; an empty one unsets a setting.

    Raises:
        ServiceEndedError: It ended before it listened, or not in order.
    """
    command = [sys.executable, "-m", "countermark_service", "serve", "--host", "127.0.0.1", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--data", str(data)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={
            **os.environ,
            **(environment or {}),
            "COUNTERMARK_LOG_FORMAT": "json",
            "COUNTERMARK_LOG_LEVEL": "info",
        },
        start_new_session=True,
    )
    assert process.stderr is not None  # noqa: S101 - it is asked for two lines up
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with process, _ends_on_signals():
        try:
            url = _address(process.stderr, last)
            if url is None:
                raise ServiceEndedError("did not start", process.wait(), list(last))
            reader = threading.Thread(target=_drain, args=(process.stderr, last), daemon=True)
            reader.start()
            yield url
        except BaseException:
            _stop(process)
            raise
        status = _stop(process)
        reader.join()
        if status not in _STOPPED:
            raise ServiceEndedError("did not end in order", status, list(last))


def _address(stream: IO[bytes], last: deque[str]) -> str | None:
    """Read log lines until one says where the service listens; None where it ends before."""
    for line in stream:
        last.append(_readable(line))
        with contextlib.suppress(ValueError):
            said = json.loads(line)
            if isinstance(said, dict) and said.get("event") == "listening":
                return str(said["url"])
    return None


def _drain(stream: IO[bytes], last: deque[str]) -> None:
    """Read on, so that the service never waits for somebody to read its log."""
    for line in stream:
        last.append(_readable(line))


def _readable(line: bytes) -> str:
    text = line.decode("utf-8", "replace").rstrip()
    with contextlib.suppress(ValueError):
        said = json.loads(text)
        if isinstance(said, dict) and "event" in said:
            return str(said["event"])[:500]
    return text[:500]


def _stop(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


@contextlib.contextmanager
def _ends_on_signals() -> Iterator[None]:
    """Turn a request to end into an exception, so that the service is not left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
