"""A Rubric for verifiers 0.1.9 to 0.2, whose environments are scored by rubrics.

>>> from countermark.adapters.verifiers_legacy import CountermarkRubric
>>> env = vf.SingleTurnEnv(dataset=dataset, rubric=CountermarkRubric(verifier="math-verify:0.9.0-r2"))

**What a failed verdict becomes.** A Rubric logs whatever a reward function raises and goes on with 0.0, which
is a silent zero. So this is no reward function but a Rubric: it asks for the verdicts, a group in one request,
before the Rubric's own scoring runs, and what fails is raised out of `score_rollout` and `score_group`, where
nothing catches it. With ``on_failure="null"`` a failed rollout of a group gets a reward of NaN and an advantage
of 0, and the advantages of the others are taken over the others alone. Later versions of verifiers have no
rubrics: see `countermark.adapters.verifiers`.
"""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from typing import Any

import verifiers  # in a checkout of Countermark mypy takes this for the folder of that name

from .._types import Verdict
from ._columns import prompt_text
from ._rows import Fields
from ._scoring import Ask, FailurePolicy, RewardSource

if not hasattr(verifiers, "Rubric"):
    raise ImportError(
        f"verifiers {getattr(verifiers, '__version__', '')} has no Rubric. Use countermark.adapters.verifiers, "
        f"which plugs into the rewards of its tasks."
    )

STATE_KEY = "countermark"
"""Where a rollout's state keeps who judged it and how that ended."""


class CountermarkRubric(verifiers.Rubric):  # type: ignore[misc, name-defined]
    """Scores rollouts with a verifier; more reward functions may be added as to any other Rubric.

    Args:
        verifier: Ref or pin of the verifier; a ``verifier`` in the rollout's ``info`` counts more.
        gold: Field of the rollout that holds the reference; dots lead into it, ``info.tests``.
        weight: Weight of the verifier's score in the reward.
        on_failure: ``raise``, ``null`` (see the module), or the number that a failed verdict becomes.
        parser: As for any Rubric; it takes no part in the verdict.
        options: The other fields of `RewardSource`. In `by_source` a rollout goes by its ``task``.

    Raises:
        InvalidInputError: A setting cannot be used.
    """

    def __init__(
        self,
        verifier: str | None = None,
        gold: str = "answer",
        *,
        weight: float = 1.0,
        on_failure: FailurePolicy = "raise",
        parser: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(funcs=[countermark], weights=[weight], parser=parser)
        self._source = RewardSource(verifier=verifier, on_failure=on_failure, **options)
        self._fields = Fields(
            gold=gold, verifier="info.verifier", data_source="task", params="info.verifier_params"
        )

    async def score_rollout(self, state: MutableMapping[str, Any], *args: Any, **kwargs: Any) -> None:
        """Score one rollout.

        Raises:
            CountermarkClientError: There is no verdict, or no service.
        """
        _check(state)
        _note(state, await self._source.verdict_async(self._ask(state)))
        await super().score_rollout(state, *args, **kwargs)

    async def score_group(self, states: list[MutableMapping[str, Any]], *args: Any, **kwargs: Any) -> None:
        """Score the rollouts of a group, in one request.

        Raises:
            CountermarkClientError: See `score_rollout`.
        """
        for state in states:
            _check(state)
        verdicts = await self._source.verdicts_async([self._ask(state) for state in states])
        judged = []
        for state, verdict in zip(states, verdicts, strict=True):
            _note(state, verdict)
            if verdict.reward is None:
                _leave_out(state)
            else:
                judged.append(state)
        await super().score_group(judged, *args, **kwargs)

    def _ask(self, state: MutableMapping[str, Any]) -> Ask:
        """Return what to score of a rollout."""
        return self._fields.ask(
            self._source, state["completion"], state, prompt=prompt_text(state.get("prompt"))
        )


def countermark(state: MutableMapping[str, Any]) -> float:
    """Return the reward that was reached before the Rubric's own scoring began; nothing can fail here."""
    reward = state[STATE_KEY]["reward"]
    return math.nan if reward is None else float(reward)


def _check(state: Any) -> None:
    """Refuse the rubrics of versions that hand the parts of a rollout over one by one."""
    if not isinstance(state, MutableMapping) or "completion" not in state:
        raise TypeError(
            f"a rollout's state is expected and a {type(state).__name__} came: this needs verifiers 0.1.9 or later."
        )


def _note(state: MutableMapping[str, Any], verdict: Verdict) -> None:
    state[STATE_KEY] = {
        "reward": verdict.reward,
        "score": verdict.score,
        "outcome": verdict.outcome.value,
        "verifier": verdict.pin,
    }


def _leave_out(state: MutableMapping[str, Any]) -> None:
    """Give a rollout without a verdict a reward that is no number and no part in the group's advantages."""
    state["reward"], state["advantage"] = math.nan, 0.0
    state["metrics"] = {countermark.__name__: math.nan}
    for step in state.get("trajectory") or []:
        if step.get("advantage") is None:
            step["advantage"] = 0.0
        if step.get("reward") is None:
            step["reward"] = math.nan
