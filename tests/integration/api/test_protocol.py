"""What clients do with HTTP itself: offers of other protocols, requests side by side, bytes that are no request.

Each connection is a plain socket, since client libraries send only what they think is right.
"""

import contextlib
import json
import signal
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.integration.api.conftest import StartService
from tests.integration.api.parts import JSON, NDJSON, SUBJECT, Caller, item, log_of

BODY = json.dumps({"verifier": SUBJECT, "items": [item("right")]}).encode()
HEAD = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
WEBSOCKET = b"Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
CLOSE = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def answers_to(
    caller: Caller, *pieces: bytes, half_closed: bool = False
) -> list[tuple[bytes, dict[str, Any]]]:
    """Return the heads and bodies that come until the service closes the connection."""
    with socket.create_connection(("127.0.0.1", caller.service.port), timeout=60) as connection:
        for piece in pieces:
            connection.sendall(piece)
        if half_closed:
            connection.shutdown(socket.SHUT_WR)
        rest = b"".join(iter(lambda: connection.recv(65536), b""))
    found = []
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        found.append((head, json.loads(rest[:length])))
        rest = rest[length:]
    return found


@pytest.mark.parametrize("asked", [1, 3])
def test_who_ends_its_side_after_its_request_is_answered(caller: Caller, asked: int) -> None:
    """The verdicts take far longer than the end of the connection takes to come."""
    requests = []
    for number in range(asked):
        items = [item(f"work 20 half closed {asked} {number} {n}") for n in range(20)]
        body = json.dumps({"verifier": SUBJECT, "items": items}).encode()
        requests.append(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    answers = answers_to(caller, b"".join(requests), half_closed=True)
    assert [head.partition(b"\r\n")[0] for head, _ in answers] == [b"HTTP/1.1 200 OK"] * asked
    assert all(len(answer["verdicts"]) == 20 for _, answer in answers)
    assert b"connection: close" in answers[-1][0].lower()


def test_a_stream_of_who_ends_its_side_is_answered_whole(caller: Caller) -> None:
    lines = [{"verifier": SUBJECT}, *(item(f"work 20 half closed stream {n}") for n in range(20))]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    head = HEAD.replace(b"/score", b"/score/stream").replace(JSON.encode(), NDJSON.encode())
    with socket.create_connection(("127.0.0.1", caller.service.port), timeout=60) as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.count(b'"index":') == 20
    assert b'{"summary":' in answer


@pytest.mark.parametrize("more", [b"", b"Connection: keep-alive\r\n", b"Expect: 100-continue\r\n"])
def test_a_client_of_http_1_0_reads_a_stream_to_the_end_of_the_connection(
    caller: Caller, more: bytes
) -> None:
    """It knows neither chunks nor interim answers."""
    lines = [{"verifier": SUBJECT}, *(item(f"of 1.0 {n}") for n in range(300))]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    head = f"POST /v1/score/stream HTTP/1.0\r\nContent-Type: {NDJSON}\r\n".encode() + more
    with socket.create_connection(("127.0.0.1", caller.service.port), timeout=60) as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    told, _, verdicts = answer.partition(b"\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"transfer-encoding" not in told
    assert b"connection: close" in told
    read = [json.loads(line) for line in verdicts.splitlines()]
    assert sorted(line["index"] for line in read[:-1]) == list(range(300))
    assert read[-1]["summary"]["items"] == 300


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/v1/verifiers", f"/v1/verifiers/{SUBJECT}", "/metrics"]
)
def test_head_is_answered_as_get_without_the_body(caller: Caller, path: str) -> None:
    told, got = caller.http.head(path), caller.http.get(path)
    assert (told.status_code, told.content) == (200, b"")
    assert told.headers["Content-Type"] == got.headers["Content-Type"]
    assert int(told.headers["Content-Length"]) > 0


def test_a_path_that_cannot_be_read_says_so_to_head_too(caller: Caller) -> None:
    refused = caller.http.head("/v1/score")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "POST")
    assert caller.http.post("/livez").headers["Allow"] == "GET, HEAD"
    assert caller.http.head("/nothing").status_code == 404


def test_a_client_that_vanishes_beneath_its_answers_is_no_bug(
    start_service: StartService, tmp_path: Path
) -> None:
    """More than the socket takes is on its way, and more waits, when the connection is reset."""
    service = start_service(tmp_path / "data")
    with Caller(service) as caller:
        items = [item(f"{n}") for n in range(4096)]
        caller.verdicts(items)
        body = json.dumps({"verifier": SUBJECT, "items": items}).encode()
        request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
        for _ in range(20):
            with socket.socket() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.connect(("127.0.0.1", service.port))
                connection.settimeout(0.5)
                with contextlib.suppress(TimeoutError):
                    for _ in range(40):
                        connection.sendall(request)
        caller.verdicts([item("right")])
    assert service.stop() in (0, -signal.SIGTERM)
    assert "Traceback" not in log_of(service)


def test_a_request_that_ends_in_the_middle_is_not_waited_for(caller: Caller) -> None:
    request = HEAD + LENGTH + BODY
    for cut in (len(HEAD) - 10, len(request) - 1):
        assert answers_to(caller, request[:cut], half_closed=True) == []


@pytest.mark.parametrize("offer", [H2C, WEBSOCKET], ids=["HTTP/2", "a WebSocket"])
@pytest.mark.parametrize("body", [LENGTH + BODY, CHUNKED], ids=["length", "chunks"])
def test_an_offer_of_another_protocol_is_declined_and_the_request_answered(
    caller: Caller, offer: bytes, body: bytes
) -> None:
    request = HEAD + offer + body
    for pieces in ([request + CLOSE], [bytes([byte]) for byte in request + CLOSE]):
        (head, answer), _ = answers_to(caller, *pieces)
        assert head.startswith(b"HTTP/1.1 200 ")
        assert answer["verdicts"][0]["score"] == 1.0


def test_requests_with_offers_side_by_side_are_all_answered_in_order(caller: Caller) -> None:
    probe = b"GET /livez HTTP/1.1\r\nHost: x\r\n" + WEBSOCKET + b"\r\n"
    answers = answers_to(caller, (HEAD + H2C + LENGTH + BODY + probe) * 50 + CLOSE)
    bodies = [body for _, body in answers]
    assert [next(iter(body)) for body in bodies] == ["verifier", "status"] * 50 + ["status"]


@pytest.mark.parametrize(
    "request_",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/7.0\r\n\r\n",
        b"GET http://x HTTP/1.1\r\n\r\n",
        b"CONNECT /v1/score HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n{} ",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["noise", "a version", "a path", "a proxy's method", "HTTP/2 at once", "two lengths", "a chunk"],
)
def test_what_is_no_request_is_refused_in_the_shape_of_every_error(caller: Caller, request_: bytes) -> None:
    ((head, problem),) = answers_to(caller, request_)
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert (problem["status"], problem["code"]) == (400, "invalid_http")
    assert problem["detail"].startswith("this is no request of HTTP/1.1: ")


def test_what_is_no_request_is_never_answered_in_the_place_of_one_that_was(caller: Caller) -> None:
    """A client would take the refusal for the answer to its request."""
    assert answers_to(caller, HEAD + LENGTH + BODY + b"GARBAGE\r\n\r\n") == []
    answer = caller.http.post("/v1/score", content=BODY, headers={"Content-Type": JSON})
    assert answer.status_code == 200
