"""Intervals and tests against published worked examples, and the properties that an audit relies on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from countermark_service.audit import statistics
from countermark_service.audit.statistics import PairedCounts

BENTUR = PairedCounts(both=1, first_only=1, second_only=7, neither=12)
"""Airway hyper-responsiveness before and after transplantation (Bentur et al. 2009): the running example of
M. W. Fagerland, S. Lydersen, P. Laake, The McNemar test for binary matched-pairs data, BMC Medical Research
Methodology 13:91 (2013)."""

CAVO = PairedCounts(both=59, first_only=6, second_only=16, neither=80)
"""Complete response before and after consolidation therapy (Cavo et al. 2012), in chapter 8 of the same authors'
Statistical Analysis of Contingency Tables (2017), whose package `contingencytables` prints the figures."""


def rows_of(counts: PairedCounts) -> tuple[statistics.Floats, statistics.Floats]:
    """Return two columns of scores with these counts."""
    first = [1.0] * (counts.both + counts.first_only) + [0.0] * (counts.second_only + counts.neither)
    second = [1.0] * counts.both + [0.0] * counts.first_only
    second += [1.0] * counts.second_only + [0.0] * counts.neither
    return np.array(first), np.array(second)


@pytest.mark.parametrize(("counts", "p"), [(BENTUR, 0.0703125), (CAVO, 0.052479)])
def test_mcnemar_gives_the_published_exact_p_values(counts: PairedCounts, p: float) -> None:
    assert statistics.mcnemar(counts) == pytest.approx(p, abs=1e-6)


def test_mcnemar_of_rows_that_never_flip_is_no_evidence() -> None:
    assert statistics.mcnemar(PairedCounts(10, 0, 0, 5)) == 1.0


def test_tango_gives_the_published_interval() -> None:
    # The book takes first less second, -0.0621 (-0.1240 to -0.0054).
    assert statistics.tango(CAVO) == pytest.approx((0.0054, 0.1240), abs=6e-5)


@pytest.mark.parametrize(
    ("successes", "rows", "interval"),
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_gives_the_published_intervals(
    successes: int, rows: int, interval: tuple[float, float]
) -> None:
    # R. G. Newcombe, Two-sided confidence intervals for the single proportion, Statistics in Medicine 17
    # (1998) 857-872, table I, method 3.
    assert statistics.wilson(successes, rows) == pytest.approx(interval, abs=6e-5)


def test_holm_adjusts_as_written() -> None:
    # 4 * .005, 3 * .01, 2 * .03, and .04 raised to what stands before it.
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([]) == []


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 400))
@settings(max_examples=60)
def test_tango_holds_the_difference_and_mirrors(both: int, lost: int, gained: int, neither: int) -> None:
    counts = PairedCounts(both, lost, gained, neither)
    if counts.rows == 0:
        return
    low, high = statistics.tango(counts)
    difference = (gained - lost) / counts.rows
    assert -1 <= low <= difference + 1e-9
    assert difference - 1e-9 <= high <= 1
    mirrored = statistics.tango(PairedCounts(both, gained, lost, neither))
    assert mirrored == pytest.approx((-high, -low), abs=1e-6)


def test_the_paired_difference_of_plain_rows_is_tangos() -> None:
    found = statistics.paired_difference(*rows_of(CAVO))
    assert found is not None
    assert found.value == pytest.approx(10 / 161)
    assert (found.low, found.high) == statistics.tango(CAVO)
    assert found.method == "tango"


def test_rows_that_repeat_an_item_do_not_narrow_an_interval() -> None:
    scores = np.array([1.0] * 70 + [0.0] * 30)
    once = statistics.mean(scores)
    repeated = statistics.mean(np.repeat(scores, 16), np.repeat(np.arange(100), 16))
    careless = statistics.mean(np.repeat(scores, 16))
    assert once is not None
    assert repeated is not None
    assert careless is not None
    assert repeated.items == 100
    assert repeated.high - repeated.low == pytest.approx(once.high - once.low, rel=0.02)
    assert careless.high - careless.low < 0.3 * (once.high - once.low)


def test_clusters_of_one_row_each_change_nothing() -> None:
    scores = np.array([1.0] * 70 + [0.0] * 30)
    assert statistics.mean(scores, np.arange(100)) == statistics.mean(scores)


def test_samples_that_say_nothing_of_each_other_count_almost_in_full() -> None:
    generator = np.random.default_rng(1)
    scores = (generator.random(4000) < 0.6).astype(float)
    clustered = statistics.mean(scores, np.arange(4000) // 4)
    plain = statistics.mean(scores)
    assert clustered is not None
    assert plain is not None
    assert clustered.high - clustered.low == pytest.approx(plain.high - plain.low, rel=0.08)


def test_the_bootstrap_is_scipys_in_another_order() -> None:
    scores = np.random.default_rng(2).choice([0.0, 0.25, 0.5, 1.0], size=200)
    found = statistics.mean(scores)
    theirs = stats.bootstrap(
        (scores,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    assert found is not None
    assert found.method == "bootstrap"
    half = (theirs.high - theirs.low) / 2
    assert found.low == pytest.approx(theirs.low, abs=0.12 * half)
    assert found.high == pytest.approx(theirs.high, abs=0.12 * half)


def test_the_bootstrap_and_its_limit_agree() -> None:
    scores = np.random.default_rng(4).random(6000)
    many = statistics.mean(scores)
    rounded = statistics.mean(np.round(scores, 3))
    assert many is not None
    assert rounded is not None
    assert (many.method, rounded.method) == ("linearised", "bootstrap")
    assert rounded.low == pytest.approx(many.low, abs=0.0007)
    assert rounded.high == pytest.approx(many.high, abs=0.0007)


def test_an_interval_is_the_same_each_time() -> None:
    scores = np.random.default_rng(5).choice([0.0, 0.5, 1.0], size=300)
    assert statistics.mean(scores) == statistics.mean(scores)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_unanimous_rows_of_few_items_leave_room(value: float) -> None:
    found = statistics.mean(np.full(80, value), np.repeat(np.arange(5), 16))
    assert found is not None
    assert found.value == value
    assert found.high - found.low > 0.3


def test_one_item_says_nothing_of_others() -> None:
    found = statistics.mean(np.array([1.0, 0.0, 1.0]), np.array([7, 7, 7]))
    assert found is not None
    assert (found.low, found.high) == (0.0, 1.0)


def test_no_rows_are_no_estimate() -> None:
    nothing = np.array([])
    assert statistics.mean(nothing) is None
    assert statistics.paired_difference(nothing, nothing) is None
    assert statistics.bounds(nothing, 0) is None


def test_bounds_take_rows_without_a_score_as_wrong_and_as_right() -> None:
    assert statistics.bounds(np.array([1.0, 1.0, 0.0]), 1) == statistics.Bounds(0.5, 0.75)


def test_items_that_moved_are_counted_once_however_many_rows_they_have() -> None:
    first = np.array([1.0, 1.0, 0.0, 1.0, 0.0])
    second = np.array([0.0, 0.0, 1.0, 0.0, 1.0])
    assert statistics.items_moved(first, second, np.array([1, 1, 2, 3, 3])) == (1, 1)


def test_items_that_all_agree_leave_room_as_rows_do() -> None:
    same = np.array([1.0, 0.0] * 20)
    found = statistics.paired_difference(same, same, np.repeat(np.arange(20), 2))
    assert found is not None
    assert (found.low, found.high) == statistics.tango(PairedCounts(0, 0, 0, 20))
    assert found.low < 0 < found.high


@pytest.mark.parametrize("rows", [2, 3, 5, 10, 20, 50])
@pytest.mark.parametrize("changing", [0.05, 0.2, 1.0])
def test_few_scores_in_parts_get_intervals_that_cover(rows: int, changing: float) -> None:
    """Of 200 samples about 95 % hold the truth; by plain percentiles it was one in four of two rows."""
    generator = np.random.default_rng(rows)
    hits = 0
    for _ in range(200):
        first = np.full(rows, 0.2)
        moved = generator.random(rows) < changing
        second = first + np.where(moved, generator.uniform(0, 0.8, rows), 0.0)
        found = statistics.paired_difference(first, second)
        assert found is not None
        hits += found.low <= 0.4 * changing <= found.high
    assert hits >= 175


def test_rows_that_happen_to_be_alike_leave_room() -> None:
    found = statistics.mean(np.full(3, 0.5))
    assert found is not None
    z = stats.norm.ppf(0.975)
    assert (found.low, found.high) == pytest.approx(
        (0.5 - 0.5 * z * z / (3 + z * z), 0.5 + 0.5 * z * z / (3 + z * z))
    )
    moved = statistics.paired_difference(np.full(3, 0.5), np.full(3, 1.0))
    assert moved is not None
    assert moved.low < 0 < moved.high
    still = statistics.paired_difference(np.full(3, 0.5), np.full(3, 0.5))
    assert still is not None
    assert (still.low, still.high) == statistics.tango(PairedCounts(0, 0, 0, 3))
    one = statistics.paired_difference(np.array([0.5]), np.array([0.75]))
    assert one is not None
    assert (one.low, one.high) == (-1.0, 1.0)
