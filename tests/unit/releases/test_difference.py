"""How two cards differ: what is known to be the same, what differs, and what nobody can tell."""

import hashlib
from typing import Any

import pytest

from countermark_service.releases import release_of
from countermark_service.releases.difference import NOT_SAID, FactorDifference, compare
from tests.cards import EXACT, NUMERIC, bare_card, full_card


def differences(first: dict[str, Any], second: dict[str, Any]) -> dict[str, FactorDifference]:
    return {one.factor: one for one in compare(release_of(first), release_of(second))}


def statuses(first: dict[str, Any], second: dict[str, Any]) -> dict[str, str]:
    return {factor: one.status for factor, one in differences(first, second).items()}


def test_a_card_is_the_same_as_itself_in_every_factor() -> None:
    found = differences(full_card(), full_card(version="2.0", summary="Other words"))

    assert list(found) == ["verifier", "base_model", "data", "optimizer", "scaffold", "inference", "results"]
    assert {(one.status, one.changes) for one in found.values()} == {("same", ())}


def test_cards_that_say_nothing_are_unknown_in_every_factor() -> None:
    assert set(statuses(bare_card(), bare_card()).values()) == {"unknown"}


def test_what_one_card_does_not_say_is_unknown_and_not_different() -> None:
    found = differences(full_card(), full_card(inference={**full_card()["inference"], "temperature": None}))

    assert found["inference"].status == "unknown"
    (change,) = found["inference"].changes
    assert (change.field, change.first, change.second) == ("inference.temperature", 1.0, NOT_SAID)
    assert change.document() == {"field": "inference.temperature", "first": 1.0}


@pytest.mark.parametrize(
    ("factor", "change", "field"),
    [
        ("verifier", {"routes": [{**full_card()["verifier"]["routes"][0], "verifier": EXACT},
                                 full_card()["verifier"]["routes"][1]]}, "verifier.routes[sums].verifier"),
        ("base_model", {**full_card()["base_model"], "revision": "main"}, "base_model.revision"),
        ("data", {**full_card()["data"], "generator_models": [{"id": "m"}]}, "data.generator_models"),
        ("optimizer", {**full_card()["optimizer"], "seeds": [1, 2]}, "optimizer.seeds"),
        ("optimizer", {**full_card()["optimizer"], "hyperparameters": {"algorithm.gamma": True,
            "actor_rollout_ref.actor.optim.lr": 1e-6}}, "optimizer.hyperparameters.algorithm.gamma"),
        ("scaffold", {**full_card()["scaffold"], "system_prompt": "Think."}, "scaffold.system_prompt"),
        ("inference", {**full_card()["inference"], "samples": 8}, "inference.samples"),
    ],
)  # fmt: skip
def test_a_value_that_both_say_otherwise_differs_there_and_nowhere_else(
    factor: str, change: dict[str, Any], field: str
) -> None:
    found = differences(full_card(), full_card(**{factor: change}))

    assert {name: one.status for name, one in found.items() if one.status != "same"} == {factor: "differs"}
    assert field in [one.field for one in found[factor].changes]


def test_entries_are_matched_by_name_and_not_by_place() -> None:
    routes = full_card()["verifier"]["routes"]
    turned = full_card(verifier={"routes": routes[::-1]})
    more = full_card(verifier={"routes": [*routes, {"task": "third", "verifier": NUMERIC}]})

    assert statuses(full_card(), turned)["verifier"] == "same"
    found = differences(full_card(), more)["verifier"]
    assert found.status == "differs"
    assert {one.field for one in found.changes} == {
        "verifier.routes[third]",
        "verifier.routes[third].verifier",
    }


def test_a_list_that_one_card_does_not_have_is_unknown_and_an_empty_one_is_another_list() -> None:
    data = full_card()["data"]

    assert statuses(full_card(), full_card(data={**data, "filters": None}))["data"] == "unknown"
    assert statuses(full_card(), full_card(data={**data, "filters": []}))["data"] == "differs"


def test_a_text_and_its_digest_are_the_same_thing() -> None:
    template = full_card()["scaffold"]["prompt_template"]
    digest = "sha256:" + hashlib.sha256(template.encode()).hexdigest()
    by_digest = {**full_card()["scaffold"], "prompt_template": None, "prompt_template_digest": digest}

    found = differences(full_card(), full_card(scaffold=by_digest))["scaffold"]

    assert found.status == "same"


def test_whole_numbers_are_equal_however_they_are_written() -> None:
    assert (
        statuses(full_card(), full_card(inference={**full_card()["inference"], "temperature": 1}))[
            "inference"
        ]
        == "same"
    )
