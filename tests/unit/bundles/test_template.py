"""Templates of graders: what they may name, what is filled in, and whose fault a missing value is."""

from typing import Any

import pytest

from countermark_service.bundles.template import MissingValueError, TemplateError, filled, places

ITEM = {
    "answer": "42",
    "n": 1.5,
    "list": ["a", {"deep": None}],
    "under_score": True,
    "kebab-case": "k",
    "output_text": 0,
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{item.answer}}", "42"),
        ("{{  item.answer }}", "42"),
        ("a {{item.answer}}{{item.n}} b", "a 421.5 b"),
        ("{{item.list[0]}}", "a"),
        ("{{item.list.0}}", "a"),
        ("{{item.list[1].deep}}", "null"),
        ("{{item.list[1]}}", '{"deep":null}'),
        ("{{item.under_score}}", "true"),
        ("{{item.kebab-case}}", "k"),
        ("{{sample.output_text}}", '{"x": [1]}'),
        ("{{sample.output_json.x}}", "[1]"),
        ("{{sample.output_json.x[0]}}", "1"),
        ("{{sample.output_json}}", '{"x":[1]}'),
        ("no place, {one} brace } {", "no place, {one} brace } {"),
        ("{{item.output_text}}", "0"),
    ],
)
def test_places_are_filled_texts_as_they_are_and_all_else_as_json(template: str, text: str) -> None:
    assert filled(template, '{"x": [1]}', ITEM) == text


def test_what_was_filled_in_is_not_read_again() -> None:
    assert filled("{{sample.output_text}}", "{{item.answer}}", ITEM) == "{{item.answer}}"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "answer",
        "items.x",
        "sample",
        "sample.choices",
        "sample.output_text.x",
        "item.",
        "item..x",
        "item.a b",
        "item.x[y]",
        "item.{x",
    ],
)
def test_a_place_that_names_nothing_is_refused(path: str) -> None:
    with pytest.raises(TemplateError):
        places(f"a {{{{{path}}}}} b")


@pytest.mark.parametrize(
    ("path", "sample", "of_sample"),
    [
        ("item.nothing", "{}", False),
        ("item.answer.x", "{}", False),
        ("item.list[2]", "{}", False),
        ("item.list.x", "{}", False),
        ("sample.output_json.x", "{}", True),
        ("sample.output_json.x", "no json", True),
        ("sample.output_json", "", True),
        ("sample.output_json.x", "[" * 100_000, True),
        ("sample.output_json[0]", '{"0": 1}', True),
    ],
)
def test_a_value_that_is_not_there_is_the_fault_of_its_side(path: str, sample: str, of_sample: bool) -> None:
    with pytest.raises(MissingValueError) as caught:
        filled(f"{{{{{path}}}}}", sample, ITEM)
    assert caught.value.of_sample is of_sample


def test_values_are_found_by_key_in_objects_that_look_like_lists() -> None:
    item: dict[str, Any] = {"rows": {"0": "zero"}}
    assert filled("{{item.rows.0}}", "", item) == "zero"
