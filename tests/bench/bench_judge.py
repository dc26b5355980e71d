"""512 judgements against a server that answers in 50 ms, 64 at a time; then the same again from transcripts.

The server is a process of its own. The ideal is 512 / 64 * 50 ms; the goals are 1.15 times that, at most
2 ms of CPU a call in the service's process, and a replayed verdict that costs no more than a stored one.
"""

import gc
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from countermark_service.judge import Asker, Endpoint, JudgeMode, judging
from countermark_service.model import Item
from countermark_service.registry import Registry
from countermark_service.runtimes import JudgeRuntime
from countermark_service.scoring import Scorer
from countermark_service.store import SqliteStore, TieredStore
from tests.bench.measure import report
from tests.support import REPOSITORY

ITEMS, CONCURRENCY, SECONDS = 512, 64, 0.05
MODEL = "Qwen/Qwen2.5-7B-Instruct"
SERVER = """
import asyncio, sys
import uvloop
BODY = (b'{"id":"x","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"They agree.\\\\nSAME"},'
        b'"finish_reason":"stop"}],"usage":{"prompt_tokens":300,"completion_tokens":8}}')
REPLY = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(BODY) + BODY
class Judge(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.data = transport, b""
    def data_received(self, data):
        self.data += data
        head, found, rest = self.data.partition(b"\\r\\n\\r\\n")
        if found and len(rest) >= int(head.lower().split(b"content-length:")[1].split(b"\\r\\n")[0]):
            self.data = b""
            asyncio.get_running_loop().call_later(%r, self.transport.write, REPLY)
async def main():
    server = await asyncio.get_running_loop().create_server(Judge, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
uvloop.run(main())
"""


def items(start: int) -> list[Item]:
    """Return items with a question each."""
    return [
        Item(f"{'We add, and so on. ' * 40}\\boxed{{{start + n}}}", f"{n} things", {}, "How many things?")
        for n in range(ITEMS)
    ]


async def rounds(port: int, data: Path) -> None:
    """Measure, after one round that connects."""
    endpoint = Endpoint(
        model=MODEL, base_url=f"http://127.0.0.1:{port}/v1", concurrency=CONCURRENCY, probe="never"
    )
    asker = Asker({MODEL: endpoint}, TieredStore(SqliteStore(data / "transcripts.sqlite")))
    store = TieredStore(SqliteStore(data / "verdicts.sqlite"))
    await store.start()
    runtime = JudgeRuntime(asker)
    scorer = Scorer(Registry([REPOSITORY / "verifiers"]), {"judge": runtime}, store)
    bundle = scorer.resolve("judge/equivalence:1.0.0")
    await scorer.score_batch(bundle, items(-ITEMS))
    gc.freeze()  # as `countermark serve` does with what it has put together
    walls, cpus = [], []
    for number in range(5):
        wall, cpu = time.perf_counter(), time.process_time()
        scored, _ = await scorer.score_batch(bundle, items(number * ITEMS))
        walls.append(time.perf_counter() - wall)
        cpus.append((time.process_time() - cpu) / ITEMS * 1e3)
        assert all(verdict.score == 1.0 for verdict, _ in scored), [
            v.json for v, _ in scored if v.score != 1.0
        ][:1]
    ideal = ITEMS / CONCURRENCY * SECONDS
    report("512 judgements, 64 at a time", sorted(walls)[2], "s", ideal, "ideal", goal="<= 1.15")
    report("  best round", min(walls), "s", ideal, "ideal", goal="<= 1.15")
    report(
        "CPU of a call, lookup, store and verdict included", sorted(cpus)[2], "ms", 2.0, "bound", goal="<= 1"
    )
    stored = []
    for number in range(5):
        wall = time.perf_counter()
        await scorer.score_batch(bundle, items(number * ITEMS))
        stored.append((time.perf_counter() - wall) / ITEMS * 1e6)
    for name in ("first replay", "replayed again"):
        replayed = []
        for number in range(5):
            wall = time.perf_counter()
            with judging(JudgeMode.REPLAY):
                scored, _ = await scorer.score_batch(bundle, items(number * ITEMS))
            replayed.append((time.perf_counter() - wall) / ITEMS * 1e6)
            assert all(verdict.score == 1.0 for verdict, _ in scored), [
                v.json for v, _ in scored if v.score != 1.0
            ][:1]
        report(
            f"a verdict, {name}", sorted(replayed)[2], "us", sorted(stored)[2], "stored", goal="<= 1 again"
        )
    await scorer.close()


def main() -> None:
    """Start the server, measure, end it."""
    command = [sys.executable, "-c", SERVER.replace("%r", repr(SECONDS))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server, tempfile.TemporaryDirectory() as folder:
        assert server.stdout is not None
        try:
            uvloop.run(rounds(int(server.stdout.readline()), Path(folder)))
        finally:
            server.kill()


if __name__ == "__main__":
    main()
