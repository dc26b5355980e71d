"""1,000 single-sample requests at 64 at once on stored items, as OpenRLHF and slime send them, against a FastAPI echo.

Both servers run in processes of their own under uvicorn. What counts is requests per second of the server's
CPU time: on a machine with a core to spare for the client, that is requests per second and core. slime keeps
its connections; OpenRLHF 0.11 opens a new one for each request, so it is measured both ways.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.bench.measure import cpu_seconds, interleaved, report
from tests.support import ServiceProcess

REQUESTS, AT_ONCE = 1000, 64
VERIFIER = os.environ.get("COUNTERMARK_BENCH_VERIFIER", "gsm8k-answer:1.0.0")
GOAL = "1500"
ECHO = """
from typing import Any
from fastapi import FastAPI
from pydantic import BaseModel
class Sample(BaseModel):
    prompt: str
    response: str
    label: Any
app = FastAPI()
@app.post("/echo")
async def echo(sample: Sample) -> Sample:
    return sample
"""


@dataclass(frozen=True)
class Load:
    """Requests for one server."""

    host: str
    port: int
    path: str
    bodies: list[bytes]
    keeps: bool
    """Whether connections are used again."""

    def request(self, body: bytes) -> bytes:
        """Return one request, whole."""
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\n"
            f"Accept: */*\r\nContent-Length: {len(body)}\r\n"
            f"Connection: {'keep-alive' if self.keeps else 'close'}\r\n\r\n"
        )
        return head.encode() + body


async def send(load: Load) -> None:
    """Send everything, `AT_ONCE` at a time."""
    left = iter([load.request(body) for body in load.bodies])

    async def worker() -> None:
        reader = writer = None
        for request in left:
            if reader is None or writer is None:
                reader, writer = await asyncio.open_connection(load.host, load.port)
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
            content = await reader.readexactly(length)
            if not head.startswith(b"http/1.1 200"):
                raise RuntimeError(f"{load.path}: {content[:300]!r}")
            if not load.keeps:
                writer.close()
                reader = writer = None
        if writer is not None:
            writer.close()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(worker())


def per_core(load: Load, pid: int) -> Callable[[], float]:
    """Return a measure of requests per second of the server's CPU time."""

    def measure() -> float:
        before = cpu_seconds(pid)
        asyncio.run(send(load))
        return len(load.bodies) / (cpu_seconds(pid) - before)

    return measure


def samples() -> list[tuple[str, str, str]]:
    """Return prompt, response and label of distinct samples of about 1,000 characters."""
    steps = "It follows that we add. " * 40
    return [(f"What is {n} + 1?", f"{steps} The answer is {n + 1}", str(n + 1)) for n in range(REQUESTS)]


def encoded(body: object) -> bytes:
    return json.dumps(body).encode()


def start_echo(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start the baseline server."""
    (folder / "echo.py").write_text(ECHO)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    command = [sys.executable, "-m", "uvicorn", "echo:app", "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen([*command, "--no-access-log"], cwd=folder)
    while True:
        try:
            httpx.post(f"http://127.0.0.1:{port}/echo", content=b"{}")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return process, port


def main() -> None:
    """Measure the three ways and the echo in turns."""
    folder = Path(tempfile.mkdtemp())
    rows = samples()
    slime = [encoded({"prompt": p, "response": r, "label": n}) for p, r, n in rows]
    openrlhf = [encoded({"query": [p + r], "prompts": [p], "labels": [n]}) for p, r, n in rows]
    service = ServiceProcess(folder / "data").start()
    echo, port = start_echo(folder)
    try:
        host, path = "127.0.0.1", f"/openrlhf/{VERIFIER}/get_reward"
        pid, echo_pid = service.process.pid, echo.pid
        loads = {
            "slime": (Load(host, service.port, f"/slime/{VERIFIER}", slime, True), pid),
            "OpenRLHF, connections kept": (Load(host, service.port, path, openrlhf, True), pid),
            "OpenRLHF, a connection each": (Load(host, service.port, path, openrlhf, False), pid),
            "echo": (Load(host, port, "/echo", slime, True), echo_pid),
            "echo, a connection each": (Load(host, port, "/echo", slime, False), echo_pid),
        }
        for load, _ in loads.values():
            asyncio.run(send(load))  # fills the store, and warms both servers
        found = dict(zip(loads, interleaved([per_core(*each) for each in loads.values()]), strict=True))
        for name in list(loads)[:3]:
            baseline = found["echo, a connection each" if "each" in name else "echo"]
            report(
                f"{name}: requests per second and core",
                found[name],
                "req/s",
                baseline,
                "echo",
                goal=f">= {GOAL}",
            )
    finally:
        service.stop()
        echo.terminate()
        echo.wait()


if __name__ == "__main__":
    main()
