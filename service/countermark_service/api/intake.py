"""Bytes in, within bounds: content type, packing, size and lines of a request body.

Nothing here trusts what a header announces. A packed body is unpacked in small
pieces, so a few kilobytes that stand for gigabytes cost the memory of one piece;
a line that arrives in a thousand pieces is put together once.
"""

import zlib
from collections.abc import AsyncIterator, Iterator

from fastapi import Request

from countermark_service.api.errors import UnsupportedContentError
from countermark_service.errors import RequestError, TooLargeError

JSON_TYPES = ("application/json",)
LINE_TYPES = (
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/json-lines",
)
"""What is accepted; the first is what a refusal tells to send."""

_GZIP = 31
"""What zlib calls a gzip header with the largest window."""
_UNPACKED_BYTES = 256 << 10
_NO_LIMIT = 1 << 62


def require_type(request: Request, wanted: tuple[str, ...]) -> None:
    """Refuse a body that is not declared as one of `wanted`.

    Browsers send forms and plain text anywhere without asking; JSON they do not, so
    this also keeps a web page from scoring through its reader's machine.

    Raises:
        UnsupportedContentError: Another content type, or none.
    """
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found not in wanted:
        raise UnsupportedContentError(
            f"the content type is {found[:80] or 'missing'!r}: send `Content-Type: {wanted[0]}`."
        )


async def read_body(request: Request, limit: int) -> bytes:
    """Return the whole body; raises what `chunks` raises."""
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > limit:
        raise _body_too_large(limit)
    return b"".join([piece async for piece in chunks(request, limit)])


async def read_lines(request: Request, limit: int) -> AsyncIterator[bytes]:
    """Yield the lines of a body of any length that are not blank; one line has at most `limit` bytes."""
    begun: list[bytes] = []
    size = 0
    async for piece in chunks(request, _NO_LIMIT):
        *ended, rest = piece.split(b"\n")
        for end in ended:
            if size + len(end) > limit:
                raise _body_too_large(limit)
            line = b"".join([*begun, end])
            begun.clear()
            size = 0
            if line.strip():
                yield line
        begun.append(rest)
        size += len(rest)
        if size > limit:
            raise _body_too_large(limit)
    last = b"".join(begun)
    if last.strip():
        yield last


async def chunks(request: Request, limit: int) -> AsyncIterator[bytes]:
    """Yield the body, unpacked where it is gzip, in pieces.

    Raises:
        TooLargeError: It has more than `limit` bytes, packed or unpacked.
        UnsupportedContentError: An encoding other than gzip.
        RequestError: It is not gzip though it says so.
    """
    encoding = ", ".join(request.headers.getlist("content-encoding")).strip().lower() or "identity"
    if encoding not in ("identity", "gzip"):
        raise UnsupportedContentError(f"the content encoding is {encoding[:80]!r}: send gzip, or none.")
    unpack = zlib.decompressobj(_GZIP) if encoding == "gzip" else None
    size = 0
    async for packed in request.stream():
        for piece in [packed] if unpack is None else _unpacked(unpack, packed):
            size += len(piece)
            if size > limit:
                raise _body_too_large(limit)
            if piece:
                yield piece
    if unpack is not None and not unpack.eof:
        raise RequestError("the gzip body ends in the middle: send it whole.")


def _unpacked(unpack: "zlib._Decompress", packed: bytes) -> Iterator[bytes]:
    """Yield what `packed` stands for, `_UNPACKED_BYTES` at a time."""
    if unpack.eof and packed:
        raise _second_member()
    while True:
        try:
            piece = unpack.decompress(packed, _UNPACKED_BYTES)
        except zlib.error as exc:
            raise RequestError(f"the body is not gzip, though its header says so: {exc}.") from exc
        yield piece
        packed = unpack.unconsumed_tail
        if not packed and len(piece) < _UNPACKED_BYTES:
            break
    if unpack.unused_data:
        raise _second_member()


def _second_member() -> RequestError:
    return RequestError("the gzip body goes on after its first member: send it as exactly one.")


def _body_too_large(limit: int) -> TooLargeError:
    message = f"the body, or a line of a stream, is over {limit} bytes; split it, or raise max_body_mib."
    return TooLargeError("body_too_large", message, limit=limit)
