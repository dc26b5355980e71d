"""Pool and workers stand still for a while, as those of a paused container do, and the clock goes on."""

import asyncio
import os
import signal
import time
from pathlib import Path

from countermark_service.engine.jobs import Result
from countermark_service.engine.pool import Pool
from countermark_service.engine.wire import Judged
from countermark_service.model import Item
from tests.support import make_bundle

SLOW = """
import time

def verify(item):
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    return {"outcome": "scored", "score": 1.0, "detail": {}}
"""


async def test_a_pause_of_everything_is_no_time_of_an_items(tmp_path: Path, pool: Pool) -> None:
    """The pool goes on a moment before the worker, and must not find that it has slept for long."""
    bundle = make_bundle(tmp_path, SLOW, wall_seconds=2.0)
    results: list[Result] = []
    payload = Item("", "").canonical(uses_prompt=False)
    judging = asyncio.create_task(
        pool.run(bundle, "verify", [payload], lambda _, result: results.append(result))
    )
    while not pool.busy:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    ((_, worker),) = pool.workers()
    os.kill(worker, signal.SIGSTOP)
    time.sleep(4)
    await asyncio.sleep(0.1)
    os.kill(worker, signal.SIGCONT)
    await judging
    assert [one.score for one in results if isinstance(one, Judged)] == [1.0]
