"""What all adapters share: which verifier judges, what shares a request, what ends a call, what a failure is."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from countermark import (
    ApiError,
    ConnectError,
    CountermarkClientError,
    DeadlineExceededError,
    DigestMismatchError,
    InvalidInputError,
    Outcome,
    TransportError,
    UnknownVerifierError,
    Verdict,
    VerdictFailedError,
    VerifierMismatchError,
)
from countermark.adapters import _channel
from countermark.adapters._scoring import Ask, FailurePolicy, RewardSource, environment_options
from tests.unit.client.scripted_server import (
    NAME,
    OTHER_VERIFIER,
    PIN,
    Reaction,
    Received,
    ScriptedServer,
    answer,
    drop,
    edited,
    hang,
    problem,
    trickle,
)
from tests.unit.client.test_processes import run


@pytest.fixture
def source(server: ScriptedServer) -> Iterator[RewardSource]:
    """A source at the scripted server; failures are null."""
    source = RewardSource(verifier=NAME, base_url=server.url, on_failure="null", deadline=20.0)
    yield source
    source.close()


def changed(source: RewardSource, **changes: Any) -> RewardSource:
    """Return `source` with other settings; it shares the connection."""
    return RewardSource(**{**vars(source), **changes})


def asks(source: RewardSource, count: int) -> list[Ask]:
    """Return asks of which every second one is right."""
    return [source.ask(str(n % 2), "1") for n in range(count)]


# Which verifier -----------------------------------------------------------------------------------


def test_the_most_specific_name_says_which_verifier_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    source = RewardSource(verifier="run:1", by_source={"math": "math:1"})
    assert source.pin(row="row:1", data_source="math") == "row:1"
    assert source.pin(data_source="math") == "math:1"
    assert source.pin(data_source="code") == "run:1"
    assert source.pin(row="", data_source=None) == "run:1"
    monkeypatch.setenv("COUNTERMARK_VERIFIER", "environment:1")
    assert source.pin() == "run:1"
    assert RewardSource().pin() == "environment:1"


def test_without_any_name_the_error_says_where_one_can_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COUNTERMARK_VERIFIER", raising=False)
    with pytest.raises(InvalidInputError, match=r"data source 'code'.*COUNTERMARK_VERIFIER.*'math'"):
        RewardSource(by_source={"math": "math:1"}).ask("1", "1", data_source="code")


@pytest.mark.parametrize("row", [7, ["math-verify:0.9.0-r2"], "   "])
def test_a_row_whose_verifier_is_no_ref_is_refused(row: object) -> None:
    with pytest.raises(InvalidInputError, match="the verifier that the row names"):
        RewardSource(verifier="run:1").pin(row=row)


@pytest.mark.parametrize(
    "settings",
    [
        {"on_failure": "nought"},
        {"on_failure": float("nan")},
        {"on_failure": True},
        {"verifier": 3},
        {"verifier": " "},
        {"by_source": {"math": None}},
        {"by_source": ["math"]},
        {"deadline": 0},
        {"params": "strict"},
        {"reference_format": "yaml"},
    ],
)
def test_a_setting_that_means_nothing_is_refused_before_the_run(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(settings)).replace("by_source", "data source")):
        RewardSource(**settings)


def test_address_and_key_come_from_the_environment_of_the_process_that_calls(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source: RewardSource = pickle.loads(pickle.dumps(RewardSource(verifier=NAME)))
    monkeypatch.setenv("COUNTERMARK_URL", server.url)
    monkeypatch.setenv("COUNTERMARK_API_KEY", "key-of-the-test")
    try:
        assert source.verdict(source.ask("1", "1")).reward == 1.0
    finally:
        source.close()
    assert server.scored[0].headers["authorization"] == "Bearer key-of-the-test"
    assert "key-of-the-test" not in repr(RewardSource(verifier=NAME, api_key="key-of-the-test"))


def test_hooks_without_arguments_read_policy_and_deadline_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert environment_options(on_failure="null") == {"on_failure": "null"}
    monkeypatch.setenv("COUNTERMARK_ON_FAILURE", "-0.5")
    monkeypatch.setenv("COUNTERMARK_DEADLINE", "7")
    assert environment_options(on_failure="null") == {"on_failure": -0.5, "deadline": 7.0}
    monkeypatch.setenv("COUNTERMARK_DEADLINE", "soon")
    with pytest.raises(InvalidInputError, match="COUNTERMARK_DEADLINE is 'soon'"):
        environment_options()


# What shares a request ----------------------------------------------------------------------------


async def test_two_hundred_tasks_share_one_request(server: ScriptedServer, source: RewardSource) -> None:
    source = changed(source, gather_seconds=60.0, gather_items=200)
    verdicts = await asyncio.gather(*(source.verdict_async(ask) for ask in asks(source, 200)))
    source.close()
    assert [verdict.reward for verdict in verdicts] == [0.0, 1.0] * 100
    assert [len(request.items) for request in server.scored] == [200]


def test_threads_share_requests_and_each_gets_its_own_verdict(
    server: ScriptedServer, source: RewardSource
) -> None:
    source = changed(source, gather_seconds=0.2)
    ready = threading.Barrier(32)

    def call(ask: Ask) -> float | None:
        ready.wait()
        return source.verdict(ask).reward

    with ThreadPoolExecutor(32) as threads:
        rewards = list(threads.map(call, asks(source, 32)))
    source.close()
    assert rewards == [0.0, 1.0] * 16
    assert sum(len(request.items) for request in server.scored) == 32
    assert len(server.scored) < 8


async def test_a_full_request_does_not_wait(server: ScriptedServer, source: RewardSource) -> None:
    source = changed(source, gather_seconds=60.0, gather_items=8)
    async with asyncio.timeout(15):
        await asyncio.gather(*(source.verdict_async(ask) for ask in asks(source, 16)))
    source.close()
    assert [len(request.items) for request in server.scored] == [8, 8]


async def test_calls_for_different_verifiers_do_not_share_a_request(
    server: ScriptedServer, source: RewardSource
) -> None:
    mixed = [source.ask("1", "1", row=ref) for ref in (NAME, PIN, NAME, PIN)]
    verdicts = await asyncio.gather(*(source.verdict_async(ask) for ask in mixed))
    assert {verdict.pin for verdict in verdicts} == {PIN}
    assert sorted((request.verifier, len(request.items)) for request in server.scored) == [
        (NAME, 2),
        (PIN, 2),
    ]


@pytest.mark.parametrize("blocking", [True, False])
async def test_a_batch_is_one_request_for_each_verifier_and_keeps_its_order(
    server: ScriptedServer, source: RewardSource, *, blocking: bool
) -> None:
    batch = [source.ask(str(n % 3), "1", row=(NAME, PIN)[n % 2]) for n in range(60)]
    verdicts = source.verdicts(batch) if blocking else await source.verdicts_async(batch)
    assert [verdict.reward for verdict in verdicts] == [float(n % 3 == 1) for n in range(60)]
    assert sorted((request.verifier, len(request.items)) for request in server.scored) == [
        (NAME, 30),
        (PIN, 30),
    ]


def test_an_empty_batch_asks_nobody(server: ScriptedServer, source: RewardSource) -> None:
    assert source.verdicts([]) == []
    assert server.requests == []


def test_blocking_calls_work_inside_a_running_loop(source: RewardSource) -> None:
    async def notebook() -> float | None:
        return source.verdict(source.ask("1", "1")).reward

    assert asyncio.run(notebook()) == 1.0


def test_several_event_loops_one_after_the_other_share_the_connection(
    server: ScriptedServer, source: RewardSource
) -> None:
    for _ in range(3):
        assert asyncio.run(source.verdict_async(source.ask("1", "1"))).reward == 1.0
    assert server.connections == 1


def test_the_digest_that_answered_first_is_asked_for_ever_after(
    server: ScriptedServer, source: RewardSource
) -> None:
    source.verdict(source.ask("1", "1"))
    source.verdicts([source.ask("1", "1")])
    assert [request.verifier for request in server.scored] == [NAME, PIN]


def test_another_digest_later_in_the_run_is_an_error_and_no_reward(
    server: ScriptedServer, source: RewardSource
) -> None:
    source.verdict(source.ask("1", "1"))
    server.script = [edited(lambda document: document.update(verifier=OTHER_VERIFIER))]
    with pytest.raises(VerifierMismatchError):
        source.verdict(source.ask("1", "1"))
    server.script = [problem(409, "digest_mismatch", "the bundle changed")]
    with pytest.raises(DigestMismatchError):
        source.verdict(source.ask("1", "1"))


# What ends a call ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reaction", [hang, trickle])
async def test_a_service_that_hangs_is_left_at_the_deadline(
    server: ScriptedServer, source: RewardSource, reaction: Reaction
) -> None:
    source = changed(source, deadline=0.4, on_failure="zero")
    server.react = lambda request: reaction
    started = time.monotonic()
    calls = [source.verdict_async(ask) for ask in asks(source, 20)]
    ended = await asyncio.gather(*calls, source.verdicts_async(asks(source, 3)), return_exceptions=True)
    assert {type(each) for each in ended} == {DeadlineExceededError}
    assert len({id(each) for each in ended}) == 21
    assert time.monotonic() - started < 5.0
    with pytest.raises(DeadlineExceededError, match=r"deadline of 0\.4 s"):
        await asyncio.to_thread(source.verdict, source.ask("1", "1"))


def test_no_service_at_all_is_an_error_at_the_deadline_under_every_policy(server: ScriptedServer) -> None:
    nowhere = "http://127.0.0.1:1"
    policies: list[FailurePolicy] = ["null", "zero", "raise", 0.5]
    for policy in policies:
        source = RewardSource(verifier=NAME, base_url=nowhere, on_failure=policy, deadline=0.3)
        with pytest.raises((ConnectError, DeadlineExceededError)):
            source.verdict(source.ask("1", "1"))
        source.close()


def test_a_service_that_comes_back_within_the_deadline_costs_no_verdict(
    server: ScriptedServer, source: RewardSource, caplog: pytest.LogCaptureFixture
) -> None:
    server.script = [drop, problem(503, "unavailable", "starting"), drop, problem(429, "saturated", "full")]
    verdicts = source.verdicts(asks(source, 4))
    assert [verdict.reward for verdict in verdicts] == [0.0, 1.0, 0.0, 1.0]
    assert len(server.scored) == 5
    assert ["attempt 4" in record.getMessage() for record in caplog.records] == [True]


async def test_a_call_that_is_given_up_leaves_its_neighbours_alone(
    server: ScriptedServer, source: RewardSource
) -> None:
    calls = [asyncio.create_task(source.verdict_async(ask)) for ask in asks(source, 4)]
    await asyncio.sleep(0)
    calls[0].cancel()
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(ended[0], asyncio.CancelledError)
    assert [each.reward for each in ended[1:] if isinstance(each, Verdict)] == [1.0, 0.0, 1.0]


async def test_a_request_that_nobody_waits_for_any_more_is_given_up(
    server: ScriptedServer, source: RewardSource
) -> None:
    server.script = [hang]
    calls = [asyncio.create_task(source.verdict_async(ask)) for ask in asks(source, 3)]
    while not server.scored:
        await asyncio.sleep(0.01)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    there = source._channel()
    async with asyncio.timeout(10):
        while there._requests:
            await asyncio.sleep(0.01)


async def test_closing_the_connection_ends_the_calls_under_way_with_an_error(
    server: ScriptedServer, source: RewardSource
) -> None:
    server.react = lambda request: hang
    calls = [
        asyncio.create_task(source.verdict_async(source.ask("1", "1"))),
        asyncio.create_task(source.verdicts_async(asks(source, 2))),
        asyncio.create_task(asyncio.to_thread(source.verdict, source.ask("0", "1"))),
    ]
    while len(server.scored) < 2:
        await asyncio.sleep(0.01)
    source.close()
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(each) for each in ended} == {TransportError}


def test_an_error_of_the_call_reaches_everyone_in_it(server: ScriptedServer, source: RewardSource) -> None:
    with pytest.raises(UnknownVerifierError):
        source.verdict(source.ask("1", "1", row="nothing:1.0.0"))
    with pytest.raises(UnknownVerifierError):
        source.verdicts([source.ask("1", "1"), source.ask("1", "1", row="nothing:1.0.0")])


# What a failure is --------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["timeout", "error", "abstain", "bad_reference"])
@pytest.mark.parametrize(("policy", "reward"), [("null", None), ("zero", 0.0), (-1, -1.0), (0.25, 0.25)])
def test_a_failed_verdict_becomes_what_the_caller_said(
    source: RewardSource, outcome: str, policy: FailurePolicy, reward: float | None
) -> None:
    source = changed(source, on_failure=policy)
    right, failed = source.verdicts([source.ask("1", "1"), source.ask(f"!{outcome}", "1")])
    assert (right.reward, right.failed) == (1.0, False)
    assert (failed.reward, failed.score, failed.outcome) == (reward, None, Outcome(outcome))
    assert source.verdict(source.ask(f"!{outcome}", "1")).reward == reward


def test_a_failed_verdict_raises_where_nothing_else_was_said(source: RewardSource) -> None:
    source = changed(source, on_failure=RewardSource().on_failure)
    with pytest.raises(VerdictFailedError, match="1 of 2 items") as caught:
        source.verdicts([source.ask("1", "1"), source.ask("!error", "1")])
    assert [index for index, _ in caught.value.failed] == [1]
    with pytest.raises(VerdictFailedError):
        source.verdict(source.ask("!timeout", "1"))


@pytest.mark.parametrize("bad", ["half of a pair: \ud83d", "x" * 50])
async def test_a_response_that_cannot_be_scored_fails_alone(
    server: ScriptedServer, source: RewardSource, bad: str
) -> None:
    def react(request: Received) -> Reaction:
        places = [i for i, item in enumerate(request.items) if len(item["response"]) >= 50]
        return problem(413, "response_too_large", "too large", item=places[0]) if places else answer

    server.react = react
    mixed = [source.ask("1", "1"), source.ask(bad, "1"), source.ask("0", "1"), source.ask(bad, "1")]
    batch = await source.verdicts_async(mixed)
    single = await asyncio.gather(*(source.verdict_async(ask) for ask in mixed))
    for verdicts in (batch, single):
        assert [verdict.reward for verdict in verdicts] == [1.0, None, 0.0, None]
        assert {verdict.outcome for verdict in verdicts[1::2]} == {Outcome.ERROR}
    assert batch[1].detail["code"] in ("invalid_item", "response_too_large")


def test_a_reference_that_cannot_be_sent_is_a_bad_reference(source: RewardSource) -> None:
    right, bad = source.verdicts([source.ask("1", "1"), source.ask("1", float("nan"))])
    assert right.reward == 1.0
    assert (bad.outcome, bad.reward, bad.detail["code"]) == (Outcome.BAD_REFERENCE, None, "invalid_item")


def test_references_may_be_json_text(server: ScriptedServer, source: RewardSource) -> None:
    source = changed(source, reference_format="json")
    verdicts = source.verdicts(
        [source.ask("1", '{"tests": [1]}'), source.ask("1", "{"), source.ask("1", [2])]
    )
    assert [item["reference"] for item in server.scored[0].items] == [{"tests": [1]}, [2]]
    assert verdicts[1].outcome == Outcome.BAD_REFERENCE
    assert verdicts[1].detail["code"] == "reference_not_json"
    assert source.verdict(source.ask("1", "{")).reward is None


def test_params_that_the_service_refuses_are_an_error_of_the_call_not_of_an_item(
    server: ScriptedServer, source: RewardSource
) -> None:
    server.react = lambda request: problem(
        422, "invalid_request", "no such parameter", item=0, field="params"
    )
    with pytest.raises(ApiError, match="no such parameter"):
        source.verdicts(asks(source, 200))
    assert len(server.scored) <= _channel.MOST_REFUSALS + 1
    with pytest.raises(ApiError, match="no such parameter"):
        source.verdict(source.ask("1", "1", params={"odd": 1}))


async def test_an_item_that_the_service_cannot_bear_is_narrowed_down(
    server: ScriptedServer, source: RewardSource
) -> None:
    def react(request: Received) -> Reaction:
        poison = any(item["response"] == "poison" for item in request.items)
        return problem(500, "internal", "a bug") if poison else answer

    server.react = react
    calls = [source.verdict_async(source.ask("poison" if n == 37 else "1", "1")) for n in range(100)]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    wrong = [n for n, each in enumerate(ended) if not isinstance(each, Verdict)]
    assert wrong == [37]
    assert isinstance(ended[37], ApiError)
    assert sum(each.reward or 0.0 for each in ended if isinstance(each, Verdict)) == 99.0


@pytest.mark.parametrize("response", [7, None, {"role": "assistant", "content": "x"}])
def test_a_response_that_is_neither_text_nor_messages_is_refused(
    source: RewardSource, response: object
) -> None:
    with pytest.raises(InvalidInputError, match="text or a list of chat messages"):
        source.ask(response, "1")


# Many processes -----------------------------------------------------------------------------------


def test_forked_children_and_their_parent_score_at_the_same_time(server: ScriptedServer) -> None:
    out = run(
        """
        from countermark.adapters._scoring import RewardSource
        source = RewardSource(verifier="exact:1.0.0", base_url=url)
        def work():
            async def many():
                calls = [source.verdict_async(source.ask(str(n % 2), "0")) for n in range(20)]
                return [verdict.reward for verdict in await asyncio.gather(*calls)]
            assert asyncio.run(many()) == [1.0, 0.0] * 10
            assert source.verdict(source.ask("0", "0")).reward == 1.0
        work()
        __import__("warnings").simplefilter("ignore", DeprecationWarning)
        busy = threading.Thread(target=lambda: [work() for _ in range(5)])
        busy.start()
        children = []
        for _ in range(3):
            child = os.fork()
            if not child:
                work()
                source.close()
                print("child", flush=True)
                os._exit(0)
            children.append(child)
        busy.join()
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        work()
        print("parent")
        """,
        server,
    )
    assert sorted(out.split()) == ["child", "child", "child", "parent"]


def test_errors_pass_from_process_to_process(server: ScriptedServer, source: RewardSource) -> None:
    with pytest.raises(CountermarkClientError) as caught:
        source.verdict(source.ask("1", "1", row="nothing:1.0.0"))
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), copy.code) == (UnknownVerifierError, "unknown_verifier")
