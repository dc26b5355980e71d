"""TRL's signature against the real service; Axolotl and ms-swift hand over the same columns."""

import inspect
import math
import pickle
from pathlib import Path
from typing import Any

import pytest

from countermark import InvalidInputError, VerdictFailedError
from countermark.adapters import axolotl, ms_swift
from countermark.adapters.trl import reward
from tests.integration.adapters.conftest import REF, Direct

COMPLETIONS = ["Paris", "Rome", "", "Paris", "x"]
SOLUTIONS = ["Paris", "Paris", "Paris", "", "x"]


class Log:
    """What a trainer was told."""

    def __init__(self) -> None:
        self.columns: dict[str, list[Any]] = {}
        self.metrics: dict[str, float] = {}

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that TRL adds."""
        return {
            "trainer_state": object(),
            "log_extra": self.columns.__setitem__,
            "log_metric": self.metrics.__setitem__,
            "completion_ids": [[1]] * len(COMPLETIONS),
        }


async def test_one_reward_for_each_completion_and_none_without_a_verdict(direct: Direct) -> None:
    log = Log()
    function = reward(REF)
    rewards = await function(
        prompts=["?"] * 5, completions=COMPLETIONS, solution=SOLUTIONS, level=[1] * 5, **log.arguments()
    )
    assert rewards == direct.rewards(COMPLETIONS, SOLUTIONS) == [1.0, 0.0, 0.0, None, 1.0]
    assert log.columns["exact-1.0.0/outcome"] == ["scored", "scored", "no_answer", "bad_reference", "scored"]
    assert set(log.columns["exact-1.0.0/verifier"]) == {direct.pin}
    assert log.metrics == {"exact-1.0.0/failed": 0.2, "exact-1.0.0/no_answer": 0.2}


async def test_conversations_are_scored_by_what_the_assistant_said_last(direct: Direct) -> None:
    conversations = [[{"role": "assistant", "content": text}] for text in COMPLETIONS]
    prompts = [[{"role": "user", "content": "?"}]] * 5
    rewards = await reward(REF)(prompts=prompts, completions=conversations, solution=SOLUTIONS)
    assert rewards == direct.rewards(COMPLETIONS, SOLUTIONS)


def test_a_trainer_that_cannot_await_gets_an_ordinary_function(direct: Direct) -> None:
    log = Log()
    function = reward(REF, blocking=True)
    rewards = function(prompts=["?"] * 5, completions=COMPLETIONS, solution=SOLUTIONS, **log.arguments())
    assert rewards == direct.rewards(COMPLETIONS, SOLUTIONS)
    assert (function.__name__, log.metrics["exact-1.0.0/failed"]) == ("exact-1.0.0", 0.2)


@pytest.mark.parametrize(
    ("version", "policy"),
    [
        ("1.16.0", "null"),
        ("1.6.0", "null"),
        ("2.0.0.dev0", "null"),
        ("1.5.1", "raise"),
        ("0.29.1", "raise"),
        ("?", "raise"),
    ],
)
async def test_a_trl_that_would_make_a_zero_of_none_gets_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, policy: str
) -> None:
    installed = tmp_path / f"trl-{version}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: trl\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path)
    function = reward(REF)
    if policy == "null":
        assert (await function(completions=COMPLETIONS, solution=SOLUTIONS))[3] is None
    else:
        with pytest.raises(VerdictFailedError):
            await function(completions=COMPLETIONS, solution=SOLUTIONS)
    said = reward(REF, on_failure="null")
    assert (await said(completions=COMPLETIONS, solution=SOLUTIONS))[3] is None


def test_it_is_a_plain_coroutine_function_with_the_name_of_the_metric() -> None:
    function = reward("namespace/math-verify:0.9.0-r2@sha256:" + "0" * 64)
    assert inspect.iscoroutinefunction(function)
    assert inspect.isfunction(function)
    assert function.__name__ == "namespace-math-verify-0.9.0-r2"
    assert reward(REF, name="format").__name__ == "format"
    assert reward().__name__ == "countermark"


@pytest.mark.parametrize(("policy", "expected"), [("zero", 0.0), (-1.0, -1.0)])
async def test_a_failed_verdict_is_a_number_only_if_that_was_said(policy: Any, expected: float) -> None:
    rewards = await reward(REF, on_failure=policy)(completions=COMPLETIONS, solution=SOLUTIONS)
    assert rewards == [1.0, 0.0, 0.0, expected, 1.0]


async def test_raise_names_the_completions_that_have_no_verdict() -> None:
    with pytest.raises(VerdictFailedError, match=r"1 of 5 items .* item 3: bad_reference"):
        await reward(REF, on_failure="raise")(completions=COMPLETIONS, solution=SOLUTIONS)


async def test_rows_name_their_verifiers_themselves_or_by_their_data_source(direct: Direct) -> None:
    responses, references = ["The answer is 7", "Paris"], ["7", "Paris"]
    by_row = reward(REF, gold="answer", verifier_column="verifier")
    assert await by_row(completions=responses, answer=references, verifier=["numeric:1.0.0", None]) == [
        *direct.rewards(responses[:1], references[:1], "numeric:1.0.0"),
        1.0,
    ]
    by_source = reward(
        verifiers={"maths": "numeric:1.0.0", "words": direct.pin}, source_column="task", gold="answer"
    )
    assert await by_source(completions=responses, answer=references, task=["maths", "words"]) == [1.0, 1.0]
    with pytest.raises(InvalidInputError, match="data source 'music'"):
        await by_source(completions=responses, answer=references, task=["maths", "music"])


async def test_parameters_come_from_the_run_and_from_the_row() -> None:
    function = reward(REF, params={"case_fold": True}, params_column="how")
    columns = {"solution": ["paris"] * 3, "how": [None, {"case_fold": False}, {}]}
    assert await function(completions=["Paris"] * 3, **columns) == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"answer": ["a"]}, r"no column 'solution', which is to hold the gold. It has 'answer'"),
        ({"solution": ["a", "b"]}, "'solution' has 2 values for 1 completions"),
        ({"solution": "a"}, "'solution' has a str for 1 completions"),
    ],
)
async def test_a_column_that_does_not_fit_is_named(columns: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        await reward(REF)(completions=["a"], **columns)


async def test_a_reference_that_is_no_json_has_no_verdict_and_its_neighbours_have() -> None:
    rewards = await reward(REF)(completions=["a"] * 3, solution=["a", math.nan, "b"])
    assert rewards == [1.0, None, 0.0]


async def test_axolotl_finds_a_function_by_its_path_and_the_rest_in_the_environment(
    direct: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERMARK_VERIFIER", REF)
    expected = direct.rewards(COMPLETIONS, SOLUTIONS)
    with pytest.raises(VerdictFailedError):
        await axolotl.score(["?"] * 5, COMPLETIONS, reference=SOLUTIONS)
    with pytest.raises(VerdictFailedError):
        await axolotl.reward(REF)(["?"] * 5, COMPLETIONS, solution=SOLUTIONS)
    monkeypatch.setenv("COUNTERMARK_ON_FAILURE", "null")
    assert await axolotl.score(["?"] * 5, COMPLETIONS, reference=SOLUTIONS) == expected
    monkeypatch.setenv("COUNTERMARK_GOLD", "solution")
    assert await axolotl.score(["?"] * 5, COMPLETIONS, solution=SOLUTIONS) == expected
    monkeypatch.setenv("COUNTERMARK_VERIFIER", "nothing:1.0.0")
    assert await axolotl.score(["?"] * 5, COMPLETIONS, solution=SOLUTIONS, verifier=[REF] * 5) == expected
    monkeypatch.setenv("COUNTERMARK_ON_FAILURE", "0.25")
    monkeypatch.setenv("COUNTERMARK_VERIFIER", REF)
    assert (await axolotl.score(["?"] * 5, COMPLETIONS, solution=SOLUTIONS))[3] == 0.25
    assert axolotl.score_blocking(["?"] * 5, COMPLETIONS, solution=SOLUTIONS)[3] == 0.25
    for function in (axolotl.score, axolotl.score_blocking):
        assert len(inspect.signature(function).parameters) >= 2  # which axolotl asks for
        assert pickle.loads(pickle.dumps(function)) is function  # and sends to its workers


async def test_ms_swift_makes_the_class_from_its_table_and_calls_it(direct: Direct) -> None:
    table: dict[str, Any] = {
        "blocking": ms_swift.orm(REF, on_failure="null"),
        "waiting": ms_swift.async_orm(REF, gold="answer", name="AsyncExact", on_failure="null"),
    }
    with pytest.raises(VerdictFailedError):  # ms-swift would make a 0 of None
        ms_swift.orm(REF)()(COMPLETIONS, solution=SOLUTIONS)
    expected = direct.rewards(COMPLETIONS, SOLUTIONS)
    blocking = table["blocking"](args=object())
    assert blocking(COMPLETIONS, solution=SOLUTIONS, trainer_state=None) == expected
    waiting = table["waiting"]()
    assert inspect.iscoroutinefunction(waiting.__call__)
    assert await waiting(COMPLETIONS, answer=SOLUTIONS) == expected
    assert (type(blocking).__name__, type(waiting).__name__) == ("exact-1.0.0", "AsyncExact")
    with pytest.raises(InvalidInputError, match="on_failure"):
        ms_swift.orm(REF, on_failure="nought")
