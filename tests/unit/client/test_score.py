"""What a call of `score` sends and returns."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from countermark import InvalidInputError, InvalidItemError, Item, Outcome, ProtocolError, VerdictFailedError
from tests.unit.client.conftest import Connect
from tests.unit.client.scripted_server import (
    DIGEST,
    NAME,
    PIN,
    SURROUNDINGS,
    Document,
    Received,
    ScriptedServer,
    Wire,
    answer,
    edited,
)

ITEMS: list[Document] = [
    {"id": "right", "response": "4", "reference": "4"},
    {"response": "5", "reference": "4"},
    {"id": "slow", "response": "!timeout", "reference": "4"},
]


async def test_a_batch_comes_back_in_order_with_the_pin_that_made_it(
    connect: Connect, server: ScriptedServer
) -> None:
    result = await connect(server).score(NAME, ITEMS)
    assert result.rewards == [1.0, 0.0, None]
    assert [verdict.id for verdict in result.verdicts] == ["right", None, "slow"]
    assert result.verifier.ref == PIN
    assert result.verifier.digest == DIGEST
    assert {verdict.pin for verdict in result.verdicts} == {PIN}
    assert result.verdicts[0].surroundings == SURROUNDINGS
    assert (result.stats.items, result.stats.failed, result.stats.seconds) == (3, 1, 0.5)
    assert result.degraded == ()


async def test_a_failure_is_told_apart_from_a_zero(connect: Connect, server: ScriptedServer) -> None:
    result = await connect(server).score(NAME, ITEMS)
    ((index, failed),) = result.failed
    assert index == 2
    assert failed.outcome is Outcome.TIMEOUT
    assert failed.failed
    assert not result.verdicts[1].failed


async def test_zero_is_a_reward_only_if_it_is_asked_for(connect: Connect, server: ScriptedServer) -> None:
    result = await connect(server).score(NAME, ITEMS, on_failure="zero")
    assert result.rewards == [1.0, 0.0, 0.0]
    assert result.verdicts[2].score is None


async def test_raise_names_the_failed_items_and_keeps_the_others(
    connect: Connect, server: ScriptedServer
) -> None:
    with pytest.raises(
        VerdictFailedError, match=r"1 of 3 .*item 2 \(id 'slow'\): timeout, scripted"
    ) as caught:
        await connect(server).score(NAME, ITEMS, on_failure="raise")
    assert [entry.index for entry in caught.value.failed] == [2]
    assert caught.value.result is not None
    assert caught.value.result.rewards == [1.0, 0.0, None]


async def test_raise_returns_the_result_if_nothing_failed(connect: Connect, server: ScriptedServer) -> None:
    assert (await connect(server).score(NAME, ITEMS[:2], on_failure="raise")).rewards == [1.0, 0.0]


async def test_an_item_value_and_a_dict_say_the_same_on_the_wire(
    connect: Connect, server: ScriptedServer
) -> None:
    caller = connect(server)
    reference = {"a": [1, 2.5, None]}
    whole = {
        "response": "é\u2028",
        "reference": reference,
        "id": "x",
        "prompt": "p",
        "params": {"n": 1},
    }
    await caller.score(NAME, [whole])
    await caller.score(NAME, [Item("é\u2028", reference, id="x", prompt="p", params={"n": 1})])
    first, second = (request.document["items"] for request in server.scored)
    assert first == second == [whole]


async def test_an_item_without_options_sends_none(connect: Connect, server: ScriptedServer) -> None:
    await connect(server).score(NAME, [Item("4", None)])
    assert server.scored[0].document["items"] == [{"response": "4", "reference": None}]


async def test_one_response_is_scored_without_a_list(connect: Connect, server: ScriptedServer) -> None:
    verdict = await connect(server).score_one(NAME, "4", "4", prompt="2 + 2?", params={"n": 1})
    assert verdict.score == 1.0
    assert server.scored[0].document["items"] == [
        {"response": "4", "reference": "4", "prompt": "2 + 2?", "params": {"n": 1}}
    ]


async def test_no_items_are_no_verdicts_by_a_known_verifier(connect: Connect, server: ScriptedServer) -> None:
    result = await connect(server).score(NAME, [])
    assert result.rewards == []
    assert result.verifier.ref == PIN
    assert result.stats.items == 0


async def test_a_large_input_is_split_and_merged_in_order(connect: Connect, server: ScriptedServer) -> None:
    items = [{"id": str(i), "response": str(i % 3), "reference": "0"} for i in range(25)]
    result = await connect(server, max_items_per_request=4).score(NAME, iter(items))
    assert result.rewards == [float(i % 3 == 0) for i in range(25)]
    assert [verdict.id for verdict in result.verdicts] == [str(i) for i in range(25)]
    assert sorted(len(request.items) for request in server.scored) == [1, 4, 4, 4, 4, 4, 4]
    assert (result.stats.items, result.stats.seconds) == (25, 3.5)


async def test_parts_are_bounded_in_bytes_too(connect: Connect, server: ScriptedServer) -> None:
    items = [{"response": "x" * size, "reference": ""} for size in (400, 400, 400, 5000, 10)]
    await connect(server, max_bytes_per_request=1000).score(NAME, items)
    assert sorted([len(item["response"]) for item in request.items] for request in server.scored) == [
        [10],
        [400],
        [400, 400],
        [5000],
    ]


async def test_no_more_requests_are_under_way_than_allowed(connect: Connect, server: ScriptedServer) -> None:
    items = [{"response": "1", "reference": "1"}] * 40
    await connect(server, max_items_per_request=2, concurrency=3).score(NAME, items)
    assert len(server.scored) == 20
    assert server.most_at_once <= 3
    assert server.connections <= 3


async def test_once_a_digest_is_known_the_rest_of_the_call_is_pinned_to_it(
    connect: Connect, server: ScriptedServer
) -> None:
    items = [{"response": "1", "reference": "1"}] * 6
    await connect(server, max_items_per_request=1, concurrency=1).score(NAME, items)
    assert [request.verifier for request in server.scored] == [NAME] + [PIN] * 5


async def test_what_the_service_had_to_do_without_is_passed_on_once(connect: Connect) -> None:
    def degrade(document: Document) -> None:
        document["degraded"] = ["store_unavailable"]

    with ScriptedServer(react=lambda request: edited(degrade)).running() as server:
        items = [{"response": "1", "reference": "1"}] * 3
        result = await connect(server, max_items_per_request=1).score(PIN, items)
    assert result.degraded == ("store_unavailable",)


async def test_no_item_is_sent_if_one_cannot_be(connect: Connect, server: ScriptedServer) -> None:
    items = [{"response": "1", "reference": "1"}] * 5 + [
        {"response": "1", "reference": [1, {"a": float("nan")}]}
    ]
    with pytest.raises(InvalidItemError, match=r"item 5 .*reference\[1\]\.a is nan") as caught:
        await connect(server, max_items_per_request=1).score(NAME, items)
    assert (caught.value.index, caught.value.field) == (5, "reference[1].a")
    assert server.requests == []


async def test_an_id_is_used_once_in_a_call_even_if_it_is_split(
    connect: Connect, server: ScriptedServer
) -> None:
    items = [{"id": "same", "response": "1", "reference": "1"}] * 2
    with pytest.raises(InvalidItemError, match=r"item 1 .*'same' was used"):
        await connect(server, max_items_per_request=1).score(NAME, items)
    assert server.requests == []


@pytest.mark.parametrize(
    ("verifier", "options", "words"),
    [
        ("bad\ud800:1", {}, "verifier holds a lone surrogate"),
        (NAME, {"on_failure": "ignore"}, "on_failure is 'ignore'"),
        (NAME, {"deadline": 0}, "deadline is 0"),
        (NAME, {"deadline": float("nan")}, "deadline is nan"),
        (3, {}, "verifier is a int"),
    ],
)
async def test_arguments_that_cannot_be_meant_are_refused_before_anything_is_sent(
    connect: Connect, server: ScriptedServer, verifier: str, options: dict[str, object], words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words):
        await connect(server).score(verifier, ITEMS, **options)
    assert server.requests == []


async def test_one_item_in_place_of_a_list_is_refused(connect: Connect, server: ScriptedServer) -> None:
    with pytest.raises(InvalidInputError, match="Put it in a list"):
        await connect(server).score(NAME, {"response": "1", "reference": "1"})


async def asynchronous() -> AsyncIterator[dict[str, str]]:
    yield {"response": "1", "reference": "1"}


@pytest.mark.parametrize(("items", "kind"), [(7, "int"), (asynchronous(), "async_generator")])
async def test_what_cannot_be_iterated_over_is_refused(
    connect: Connect, server: ScriptedServer, items: object, kind: str
) -> None:
    with pytest.raises(InvalidInputError, match=f"and {kind} is none"):
        await connect(server).score(NAME, items)
    with pytest.raises(InvalidInputError, match=f"and {kind} is none"):
        await connect(server).stream(NAME, items)
    assert server.requests == []


async def test_a_model_s_content_that_is_none_is_refused_as_a_response(
    connect: Connect, server: ScriptedServer
) -> None:
    with pytest.raises(InvalidItemError, match="response is a NoneType, neither text nor chat messages"):
        await connect(server).score_one(NAME, None, "1")
    assert server.requests == []


async def test_the_key_and_the_client_are_named_in_every_request(
    connect: Connect, server: ScriptedServer
) -> None:
    await connect(server, api_key="s3cret").score(NAME, ITEMS)
    headers = server.scored[0].headers
    assert headers["authorization"] == "Bearer s3cret"
    assert headers["user-agent"].startswith("countermark-python/")
    assert headers["content-type"] == "application/json"


async def test_without_a_key_no_authorization_is_sent(connect: Connect, server: ScriptedServer) -> None:
    await connect(server).score(NAME, ITEMS)
    assert "authorization" not in server.scored[0].headers


async def test_a_prefix_in_the_address_is_kept(connect: Connect, server: ScriptedServer) -> None:
    server.react = lambda request: _under_prefix
    await connect(server.url + "/score-box/").score(NAME, ITEMS)
    assert server.scored[0].path == "/score-box/v1/score"


async def _under_prefix(request: Received, wire: Wire) -> None:
    await answer(replace(request, path="/v1/score"), wire)


async def test_verifiers_are_listed_and_described(connect: Connect, server: ScriptedServer) -> None:
    caller = connect(server)
    (summary,) = await caller.verifiers()
    assert (summary.ref, summary.runtime, summary.summary) == (PIN, "python", "The same text")
    detail = await caller.verifier(NAME)
    assert detail.ref == PIN
    assert detail.parameters == {"type": "object"}
    assert detail.vectors == ({"id": "v"},)
    assert detail.document["license"] == "Apache-2.0"


async def test_an_answer_for_many_items_is_read_whole(connect: Connect, server: ScriptedServer) -> None:
    items = [{"response": "x" * 2000, "reference": "y"} for _ in range(1024)]
    result = await connect(server).score(NAME, items)
    assert result.rewards == [0.0] * 1024
    assert len(server.scored) == 1
    assert json.loads(server.scored[0].body)["on_failure"] == "null"


RECEIPT: Document = {"envelope": {"payload": "", "signatures": []}, "leaves": [{"n": 1}, {"n": 2}, {"n": 3}]}


async def test_a_receipt_is_asked_for_and_comes_with_the_result(
    connect: Connect, server: ScriptedServer
) -> None:
    server.react = lambda request: edited(lambda document: document.update(receipt=RECEIPT))
    call = connect(server)
    (receipt,) = (await call.score(NAME, ITEMS, receipt=True)).receipts
    assert (receipt.document, receipt.start, receipt.items) == (RECEIPT, 0, 3)
    assert server.scored[-1].document["receipt"] is True

    await call.score(NAME, ITEMS)
    assert "receipt" not in server.scored[-1].document


@pytest.mark.parametrize(
    "receipt", [None, [], {}, {"envelope": {}}, {**RECEIPT, "leaves": []}, {**RECEIPT, "envelope": 1}]
)
async def test_an_answer_without_the_receipt_that_was_asked_for_is_none(
    connect: Connect, server: ScriptedServer, receipt: object
) -> None:
    server.react = lambda request: edited(lambda document: document.update(receipt=receipt))
    with pytest.raises(ProtocolError, match="receipt"):
        await connect(server, max_retries=0).score(NAME, ITEMS, receipt=True)
