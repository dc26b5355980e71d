"""Runs OpenRLHF 0.11's own HTTP client: reads what to call, prints what came out.

Told: ``urls``, ``samples`` (lists of query, prompt, label: one list is one call), and ``at_once``.
Says: for each call the replies, one per shard, or the text of the exception.
"""

import asyncio
import importlib.util
import json
import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

logging.disable(logging.CRITICAL)


def agent() -> Any:
    """Return the module with the client, without what the rest of OpenRLHF imports."""
    sys.modules["openrlhf.utils.logging_utils"] = SimpleNamespace(init_logger=logging.getLogger)  # type: ignore[assignment]
    found = next(
        Path(entry) / "openrlhf/utils/agent.py" for entry in sys.path if (Path(entry) / "openrlhf").is_dir()
    )
    spec = importlib.util.spec_from_file_location("agent_of_openrlhf", found)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def main() -> None:
    """Fetch the rewards of every call as the executor does."""
    told = json.load(sys.stdin)
    executor = agent().SingleTurnAgentExecutor(told["urls"])
    turns = asyncio.Semaphore(told["at_once"])

    async def one(rows: list[list[Any]]) -> Any:
        queries, prompts, labels = (
            (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
        )
        async with turns:
            try:
                return await executor._fetch_rewards_via_http(queries, prompts, labels)
            except RuntimeError as exc:
                return f"raised: {exc}"

    print(json.dumps(await asyncio.gather(*map(one, told["samples"]))))


asyncio.run(main())
