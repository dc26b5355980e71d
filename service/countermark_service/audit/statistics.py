"""Scores with intervals, paired differences and tests: pure functions over arrays.

A score of a benchmark is a mean over items, and an item may have been sampled
several times. Samples of one item are alike, so treating them as independent gives
intervals that are too narrow; wherever rows have an item, it goes into the
calculation as a *cluster*. A row without a score is left out of every mean and is
counted, and `bounds` says how far such rows could move the mean.

scipy does the mathematics. What it has no function for is written out here from its
source and held to published worked examples in the tests:

* one proportion: Wilson (1927); with clusters the same formula on the effective sample
  size, as in Korn and Graubard (1998), with quantiles of t at the clusters' degrees of freedom.
* a paired difference of two proportions: the score interval of Tango (1998), which inverts
  the statistic that McNemar's test is built on.
* fractional scores and clustered differences: percentile bootstrap over items, its percentiles
  moved out for few items as in Hesterberg (2015), and never narrower than the items that were not
  drawn allow (`allowed_by_unseen`): few items that happen to be alike are no proof that all are. Over more
  than `MOST_DISTINCT` different ones the linearised (cluster-robust) interval, which is the same to
  within the noise there.
* the test: McNemar's, exact (binomial on the rows that differ in one direction or the other);
  with clusters a sign test over items beside it, since McNemar's counts rows as independent.

Nothing here knows what an audit is: attribution and others use the same functions.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats  # type: ignore[import-untyped]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

LEVEL = 0.95
"""Coverage that intervals aim at, unless another is asked for."""
RESAMPLES = 4000
"""Bootstrap samples. The end of an interval then wavers by about 4 % of its half width."""
MOST_DISTINCT = 4000
"""Different items up to which the bootstrap is run; with more, the normal limit has long set in."""
FEW = 6
"""Items below which a sign test at 5 % finds nothing: 2 / 2^5 is more than that."""
SEED = 20260501
"""Of every bootstrap, so that the same rows give the same interval everywhere."""

Method = Literal["wilson", "wilson on the effective sample size", "tango", "bootstrap", "linearised"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with the interval around it."""

    value: float
    low: float
    high: float
    method: Method
    """How the interval was made."""
    rows: int
    """Rows that it rests on."""
    items: int
    """Different items among them; as many as `rows` where each was answered once."""
    level: float = LEVEL

    def holds(self, value: float) -> bool:
        """Whether `value` lies in the interval."""
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far the rows without a score could move a mean."""

    low: float
    """Were each of them worth 0."""
    high: float
    """Were each of them worth 1."""


@dataclass(frozen=True, slots=True)
class PairedCounts:
    """Rows that two verifiers both scored, by what each said."""

    both: int
    """Right under both."""
    first_only: int
    second_only: int
    neither: int

    @property
    def rows(self) -> int:
        """All of them."""
        return self.both + self.first_only + self.second_only + self.neither

    @property
    def flips(self) -> int:
        """Rows on which they differ."""
        return self.first_only + self.second_only


def mean(scores: Floats, clusters: Integers | None = None, *, level: float = LEVEL) -> Estimate | None:
    """Return the mean of `scores` in [0, 1] with its interval; None where there are no rows.

    Args:
        scores: One per row, without gaps: leave out rows that have none.
        clusters: Number of the item of each row; None where each row is an item of its own.
        level: Coverage of the interval.
    """
    rows = len(scores)
    if rows == 0:
        return None
    value = float(scores.mean())
    groups = None if clusters is None else _Clusters.of(scores, clusters)
    items = rows if groups is None else groups.count
    binary = bool(np.isin(scores, (0.0, 1.0)).all())
    if binary and items == rows:
        low, high = wilson(int(scores.sum()), rows, level=level)
        return Estimate(value, low, high, "wilson", rows, items, level)
    if groups is None:
        groups = _Clusters.of(scores, np.arange(rows))
    if items == 1:
        return Estimate(value, 0.0, 1.0, "bootstrap", rows, items, level)  # one item says nothing of others
    if binary:
        low, high = _wilson_clustered(value, rows, groups, level)
        return Estimate(value, low, high, "wilson on the effective sample size", rows, items, level)
    low, high, method = _resampled(groups, level, 0.0, 1.0)
    return Estimate(value, low, high, method, rows, items, level)


def paired_difference(
    first: Floats, second: Floats, clusters: Integers | None = None, *, level: float = LEVEL
) -> Estimate | None:
    """Return mean(second) - mean(first) over the same rows with its interval; None without rows.

    Args:
        first: Scores in [0, 1], one per row that both have scored.
        second: The same rows under the other verifier.
        clusters: Number of the item of each row, or None.
        level: Coverage of the interval.
    """
    rows = len(first)
    if rows == 0:
        return None
    differences = second - first
    groups = None if clusters is None else _Clusters.of(differences, clusters)
    items = rows if groups is None else groups.count
    value = float(differences.mean())
    binary = bool(np.isin(first, (0.0, 1.0)).all() and np.isin(second, (0.0, 1.0)).all())
    if binary and items == rows:
        low, high = tango(paired_counts(first, second), level=level)
        return Estimate(value, low, high, "tango", rows, items, level)
    if items == 1:
        return Estimate(value, -1.0, 1.0, "bootstrap", rows, items, level)  # one item says nothing of others
    if groups is None:
        groups = _Clusters.of(differences, np.arange(rows))
    if not differences.any():
        # Resampling nothing gives nothing; items that all agree leave as much room as rows that do.
        low, high = tango(PairedCounts(0, 0, 0, items), level=level)
        return Estimate(value, low, high, "tango", rows, items, level)
    farthest = farthest_of(groups.sums / groups.sizes)
    low, high, method = _resampled(groups, level, -farthest, farthest)
    return Estimate(value, low, high, method, rows, items, level)


def bounds(scores: Floats, missing: int) -> Bounds | None:
    """Return the mean with `missing` further rows worth 0, and worth 1; None without any row."""
    rows = len(scores) + missing
    if rows == 0:
        return None
    total = float(scores.sum())
    return Bounds(total / rows, (total + missing) / rows)


def paired_counts(first: Floats, second: Floats, *, right: float = 1.0) -> PairedCounts:
    """Count the rows by what both say; a score of at least `right` is right."""
    one, two = first >= right, second >= right
    both, first_only, second_only = int((one & two).sum()), int((one & ~two).sum()), int((two & ~one).sum())
    return PairedCounts(both, first_only, second_only, len(one) - both - first_only - second_only)


def wilson(successes: int, rows: int, *, level: float = LEVEL) -> tuple[float, float]:
    """Return Wilson's interval of a proportion."""
    found = stats.binomtest(successes, rows).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def tango(counts: PairedCounts, *, level: float = LEVEL) -> tuple[float, float]:
    """Return Tango's score interval of the second proportion less the first.

    The interval holds each difference that the score test does not reject. Source: T. Tango, Equivalence
    test and confidence interval for the difference in proportions for the paired-sample design, Statistics
    in Medicine 17 (1998) 891-908.
    """
    rows, gained, lost = counts.rows, counts.second_only, counts.first_only
    z = float(stats.norm.ppf((1 + level) / 2))

    def statistic(delta: float) -> float:
        # The likelihood is largest, under a difference of delta, where a quadratic in the chance of `lost` is 0.
        b = -gained - lost + (2 * rows - gained + lost) * delta
        c = -lost * delta * (1 - delta)
        chance = (math.sqrt(max(0.0, b * b - 8 * rows * c)) - b) / (4 * rows)
        variance = rows * (2 * chance + delta * (1 - delta))
        excess = gained - lost - rows * delta
        if abs(excess) < 1e-9:
            return 0.0
        return math.copysign(math.inf, excess) if variance <= 0 else excess / math.sqrt(variance)

    estimate = (gained - lost) / rows
    edge = 1e-12
    low = -1.0 if statistic(-1 + edge) <= z else _root(lambda d: statistic(d) - z, -1 + edge, estimate)
    high = 1.0 if statistic(1 - edge) >= -z else _root(lambda d: statistic(d) + z, estimate, 1 - edge)
    return low, high


def mcnemar(counts: PairedCounts) -> float:
    """Return the two-sided p-value of the exact McNemar test; 1.0 where no row flips."""
    return sign_test(counts.first_only, counts.second_only)


def sign_test(one: int, other: int) -> float:
    """Return the two-sided exact p-value of `one` against `other` under equal chances; 1.0 where both are 0."""
    if one + other == 0:
        return 1.0
    return float(stats.binomtest(min(one, other), one + other, 0.5).pvalue)


def items_moved(first: Floats, second: Floats, clusters: Integers) -> tuple[int, int]:
    """Count the items whose mean score is lower, and higher, under the second verifier."""
    groups = _Clusters.of(second - first, clusters)
    tiny = 1e-12
    return int((groups.sums < -tiny).sum()), int((groups.sums > tiny).sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number, in the same order.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6 (1979) 65-70.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


@dataclass(frozen=True, slots=True)
class _Clusters:
    """Values gathered by item: that is all a mean over rows knows of them."""

    sums: Floats
    """Sum of an item's values."""
    sizes: Integers
    """Rows of an item."""

    @classmethod
    def of(cls, values: Floats, clusters: Integers) -> "_Clusters":
        _, places, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
        return cls(np.bincount(places, weights=values).astype(np.float64), sizes.astype(np.int64))

    @property
    def count(self) -> int:
        return len(self.sizes)

    def spread(self) -> float:
        """Return the standard error of the mean over rows, with items as the units that were drawn."""
        rows = int(self.sizes.sum())
        residuals = self.sums - self.sizes * (self.sums.sum() / rows)
        return math.sqrt(float((residuals**2).sum()) * self.count / (self.count - 1)) / rows


def _wilson_clustered(value: float, rows: int, groups: _Clusters, level: float) -> tuple[float, float]:
    plain = value * (1 - value) / rows
    # Items that are all right or all wrong show no spread between rows: each then counts once.
    design = groups.spread() ** 2 / plain if plain > 0 else rows / groups.count
    size = min(float(rows), rows / design) if design > 0 else float(rows)
    t = float(stats.t.ppf((1 + level) / 2, groups.count - 1))
    middle = (value + t * t / (2 * size)) / (1 + t * t / size)
    half = t / (1 + t * t / size) * math.sqrt(value * (1 - value) / size + t * t / (4 * size * size))
    return max(0.0, middle - half), min(1.0, middle + half)


def _resampled(groups: _Clusters, level: float, least: float, most: float) -> tuple[float, float, Method]:
    """Return an interval of the mean over rows, items being what is drawn; `least` and `most` bound an item's mean."""
    value = float(groups.sums.sum() / groups.sizes.sum())
    # Items with the same sum and size are the same to a mean, so a sample is a draw of how often each kind
    # occurs: the same distribution as drawing items one by one, in a small part of the time.
    kinds, counts = np.unique(
        np.column_stack([groups.sums, groups.sizes.astype(np.float64)]), axis=0, return_counts=True
    )
    if len(kinds) > MOST_DISTINCT:
        half = float(stats.t.ppf((1 + level) / 2, groups.count - 1)) * groups.spread()
        return max(least, value - half), min(most, value + half), "linearised"
    generator = np.random.default_rng(SEED)
    means = np.empty(RESAMPLES)
    step = max(1, 2_000_000 // len(kinds))  # 16 MB of draws at a time
    for begin in range(0, RESAMPLES, step):
        drawn = generator.multinomial(groups.count, counts / groups.count, size=min(step, RESAMPLES - begin))
        means[begin : begin + step] = (drawn @ kinds[:, 0]) / (drawn @ kinds[:, 1])
    tail = tail_of(groups.count, level)
    low, high = np.quantile(means, [tail, 1 - tail])
    below, above = allowed_by_unseen(value, least, most, items=groups.count, level=level)
    return min(float(low), below), max(float(high), above), "bootstrap"


def tail_of(items: int, level: float) -> float:
    """Return the share of bootstrap means beyond each end of an interval: the fewer items, the fewer of them.

    Source: T. Hesterberg, What teachers should know about the bootstrap, The American Statistician 69 (2015)
    371-386, the expanded percentile interval.
    """
    t = float(stats.t.ppf((1 + level) / 2, items - 1))
    return float(stats.norm.cdf(-math.sqrt(items / (items - 1)) * t))


def farthest_of(differences: Floats) -> float:
    """Return how far from zero a difference of one item is taken to go: as those here, of few items anywhere.

    Fewer than `FEW` differences are no more one way than the other by any exact test, whatever they are.
    """
    return 1.0 if len(differences) < FEW else float(np.abs(differences).max())


def allowed_by_unseen(
    value: float, least: float, most: float, *, items: int, level: float
) -> tuple[float, float]:
    """Return how far a mean over `items` may be off by items that none of them is like.

    Their share of all may be z^2 / (items + z^2), Wilson's end at no success; each may be `least` or `most`.
    """
    z = float(stats.norm.ppf((1 + level) / 2))
    share = z * z / (items + z * z)
    return value - (value - least) * share, value + (most - value) * share


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    return float(optimize.brentq(function, low, high, xtol=1e-10))
