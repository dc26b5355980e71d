"""Rewards for verifiers (its v1 tasks) and, through it, for prime-rl: plugged in by import path, without code.

    [env.taskset.task.rewards]
    math = { fn = "countermark.adapters.verifiers:score", weight = 1.0 }

with ``COUNTERMARK_VERIFIER``, or a field ``verifier`` in the rows, to say who judges. Where that is not enough
`reward` makes a function with settings of its own, named by its path in a module of the user's.

**What a failed verdict becomes.** An exception, which verifiers records on the trace as a `TaskError`: the
rollout is an errored one and its reward None, and prime-rl leaves it out. A rollout whose scoring runs into the
``scoring`` timeout of its agent or task, however, counts as a good one with a reward of 0.0. So where there is such a
timeout, a call is given up before it. The trace keeps the pin of every verdict under
``trace.info["countermark"]``.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from .._errors import DeadlineExceededError
from .._types import Verdict
from ._rows import Fields, gold_by_environment, value_or_none
from ._scoring import Ask, FailurePolicy, RewardSource, check_policy, environment_options

RewardFunction: TypeAlias = Callable[..., Awaitable[float]]
"""What verifiers calls, with the arguments that it names: ``task`` and ``trace``."""

GOLD = "answer"
"""Where tasks of verifiers keep what a response is held against."""
INFO_KEY = "countermark"
SHARE = 0.9
"""How much of the framework's timeout for scoring a call may use."""

log = logging.getLogger("countermark")


def reward(
    verifier: str | None = None, gold: str = GOLD, *, on_failure: FailurePolicy = "raise", **options: Any
) -> RewardFunction:
    """Return a reward function for the ``rewards`` of a task.

    >>> math = reward("math-verify:0.9.0-r2@sha256:…", gold="solution")  # in my_rewards.py
    [env.taskset.task.rewards]
    math = { fn = "my_rewards:math" }

    Args:
        verifier: Ref or pin of the verifier; a row's field ``verifier`` counts more.
        gold: Field of the task's data that the response is held against.
        on_failure: ``raise``, ``zero``, or the number that a failed verdict becomes.
        options: The other fields of `RewardSource`.

    Raises:
        InvalidInputError: A setting cannot be used.
    """
    fields = Fields(gold=gold)
    source = RewardSource(verifier=verifier, on_failure=check_policy(on_failure, null=False), **options)

    async def countermark(task: Any, trace: Any = None) -> float:
        """Return the reward of the trace's last reply."""
        return await _reward(source, fields, task, trace)

    return countermark


async def score(task: Any, trace: Any = None) -> float:
    """Return the reward of the trace's last reply, held against ``task.answer``; settings by environment.

    ``COUNTERMARK_GOLD`` names another field than ``answer``; see `environment_options` for the others.

    Raises:
        InvalidInputError: The task has no such field, or nothing names a verifier.
        CountermarkClientError: There is no verdict, or no service.
    """
    options = environment_options(on_failure="raise")
    source = RewardSource(**{**options, "on_failure": check_policy(options["on_failure"], null=False)})
    return await _reward(source, Fields(gold=gold_by_environment(GOLD)), task, trace)


async def _reward(source: RewardSource, fields: Fields, task: Any, trace: Any) -> float:
    """Ask for one verdict and note on the trace who made it."""
    if trace is None:
        # A legacy Rubric, which has no traces. What is raised there is logged and becomes 0.0, so this
        # answers with the one float that cannot pass for a score.
        log.error(
            "countermark.adapters.verifiers was called without a trace, by a legacy Rubric of verifiers: the "
            "reward is NaN. Use CountermarkRubric of countermark.adapters.verifiers_legacy there."
        )
        return math.nan
    prompt = value_or_none(task, "prompt_text") or None
    ask = fields.ask(source, trace.last_reply, task, prompt=prompt)
    verdict = await _verdict(source, ask, task, trace)
    info = getattr(trace, "info", None)
    if isinstance(info, dict):
        info.setdefault(INFO_KEY, {})[verdict.pin] = {
            "outcome": verdict.outcome.value,
            "score": verdict.score,
        }
    return float(verdict.reward)  # type: ignore[arg-type]  # the policy is never `null`


async def _verdict(source: RewardSource, ask: Ask, task: Any, trace: Any) -> Verdict:
    """Return a verdict, or raise in time for the framework to see that there is none.

    Raises:
        DeadlineExceededError: The framework's own timeout is near.
    """
    limit = value_or_none(trace, "agent.config.timeout.scoring") or value_or_none(task, "timeout.scoring")
    if limit is None:
        return await source.verdict_async(ask)
    began = value_or_none(trace, "timing.scoring.start")
    guard = asyncio.timeout(limit * SHARE - (time.time() - began if began else 0.0))
    try:
        async with guard:
            return await source.verdict_async(ask)
    except TimeoutError as exc:
        if not guard.expired():
            raise
        raise DeadlineExceededError(f"scoring with {ask.verifier}", limit * SHARE) from exc
