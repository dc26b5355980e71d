"""Rewards for AReaL.

>>> from countermark.adapters.areal import reward
>>> workflow = RLVRWorkflow(reward_fn=reward("math-verify:0.9.0-r2"), gconfig=gconfig, tokenizer=tokenizer)
>>> workflow.async_reward_fn = workflow.reward_fn.in_the_loop()

or, where workflows are named by their path, ``workflow="countermark.adapters.areal.RLVRWorkflow"`` with
``workflow_kwargs={"verifier": "math-verify:0.9.0-r2", …}`` and AReaL's own arguments.

AReaL wraps a reward function in a pool of processes, and a call that has not returned 15 s after it was *handed
to the pool* becomes 0, the fourth time. Waiting for a free process counts, so with a slow or absent service that
0 is given to rollouts that nobody has looked at, and no reward function can prevent it. `in_the_loop` is the
reward without the pool: it is awaited in the rollout's own event loop, where waiting costs nothing, and every
call ends with a verdict or an exception. Use it. What stays behind the wrapper is given up in good time before
the 15 s (`deadline`), which keeps the 0 away as long as no call waits for a process.

**What a failed verdict becomes.** An exception: AReaL logs it and rejects the episode, so that nothing of it is
trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .._errors import InvalidInputError
from ._rows import Fields, gold_by_environment
from ._scoring import Ask, FailurePolicy, RewardSource, check_policy, environment_options

GOLD = "answer"
"""Where AReaL's data sets of mathematics keep what a response is held against."""
WRAPPER_SECONDS = 15.0
"""What AReaL's `AsyncRewardWrapper` gives a call before it takes it for a 0."""
DEADLINE_SECONDS = 10.0
"""Leaves the wrapper's pool a third of its time, for starting a process and importing this package there."""


@dataclass(frozen=True)
class Scorer:
    """What both kinds of reward share."""

    source: RewardSource
    fields: Fields
    end_tokens: tuple[str, ...]

    def ask(self, prompt: Any, completions: str, row: Mapping[str, Any]) -> Ask:
        """Return what to score of one completion."""
        for token in self.end_tokens:
            completions = completions.removesuffix(token)
        text = prompt if isinstance(prompt, str) else None
        return self.fields.ask(self.source, completions, row, prompt=text)


@dataclass(frozen=True)
class LoopReward:
    """Awaited in the rollout's event loop, in place of AReaL's wrapper around a reward function."""

    scorer: Scorer

    async def __call__(
        self, prompt: Any, completions: str, prompt_ids: Any = None, completion_ids: Any = None, **row: Any
    ) -> float:
        """Return the reward of a completion.

        Raises:
            CountermarkClientError: There is no verdict, or no service.
        """
        verdict = await self.scorer.source.verdict_async(self.scorer.ask(prompt, completions, row))
        return float(verdict.reward)  # type: ignore[arg-type]  # the policy is never `null`


@dataclass(frozen=True)
class PoolReward:
    """A reward function as AReaL calls it: blocking, in a process of a pool that it is pickled to."""

    scorer: Scorer
    loop: LoopReward

    def __call__(
        self, prompt: Any, completions: str, prompt_ids: Any = None, completion_ids: Any = None, **row: Any
    ) -> float:
        """Return the reward of a completion.

        Raises:
            CountermarkClientError: There is no verdict, or no service.
        """
        verdict = self.scorer.source.verdict(self.scorer.ask(prompt, completions, row))
        return float(verdict.reward)  # type: ignore[arg-type]  # the policy is never `null`

    def in_the_loop(self) -> LoopReward:
        """Return the same reward without the pool, for ``workflow.async_reward_fn``; see the module."""
        return self.loop


def reward(
    verifier: str | None = None,
    gold: str = GOLD,
    *,
    on_failure: FailurePolicy = "raise",
    deadline: float | None = None,
    pool_deadline: float = DEADLINE_SECONDS,
    end_tokens: Sequence[str] = (),
    **options: Any,
) -> PoolReward:
    """Return a reward function for a workflow of AReaL.

    Args:
        verifier: Ref or pin of the verifier; a row's field ``verifier`` counts more.
        gold: Field of the row that a completion is held against.
        on_failure: ``raise``, ``zero``, or the number that a failed verdict becomes.
        deadline: Seconds that a call in the loop may take; None for the usual.
        pool_deadline: The same for a call in the wrapper's pool, below 15.
        end_tokens: Texts to cut off the end of a completion. AReaL decodes special tokens too, so that one
            ends in ``<|im_end|>`` or the like, which verifiers that compare a whole response take for a part
            of the answer.
        options: The other fields of `RewardSource`.

    Raises:
        InvalidInputError: A setting cannot be used.
    """
    policy = check_policy(on_failure, null=False)
    if deadline is not None:
        options["deadline"] = deadline
    if isinstance(end_tokens, str):
        raise InvalidInputError(f"end_tokens is {end_tokens!r}; it must be a list of texts.")
    whole = Scorer(
        RewardSource(verifier=verifier, on_failure=policy, **options), Fields(gold=gold), tuple(end_tokens)
    )
    pooled = replace(whole, source=replace(whole.source, deadline=_check_pool_deadline(pool_deadline)))
    return PoolReward(pooled, LoopReward(whole))


def reward_fn(
    prompt: Any, completions: str, prompt_ids: Any = None, completion_ids: Any = None, **row: Any
) -> float:
    """Return the reward of a completion, for configs that name ``countermark.adapters.areal.reward_fn``.

    Settings by environment: ``COUNTERMARK_VERIFIER``, ``COUNTERMARK_GOLD``, and those of
    `environment_options`. It runs in the wrapper's pool, with what that entails; see the module.

    Raises:
        InvalidInputError: The row has no reference, or nothing names a verifier.
        CountermarkClientError: There is no verdict, or no service.
    """
    options = environment_options(on_failure="raise", deadline=DEADLINE_SECONDS)
    pooled = reward(
        gold=gold_by_environment(GOLD),
        on_failure=options["on_failure"],
        pool_deadline=options["deadline"],
    )
    return pooled(prompt, completions, prompt_ids, completion_ids, **row)


def __getattr__(name: str) -> Any:
    """Make the workflow when it is asked for, so that nothing else here needs AReaL."""
    if name != "RLVRWorkflow":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from areal.workflow.rlvr import RLVRWorkflow as Theirs  # type: ignore[import-not-found]

    class RLVRWorkflow(Theirs):  # type: ignore[misc]
        """AReaL's single-turn workflow with its reward in the loop; takes its arguments and those of `reward`."""

        def __init__(self, *args: Any, verifier: str | None = None, gold: str = GOLD, **kwargs: Any) -> None:
            ours = {key: kwargs.pop(key) for key in list(kwargs) if key in _OURS}
            pooled = reward(verifier, gold, **ours)
            super().__init__(pooled, *args, **kwargs)
            self.async_reward_fn = pooled.in_the_loop()

    RLVRWorkflow.__qualname__ = "RLVRWorkflow"
    globals()["RLVRWorkflow"] = RLVRWorkflow
    return RLVRWorkflow


_OURS = frozenset(RewardSource.__dataclass_fields__) - {"verifier"} | {"pool_deadline", "end_tokens"}


def _check_pool_deadline(seconds: float) -> float:
    """Return a deadline that ends a call before AReaL's wrapper takes it for a 0."""
    if isinstance(seconds, (int, float)) and seconds >= WRAPPER_SECONDS:
        raise InvalidInputError(
            f"pool_deadline is {seconds!r}; it must be below {WRAPPER_SECONDS:g} s, when AReaL's wrapper takes a "
            f"call for a reward of 0. A longer one is for in_the_loop: deadline=…"
        )
    return seconds
