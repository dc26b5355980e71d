"""Grades of a card: what is said counts, what is said to be none counts too, and every gap has its reason."""

from typing import Any

import pytest

from countermark_service.releases import Completeness, grade_card, release_of
from countermark_service.releases.completeness import RULES
from tests.cards import EXACT, bare_card, full_card


def graded(**more: Any) -> Completeness:
    return grade_card(release_of(bare_card(**more)).card)


def grade_of(factor: str, **said: Any) -> tuple[str, list[str]]:
    found = {one.factor: one for one in graded(**{factor: said}).factors}[factor]
    return found.grade, [rule.field for rule in found.missing]


def test_a_card_that_says_everything_has_an_a_everywhere() -> None:
    found = grade_card(release_of(full_card()).card)

    assert (found.grade, found.results.grade) == ("A", "A")
    assert [(one.grade, one.missing) for one in found.factors] == [("A", ())] * 6


def test_a_card_that_says_nothing_has_an_f_everywhere() -> None:
    found = graded()

    assert [one.grade for one in (*found.factors, found.results)] == ["F"] * 7
    assert sum(len(one.missing) for one in found.factors) + len(found.results.missing) == len(RULES)


@pytest.mark.parametrize(
    ("said", "grade"),
    [
        ({}, "F"),
        ({"top_p": 1.0}, "D"),
        ({"samples": 1}, "D"),
        ({"samples": 1, "max_tokens": 1}, "C"),
        ({"samples": 1, "max_tokens": 1, "temperature": 0.0}, "B"),
        ({"samples": 1, "max_tokens": 1, "temperature": 0, "top_p": 1, "context_tokens": 2, "stop": [],
          "seed": 0, "engine": "e"}, "A"),
    ],
)  # fmt: skip
def test_the_grade_says_how_much_of_the_essential_is_there(said: dict[str, Any], grade: str) -> None:
    assert grade_of("inference", **said)[0] == grade


def test_the_whole_is_as_good_as_its_weakest_factor() -> None:
    assert grade_card(release_of(full_card(inference={"samples": 1})).card).grade == "D"


@pytest.mark.parametrize(
    ("factor", "said", "field"),
    [
        ("data", {"filters": []}, "data.filters"),
        ("data", {"generator_models": []}, "data.generator_models"),
        ("data", {"decontamination": {"method": "none"}}, "data.decontamination"),
        ("scaffold", {"system_prompt": ""}, "scaffold.system_prompt"),
        ("scaffold", {"tools": []}, "scaffold.tools"),
        ("inference", {"temperature": 0.0}, "inference.temperature"),
        ("inference", {"stop": []}, "inference.stop"),
    ],
)
def test_to_say_that_there_is_none_is_to_say_it(factor: str, said: dict[str, Any], field: str) -> None:
    assert field in grade_of(factor)[1]
    assert field not in grade_of(factor, **said)[1]


@pytest.mark.parametrize(
    ("factor", "said", "field"),
    [
        ("data", {"sources": []}, "data.sources"),
        ("data", {"sources": [{"id": "a", "revision": "1"}, {"id": "b"}]}, "data.sources[].revision"),
        ("data", {"generator_models": [{"id": "a"}]}, "data.generator_models"),
        ("optimizer", {"seeds": []}, "optimizer.seeds"),
        ("optimizer", {"hyperparameters": {}}, "optimizer.hyperparameters"),
        ("verifier", {"routes": []}, "verifier.routes"),
        ("verifier", {"routes": [{"task": "a", "verifier": "exact:1.0.0"}]}, "verifier.routes[].verifier"),
        ("verifier", {"routes": [{"task": "a", "verifier": EXACT}]}, "verifier.routes[].on_failure"),
    ],
)
def test_what_is_half_said_is_missing(factor: str, said: dict[str, Any], field: str) -> None:
    assert field in grade_of(factor, **said)[1]


def test_a_factor_that_a_release_does_not_have_is_complete_with_its_reason() -> None:
    found = {one.factor: one for one in graded(optimizer={"not_applicable": "a data set"}).factors}[
        "optimizer"
    ]

    assert (found.grade, found.missing, found.not_applicable) == ("A", (), "a data set")


def test_a_result_of_a_task_without_route_is_a_gap_of_the_verifier() -> None:
    routes = {"routes": [{"task": "a", "verifier": EXACT, "on_failure": "null"}]}
    results = [{"metric": "accuracy", "value": 1, "task": "b"}]

    found = graded(verifier=routes, results=results)

    assert [one.field for one in found.factors[0].missing] == ["verifier.routes[].task"]
    assert "results[].verifier" in [one.field for one in found.results.missing]


def test_every_rule_has_a_reason_and_a_place_of_its_own() -> None:
    assert len({rule.field for rule in RULES}) == len(RULES)
    assert all(rule.why.endswith(".") and not rule.missing.endswith(".") for rule in RULES)
