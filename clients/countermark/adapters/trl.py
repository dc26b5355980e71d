"""Rewards for TRL's `GRPOTrainer` and `RLOOTrainer`.

>>> from countermark.adapters.trl import reward
>>> trainer = GRPOTrainer(reward_funcs=[reward("math-verify:0.9.0-r2", gold="solution")], ...)

The function scores the whole batch of a process in one request. Where there is no verdict it returns None: TRL
then adds up the other rewards of the completion, and where no function had a verdict, leaves the completion out
of the group's baseline and the loss. It does the latter since 1.6; earlier releases made it a reward of 0, so
with them a failed verdict raises unless something else was said. It needs nothing of TRL, so that everything
with TRL's signature can use it; trainers of others that sum up the rewards themselves do as TRL did before 1.6.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from .._types import Verdict
from ._columns import Columns, display_name, log_verdicts
from ._scoring import DEADLINE_SECONDS, FailurePolicy, ReferenceFormat, RewardSource

RewardFunction: TypeAlias = Callable[..., Any]
"""What TRL takes as a reward function; the asynchronous kind returns an awaitable of the rewards."""


LEAVES_OUT_SINCE = (1, 6)
"""The release of TRL from which a completion that nothing judged has no part in its group."""


def reward(
    verifier: str | None = None,
    gold: str = "solution",
    *,
    release: str | None = None,
    task: str | None = None,
    verifier_column: str | None = None,
    verifiers: Mapping[str, str] | None = None,
    source_column: str | None = None,
    params: Mapping[str, Any] | None = None,
    params_column: str | None = None,
    use_prompt: bool = False,
    on_failure: FailurePolicy | None = None,
    reference_format: ReferenceFormat = "value",
    name: str | None = None,
    blocking: bool = False,
    deadline: float = DEADLINE_SECONDS,
    base_url: str | None = None,
    api_key: str | None = None,
) -> RewardFunction:
    """Return a reward function; a plain coroutine function, which TRL runs at the same time as others.

    Args:
        verifier: Ref or pin of the verifier; else ``COUNTERMARK_VERIFIER``.
        gold: Column that holds the reference.
        release: In place of `verifier`: a registered release, whose card names the verifier of each task.
        task: With `release`: the task of every row; else `source_column` holds it.
        verifier_column: Column that names the verifier of each row; it counts more than `verifier`.
        verifiers: Refs by data source, for mixed data sets.
        source_column: Column that holds the data source.
        params: The verifier's parameters.
        params_column: Column that holds parameters of each row, laid over `params`.
        use_prompt: Send the prompt too; only for verifiers whose manifest says that it counts.
        on_failure: What a failed verdict becomes: ``null`` (None), ``raise``, ``zero`` or a number; if not said,
            ``null``, or ``raise`` where the TRL that is installed would make a 0 of it.
        reference_format: ``json`` if the column holds JSON texts.
        name: Of the metric; else the verifier's name and version.
        blocking: Return an ordinary function, for trainers with TRL's signature that cannot await one.
        deadline: Seconds that one batch may take in all, retries included; then the training stops with
            `DeadlineExceededError`. Keep it below the timeout of the collectives.
        base_url: Address of the service; else ``COUNTERMARK_URL``.
        api_key: Bearer key; else ``COUNTERMARK_API_KEY``.

    Raises:
        InvalidInputError: An argument cannot be used.
    """
    source = RewardSource(
        verifier=verifier,
        release=release,
        task=task,
        by_source=verifiers or {},
        on_failure=default_policy() if on_failure is None else on_failure,
        reference_format=reference_format,
        params=params,
        deadline=deadline,
        base_url=base_url,
        api_key=api_key,
    )
    columns = Columns(
        gold=gold,
        verifier=verifier_column,
        data_source=source_column,
        params=params_column,
        prompt="prompts" if use_prompt else None,
    )
    shown = display_name(name, source)

    def answer(verdicts: Sequence[Verdict], log_extra: Any, log_metric: Any) -> list[float | None]:
        """Tell the trainer's log of the verdicts, and return their rewards."""
        log_verdicts(shown, verdicts, log_extra, log_metric)
        return [verdict.reward for verdict in verdicts]

    async def waiting(
        prompts: Sequence[Any] | None = None,
        completions: Sequence[Any] = (),
        *,
        log_extra: Any = None,
        log_metric: Any = None,
        **others: Any,
    ) -> list[float | None]:
        """Return one reward for each completion, in order; None where there is no verdict."""
        asks = columns.asks(source, completions, {**others, "prompts": prompts})
        return answer(await source.verdicts_async(asks), log_extra, log_metric)

    def blocked(
        prompts: Sequence[Any] | None = None,
        completions: Sequence[Any] = (),
        *,
        log_extra: Any = None,
        log_metric: Any = None,
        **others: Any,
    ) -> list[float | None]:
        """Do the same and block."""
        asks = columns.asks(source, completions, {**others, "prompts": prompts})
        return answer(source.verdicts(asks), log_extra, log_metric)

    function: Callable[..., Any] = blocked if blocking else waiting
    function.__name__ = function.__qualname__ = shown  # TRL takes the name of the metric from here
    return function


def default_policy() -> FailurePolicy:
    """Return ``null`` where TRL leaves out a completion that nothing judged, else ``raise``."""
    try:
        version = importlib.metadata.version("trl")
    except importlib.metadata.PackageNotFoundError:
        return "null"  # whoever calls without TRL sees the None
    found = re.match(r"(\d+)\.(\d+)", version)
    known = found is not None and (int(found[1]), int(found[2])) >= LEAVES_OUT_SINCE
    return "null" if known else "raise"
