"""Adapters that are told a release: its card says who judges a task, and may say what a failure becomes."""

from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from countermark import Client, InvalidInputError, VerdictFailedError
from countermark.adapters import areal, lm_eval, slime, verl
from countermark.adapters.atropos import GroupScorer
from countermark.adapters.openrlhf import reward as openrlhf_reward
from countermark.adapters.trl import reward
from tests.cards import bare_card
from tests.integration.adapters.conftest import Direct

NAME = "tests/adapters:1.0"


@pytest.fixture
def release(service_url: str, direct: Direct) -> str:
    """The pin of a registered release with three tasks."""
    with Client(service_url) as client:
        numeric = client.verifier("numeric:1.0.0").ref
    card: dict[str, Any] = bare_card(
        name="tests/adapters",
        verifier={
            "routes": [
                {
                    "task": "words",
                    "data_sources": ["cities"],
                    "verifier": direct.pin,
                    "params": {"case_fold": True},
                },
                {"task": "sums", "verifier": numeric},
                {"task": "hard", "verifier": direct.pin, "on_failure": "zero"},
            ]
        },
    )
    answer = httpx.post(f"{service_url}/v1/releases", json=card, timeout=300)
    assert answer.status_code in (200, 201), answer.text
    return str(answer.json()["ref"])


async def test_the_card_says_who_judges_each_row(release: str) -> None:
    completions, solutions = ["PARIS", "It is 7", "Rome"], ["Paris", "7", ""]
    for name in (NAME, release):
        function = reward(release=name, source_column="task", gold="solution")
        assert function.__name__ == "tests-adapters-1.0"
        log: dict[str, list[Any]] = {}
        rewards = await function(
            completions=completions, solution=solutions, task=["words", "sums", "cities"],
            log_extra=log.__setitem__,
        )  # fmt: skip
        assert rewards == [1.0, 1.0, None]
        judges = [pin.partition(":")[0] for pin in log["tests-adapters-1.0/verifier"]]
        assert judges == ["exact", "numeric", "exact"]


async def test_where_the_card_fixes_what_a_failure_becomes_the_card_counts(release: str) -> None:
    assert await reward(release=NAME, task="hard")(completions=["a", "a"], solution=["", "a"]) == [0.0, 1.0]
    score = await verl.compute_score("hard", "a", "", {}, release=release)
    assert (score["score"], score["countermark_failed"]) == (0.0, 1.0)
    with pytest.raises(VerdictFailedError):
        await verl.compute_score("words", "a", "", {}, release=release)


async def test_every_adapter_takes_a_release(release: str) -> None:
    assert (await verl.compute_score("cities", "PARIS", "Paris", {}, release=release))["score"] == 1.0
    assert verl.compute_score_sync("x", "7", "7", {}, release=NAME, task="sums")["score"] == 1.0
    args = SimpleNamespace(countermark_release=NAME)
    sample = SimpleNamespace(prompt="?", response="PARIS", label="Paris", metadata={"data_source": "cities"})
    assert await slime.rm_score(args, sample) == 1.0
    found = openrlhf_reward(release=NAME, task="words")(["?PARIS"], ["?"], ["Paris"])
    assert [float(each) for each in found["rewards"]] == [1.0]


async def test_adapters_that_read_rows_take_a_release(release: str) -> None:
    row = {"answer": "Paris", "data_source": "cities"}
    assert await areal.reward(release=release).in_the_loop()("?", "PARIS", **row) == 1.0
    scores = await GroupScorer(release=NAME).scores(row, ["PARIS", "Rome"])
    assert scores == [1.0, 0.0]
    assert lm_eval.processor(release=NAME)(row, ["PARIS"]) == {"countermark": 1.0, "countermark_failed": 0.0}
    # The metric puts verdicts together itself, and keeps what the card says of a failure.
    assert lm_eval.metric(release=NAME, task="hard")(references=[""], predictions=["a"]) == 0.0
    with pytest.raises(VerdictFailedError):
        lm_eval.metric(release=NAME, task="words")(references=[""], predictions=["a"])


async def test_a_row_of_no_task_is_an_error_and_so_is_a_release_beside_a_verifier(release: str) -> None:
    with pytest.raises(InvalidInputError, match="which is no task of release"):
        await reward(release=NAME)(completions=["a"], solution=["a"])
    with pytest.raises(InvalidInputError, match="not both"):
        reward("exact:1.0.0", release=NAME)
    with pytest.raises(InvalidInputError, match="not both"):
        reward(task="words")
