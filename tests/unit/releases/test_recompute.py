"""Published numbers from scores: means with and without failures, pass@k, and when two numbers are one."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark_service.releases import release_of
from countermark_service.releases.card import ReleaseCard, Result
from countermark_service.releases.recompute import (
    NotRecomputableError,
    can_recompute,
    counts_failures,
    recompute,
    route_of,
)
from tests.cards import EXACT, NUMERIC, bare_card, full_card


def result(**said: Any) -> Result:
    return Result.model_validate({"metric": "accuracy", "value": 0.5, **said})


def again(
    scores: Sequence[float | None], *, zero: bool = False, groups: list[Any] | None = None, **said: Any
) -> Any:
    return recompute(result(**said), scores, groups or [str(n) for n in range(len(scores))], zero=zero)


def test_a_failure_is_left_out_or_counted_as_the_release_says() -> None:
    scores = [1.0, 0.0, 1.0, None]

    left_out, counted = again(scores), again(scores, zero=True)

    assert (left_out.value, left_out.n, left_out.failed) == (2 / 3, 3, 1)
    assert (counted.value, counted.n, counted.failed) == (0.5, 4, 1)
    assert (left_out.holds, counted.holds) == (False, True)


@pytest.mark.parametrize(
    ("value", "decimals", "holds"),
    [
        (0.6667, 4, True),
        (0.6666, 4, False),
        (0.67, 2, True),
        (0.66, 2, False),
        (0.7, 1, True),
        (1.0, 0, True),
    ],
)
def test_a_number_holds_to_the_decimals_that_were_published(value: float, decimals: int, holds: bool) -> None:
    assert again([1.0, 1.0, 0.0], value=value, decimals=decimals).holds is holds


def test_percent_is_percent() -> None:
    found = again([1.0, 0.0, 0.0, 1.0], value=50.0, unit="percent", decimals=1)
    assert (found.value, found.holds) == (50.0, True)


def test_half_a_unit_of_the_last_decimal_is_still_the_same_number() -> None:
    assert again([1.0, 0.0] * 4 + [1.0], value=0.56, decimals=2).holds  # 0.5555…
    assert again([0.125], value=0.13, decimals=2).holds
    assert again([0.125], value=0.12, decimals=2).holds


def test_pass_at_k_is_the_unbiased_estimate() -> None:
    scores = [1.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    groups = ["a", "a", "a", "b", "b", "b"]

    found = again(scores, groups=groups, metric="pass@2", value=0.8333)

    # a: 1 of 3 right: 1 - C(2,2)/C(3,2) = 2/3; b: 2 of 3 right: 1 - 0 = 1
    assert found.value == pytest.approx((2 / 3 + 1) / 2)
    assert found.holds


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=3, max_size=6), min_size=1, max_size=5))
def test_pass_at_k_is_the_mean_over_every_choice_of_k_samples(groups: list[list[float]]) -> None:
    scores = [score for group in groups for score in group]
    names = [str(number) for number, group in enumerate(groups) for _ in group]

    found = again(list(scores), groups=names, metric="pass@3")

    each = [[float(any(choice)) for choice in itertools.combinations(group, 3)] for group in groups]
    assert found.value == pytest.approx(math.fsum(sum(one) / len(one) for one in each) / len(groups))


@pytest.mark.parametrize(
    ("scores", "groups", "said", "why"),
    [
        ([None], None, {}, "no output has a score"),
        ([], None, {}, "no output has a score"),
        ([1.0], None, {"metric": "bleu"}, "not one that is computed"),
        ([1.0, None], ["a", "a"], {"metric": "pass@2"}, "has 1 scored samples"),
    ],
)
def test_what_cannot_be_computed_says_why(
    scores: list[float | None], groups: list[str] | None, said: dict[str, Any], why: str
) -> None:
    with pytest.raises(NotRecomputableError, match=why):
        again(scores, groups=groups, **said)


@pytest.mark.parametrize(
    ("metric", "can"),
    [("accuracy", True), ("mean_score", True), ("pass@1", True), ("pass@64", True), ("avg@32", True),
     ("maj@8", False), ("pass@", False), ("bleu", False)],
)  # fmt: skip
def test_metrics_that_can_be_recomputed(metric: str, can: bool) -> None:
    assert can_recompute(result(metric=metric)) is can


def card_with(**said: Any) -> tuple[ReleaseCard, Result]:
    card = release_of(full_card(results=[{"metric": "accuracy", "value": 1, **said}])).card
    return card, card.results[0]


@pytest.mark.parametrize(
    ("said", "task", "zero"),
    [
        ({"task": "sums"}, "sums", False),
        ({"task": "words"}, "words", True),
        ({"task": "words", "on_failure": "null"}, "words", False),
        ({"task": "words", "verifier": EXACT}, "words", True),
        ({"task": "words", "verifier": NUMERIC}, None, False),
        ({"verifier": NUMERIC}, None, False),
        ({"verifier": NUMERIC, "on_failure": "zero"}, None, True),
    ],
)
def test_failures_count_as_the_result_says_then_as_its_route(
    said: dict[str, Any], task: str | None, zero: bool
) -> None:
    card, told = card_with(**said)
    route = route_of(card, told)

    assert (None if route is None else route.task) == task
    assert counts_failures(card, told) is zero


def test_a_result_of_no_task_and_no_verifier_has_no_route() -> None:
    card = release_of(bare_card(results=[{"metric": "accuracy", "value": 1}])).card
    assert route_of(card, card.results[0]) is None
