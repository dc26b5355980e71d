"""Items as bytes: encoded once, refused early, cut into parts that fit in one request.

What cannot be sent faithfully is refused here with the item's index and the field: NaN has no JSON form, a
lone surrogate has no UTF-8 form, and both are common in model output. The usual case is one pass of the C
encoder; only what it refuses is looked at item by item, and walked to find out where.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

from ._errors import InvalidInputError, InvalidItemError
from ._faults import find_fault, text_fault
from ._types import Item, Message

_Document: TypeAlias = dict[str, Any]
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


GROUP = 32
"""Items that are encoded at once: the encoder's start-up counts little, and its buffers stay in the cache."""
_UNENCODABLE = (TypeError, ValueError, RecursionError)
"""What the encoder raises for a value that JSON cannot carry; a lone surrogate is a ValueError."""


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive items that travel in one request."""

    start: int
    """Position of the first item in the whole input."""
    ids: tuple[str | int | None, ...]
    """The items' ids, None where one has none."""
    pieces: tuple[bytes, ...]
    """The items as JSON, UTF-8; a JSON array of them lacks brackets and the commas between the pieces."""

    @property
    def indices(self) -> range:
        """Positions of the items in the whole input."""
        return range(self.start, self.start + len(self.ids))


def split_batch(
    items: Iterable[Item | Mapping[str, Any]], *, max_items: int, max_bytes: int
) -> Iterator[Part]:
    """Encode `items` as they are asked for, and yield them in parts, in order.

    Items that fit into one request are encoded in groups, which takes less than half the time of encoding
    each on its own.

    Args:
        items: The input.
        max_items: Items of a part at most.
        max_bytes: Bytes of a part at most. An item that is larger travels alone, and whether it is too large
            is the service's to say.

    Raises:
        InvalidItemError: An item cannot be sent, or its id was used before in this input.
    """
    documents = _documents(items)
    while chunk := list(islice(documents, max_items)):
        try:
            pieces = _groups([document for _, document in chunk])
        except _UNENCODABLE:
            yield from _cut(chunk, max_items, max_bytes)  # which finds the place of the fault
            continue
        if sum(map(len, pieces)) + len(pieces) - 1 <= max_bytes:
            yield Part(chunk[0][0], tuple([document.get("id") for _, document in chunk]), pieces)
        else:
            yield from _cut(chunk, max_items, max_bytes)


def split_stream(
    items: Iterable[Item | Mapping[str, Any]], *, max_items: int, max_bytes: int
) -> Iterator[Part]:
    """Do the same with every item in a piece of its own, so that single items can be sent again.

    Items before one that cannot be sent are yielded before the error is raised.
    """
    return _cut(_documents(items), max_items, max_bytes)


def one_item(
    response: str | Iterable[Message],
    reference: Any,
    prompt: str | None,
    params: Mapping[str, Any] | None,
) -> Item:
    """Return the item of a call that scores one response.

    Raises:
        InvalidItemError: The response is neither text nor messages, as a model's ``content`` that is None.
    """
    if not isinstance(response, Iterable):
        raise InvalidItemError(
            0, "response", f"is a {type(response).__name__}, neither text nor chat messages"
        )
    return Item(
        response if isinstance(response, str) else list(response),
        reference,
        prompt=prompt,
        params=params,
    )


def encode_text(name: str, text: str) -> bytes:
    """Return a string argument as JSON.

    Raises:
        InvalidInputError: It is no string, or holds a lone surrogate.
    """
    fault = text_fault(text) if isinstance(text, str) else f"is a {type(text).__name__}, not a string"
    if fault:
        raise InvalidInputError(f"{name} {fault}.")
    return _encode(text).encode()


def encode_document(name: str, document: Mapping[str, Any]) -> bytes:
    """Return a JSON object as bytes.

    Raises:
        InvalidInputError: It is none, or holds what JSON cannot carry.
    """
    if not isinstance(document, Mapping):
        raise InvalidInputError(f"{name} is a {type(document).__name__}, not a mapping.")
    try:
        return _encode(dict(document)).encode()
    except _UNENCODABLE as exc:
        raise InvalidInputError(f"{name} cannot be written as JSON: {exc}.") from exc


def _cut(documents: Iterable[tuple[int, _Document]], max_items: int, max_bytes: int) -> Iterator[Part]:
    """Encode documents one by one and yield parts within the bounds."""
    start, size = 0, 0
    pieces: list[bytes] = []
    ids: list[str | int | None] = []
    try:
        for index, document in documents:
            piece = _piece(index, document)
            if pieces and (len(pieces) >= max_items or size + len(piece) > max_bytes):
                yield Part(start, tuple(ids), tuple(pieces))
                pieces, ids, size = [], [], 0
            if not pieces:
                start = index
            pieces.append(piece)
            ids.append(document.get("id"))
            size += len(piece) + 1
    except InvalidItemError:
        if pieces:
            yield Part(start, tuple(ids), tuple(pieces))
        raise
    if pieces:
        yield Part(start, tuple(ids), tuple(pieces))


def _groups(documents: list[_Document]) -> tuple[bytes, ...]:
    """Encode documents, `GROUP` to a piece."""
    return tuple([_encode(documents[i : i + GROUP])[1:-1].encode() for i in range(0, len(documents), GROUP)])


def _piece(index: int, document: _Document) -> bytes:
    """Encode one document, or say where its fault is."""
    try:
        return _encode(document).encode()
    except _UNENCODABLE as exc:
        field, reason = find_fault(document) or ("the item", f"cannot be written as JSON ({exc})")
        raise InvalidItemError(index, field, reason) from exc


def _documents(items: Iterable[Item | Mapping[str, Any]]) -> Iterator[tuple[int, _Document]]:
    """Yield position and document of every item, after a look at its shape and its id."""
    if isinstance(items, (str, bytes, Mapping, Item)):
        raise InvalidInputError(
            f"items must be an iterable of dicts or Item, not one {type(items).__name__}. Put it in a list."
        )
    if not isinstance(items, Iterable):
        raise InvalidInputError(
            f"items must be an iterable of dicts or Item, and {type(items).__name__} is none. What is "
            f"asynchronous, collect in a list first."
        )
    seen: set[str | int] = set()
    for index, item in enumerate(items):
        if type(item) is dict:
            document = item
        elif isinstance(item, Item):
            document = _document(item)
        elif isinstance(item, Mapping):
            document = dict(item)
        else:
            raise InvalidItemError(
                index, "the item", f"is a {type(item).__name__}, neither a dict nor an Item"
            )
        _check_id(index, document.get("id"), seen)
        yield index, document


def _check_id(index: int, identity: object, seen: set[str | int]) -> None:
    """Note an id as used. The service sees only its own part, so only this can find two equal ones."""
    if identity is None:
        return
    if not isinstance(identity, (str, int)) or isinstance(identity, bool):
        raise InvalidItemError(
            index, "id", f"is a {type(identity).__name__}, neither a string nor an integer"
        )
    if identity in seen:
        raise InvalidItemError(index, "id", f"{identity!r} was used by an earlier item of this call")
    seen.add(identity)


def _document(item: Item) -> _Document:
    """Return `item` as the service reads it, without the fields that are not set."""
    document: _Document = {"response": item.response, "reference": item.reference}
    if item.id is not None:
        document["id"] = item.id
    if item.prompt is not None:
        document["prompt"] = item.prompt
    if item.params is not None:
        document["params"] = item.params
    return document
