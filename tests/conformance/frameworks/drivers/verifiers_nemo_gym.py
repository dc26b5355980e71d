"""Runs verifiers' own NeMo Gym task: reads what to call, prints what came out.

Told: ``runs``, one after the other: ``url`` (the resources server), ``samples`` (row, reply) and ``at_once``.
Says: for each run and sample its reward, metrics and info, or the class of the exception.
"""

import asyncio
import json
import logging
import sys
from importlib import import_module
from typing import Any

logging.disable(logging.CRITICAL)
taskset = import_module(
    "verifiers.v1.tasksets.nemo_gym.taskset"
)  # by name: it is not here when types are checked
NeMoGymState = import_module("verifiers.v1.tasksets.nemo_gym.toolset").NeMoGymState
MessageNode = import_module("verifiers.v1.graph").MessageNode
AssistantMessage = import_module("verifiers.v1.types").AssistantMessage


class Trace:
    """As much of a trace as the task touches, without a model and a harness."""

    def __init__(self, reply: str) -> None:
        self.id = "t"
        self.state = NeMoGymState()
        self.info: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}
        message = AssistantMessage(content=reply)
        self.branches = [
            type("Branch", (), {"nodes": [MessageNode(message=message, sampled=True, timestamp=1.0)]})()
        ]

    def record_metric(self, name: str, value: float) -> None:
        self.metrics[name] = value


async def run(told: dict[str, Any]) -> list[dict[str, Any]]:
    """Set up and score every sample."""
    config = taskset.NeMoGymTaskConfig(resources_url=told["url"], headers=told.get("headers", {}))
    turns = asyncio.Semaphore(told["at_once"])

    async def one(number: int, sample: dict[str, Any]) -> dict[str, Any]:
        task = taskset.NeMoGymTask(
            taskset.NeMoGymData(name=str(number), prompt="", row=sample["row"]), config
        )
        trace: Any = Trace(sample["reply"])
        async with turns:
            try:
                await task.setup(trace, None)
                reward = await task.nemo_gym(trace)
            except Exception as exc:  # noqa: BLE001 - what the rollout would be marked with
                return {"raised": type(exc).__name__}
        return {"reward": reward, "metrics": trace.metrics, "info": trace.info["nemo_gym"]}

    return await asyncio.gather(*(one(*pair) for pair in enumerate(told["samples"])))


async def main() -> None:
    """Do every run."""
    print(json.dumps([await run(told) for told in json.load(sys.stdin)["runs"]]))


asyncio.run(main())
