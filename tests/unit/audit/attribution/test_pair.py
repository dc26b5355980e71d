"""A gap taken apart: the arithmetic, both orders, and intervals that cover what they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from countermark_service.audit.attribution.errors import AttributionError
from countermark_service.audit.attribution.pair import (
    MOST_CORRECTED,
    MOST_RESAMPLED,
    Decomposition,
    decompose,
    mean_over_questions,
)

score = st.sampled_from([0.0, 0.5, 1.0])
questions = st.lists(st.tuples(score, score, score, score), min_size=2, max_size=12)


def values(found: Decomposition) -> dict[str, float]:
    return {name: one.value for name, one in found.effects.items()}


def test_a_gap_that_is_all_verifier() -> None:
    """The same outputs, a verifier that reads five more of ten: the gap is its own."""
    scores = np.array([[0.0, 1.0, 0.0, 1.0]] * 5 + [[1.0, 1.0, 1.0, 1.0]] * 5)
    found = decompose(scores)
    assert values(found) == pytest.approx(
        {
            "gap": 0.5, "verifier": 0.5, "outputs": 0.0, "verifier_on_first_outputs": 0.5,
            "verifier_on_second_outputs": 0.5, "outputs_under_first_verifier": 0.0,
            "outputs_under_second_verifier": 0.0, "interaction": 0.0,
        }
    )  # fmt: skip
    assert found.share is not None
    assert found.share.value == pytest.approx(1.0)
    assert found.changed == {"first": (0, 5), "second": (0, 5)}


def test_a_verifier_that_favours_one_of_the_outputs_is_shared_between_the_orders() -> None:
    """It adds 0.4 to the second outputs and nothing to the first: the orders say 0 and 0.4, their mean 0.2."""
    scores = np.array([[1.0, 1.0, 0.0, 1.0]] * 4 + [[0.0, 0.0, 1.0, 1.0]] * 6)
    found = values(decompose(scores))
    assert (found["verifier_on_first_outputs"], found["verifier_on_second_outputs"]) == pytest.approx(
        (0.0, 0.4)
    )
    assert (found["gap"], found["verifier"], found["outputs"]) == pytest.approx((0.6, 0.2, 0.4))
    assert found["interaction"] == pytest.approx(0.4)


def test_a_verifier_can_hide_a_gain() -> None:
    scores = np.array([[1.0, 0.0, 1.0, 0.0]] * 3 + [[0.0, 0.0, 1.0, 1.0]] * 17)
    found = decompose(scores)
    assert values(found)["gap"] == pytest.approx(0.7)
    assert values(found)["verifier"] == pytest.approx(-0.15)
    assert values(found)["outputs"] == pytest.approx(0.85)
    assert found.share is not None
    assert found.share.value < 0


@settings(max_examples=8)
@given(questions)
def test_both_ways_lead_from_corner_to_corner(rows: list[tuple[float, ...]]) -> None:
    scores = np.array(rows)
    found = values(decompose(scores))
    gap = scores[:, 3].mean() - scores[:, 0].mean()
    assert found["gap"] == pytest.approx(gap)
    assert found["verifier"] + found["outputs"] == pytest.approx(gap)
    assert found["verifier_on_first_outputs"] + found["outputs_under_second_verifier"] == pytest.approx(gap)
    assert found["outputs_under_first_verifier"] + found["verifier_on_second_outputs"] == pytest.approx(gap)
    orders = [found["verifier_on_first_outputs"], found["verifier_on_second_outputs"]]
    assert found["verifier"] == pytest.approx(np.mean(orders))
    assert found["interaction"] == pytest.approx(orders[1] - orders[0])


@settings(max_examples=8)
@given(questions)
def test_an_estimate_lies_in_its_interval(rows: list[tuple[float, ...]]) -> None:
    for one in decompose(np.array(rows)).effects.values():
        assert one.low is not None
        assert one.high is not None
        assert one.low - 1e-9 <= one.value <= one.high + 1e-9


def test_exchanging_the_releases_turns_every_sign() -> None:
    rng = np.random.default_rng(1)
    scores = (rng.random((40, 4)) < [0.4, 0.5, 0.6, 0.7]).astype(float)
    there, back = values(decompose(scores)), values(decompose(scores[:, [3, 2, 1, 0]]))
    for name in ("gap", "verifier", "outputs"):
        assert back[name] == pytest.approx(-there[name])


@pytest.mark.parametrize("questions", [60, MOST_CORRECTED + 1, MOST_RESAMPLED + 1])
def test_intervals_of_means_agree_with_students_where_that_is_right(questions: int) -> None:
    values = np.random.default_rng(questions).random((questions, 1))
    (found,) = mean_over_questions(values)
    expected = stats.t.interval(0.95, questions - 1, values.mean(), stats.sem(values[:, 0]))
    assert (found.low, found.high) == pytest.approx(expected, abs=0.15 * (expected[1] - expected[0]))


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """100 samples of 50 questions of which the second verifier reads a tenth more: 95 % +- 6 % are expected."""
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(100):
        (effect,) = mean_over_questions((rng.random((50, 1)) < 0.1).astype(float))
        assert effect.low is not None
        assert effect.high is not None
        hits += effect.low <= 0.1 <= effect.high
    assert 87 <= hits <= 100


def test_no_difference_seen_is_not_no_difference() -> None:
    """Tango (1998): without a discordant pair among n the score interval ends at z^2 / (n + z^2)."""
    scores = np.array([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]] * 10)
    effect = decompose(scores).effects["verifier"]
    z = stats.norm.ppf(0.975)
    assert (effect.low, effect.value, effect.high) == pytest.approx(
        (-z * z / (20 + z * z), 0, z * z / (20 + z * z))
    )
    assert decompose(scores, same_verifier=True).effects["verifier"].high == 0


@pytest.mark.parametrize("questions", [2, 3])
def test_few_questions_that_move_alike_show_nothing_clear(questions: int) -> None:
    found = decompose(np.array([[0.0, 1.0, 0.0, 1.0]] * questions))
    assert found.effects["gap"].value == 1
    assert not found.effects["gap"].clear
    assert not found.effects["verifier"].clear
    assert found.share is None
    assert found.cells["first_second"].low == pytest.approx(questions / (questions + 1.959964**2))


def test_there_is_no_share_of_a_gap_that_may_be_zero() -> None:
    scores = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]] * 20)
    assert decompose(scores).share is None


def test_one_question_says_nothing_of_others() -> None:
    gap = decompose(np.array([[0.0, 0.0, 1.0, 1.0]])).effects["gap"]
    assert (gap.value, gap.low, gap.clear) == (1.0, None, False)


@pytest.mark.parametrize("scores", [np.empty((0, 4)), np.empty(4), np.array([[0.0, 1.0, np.nan, 1.0]])])
def test_what_has_no_score_is_not_averaged(scores: np.ndarray) -> None:
    with pytest.raises(AttributionError):
        decompose(scores)


def test_the_same_scores_give_the_same_intervals() -> None:
    scores = (np.random.default_rng(3).random((30, 4)) < 0.5).astype(float)
    assert decompose(scores) == decompose(scores)
