"""Published numbers from scores: which metrics can be computed again, how, and when two numbers are one.

A failure has no score. Whether it is left out or counted as 0 is the release's
choice (`on_failure`), never a default of the arithmetic, and both give other numbers.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from countermark_service.releases.card import ReleaseCard, Result, Route

_MEANS = frozenset({"mean_score", "accuracy", "mean", "pass@1", "avg@1"})
_AVERAGE = re.compile(r"avg@\d{1,6}|mean@\d{1,6}")
_PASS = re.compile(r"pass@(\d{1,6})")


class NotRecomputableError(ValueError):
    """A metric that cannot be computed from these scores; the text says why."""


@dataclass(frozen=True, slots=True)
class Recomputed:
    """A published number, computed again."""

    value: float
    """In the unit of the result."""
    n: int
    """Outputs that it is over, those without a score included where they count."""
    failed: int
    """Outputs without a score."""
    holds: bool
    """Whether it is the published one, to the decimals that were published."""


def can_recompute(result: Result) -> bool:
    """Whether the metric of a result is one that can be computed from scores."""
    return result.metric in _MEANS or bool(
        _AVERAGE.fullmatch(result.metric) or _PASS.fullmatch(result.metric)
    )


def route_of(card: ReleaseCard, result: Result) -> Route | None:
    """Return the route that a result was judged by; None where another verifier did it, or none is known."""
    route = card.verifier.route(result.task) if result.task is not None else None
    if route is None:
        return None
    return route if result.verifier is None or result.verifier == route.verifier else None


def counts_failures(card: ReleaseCard, result: Result) -> bool:
    """Whether outputs without a score count as 0 in a result."""
    route = route_of(card, result)
    return (result.on_failure or (route.on_failure if route is not None else None)) == "zero"


def recompute(
    result: Result, scores: Sequence[float | None], groups: Iterable[str], *, zero: bool
) -> Recomputed:
    """Return the number of a result, from the scores of its outputs.

    Args:
        result: What was published.
        scores: One for each output, None where there is none.
        groups: Which prompt it answers, one for each output; counts for pass@K only.
        zero: Whether a missing score counts as 0; else it is left out.

    Raises:
        NotRecomputableError: The metric is another, or nothing is left to take a mean of.
    """
    passed = _PASS.fullmatch(result.metric)
    counted = [0.0 if score is None and zero else score for score in scores]
    if passed and result.metric not in _MEANS:
        value = _pass_at(int(passed[1]), counted, groups)
    elif can_recompute(result):
        value = _mean([score for score in counted if score is not None])
    else:
        raise NotRecomputableError(
            f"the metric {result.metric!r} is not one that is computed from scores alone"
        )
    value *= 100 if result.unit == "percent" else 1
    left = len(counted) if zero else sum(score is not None for score in counted)
    tolerance = 0.5 * 10.0**-result.decimals * (1 + 1e-9) + 1e-12
    failed = sum(score is None for score in scores)
    return Recomputed(value, left, failed, abs(value - result.value) <= tolerance)


def _mean(scores: Sequence[float]) -> float:
    if not scores:
        raise NotRecomputableError("no output has a score")
    return math.fsum(scores) / len(scores)


def _pass_at(k: int, scores: Sequence[float | None], groups: Iterable[str]) -> float:
    """Return the unbiased estimate of Chen et al. 2021 (arXiv 2107.03374), eq. 1: 1 - C(n-c, k) / C(n, k)."""
    samples: dict[str, list[float]] = defaultdict(list)
    for score, group in zip(scores, groups, strict=True):
        kept = samples[group]
        if score is not None:
            kept.append(score)
    estimates = []
    for group, kept in samples.items():
        n, right = len(kept), sum(score >= 1.0 for score in kept)
        if k < 1 or n < k:
            raise NotRecomputableError(
                f"the prompt {group!r} has {n} scored samples, and pass@{k} needs {k}; `outputs.columns.group` "
                "names what the samples of one prompt share"
            )
        estimates.append(1.0 - math.comb(n - right, k) / math.comb(n, k))
    return _mean(estimates)
