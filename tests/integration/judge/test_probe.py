"""What a probe finds at servers that honour their options, and at servers that ignore them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from countermark_service.judge import ProbeBook, probe
from tests.integration.judge.parts import MODEL, Judging, item
from tests.integration.judge.scripted import Body, ScriptedJudge, completion, never, status

Make = Callable[..., Judging]


def honest(body: Body) -> str:
    """Answer as a server does that honours everything it can in text."""
    if "response_format" in body:
        return json.dumps({"zebra": 1, "ok": True})
    words = f"text {body.get('seed') if body.get('temperature') else 'greedy'} one two three four five"
    return " ".join(words.split()[: body["max_tokens"]])


async def test_a_server_that_honours_its_options_is_seen_to(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    server.reply = honest

    async def with_logprobs(exchange: Any) -> None:
        asked = exchange.seen.body
        body = json.loads(completion(honest(asked), usage=None))
        if asked.get("logprobs"):
            body["choices"][0]["logprobs"] = {"content": [{"token": "x"}]}
        await exchange.send(200, json.dumps(body).encode())

    server.faults = [with_logprobs] * 100
    found = await probe(judging_in_memory().asker.client(MODEL))
    assert (found.seed, found.temperature, found.response_format, found.logprobs, found.max_tokens) == (
        True,
    ) * 5
    assert found.agreement == 1.0
    assert found.calls == len(server.seen)


async def test_a_server_that_ignores_its_options_is_seen_to(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    count = iter(range(1000))
    server.reply = lambda body: f"I say whatever I like, at any length, number {next(count)}"
    found = await probe(judging_in_memory().asker.client(MODEL))
    assert (found.seed, found.temperature, found.response_format, found.logprobs, found.max_tokens) == (
        False,
    ) * 5
    assert found.agreement == 0.0


async def test_a_server_that_always_says_the_same_shows_nothing_of_its_seed(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    found = await probe(judging_in_memory().asker.client(MODEL))
    assert (found.seed, found.temperature) == (None, False)


async def test_the_first_use_probes_once_and_every_transcript_says_what_was_found(
    judging_in_memory: Make, server: ScriptedJudge, tmp_path: Path
) -> None:
    book = tmp_path / "probes.json"
    made = judging_in_memory(options={"probe": "first_use"}, probes=ProbeBook(book))
    verdicts = await made.verdicts([item(f"\\boxed{{{n}}}") for n in range(4)])
    facts = json.loads(book.read_text())
    (found,) = facts.values()
    assert all(verdict.detail()["probe"] == found for verdict in verdicts)
    assert len(server.seen) == found["calls"] + 4
    again = judging_in_memory(options={"probe": "first_use"}, probes=ProbeBook(book))
    assert (await again.verdict(item())).detail()["probe"] == found
    assert len(server.seen) == found["calls"] + 5


async def test_a_probe_that_nobody_answers_takes_its_time_from_that_of_the_question(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    server.faults = [never] * 9
    limits = {"probe": "first_use", "timeout_seconds": 0.2, "deadline_seconds": 0.2}
    made = judging_in_memory(options=limits, probes=ProbeBook())
    verdicts = await made.verdicts([item(f"\\boxed{{{n}}}") for n in range(3)])
    assert {one.detail()["code"] for one in verdicts} == {"judge_timeout"}
    assert len(server.seen) == 1


async def test_a_probe_that_fails_costs_no_verdict(judging_in_memory: Make, server: ScriptedJudge) -> None:
    server.faults = [status(400)]
    made = judging_in_memory(options={"probe": "first_use"}, probes=ProbeBook())
    verdict = await made.verdict(item())
    assert (verdict.score, verdict.detail()["probe"]) == (1.0, None)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"zebra": 1, "ok": true}', True),
        ('{\n \n "zebra": 12', None),
        ("Hello and", False),
        ("{hello}", None),
    ],
)
async def test_a_reply_that_was_cut_short_does_not_say_that_a_schema_is_ignored(
    judging_in_memory: Make, server: ScriptedJudge, content: str, expected: bool | None
) -> None:
    async def cut(exchange: Any) -> None:
        if "response_format" not in exchange.seen.body:
            await exchange.send(200, completion(honest(exchange.seen.body), usage=None))
            return
        body = json.loads(completion(content, usage=None))
        body["choices"][0]["finish_reason"] = "stop" if expected else "length"
        await exchange.send(200, json.dumps(body).encode())

    server.faults = [cut] * 100
    found = await probe(judging_in_memory().asker.client(MODEL))
    assert found.response_format is expected
