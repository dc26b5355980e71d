"""Rewards for verl: functions to name in ``reward.custom_reward_function``.

    reward.custom_reward_function.path=pkg://countermark.adapters.verl
    +reward.custom_reward_function.reward_kwargs.verifier=math-verify:0.9.0-r2

`compute_score` is for the reward loop (managers ``naive``, ``dapo``, ``gdpo``): asynchronous, and samples that
are scored at the same time share requests. `compute_score_sync` is for managers that call from threads or
processes (``remote``, the older ``naive`` and ``dapo``), `compute_score_batch` for the older ``batch``. All
return, for every sample, the same keys:

* ``score``: the reward; ``acc``: what the verifier said, NaN where it said nothing;
* ``countermark_failed``: 1.0 where there is no verdict, else 0.0;
* ``countermark_outcome`` and ``countermark_verifier``: how it ended, and the pin that judged.

verl has no way to say "no verdict", so a failed verdict raises, and ends the run, unless `on_failure` is a
number. Two managers turn every exception into a reward of 0 and are to be avoided: ``rate_limited`` and the
older ``prime``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from .._errors import InvalidInputError
from .._types import Verdict
from ._plain import plain
from ._scoring import DEADLINE_SECONDS, Ask, RewardSource, check_policy

Score: TypeAlias = dict[str, Any]
"""What verl reads of one sample."""

_OPTIONS = frozenset(
    {
        "verifier",
        "verifiers",
        "release",
        "task",
        "verifier_key",
        "params",
        "params_key",
        "prompt_key",
        "on_failure",
    }
    | {"reference_format", "deadline", "base_url", "api_key"}
)
"""The names in ``reward_kwargs``; see `compute_score`."""
_OF_VERL = "reward_"
"""How the arguments begin that verl adds of its own accord (``reward_router_address``, …)."""


async def compute_score(
    data_source: Any = None,
    solution_str: str = "",
    ground_truth: Any = None,
    extra_info: Mapping[str, Any] | None = None,
    **reward_kwargs: Any,
) -> Score:
    """Score one sample; see the module for the keys of the result.

    Args:
        data_source: The row's data source; with `verifiers`, it names the verifier.
        solution_str: What the model said.
        ground_truth: What it is held against.
        extra_info: The row's further fields.
        reward_kwargs: The configuration of the run: `verifier`, ref or pin for every row, or
            `release`, whose card names the verifier of the row's data source (or of `task`); `verifiers`, refs
            by data source; `verifier_key` (``verifier``), the field of `extra_info` that names the row's own,
            which counts most; `params`, and `params_key` (``verifier_params``) for the row's own;
            `prompt_key`, the field with the prompt, for verifiers whose manifest says that it counts;
            `on_failure` (``raise``, ``zero`` or a number); `reference_format` (``json`` if ground truths are
            JSON texts); `deadline` in seconds; `base_url`; `api_key`.

    Raises:
        InvalidInputError: An argument cannot be used, or nothing names a verifier.
        VerdictFailedError: There is no verdict, and `on_failure` is ``raise``.
        CountermarkClientError: The service could not be reached within the deadline, or refused.
    """
    source, keys = _configured(reward_kwargs)
    ask = _ask(source, keys, data_source, solution_str, ground_truth, extra_info)
    return _score(await source.verdict_async(ask))


def compute_score_sync(
    data_source: Any = None,
    solution_str: str = "",
    ground_truth: Any = None,
    extra_info: Mapping[str, Any] | None = None,
    **reward_kwargs: Any,
) -> Score:
    """Do the same and block, for managers that call from threads or processes of their own."""
    source, keys = _configured(reward_kwargs)
    return _score(source.verdict(_ask(source, keys, data_source, solution_str, ground_truth, extra_info)))


def compute_score_batch(
    data_sources: Iterable[Any],
    solution_strs: Iterable[str],
    ground_truths: Iterable[Any],
    extra_infos: Iterable[Mapping[str, Any] | None],
    **reward_kwargs: Any,
) -> list[Score]:
    """Score a batch in one request for each verifier; for the older manager ``batch``.

    Raises:
        InvalidInputError: The arguments have different lengths, or see `compute_score`.
    """
    source, keys = _configured(reward_kwargs)
    given = [list(each) for each in (data_sources, solution_strs, ground_truths, extra_infos)]
    if len({len(each) for each in given}) != 1:
        raise InvalidInputError(
            f"data sources, solutions, ground truths and extra infos are {[*map(len, given)]}."
        )
    asks = [_ask(source, keys, *row) for row in zip(*given, strict=True)]
    return [_score(verdict) for verdict in source.verdicts(asks)]


def _configured(options: Mapping[str, Any]) -> tuple[RewardSource, tuple[str, str, str | None]]:
    """Return where rewards come from, and the fields of ``extra_info`` for verifier, parameters and prompt."""
    unknown = sorted(key for key in options if key not in _OPTIONS and not key.startswith(_OF_VERL))
    if unknown:
        raise InvalidInputError(
            f"reward_kwargs has {', '.join(unknown)}, which means nothing here. Known are "
            f"{', '.join(sorted(_OPTIONS))}."
        )
    source = RewardSource(
        verifier=options.get("verifier"),
        release=options.get("release"),
        task=options.get("task"),
        by_source=options.get("verifiers") or {},
        on_failure=check_policy(options.get("on_failure", "raise"), null=False),
        reference_format=options.get("reference_format", "value"),
        params=options.get("params"),
        deadline=options.get("deadline", DEADLINE_SECONDS),
        base_url=options.get("base_url"),
        api_key=options.get("api_key"),
    )
    return source, (
        options.get("verifier_key", "verifier"),
        options.get("params_key", "verifier_params"),
        options.get("prompt_key"),
    )


def _ask(
    source: RewardSource,
    keys: tuple[str, str, str | None],
    data_source: Any,
    solution: Any,
    ground_truth: Any,
    extra_info: Any,
) -> Ask:
    """Return what to score of one row."""
    fields = extra_info if isinstance(extra_info, Mapping) else {}
    verifier, params, prompt = keys
    return source.ask(
        solution,
        ground_truth,
        row=fields.get(verifier),
        data_source=plain(data_source),
        params=fields.get(params),
        prompt=fields.get(prompt) if prompt is not None else None,
    )


def _score(verdict: Verdict) -> Score:
    """Return what verl keeps of a verdict; under the policies that are left here, a reward is a number."""
    return {
        "score": verdict.reward,
        "acc": math.nan if verdict.score is None else verdict.score,
        "countermark_failed": float(verdict.failed),
        "countermark_outcome": verdict.outcome.value,
        "countermark_verifier": verdict.pin,
    }
