"""Holds composites to children that exist, are what was pinned, lead in no circle and are not too many.

A pin names the content of a child, and that content names its own children, so a true
circle would have to hold its own hash. Still nothing here trusts that: the way down is
walked, by name and version, and it is short.
"""

import itertools
from collections.abc import Iterator
from typing import Protocol

from countermark_service.bundles import Bundle
from countermark_service.bundles.composite_table import Child
from countermark_service.bundles.json_schema import Schema
from countermark_service.errors import BundleError, CountermarkError, UnavailableError

DEEPEST = 8
"""Composites inside of composites."""
MOST_ASKED = 1024
"""Children of a composite, with those of its children and so on down, each as often as it is asked."""


class Resolves(Protocol):
    """What knows the bundles that are here."""

    def resolve(self, ref: str) -> Bundle:
        """Return the bundle that a pin means; raises where it is not here or not the same."""


class ChildError(BundleError):
    """A composite with a child that cannot be asked."""

    code = "invalid_child"

    def __init__(self, bundle: Bundle, child: str, problem: str) -> None:
        super().__init__(f"{bundle.origin}/verifier.toml: composite.children, child {child!r}: {problem}")
        self.child, self.problem = child, problem


def check_children(bundle: Bundle, known: Resolves) -> None:
    """Refuse a composite whose children cannot be asked; other bundles pass.

    Raises:
        ChildError: A child is unknown, changed, leads back here, lies too deep, or does not take its parameters;
            or the children are too many.
        UnavailableError: The machine cannot read a child now.
    """
    _walk(bundle, bundle, known, (), itertools.count(1))


def bundles_below(bundle: Bundle, known: Resolves) -> list[Bundle]:
    """Return every bundle that a composite asks, however deep; none for any other bundle."""
    table = bundle.manifest.composite
    found = [known.resolve(child.verifier) for child in table.children] if table else []
    return [*found, *(each for child in found for each in bundles_below(child, known))]


def _walk(top: Bundle, bundle: Bundle, known: Resolves, above: tuple[str, ...], asked: Iterator[int]) -> None:
    table = bundle.manifest.composite
    if table is None:
        return
    name = f"{bundle.manifest.name}:{bundle.manifest.version}"
    way = (*above, name)
    for child in table.children:
        ref = child.ref
        if next(asked) > MOST_ASKED:
            raise ChildError(top, child.name, f"more than {MOST_ASKED} verifiers would be asked for an item.")
        if f"{ref.name}:{ref.version}" in way:
            raise ChildError(
                top, child.name, f"a circle: {' -> '.join((*way, f'{ref.name}:{ref.version}'))}."
            )
        if len(way) >= DEEPEST:
            raise ChildError(top, child.name, f"composites lie more than {DEEPEST} deep: {' -> '.join(way)}.")
        try:
            found = known.resolve(child.verifier)
        except UnavailableError:
            raise
        except CountermarkError as exc:
            raise ChildError(top, child.name, str(exc)) from exc
        _check_params(top, child, found)
        _check_prompt(top, bundle, child, found)
        _walk(top, found, known, way, asked)


def _check_params(top: Bundle, child: Child, found: Bundle) -> None:
    fault = Schema(found.manifest.parameters_schema()).mismatch(child.params)
    if fault is not None:
        raise ChildError(top, child.name, f"{child.verifier} does not take its params: {fault.message}.")
    unknown = sorted(set(child.forward) - set(found.manifest.parameters))
    if unknown:
        raise ChildError(top, child.name, f"{child.verifier} has no parameter {unknown[0]!r} to forward to.")


def _check_prompt(top: Bundle, bundle: Bundle, child: Child, found: Bundle) -> None:
    if found.manifest.uses_prompt and not bundle.manifest.uses_prompt:
        raise ChildError(
            top, child.name, f"{child.verifier} uses the prompt: set uses_prompt = true here too."
        )
