"""Names of a card made exact: references become pins, files of outputs get their digests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from countermark_service.cli.release.card_file import file_digest, outputs_at_hand
from countermark_service.errors import CountermarkError
from countermark_service.registry import Registry
from countermark_service.releases import CardError, Release


@dataclass
class Locked:
    """What locking a card came to."""

    document: dict[str, Any]
    changes: dict[str, str] = field(default_factory=dict)
    """New value by its place."""
    open: dict[str, str] = field(default_factory=dict)
    """Why a place stays as it is."""


def locked(release: Release, registry: Registry, card_file: Path) -> Locked:
    """Return a card with pins and digests; what is exact already is held to what is here.

    Raises:
        CardError: A file of outputs is another than the card's digest says.
        DigestMismatchError: A pin of the card is not the bundle here.
    """
    found = Locked(_copied(release.document))
    verifier = found.document.get("verifier") or {}
    for number, route in enumerate(verifier.get("routes") or []):
        _pin(route, f"verifier.routes[{number}].verifier", registry, found)
    for number, result in enumerate(found.document.get("results") or []):
        if result.get("verifier") is not None:
            _pin(result, f"results[{number}].verifier", registry, found)
    for number, told in enumerate(release.card.results):
        if told.outputs is None:
            continue
        place = f"results[{number}].outputs.digest"
        file = outputs_at_hand(card_file, told.outputs)
        if isinstance(file, str):
            if told.outputs.digest is None:
                found.open[place] = file
            continue
        digest = file_digest(file)
        if told.outputs.digest is None:
            found.document["results"][number]["outputs"]["digest"] = digest
            found.changes[place] = digest
        elif told.outputs.digest != digest:
            problem = (
                f"names {told.outputs.digest}, and {told.outputs.file} is {digest}: one of the two was changed. If "
                "the file is the right one, take its digest out of the card and lock again"
            )
            raise CardError(str(card_file), place, problem)
    return found


def _pin(entry: dict[str, Any], place: str, registry: Registry, found: Locked) -> None:
    ref = entry["verifier"]
    try:
        pin = str(registry.resolve(ref).ref)
    except CountermarkError as exc:
        if "@" in ref:
            raise
        found.open[place] = str(exc)
        return
    if pin != ref:
        entry["verifier"] = found.changes[place] = pin


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(below) for key, below in value.items()}
    return [_copied(one) for one in value] if isinstance(value, list) else value
