"""A release card in a Croissant file: the card as a literal, its file as a part of the data, its verifiers by name.

Croissant (JSON-LD) readers keep what they do not know, as long as the context says
what it is: so the card travels whole under ``countermark:interfaceCard``, as a JSON
literal that no reader rewrites. The card's file is listed like any other file with
its SHA-256, and the pins are named where Croissant's vocabulary for responsible AI
has a place for the tools that annotated data.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from countermark_service.releases.card import CARD_NAME
from countermark_service.releases.release import CardError, Release, read_document, release_of

LITERAL = "interfaceCard"
_NAMESPACE = "urn:countermark:"
_TERMS: Mapping[str, Any] = {
    "countermark": _NAMESPACE,
    LITERAL: {"@id": "countermark:interfaceCard", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
}
_TOOLS = "rai:machineAnnotationTools"
_SPELLINGS = (LITERAL, "countermark:interfaceCard", f"{_NAMESPACE}interfaceCard")
_LARGEST = 64 << 20
_INDENT = re.compile(r"\n([ \t]+)\"")


def is_croissant(content: bytes) -> bool:
    """Whether a file looks like JSON-LD of a data set."""
    head = content[:4096].lstrip()
    return head.startswith((b"{", b"\xef\xbb\xbf{")) and b'"@context"' in content[: 1 << 20]


def embed_in_croissant(
    content: bytes, release: Release, card_file: bytes, *, card: str = CARD_NAME, file: str
) -> bytes:
    """Return a Croissant file that carries a release card.

    Args:
        content: The Croissant file; keys stay in their order, and the indentation as it is.
        release: The card.
        card_file: The bytes of the card's file, for its SHA-256.
        card: The card's file, from the folder of the Croissant file.
        file: How messages name the Croissant file.

    Raises:
        CardError: It is no Croissant file, or uses one of the terms for something else.
    """
    document = _document(content, file)
    context = document["@context"]
    for term, meaning in _TERMS.items():
        if context.get(term, meaning) != meaning:
            raise CardError(
                file,
                f"@context.{term}",
                f"means {json.dumps(context[term])[:100]} here, not {json.dumps(meaning)}",
            )
        context[term] = meaning
    earlier = _refs(_literal(document, file))
    document[LITERAL] = dict(release.document)
    for spelling in _SPELLINGS[1:]:
        document.pop(spelling, None)
    document["distribution"] = _distribution(document.get("distribution", []), card_file, card, file)
    named = document.get(_TOOLS, [])
    tools = [one for one in (named if isinstance(named, list) else [named]) if one not in earlier]
    tools += [ref for ref in _refs(release.document) if ref not in tools]
    if tools:
        document[_TOOLS] = tools
    else:
        document.pop(_TOOLS, None)
    return _written(document, content)


def extract_from_croissant(content: bytes, *, file: str) -> Release | None:
    """Return the card that a Croissant file carries; None where it carries none.

    Raises:
        CardError: It is no Croissant file, or what it carries is no card.
    """
    literal = _literal(_document(content, file), file)
    return None if literal is None else release_of(literal, file=file)


def card_sha256(content: bytes, *, card: str = CARD_NAME, file: str) -> str | None:
    """Return the SHA-256 that a Croissant file lists for the card's file, as hex; None where it lists none."""
    for one in _document(content, file).get("distribution", []):
        if isinstance(one, dict) and card in (one.get("@id"), one.get("contentUrl")):
            found = one.get("sha256")
            return found if isinstance(found, str) else None
    return None


def _document(content: bytes, file: str) -> dict[str, Any]:
    document = read_document(content, file=file, limit=_LARGEST)
    if not isinstance(document.get("@context"), dict):
        raise CardError(file, "@context", "must be an object, as Croissant has it; is this a Croissant file?")
    if str(document.get("@type", "")).rpartition(":")[2].rpartition("/")[2] != "Dataset":
        raise CardError(file, "@type", "must be sc:Dataset, as Croissant has it")
    return document


def _literal(document: Mapping[str, Any], file: str) -> dict[str, Any] | None:
    """Return what stands under the literal's name, in each of the forms that JSON-LD tools write it in.

    Raises:
        CardError: It is no JSON object.
    """
    value = next((document[name] for name in _SPELLINGS if name in document), None)
    if isinstance(value, dict) and "@value" in value:
        value = value["@value"]
    if isinstance(value, str):  # mlcroissant writes the literal as a text
        value = read_document(value.encode("utf-8", "replace"), file=f"{file}: {LITERAL}")
    if not isinstance(value, (dict, type(None))):
        raise CardError(file, LITERAL, "must hold the card as an object")
    return value


def _refs(document: Any) -> list[str]:
    """Return the verifiers of a card's routes, without trusting that it is one."""
    verifier = document.get("verifier") if isinstance(document, Mapping) else None
    routes = verifier.get("routes") if isinstance(verifier, Mapping) else None
    found = (
        [one.get("verifier") for one in routes or [] if isinstance(one, Mapping)]
        if isinstance(routes, list)
        else []
    )
    return list(dict.fromkeys(ref for ref in found if isinstance(ref, str)))


def _distribution(found: Any, card_file: bytes, card: str, file: str) -> list[Any]:
    entries = found if isinstance(found, list) else [found]
    mine = {
        "@type": "cr:FileObject",
        "@id": card,
        "name": card,
        "description": "Release card: the feedback interface of this data, with its verifiers pinned by digest.",
        "contentUrl": card,
        "encodingFormat": "application/json",
        "sha256": hashlib.sha256(card_file).hexdigest(),
    }
    for place, one in enumerate(entries):
        if isinstance(one, dict) and one.get("@id") == card:
            if "FileObject" not in str(one.get("@type")):
                raise CardError(file, f"distribution[{place}]", f"has the id {card!r} and is no file")
            return [*entries[:place], {**one, **mine}, *entries[place + 1 :]]
    return [*entries, mine]


def _written(document: Mapping[str, Any], before: bytes) -> bytes:
    text = before.decode("utf-8-sig")
    found = _INDENT.search(text)
    made = json.dumps(document, indent=found[1] if found else None, ensure_ascii=text.isascii())
    return (made + ("\n" if text.endswith("\n") else "")).encode()
