"""JSON Schema: what manifests, judges and parameters are held to.

The library that knows it takes as long to import as a third of the web framework, and nothing that is looked
at when the service starts needs it. So nobody else imports it, and it is imported here with the first schema.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any


@dataclass(frozen=True)
class Mismatch:
    """What is most wrong with a value."""

    message: str
    """One sentence; it shows the value."""
    path: tuple[str | int, ...]
    """Where in the value: names and positions from the outside in."""


class Schema:
    """A schema that values are held against."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Take `schema`, which `schema_problem` finds nothing wrong with."""
        from jsonschema import Draft202012Validator  # imported here: see the module

        self._validator = Draft202012Validator(schema)

    def mismatch(self, value: Any) -> Mismatch | None:
        """Return why `value`, of JSON types, does not fit; None where it does."""
        from jsonschema.exceptions import best_match  # imported here: see the module

        try:
            found = best_match(self._validator.iter_errors(value))
        except RecursionError:  # a schema that refers to itself follows a value as deep as it goes
            return Mismatch("it is nested too deeply to be checked", ())
        except OverflowError:  # an integer beyond every float, held against a float
            return Mismatch("it holds a number too large to be checked", ())
        return None if found is None else Mismatch(found.message, tuple(found.absolute_path))


def schema_problem(schema: Any) -> str | None:
    """Return why `schema`, of JSON types, is no JSON Schema of draft 2020-12; None where it is one.

    A `pattern` that is no regular expression is a problem too: it would fail at the first item only.
    """
    try:
        text = json.dumps(schema)
    except (TypeError, ValueError, RecursionError):
        return _problem(schema)  # more than JSON can say, which is for the library to tell
    return _problem_of(text)


@lru_cache(maxsize=512)
def _problem_of(text: str) -> str | None:
    """Return what `_problem` finds. Versions of one bundle mostly share their parameters."""
    return _problem(json.loads(text))


def _problem(schema: Any) -> str | None:
    from jsonschema import Draft202012Validator, SchemaError  # imported here: see the module

    try:
        Draft202012Validator.check_schema(schema, Draft202012Validator.FORMAT_CHECKER)
    except SchemaError as exc:
        return str(exc.message)
    return None
