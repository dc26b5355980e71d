"""OpenRLHF's remote reward model: batches of any length, and where the response begins."""

import json
from typing import Any

import httpx
import pytest

EXACT = "openai/string-check:1.0.0"
PATH = f"/openrlhf/{EXACT}/get_reward"


def rewards(
    http: httpx.Client, query: list[str], prompts: list[str], labels: list[Any], options: str = ""
) -> Any:
    answer = http.post(PATH + options, json={"query": query, "prompts": prompts, "labels": labels})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("count", [0, 1, 3, 5000])
def test_a_batch_of_any_length_has_lists_as_long_in_its_order(http: httpx.Client, count: int) -> None:
    """5000 is more than one request of the native API takes."""
    texts = [str(number) for number in range(count)]
    labels = [text if number % 3 else "other" for number, text in enumerate(texts)]
    found = rewards(http, [f"Q{text}" for text in texts], ["Q"] * count, labels)

    wanted = [float(number % 3 > 0) for number in range(count)]
    assert found == {"rewards": wanted, "scores": wanted, "extra_logs": {}}


def test_an_empty_batch_for_nobody_is_no_success(http: httpx.Client) -> None:
    answer = http.post("/openrlhf/nobody:1/get_reward", json={"query": [], "prompts": [], "labels": []})
    assert answer.status_code == 404


@pytest.mark.parametrize("before", ["", "<s>", "<|begin_of_text|>", "<bos> ", "[CLS]", "<s>\n<|im_start|>"])
def test_special_tokens_before_the_prompt_are_let_pass(http: httpx.Client, before: str) -> None:
    assert rewards(http, [f"{before}What is 6*7?42</s>"], ["What is 6*7?"], ["42"])["rewards"] == [1.0]


@pytest.mark.parametrize("query", ["of 6*7?42", "Prompt: What is 6*7?42", "42", "", "what is 6*7?42"])
def test_a_prompt_that_is_not_there_is_an_error_and_never_part_of_the_answer(
    http: httpx.Client, query: str
) -> None:
    body = {"query": ["What is 6*7?42", query], "prompts": ["What is 6*7?"] * 2, "labels": ["42", "42"]}
    answer = http.post(PATH, json=body)

    assert (answer.status_code, answer.json()["code"], answer.json()["item"]) == (422, "invalid_request", 1)
    assert http.post(PATH + "?prompt=keep", json=body).json()["rewards"] == [0.0, float(query == "42")]


def test_a_prompt_that_comes_again_in_the_response_stays_there(http: httpx.Client) -> None:
    assert rewards(http, ["aab"], ["a"], ["ab"])["rewards"] == [1.0]


def test_one_item_without_a_score_is_an_error_of_the_batch_and_the_others_are_kept(
    http: httpx.Client,
) -> None:
    body = {"query": ["one right", "raise one", "two"], "prompts": [""] * 3, "labels": ["right"] * 3}
    answer = http.post("/openrlhf/subject:1.0.0/get_reward", json=body)

    assert answer.status_code == 503
    assert [one["index"] for one in answer.json()["failed"]] == [1]
    again = http.post(
        "/v1/score",
        json={"verifier": "subject:1.0.0", "items": [{"response": "one right", "reference": "right"}]},
    )
    assert again.json()["verdicts"][0]["cached"] is True
    chosen = http.post("/openrlhf/subject:1.0.0/get_reward?on_failure=zero", json=body)
    assert chosen.json()["rewards"] == [1.0, 0.0, 0.0]


def test_labels_may_name_verifiers_of_several_data_sets(http: httpx.Client) -> None:
    labels = [
        json.dumps({"verifier": "numeric:1.0.0", "reference": "42"}),
        {"verifier": "exact:1.0.0", "reference": "YES", "params": {"case_fold": True}},
        json.dumps({"verifier": "numeric:1.0.0", "reference": "41"}),
    ]
    body = {"query": ["42", "yes", "42"], "prompts": [""] * 3, "labels": labels}
    assert http.post("/openrlhf/get_reward", json=body).json()["rewards"] == [1.0, 1.0, 0.0]
    for label in (
        '{"reference": "42"}',
        '{"verifier": 3, "reference": "42"}',
        '{"verifier": "a:1", "more": 1}',
    ):
        answer = http.post("/openrlhf/get_reward", json={"query": ["42"], "prompts": [""], "labels": [label]})
        assert answer.status_code == 422


@pytest.mark.parametrize("change", [{"prompts": []}, {"labels": ["1"]}, {"query": []}])
def test_lists_of_unequal_lengths_are_refused(http: httpx.Client, change: dict[str, Any]) -> None:
    body = {"query": ["1", "2"], "prompts": ["", ""], "labels": ["1", "2"]} | change
    answer = http.post(PATH, json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, "query")
