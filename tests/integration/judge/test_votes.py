"""Several votes, both orders, criteria, ranges and schemas: how replies become one score."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from countermark_service.model import Item, Outcome
from tests.integration.judge.parts import Judging, write_judge
from tests.integration.judge.scripted import ScriptedJudge, says

Make = Callable[..., Judging]
ASK = 'messages = [{ role = "user", content = "{{response}} {{reference}}" }]\n'
YES_NO = 'output = { kind = "tokens", labels = { YES = 1, NO = 0 }, abstain = ["UNSURE"] }\n'


async def outcome_of(
    judging: Make, server: ScriptedJudge, root: Path, table: str, replies: list[str], *, rules: int = 1
) -> tuple[Outcome, float | None, dict[str, Any]]:
    """Judge one item with a bundle of that table and these replies, in order."""
    ref = write_judge(root / "bundles", table, rules=rules)
    server.faults = [says(reply) for reply in replies]
    made = judging(roots=[root / "bundles"], options={"concurrency": 1})
    verdict = await made.verdict(Item("an answer", "a reference"), ref)
    return verdict.outcome, verdict.score, verdict.detail()


@pytest.mark.parametrize(
    ("votes", "replies", "outcome", "score"),
    [
        ("{ count = 3 }", ["YES", "NO", "YES"], Outcome.SCORED, 1.0),
        ("{ count = 3 }", ["NO", "NO", "YES"], Outcome.SCORED, 0.0),
        ("{ count = 2 }", ["NO", "YES"], Outcome.ABSTAIN, None),
        ("{ count = 3 }", ["UNSURE", "NO", "YES"], Outcome.ABSTAIN, None),
        ("{ count = 3 }", ["UNSURE", "UNSURE", "YES"], Outcome.SCORED, 1.0),
        ("{ count = 3, least = 2 }", ["UNSURE", "UNSURE", "YES"], Outcome.ABSTAIN, None),
        ("{ count = 3, combine = 'unanimous' }", ["YES", "NO", "YES"], Outcome.ABSTAIN, None),
        ("{ count = 4, combine = 'mean' }", ["YES", "NO", "YES", "YES"], Outcome.SCORED, 0.75),
    ],
)
async def test_votes_combine_as_declared(
    judging_in_memory: Make,
    server: ScriptedJudge,
    tmp_path: Path,
    votes: str,
    replies: list[str],
    outcome: Outcome,
    score: float,
) -> None:
    table = f"{ASK}{YES_NO}votes = {votes}\nsampling = {{ max_tokens = 5, temperature = 1, seed = 7 }}"
    found = await outcome_of(judging_in_memory, server, tmp_path, table, replies)
    assert found[:2] == (outcome, score)
    assert len(found[2]["votes"]) == len(replies)
    assert [seen.body["seed"] for seen in server.seen] == list(range(7, 7 + len(replies)))


LONGER = 'output = { kind = "tokens", labels = { SAFE = 1, "SAFE ENOUGH" = 0 } }\n'
SCORE = 'output = { kind = "range", low = 0, high = 100 }\n'
JSON = """output = { kind = "json", schema = { type = "object" }, labels = { YES = 1, NO = 0 } }\n"""


@pytest.mark.parametrize(
    ("output", "reply", "score"),
    [
        (YES_NO, "yes", 1.0),
        (YES_NO, "It agrees.\nYES", None),
        (LONGER, "SAFE", None),
        (LONGER, "SAFE ENOUGH", 0.0),
        (SCORE, "8", None),
        (JSON, '{"verdict": "YES"}', 1.0),
        (JSON, '{"verdict": "YES"', None),
    ],
)
async def test_a_reply_that_was_cut_short_counts_only_where_nothing_could_have_followed(
    judging_in_memory: Make,
    server: ScriptedJudge,
    tmp_path: Path,
    output: str,
    reply: str,
    score: float | None,
) -> None:
    ref = write_judge(tmp_path / "bundles", f"{ASK}{output}sampling = {{ max_tokens = 1, temperature = 0 }}")
    server.faults = [says(reply, finish_reason="length") for _ in range(2)]
    made = judging_in_memory(roots=[tmp_path / "bundles"])

    verdict = await made.verdict(Item("an answer", "a reference"), ref)

    assert verdict.score == score
    assert verdict.outcome is (Outcome.ABSTAIN if score is None else Outcome.SCORED)


async def test_votes_without_a_seed_are_questions_of_their_own(
    judging_in_memory: Make, server: ScriptedJudge, tmp_path: Path
) -> None:
    table = f"{ASK}{YES_NO}votes = {{ count = 3 }}\nsampling = {{ max_tokens = 5, temperature = 1 }}"
    found = await outcome_of(judging_in_memory, server, tmp_path, table, ["YES", "NO", "NO"])
    assert found[1] == 0.0
    assert len(set(found[2]["transcripts"])) == 3
    assert "seed" not in server.seen[0].body


@pytest.mark.parametrize(
    ("reply", "score"),
    [("7", 6 / 9), ("Good.\n**Score: 10**", 1.0), ("Rating: 2.5.", 1.5 / 9), ("3\n1", 0.0)],
)
async def test_a_number_is_placed_in_its_range(
    judging_in_memory: Make, server: ScriptedJudge, tmp_path: Path, reply: str, score: float
) -> None:
    table = f'{ASK}output = {{ kind = "range", low = 1, high = 10 }}\nsampling = {{ max_tokens = 5 }}'
    found = await outcome_of(judging_in_memory, server, tmp_path, table, [reply])
    assert found[1] == pytest.approx(score)


@pytest.mark.parametrize(
    ("replies", "score"),
    [(["7", "7.0", "7.00"], 2 / 3), (["7", "7.0", "7.5"], None), (["1", "1", "1.0"], 0.0)],
)
async def test_numbers_are_the_same_however_they_are_written(
    judging_in_memory: Make, server: ScriptedJudge, tmp_path: Path, replies: list[str], score: float | None
) -> None:
    table = f'{ASK}output = {{ kind = "range", low = 1, high = 10 }}\nsampling = {{ max_tokens = 5 }}\n'
    table += "votes = { count = 3, combine = 'unanimous' }"
    found = await outcome_of(judging_in_memory, server, tmp_path / "new", table, replies, rules=5)
    assert found[1] == pytest.approx(score)
    before = await outcome_of(judging_in_memory, server, tmp_path / "old", table, replies, rules=4)
    assert before[:2] == (Outcome.ABSTAIN, None), "what was published goes on as it was"


@pytest.mark.parametrize("reply", ["11", "0", "seven", "7 or 8", "nan", "1e1", "7\nor so", "\u0667"])
async def test_a_number_that_is_none_or_out_of_range_is_unreadable(
    judging_in_memory: Make, server: ScriptedJudge, tmp_path: Path, reply: str
) -> None:
    table = f'{ASK}output = {{ kind = "range", low = 1, high = 10 }}\nsampling = {{ max_tokens = 5 }}'
    found = await outcome_of(judging_in_memory, server, tmp_path, table, [reply, reply])
    assert (found[0], found[2]["code"]) == (Outcome.ABSTAIN, "judge_unreadable")


SCHEMA = """
[judge.output]
kind = "json"
field = "grade"
labels = { pass = 1, fail = 0 }
[judge.output.schema]
type = "object"
required = ["grade"]
additionalProperties = false
properties = { grade = { enum = ["pass", "fail"] }, why = { type = "string" } }
"""


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ('{"why": "so", "grade": "pass"}', 1.0),
        ('```json\n{"grade": "fail"}\n```', 0.0),
        ('{"grade": "pass"} {"grade": "fail"}', None),
        ('{"grade": "fail", "grade": "pass"}', None),
        ('{"grade": "PASSED"}', None),
        ('{"grade": "pass", "grade2": 1}', None),
        ("pass", None),
        ("[" * 50_000, None),
    ],
)
async def test_a_schema_binds_the_reply(
    judging_in_memory: Make, server: ScriptedJudge, tmp_path: Path, reply: str, score: float | None
) -> None:
    table = f"{ASK}sampling = {{ max_tokens = 50 }}\n{SCHEMA}"
    found = await outcome_of(judging_in_memory, server, tmp_path, table, [reply, reply])
    assert found[1] == score
    sent = server.seen[0].body["response_format"]
    assert (sent["type"], sent["json_schema"]["schema"]["required"]) == ("json_schema", ["grade"])


async def test_a_pair_is_asked_in_both_orders_and_the_place_decides_nothing(
    judging_in_memory: Make, server: ScriptedJudge
) -> None:
    def prefers_b(body: dict[str, Any]) -> str:
        lines = body["messages"][-1]["content"].splitlines()
        first = json.loads(next(line for line in lines if line.startswith("first")).partition(": ")[2])
        return "FIRST" if first == "text B" else "SECOND"

    server.reply = prefers_b
    made = judging_in_memory()
    items = [Item("text B", "text A", {}, "?"), Item("text A", "text B", {}, "?")]
    better, worse = await made.verdicts(items, "judge/pairwise:1.0.0")
    assert (better.score, worse.score) == (1.0, 0.0)
    assert len(server.seen) == 2  # the four questions are two
    server.reply = lambda body: "FIRST"
    placed = await made.verdict(Item("text C", "text D", {}, "?"), "judge/pairwise:1.0.0")
    assert (placed.outcome, placed.detail()["code"]) == (Outcome.ABSTAIN, "orders_disagree")


@pytest.mark.parametrize("better", ["FIRST", "SECOND"])
async def test_orders_that_agree_in_decimals_agree(
    judging_in_memory: Make, server: ScriptedJudge, tmp_path: Path, better: str
) -> None:
    table = """reference = "pair"
messages = [{ role = "user", content = "{{first}} {{second}}" }]
output = { kind = "tokens", labels = { FIRST = 0.7, SECOND = 0.3 } }
sampling = { max_tokens = 5 }
votes = { both_orders = true }"""
    replies = [better, {"FIRST": "SECOND", "SECOND": "FIRST"}[better]]
    found = await outcome_of(judging_in_memory, server, tmp_path / "new", table, replies, rules=5)
    assert found[:2] == (Outcome.SCORED, {"FIRST": 0.7, "SECOND": 0.3}[better])
    before = await outcome_of(judging_in_memory, server, tmp_path / "old", table, replies, rules=4)
    # 1 - 0.3 is 0.7, but 1 - 0.7 is not 0.3 to the last bit.
    assert before[0] is {"FIRST": Outcome.SCORED, "SECOND": Outcome.ABSTAIN}[better]


async def test_a_bundle_that_pins_a_revision_refuses_another_one(
    judging_in_memory: Make, server: ScriptedJudge, tmp_path: Path
) -> None:
    ref = write_judge(tmp_path / "bundles", f'revision = "abc"\n{ASK}{YES_NO}sampling = {{ max_tokens = 5 }}')
    made = judging_in_memory(roots=[tmp_path / "bundles"], options={"revision": "abd"})
    verdict = await made.verdict(Item("an answer", "a reference"), ref)
    assert (verdict.outcome, verdict.detail()["code"]) == (Outcome.ERROR, "judge_wrong_revision")
    assert server.seen == []
