"""slime's remote reward: the whole reply becomes the sample's reward, so the verdict is in it."""

from typing import Any

import httpx

PATH = "/slime/exact:1.0.0"


def test_verdict_and_pin_come_back_with_the_score(http: httpx.Client) -> None:
    for response, score in (("42", 1.0), ("41", 0.0)):
        reply = http.post(PATH, json={"prompt": "6*7", "response": response, "label": "42"}).json()
        assert (reply["score"], reply["reward"], reply["outcome"]) == (score, score, "scored")
        assert reply["verifier"] == http.get("/v1/verifiers/exact:1.0.0").json()["ref"]
        assert reply["detail"]["answer"] == response
        assert reply["surroundings"].keys() == {"python", "platform", "containment"}


def test_a_prompt_of_messages_is_the_last_that_the_user_said(http: httpx.Client) -> None:
    """The verifier `asking` scores the prompt."""
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "?"},
        {"role": "user", "content": [{"type": "text", "text": "last"}]},
    ]
    for prompt, label in ((messages, "last"), ("plain", "plain")):
        body = {"prompt": prompt, "response": "x", "label": label}
        assert http.post("/slime/asking:1.0.0", json=body).json()["score"] == 1.0


def test_a_sample_is_stored_and_found_again(http: httpx.Client) -> None:
    body = {"prompt": "", "response": "stored by slime", "label": "42"}
    assert [http.post(PATH, json=body).json()["cached"] for _ in range(2)] == [False, True]
