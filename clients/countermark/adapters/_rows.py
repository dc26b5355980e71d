"""What to score, out of a row in the forms in which frameworks hand one over: a mapping, or an object with fields.

`Columns` does the same for frameworks that hand over a batch as columns. A field that a user named and that is
not there is an error which says what is there; a score made with a default in its place would look like any
other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._errors import InvalidInputError
from ._scoring import Ask, RewardSource

GOLD_VARIABLE = "COUNTERMARK_GOLD"
"""Names the field with the reference, for hooks whose framework passes no settings."""

_MISSING = object()
_LISTED = 20
"""How many fields an error names."""


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Which fields of a row hold what; dots lead into it, ``reward_spec.ground_truth``.

    Raises:
        InvalidInputError: A name is none.
    """

    gold: str
    """The reference. Every row must have it."""
    verifier: str = "verifier"
    """The ref of the row's verifier; a row without it leaves that to the source."""
    data_source: str = "data_source"
    """The name under which `RewardSource.by_source` lists the row's verifier."""
    params: str = "verifier_params"
    """Parameters of the verifier for the row."""

    def __post_init__(self) -> None:
        for role, name in vars(self).items():
            if not isinstance(name, str) or not name:
                raise InvalidInputError(f"the field of {role} is {name!r:.200}; it must be a name.")

    def ask(self, source: RewardSource, response: Any, row: Any, *, prompt: Any = None) -> Ask:
        """Return what to score.

        Args:
            source: Where the reward comes from.
            response: What the model said.
            row: The row, a mapping or an object.
            prompt: What it was asked, as text or chat messages.

        Raises:
            InvalidInputError: The row has no reference, or nothing names a verifier.
        """
        return source.ask(
            response,
            value_of(row, self.gold),
            row=value_or_none(row, self.verifier),
            data_source=value_or_none(row, self.data_source),
            params=value_or_none(row, self.params),
            prompt=prompt,
        )


def gold_by_environment(default: str) -> str:
    """Return the name of the field with the reference for a hook that gets no settings."""
    return os.environ.get(GOLD_VARIABLE) or default


def value_of(row: Any, name: str) -> Any:
    """Return the field `name` of `row`.

    Raises:
        InvalidInputError: It is not there.
    """
    found = _look_up(row, name)
    if found is _MISSING:
        there = _names(row)
        more = f", and {len(there) - _LISTED} more" if len(there) > _LISTED else ""
        raise InvalidInputError(
            f"the row has no field {name!r}, which is to hold the reference. It has "
            f"{', '.join(map(repr, there[:_LISTED])) or 'none'}{more}."
        )
    return found


def value_or_none(row: Any, name: str) -> Any:
    """Return the field `name` of `row`, None if it is not there."""
    found = _look_up(row, name)
    return None if found is _MISSING else found


def _look_up(row: Any, name: str) -> Any:
    if isinstance(row, Mapping) and name in row:  # also a column whose name has a dot in it
        return row[name]
    first, dot, rest = name.partition(".")
    below = row.get(first, _MISSING) if isinstance(row, Mapping) else getattr(row, first, _MISSING)
    return below if below is _MISSING or not dot else _look_up(below, rest)


def _names(row: Any) -> list[str]:
    """Return the names of the fields of `row`."""
    if isinstance(row, Mapping):
        return sorted(map(str, row))
    return sorted(getattr(type(row), "model_fields", None) or getattr(row, "__dict__", {}))
