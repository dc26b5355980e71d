"""Rewards for rLLM.

>>> from countermark.adapters.rllm import reward
>>> reward_fn = reward("math-verify:0.9.0-r2", gold="ground_truth")

for everything in rLLM that takes a `RewardFunction`: its workflows and environments.

**What a failed verdict becomes.** An exception, for which rLLM's engine runs the rollout again and in the end raises
too, unless it is told not to (``raise_on_error``). Do not name this function as the ``[verifier]`` of a data set:
there rLLM catches whatever is raised and records 0.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ._rows import Fields
from ._scoring import FailurePolicy, RewardSource, check_policy

RewardFunction: TypeAlias = Callable[[Mapping[str, Any], Any], Any]
"""What rLLM calls with a task and what the agent answered."""

GOLD = "ground_truth"


def reward(
    verifier: str | None = None, gold: str = GOLD, *, on_failure: FailurePolicy = "raise", **options: Any
) -> RewardFunction:
    """Return a reward function.

    Args:
        verifier: Ref or pin of the verifier; a task's field ``verifier`` counts more.
        gold: Field of the task that an answer is held against.
        on_failure: ``raise``, ``zero``, or the number that a failed verdict becomes.
        options: The other fields of `RewardSource`.

    Raises:
        InvalidInputError: A setting cannot be used.
    """
    fields = Fields(gold=gold)
    source = RewardSource(verifier=verifier, on_failure=check_policy(on_failure, null=False), **options)

    def countermark(task_info: Mapping[str, Any], action: Any) -> Any:
        """Return the `RewardOutput` of an answer."""
        from rllm.rewards.reward_types import RewardOutput  # type: ignore[import-not-found]

        # rLLM hands over what an agent answered as it is, or in its own wrapper.
        verdict = source.verdict(fields.ask(source, getattr(action, "action", action), task_info))
        return RewardOutput(
            reward=verdict.reward,
            is_correct=None if verdict.failed else verdict.score == 1.0,
            metadata={"verifier": verdict.pin, "outcome": verdict.outcome.value, "score": verdict.score},
        )

    return countermark
