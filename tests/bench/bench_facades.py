"""`/sandbox-fusion/run_code` with verl's own client, 64 at once, against `subprocess.run` behind the same HTTP server.

Both sides answer the same requests with the same web framework and server, on the same cores as
the client, whose own cost is part of both figures. Rounds take turns.
"""

import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response

from countermark_service.api.hot import HotRoute
from tests.bench.measure import interleaved, report
from tests.conformance.frameworks.fetched import fetch
from tests.conformance.frameworks.test_verl_sandbox import VERL
from tests.support import REPOSITORY, ServiceProcess

CLIENT = Path(__file__).with_name("verl_runs.py")
PROGRAMS = 300
ROUNDS = 3
_numbers = itertools.count(0, 1_000_000)


def runs(verl: Path, url: str, *, first: int | None = None, programs: int = PROGRAMS) -> float:
    """Return programs per second that verl's client has run at `url`, new ones unless `first` is given."""
    told = {"url": url, "programs": programs, "first": next(_numbers) if first is None else first}
    done = subprocess.run(
        [sys.executable, "-s", str(CLIENT)],
        input=json.dumps(told),
        env={**os.environ, "PYTHONPATH": str(verl)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-1000:])
    return float(done.stdout)


def bare_app() -> FastAPI:
    """Return a server that runs programs by `subprocess.run`, as many at once as there are cores."""
    turns = asyncio.Semaphore(len(os.sched_getaffinity(0)))
    router = APIRouter(route_class=HotRoute)

    @router.post("/run_code")
    async def run_code(request: Request) -> Response:
        asked = json.loads(await request.body())
        async with turns:
            done = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-c", asked["code"]],
                input=asked["stdin"].encode(),
                capture_output=True,
                check=False,
                timeout=asked["run_timeout"],
            )
        result = {
            "status": "Finished",
            "return_code": done.returncode,
            "stdout": done.stdout.decode(),
            "stderr": done.stderr.decode(),
        }
        return Response(
            json.dumps({"status": "Success", "run_result": result}), media_type="application/json"
        )

    app = FastAPI()
    app.include_router(router)
    return app


@contextmanager
def bare_server() -> Iterator[str]:
    """Serve `bare_app` from a process of its own, and yield its URL."""
    program = "from tests.bench.bench_facades import serve_bare; serve_bare()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        yield url
        process.terminate()


def serve_bare() -> None:
    """Serve `bare_app` on a free port and print its URL."""
    config = uvicorn.Config(bare_app(), port=0, loop="uvloop", http="httptools", log_level="warning")
    server = uvicorn.Server(config)

    def announce() -> None:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        print(f"http://127.0.0.1:{port}", flush=True)

    threading.Thread(target=announce, daemon=True).start()
    server.run()


def main() -> None:
    """Measure and print."""
    data = Path(os.environ.get("COUNTERMARK_TEST_DATA") or REPOSITORY / ".countermark" / "tests")
    verl = fetch(VERL, data)
    with tempfile.TemporaryDirectory() as folder, bare_server() as bare:
        service = ServiceProcess(Path(folder), {"COUNTERMARK_LOG_LEVEL": "warning"}).start()
        try:
            contained = f"{service.url}/sandbox-fusion/run_code"
            uncontained = f"{bare}/run_code"
            for url in (contained, uncontained):
                runs(verl, url, programs=64)  # what starts at first use has started
            ours, theirs = interleaved(
                [lambda: runs(verl, contained), lambda: runs(verl, uncontained)], rounds=ROUNDS
            )
            report(
                "run_code, contained, verl's client, 64 at once",
                ours,
                "runs/s",
                theirs,
                "subprocess.run",
                goal=">= 3",
            )
            equal = runs(verl, contained, first=-PROGRAMS, programs=PROGRAMS)
            stored = runs(verl, contained, first=-PROGRAMS, programs=PROGRAMS)
            report(
                "the same programs again, from the store", stored, "runs/s", equal, "first time", goal="> 1"
            )
        finally:
            service.stop()


if __name__ == "__main__":
    os.environ.pop("COUNTERMARK_CONFIG", None)
    main()
