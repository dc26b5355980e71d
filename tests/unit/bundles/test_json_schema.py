"""Schemas are judged as written, and a value's worst fault is named with its place."""

import pytest

from countermark_service.bundles.json_schema import Mismatch, Schema, schema_problem

PARAMETERS = {
    "type": "object",
    "properties": {"tolerances": {"type": "array", "items": {"type": "number", "minimum": 0}}},
    "additionalProperties": False,
}


@pytest.mark.parametrize("value", [{}, {"tolerances": []}, {"tolerances": [0, 0.5]}])
def test_a_value_that_fits_has_no_mismatch(value: object) -> None:
    assert Schema(PARAMETERS).mismatch(value) is None


def test_a_mismatch_names_value_and_place() -> None:
    found = Schema(PARAMETERS).mismatch({"tolerances": [0.5, -1]})
    assert found == Mismatch("-1 is less than the minimum of 0", ("tolerances", 1))


def test_a_mismatch_of_the_whole_has_no_place() -> None:
    found = Schema(PARAMETERS).mismatch({"tolerance": 1})
    assert found is not None
    assert found.path == ()
    assert "'tolerance' was unexpected" in found.message


@pytest.mark.parametrize("schema", [{}, True, PARAMETERS, {"pattern": "^[a-z]+$"}])
def test_a_schema_has_no_problem(schema: object) -> None:
    assert schema_problem(schema) is None


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "number", "minimum": "0"}, "'0' is not of type 'number'"),
        ({"type": "text"}, "'text' is not valid"),
        ({"pattern": "("}, "'(' is not a 'regex'"),
        (3, "3 is not of type 'object', 'boolean'"),
    ],
)
def test_what_is_no_schema_is_said(schema: object, said: str) -> None:
    assert said in (schema_problem(schema) or "")
