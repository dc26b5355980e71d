"""Scores tasks of verifiers v1 with a reward that is plugged in by its path, as a TOML file plugs it.

Told, beside the usual: ``rewards`` and ``own_rewards``, tables of rewards of the task; ``my_rewards``, the module
that the second names; ``half``, a file to make when half of the
``many`` rows are scored. Says: for each row the reward as the trace has it, or None with the error.
"""

import asyncio
import os
from typing import Any

from asking import attempt_async, mark, module, run  # type: ignore[import-not-found]
from verifiers.v1.configs.agent import AgentConfig, TimeoutConfig  # type: ignore[import-not-found]
from verifiers.v1.configs.task import TaskConfig  # type: ignore[import-not-found]
from verifiers.v1.graph import MessageNode  # type: ignore[import-not-found]
from verifiers.v1.task import Task, TaskData, TaskTimeout  # type: ignore[import-not-found]
from verifiers.v1.trace import AgentInfo, Trace, TraceTask  # type: ignore[import-not-found]
from verifiers.v1.types import AssistantMessage  # type: ignore[import-not-found]


class Row(TaskData):  # type: ignore[misc]
    """A row of a data set."""

    answer: str
    verifier: str | None = None


class Question(Task[Row]):  # type: ignore[misc]
    """A task without rewards of its own."""


def trace_of(task: Question, response: str, timeout: float | None = None) -> Trace:
    """Return a trace whose only reply is `response`."""
    config = AgentConfig(timeout=TimeoutConfig(scoring=timeout))
    trace = Trace(
        task=TraceTask(type="Question", data=task.data),
        agent=AgentInfo(config=config),
        nodes=[MessageNode(message=AssistantMessage(content=response), sampled=True)],
    )
    assert trace.last_reply == response.strip()
    return trace


async def score(row: dict[str, Any], config: TaskConfig, **more: Any) -> dict[str, Any]:
    """Score one row and return what the trace says."""
    data = Row(answer=row["reference"], verifier=row.get("verifier"), prompt="?", **more)
    task = Question(data, config)
    trace = trace_of(task, row["response"])
    error = await attempt_async(task.score(trace))
    recorded = trace.rewards["countermark"]
    return {
        "reward": None if recorded is None else recorded.value,
        "error": error,
        "info": trace.info.get("countermark"),
    }


async def main(facts: Any) -> Any:
    """Score everything."""
    config = TaskConfig.model_validate({"rewards": facts["rewards"]})
    os.environ["COUNTERMARK_VERIFIER"] = facts["verifier"]
    rows = await asyncio.gather(*(score(row, config) for row in facts["rows"]))

    os.environ.pop("COUNTERMARK_VERIFIER")
    module("my_rewards", facts["my_rewards"])
    own = await score(facts["rows"][0], TaskConfig.model_validate({"rewards": facts["own_rewards"]}))
    unnamed = await score(facts["rows"][0], config)
    by_row = await score({**facts["rows"][0], "verifier": facts["verifier"]}, config)
    os.environ["COUNTERMARK_VERIFIER"] = facts["verifier"]

    many = facts["many"]
    first = await asyncio.gather(*(score(row, config) for row in many[: len(many) // 2]))
    mark(facts["half"])
    second = []
    for start in range(len(many) // 2, len(many), 8):  # over the time that the restart takes
        second += await asyncio.gather(*(score(row, config) for row in many[start : start + 8]))
        await asyncio.sleep(0.02)

    os.environ["COUNTERMARK_URL"] = facts["hung"]
    os.environ["COUNTERMARK_DEADLINE"] = "1"
    hung = await score(facts["rows"][0], config)
    # A scoring timeout of the framework would make this rollout a good one with a reward of 0.
    os.environ["COUNTERMARK_DEADLINE"] = "60"
    cut = await score(facts["rows"][0], config, timeout=TaskTimeout(scoring=1.0))
    return {
        "rows": rows,
        "own": own,
        "unnamed": unnamed,
        "by_row": by_row,
        "many": [*first, *second],
        "hung": hung,
        "cut": cut,
    }


run(main)
