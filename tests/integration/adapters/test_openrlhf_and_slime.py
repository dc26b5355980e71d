"""OpenRLHF's and slime's signatures against the real service."""

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from countermark import InvalidInputError, VerdictFailedError
from countermark.adapters import slime
from countermark.adapters.openrlhf import response_of, reward
from tests.integration.adapters.conftest import REF, Direct

PROMPT = "<|im_start|>user\nCapital? e.g. Rome<|im_end|>\n<|im_start|>assistant\n"
RESPONSES = ["Paris", "Rome", "", "x"]
LABELS = ["Paris", "Paris", "Paris", "x"]


def plain(values: Any) -> Any:
    """Return a tensor's values, and anything else as it is."""
    return values.tolist() if hasattr(values, "tolist") else values


@pytest.mark.parametrize(
    "wrap",
    [
        lambda response: PROMPT + response,
        lambda response: f"<s>{PROMPT}{response}</s>",
        lambda response: f"<|begin_of_text|>{PROMPT}{response}<|eot_id|>",
        lambda response: f"{PROMPT}{response}<|im_end|>\n<|endoftext|><|endoftext|>",
        lambda response: f"{PROMPT[13:]}{response}<|im_end|>",
        lambda response: f"<s> {PROMPT[13:]}{response}",
    ],
)
def test_openrlhf_rewards_the_response_and_not_what_stands_around_it(
    direct: Direct, wrap: Callable[[str], str]
) -> None:
    found = reward(REF)([wrap(response) for response in RESPONSES], [PROMPT] * 4, LABELS)
    expected = direct.rewards(RESPONSES, LABELS)
    assert plain(found["rewards"]) == plain(found["scores"]) == expected
    assert plain(found["extra_logs"]["countermark_failed"]) == [0.0] * 4


@pytest.mark.parametrize(
    ("query", "prompt", "response"),
    [
        ("ab", "a", "b"),
        ("aab", "a", "ab"),
        ("keep the <|im_end|> inside<|im_end|>", "keep", " the <|im_end|> inside"),
        ("kept as it is  \n", "kept", " as it is  \n"),
        ("no prompt at all", "another prompt altogether, longer than the query", None),
        ("another", "", "another"),
        ("", "", ""),
        ("", "prompt", None),
        ("the end of it and more", "x" * 40 + "the end of it", None),
        ("y: the end of the prompt, then more", "x: the end of the prompt, then", None),
        ("the end of the prompt, then more", "x: the end of the prompt, then", " more"),
    ],
)
def test_the_response_is_what_follows_the_prompt(query: str, prompt: str, response: str | None) -> None:
    assert response_of(query, prompt) == response


def test_a_text_without_its_prompt_has_no_verdict(direct: Direct) -> None:
    with pytest.raises(VerdictFailedError, match="prompt_not_found"):
        reward(REF)(["something else"], [PROMPT], ["Paris"])
    found = reward(REF, on_failure=-1)(["something else", PROMPT + "Paris"], [PROMPT] * 2, ["Paris"] * 2)
    assert plain(found["rewards"]) == [-1.0, 1.0]
    assert plain(found["extra_logs"]["countermark_failed"]) == [1.0, 0.0]


async def test_openrlhf_calls_from_many_threads_with_one_sample_each(direct: Direct) -> None:
    function = reward(REF)
    calls = [
        asyncio.to_thread(function, [PROMPT + response], [PROMPT], [label])
        for response, label in zip(RESPONSES * 8, LABELS * 8, strict=True)
    ]
    found = await asyncio.gather(*calls)
    assert [plain(each["rewards"])[0] for each in found] == direct.rewards(RESPONSES * 8, LABELS * 8)


def test_openrlhf_labels_may_carry_the_verifier_of_the_row() -> None:
    labels = [
        json.dumps({"verifier": "numeric:1.0.0", "reference": "7"}),
        {"reference": "paris", "params": {"case_fold": True}},
    ]
    found = reward(REF, labels="pinned")(["?The answer is 7", "?Paris"], ["?", "?"], labels)
    assert plain(found["rewards"]) == [1.0, 1.0]
    for label in ("7", '{"answer": 7}', '{"reference": 7, "verifer": "x"}', None):
        with pytest.raises(InvalidInputError, match="labels='pinned' promises"):
            reward(REF, labels="pinned")(["?7"], ["?"], [label])


@pytest.mark.parametrize("settings", [{"on_failure": "null"}, {"labels": "pin"}])
def test_openrlhf_settings_that_mean_nothing_are_refused_at_once(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(settings))):
        reward(REF, **settings)


def test_openrlhf_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="2 queries, 1 prompts and 1 labels"):
        reward(REF)(["a", "b"], ["a"], ["a"])


# slime ---------------------------------------------------------------------------------------------


def sample(response: str, label: Any, **metadata: Any) -> SimpleNamespace:
    """Return a sample as slime has them."""
    return SimpleNamespace(prompt="?", response=response, label=label, metadata=metadata)


def arguments(**more: Any) -> SimpleNamespace:
    """Return slime's arguments."""
    return SimpleNamespace(custom_rm_path="countermark.adapters.slime.rm", reward_key="score", **more)


async def test_slime_gets_the_reward_and_who_judged(direct: Direct) -> None:
    args = arguments(countermark_verifier=REF)
    samples = [sample(a, b) for a, b in zip(RESPONSES, LABELS, strict=True)]
    single = await asyncio.gather(*(slime.rm(args, each) for each in samples * 10))
    group = await slime.rm(args, samples)
    assert single == group * 10  # type: ignore[operator]
    assert [each["score"] for each in group] == direct.rewards(RESPONSES, LABELS)  # type: ignore[index]
    assert group[0] == {"score": 1.0, "outcome": "scored", "failed": False, "verifier": direct.pin}  # type: ignore[index]
    assert await slime.rm_score(args, samples) == direct.rewards(RESPONSES, LABELS)
    assert await slime.rm_score(args, samples[0]) == 1.0


async def test_slime_names_the_verifier_in_the_sample_the_arguments_or_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seven = sample("The answer is 7", "7")
    with pytest.raises(InvalidInputError, match="no verifier is named"):
        await slime.rm(arguments(), seven)
    monkeypatch.setenv("COUNTERMARK_VERIFIER", "numeric:1.0.0")
    assert await slime.rm_score(arguments(), seven) == 1.0
    args = arguments(countermark_verifier=REF, countermark_by_source={"maths": "numeric:1.0.0"})
    assert await slime.rm_score(args, seven) == 0.0
    assert await slime.rm_score(args, sample("It is 7", "7", data_source="maths")) == 1.0
    assert await slime.rm_score(args, sample("It is 7", "7", verifier="numeric:1.0.0")) == 1.0
    row = sample("PARIS", "Paris", verifier_params={"case_fold": True})
    assert await slime.rm_score(args, row) == 1.0


async def test_slime_has_no_reward_for_a_failed_verdict_unless_one_was_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    args = arguments(countermark_verifier=REF)
    for given in (sample("a", ""), [sample("a", "a"), sample("a", "")]):
        with pytest.raises(VerdictFailedError):
            await slime.rm(args, given)
    monkeypatch.setenv("COUNTERMARK_ON_FAILURE", "zero")
    kept = await slime.rm(args, sample("a", ""))
    assert (kept["score"], kept["failed"], kept["outcome"]) == (0.0, True, "bad_reference")  # type: ignore[call-overload]
    args = arguments(countermark_verifier=REF, countermark_on_failure=-1)
    assert await slime.rm_score(args, sample("a", "")) == -1.0
    with pytest.raises(InvalidInputError, match="no way to carry 'null'"):
        await slime.rm(arguments(countermark_verifier=REF, countermark_on_failure="null"), sample("a", "a"))
