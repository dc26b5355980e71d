"""Scored groups for Atropos.

>>> from countermark.adapters.atropos import GroupScorer
>>> class MathEnv(BaseEnv):
...     scorer = GroupScorer("math-verify:0.9.0-r2", gold="answer")
...
...     async def collect_trajectories(self, item):
...         ...                                                 # the rollouts: texts, tokens, masks
...         return await self.scorer.group(item, texts, tokens=tokens, masks=masks), []

**What a failed verdict becomes.** Nothing: the rollout is dropped from the group, which says its new size to
Atropos (``group_overrides``), and a group in which fewer than two are left is None, which Atropos skips. That no
service could be reached raises, and Atropos counts the item as failed and goes on.

There is no `RewardFunction` for Atropos's registry of rewards here on purpose: its callers log whatever one raises
and go on with 0.0.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from .._errors import InvalidInputError
from ._columns import prompt_text
from ._rows import Fields
from ._scoring import FailurePolicy, RewardSource

GOLD = "answer"
COMPARED = 2
"""A group of fewer says nothing about any of them."""

log = logging.getLogger("countermark")


class GroupScorer:
    """Turns the rollouts of one item into a `ScoredDataGroup`.

    Args:
        verifier: Ref or pin of the verifier; an item's field ``verifier`` counts more.
        gold: Field of the item that a response is held against.
        on_failure: ``null`` (dropped from the group), ``raise``, ``zero``, or a number.
        options: The other fields of `RewardSource`.

    Raises:
        InvalidInputError: A setting cannot be used.
    """

    def __init__(
        self,
        verifier: str | None = None,
        gold: str = GOLD,
        *,
        on_failure: FailurePolicy = "null",
        **options: Any,
    ) -> None:
        self._fields = Fields(gold=gold)
        self._source = RewardSource(verifier=verifier, on_failure=on_failure, **options)

    async def scores(self, item: Any, responses: Sequence[Any], *, prompt: Any = None) -> list[float | None]:
        """Return one reward for each response, in order, from one request; None where there is no verdict.

        Args:
            item: What the environment's `get_next_item` gave: a mapping, or an object with fields.
            responses: Texts, or lists of chat messages of which the last one of the assistant counts.
            prompt: What was asked, as text or chat messages.

        Raises:
            CountermarkClientError: No service, or a failed verdict and the policy ``raise``.
        """
        asked = prompt_text(prompt)
        asks = [self._fields.ask(self._source, response, item, prompt=asked) for response in responses]
        return [verdict.reward for verdict in await self._source.verdicts_async(asks)]

    async def group(
        self, item: Any, responses: Sequence[Any], *, prompt: Any = None, **columns: Sequence[Any] | None
    ) -> dict[str, Any] | None:
        """Return a scored group of the rollouts that have a verdict, None if they are fewer than two.

        Args:
            item: See `scores`.
            responses: See `scores`.
            prompt: See `scores`.
            columns: The other lists of a `ScoredDataGroup`, one entry per rollout: ``tokens``, ``masks``,
                ``messages``, ``inference_logprobs``, …

        Raises:
            InvalidInputError: A list has another length than `responses`.
            CountermarkClientError: See `scores`.
        """
        for name, column in columns.items():
            if column is not None and len(column) != len(responses):
                raise InvalidInputError(f"{name} has {len(column)} entries for {len(responses)} responses.")
        scores = await self.scores(item, responses, prompt=prompt)
        kept = [i for i, score in enumerate(scores) if score is not None]
        if len(kept) < len(scores):
            log.warning(
                "%d of %d rollouts have no verdict and are dropped", len(scores) - len(kept), len(scores)
            )
        if len(kept) < COMPARED:
            return None
        group: dict[str, Any] = {
            name: None if column is None else [column[i] for i in kept] for name, column in columns.items()
        }
        group["scores"] = [scores[i] for i in kept]
        group["group_overrides"] = {"group_size": len(kept)} if len(kept) < len(scores) else {}
        return group
