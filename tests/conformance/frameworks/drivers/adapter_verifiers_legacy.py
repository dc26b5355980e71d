"""Scores rollouts with the Rubric for verifiers before 0.3, alone, in groups, and inside the framework's RubricGroup.

Says: the states' rewards, advantages and metrics, NaN as the text "nan".
"""

import contextlib
import importlib
import inspect
import math
import os
from typing import Any

from asking import attempt_async, paste, run  # type: ignore[import-not-found]

from countermark.adapters.verifiers import score as v1_score
from countermark.adapters.verifiers_legacy import CountermarkRubric

vf: Any = importlib.import_module("verifiers")


def state_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return the state of a finished rollout."""
    return {
        "prompt": [{"role": "user", "content": "?"}],
        "completion": [{"role": "assistant", "content": row["response"]}],
        "answer": row["reference"],
        "task": "default",
        "info": {},
        "trajectory": [{"advantage": None, "reward": None}],
        "timing": {"scoring_ms": 0.0, "total_ms": 0.0},
    }


def shown(state: dict[str, Any]) -> dict[str, Any]:
    """Return what a trainer reads of a state."""
    step = state["trajectory"][0]
    facts = {
        "reward": state.get("reward"),
        "advantage": state.get("advantage"),
        "metric": (state.get("metrics") or {}).get("countermark"),
        "step_reward": step["reward"],
        "step_advantage": step["advantage"],
    }
    said = {
        name: "nan" if value is not None and math.isnan(value) else value for name, value in facts.items()
    }
    return {**said, "verifier": state.get("countermark", {}).get("verifier")}


class Null(contextlib.AbstractAsyncContextManager):  # type: ignore[type-arg]
    """A semaphore that lets everyone in."""

    async def __aexit__(self, *_: object) -> None:
        """Do nothing."""


async def group(rubric: Any, rows: list[dict[str, Any]]) -> Any:
    """Score rows as one group."""
    states = [state_of(row) for row in rows]
    error = await attempt_async(rubric.score_group(states, *SEMAPHORE))
    return {"states": [shown(state) for state in states], "error": error}


async def alone(rubric: Any, row: dict[str, Any]) -> Any:
    """Score one rollout."""
    state = state_of(row)
    error = await attempt_async(rubric.score_rollout(state, *SEMAPHORE))
    return {"state": shown(state), "error": error}


async def main(facts: Any) -> Any:
    """Score everything."""
    verifier, rows = facts["verifier"], facts["rows"]
    judged = [row for row in rows if row["reference"]]
    strict, lenient = paste(facts["page"])["rubric"], CountermarkRubric(verifier, on_failure="null")
    weighted = CountermarkRubric(verifier, weight=0.5)
    weighted.add_reward_func(length, weight=0.25)
    said = {
        "alone": [await alone(strict, row) for row in rows],
        "group": await group(strict, judged),
        "failing_group": await group(strict, rows),
        "lenient_group": await group(lenient, rows),
        "weighted_group": await group(weighted, judged),
        "in_a_rubric_group": await group(vf.RubricGroup([strict, vf.Rubric(funcs=[length])]), rows),
        "the_wrong_adapter": await alone(vf.Rubric(funcs=[v1_score]), rows[0]),
    }
    os.environ["COUNTERMARK_URL"] = facts["hung"]
    said["hung"] = await alone(CountermarkRubric(verifier, deadline=1.0), rows[0])
    return said


def length(completion: Any) -> float:
    """Return a reward of the user's own."""
    return 1.0 if completion else 0.0


SEMAPHORE = (Null(),) if "score_sem" in inspect.signature(vf.Rubric.score_rollout).parameters else ()
run(main)
