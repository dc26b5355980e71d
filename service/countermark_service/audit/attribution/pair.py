"""Two releases under two verifiers: what of their gap is the verifier.

A release publishes the mean score of its outputs under its own verifier, so the gap
between two published numbers mixes two changes. Scoring both outputs under both
verifiers gives four means,

                    verifier of the first   verifier of the second
    first outputs         first_first            first_second
    second outputs        second_first           second_second

and two ways from corner to corner: change the verifier first, or the outputs first.
Where the two ways differ (the verifier favours one of the outputs), neither is the
right one; their mean is, in the sense of Shapley (1953): it treats both changes alike
and adds up to the gap. Both orders and their difference are given beside it.

The unit is the question. Every effect is a mean over questions of one number each, so
intervals resample questions, with all four scores of a question together: what is common
to them cancels. Nothing here knows how the scores were made.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

from countermark_service.audit.attribution.errors import AttributionError
from countermark_service.audit.statistics import PairedCounts, allowed_by_unseen, farthest_of, tango

Array = NDArray[np.float64]

CELLS = ("first_first", "first_second", "second_first", "second_second")
"""Outputs, then verifier: the columns of the scores."""

EFFECTS: Mapping[str, tuple[float, float, float, float]] = {
    "gap": (-1, 0, 0, 1),
    "verifier": (-0.5, 0.5, -0.5, 0.5),
    "outputs": (-0.5, -0.5, 0.5, 0.5),
    "verifier_on_first_outputs": (-1, 1, 0, 0),
    "verifier_on_second_outputs": (0, 0, -1, 1),
    "outputs_under_first_verifier": (-1, 0, 1, 0),
    "outputs_under_second_verifier": (0, -1, 0, 1),
    "interaction": (1, -1, -1, 1),
}
"""What is asked of the four means. `gap` is `verifier` plus `outputs`, and also each of the two ways:
`verifier_on_first_outputs` plus `outputs_under_second_verifier`, and `outputs_under_first_verifier` plus
`verifier_on_second_outputs`. `interaction` is the difference of the two ways."""

RESAMPLES = 9999
SEED = 20260501
MOST_CORRECTED = 1000
"""Questions up to which the bootstrap is bias-corrected and accelerated (BCa), which costs their square."""
MOST_RESAMPLED = 4000
"""Questions up to which there is a bootstrap; beyond, the normal limit differs by less than its noise."""
_BATCH_NUMBERS = 4_000_000

Method = Literal["bootstrap BCa", "bootstrap percentile", "normal", "score", "exact", "none"]


@dataclass(frozen=True)
class Estimate:
    """A mean over questions."""

    value: float
    low: float | None
    """None, as `high` is, where one question alone says nothing of others."""
    high: float | None
    method: Method

    @property
    def clear(self) -> bool:
        """Whether zero is outside of the interval."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Decomposition:
    """A gap, taken apart."""

    questions: int
    confidence: float
    cells: Mapping[str, Estimate]
    """The four means, by the names in `CELLS`."""
    effects: Mapping[str, Estimate]
    """By the names in `EFFECTS`."""
    share: Estimate | None
    """Part of the gap that is the verifier; None where the gap itself may be zero. It may lie outside of [0, 1]:
    a verifier can hide a gain as well as make one."""
    changed: Mapping[str, tuple[int, int]]
    """For ``first`` and ``second`` outputs, the questions whose score the second verifier lowers and raises."""


def decompose(scores: Array, *, same_verifier: bool = False, confidence: float = 0.95) -> Decomposition:
    """Take a gap apart.

    Args:
        scores: One row per question, its mean scores in [0, 1] in the order of `CELLS`; no gaps.
        same_verifier: Both verifiers are one, so that whatever is between them is zero and not an estimate.
        confidence: Coverage of the intervals.

    Raises:
        AttributionError: No question, or a score that is none.
    """
    if scores.ndim != 2 or scores.shape[1] != len(CELLS) or not len(scores):
        raise AttributionError("there is no question that both releases answered and both verifiers scored.")
    if not np.isfinite(scores).all():
        raise AttributionError("a question without a score cannot be averaged; leave it out and count it.")
    weights = np.column_stack([np.eye(len(CELLS)), *(np.array(each) for each in EFFECTS.values())])
    columns = scores @ weights
    cells = dict(zip(CELLS, _estimates(columns[:, : len(CELLS)], confidence, bounds=(0.0, 1.0)), strict=True))
    effects = dict(zip(EFFECTS, _estimates(columns[:, len(CELLS) :], confidence), strict=True))
    if same_verifier:
        for name in ("verifier", "verifier_on_first_outputs", "verifier_on_second_outputs", "interaction"):
            effects[name] = Estimate(0.0, 0.0, 0.0, "exact")
    share = _share(columns[:, len(CELLS)], columns[:, len(CELLS) + 1], effects["gap"], confidence)
    return Decomposition(
        questions=len(scores),
        confidence=confidence,
        cells=cells,
        effects=effects,
        share=Estimate(0.0, 0.0, 0.0, "exact") if same_verifier and share is not None else share,
        changed={"first": _moved(scores[:, 1] - scores[:, 0]), "second": _moved(scores[:, 3] - scores[:, 2])},
    )


def mean_over_questions(columns: Array, *, confidence: float = 0.95) -> list[Estimate]:
    """Return the mean of each column with its interval; rows are questions, and are drawn together."""
    return _estimates(columns, confidence)


def _estimates(
    columns: Array, confidence: float, *, bounds: tuple[float, float] | None = None
) -> list[Estimate]:
    """Return the mean of each column; `bounds` are those of a question; without, see `farthest_of`.

    No interval is narrower than the questions that were not asked allow: few that happen to be alike, or
    nearly so, leave resampling little to vary.
    """
    questions = len(columns)
    values = columns.mean(axis=0)
    if questions == 1:
        return [Estimate(float(value), None, None, "none") for value in values]
    varies = np.ptp(columns, axis=0) > 0
    low, high, method = np.empty(len(values)), np.empty(len(values)), _method(questions)
    if varies.any():
        low[varies], high[varies] = _interval(columns[:, varies], confidence, method)
    found = []
    for place, value in enumerate(values.tolist()):
        farthest = farthest_of(columns[:, place])
        if bounds is None and not columns[:, place].any():
            found.append(_unchanged(questions, confidence))
            continue
        least, most = bounds or (-farthest, farthest)
        below, above = allowed_by_unseen(value, least, most, items=questions, level=confidence)
        if varies[place]:
            found.append(
                Estimate(value, min(below, float(low[place])), max(above, float(high[place])), method)
            )
        else:
            found.append(Estimate(value, below, above, "score"))
    return found


def _method(questions: int) -> Method:
    if questions <= MOST_CORRECTED:
        return "bootstrap BCa"
    return "bootstrap percentile" if questions <= MOST_RESAMPLED else "normal"


def _interval(columns: Array, confidence: float, method: Method) -> tuple[Array, Array]:
    """Return an interval of each column's mean; the columns are resampled together, by rows."""
    questions = len(columns)
    if method == "normal":
        spread = columns.std(axis=0, ddof=1) / math.sqrt(questions)
        half = float(stats.t.ppf(0.5 + confidence / 2, questions - 1)) * spread
        means = columns.mean(axis=0)
        return means - half, means + half
    with warnings.catch_warnings():
        # Where a resample leaves nothing to correct, scipy says so and gives NaN; percentiles stand in below.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = _bootstrap(columns, confidence, "BCa" if method == "bootstrap BCa" else "percentile")
        low, high = found
        broken = ~(np.isfinite(low) & np.isfinite(high))
        if broken.any():
            low[broken], high[broken] = _bootstrap(columns[:, broken], confidence, "percentile")
    return low, high


def _bootstrap(columns: Array, confidence: float, method: str) -> tuple[Array, Array]:
    result = stats.bootstrap(
        (columns,), np.mean, axis=0, vectorized=True, n_resamples=RESAMPLES, confidence_level=confidence, method=method,
        batch=max(1, _BATCH_NUMBERS // columns.size), rng=np.random.default_rng(SEED),
    )  # fmt: skip
    return np.array(result.confidence_interval.low), np.array(result.confidence_interval.high)


def _unchanged(questions: int, confidence: float) -> Estimate:
    """Return the interval of a difference that no question shows: the score interval without a discordant pair.

    By Tango (1998) it ends at z^2 / (n + z^2): what was not seen in n questions can still be in that share of
    those not asked.
    """
    low, high = tango(PairedCounts(0, 0, 0, questions), level=confidence)
    return Estimate(0.0, low, high, "score")


def _share(gaps: Array, verifiers: Array, gap: Estimate, confidence: float) -> Estimate | None:
    """Return what part of the gap is the verifier, by the linearised ratio of two means (Cochran 1977, 6.4)."""
    if not gap.clear:
        return None
    ratio = float(verifiers.mean() / gaps.mean())
    residuals = (verifiers - ratio * gaps) / gaps.mean()
    spread = float(residuals.std(ddof=1)) / math.sqrt(len(gaps))
    half = float(stats.t.ppf(0.5 + confidence / 2, len(gaps) - 1)) * spread
    return Estimate(ratio, ratio - half, ratio + half, "normal")


def _moved(differences: Array) -> tuple[int, int]:
    tiny = 1e-12
    return int((differences < -tiny).sum()), int((differences > tiny).sum())
