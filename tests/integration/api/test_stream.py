"""A stream over HTTP: verdicts as they finish, all of them, and a last line that says how it ended."""

import gzip
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.api.parts import (
    NDJSON,
    SUBJECT,
    WAIT_SECONDS,
    Caller,
    item,
    peak_memory,
    reset_peak_memory,
    stream_of,
    wait_until,
)

MIB = 1 << 20


def by_index(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the verdicts of a reply in the order of their items, each of which must be there once."""
    verdicts = sorted((line for line in lines if "index" in line), key=lambda line: int(line["index"]))
    assert [one["index"] for one in verdicts] == list(range(len(verdicts)))
    return verdicts


def test_a_stream_is_answered_with_every_verdict_and_a_summary(caller: Caller) -> None:
    items = [item("right", id="a"), item("wrong", id=2), item("raise"), item("silent"), item("right", id="b")]
    lines = caller.stream(stream_of(items))

    assert [next(iter(line)) for line in lines[:-1]] == ["index"] * 5
    verdicts = by_index(lines)
    assert [(one["id"], one["outcome"], one["score"], one["reward"]) for one in verdicts] == [
        ("a", "scored", 1.0, 1.0),
        (2, "scored", 0.0, 0.0),
        (None, "error", None, None),
        (None, "no_answer", 0.0, 0.0),
        ("b", "scored", 1.0, 1.0),
    ]
    (summary,) = lines[-1].values()
    assert list(lines[-1]) == ["summary"]
    assert summary["verifier"]["ref"] == f"{SUBJECT}@{summary['verifier']['digest']}"
    assert (summary["items"], summary["failed"]) == (5, 1)
    assert summary["cached"] == sum(one["cached"] for one in verdicts)


def test_a_stream_and_a_batch_give_the_same_verdicts(caller: Caller) -> None:
    items = [item(f"{n % 7} {'right' if n % 3 else 'wrong'}", id=n) for n in range(500)]
    streamed = by_index(caller.stream(stream_of(items)))
    batched = caller.verdicts(items)
    for one, other in zip(streamed, batched, strict=True):
        assert {**one, "cached": None} == {"index": one["index"], **other, "cached": None}


def test_the_choice_for_failures_stands_in_the_head(caller: Caller) -> None:
    lines = caller.stream(stream_of([item("raise"), item("right")], on_failure="zero"))
    assert [(one["score"], one["reward"]) for one in by_index(lines)] == [(None, 0.0), (1.0, 1.0)]


def test_raise_ends_a_stream_with_the_items_that_failed(caller: Caller) -> None:
    lines = caller.stream(stream_of([item("right"), item("raise", id="bad")], on_failure="raise"))
    problem = lines[-1]["error"]
    assert (problem["code"], problem["status"]) == ("verdict_failed", 424)
    assert [(one["index"], one["id"]) for one in problem["failed"]] == [(1, "bad")]


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n\r\n"])
def test_blank_lines_and_a_missing_last_line_break_do_no_harm(caller: Caller, ending: bytes) -> None:
    head, *rest = stream_of([item("right"), item("wrong")])
    lines = caller.stream([b"\n\n", head, b"\r\n", *rest[:-1], rest[-1].rstrip(b"\n") + ending])
    assert [one["score"] for one in by_index(lines)] == [1.0, 0.0]
    assert lines[-1]["summary"]["items"] == 2


def test_a_head_without_items_is_answered_with_a_summary(caller: Caller) -> None:
    (line,) = caller.stream(stream_of([]))
    assert line["summary"]["items"] == 0


def test_a_packed_stream_is_unpacked(caller: Caller) -> None:
    packed = gzip.compress(b"".join(stream_of([item(f"packed {n}") for n in range(300)])))
    lines = caller.stream([packed[:100], packed[100:]], **{"Content-Encoding": "gzip"})
    assert len(by_index(lines)) == 300


@pytest.mark.parametrize(
    ("lines", "status", "code"),
    [
        ([], 422, "invalid_request"),
        ([b"\n\n"], 422, "invalid_request"),
        ([b"not json\n"], 422, "invalid_request"),
        ([b'{"response": "a", "reference": "b"}\n'], 422, "invalid_request"),
        (list(stream_of([item("right")], verifier="nobody:1")), 404, "unknown_verifier"),
        (list(stream_of([item("right")], verifier="subject")), 400, "version_required"),
        (list(stream_of([item("right")], verifier=f"{SUBJECT}@sha256:{'0' * 64}")), 409, "digest_mismatch"),
    ],
)
def test_a_stream_with_a_bad_head_is_refused_like_a_batch(
    caller: Caller, lines: list[bytes], status: int, code: str
) -> None:
    answer = caller.http.post("/v1/score/stream", content=iter(lines), headers={"Content-Type": NDJSON})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"


FAULTS: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"oops", "invalid_request"),
    "JSON that is cut off": (b'{"response": "x", "refer', "invalid_request"),
    "a field too few": (b'{"response": "x"}', "invalid_request"),
    "a field too many": (b'{"response": "x", "reference": "y", "score": 1}', "invalid_request"),
    "a double key": (b'{"response": "x", "reference": {"k": 1, "k": 1}}', "invalid_request"),
    "no UTF-8": (b'{"response": "\xff", "reference": ""}', "invalid_request"),
    "half a surrogate pair": (rb'{"response": "\ud800", "reference": ""}', "invalid_request"),
    "NaN": (b'{"response": "x", "reference": NaN}', "invalid_request"),
    "5000 digits": (b'{"response": "x", "reference": ' + b"9" * 5000 + b"}", "invalid_request"),
    "a deep list": (b'{"response": "x", "reference": ' + b"[" * 9999 + b"}", "invalid_request"),
    "a parameter that is none": (
        b'{"response": "x", "reference": "y", "params": {"no": 1}}', "invalid_request",
    ),
    "a large response": (b'{"reference": "", "response": "' + b"x" * (MIB + 1) + b'"}', "response_too_large"),
    "another head": (b'{"verifier": "subject:1.0.0"}', "invalid_request"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_line_in_the_middle_is_the_last_line_of_the_reply_and_costs_no_earlier_verdict(
    caller: Caller, name: str
) -> None:
    line, code = FAULTS[name]
    before = [item(f"{n} {'right' if n % 2 else 'wrong'}") for n in range(300)]
    lines = caller.stream(stream_of([*before, line, *before]))

    problem = lines[-1]["error"]
    assert (problem["code"], problem["item"]) == (code, 300)
    assert problem["detail"].startswith("item 300")
    assert [one["score"] for one in by_index(lines)] == [float(n % 2) for n in range(300)]
    assert len(lines) == 301


def test_verdicts_come_while_the_client_is_still_sending(caller: Caller) -> None:
    """Each item is sent only when the verdict of the one before is there."""
    with Wire(caller) as wire:
        wire.send(b"".join(stream_of([])))
        for n in range(3):
            wire.send(json.dumps(item(f"in turn {n}", id=n)).encode() + b"\n")
            assert wire.line()["id"] == n
        wire.end()
        assert wire.line()["summary"]["items"] == 3


def test_a_slow_item_does_not_hold_up_the_verdicts_of_others(caller: Caller) -> None:
    with Wire(caller) as wire:
        wire.send(b"".join(stream_of([item("hang"), *[item(f"beside a slow one {n}") for n in range(50)]])))
        wire.end()
        order = [wire.line().get("index") for _ in range(52)]
    assert order[-2:] == [0, None]
    assert sorted(order[:-2], key=int) == list(range(1, 51))  # type: ignore[arg-type]


def test_20000_items_are_answered_in_memory_for_a_few_thousand(caller: Caller) -> None:
    """50 MB of responses go through; a client that reads nothing before it has sent all is served too."""
    padding = "x" * 2500
    pid = caller.service.process.pid

    def items() -> Iterator[Any]:
        for n in range(20_000):
            yield item(f"{padding} {n} {'right' if n % 2 else 'wrong'}", id=n)

    caller.stream(stream_of([item("one of the kind")]))
    before = reset_peak_memory(pid)
    lines = caller.stream(stream_of(items()))
    grown = peak_memory(pid) - before

    verdicts = by_index(lines)
    assert len(verdicts) == 20_000
    assert [one["id"] for one in verdicts] == list(range(20_000))
    assert lines[-1]["summary"]["items"] == 20_000
    assert lines[-1]["summary"]["failed"] == 0
    assert grown < 40 * MIB


def test_a_client_that_goes_away_in_mid_stream_stops_the_work(caller: Caller) -> None:
    before = caller.metric("countermark_verifier_cpu_seconds_total")
    with Wire(caller) as wire:
        wire.send(b"".join(stream_of([item(f"work 20 abandoned {n}") for n in range(2000)])))
        wire.line()
        assert caller.metric("countermark_queue_depth") > 0
    wait_until(lambda: caller.metric("countermark_queue_depth") == 0, "what nobody waits for is dropped")
    wait_until(lambda: caller.metric("countermark_slots_busy") == 0, "every worker comes to rest")
    used = caller.metric("countermark_verifier_cpu_seconds_total") - before
    assert used < 20, f"{used:.1f} s of the 40 s of CPU were spent"
    assert caller.verdicts([item("right")])[0]["score"] == 1.0


def test_a_client_that_goes_away_when_it_has_sent_all_stops_the_work(caller: Caller) -> None:
    before = caller.metric("countermark_verifier_cpu_seconds_total")
    with Wire(caller) as wire:
        wire.send(b"".join(stream_of([item(f"work 20 left alone {n}") for n in range(2000)])))
        wire.end()
        wire.line()
    wait_until(lambda: caller.metric("countermark_queue_depth") == 0, "what nobody waits for is dropped")
    used = caller.metric("countermark_verifier_cpu_seconds_total") - before
    assert used < 20, f"{used:.1f} s of the 40 s of CPU were spent"


class Wire:
    """A connection that sends a stream in pieces and reads the reply line by line; leaving drops it."""

    def __init__(self, caller: Caller) -> None:
        self._socket = socket.create_connection(("127.0.0.1", caller.service.port), timeout=WAIT_SECONDS)
        self._reply = self._socket.makefile("rb")
        self._lines: Iterator[bytes] = iter(())

    def __enter__(self) -> "Wire":
        head = f"POST /v1/score/stream HTTP/1.1\r\nHost: x\r\nContent-Type: {NDJSON}\r\n"
        self._socket.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._reply.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        self._socket.sendall(b"0\r\n\r\n")

    def line(self) -> dict[str, Any]:
        """Return the next line of the reply."""
        while (line := next(self._lines, None)) is None:
            self._lines = iter(self._chunk().splitlines())
        read: dict[str, Any] = json.loads(line)
        return read

    def _chunk(self) -> bytes:
        size = self._reply.readline().strip()
        while not size or b":" in size or size.startswith(b"HTTP/"):  # the head of the reply, and line ends
            assert size == b"" or not size.startswith(b"HTTP/") or b" 200 " in size
            size = self._reply.readline().strip()
        return self._reply.read(int(size, 16))
