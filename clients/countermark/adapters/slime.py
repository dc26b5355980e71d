"""Rewards for slime (and its fork miles): a function for ``--custom-rm-path``.

    --custom-rm-path countermark.adapters.slime.rm
    --reward-key score

`rm` takes one sample, or with ``--group-rm`` a list of them. The verifier is the one that the sample's metadata
name (``verifier``), else ``countermark_verifier`` of slime's arguments (set by ``--custom-config-path``), else
``COUNTERMARK_VERIFIER``. The reward is a dict that slime keeps with the sample: ``score`` is what it trains on,
the rest says who judged. Without ``--reward-key``, use `rm_score`, whose reward is the number alone.

slime has no way to say "no verdict": a failed verdict raises, and ends the rollout, unless
``countermark_on_failure`` (or ``COUNTERMARK_ON_FAILURE``) is a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from .._types import Verdict
from ._scoring import Ask, RewardSource, check_policy, environment_options

Reward: TypeAlias = dict[str, Any]
"""What slime keeps with a sample."""

PREFIX = "countermark_"
"""How the arguments begin that are fields of `RewardSource`."""
FIELDS = (
    "verifier",
    "release",
    "task",
    "by_source",
    "on_failure",
    "reference_format",
    "params",
    "deadline",
    "base_url",
    "api_key",
)


async def rm(args: Any, sample: Any, **others: Any) -> Reward | list[Reward]:
    """Return the reward of a sample, or those of a list of samples in order.

    Args:
        args: slime's arguments; those that begin with ``countermark_`` configure this.
        sample: One sample, or a list of them: ``response``, ``label``, ``metadata``.
        others: What slime may add.

    Raises:
        InvalidInputError: A setting cannot be used, or nothing names a verifier.
        VerdictFailedError: There is no verdict, and nothing was said about that.
        CountermarkClientError: The service could not be reached within the deadline, or refused.
    """
    source = _source(args)
    if isinstance(sample, list):
        return [_kept(verdict) for verdict in await source.verdicts_async([_ask(source, s) for s in sample])]
    return _kept(await source.verdict_async(_ask(source, sample)))


async def rm_score(args: Any, sample: Any, **others: Any) -> float | list[float]:
    """Return the number that `rm` has under ``score``, or a list of them."""
    kept = await rm(args, sample, **others)
    return [each["score"] for each in kept] if isinstance(kept, list) else kept["score"]


def _source(args: Any) -> RewardSource:
    """Return where rewards come from: slime's arguments, else the environment."""
    given = {name: getattr(args, PREFIX + name, None) for name in FIELDS}
    options = environment_options(on_failure="raise")
    options |= {name: value for name, value in given.items() if value is not None}
    options["on_failure"] = check_policy(options["on_failure"], null=False)
    return RewardSource(**options)


def _ask(source: RewardSource, sample: Any) -> Ask:
    """Return what to score of a sample."""
    metadata = sample.metadata if isinstance(sample.metadata, Mapping) else {}
    prompt = sample.prompt
    return source.ask(
        sample.response,
        sample.label,
        row=metadata.get("verifier"),
        data_source=metadata.get("data_source"),
        params=metadata.get("verifier_params"),
        prompt=prompt if isinstance(prompt, str) else None,
    )


def _kept(verdict: Verdict) -> Reward:
    """Return what slime keeps of a verdict: the same keys for every sample."""
    return {
        "score": verdict.reward,
        "outcome": verdict.outcome.value,
        "failed": verdict.failed,
        "verifier": verdict.pin,
    }
