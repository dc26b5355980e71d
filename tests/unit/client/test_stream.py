"""Streams: verdicts as they finish, whatever happens to the connection meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator

import pytest

from countermark import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    IndexedVerdict,
    InvalidInputError,
    InvalidItemError,
    InvalidRequestError,
    ProtocolError,
    UnavailableError,
    UnknownVerifierError,
    VerdictFailedError,
    VerifierMismatchError,
)
from tests.unit.client.conftest import Connect
from tests.unit.client.scripted_server import (
    NAME,
    OTHER_VERIFIER,
    PIN,
    VERIFIER,
    Document,
    Reaction,
    Received,
    ScriptedServer,
    Wire,
    cut_stream,
    drop,
    hang,
    lines,
    problem,
    trickle,
)


def items(count: int) -> Iterator[Document]:
    """Items of which every second one is right."""
    return ({"id": f"i{n}", "response": str(n % 2), "reference": "0"} for n in range(count))


def rewards(came: list[IndexedVerdict]) -> list[float | None]:
    """Return rewards in the order of the input, after a look at the indices."""
    assert sorted(entry.index for entry in came) == list(range(len(came)))
    return [entry.verdict.reward for entry in sorted(came, key=lambda entry: entry.index)]


async def test_verdicts_come_as_they_finish_and_carry_their_index(
    connect: Connect, server: ScriptedServer
) -> None:
    came, summary = await connect(server).stream(NAME, items(4))
    assert [entry.index for entry in came] == [3, 2, 1, 0]
    assert [entry.verdict.id for entry in came] == ["i3", "i2", "i1", "i0"]
    assert rewards(came) == [1.0, 0.0, 1.0, 0.0]
    assert {entry.verdict.pin for entry in came} == {PIN}
    assert summary.verifier.ref == PIN
    assert (summary.stats.items, summary.stats.failed, summary.stats.seconds) == (4, 0, 0.5)


async def test_what_is_streamed_is_pinned_before_the_first_item(
    connect: Connect, server: ScriptedServer
) -> None:
    await connect(server).stream(NAME, items(2))
    resolved, streamed = server.requests
    assert resolved.document == {"verifier": NAME, "on_failure": "null", "items": []}
    assert streamed.lines[0] == {"verifier": PIN, "on_failure": "null"}


async def test_a_long_stream_goes_out_in_parts(connect: Connect, server: ScriptedServer) -> None:
    came, summary = await connect(server, max_items_per_request=3, concurrency=2).stream(NAME, items(20))
    assert rewards(came) == [1.0, 0.0] * 10
    assert sorted(len(request.items) for request in server.streamed) == [2, 3, 3, 3, 3, 3, 3]
    assert server.most_at_once <= 2
    assert (summary.stats.items, summary.stats.seconds) == (20, 3.5)


async def test_a_part_stays_small_whatever_the_client_allows(
    connect: Connect, server: ScriptedServer
) -> None:
    await connect(server).stream(NAME, items(600))
    assert sorted(len(request.items) for request in server.streamed) == [88, 256, 256]


async def test_a_stream_of_nothing_has_a_summary(connect: Connect, server: ScriptedServer) -> None:
    came, summary = await connect(server).stream(NAME, [])
    assert came == []
    assert (summary.verifier.ref, summary.stats.items) == (PIN, 0)


async def test_items_are_pulled_no_further_ahead_than_requests_go_out(server: ScriptedServer) -> None:
    pulled: list[Document] = []

    def source() -> Iterator[Document]:
        for item in items(100):
            pulled.append(item)
            yield item

    with (
        Client(server.url, max_items_per_request=5, concurrency=2) as client,
        client.stream(NAME, source()) as stream,
    ):
        next(stream)
        assert len(pulled) <= 5 * 2 + 1


async def test_the_blocking_client_pulls_items_in_the_callers_thread(server: ScriptedServer) -> None:
    with Client(server.url) as client:

        def source() -> Iterator[Document]:
            for verdict in client.score(
                NAME, list(items(2))
            ).verdicts:  # would wait for itself in the client's
                yield {"response": str(verdict.score), "reference": "1.0"}

        assert rewards(list(client.stream(NAME, source()))) == [1.0, 0.0]


async def test_zero_and_null_are_policies_of_a_stream_too(connect: Connect, server: ScriptedServer) -> None:
    failing = [{"response": "!abstain", "reference": ""}]
    caller = connect(server)
    assert rewards((await caller.stream(NAME, failing))[0]) == [None]
    assert rewards((await caller.stream(NAME, failing, on_failure="zero"))[0]) == [0.0]


async def test_raise_holds_failed_items_back_and_names_them_at_the_end(
    connect: Connect, server: ScriptedServer
) -> None:
    came: list[IndexedVerdict] = []
    mixed = [{"response": response, "reference": "1"} for response in ("1", "!timeout", "0", "!error")]
    with pytest.raises(VerdictFailedError, match=r"2 of 4 items .*item 1: timeout.*item 3: error") as caught:
        await connect(server).stream(NAME, mixed, on_failure="raise", into=came)
    assert [entry.index for entry in came] == [2, 0]
    assert [entry.index for entry in caught.value.failed] == [1, 3]
    assert server.streamed[0].lines[0]["on_failure"] == "null"


async def test_a_stream_in_which_everything_failed_still_reads_all_its_input(
    connect: Connect, server: ScriptedServer
) -> None:
    with pytest.raises(VerdictFailedError, match=r"9 of 9 items .*; and 4 more"):
        await connect(server, max_items_per_request=2, concurrency=1).stream(
            NAME, [{"response": "!error", "reference": ""}] * 9, on_failure="raise"
        )


# Faults -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reaction", "sent_again"),
    [
        (cut_stream(3), [0, 1, 2]),
        (cut_stream(3, last=b'{"index": 2, "outco'), [0, 1, 2]),
        (cut_stream(3, last=b'{"index": 2, "detail": {}'), [0, 1, 2]),
        (cut_stream(0), [0, 1, 2, 3, 4, 5]),
        (drop, [0, 1, 2, 3, 4, 5]),
        (problem(503, "unavailable", "restarting"), [0, 1, 2, 3, 4, 5]),
        (lines(lambda whole: whole[:2]), [0, 1, 2, 3]),
        (lines(lambda whole: [*whole[:2], error_line(503)]), [0, 1, 2, 3]),
    ],
    ids=[
        "cut",
        "cut-in-line",
        "cut-after-brace",
        "cut-at-once",
        "drop",
        "503",
        "no-summary",
        "error-line-503",
    ],
)
async def test_after_a_break_only_the_missing_items_are_sent_again(
    connect: Connect, server: ScriptedServer, reaction: Reaction, sent_again: list[int]
) -> None:
    server.script = [reaction]
    came, summary = await connect(server).stream(NAME, items(6))
    assert rewards(came) == [1.0, 0.0] * 3
    assert [item["id"] for item in server.streamed[1].items] == [f"i{n}" for n in sent_again]
    assert summary.stats.items == 6


async def test_a_stream_that_lost_only_its_summary_is_whole(connect: Connect, server: ScriptedServer) -> None:
    server.script = [cut_stream(4)]
    came, _ = await connect(server).stream(NAME, items(4))
    assert rewards(came) == [1.0, 0.0, 1.0, 0.0]
    assert len(server.streamed) <= 2


def error_line(status: int, **further: object) -> bytes:
    code = {503: "unavailable", 422: "invalid_request"}[status]
    error = {"status": status, "code": code, "detail": "gave up", **further}
    return json.dumps({"error": error}).encode() + b"\n"


async def test_times_beyond_every_number_count_as_not_said(connect: Connect, server: ScriptedServer) -> None:
    late = json.dumps({"summary": {"verifier": VERIFIER, "items": 4, "seconds": 10**400}}).encode() + b"\n"
    server.script = [
        lines(lambda whole: [*whole[:2], error_line(503, retry_after=10**400)]),
        lines(lambda whole: [*whole[:-1], late]),
    ]
    came, summary = await connect(server).stream(NAME, items(4))
    assert rewards(came) == [1.0, 0.0] * 2
    assert (len(server.streamed), summary.stats.seconds) == (2, 0.0)


async def test_an_error_line_ends_the_stream_after_what_arrived(
    connect: Connect, server: ScriptedServer
) -> None:
    server.script = [lines(lambda whole: [*whole[:2], error_line(422)])]
    came: list[IndexedVerdict] = []
    with pytest.raises(InvalidRequestError, match=r"422 invalid_request: gave up.*items 0 to 3"):
        await connect(server).stream(NAME, items(4), into=came)
    assert [entry.index for entry in came] == [3, 2]


async def test_parts_under_way_are_delivered_before_another_ones_error(
    connect: Connect, server: ScriptedServer
) -> None:
    all_under_way = asyncio.Event()
    refusal = problem(422, "invalid_request", "no")

    async def refuse_last(request: Received, wire: Wire) -> None:
        await all_under_way.wait()
        await refusal(request, wire)

    def react(request: Received) -> Reaction:
        if len(server.streamed) == 3:
            all_under_way.set()
        return refuse_last if request.items[0]["id"] == "i2" else lines(list)

    server.react = react
    came: list[IndexedVerdict] = []
    with pytest.raises(InvalidRequestError, match="items 2 to 3"):
        await connect(server, max_items_per_request=2, concurrency=3).stream(NAME, items(6), into=came)
    assert sorted(entry.index for entry in came) == [0, 1, 4, 5]


async def test_a_storm_ends_in_the_last_answer(connect: Connect, server: ScriptedServer) -> None:
    server.react = lambda request: problem(503, "unavailable", "no workers")
    with pytest.raises(UnavailableError, match="after 3 attempts"):
        await connect(server, max_retries=2).stream(NAME, items(2))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda whole: [whole[0], whole[0], *whole[1:]], "two verdicts with the index 3"),
        (lambda whole: [whole[0].replace(b'"index": 3', b'"index": 4'), *whole[1:]], "index 4 of 4 items"),
        (lambda whole: [whole[0].replace(b'"index": 3', b'"index": -1'), *whole[1:]], "index -1 of 4 items"),
        (lambda whole: [whole[0].replace(b'"index": 3, ', b""), *whole[1:]], "index None of 4 items"),
        (lambda whole: [whole[0].replace(b"i3", b"i2"), *whole[1:]], "item 3 carries the id 'i2', not 'i3'"),
        (lambda whole: whole[1:], "ended without verdicts on 1 items"),
        (lambda whole: [*whole, whole[0]], "goes on after its summary"),
        (lambda whole: [b"<html>\n", *whole], "a line of the stream is not JSON: '<html>'"),
        (lambda whole: [b"3\n", *whole], "a line of the stream is a JSON int"),
        (lambda whole: [b'{"error": "oops"}\n'], "the error line of the stream is 'oops'"),
        (lambda whole: [*whole[:-1], b'{"summary": 4}\n'], "the summary of the stream is 4"),
        (
            lambda whole: [whole[0].replace(b'"scored"', b'"sc"'), *whole[1:]],
            "verdict on item 3 cannot be read",
        ),
    ],
)
async def test_lines_that_do_not_fit_the_request_are_refused(
    connect: Connect, server: ScriptedServer, edit: Callable[[list[bytes]], list[bytes]], words: str
) -> None:
    server.script = [lines(edit)]
    with pytest.raises(ProtocolError, match=words):
        await connect(server).stream(NAME, items(4))
    assert len(server.streamed) == 1


async def test_a_summary_by_another_digest_is_refused(connect: Connect, server: ScriptedServer) -> None:
    other = json.dumps({"summary": {"verifier": OTHER_VERIFIER, "items": 4, "seconds": 0.1}}).encode() + b"\n"
    server.script = [lines(lambda whole: [*whole[:-1], other])]
    with pytest.raises(VerifierMismatchError, match=f"asked for {PIN}"):
        await connect(server).stream(NAME, items(4))


async def test_an_unknown_verifier_is_refused_before_anything_is_sent(
    connect: Connect, server: ScriptedServer
) -> None:
    with pytest.raises(UnknownVerifierError):
        await connect(server).stream("nobody:1", items(2))
    assert server.streamed == []


@pytest.mark.parametrize("reaction", [hang, trickle], ids=["hang", "trickle"])
@pytest.mark.parametrize("limit", [{"timeout": 0.2}, {"deadline": 0.2}], ids=["request", "whole"])
async def test_a_stream_that_stalls_is_left_in_time(
    connect: Connect, server: ScriptedServer, reaction: Reaction, limit: dict[str, float]
) -> None:
    server.script = [reaction]
    options = dict(limit)
    deadline = options.pop("deadline", None)
    with pytest.raises(DeadlineExceededError, match=r"within its deadline of 0\.2 s"):
        await connect(server, **options).stream(NAME, items(4), deadline=deadline)


async def test_an_item_that_cannot_be_sent_comes_after_the_verdicts_on_those_before_it(
    connect: Connect, server: ScriptedServer
) -> None:
    def source() -> Iterator[Document]:
        yield from items(5)
        yield {"response": "\ud83d", "reference": ""}

    came: list[IndexedVerdict] = []
    with pytest.raises(
        InvalidItemError, match=r"item 5 cannot be sent: response holds a lone surrogate \(U\+D83D\)"
    ):
        await connect(server, max_items_per_request=3).stream(NAME, source(), into=came)
    assert rewards(came) == [1.0, 0.0, 1.0, 0.0, 1.0]


async def test_an_error_of_the_callers_own_source_passes_through(
    connect: Connect, server: ScriptedServer
) -> None:
    def source() -> Iterator[Document]:
        yield from items(1)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await connect(server).stream(NAME, source())


# Ends ---------------------------------------------------------------------------------------------


async def test_a_summary_is_not_known_before_the_end(server: ScriptedServer) -> None:
    with Client(server.url) as client, client.stream(NAME, items(3)) as stream:
        next(stream)
        with pytest.raises(InvalidInputError, match="the stream has not ended"):
            _ = stream.summary


async def test_a_stream_that_is_left_early_lets_go_of_its_requests(server: ScriptedServer) -> None:
    server.react = lambda request: lines(list) if request.items[0]["id"] == "i0" else hang
    options = {"max_items_per_request": 2, "concurrency": 2}
    with Client(server.url, **options) as client:  # type: ignore[arg-type]
        for _ in client.stream(NAME, items(50)):
            break
        assert rewards(list(client.stream(NAME, items(2)))) == [1.0, 0.0]
    async with AsyncClient(server.url, **options) as other:  # type: ignore[arg-type]
        async with other.stream(NAME, items(50)) as stream:
            async for _ in stream:
                break
        assert (await other.score(NAME, [])).verifier.ref == PIN
    assert {request.items[0]["id"] for request in server.streamed} <= {"i0", "i2"}
