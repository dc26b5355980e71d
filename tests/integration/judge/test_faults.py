"""A judge's server in trouble: what is repeated, what is given up, and that nothing becomes a score."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from countermark_service.judge import Endpoint
from countermark_service.judge.transport import Address, BoundedTransport
from countermark_service.model import Item, Outcome
from tests.integration.judge import scripted
from tests.integration.judge.parts import EQUIVALENCE, MODEL, Judging, item
from tests.integration.judge.scripted import ScriptedJudge, completion, says, status

Make = Callable[..., Judging]


@pytest.mark.parametrize(
    "fault",
    [
        status(408), status(429), status(429, retry_after="0.01"), status(500), status(502), status(503),
        status(529), scripted.endless(500), scripted.drop, scripted.half, scripted.no_http, scripted.body(b"not json"),
        scripted.body(b"{}"), scripted.body(b'{"choices": []}'), scripted.body(b"\xff\xfe"),
        scripted.body(b"[" * 100_000), scripted.bomb, scripted.upgrade,
        scripted.body(b'{"choices": [{"message": {"content": "DIFFERENT", "content": "SAME"}}]}'),
        scripted.body(b'{"choices": [{"message": {"content": "SAME"}}], "choices": []}'),
        scripted.body(b'{"choices": [{"message": {"content": "SAME"}}], "error": {"message": "gone"}}'),
        scripted.body(b'{"choices": [{"message": {"content": "SAME"}, "error": {"code": 502, "message": "gone"}}]}'),
        scripted.body(b'{"choices": [{"message": {"content": "SAME"}}, {"message": {"content": "DIFFERENT"}}]}'),
        says("SAME", model="m" * 2000), says("SAME", system_fingerprint="f" * 2000),
        status(429, retry_after="Mon, 01 Jan 99999999999999999999 00:00:00 GMT"),
        status(503, retry_after="Mon, 01 Jan 2024 00:00:00 +99999999999999999999"),
    ],
)  # fmt: skip
async def test_a_passing_fault_is_met_by_asking_again(
    judging_in_memory: Make, server: ScriptedJudge, fault: scripted.Fault
) -> None:
    server.faults = [fault, fault]
    verdict = await judging_in_memory().verdict(item())
    assert (verdict.outcome, verdict.score) == (Outcome.SCORED, 1.0), verdict.detail()
    assert verdict.detail()["attempts"] == 3
    assert len({seen.raw for seen in server.seen}) == 1


@pytest.mark.parametrize(
    ("fault", "code", "calls"),
    [
        (status(429), "judge_rate_limited", 3),
        (status(503), "judge_unavailable", 3),
        (scripted.drop, "judge_unreachable", 3),
        (scripted.half, "judge_unreachable", 3),
        (scripted.body(b"<html>"), "judge_bad_reply", 3),
        (scripted.body(b"\x1f\x8b broken", ("content-encoding", "gzip")), "judge_bad_reply", 3),
        (scripted.no_http, "judge_bad_reply", 3),
        (status(429, content_encoding="gzip"), "judge_rate_limited", 3),
        (status(400, content_encoding="br"), "judge_refused_request", 1),
        (status(400), "judge_refused_request", 1),
        (status(401), "judge_refused_request", 1),
        (status(404), "judge_refused_request", 1),
        (status(302, location="http://elsewhere.invalid/"), "judge_refused_request", 1),
        (scripted.endless(200), "judge_reply_too_large", 1),
        (scripted.endless(503), "judge_unavailable", 3),
        (scripted.endless(404), "judge_refused_request", 1),
        (scripted.endless_trailers, "judge_reply_too_large", 1),
        (scripted.many_keys, "judge_bad_reply", 3),
        (status(429, retry_after="3600"), "judge_rate_limited", 1),
    ],
)
async def test_a_lasting_fault_is_an_error_that_says_which(
    judging_in_memory: Make, server: ScriptedJudge, fault: scripted.Fault, code: str, calls: int
) -> None:
    server.faults = [fault] * 9
    verdict = await judging_in_memory(options={"attempts": 3, "most_reply_kib": 64}).verdict(item())
    assert (verdict.outcome, verdict.score) == (Outcome.ERROR, None)
    assert verdict.detail()["code"] == code
    assert MODEL in verdict.detail()["message"]
    assert len(server.seen) == calls


@pytest.mark.parametrize("fault", [scripted.never, scripted.drip])
async def test_a_server_that_does_not_end_its_reply_runs_into_the_time_of_an_attempt(
    judging_in_memory: Make, server: ScriptedJudge, fault: scripted.Fault
) -> None:
    server.faults = [fault] * 2
    verdict = await judging_in_memory(options={"attempts": 2, "timeout_seconds": 0.1}).verdict(item())
    assert verdict.detail()["code"] == "judge_timeout"
    assert verdict.outcome is Outcome.ERROR


@pytest.mark.parametrize(
    ("last", "code"),
    [(status(400), "judge_refused_request"), (scripted.endless(200), "judge_reply_too_large")],
)
async def test_a_question_that_is_given_up_says_after_how_many_attempts(
    judging_in_memory: Make, server: ScriptedJudge, last: scripted.Fault, code: str
) -> None:
    server.faults = [status(503), scripted.body(b"{}"), last]
    detail = (await judging_in_memory(options={"most_reply_kib": 64}).verdict(item())).detail()
    assert (detail["code"], detail["attempts"]) == (code, len(server.seen)) == (code, 3)
    assert "after 3 attempts" in detail["message"]


async def test_questions_that_the_rate_leaves_no_time_for_say_so_and_do_not_open_the_breaker(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    made = judging_in_memory(options={"requests_per_second": 0.001, "breaker_failures": 2, "concurrency": 1})
    first, *others = await made.verdicts([item(f"\\boxed{{{n}}}") for n in range(6)])
    assert first.outcome is Outcome.SCORED
    assert [one.detail()["code"] for one in others] == ["judge_rate_limited"] * 5
    assert {one.detail()["message"].rpartition(": ")[2] for one in others} == {"its rate leaves no time"}
    assert len(server.seen) == 1


async def test_a_question_that_a_pause_leaves_next_to_no_time_for_is_not_sent(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    server.faults = [status(429, retry_after="3600")]
    made = judging_in_memory(options={"deadline_seconds": 2.0, "breaker_failures": 2, "concurrency": 1})
    verdicts = await made.verdicts([item(f"\\boxed{{{n}}}") for n in range(4)])
    assert [one.detail()["code"] for one in verdicts] == ["judge_rate_limited"] * 4
    said = [one.detail()["message"] for one in verdicts]
    assert ["the pause that it asked for leaves no time" in one for one in said] == [False, True, True, True]
    assert len(server.seen) == 1


async def test_a_redirect_is_not_followed_and_its_place_is_told(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    server.faults = [status(307, location="https://elsewhere.invalid/v1/")]
    message = (await judging_in_memory().verdict(item())).detail()["message"]
    assert message.endswith("no redirect is followed, and this one leads to: https://elsewhere.invalid/v1/")


async def test_what_is_no_json_is_told_as_it_begins(judging_in_memory: Make, server: ScriptedJudge) -> None:
    """A stream that nobody asked for, or the page of a proxy that wants somebody to sign in."""
    server.faults = [scripted.body(b'data: {"choices": []}\n\ndata: [DONE]\n\n')] * 20
    message = (await judging_in_memory().verdict(item())).detail()["message"]
    assert message.endswith(': data: {"choices": []} data: [DONE]')


async def test_no_endpoint_is_an_error_that_names_the_model(judging_in_memory: Make) -> None:
    verdict = await judging_in_memory(server=None).verdict(item())
    assert verdict.detail()["code"] == "judge_no_endpoint"
    assert MODEL in verdict.detail()["message"]


async def test_a_server_that_is_not_there_is_an_error_and_then_is_left_alone(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    made = judging_in_memory(
        options={"base_url": "http://127.0.0.1:9/v1", "attempts": 2, "breaker_failures": 3, "concurrency": 1}
    )
    verdicts = await made.verdicts([item(f"\\boxed{{{n}}}") for n in range(6)])
    codes = [verdict.detail()["code"] for verdict in verdicts]
    assert (
        codes == ["judge_unreachable"] * 3 + ["judge_circuit_open"] * 3
    )  # those that waited are left alone, too
    later = await made.verdict(item("\\boxed{7}"))
    assert later.detail()["code"] == "judge_circuit_open"
    assert made.asker.counters.of(MODEL).failures["judge_circuit_open"] == 4


async def test_the_breaker_lets_one_question_try_and_closes_when_it_is_answered(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    server.faults = [status(500)] * 2
    made = judging_in_memory(options={"attempts": 1, "breaker_failures": 2, "breaker_seconds": 0.001})
    assert {one.outcome for one in await made.verdicts([item("1"), item("2")])} == {Outcome.ERROR}
    await asyncio.sleep(0.01)  # the pause itself is what is under test
    assert (await made.verdict(item("3"))).outcome is Outcome.SCORED
    assert (await made.verdict(item("4"))).outcome is Outcome.SCORED


async def test_a_refusal_is_an_abstention(judging_in_memory: Make, server: ScriptedJudge) -> None:
    server.faults = [says(None, message={"refusal": "I cannot help with that."})]
    verdict = await judging_in_memory().verdict(item())
    assert (verdict.outcome, verdict.score) == (Outcome.ABSTAIN, None)
    assert verdict.detail()["code"] == "judge_refused"


@pytest.mark.parametrize(
    "message",
    [
        {"refusal": "I cannot help with that.", "content": "SAME"},
        {"content": [{"type": "refusal", "refusal": "no"}, {"type": "text", "text": "SAME"}]},
        {"content": [{"type": "refusal"}]},
    ],
)
async def test_a_refusal_beside_a_text_is_a_refusal(
    judging_in_memory: Make, server: ScriptedJudge, message: dict[str, Any]
) -> None:
    server.faults = [says(None, message=message)]
    verdict = await judging_in_memory().verdict(item())
    assert (verdict.outcome, verdict.detail()["code"]) == (Outcome.ABSTAIN, "judge_refused")


@pytest.mark.parametrize(
    "content",
    [
        "",
        'DIFFERENT: it only says "12\u2028SAME"',
        "DIFFERENT, as it says \x0bSAME",
        "I think they are the same",
        "SAME or DIFFERENT",
        "SAME\nDIFFERENT, maybe",
        None,
        '{"verdict": "SAME", "confidence": 0.4}',
        "<think>SAME",
    ],
)
async def test_an_unreadable_reply_is_asked_for_once_more_and_then_is_an_abstention(
    judging_in_memory: Make, server: ScriptedJudge, content: str | None
) -> None:
    server.faults = [says(content), says(content)]
    verdict = await judging_in_memory().verdict(item())
    assert (verdict.outcome, verdict.score) == (Outcome.ABSTAIN, None)
    assert verdict.detail()["code"] == "judge_unreadable"
    first, second = (seen.body["seed"] for seen in server.seen)
    assert first != second
    assert len(verdict.detail()["transcripts"]) == 2


async def test_a_reply_that_was_cut_short_is_unreadable_whatever_its_last_line(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    server.faults = [says("So\nSAME", finish_reason="length")] * 2
    verdict = await judging_in_memory().verdict(item())
    assert (verdict.outcome, verdict.detail()["code"]) == (Outcome.ABSTAIN, "judge_unreadable")


@pytest.mark.parametrize(
    "reason",
    [
        "model_length",
        "MAX_TOKENS",
        "insufficient_system_resource",
        "network_error",
        "tool_calls",
        "function_call",
        "?",
    ],
)
async def test_a_reply_whose_end_is_not_known_as_one_is_read_as_cut_short(
    judging_in_memory: Make, server: ScriptedJudge, reason: str
) -> None:
    """Servers have more words for ends that are none than anybody can list."""
    made = judging_in_memory()
    server.faults = [says("If they were the\nSAME", finish_reason=reason)] * 2
    verdict = await made.verdict(item())
    assert (verdict.outcome, verdict.detail()["code"]) == (Outcome.ABSTAIN, "judge_unreadable")
    server.faults = [says("SAME", finish_reason=reason)]  # whole, as nothing could follow
    assert (await made.verdict(item("\\boxed{13}"))).score == 1.0


@pytest.mark.parametrize("reason", [None, "", "stop", "STOP", "eos_token", "stop_sequence", "end_turn"])
async def test_a_reply_that_ended_by_itself_is_read(
    judging_in_memory: Make, server: ScriptedJudge, reason: str | None
) -> None:
    server.faults = [says("They are the\nSAME", finish_reason=reason)]
    assert (await judging_in_memory().verdict(item())).score == 1.0


@pytest.mark.parametrize("reason", ["content_filter", "SAFETY", "sensitive", "recitation", "refusal"])
async def test_a_reply_that_was_withheld_is_a_refusal(
    judging_in_memory: Make, server: ScriptedJudge, reason: str
) -> None:
    server.faults = [says("SAME", finish_reason=reason)]
    verdict = await judging_in_memory().verdict(item())
    assert (verdict.outcome, verdict.detail()["code"]) == (Outcome.ABSTAIN, "judge_refused")


async def test_the_first_choice_is_the_one_that_says_so(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    choices = [{"index": at, "message": {"content": word}} for at, word in ((1, "DIFFERENT"), (0, "SAME"))]
    server.faults = [scripted.body(json.dumps({"choices": choices}).encode())]
    assert (await judging_in_memory().verdict(item())).score == 1.0


async def test_a_connection_on_which_the_server_talks_on_is_not_used_again(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    ports: list[int] = []

    async def talk_on(exchange: scripted.Exchange) -> None:
        ports.append(exchange.writer.get_extra_info("peername")[1])
        reply = scripted.completion("SAME")
        head = f"HTTP/1.1 200 X\r\ncontent-length: {len(reply)}\r\n\r\n".encode()
        exchange.writer.write((head + reply) * (2 if len(ports) == 1 else 1))

    server.faults = [talk_on] * 3
    made = judging_in_memory(options={"concurrency": 1})
    for number in range(3):
        assert (await made.verdict(item(f"\\boxed{{{number}}}"))).score == 1.0
    assert ports[0] != ports[1] == ports[2]


async def test_a_readable_second_reply_counts(judging_in_memory: Make, server: ScriptedJudge) -> None:
    server.faults = [says("Well."), says("Not the same.\n**DIFFERENT**")]
    verdict = await judging_in_memory().verdict(item())
    assert (verdict.outcome, verdict.score) == (Outcome.SCORED, 0.0)


async def test_what_the_judge_repeats_of_a_response_does_not_count(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    server.faults = [says('The candidate says "SAME\nSAME".\nVerdict: DIFFERENT')]
    assert (await judging_in_memory().verdict(item())).score == 0.0


async def test_the_judge_that_declines_is_an_abstention(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    server.faults = [says("The reference makes no sense.\nUNCLEAR")]
    verdict = await judging_in_memory().verdict(item())
    assert (verdict.outcome, verdict.detail()["code"]) == (Outcome.ABSTAIN, "judge_declined")


async def test_another_model_is_recorded_and_refused_where_the_operator_says_which(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    server.faults = [says("SAME", model="tiny"), says("SAME", model="tiny"), says("SAME", model="big-2026")]
    recorded = await judging_in_memory().verdict(item())
    assert recorded.detail()["answered_by"] == "tiny"
    assert recorded.detail()["other_model"] is True
    strict = judging_in_memory(data=judging_in_memory().data / "strict", options={"answers_as": ["big-2026"]})
    refused = await strict.verdict(item())
    assert (refused.outcome, refused.detail()["code"]) == (Outcome.ERROR, "judge_wrong_model")
    counters = strict.asker.counters.of(MODEL)
    assert (counters.calls, counters.prompt_tokens, counters.other_model) == (
        0,
        100,
        1,
    )  # paid for all the same
    assert (await strict.verdict(item())).outcome is Outcome.SCORED


async def test_odd_but_whole_replies_are_read(judging_in_memory: Make, server: ScriptedJudge) -> None:
    made: dict[str, Any] = {"content": [{"type": "text", "text": "So\nSA"}, {"type": "text", "text": "ME"}]}
    server.faults = [
        scripted.until_close,
        says("x", message=made, usage=None),
        says("<think>DIFFERENT</think>SAME", usage={"prompt_tokens": "many"}),
        scripted.body(json.dumps({"choices": [{"message": {"content": "same."}}], "more": [1]}).encode()),
    ]
    verdicts = await judging_in_memory(options={"concurrency": 1}).verdicts(
        [item(f"\\boxed{{{n}}}") for n in range(4)]
    )
    assert [verdict.score for verdict in verdicts] == [1.0] * 4
    assert verdicts[3].detail()["answered_by"] is None


async def test_a_kept_connection_that_the_server_closed_costs_no_attempt(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    async def answer_and_leave(exchange: scripted.Exchange) -> None:
        await exchange.send(200, completion("SAME"))
        exchange.writer.close()

    server.faults = [answer_and_leave]
    made = judging_in_memory()
    await made.verdict(item("\\boxed{1}"))
    assert (await made.verdict(item("\\boxed{2}"))).detail()["attempts"] == 1


@pytest.mark.parametrize(("idle_seconds", "connections"), [(3600.0, 1), (-1.0, 3)])
async def test_a_connection_that_was_not_used_for_long_is_not_used_again(
    server: ScriptedJudge, idle_seconds: float, connections: int
) -> None:
    """A firewall or a balancer between may have forgotten it, and nobody would answer."""
    ports: set[int] = set()

    async def note(exchange: scripted.Exchange) -> None:
        ports.add(exchange.writer.get_extra_info("peername")[1])
        await exchange.answer()

    server.faults = [note] * 3
    transport = BoundedTransport(most_bytes=10_000, idle_seconds=idle_seconds)
    address = Address.of(httpx.Request("POST", f"{server.url}/chat/completions"))
    for _ in range(3):
        assert (await transport.send(address, b'{"model": "m"}')).status == 200
    await transport.aclose()
    assert len(ports) == connections


async def test_the_key_goes_to_the_server_and_nowhere_else(
    judging_in_memory: Make, server: ScriptedJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_JUDGE_KEY", "sk-very-secret")
    leaking = scripted.body(b"sk-very-secret")

    async def repeat_the_key(exchange: scripted.Exchange) -> None:
        await exchange.send(401, f"bad key {exchange.seen.headers['authorization']}".encode())

    server.faults = [leaking, repeat_the_key]
    verdict = await judging_in_memory(options={"key_env": "TEST_JUDGE_KEY"}).verdict(item())
    assert server.seen[0].headers["authorization"] == "Bearer sk-very-secret"
    assert verdict.detail()["code"] == "judge_refused_request"
    assert b"sk-very-secret" not in verdict.json


@pytest.mark.parametrize(
    "reply",
    [
        (401, b" " * (4097 - 14) + b"sk-very/secret"),
        (401, b'{"error": "bad key sk-very\\/secret"}'),
        (403, b'{"error": "bad key s\\u006b-very\\u002Fsecret"}'),
        (200, completion("SAME", model="sk-very+secret").replace(b"+", b"\\u002f")),
        (200, completion("SAME", model="sk-very/secret")),
        (200, completion("SAME", system_fingerprint="sk-very/secret").replace(b"/", b"\\/")),
        (200, completion("SAME")[:-1] + b', "sk-very/secret": 1, "sk-very/secret": 2}'),
    ],
)
async def test_no_part_of_a_key_that_a_server_repeats_is_shown_or_kept(
    judging_in_memory: Make, server: ScriptedJudge, monkeypatch: pytest.MonkeyPatch, reply: tuple[int, bytes]
) -> None:
    monkeypatch.setenv("TEST_JUDGE_KEY", "sk-very/secret")

    async def repeat(exchange: scripted.Exchange) -> None:
        await exchange.send(*reply)

    server.faults = [repeat] * 2
    verdict = await judging_in_memory(options={"key_env": "TEST_JUDGE_KEY", "attempts": 2}).verdict(item())
    assert verdict.outcome is Outcome.ERROR
    assert b"very" not in verdict.json


async def test_a_word_that_stands_for_no_key_may_be_said(
    judging_in_memory: Make, server: ScriptedJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_JUDGE_KEY", "EMPTY")
    server.reply = lambda body: "The candidate is EMPTY.\nDIFFERENT"
    verdict = await judging_in_memory(options={"key_env": "TEST_JUDGE_KEY"}).verdict(item())
    assert verdict.score == 0.0


async def test_a_question_that_waited_is_not_tried_once_the_breaker_is_open(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    server.faults = [status(500)] * 20
    made = judging_in_memory(options={"attempts": 1, "breaker_failures": 2, "concurrency": 1})
    verdicts = await made.verdicts([item(f"\\boxed{{{n}}}") for n in range(16)])
    assert {verdict.outcome for verdict in verdicts} == {Outcome.ERROR}
    assert len(server.seen) == 2


@pytest.mark.parametrize("value", [None, ""])
async def test_a_key_that_is_not_set_is_an_error_that_names_the_variable(
    judging_in_memory: Make, server: ScriptedJudge, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is not None:
        monkeypatch.setenv("NOT_SET_ANYWHERE", value)
    verdict = await judging_in_memory(options={"key_env": "NOT_SET_ANYWHERE"}).verdict(item())
    assert verdict.detail()["code"] == "judge_key_missing"
    assert "NOT_SET_ANYWHERE" in verdict.detail()["message"]
    assert server.seen == []


async def test_a_storm_of_429_holds_every_call_back_and_ends_with_every_verdict(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    server.faults = [status(429, retry_after="0.05")] * 20
    verdicts = await judging_in_memory(options={"concurrency": 8, "attempts": 20}).verdicts(
        [item(f"\\boxed{{{n}}}") for n in range(40)]
    )
    assert {verdict.outcome for verdict in verdicts} == {Outcome.SCORED}
    assert len(server.seen) == 60


async def test_no_more_calls_than_allowed_are_under_way(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    server.gate = asyncio.Event()
    made = judging_in_memory(options={"concurrency": 5})
    work = asyncio.create_task(made.verdicts([item(f"\\boxed{{{n}}}") for n in range(30)]))
    await server.wait_for(5)
    server.gate.set()
    assert len(await work) == 30
    assert server.most_under_way == 5


async def test_equal_questions_are_asked_once(judging_in_memory: Make, server: ScriptedJudge) -> None:
    server.gate = asyncio.Event()
    made = judging_in_memory()
    items = [item(f"Way {n}.\n\\boxed{{12}}") for n in range(16)]
    work = asyncio.create_task(made.verdicts(items))
    await server.wait_for(1)
    server.gate.set()
    verdicts = await work
    assert len(server.seen) == 1
    assert len({verdict.json for verdict in verdicts}) == 1
    assert made.asker.counters.of(MODEL).coalesced == 15


async def test_a_caller_that_leaves_takes_only_its_own_question_along(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    server.gate = asyncio.Event()
    made = judging_in_memory()
    leaving = asyncio.create_task(made.verdict(item("\\boxed{1} ")))
    staying = asyncio.create_task(made.verdict(item("\\boxed{1}")))
    await server.wait_for(1)
    leaving.cancel()
    await asyncio.wait({leaving})
    server.gate.set()
    assert (await staying).outcome is Outcome.SCORED


@pytest.mark.parametrize(
    "reply",
    [
        says(None, message={"refusal": "no", "content": "SAME"}),
        says(
            None,
            message={"content": [{"type": "refusal", "refusal": "no"}, {"type": "text", "text": "SAME"}]},
        ),
        says("It is not\nSAME", finish_reason="abort"),
        says('DIFFERENT: it says "12\u2028SAME'),
    ],
)
async def test_replies_are_read_by_the_rules_that_a_judge_names(
    judging_in_memory: Make, server: ScriptedJudge, reply: scripted.Fault
) -> None:
    """Rules 2 see a doubt where rules 1 see a label; a version that was published goes on as it was."""
    server.faults = [reply] * 3
    made = judging_in_memory()
    before = await made.verdict(item(), "judge/equivalence:1.0.0")
    server.faults = [reply] * 3
    now = await made.verdict(item("\\boxed{42.0}"), EQUIVALENCE)
    assert (before.outcome, before.score) == (Outcome.SCORED, 1.0)
    assert (now.outcome, now.score) == (Outcome.ABSTAIN, None)


async def test_a_large_reference_is_refused_by_its_size(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    """To escape it first would take a minute, in which nobody else is served."""
    large = Item("\\boxed{5}", "<" * 5_000_000, {}, "q")
    criteria = Item("It is 5.", [{"text": "中" * 2_000_000, "weight": 1}], {}, "q")
    made = judging_in_memory()
    verdicts = [await made.verdict(large), await made.verdict(criteria, "judge/rubric:1.3.0")]
    assert {verdict.outcome for verdict in verdicts} == {Outcome.BAD_REFERENCE}
    assert server.seen == []


async def test_a_weight_beyond_all_bounds_is_the_fault_of_its_item_alone(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    server.reply = lambda body: '{"criteria": [{"number": 1, "reason": "so", "met": true}]}'
    items = [Item("It is 5.", [{"text": "says 5", "weight": weight}], {}, "q") for weight in (1, 10**400)]
    verdicts = await judging_in_memory().verdicts(items, "judge/rubric:1.3.0")
    assert [verdict.outcome for verdict in verdicts] == [Outcome.SCORED, Outcome.BAD_REFERENCE]


@pytest.mark.parametrize(
    "base_url",
    ["http://127.0.0.1:abc/v1", "http://a..b/v1", f"http://{'h' * 64}/v1", "http://h:99999/v1", "http://h:0"],
)
def test_an_address_that_nobody_can_call_is_refused_at_start(base_url: str) -> None:
    with pytest.raises(ValidationError, match="base_url"):
        Endpoint.model_validate({"model": MODEL, "base_url": base_url})
