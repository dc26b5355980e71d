"""Request bodies: read within bounds, decoded fast, refused with the place of the fault.

The hot routes decode with msgspec (a fraction of the cost of typed FastAPI
parameters); `schemas.py` holds the same shapes for the OpenAPI document, and a
test holds the two together.
"""

import json
import re
import zlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from fastapi import Request

from countermark_service.api.errors import UnsupportedContentError
from countermark_service.errors import RequestError, TooLargeError
from countermark_service.model import Item, OnFailure, last_assistant_text

JSON_TYPES = frozenset({"application/json"})
LINE_TYPES = frozenset(
    {"application/x-ndjson", "application/jsonl", "application/ndjson", "application/json-lines"}
)

_PLACE = re.compile(r" - at `\$(?P<path>[^`]*)`")
_ITEM = re.compile(r"\.items\[(\d+)\]")


class ItemBody(msgspec.Struct, forbid_unknown_fields=True, gc=False, omit_defaults=True):
    """One item, as it is sent."""

    response: str | list[dict[str, Any]]
    reference: Any
    params: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    prompt: str | msgspec.UnsetType | None = msgspec.UNSET
    id: str | int | msgspec.UnsetType | None = msgspec.UNSET


class Batch(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A batch whose responses are texts: what is sent is what is scored."""

    verifier: str
    items: list[Item]
    on_failure: OnFailure = OnFailure.NULL


class _MixedBatch(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A batch, some of whose responses are chat messages."""

    verifier: str
    items: list[ItemBody]
    on_failure: OnFailure = OnFailure.NULL


class StreamHead(msgspec.Struct, forbid_unknown_fields=True):
    """The first line of a stream."""

    verifier: str
    on_failure: OnFailure = OnFailure.NULL


_batch_decoder = msgspec.json.Decoder(Batch)
_mixed_decoder = msgspec.json.Decoder(_MixedBatch)
_head_decoder = msgspec.json.Decoder(StreamHead)
_item_decoder = msgspec.json.Decoder(ItemBody)


def require_type(request: Request, wanted: frozenset[str]) -> None:
    """Refuse a body that is not declared as one of `wanted`.

    Browsers send forms and plain text anywhere without asking; JSON they do not, so
    this also keeps a web page from scoring through its reader's machine.

    Raises:
        UnsupportedContentError: Another content type, or none.
    """
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found not in wanted:
        raise UnsupportedContentError(
            f"the content type is {found or 'missing'!r}: send `Content-Type: {min(wanted)}`."
        )


async def chunks(request: Request, limit: int) -> AsyncIterator[bytes]:
    """Yield the body, unpacked where it is gzip.

    Raises:
        TooLargeError: It has more than `limit` bytes, packed or unpacked.
        UnsupportedContentError: An encoding other than gzip.
        RequestError: It is not gzip though it says so.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise UnsupportedContentError(f"the content encoding is {encoding!r}: send gzip, or none.")
    unpack = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    size = 0
    async for piece in request.stream():
        data = piece if unpack is None else _unpacked(unpack, piece, limit - size + 1)
        size += len(data)
        if size > limit:
            raise _body_too_large(limit)
        if data:
            yield data
    if unpack is not None and (not unpack.eof or unpack.unused_data):
        raise RequestError("the gzip body is not exactly one whole gzip member: send it as one.")


def _unpacked(unpack: "zlib._Decompress", piece: bytes, room: int) -> bytes:
    try:
        return unpack.decompress(piece, max(room, 1))
    except zlib.error as exc:
        raise RequestError(f"the body is not gzip, though its header says so: {exc}.") from exc


def _body_too_large(limit: int) -> TooLargeError:
    message = f"the body has more than {limit} bytes, unpacked; split it, or raise max_body_mib."
    return TooLargeError("body_too_large", message, limit=limit)


async def read_body(request: Request, limit: int) -> bytes:
    """Return the whole body; raises what `chunks` raises."""
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > limit:
        raise _body_too_large(limit)
    return b"".join([piece async for piece in chunks(request, limit)])


async def read_lines(request: Request, limit: int) -> AsyncIterator[bytes]:
    """Yield the lines of a body of any length; one line has at most `limit` bytes."""
    rest = b""
    async for piece in chunks(request, limit=1 << 62):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
        if len(rest) > limit:
            raise _body_too_large(limit)
    if rest.strip():
        yield rest


def decode_batch(body: bytes) -> Batch:
    """Read a batch.

    Raises:
        RequestError: Not JSON, not of the shape, or a key or id given twice; says where.
    """
    try:
        batch = _batch_decoder.decode(body)
    except (msgspec.ValidationError, RecursionError):
        # Chat messages, or a fault: the wider shape tells which.
        mixed: _MixedBatch = _decode(_mixed_decoder, body)
        batch = Batch(mixed.verifier, items_of(mixed.items), mixed.on_failure)
        keys = -1
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise _unreadable(exc, "the body", None) from exc
    else:
        keys = _count_keys(batch.items)
    if body.count(b":") != keys + batch.verifier.count(":"):
        _refuse_double_keys(body, keys)
    _refuse_double_ids(batch.items)
    return batch


def decode_head(line: bytes) -> StreamHead:
    """Read the first line of a stream; raises `RequestError`."""
    head: StreamHead = _decode(_head_decoder, line, where="line 1")
    return head


def decode_line(line: bytes, index: int) -> ItemBody:
    """Read one item of a stream; raises `RequestError`."""
    item: ItemBody = _decode(_item_decoder, line, where=f"item {index}", item=index)
    _refuse_double_keys(line, _count_item_keys(item))
    return item


def id_of(body: ItemBody) -> str | int | None:
    """Return the caller's id of an item."""
    return None if body.id is msgspec.UNSET else body.id


def items_of(bodies: Sequence[ItemBody], *, first: int = 0) -> list[Item]:
    """Return the items that the bodies mean.

    Raises:
        RequestError: Chat messages without one of the assistant.
    """
    return [_item(body, index) for index, body in enumerate(bodies, start=first)]


def _item(body: ItemBody, index: int) -> Item:
    response = body.response
    if not isinstance(response, str):
        text = last_assistant_text(response)
        if text is None:
            message = f"item {index}: `response` has no assistant message with text, which is what is scored."
            raise RequestError(message, item=index, field="response")
        response = text
    params = {} if body.params is msgspec.UNSET else body.params
    prompt = None if body.prompt is msgspec.UNSET else body.prompt
    return Item(response, body.reference, params, prompt, id_of(body))


def _decode(
    decoder: msgspec.json.Decoder[Any], data: bytes, where: str = "the body", item: int | None = None
) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise _unreadable(exc, where, item) from exc


def _unreadable(exc: Exception, where: str, item: int | None) -> RequestError:
    if isinstance(exc, RecursionError):
        return RequestError(f"{where} is nested too deeply: at most some hundred levels.", item=item)
    if isinstance(exc, UnicodeDecodeError):
        return RequestError(f"{where} is not UTF-8: {exc.reason} at byte {exc.start}.", item=item)
    return _located(str(exc), where, item)


def _located(text: str, where: str, item: int | None) -> RequestError:
    """Turn a decoder's message into one that names item and field."""
    place = _PLACE.search(text)
    if place is None:
        if "truncated" in text:
            text += " (or it holds half of a surrogate pair, which is no character)"
        return RequestError(f"{where} cannot be read: {text}.", item=item)
    path = place["path"]
    found = _ITEM.match(path)
    if found:
        item, path = int(found[1]), path[found.end() :]
        where = f"item {item}"
    named = f", field `{path[1:]}`" if path.startswith(".") else ""
    field = path[1:] if path.startswith(".") else None
    return RequestError(f"{where}{named}: {text[: place.start()]}.", item=item, field=field)


# A JSON object may hold a key twice, and decoders keep the last one: two readers of one request could
# see different items. Counting the keys is cheap: a key takes a colon outside of any text, and inside a
# JSON text an unescaped quote before a colon ends a key, always. Where a text holds such signs too, or
# a key is given that says nothing ("id": null), the counts differ and the body is read again, slowly.


def _refuse_double_keys(body: bytes, expected: int) -> None:
    if body.count(b'":') - body.count(b'\\":') == expected:
        return
    try:
        json.loads(body, object_pairs_hook=_unique)
    except RecursionError as exc:
        raise RequestError("the body is nested too deeply: at most some hundred levels.") from exc


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        double = next(key for key in found if sum(key == other for other, _ in pairs) > 1)
        shown = double[:80]
        raise RequestError(f"the key {shown!r} is given twice in one object: give it once.", field=shown)
    return found


def _count_keys(items: Sequence[Item]) -> int:
    """Return how many keys a batch has that gives `verifier` and `items` and no key without a say."""
    count = 2 + 2 * len(items)
    count += sum(1 for item in items if item.id is not None) + sum(
        1 for item in items if item.prompt is not None
    )
    count += sum(1 + _nested_keys(item.params) for item in items if item.params)
    return count + sum(_nested_keys(item.reference) for item in items if type(item.reference) is not str)


def _count_item_keys(item: ItemBody) -> int:
    count = 2
    if item.params is not msgspec.UNSET:
        count += 1 + _nested_keys(item.params)
    count += (item.prompt is not msgspec.UNSET) + (item.id is not msgspec.UNSET)
    if not isinstance(item.response, str):
        count += _nested_keys(item.response)
    if not isinstance(item.reference, str):
        count += _nested_keys(item.reference)
    return count


def _nested_keys(value: Any) -> int:
    """Return how many keys the objects in a JSON value have."""
    count, waiting = 0, [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            count += len(value)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return count


def _refuse_double_ids(items: Sequence[Item]) -> None:
    ids = [item.id for item in items if item.id is not None]
    if len(set(ids)) == len(ids):
        return
    seen: dict[str | int, int] = {}
    for index, item in enumerate(items):
        if item.id is None:
            continue
        if item.id in seen:
            raise RequestError(
                f"items {seen[item.id]} and {index} have the same id {str(item.id)[:80]!r}: ids are unique "
                "in a request, or left out (verdicts come in the order of the items).",
                item=index,
                field="id",
            )
        seen[item.id] = index
