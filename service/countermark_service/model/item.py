"""One thing to score, and the bytes that stand for it.

The canonical form is compact JSON of ``[response, reference, params, prompt]``
with sorted keys. Unlike RFC 8785 it keeps ``1`` and ``1.0`` apart, because a
verifier can tell them apart too. These bytes travel to the worker, and receipts
name an item by their digest.

The store's key is over the same four parts: ``[reference, params, prompt]`` as that
JSON, then the response as it is. A response is most of an item and full of
backslashes, and to write it as JSON first costs as much as all the rest of a look-up.
Where a JSON array ends is never in doubt, so no two items have the same bytes.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder(order="deterministic")


class Item(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """What a verifier judges."""

    response: str
    """Text of the model, as it was sent."""
    reference: Any
    """What the response is held against: any JSON value."""
    params: dict[str, Any] = {}
    """Parameters of the verifier, by the schema of its manifest."""
    prompt: str | None = None
    """The question. It takes part only where the manifest says `uses_prompt`."""
    id: str | int | None = None
    """The caller's own name for the item; no part of its identity."""

    def canonical(self, *, uses_prompt: bool) -> bytes:
        """Return the bytes that decide the verdict, as a JSON array of four."""
        return _encoder.encode(
            (self.response, self.reference, self.params, self.prompt if uses_prompt else None)
        )


def item_digests(identity: bytes, items: Sequence[Item], *, uses_prompt: bool) -> list[bytes]:
    """Return the 32 bytes by which a receipt names each item: SHA-256 of `identity` and the item's `canonical`.

    Args:
        identity: The 32 bytes of the verifier.
        items: What was judged, in order.
        uses_prompt: Whether the prompt takes part.
    """
    begun, write = hashlib.sha256(identity).copy, _encoder.encode_into
    digests: list[bytes] = []
    canonical = bytearray()  # one for all: each item is written over the one before
    for item in items:
        write((item.response, item.reference, item.params, item.prompt if uses_prompt else None), canonical)
        hashed = begun()
        hashed.update(canonical)
        digests.append(hashed.digest())
    return digests


def item_keys(identity: bytes, items: Sequence[Item], *, uses_prompt: bool) -> list[bytes]:
    """Return the 32-byte store key of each item under the verifier of `identity` (32 bytes).

    Raises:
        TypeError, ValueError, RecursionError: An item cannot be written as JSON.
    """
    # To copy a hash costs less than to begin one.
    begun, write = hashlib.sha256(identity).copy, _encoder.encode
    keys: list[bytes] = []
    for item in items:
        hashed = begun()
        hashed.update(write((item.reference, item.params, item.prompt if uses_prompt else None)))
        hashed.update(item.response.encode())
        keys.append(hashed.digest())
    return keys


def reduced_key(digest: bytes, reduction: bytes) -> bytes:
    """Return the 32-byte store key of a reduction; never equal to an item's key."""
    return hashlib.sha256(b"reduced\x00" + digest + reduction).digest()


def last_assistant_text(messages: Sequence[dict[str, Any]]) -> str | None:
    """Return the text of the last assistant message, or None where there is none.

    A message's content is text, or a list of parts of which the text parts count
    (the shape of chat-completion APIs).
    """
    for message in reversed(messages):
        if message.get("role") != "assistant":
            continue
        content = message.get("content")
        if isinstance(content, str):
            return content
        if isinstance(content, list):
            parts = [
                part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"
            ]
            return "".join(part for part in parts if isinstance(part, str))
        return "" if content is None else None
    return None
