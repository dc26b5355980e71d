"""What is left besides the verifier: identified, confounded, unknown; and the run that would tell."""

from typing import Any

import pytest

from countermark_service.audit.attribution.factors import Remainder, remainder
from countermark_service.releases.difference import Change, FactorDifference, Status

FACTORS = ("verifier", "base_model", "data", "optimizer", "scaffold", "inference")


def rest(**statuses: Status) -> Remainder:
    differences = [
        FactorDifference(name, status, (Change(f"{name}.id", "a", "b"),) if status == "differs" else ())
        for name in FACTORS
        for status in [statuses.get(name, "same")]
    ]
    return remainder([*differences, FactorDifference("results", "differs", ())])


def said(**statuses: Status) -> str:
    return " ".join(rest(**statuses).sentences())


def test_one_factor_that_differs_is_the_remainder() -> None:
    found = rest(verifier="differs", data="differs")
    assert (found.identified, found.next_run) == ("data", None)
    assert "differ in the data lineage alone" in found.sentences()[0]
    assert "another seed" in found.sentences()[1]


def test_the_verifier_and_the_results_are_no_part_of_the_remainder() -> None:
    assert rest(verifier="differs").differing == ()
    assert "chance" in said(verifier="differs")


def test_an_unknown_factor_keeps_the_only_other_from_being_identified() -> None:
    found = rest(data="differs", scaffold="unknown")
    assert found.identified is None
    text = said(data="differs", scaffold="unknown")
    assert "may be the data lineage, in which the cards differ" in text
    assert "too little of the scaffold: until they do, that may be part of it too" in text


@pytest.mark.parametrize(
    ("differing", "from_first", "from_second", "needs"),
    [
        (("data", "inference"), ("inference",), ("data",), "generation"),
        (("base_model", "scaffold", "inference"), ("scaffold", "inference"), ("base_model",), "generation"),
        (("scaffold", "inference"), ("scaffold",), ("inference",), "generation"),
        (("data", "optimizer"), ("data",), ("optimizer",), "training"),
        (("base_model", "data", "optimizer"), ("base_model",), ("data", "optimizer"), "training"),
    ],
)  # fmt: skip
def test_the_run_that_is_proposed_needs_no_training_where_that_separates_anything(
    differing: tuple[str, ...], from_first: tuple[str, ...], from_second: tuple[str, ...], needs: str
) -> None:
    statuses: dict[str, Any] = dict.fromkeys(differing, "differs")
    run = rest(**statuses).next_run
    assert run is not None
    assert (run.from_first, run.from_second, run.needs) == (from_first, from_second, needs)
    assert set(run.separates[0]) | set(run.separates[1]) == set(differing)
    assert not set(run.separates[0]) & set(run.separates[1])


def test_every_run_that_is_named_is_a_mix_of_both_releases() -> None:
    statuses: dict[str, Any] = dict.fromkeys(FACTORS[1:], "differs")
    found = rest(**statuses)
    assert found.next_run is not None
    for run in (found.next_run, *found.alternatives):
        assert run.from_first
        assert run.from_second
        assert set(run.from_first) | set(run.from_second) == set(FACTORS[1:])


def test_other_seeds_are_chance_and_no_factor() -> None:
    seeds = FactorDifference("optimizer", "differs", (Change("optimizer.seeds", [1], [2]),))
    others = [FactorDifference(name, "same", ()) for name in FACTORS if name != "optimizer"]
    found = remainder([*others, seeds])
    assert (found.differing, found.other_seeds) == ((), True)
    assert "optimizer" in found.same
    assert "part of what remains is chance" in " ".join(found.sentences())

    more = FactorDifference("optimizer", "differs", (*seeds.changes, Change("optimizer.steps", 1, 2)))
    assert remainder([*others, more]).differing == ("optimizer",)
