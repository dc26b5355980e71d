"""One card as it was read: its document, its model, and the digest that names it.

The digest is SHA-256 over the RFC 8785 form of the document as its author wrote it,
so any JSON tool can compute it, indentation and order of keys change nothing, and a
field that a later Countermark adds changes no digest of today.

A card comes from anywhere, so reading is strict: bounded size and depth, no key
twice, no number that readers disagree about, no field that is not known.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import rfc8785
from pydantic import ValidationError

from countermark_service.errors import CountermarkError, RefError
from countermark_service.kept import head_of
from countermark_service.model import BundleRef
from countermark_service.releases.card import CARD_NAME, ReleaseCard

LARGEST_CARD = 4 << 20
"""Bytes."""
DEEPEST = 40
"""Levels of lists and objects."""
_EDITOR_KEY = "$schema"


class CardError(CountermarkError):
    """A release card that cannot be used."""

    code: ClassVar[str] = "invalid_card"

    def __init__(self, file: str, field: str, problem: str) -> None:
        place = f"{file}, `{field}`" if field else file
        super().__init__(f"{place}: {problem.rstrip('.')}.")
        self.file, self.field, self.problem = file, field, problem


class ReleaseRefError(CountermarkError):
    """A text that names no release."""

    code: ClassVar[str] = "invalid_release_ref"

    def __init__(self, ref: str) -> None:
        shown = ref if len(ref) <= 120 else ref[:117] + "..."
        super().__init__(
            f"{shown!r} names no release: write name:version, or with the card's digest "
            "name:version@sha256:<64 hex digits>."
        )
        self.release = shown


@dataclass(frozen=True)
class Release:
    """A release: the card, and what names it."""

    card: ReleaseCard
    document: Mapping[str, Any]
    """The card as it was written, as JSON values."""
    digest: str
    """``sha256:<64 hex digits>`` over `canonical`."""
    canonical: bytes
    """The document in its RFC 8785 form."""

    @cached_property
    def ref(self) -> BundleRef:
        """Name, version and digest, in the form that verifiers are named in."""
        return BundleRef(self.card.name, self.card.version, self.digest)


def read_release(content: bytes, *, file: str = CARD_NAME) -> Release:
    """Read and check a card.

    Args:
        content: The bytes of `countermark.json`.
        file: How messages name it.

    Raises:
        CardError: Not JSON, too large, or not a card; names the place.
    """
    document = read_document(content, file=file)
    return release_of(document, file=file)


def read_release_file(path: Path) -> Release:
    """Read the card in a file, or in the folder `path`.

    Raises:
        CardError: As `read_release`, or the file cannot be read.
    """
    file = path / CARD_NAME if path.is_dir() else path
    try:
        content = head_of(file, LARGEST_CARD + 1)
    except OSError as exc:
        raise CardError(str(file), "", f"cannot be read: {exc.strerror or exc}") from exc
    return read_release(content, file=str(file))


def read_document(content: bytes, *, file: str, limit: int = LARGEST_CARD) -> dict[str, Any]:
    """Return the JSON object in `content`.

    Raises:
        CardError: It is none, or one that readers could disagree about.
    """
    if len(content) > limit:
        raise CardError(file, "", f"has over {limit} bytes; a card refers to data and does not hold it")
    try:
        document = json.loads(
            content.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_refuse_constant
        )
    except RecursionError as exc:
        raise _too_deep(file) from exc
    except ValueError as exc:  # UnicodeDecodeError and JSONDecodeError are two of them
        raise CardError(file, "", f"is not JSON that can be read: {exc}") from exc
    if not isinstance(document, dict):
        raise CardError(file, "", "must hold one JSON object")
    if _deeper_than(document, DEEPEST):
        raise _too_deep(file)
    return document


def release_of(document: Mapping[str, Any], *, file: str = CARD_NAME) -> Release:
    """Return the release that a card's document describes.

    Raises:
        CardError: It is no card.
    """
    told = {key: value for key, value in document.items() if key != _EDITOR_KEY}
    try:
        card = ReleaseCard.model_validate(told)
    except ValidationError as exc:
        raise _fault(exc, file) from exc
    try:
        canonical = rfc8785.dumps(told)
    except (rfc8785.CanonicalizationError, ValueError) as exc:  # half a surrogate pair is a ValueError
        problem = f"holds a value that is not the same in every JSON reader: {exc}"
        raise CardError(file, "", problem) from exc
    return Release(card, told, "sha256:" + hashlib.sha256(canonical).hexdigest(), canonical)


def require_pins(release: Release, *, file: str = CARD_NAME) -> None:
    """Refuse a card that names a verifier without its digest, where the digest must decide.

    Raises:
        CardError: It does; names the place.
    """
    for field, ref in release.card.unpinned().items():
        raise CardError(
            file,
            field,
            f"{ref!r} carries no digest; `countermark release lock` writes the digests into the card",
        )


def parse_release_ref(text: str) -> BundleRef:
    """Read the name of a release; the version may be missing.

    Raises:
        ReleaseRefError: It is of another form.
    """
    try:
        return BundleRef.parse(text)
    except RefError as exc:
        raise ReleaseRefError(text) from exc


def place(loc: tuple[str | int, ...]) -> str:
    """Return a path in a document as people write it, such as ``verifier.routes[0].task``."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _fault(exc: ValidationError, file: str) -> CardError:
    first = exc.errors(include_url=False)[0]
    if first["type"] == "extra_forbidden":
        problem = "is no field of a card; `countermark release schema` has them all"
    elif first["type"] == "missing":
        problem = "is missing"
    else:
        shown = repr(first["input"])
        shown = shown if len(shown) <= 100 else shown[:97] + "..."
        problem = f"{first['msg']} (it is {shown})"
    return CardError(file, place(first["loc"]), problem)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:80]!r} is given twice in one object")
    return made


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _deeper_than(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        level = [
            below
            for one in level
            for below in (one.values() if isinstance(one, dict) else one)
            if isinstance(below, (dict, list))
        ]
        if not level:
            return False
    return True


def _too_deep(file: str) -> CardError:
    return CardError(file, "", f"is nested over {DEEPEST} levels deep")
