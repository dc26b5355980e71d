"""A real Redis server for tests: started, killed, paused and started again at the same address.

What a store does when Redis fails can only be seen with a Redis that fails. Each
server has a folder and a Unix socket of its own, so tests need no port and do not
meet each other. `skip_without_redis` skips on a developer's machine without
redis-server and fails in CI, where a skipped test would be a hole.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

START_SECONDS = 120.0


def skip_without_redis() -> None:
    """Skip the test where redis-server is not installed; with CI=true in the environment, fail it."""
    if shutil.which("redis-server") is None:
        message = "redis-server is not installed: apt install redis-server"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(message)
        pytest.skip(message)


class RedisServer:
    """One redis-server process; a context manager that starts and stops it."""

    def __init__(self, folder: Path, *options: str) -> None:
        """Describe a server that keeps its files in `folder`; `options` go on its command line.

        A socket's path may have about 100 bytes, less than many a test folder's, so the socket is
        in a short folder of its own.
        """
        self.folder = folder
        self._sockets = tempfile.TemporaryDirectory(prefix="cm-redis-")
        self.socket = Path(self._sockets.name) / "s"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address for clients; stays the same over `restart`."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start the process and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fixed = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder)]
        volatile = ["--save", "", "--appendonly", "no"]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["redis-server", *fixed, *volatile, *self._options], stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = (self.folder / "redis.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"redis-server did not start; its log ends with:\n{tail}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End the process in its own order, if it runs."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process at once; what it held is gone."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill the process and start an empty one at the same address."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stop the process from running; connections stay open and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process run on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def command(self, *words: str | bytes) -> bytes:
        """Send one command over a connection of its own and return the reply as it came, up to 64 KiB."""
        encoded = [word.encode() if isinstance(word, str) else word for word in words]
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(START_SECONDS)
            connection.connect(str(self.socket))
            parts = [b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded]
            connection.sendall(b"*%d\r\n%s" % (len(parts), b"".join(parts)))
            return connection.recv(65536)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._sockets.cleanup()

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)  # a paused process would not see SIGTERM
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        """Return whether the server replies to a PING, be it that it wants a password first."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5.0)
            try:
                probe.connect(str(self.socket))
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith((b"+PONG", b"-NOAUTH"))
            except OSError:
                return False
