"""One sample with several references, or several responses: one value out of several verdicts.

Evaluations have both. A failed verdict among them must not pass for a low one, so these say when nothing can be
said: a best of several is unknown while one that failed could still be better, and a mean is unknown with any of
its parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from .._errors import InvalidInputError, VerdictFailedError
from .._types import IndexedVerdict, Verdict
from ._scoring import FailurePolicy, reward_of_failure


def best(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict against the reference that fits best; a failed one where that is not known.

    Raises:
        InvalidInputError: There is none, as the sample has no reference.
    """
    if not verdicts:
        raise InvalidInputError("a sample has no reference to hold its response against.")
    judged = [verdict for verdict in verdicts if verdict.score is not None]
    top = max(judged, key=lambda verdict: verdict.score or 0.0, default=None)
    if top is not None and (top.score == 1.0 or len(judged) == len(verdicts)):
        return top
    return next(verdict for verdict in verdicts if verdict.score is None)


def settled(verdict: Verdict, on_failure: FailurePolicy) -> Verdict:
    """Return `verdict`, which came under the policy ``null``, with its reward by another policy.

    Raises:
        VerdictFailedError: It failed, and the policy is ``raise``.
    """
    if verdict.reward is not None:  # it is a score, or what a release's card says of a failure
        return verdict
    if on_failure == "raise":
        raise VerdictFailedError((IndexedVerdict(0, verdict),), total=1)
    return replace(verdict, reward=reward_of_failure(on_failure))


def mean(rewards: Iterable[float | None]) -> float:
    """Return the mean of the rewards of one sample's responses, NaN if one of them has none.

    Raises:
        InvalidInputError: There is none.
    """
    values = [math.nan if reward is None else reward for reward in rewards]
    if not values:
        raise InvalidInputError("a sample has no response to score.")
    return math.fsum(values) / len(values)
