"""The beginning of a card, taken from a file that was not written to be one."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_MOST_HYPERPARAMETERS = 500


@dataclass
class Draft:
    """What a file says of a card, and what it does not."""

    kind: str
    """What the file is, such as `verl configuration`."""
    document: dict[str, Any] = field(default_factory=dict)
    """Parts of a card."""
    taken: dict[str, str] = field(default_factory=dict)
    """Key of the file by the field of the card that it filled."""
    unclear: list[str] = field(default_factory=list)
    """What the file touches and does not decide, in sentences."""

    def put(self, place: str, value: Any, origin: str) -> None:
        """Say `value` at a place such as ``base_model.id``; None and empty texts say nothing."""
        if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
            return
        *tables, key = place.split(".")
        table = self.document
        for name in tables:
            table = table.setdefault(name, {})
        table[key] = value
        self.taken[place] = origin

    def add(self, place: str, entry: Mapping[str, Any], origin: str) -> None:
        """Add an entry to a list such as ``data.sources``."""
        table, key = place.split(".")
        entries = self.document.setdefault(table, {}).setdefault(key, [])
        entry = {name: value for name, value in entry.items() if value not in (None, "")}
        if entry not in entries:
            entries.append(entry)
            self.taken[f"{place}[{len(entries) - 1}]"] = origin

    def hyperparameters(self, values: Mapping[str, Any]) -> None:
        """Take what a library calls its hyperparameters: scalars and short lists of them."""
        kept = {name: value for name, value in sorted(values.items()) if _is_plain(value)}
        if len(kept) > _MOST_HYPERPARAMETERS:
            self.unclear.append(
                f"{len(kept)} hyperparameters are set; the card has the first {_MOST_HYPERPARAMETERS} by name."
            )
            kept = dict(list(kept.items())[:_MOST_HYPERPARAMETERS])
        if kept:
            self.put("optimizer.hyperparameters", kept, f"{len(kept)} keys")


def whole(value: Any) -> int | None:
    """Return a whole number, or None for anything else; a number in a text counts."""
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            return None
    return value if type(value) is int and abs(value) < 2**53 else None


def number(value: Any) -> float | None:
    """Return a finite number, or None for anything else; a number in a text counts."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if type(value) not in (int, float) or not math.isfinite(value):
        return None
    return float(value)


def positive(value: Any) -> int | None:
    """Return a whole number from 1 up, or None."""
    found = whole(value)
    return found if found is not None and found > 0 else None


def texts(value: Any) -> list[str]:
    """Return the texts of a value that may be one, a list of them, or several with commas between."""
    if isinstance(value, str):
        return [part.strip().strip("'\"") for part in value.strip("[]() ").split(",") if part.strip()]
    if isinstance(value, Iterable) and not isinstance(value, Mapping):
        return [one for one in value if isinstance(one, str) and one.strip()]
    return []


def flat(value: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return a nested mapping as one, with dots in its keys; lists stay as they are."""
    found: dict[str, Any] = {}
    for key, below in value.items():
        if isinstance(below, Mapping):
            found |= flat(below, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = below
    return found


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= 20 and all(_is_plain(one) and not isinstance(one, list) for one in value)
    if type(value) is int:
        return abs(value) < 2**53
    if type(value) is float:
        return math.isfinite(value)
    return isinstance(value, (str, bool)) and len(str(value)) <= 500
