"""Rewards for Axolotl, which imports a reward function by its path and calls it as TRL does.

Without a file of one's own, by the environment:

    trl:
      reward_funcs: ["countermark.adapters.axolotl.score"]

with ``COUNTERMARK_VERIFIER`` and, where the reference is not in a column ``reference``, ``COUNTERMARK_GOLD``.
Everything else takes `reward`, whose function is named by a path into the user's own module.

A failed verdict raises unless something else was said: some of Axolotl's trainers are TRL's and leave out a
completion without any reward, others (asynchronous, sequence parallel) sum up to 0 what has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import trl
from ._rows import gold_by_environment
from ._scoring import environment_options
from .trl import RewardFunction

__all__ = ["reward", "score", "score_blocking"]

GOLD = "reference"
"""The column that holds the reference, if nothing else was said."""


def reward(verifier: str | None = None, gold: str = "solution", **options: Any) -> RewardFunction:
    """Return a reward function; the arguments are those of `trl.reward`, and `on_failure` is ``raise``."""
    return trl.reward(verifier, gold, **{"on_failure": "raise", **options})


async def score(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """Return one reward for each completion, in order.

    A column ``verifier`` names the verifier of each row, else ``COUNTERMARK_VERIFIER`` does; see
    `environment_options` for the others.

    Raises:
        InvalidInputError: The column of the reference is missing, or nothing names a verifier.
        VerdictFailedError: There is no verdict, and ``COUNTERMARK_ON_FAILURE`` says nothing else.
        CountermarkClientError: See `trl.reward`.
    """
    rewards: list[float | None] = await _function(columns)(prompts, completions, **columns)
    return rewards


def score_blocking(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """Do the same and block; for sequence parallelism and ``reward_num_workers``, which cannot await."""
    rewards: list[float | None] = _function(columns, blocking=True)(prompts, completions, **columns)
    return rewards


def _function(columns: Mapping[str, Any], *, blocking: bool = False) -> RewardFunction:
    """Return the function that the environment describes."""
    return reward(
        gold=gold_by_environment(GOLD),
        verifier_column="verifier" if "verifier" in columns else None,
        name="countermark",
        blocking=blocking,
        **environment_options(on_failure="raise"),
    )
