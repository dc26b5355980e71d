"""Replies read by contract: what is read, what is unreadable, and that nothing a model writes makes reading fail."""

import json
from typing import Any

import pytest

from countermark_service.bundles.judge_table import RULES, Output
from countermark_service.judge.parse import UnreadableError, Vote, read_vote

GRADE = {"kind": "json", "field": "grade", "high": 10, "schema": {"type": "object"}}
RANGE = {"kind": "range", "low": 0, "high": 10}
CRITERIA = {"kind": "criteria"}
ALL_MET = '{"criteria": [{"number": 1, "reason": "so", "met": true}]}'


def read(reply: str, contract: dict[str, Any], *, rules: int = RULES) -> Vote | str:
    """Return the vote, or why there is none."""
    try:
        return read_vote(reply, Output.model_validate(contract), {}, (1.0,), rules=rules)
    except UnreadableError as exc:
        return str(exc)


@pytest.mark.parametrize("reply", [".5", "**.5**", "'.9'", "Score: .5", "..5", "-.5"])
def test_a_number_without_its_first_digit_is_not_taken_for_ten_times_as_much(reply: str) -> None:
    assert read(reply, RANGE) == "not_a_number"


@pytest.mark.parametrize("rules", [1, 2])
def test_earlier_rules_read_such_a_number_as_they_always_have(rules: int) -> None:
    assert read(".5", RANGE, rules=rules) == Vote("5", 0.5)


@pytest.mark.parametrize("reply", ["5.", "(5)", "_5_", "'5'.", "Score: 5", "[5]"])
def test_what_stands_around_a_number_does_not_count(reply: str) -> None:
    assert read(reply, RANGE) == Vote("5", 0.5)


@pytest.mark.parametrize(
    "reply", ["So.\n**Score**: 5", "**Score:** 5", "*Final rating*: **5**", "__Grade__ = 5."]
)
def test_a_number_may_have_its_name_in_markdown(reply: str) -> None:
    assert read(reply, RANGE) == Vote("5", 0.5)


@pytest.mark.parametrize("rules", [3, RULES])
@pytest.mark.parametrize(
    "reply", ["**Score**: 5/10", "Score: 5 or 6", "**Score** 5", "Score: **-**5", "Scores: 5"]
)
def test_a_number_beside_anything_else_is_none(reply: str, rules: int) -> None:
    assert read(reply, RANGE, rules=rules) == "not_a_number"


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1" + "0" * 400, "1e308"])
def test_an_integer_beyond_every_float_is_out_of_range(number: str) -> None:
    assert read(f'{{"grade": {number}}}', GRADE) == "out_of_range"


@pytest.mark.parametrize("reply", ['{"grade": 1' + "0" * 400 + "}", '{"a":' * 400 + "{}" + "}" * 400])
def test_what_a_schema_cannot_be_held_against_breaks_the_contract(reply: str) -> None:
    schema = {
        "type": "object",
        "properties": {"grade": {"multipleOf": 0.5}, "a": {"$ref": "#"}},
    }
    assert read(reply, {**GRADE, "schema": schema}) == "schema"


@pytest.mark.parametrize(
    "reply",
    [
        ALL_MET,
        f"```json\n{ALL_MET}\n```",
        f"```\n\n{ALL_MET}\n\n  ```",
        f"```JSON \n{ALL_MET}\n```\n",
        f"<think>x</think>```\n{ALL_MET}\n```",
    ],
)
def test_json_may_stand_between_two_fences(reply: str) -> None:
    assert read(reply, CRITERIA) == Vote("+", 1.0, (True,))


@pytest.mark.parametrize(
    "reply",
    [
        f"```{ALL_MET}```",
        f"```json\n{ALL_MET}```",
        f"So:\n```\n{ALL_MET}\n```",
        f"```python\n{ALL_MET}\n```",
        "```\n```",
        "```",
    ],
)
def test_json_beside_anything_else_is_none(reply: str) -> None:
    assert read(reply, CRITERIA) == "not_json"


def test_a_reply_of_line_ends_is_read_in_one_pass() -> None:
    for lines in ("\n", " \n", "\n ", "\n```", "\n```json\n"):
        text = "```" + lines * 200_000 + "x"  # days, were each line end tried with each other
        assert read(text, CRITERIA) == "not_json"
        assert read(json.dumps(ALL_MET) + text, CRITERIA) == "not_json"
