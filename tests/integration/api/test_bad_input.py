"""What cannot be scored is refused before anything is, with a status, a code, a place and a sentence.

Every answer here is held to the one shape of an error. Nothing that a client can send
is answered with 500, with a traceback, or by a service that has died of it.
"""

import contextlib
import gzip
import json
import random
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.api.parts import JSON, NDJSON, SUBJECT, Caller, item, log_of, wait_until

ITEM = item("right")
TITLES = {400, 404, 405, 409, 413, 415, 422, 424}


def batch(*items: Any, verifier: Any = SUBJECT, **more: Any) -> bytes:
    return json.dumps({"verifier": verifier, "items": list(items) or [ITEM], **more}).encode()


def with_reference(reference: bytes) -> bytes:
    return batch().replace(b'"right", "reference": "right"', b'"right", "reference": ' + reference)


def problem_of(answer: httpx.Response) -> dict[str, Any]:
    """Return the body of an error answer, which must have the one shape."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.status_code in TITLES
    body: dict[str, Any] = answer.json()
    assert list(body)[:5] == ["type", "title", "status", "detail", "code"]
    assert body["type"] == f"urn:countermark:error:{body['code']}"
    assert body["status"] == answer.status_code
    assert body["title"]
    assert body["detail"]
    assert len(answer.content) < 4096
    assert "Traceback" not in answer.text
    assert ".py" not in answer.text
    return body


REFUSED: dict[str, tuple[bytes, int, str, dict[str, Any]]] = {
    # name: the body, then the status, the code, and values that the answer must have
    "no version": (batch(verifier="subject"), 400, "version_required", {"versions": ["1.0.0"]}),
    "no reference": (batch(verifier="Subject:1"), 400, "invalid_ref", {"ref": "Subject:1"}),
    "an empty reference": (batch(verifier=""), 400, "invalid_ref", {}),
    "a path": (batch(verifier="../subject:1.0.0"), 400, "invalid_ref", {}),
    "a very long reference": (batch(verifier="x" * 1_000_000), 400, "invalid_ref", {}),
    "an unknown name": (batch(verifier="nobody:1.0.0"), 404, "unknown_verifier", {"versions": []}),
    "an unknown version": (batch(verifier="subject:9"), 404, "unknown_verifier", {"versions": ["1.0.0"]}),
    "an unknown pin": (batch(verifier=f"subject:9@sha256:{'0' * 64}"), 404, "unknown_verifier", {}),
    "nothing": (b"", 422, "invalid_request", {}),
    "no JSON": (b"{verifier: subject}", 422, "invalid_request", {}),
    "JSON that is cut off": (batch()[:-3], 422, "invalid_request", {}),
    "two bodies": (batch() + batch(), 422, "invalid_request", {}),
    "no object": (b"[]", 422, "invalid_request", {}),
    "no verifier": (b'{"items": []}', 422, "invalid_request", {}),
    "no items": (b'{"verifier": "subject:1.0.0"}', 422, "invalid_request", {}),
    "items that are none": (batch(ITEM, 7), 422, "invalid_request", {"item": 1}),
    "no response": (batch(ITEM, {"reference": "x"}), 422, "invalid_request", {"item": 1}),
    "no reference in an item": (batch(ITEM, {"response": "x"}), 422, "invalid_request", {"item": 1}),
    "an unknown field": (batch(ITEM, item("x", referense=1)), 422, "invalid_request", {"item": 1}),
    "an unknown field of the batch": (batch(ITEM, item="x"), 422, "invalid_request", {}),
    "a response of no type": (
        batch(ITEM, {**ITEM, "response": 1}), 422, "invalid_request", {"item": 1, "field": "response"},
    ),
    "a prompt of no type": (batch(item("x", prompt=1)), 422, "invalid_request", {"field": "prompt"}),
    "params of no type": (batch(item("x", params=1)), 422, "invalid_request", {"item": 0, "field": "params"}),
    "an id of no type": (batch(item("x", id=1.5)), 422, "invalid_request", {"item": 0, "field": "id"}),
    "an unknown choice": (batch(on_failure="one"), 422, "invalid_request", {"field": "on_failure"}),
    "an unknown parameter": (
        batch(ITEM, item("x", params={"tolerence": 1})),
        422, "invalid_request", {"item": 1, "field": "params"},
    ),
    "a parameter of no type": (
        batch(item("x", params={"tolerance": "1"})), 422, "invalid_request", {"field": "params.tolerance"},
    ),
    "a parameter out of range": (
        batch(item("x", params={"tolerance": -1})), 422, "invalid_request", {"field": "params.tolerance"},
    ),
    "a parameter that is nested deeply": (
        batch(item("x", params={"tolerance": "DEEP"})).replace(b'"DEEP"', b"[" * 190 + b"]" * 190),
        422, "invalid_request", {"field": "params.tolerance"},
    ),
    "a chat without an assistant": (
        batch(ITEM, {**ITEM, "response": [{"role": "user", "content": "x"}]}),
        422, "invalid_request", {"item": 1, "field": "response"},
    ),
    "NaN": (with_reference(b"NaN"), 422, "invalid_request", {}),
    "Infinity": (with_reference(b"-Infinity"), 422, "invalid_request", {}),
    "a number out of range": (with_reference(b"1e999"), 422, "invalid_request", {"item": 0}),
    "5000 digits": (with_reference(b"9" * 5000), 422, "invalid_request", {"item": 0, "field": "reference"}),
    "a million digits": (with_reference(b"9" * 1_000_000), 422, "invalid_request", {"item": 0}),
    "half a surrogate pair": (with_reference(rb'"\ud800"'), 422, "invalid_request", {}),
    "the other half": (with_reference(rb'"\udc00"'), 422, "invalid_request", {}),
    "a surrogate as UTF-8": (with_reference(b'"\xed\xa0\x80"'), 422, "invalid_request", {}),
    "no UTF-8": (with_reference(b'"\xff"'), 422, "invalid_request", {}),
    "UTF-16": (batch().decode().encode("utf-16"), 422, "invalid_request", {}),
    "a byte order mark": (b"\xef\xbb\xbf" + batch(), 422, "invalid_request", {}),
    "a raw control character": (with_reference(b'"\x01"'), 422, "invalid_request", {}),
    "a list 201 levels deep": (with_reference(b"[" * 201 + b"]" * 201), 422, "invalid_request", {"item": 0}),
    "a list 99,999 levels deep": (with_reference(b"[" * 99_999 + b"]" * 99_999), 422, "invalid_request", {}),
    "objects 100,000 levels deep": (with_reference(b'{"a":' * 100_000), 422, "invalid_request", {}),
    "a double key of the batch": (
        batch().replace(b"{", b'{"verifier": "exact:1.0.0", ', 1),
        422, "invalid_request", {"field": "verifier"},
    ),
    "a double key of an item": (
        batch().replace(b'"reference"', b'"reference": "wrong", "reference"'),
        422, "invalid_request", {"field": "reference"},
    ),
    "a double key deep inside": (
        with_reference(b'[{"k": {"k": 1, "j": 2, "k": 3}}]'), 422, "invalid_request", {"field": "k"},
    ),
    "a double key of the parameters": (
        batch(item("x", params={"tolerance": 1})).replace(b'"tolerance"', b'"tolerance": 2, "tolerance"'),
        422, "invalid_request", {"field": "tolerance"},
    ),
    "a double id": (batch(*[item("x", id="a")] * 2), 422, "invalid_request", {"item": 1, "field": "id"}),
    "4097 items": (batch(*[ITEM] * 4097), 413, "too_many_items", {"limit": 4096}),
    "a response of 10 MB": (
        batch(ITEM, item("x" * 10_000_000)), 413, "response_too_large", {"item": 1, "limit": 1 << 20},
    ),
    "a response that is too large in bytes only": (
        batch(item("é" * 2**19 + "x")), 413, "response_too_large", {"item": 0},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_batch_that_cannot_be_scored_is_refused(caller: Caller, name: str) -> None:
    body, status, code, values = REFUSED[name]
    problem = problem_of(caller.post(body))
    assert (problem["status"], problem["code"]) == (status, code)
    assert {key: problem.get(key) for key in values} == values
    if "item" in values:
        assert problem["detail"].startswith(f"item {values['item']}") or "items" in problem["detail"]


def test_nothing_of_a_refused_batch_is_judged(caller: Caller) -> None:
    good = [item(f"never judged {n}") for n in range(3)]
    for spoiled in ([*good, 7], [*good, item("x", params={"no": 1})], [*good, item("x" * 2**20 + "x")]):
        assert caller.score(spoiled).status_code in (413, 422)
    assert [one["cached"] for one in caller.verdicts(good)] == [False] * 3


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/v1/score", {"Content-Type": "text/plain"}, 415, "unsupported_content_type"),
        ("/v1/score", {"Content-Type": ""}, 415, "unsupported_content_type"),
        ("/v1/score", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_content_type"),
        ("/v1/score", {"Content-Type": NDJSON}, 415, "unsupported_content_type"),
        ("/v1/score/stream", {"Content-Type": JSON}, 415, "unsupported_content_type"),
        ("/v1/score", {"Content-Encoding": "br"}, 415, "unsupported_content_type"),
        ("/v1/score", {"Content-Encoding": "deflate"}, 415, "unsupported_content_type"),
        ("/v1/score", {"Content-Encoding": "gzip"}, 422, "invalid_request"),
        ("/v1/nothing", {}, 404, "not_found"),
        ("/", {}, 404, "not_found"),
        ("/v1/verifiers", {}, 405, "method_not_allowed"),
        ("/livez", {}, 405, "method_not_allowed"),
    ],
)
def test_a_request_of_another_kind_is_refused_in_the_same_shape(
    caller: Caller, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = caller.post(batch(), path=path, **headers)
    problem = problem_of(answer)
    assert (problem["status"], problem["code"]) == (status, code)
    if status == 405:
        assert answer.headers["Allow"] == "GET, HEAD"
        assert problem["detail"] == f"POST {path}: this path takes GET."
    if status == 404:
        assert "GET /openapi.json" in problem["detail"]


def test_an_encoding_on_a_second_line_counts_as_on_the_first(caller: Caller) -> None:
    lines = [("Content-Type", JSON), ("Content-Encoding", "gzip"), ("Content-Encoding", "br")]
    answer = caller.http.post("/v1/score", content=gzip.compress(batch()), headers=lines)
    problem = problem_of(answer)
    assert (problem["status"], problem["code"]) == (415, "unsupported_content_type")
    assert "'gzip, br'" in problem["detail"]


def test_all_methods_of_a_path_are_told_to_who_uses_another(caller: Caller) -> None:
    answer = caller.http.request("DELETE", "/v1/releases")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, POST")
    assert answer.json()["detail"] == "DELETE /v1/releases: this path takes GET and POST."


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_scoring_is_a_post(caller: Caller, method: str) -> None:
    answer = caller.http.request(method, "/v1/score")
    assert problem_of(answer)["code"] == "method_not_allowed"
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    "spoil",
    [lambda data: data[:-1], lambda data: data + data, lambda data: data[:20] + b"\0" * 8 + data[28:]],
)
def test_a_spoiled_gzip_is_refused(caller: Caller, spoil: Any) -> None:
    answer = caller.post(spoil(gzip.compress(batch())), Content_Encoding="gzip")
    assert problem_of(answer)["code"] == "invalid_request"


def test_long_numbers_and_keys_that_look_double_are_no_fault(caller: Caller) -> None:
    for reference in (b"9" * 30, b"-" + b"9" * 4000, b'{"a": {"a": "a"}, "\\\\": ":", "b:": "\\":"}'):
        assert caller.post(with_reference(reference)).status_code == 200


def test_a_reference_of_10_mb_is_scored_or_refused_but_harms_nobody(caller: Caller) -> None:
    text = "x" * 10_000_000
    verdicts = caller.verdicts([ITEM, item("x", text), ITEM])
    assert [one["score"] for one in verdicts] == [1.0, 0.0, 1.0]


def test_bodies_of_random_bytes_are_refused(caller: Caller) -> None:
    chance = random.Random(20)
    for size in (1, 10, 1000, 100_000):
        problem_of(caller.post(chance.randbytes(size)))
        problem_of(caller.post(chance.randbytes(size), path="/v1/score/stream", Content_Type=NDJSON))


def test_batches_with_a_byte_changed_are_answered_or_refused_and_never_break_anything(caller: Caller) -> None:
    chance = random.Random(21)
    whole = batch(item("right", {"k": [1, "\u00e9"]}, params={"tolerance": 0.5}, id="a", prompt="p"))
    for _ in range(300):
        spoiled = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
        answer = caller.post(bytes(spoiled))
        if answer.status_code != 200:
            problem_of(answer)


def pieces(body: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def test_a_body_in_pieces_is_one_body(caller: Caller) -> None:
    answer = caller.http.post("/v1/score", content=pieces(batch(), 3), headers={"Content-Type": JSON})
    assert answer.json()["verdicts"][0]["score"] == 1.0


@pytest.mark.parametrize("path", ["/v1/score", "/v1/score/stream"])
def test_a_client_that_goes_away_before_its_request_is_whole_is_no_error_of_the_service(
    caller: Caller, path: str
) -> None:
    kind = NDJSON if path.endswith("stream") else JSON
    ended = log_of(caller.service).count(f"route={path} ")
    with socket.create_connection(("127.0.0.1", caller.service.port)) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: 100000\r\n\r\n"
        connection.sendall(head.encode() + batch())
    wait_until(lambda: log_of(caller.service).count(f"route={path} ") > ended, "the request has ended")


HEAD = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("begun", "more"),
    [
        (HEAD, b"X-More: a\r\n" * 1000),
        (HEAD + b"X: ", b"a" * 10_000),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: ", b"a" * 10_000),
        (b"GET /", b"a" * 10_000),
    ],
    ids=["many headers", "a long header", "a long trailer", "a long path"],
)
def test_headers_without_end_are_refused_and_not_kept(caller: Caller, begun: bytes, more: bytes) -> None:
    """They come before any key is looked at, so anybody could fill the service's memory with them."""
    with socket.create_connection(("127.0.0.1", caller.service.port), timeout=60) as connection:
        connection.sendall(begun)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 50_000_000:
                connection.sendall(more)
                sent += len(more)
        assert sent < 50_000_000
    assert caller.verdicts([ITEM])[0]["score"] == 1.0


def test_headers_that_are_too_large_are_refused_with_a_code(caller: Caller) -> None:
    with socket.create_connection(("127.0.0.1", caller.service.port), timeout=60) as connection:
        connection.sendall(HEAD + b"X: " + b"a" * 70_000)
        head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert b"content-type: application/problem+json" in head
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (431, "headers_too_large")
    assert problem["type"] == "urn:countermark:error:headers_too_large"
    answer = caller.http.post("/v1/score", content=batch(), headers={"Content-Type": JSON, "X": "a" * 30_000})
    assert answer.status_code == 200


def test_after_all_that_the_service_has_met_no_error_that_it_does_not_know(caller: Caller) -> None:
    assert caller.verdicts([ITEM])[0]["score"] == 1.0
    log = log_of(caller.service)
    assert "Traceback" not in log
    assert "unexpected" not in log
