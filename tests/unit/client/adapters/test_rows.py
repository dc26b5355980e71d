"""Which field of a row is what, in the forms in which frameworks hand rows over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from countermark import InvalidInputError
from countermark.adapters._rows import Fields, gold_by_environment, value_of, value_or_none
from countermark.adapters._scoring import RewardSource

SOURCE = RewardSource(verifier="run:1", by_source={"math": "math:1"}, params={"a": 1, "b": 1})


@pytest.mark.parametrize(
    "row",
    [
        {"spec": {"gold": "4"}},
        {"spec.gold": "4", "spec": {"gold": "not this one"}},
        SimpleNamespace(spec=SimpleNamespace(gold="4")),
        SimpleNamespace(spec={"gold": "4"}),
    ],
)
def test_dots_lead_into_mappings_and_objects(row: Any) -> None:
    assert value_of(row, "spec.gold") == "4"


@pytest.mark.parametrize("row", [{"spec": {}}, {"spec": None}, {}, SimpleNamespace(), {"spec": "text"}])
def test_a_missing_field_is_an_error_where_it_is_needed(row: Any) -> None:
    assert value_or_none(row, "spec.gold") is None
    with pytest.raises(InvalidInputError, match=r"no field 'spec\.gold', which is to hold the reference"):
        value_of(row, "spec.gold")


def test_the_error_says_which_fields_there_are() -> None:
    with pytest.raises(InvalidInputError, match=r"It has 'answer', 'level'\.$"):
        value_of({"level": 1, "answer": "4"}, "gold")
    with pytest.raises(InvalidInputError, match=r"It has none\.$"):
        value_of({}, "gold")
    with pytest.raises(InvalidInputError, match=r", and 5 more\.$"):
        value_of({f"c{n:02}": n for n in range(25)}, "gold")


def test_a_reference_that_is_there_may_be_empty_or_null() -> None:
    assert value_of({"gold": None}, "gold") is None
    assert value_of({"gold": 0}, "gold") == 0


def test_a_row_names_its_verifier_its_source_and_its_parameters() -> None:
    fields = Fields(gold="gold")
    ask = fields.ask(SOURCE, "4", {"gold": "4", "verifier": "row:1", "verifier_params": {"b": 2}}, prompt="?")
    assert (ask.verifier, ask.item.reference, ask.item.prompt) == ("row:1", "4", "?")
    assert ask.item.params == {"a": 1, "b": 2}
    assert fields.ask(SOURCE, "4", {"gold": "4", "data_source": "math"}).verifier == "math:1"
    assert fields.ask(SOURCE, "4", {"gold": "4"}).verifier == "run:1"


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_name_of_a_field_that_is_none_is_refused(name: Any) -> None:
    with pytest.raises(InvalidInputError, match="the field of gold is"):
        Fields(gold=name)


def test_the_environment_names_the_reference_for_hooks_without_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("COUNTERMARK_GOLD", raising=False)
    assert gold_by_environment("answer") == "answer"
    monkeypatch.setenv("COUNTERMARK_GOLD", "solution")
    assert gold_by_environment("answer") == "solution"
