"""A scorer for Inspect.

>>> from countermark.adapters.inspect_ai import countermark_scorer
>>> Task(dataset=dataset, solver=generate(), scorer=countermark_scorer("math-verify:0.9.0-r2"))

The log keeps, in every score's metadata, the pin of the verifier that judged, how that ended and what it says of
it, so that an audit can compute the score again.

**What a failed verdict becomes.** `Score.unscored`: it stays in the log with its reason, and Inspect leaves it out
of metrics and of the reduction over epochs. That no service could be reached is an error of the sample, which
Inspect treats as its ``fail_on_error`` says and which ``inspect score`` mends later.
"""

from __future__ import annotations

import math
from typing import Any

from inspect_ai.scorer import (  # type: ignore[import-not-found]
    Score,
    Scorer,
    Target,
    mean,
    scorer,
    stderr,
)
from inspect_ai.solver import TaskState  # type: ignore[import-not-found]

from .._errors import InvalidInputError
from .._types import Outcome, Verdict
from ._rows import Fields, value_of
from ._scoring import FailurePolicy, RewardSource, check_policy
from ._several import best, settled

METADATA_KEY = "countermark"


@scorer(metrics=[mean(), stderr()])  # type: ignore[untyped-decorator]
def countermark_scorer(
    verifier: str | None = None,
    gold: str | None = None,
    on_failure: FailurePolicy = "null",
    **options: Any,
) -> Scorer:
    """Return a scorer.

    Args:
        verifier: Ref or pin of the verifier; a ``verifier`` in a sample's metadata counts more.
        gold: Where in a sample's metadata the reference is; None for the sample's target. Of several targets
            the best verdict counts, as in Inspect's own scorers.
        on_failure: ``null`` (unscored), ``raise`` (the sample is an error), ``zero``, or a number.
        options: The other fields of `RewardSource`, but no ``api_key``: Inspect writes a scorer's arguments into
            its logs, which are published.

    Raises:
        InvalidInputError: A setting cannot be used.
    """
    if options.get("api_key") is not None:
        raise InvalidInputError(
            "api_key is given, and Inspect would write it into its log. Set COUNTERMARK_API_KEY."
        )
    policy = check_policy(on_failure)
    fields = Fields(gold="reference")
    # Only all targets of a sample together say whether it failed, so the policy comes after them.
    source = RewardSource(verifier=verifier, on_failure="null", **options)

    async def score(state: TaskState, target: Target) -> Score:
        references = list(target) if gold is None else [value_of(state.metadata, gold)]
        asks = [
            fields.ask(
                source,
                state.output.completion,
                {**state.metadata, fields.gold: reference},
                prompt=state.input_text,
            )
            for reference in references
        ]
        return _score(settled(best(await source.verdicts_async(asks)), policy))

    return score


def _score(verdict: Verdict) -> Score:
    """Return a verdict as Inspect keeps scores."""
    facts = {
        "answer": _answer(verdict),
        "explanation": verdict.detail.get("message") if verdict.failed else None,
        "metadata": {
            METADATA_KEY: {
                "verifier": verdict.pin,
                "outcome": verdict.outcome.value,
                "score": verdict.score,
                "detail": dict(verdict.detail),
                "surroundings": dict(verdict.surroundings),
            }
        },
    }
    if verdict.reward is not None:
        return Score(value=verdict.reward, **facts)
    if "reason" in Score.model_fields:
        facts["reason"] = "grader_failed" if verdict.outcome is Outcome.ABSTAIN else "scoring_failed"
    # What `Score.unscored` makes; versions that do not have it take a NaN for the same.
    return Score(value=math.nan, **facts)


def _answer(verdict: Verdict) -> str | None:
    """Return what the verifier says it read in the response."""
    answer = verdict.detail.get("answer")
    if isinstance(answer, list) and answer:
        answer = answer[0]
    return answer if isinstance(answer, str) else None
