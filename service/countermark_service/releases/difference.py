"""How two cards differ, factor by factor.

A gain between two releases can be laid at the door of one factor only where all the
others are known to be the same. So a factor is `same`, or it `differs`, or it is
`unknown`: nothing that both cards say differs, and one of them leaves something out
that the other says, or both leave out what is essential.

What is compared are the values a card says; lists of named things (routes, sources,
filters, models, tools) are matched by name and not by place.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from countermark_service.releases.card import FACTORS
from countermark_service.releases.completeness import RESULTS, grade_card
from countermark_service.releases.release import Release

Status = Literal["same", "differs", "unknown"]

_NAMED_BY = ("task", "id", "name")
_OPAQUE = frozenset({"params", "hyperparameters", "sampling"})
"""Tables whose keys are a library's own: compared key by key, never matched by name."""
_TEXTS = (("system_prompt", "system_prompt_digest"), ("prompt_template", "prompt_template_digest"))


class NotSaid:
    """Stands for a value that a card does not say; null is one too."""

    def __repr__(self) -> str:
        return "not said"


NOT_SAID = NotSaid()


@dataclass(frozen=True, slots=True)
class Change:
    """One place in which two cards differ."""

    field: str
    """Path in the card, such as ``data.sources[openai/gsm8k].revision``."""
    first: Any
    """What the first card says there, or `NOT_SAID`."""
    second: Any

    @property
    def known(self) -> bool:
        """Whether both cards say something there."""
        return self.first is not NOT_SAID and self.second is not NOT_SAID

    def document(self) -> dict[str, Any]:
        """Return what is said, as JSON values; what a card does not say has no key."""
        told = {"first": self.first, "second": self.second}
        return {"field": self.field, **{side: value for side, value in told.items() if value is not NOT_SAID}}


@dataclass(frozen=True, slots=True)
class FactorDifference:
    """How two cards differ in one factor."""

    factor: str
    """Field of the card: one of the six, or `results`."""
    status: Status
    changes: tuple[Change, ...]
    untold: tuple[str, ...] = ()
    """Essential places that neither card fills."""

    def document(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "factor": self.factor,
            "status": self.status,
            "changes": [one.document() for one in self.changes],
            "untold": list(self.untold),
        }


def compare(first: Release, second: Release) -> tuple[FactorDifference, ...]:
    """Return how two releases differ: the six factors in order, then the results."""
    return tuple(_compared(name, first, second) for name in (*FACTORS, RESULTS))


def _compared(name: str, first: Release, second: Release) -> FactorDifference:
    one, other = (dict(_leaves(_part(release, name), name)) for release in (first, second))
    for text, digest in _TEXTS:
        place, proof = f"{name}.{text}", f"{name}.{digest}"
        if proof in one and one[proof] == other.get(proof):  # the text may be given on one side only
            one.pop(place, None)
            other.pop(place, None)
    changes = tuple(
        Change(field, one.get(field, NOT_SAID), other.get(field, NOT_SAID))
        for field in sorted(one.keys() | other.keys())
        if not _equal(one.get(field, NOT_SAID), other.get(field, NOT_SAID))
    )
    untold = tuple(sorted(_gaps(first, name) & _gaps(second, name)))
    status: Status = "same"
    if any(change.known or _is_entry_of_one(change, one, other) for change in changes):
        status = "differs"
    elif changes or untold:
        status = "unknown"
    return FactorDifference(name, status, changes, untold)


def _part(release: Release, name: str) -> Any:
    part = release.document.get(name)
    if isinstance(part, dict):
        return _with_digests(part)
    return part


def _with_digests(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return a factor in which every text that has a digest carries it, so that a text and its digest compare."""
    made = dict(part)
    for text, digest in _TEXTS:
        if isinstance(made.get(text), str):
            made[digest] = "sha256:" + hashlib.sha256(made[text].encode()).hexdigest()
    return made


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every value that is said, by its path; an empty list or text is one."""
    if value is None:
        return
    name = path.rpartition(".")[2]
    if isinstance(value, dict) and (value or name in _OPAQUE):
        if not value:
            return
        for key, below in value.items():
            yield from _leaves(below, f"{path}.{key}")
    elif isinstance(value, list) and (key_of := _naming(value)):
        for one in value:
            yield from _leaves({k: v for k, v in one.items() if k != key_of}, f"{path}[{one[key_of]}]")
            yield f"{path}[{one[key_of]}]", one[key_of]
    elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        for place, one in enumerate(value):
            yield from _leaves(one, f"{path}[{place}]")
    else:
        yield path, value


def _naming(values: list[Any]) -> str | None:
    """Return the key that names each entry of a list, once each; None where there is none."""
    for key in _NAMED_BY:
        names = [one.get(key) for one in values if isinstance(one, dict)]
        if names and len(names) == len(values) and None not in names and len(set(names)) == len(names):
            return key
    return None


def _equal(first: Any, second: Any) -> bool:
    """Return whether two JSON values are the same; 1 and 1.0 are, and 1 and true are not."""
    return bool(first == second) and isinstance(first, bool) is isinstance(second, bool)


def _is_entry_of_one(change: Change, first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether an entry (a source, a route, a tool) is in the list of one card and not in that of the other.

    That is a difference, not a gap, as long as the other card has such a list.
    """
    base, bracket, _ = change.field.partition("[")
    if not bracket or not change.field.endswith("]"):
        return False
    without = first if change.first is NOT_SAID else second
    return any(field == base or field.startswith(f"{base}[") for field in without)


def _gaps(release: Release, name: str) -> set[str]:
    found = grade_card(release.card)
    for grade in (*found.factors, found.results):
        if grade.factor == name:
            return {rule.field for rule in grade.missing if rule.essential}
    raise AssertionError(f"{name} is graded")
