"""Effects and aliases, held to worked examples that others published."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark_service.audit.attribution.design import Analysis, Run, analyse, fit, lenth
from countermark_service.audit.attribution.errors import AttributionError


def standard_order(names: Sequence[str], scores: Sequence[float]) -> list[Run]:
    """Return a two-level full factorial in standard (Yates) order: the first factor changes fastest."""
    corners = itertools.product((-1.0, 1.0), repeat=len(names))
    return [
        Run(f"run {n}", dict(zip(names, corner[::-1], strict=True)), score)
        for n, (corner, score) in enumerate(zip(corners, scores, strict=True))
    ]


def estimates(analysis: Analysis) -> dict[str, float]:
    return {one.term: one.estimate for one in analysis.effects}


def half_width(analysis: Analysis, term: str) -> float:
    interval = analysis.effect(term).interval
    assert interval is not None
    return (interval[1] - interval[0]) / 2


PILOT_PLANT = [(59, 61), (74, 70), (50, 58), (69, 67), (50, 54), (81, 85), (46, 44), (79, 81)]
"""Box, Hunter & Hunter (1978), Statistics for Experimenters, table 10.2: yields of a pilot plant, each setting
of temperature T, concentration C and catalyst K run twice."""


def test_the_pilot_plant_of_box_hunter_and_hunter() -> None:
    """Their effects, table 10.5: T 23.0, C -5.0, K 1.5, TC 1.5, TK 10.0, CK 0.0, TCK 0.5, each with the
    standard error 1.4 from eight replicate pairs (s squared 8, 8 degrees of freedom)."""
    runs = [run for place in (0, 1) for run in standard_order("TCK", [pair[place] for pair in PILOT_PLANT])]
    analysis = analyse(runs)

    assert analysis.mean == pytest.approx(64.25)
    assert estimates(analysis) == pytest.approx(
        {"T": 23.0, "C": -5.0, "K": 1.5, "T x C": 1.5, "T x K": 10.0, "C x K": 0.0, "T x C x K": 0.5}
    )
    assert (analysis.error, analysis.degrees_of_freedom) == ("replicates", 8)
    assert analysis.standard_error == pytest.approx(math.sqrt(8 * (1 / 8 + 1 / 8)))
    assert half_width(analysis, "T") == pytest.approx(2.306 * 1.4142, rel=1e-3)
    assert (analysis.full, analysis.aliases) == (True, ())


def test_the_eddy_current_probe_of_the_nist_handbook() -> None:
    """NIST/SEMATECH e-Handbook of Statistical Methods, 5.6.1: effects, and with the three-factor interaction as
    error one degree of freedom, a standard deviation of an effect of 0.1425 and 95 % limits of 1.8106."""
    runs = standard_order(["X1", "X2", "X3"], [1.70, 4.57, 0.55, 3.39, 1.51, 4.59, 0.67, 4.29])
    analysis = analyse(runs, order=2)

    assert analysis.mean == pytest.approx(2.65875)
    assert estimates(analysis) == pytest.approx(
        {"X1": 3.1025, "X2": -0.8675, "X3": 0.2125, "X1 x X2": 0.1275, "X1 x X3": 0.2475, "X2 x X3": 0.2975}
    )
    assert (analysis.error, analysis.degrees_of_freedom) == ("residual", 1)
    assert analysis.standard_error == pytest.approx(0.14249992371, rel=1e-5)
    assert half_width(analysis, "X1") == pytest.approx(1.8106349707, rel=1e-5)
    assert estimates(analyse(runs))["X1 x X2 x X3"] == pytest.approx(0.1425)


PROCESS = [71, 61, 90, 82, 68, 61, 87, 80, 61, 50, 89, 83, 59, 51, 85, 78]
"""Box, Hunter & Hunter (2005), 2nd edition, section 5.13: an unreplicated 2^4 process development."""


def test_the_unreplicated_process_of_box_hunter_and_hunter_with_lenths_margin() -> None:
    """Their effects -8, 24, -2.25, -5.5 and 4.5 for 2 x 4; Lenth's pseudo standard error is 1.125, his margin of
    error 2.89."""
    analysis = analyse(standard_order("1234", PROCESS))

    found = estimates(analysis)
    assert [found[name] for name in ("1", "2", "3", "4", "2 x 4", "2 x 3")] == pytest.approx(
        [-8, 24, -2.25, -5.5, 4.5, -1.25]
    )
    assert (analysis.error, analysis.degrees_of_freedom) == ("lenth", 5)
    assert analysis.standard_error == pytest.approx(1.125)
    assert half_width(analysis, "1") == pytest.approx(2.89, abs=0.005)
    clear = {
        one.term for one in analysis.effects if one.interval and not one.interval[0] <= 0 <= one.interval[1]
    }
    assert clear == {"1", "2", "4", "2 x 4"}


def bicycle() -> list[Run]:
    """Box, Hunter & Hunter, the bicycle: seven factors in eight runs, generators gear = seat x dynamo, raincoat =
    seat x handlebars, breakfast = dynamo x handlebars, tires = seat x dynamo x handlebars."""
    runs = []
    times = [69, 52, 60, 83, 71, 50, 59, 88]
    for n, ((bars, dynamo, seat), seconds) in enumerate(
        zip(itertools.product((-1, 1), repeat=3), times, strict=True)
    ):
        levels = {
            "seat": seat, "dynamo": dynamo, "handlebars": bars, "gear": seat * dynamo, "raincoat": seat * bars,
            "breakfast": dynamo * bars, "tires": seat * dynamo * bars,
        }  # fmt: skip
        runs.append(Run(str(n), levels, seconds))
    return runs


def test_the_bicycle_of_box_hunter_and_hunter_and_what_it_cannot_tell_apart() -> None:
    """Their estimates: seat 3.5, dynamo 12.0, handlebars 1.0, gear 22.5, raincoat 0.5, breakfast 1.0, tires 2.5,
    each the sum of a main effect and three interactions of two factors."""
    analysis = analyse(bicycle(), order=2)

    assert estimates(analysis) == pytest.approx(
        {
            "seat": 3.5, "dynamo": 12.0, "handlebars": 1.0, "gear": 22.5, "raincoat": 0.5, "breakfast": 1.0,
            "tires": 2.5,
        }
    )  # fmt: skip
    assert analysis.effect("gear").aliased_with == pytest.approx(
        {"seat x dynamo": 1, "handlebars x tires": 1, "raincoat x breakfast": 1}
    )
    assert len(analysis.aliases) == 21
    assert not analysis.full


def test_one_factor_at_a_time_cannot_tell_two_that_moved_together() -> None:
    runs = [
        Run("a", {"data": "old", "optimizer": "ppo"}, 0.40),
        Run("b", {"data": "new", "optimizer": "grpo"}, 0.55),
    ]
    analysis = analyse(runs)
    assert estimates(analysis) == pytest.approx({"data": 0.15})
    assert dict(analysis.effect("data").aliased_with) == pytest.approx({"optimizer": 1.0})
    assert analysis.effect("data").interval is None
    assert analysis.error == "none"


def test_an_alias_with_the_other_sign_says_so() -> None:
    runs = [Run("a", {"x": 0, "y": 1}, 1.0), Run("b", {"x": 1, "y": 0}, 3.0)]
    assert dict(analyse(runs).effect("x").aliased_with) == pytest.approx({"y": -1.0})


def test_a_factor_that_stands_still_is_named_and_not_estimated() -> None:
    runs = [Run("a", {"x": 0, "model": "m"}, 1.0), Run("b", {"x": 1, "model": "m"}, 3.0)]
    analysis = analyse(runs)
    assert analysis.constant == {"model": "m"}
    assert list(estimates(analysis)) == ["x"]


def test_a_factor_of_three_levels_has_an_effect_for_each_further_level_against_the_mean() -> None:
    scores = {"a": 1.0, "b": 2.0, "c": 6.0}
    runs = [Run(f"{name}{n}", {"data": name}, score) for name, score in scores.items() for n in (0, 1)]
    analysis = analyse(runs)
    assert analysis.mean == pytest.approx(3.0)
    assert estimates(analysis) == pytest.approx({"data[b]": -1.0, "data[c]": 3.0})


@given(st.lists(st.floats(-1, 1), min_size=8, max_size=8))
def test_in_a_full_factorial_an_effect_is_a_difference_of_means(scores: list[float]) -> None:
    runs = standard_order("abc", scores)
    analysis = analyse(runs)
    for name in "abc":
        high = [run.score for run in runs if run.levels[name] == 1]
        low = [run.score for run in runs if run.levels[name] == -1]
        assert analysis.effect(name).estimate == pytest.approx(np.mean(high) - np.mean(low), abs=1e-9)
    made = fit(runs)
    effects = made.effects_of(np.array(scores))
    signs = np.column_stack([np.ones(8), *(term.column / 2 for term in made.terms)])
    assert signs @ effects == pytest.approx(np.array(scores), abs=1e-9)


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([], "two runs or more; there are 0"),
        ([Run("a", {"x": 1}, 0.5)], "there are 1"),
        ([Run("a", {"x": 1}, 0.5), Run("b", {"x": 1}, 0.6)], "no factor varies"),
        ([Run("a", {"x": 1}, 0.5), Run("b", {"y": 1}, 0.6)], "'b' does not say where the factor 'x' stood"),
        ([Run("a", {"x": 1}, 0.5), Run("b", {"x": 2}, math.nan)], "no finite score"),
    ],
)
def test_runs_that_say_nothing_are_refused(runs: list[Run], said: str) -> None:
    with pytest.raises(AttributionError, match=said):
        analyse(runs)


def test_lenths_method_needs_some_effects_to_look_at() -> None:
    with pytest.raises(AttributionError, match="needs 3 effects; there are 2"):
        lenth([1.0, 2.0])
