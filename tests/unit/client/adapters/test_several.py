"""One value of several verdicts: a failed one never counts as a low one."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from countermark import InvalidInputError, Outcome, Verdict, VerdictFailedError
from countermark.adapters._several import best, mean, settled


def verdict(score: float | None) -> Verdict:
    """Return a verdict."""
    outcome = Outcome.TIMEOUT if score is None else Outcome.SCORED
    return Verdict(None, outcome, score, score, False, {}, {}, "name:1@sha256:00")


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.0, 1.0, 0.5], 1.0),
        ([0.2, 0.5], 0.5),
        ([0.0], 0.0),
        ([1.0, None], 1.0),  # nothing is better than 1
        ([0.9, None], None),
        ([None, 0.0], None),
        ([None], None),
    ],
)
def test_the_best_is_unknown_while_one_that_failed_could_be_better(
    scores: list[float | None], expected: float | None
) -> None:
    assert best([verdict(score) for score in scores]).score == expected


def test_a_sample_without_references_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match="no reference"):
        best([])


def test_the_policy_is_for_failed_verdicts_alone() -> None:
    assert settled(verdict(0.0), "raise").reward == 0.0
    assert settled(verdict(None), "null").reward is None
    assert settled(verdict(None), "zero").reward == 0.0
    assert settled(verdict(None), 0.5).reward == 0.5
    with pytest.raises(VerdictFailedError, match="timeout"):
        settled(verdict(None), "raise")


def test_what_a_card_says_of_a_failure_stays() -> None:
    assert settled(replace(verdict(None), reward=0.25), "raise").reward == 0.25


def test_a_mean_is_unknown_with_any_of_its_parts() -> None:
    assert mean([1.0, 0.0]) == 0.5
    assert math.isnan(mean([1.0, None]))
    with pytest.raises(InvalidInputError, match="no response"):
        mean([])
