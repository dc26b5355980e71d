"""512 judgements against a server that answers in 50 ms, 64 at a time; then the same again from transcripts.

The server is a process of its own. The ideal is 512 / 64 * 50 ms; the goals are 1.15 times that, at most
2 ms of CPU a call in the service's process, and a replayed verdict that costs no more than a stored one.

A verdict that was replayed once is stored as any other is, so like is compared with like twice: both from the
files, by a service that has nothing in memory, and both from memory. The first replay of all makes a verdict out of
a transcript from the file (writes the question again, finds and reads its transcript, reads the reply), which is more
than to look one up, and is shown beside the stored verdict from the file and beside the call that it saves.
"""

import gc
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import uvloop

from countermark_service.judge import Asker, Endpoint, JudgeMode, judging
from countermark_service.model import Item
from countermark_service.registry import Registry
from countermark_service.runtimes import JudgeRuntime
from countermark_service.scoring import Scorer
from countermark_service.store import SqliteStore, TieredStore
from tests.bench.measure import ROUNDS, report
from tests.support import REPOSITORY

ITEMS, CONCURRENCY, SECONDS = 512, 64, 0.05
MODEL = "Qwen/Qwen2.5-7B-Instruct"
REF = "judge/equivalence:1.4.0"
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


async def service_over(data: Path, port: int) -> Scorer:
    """Return what scores, over the files in `data`, with nothing in memory."""
    endpoint = Endpoint(
        model=MODEL, base_url=f"http://127.0.0.1:{port}/v1", concurrency=CONCURRENCY, probe="never"
    )
    asker = Asker({MODEL: endpoint}, TieredStore(SqliteStore(data / "transcripts.sqlite")))
    store = TieredStore(SqliteStore(data / "verdicts.sqlite"))
    await store.start()
    return Scorer(Registry([REPOSITORY / "verifiers"]), {"judge": JudgeRuntime(asker)}, store)


async def score(scorer: Scorer, number: int, mode: JudgeMode = JudgeMode.AUTO) -> tuple[float, float]:
    """Score one batch; return wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    with judging(mode):
        scored, _ = await scorer.score_batch(scorer.resolve(REF), items(number * ITEMS))
    spent = time.perf_counter() - wall, time.process_time() - cpu
    wrong = [verdict.json for verdict, _ in scored if verdict.score != 1.0]
    assert not wrong, wrong[0]
    return spent


async def each(scorer: Scorer, mode: JudgeMode = JudgeMode.AUTO) -> float:
    """Return the microseconds of CPU of one verdict, of batches that the service has not met; closes nothing."""
    return median([(await score(scorer, number, mode))[1] for number in range(ROUNDS)]) / ITEMS * 1e6


async def anew(data: Path, port: int, mode: JudgeMode = JudgeMode.AUTO) -> tuple[float, float]:
    """Return what `each` does of a service that has only the files, and of the same with all in its memory."""
    scorer = await service_over(data, port)
    await score(scorer, -1, mode)  # opens the files
    gc.collect()  # what earlier services left is not this one's to look through
    gc.freeze()
    try:
        return await each(scorer, mode), await each(scorer, mode)
    finally:
        await scorer.close()


async def rounds(port: int, data: Path) -> None:
    """Measure, after one round that connects."""
    scorer = await service_over(data, port)
    await score(scorer, -1)
    gc.freeze()  # as `countermark serve` does with what it has put together
    spent = [await score(scorer, number) for number in range(ROUNDS)]
    walls = [wall for wall, _ in spent]
    call = median([cpu for _, cpu in spent]) / ITEMS
    await scorer.close()
    ideal = ITEMS / CONCURRENCY * SECONDS
    report("512 judgements, 64 at a time", median(walls), "s", ideal, "ideal", goal="<= 1.15")
    report("  best round", min(walls), "s", ideal, "ideal", goal="<= 1.15")
    report("CPU of a call, lookup, store and verdict included", call * 1e3, "ms", 2.0, "bound", goal="<= 1")
    first, _ = await anew(data, port, JudgeMode.REPLAY)
    turns = [(await anew(data, port), await anew(data, port, JudgeMode.REPLAY)) for _ in range(3)]
    stored, stored_in_memory = (median(values) for values in zip(*(kept for kept, _ in turns), strict=True))
    replayed, in_memory = (median(values) for values in zip(*(again for _, again in turns), strict=True))
    report("a replayed verdict, from the file", replayed, "us", stored, "stored", goal="<= 1")
    report("a replayed verdict, from memory", in_memory, "us", stored_in_memory, "stored", goal="<= 1")
    report("a verdict's first replay, from the file", first, "us", stored, "stored", goal="-")
    report("  beside the call that it saves", first, "us", call * 1e6, "call", goal="-")


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
