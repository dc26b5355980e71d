"""A release card in the README of a data set: one key of its YAML, every other byte as it was.

The key says where the card is, which digest it has and which verifiers it pins; with
`whole` it holds the card itself, as a text, because YAML readers disagree about
numbers that JSON readers agree about. The block is cut in by lines and the result is
read again: if anything else changed its value, nothing is written.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from countermark_service.releases.card import CARD_NAME
from countermark_service.releases.front_matter import has_front_matter, split_front_matter
from countermark_service.releases.release import CardError, Release, read_release
from countermark_service.releases.yaml_text import load_yaml

README_KEY = "countermark"


@dataclass(frozen=True, slots=True)
class Pointer:
    """What a README says of its release card."""

    card: str
    """The card's file, from the README's folder."""
    digest: str
    interface: str | None
    """The card itself as JSON, where it is there."""

    def release(self, *, file: str) -> Release | None:
        """Return the card that the README holds; None where it only points to one.

        Raises:
            CardError: It is no card, or not the one of the digest.
        """
        if self.interface is None:
            return None
        return self.held_to(read_release(self.interface.encode(), file=file), file=file)

    def held_to(self, release: Release, *, file: str) -> Release:
        """Return a card that has the digest that the README names.

        Raises:
            CardError: It has another.
        """
        if release.digest != self.digest:
            problem = (
                f"names the card {self.digest}, and the card is {release.digest}: one of them was edited "
                "afterwards; `countermark release embed` writes the README anew"
            )
            raise CardError(file, f"{README_KEY}.digest", problem)
        return release


def embed_in_readme(
    text: str, release: Release, *, whole: bool = False, card: str = CARD_NAME, file: str
) -> str:
    """Return a README that names a release card.

    Args:
        text: The README; a head is made where it has none.
        release: The card.
        whole: Put the card itself in as well.
        card: The card's file, from the README's folder.
        file: How messages name the README.

    Raises:
        CardError: Its head is not YAML, or is written in a way that no line can be added to.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    if not has_front_matter(text):
        return (
            _block(release, whole=whole, card=card, newline=newline).join((f"---{newline}", f"---{newline}"))
            + text
        )
    parts = split_front_matter(text, file=file)
    before = _mapping(parts.head, file)
    block = _block(release, whole=whole, card=card, newline=newline)
    head = _without(parts.head)
    place = _place(parts.head)
    if place is None:
        head = head if not head or head.endswith("\n") else head + newline
        made = head + block
    else:
        made = head[:place] + block + head[place:]
    try:
        after = _mapping(made, file)
    except CardError as exc:
        raise _unwritable(file) from exc
    if {**before, README_KEY: after.get(README_KEY)} != after or _pointer(
        after, file
    ).digest != release.digest:
        raise _unwritable(file)
    return parts.joined(made)


def read_pointer(text: str, *, file: str) -> Pointer | None:
    """Return what a README says of its release card; None where it says nothing.

    Raises:
        CardError: Its head is not YAML, or the key holds something else.
    """
    if not has_front_matter(text):
        return None
    head = _mapping(split_front_matter(text, file=file).head, file)
    return _pointer(head, file) if README_KEY in head else None


def _pointer(head: Mapping[str, Any], file: str) -> Pointer:
    found = head.get(README_KEY)
    if not isinstance(found, Mapping):
        raise CardError(
            file, README_KEY, "must hold `card` and `digest`, as `countermark release embed` writes them"
        )
    card, digest, interface = found.get("card"), found.get("digest"), found.get("interface")
    if (
        not isinstance(card, str)
        or not isinstance(digest, str)
        or not isinstance(interface, (str, type(None)))
    ):
        raise CardError(
            file, README_KEY, "must hold the texts `card` and `digest`, and `interface` as a text if at all"
        )
    return Pointer(card, digest, interface)


def _mapping(head: str, file: str) -> Mapping[str, Any]:
    value = load_yaml(head, file=file) if head.strip() else {}
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise CardError(file, "", "has a head that is no mapping of keys to values")
    return value


def _block(release: Release, *, whole: bool, card: str, newline: str) -> str:
    routes = dict.fromkeys(route.verifier for route in release.card.verifier.routes)
    lines = [
        f"{README_KEY}:",
        f"  release: {json.dumps(f'{release.card.name}:{release.card.version}')}",
        f"  card: {json.dumps(card)}",
        f"  digest: {json.dumps(release.digest)}",
        "  verifiers:" if routes else "  verifiers: []",
        *(f"    - {json.dumps(ref)}" for ref in routes),
    ]
    if whole:
        shown = json.dumps(release.document, indent=2)
        lines += ["  interface: |", *(f"    {line}" for line in shown.splitlines())]
    return newline.join([*lines, ""])


def _lines_of_block(head: str) -> tuple[int, int] | None:
    """Return where the key's block begins and ends in a head: its line, and those below that are indented."""
    start = re.search(rf"^(?:{README_KEY}|\"{README_KEY}\"|'{README_KEY}')[ \t]*:", head, re.MULTILINE)
    if start is None:
        return None
    end = position = start.start()
    for number, line in enumerate(re.findall(r"[^\n]*\n|[^\n]+", head[position:])):
        position += len(line)
        if number and line.strip() and line[0] not in " \t":
            break
        if line.strip():
            end = position
    return start.start(), end


def _place(head: str) -> int | None:
    found = _lines_of_block(head)
    return None if found is None else found[0]


def _without(head: str) -> str:
    found = _lines_of_block(head)
    return head if found is None else head[: found[0]] + head[found[1] :]


def _unwritable(file: str) -> CardError:
    return CardError(
        file,
        README_KEY,
        "cannot be put into this head without changing the rest of it: write the other keys one a line",
    )
