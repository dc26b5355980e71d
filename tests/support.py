"""Bundles and services that tests make for themselves."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from countermark_service.bundles import Bundle, read_bundle
from countermark_service.engine.environment import EnvironmentCache

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

_READY_SECONDS = 300.0

MANIFEST = """\
name = "{name}"
version = "{version}"
summary = "A bundle of the tests"
protocol = 1
runtime = "python"
entry = "verifier:verify"
python = "3.11"
files = ["verifier.toml", "verifier.py", "requirements.lock", "vectors.jsonl"]
limits = {{ cpu_seconds = {cpu_seconds}, wall_seconds = {wall_seconds}, memory_mib = {memory_mib} }}
{extra}
"""


def write_bundle(
    root: Path,
    code: str,
    *,
    name: str = "subject",
    version: str = "1.0.0",
    cpu_seconds: float = 1.0,
    wall_seconds: float = 5.0,
    memory_mib: int = 256,
    extra: str = "",
    lock: str = "# no dependencies\n",
) -> Path:
    """Write a bundle folder below `root` and return it."""
    folder = root / name / version
    folder.mkdir(parents=True)
    manifest = MANIFEST.format(
        name=name, version=version, cpu_seconds=cpu_seconds, wall_seconds=wall_seconds,
        memory_mib=memory_mib, extra=extra,
    )  # fmt: skip
    (folder / "verifier.toml").write_text(manifest)
    (folder / "verifier.py").write_text(code)
    (folder / "requirements.lock").write_text(lock)
    (folder / "vectors.jsonl").write_text("")
    return folder


def make_bundle(root: Path, code: str, **facts: Any) -> Bundle:
    """Write a bundle and read it."""
    return read_bundle(write_bundle(root, code, **facts))


def kept_folder() -> Path:
    """Return the folder that keeps environments and packages between runs, so that they are built once."""
    folder = Path(os.environ.get("COUNTERMARK_TEST_DATA") or REPOSITORY / ".countermark" / "tests")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def no_more_than(descriptors: int) -> Iterator[None]:
    """Let this process open so many descriptors more than it has."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free: list[int] = []
    while len(free) <= descriptors:
        free.append(os.dup(2))
    for descriptor in free:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def python_of(bundle: Path) -> Path:
    """Return the interpreter of a bundle folder's environment, which is built if there is none yet."""
    manifest = tomllib.loads((bundle / "verifier.toml").read_text("utf-8"))
    environments = EnvironmentCache(kept_folder() / "environments")
    return environments.ensure((bundle / "requirements.lock").read_bytes(), manifest["python"]).python


class ServiceProcess:
    """`countermark serve` as a process of its own, on a port of its own."""

    def __init__(self, data: Path, environment: dict[str, str] | None = None) -> None:
        """Describe it; `start` runs it."""
        self.data = data
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("COUNTERMARK_")},
            "COUNTERMARK_DATA": str(data),
            **(environment or {}),
        }
        self.log = data / "service.log"

    def start(self, output: int | None = None) -> "ServiceProcess":
        """Run it and wait until it is ready; what it prints goes to `output`, or else to the log."""
        self.data.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            printed = log.fileno() if output is None else output
            self.process = subprocess.Popen(
                [sys.executable, "-m", "countermark_service", "serve", "--port", str(self.port)],
                env=self._environment, stdout=printed, stderr=printed, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        deadline = time.monotonic() + _READY_SECONDS
        with httpx.Client(timeout=30) as client:  # one for all tries: to make it takes more than a try
            while True:
                try:
                    if client.get(f"{self.url}/readyz").status_code == 200:
                        return self
                except httpx.TransportError:
                    pass
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"the service did not start:\n{self.log.read_text()}")
                time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(_READY_SECONDS)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
