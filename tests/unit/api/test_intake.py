"""Bodies on their way in: bounded whatever they announce, whatever they unpack to, however they are cut."""

import gzip
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import Request

from countermark_service.api.errors import UnsupportedContentError
from countermark_service.api.intake import JSON_TYPES, LINE_TYPES, read_body, read_lines, require_type
from countermark_service.errors import RequestError, TooLargeError

LIMIT = 1000


def sent(pieces: list[bytes], **headers: str) -> tuple[Request, Iterator[bytes]]:
    """Return a request whose body comes in `pieces`, and the iterator of those that nobody has read."""
    left = iter(pieces)

    async def receive() -> dict[str, Any]:
        piece = next(left, None)
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": encoded}, receive), left


async def lines(pieces: list[bytes], **headers: str) -> list[bytes]:
    return [line async for line in read_lines(sent(pieces, **headers)[0], LIMIT)]


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def bomb(unpacked: int) -> list[bytes]:
    """Return a gzip of at least `unpacked` zeros, without a proper end, in pieces of 64 KiB."""
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = pack.compress(b"\0" * (1 << 20)) + pack.flush(zlib.Z_FULL_FLUSH)
    block = pack.compress(b"\0" * (1 << 20)) + pack.flush(zlib.Z_FULL_FLUSH)
    return cut(head + block * (unpacked >> 20), 65536)


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_a_body_is_put_together_from_its_pieces(size: int) -> None:
    data = bytes(range(256)) * 3
    assert await read_body(sent(cut(data, size))[0], LIMIT) == data
    assert (
        await read_body(sent(cut(gzip.compress(data, mtime=0), size), content_encoding="GZip")[0], LIMIT)
        == data
    )


@pytest.mark.parametrize("announced", [str(LIMIT + 1), "9" * 30])
async def test_a_body_that_announces_too_much_is_refused_unread(announced: str) -> None:
    request, left = sent([b"x"], content_length=announced)
    with pytest.raises(TooLargeError) as refusal:
        await read_body(request, LIMIT)
    assert (refusal.value.kind, refusal.value.limit) == ("body_too_large", LIMIT)
    assert list(left) == [b"x"]


@pytest.mark.parametrize("announced", [{}, {"content_length": "1"}, {"content_length": "-1"}])
async def test_a_body_is_counted_whatever_it_announces(announced: dict[str, str]) -> None:
    assert len(await read_body(sent([b"x" * 500] * 2, **announced)[0], LIMIT)) == LIMIT
    request, left = sent([b"x" * 500] * 9, **announced)
    with pytest.raises(TooLargeError):
        await read_body(request, LIMIT)
    assert len(list(left)) == 6


async def test_a_packed_body_is_counted_unpacked() -> None:
    assert (
        len(await read_body(sent([gzip.compress(b"x" * LIMIT, mtime=0)], content_encoding="gzip")[0], LIMIT))
        == LIMIT
    )
    with pytest.raises(TooLargeError):
        await read_body(sent([gzip.compress(b"x" * (LIMIT + 1))], content_encoding="gzip")[0], LIMIT)


async def test_a_gzip_bomb_is_left_at_its_first_piece() -> None:
    for read in (read_body, lambda request, limit: anext(read_lines(request, limit))):
        request, left = sent(bomb(1 << 30), content_encoding="gzip")
        with pytest.raises(TooLargeError):
            await read(request, LIMIT)
        assert len(list(left)) >= 15


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"plain text", "not gzip"),
        (b"", "ends in the middle"),
        (gzip.compress(b"data", mtime=0)[:-1], "ends in the middle"),
        (gzip.compress(b"data", mtime=0)[:-5] + b"\0\0\0\0\0", "not gzip"),
        (gzip.compress(b"data", mtime=0) + b"more", "goes on after"),
        (gzip.compress(b"data", mtime=0) + gzip.compress(b"data", mtime=0), "goes on after"),
        (zlib.compress(b"data"), "not gzip"),
    ],
)
@pytest.mark.parametrize("size", [1, 10_000])
async def test_what_is_not_one_whole_gzip_is_refused(data: bytes, problem: str, size: int) -> None:
    with pytest.raises(RequestError, match=problem):
        await read_body(sent(cut(data, size), content_encoding="gzip")[0], LIMIT)


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "x" * 10_000])
async def test_another_packing_is_refused_unread(encoding: str) -> None:
    request, left = sent([b"x"], content_encoding=encoding)
    with pytest.raises(UnsupportedContentError, match="send gzip, or none") as refusal:
        await read_body(request, LIMIT)
    assert list(left) == [b"x"]
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_lines_do_not_depend_on_how_the_body_is_cut(size: int, encoding: str) -> None:
    data = b'{"a":1}\n\n  \r\n{"b":"\xc3\xa9"}\r\n{"c":3}'
    packed = gzip.compress(data, mtime=0) if encoding == "gzip" else data
    found = await lines(cut(packed, size), content_encoding=encoding)
    assert found == [b'{"a":1}', b'{"b":"\xc3\xa9"}\r', b'{"c":3}']


@pytest.mark.parametrize("data", [b"", b"\n", b"\n \n\t\n"])
async def test_a_body_of_blank_lines_has_no_lines(data: bytes) -> None:
    assert await lines([data]) == []


async def test_a_stream_may_be_of_any_length_and_a_line_of_it_not() -> None:
    assert len(await lines([b"x" * LIMIT + b"\n"] * 50)) == 50
    assert await lines([b"x" * LIMIT]) == [b"x" * LIMIT]
    for pieces in ([b"x" * (LIMIT + 1)], [b"x" * LIMIT, b"x\n"], [b"a\n" + b"x" * (LIMIT + 1) + b"\nb\n"]):
        with pytest.raises(TooLargeError):
            await lines(pieces)


@pytest.mark.parametrize(
    "declared", ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON"]
)
def test_json_is_taken_as_it_is_commonly_declared(declared: str) -> None:
    require_type(sent([], content_type=declared)[0], JSON_TYPES)


def test_a_stream_of_another_type_is_told_the_common_name_of_json_lines() -> None:
    for declared in LINE_TYPES:
        require_type(sent([], content_type=declared)[0], LINE_TYPES)
    with pytest.raises(UnsupportedContentError, match="send `Content-Type: application/x-ndjson`"):
        require_type(sent([], content_type="application/json")[0], LINE_TYPES)


@pytest.mark.parametrize(
    "declared", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"]
)
def test_a_body_that_is_not_declared_as_json_is_refused(declared: str) -> None:
    with pytest.raises(UnsupportedContentError, match="send `Content-Type: application/json`"):
        require_type(sent([], content_type=declared)[0], JSON_TYPES)
