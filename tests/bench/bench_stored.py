"""256 stored verdicts in one request, against FastAPI echoing 256 items through pydantic models.

Both servers run in processes of their own under uvicorn with uvloop and httptools, and both keep freed memory as
`countermark serve` does: left alone, the echo pays in one run and not in the next for getting the pages of its bodies
again, up to half of its time, by how its heap happens to lie. What counts is the CPU time of the server.
The first pass of each store fills it; the service's own LRU is then cut to nothing for "alone"
and left in place for "LRU in front".
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from countermark_service.cli import serve
from tests.bench.measure import cpu_seconds, interleaved, report
from tests.redis_server import RedisServer
from tests.support import ServiceProcess

ITEMS = 256
REQUESTS = 100
KEEP_FREED = {
    "MALLOC_TRIM_THRESHOLD_": str(serve.KEPT_BYTES),
    "MALLOC_MMAP_THRESHOLD_": str(serve.MAPPED_BYTES),
}
ECHO = """
from typing import Any
from fastapi import FastAPI
from pydantic import BaseModel
class Item(BaseModel):
    id: str
    response: str
    reference: Any
class Batch(BaseModel):
    verifier: str
    items: list[Item]
app = FastAPI()
@app.post("/echo")
async def echo(batch: Batch) -> Batch:
    return batch
"""


def batch() -> bytes:
    """Return a batch of distinct items of about 1,000 characters, as compact JSON."""
    items = [
        {
            "id": str(n),
            "response": f"{'It follows that we add. ' * 40} The answer is {n}",
            "reference": f"{n % 7}",
        }
        for n in range(ITEMS)
    ]
    body = {"verifier": "gsm8k-answer:1.0.0", "items": items}
    return json.dumps(body, separators=(",", ":")).encode()


def start_echo(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start the baseline server."""
    (folder / "echo.py").write_text(ECHO)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "echo:app", "--port", str(port), "--log-level", "warning"]
    command += ["--no-access-log", "--loop", "uvloop", "--http", "httptools"]
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, **KEEP_FREED})
    url = f"http://127.0.0.1:{port}/echo"
    while True:
        try:
            httpx.post(url, content=b"{}")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return process, url


def cost(client: httpx.Client, url: str, body: bytes, pid: int) -> Callable[[], float]:
    """Return a measure of the server's CPU milliseconds per request."""

    def measure() -> float:
        before = cpu_seconds(pid)
        for _ in range(REQUESTS):
            answer = client.post(url, content=body, headers={"content-type": "application/json"})
            if answer.status_code != 200:
                raise SystemExit(answer.text)
        return (cpu_seconds(pid) - before) / REQUESTS * 1e3

    return measure


def main() -> None:
    """Measure and print."""
    body = batch()
    with (
        tempfile.TemporaryDirectory() as temporary,
        RedisServer(Path(temporary) / "redis") as redis,
        httpx.Client(timeout=60) as client,
    ):
        folder = Path(temporary)
        echo, echo_url = start_echo(folder)
        kinds = {
            "SQLite, LRU in front": {},
            "Redis, LRU in front": {"COUNTERMARK_REDIS_URL": redis.url},
            "SQLite alone": {"COUNTERMARK_LRU_ENTRIES": "1"},
            "Redis alone": {"COUNTERMARK_REDIS_URL": redis.url, "COUNTERMARK_LRU_ENTRIES": "1"},
        }
        services = {
            name: ServiceProcess(folder / name.replace(" ", "-"), {**env, "COUNTERMARK_LOG_LEVEL": "warning"})
            for name, env in kinds.items()
        }
        try:
            measures = [cost(client, echo_url, body, echo.pid)]
            for service in services.values():
                service.start()
                for _ in range(2):
                    answer = client.post(
                        f"{service.url}/v1/score", content=body, headers={"content-type": "application/json"}
                    )
                    time.sleep(0.5)  # the write-behind of the first pass
                if answer.json()["stats"]["cached"] != ITEMS:
                    raise SystemExit(f"not stored: {answer.json()['stats']}")
                measures.append(cost(client, f"{service.url}/v1/score", body, service.process.pid))
            baseline, *found = interleaved(measures)
            for name, value in zip(services, found, strict=True):
                report(
                    f"256 stored verdicts, {name}",
                    value,
                    "CPU ms/request",
                    baseline,
                    "typed echo",
                    goal="< 1",
                )
                print(f"{'':<58} {ITEMS / value * 1e3:>10.0f} verdicts per second and core   goal 100000")
        finally:
            echo.kill()
            echo.wait()
            for service in services.values():
                if hasattr(service, "process"):
                    service.stop()


if __name__ == "__main__":
    main()
