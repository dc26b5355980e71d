"""reward-kit's remote evaluator: what is valid, which messages count, and both ways to send a key."""

from typing import Any

import httpx

from tests.support import ServiceProcess

PATH = "/reward-kit/exact:1.0.0/evaluate"


def talk(answer: str | None, *more: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "6*7?"}, {"role": "assistant", "content": answer}, *more]


def test_a_result_has_every_key_and_says_that_it_is_valid(http: httpx.Client) -> None:
    reply = http.post(
        PATH, json={"messages": talk("42"), "ground_truth": "42", "kwargs": {}, "tools": None}
    ).json()
    assert reply.keys() == {
        "score",
        "is_score_valid",
        "reason",
        "metrics",
        "step_outputs",
        "error",
        "countermark",
    }
    assert (reply["score"], reply["is_score_valid"], reply["error"]) == (1.0, True, None)
    assert reply["countermark"]["verifier"].startswith("exact:1.0.0@sha256:")


def test_the_last_message_of_the_assistant_is_scored(http: httpx.Client) -> None:
    messages = [*talk("41"), *talk("42", {"role": "user", "content": "Thanks"})]
    assert http.post(PATH, json={"messages": messages, "ground_truth": "42"}).json()["score"] == 1.0
    answer = http.post(PATH, json={"messages": messages[:1], "ground_truth": "42"})
    assert (answer.status_code, answer.json()["is_score_valid"]) == (422, False)


def test_parameters_come_beside_or_among_the_arguments(http: httpx.Client) -> None:
    body = {"messages": talk("YES"), "ground_truth": "yes"}
    params = {"params": {"case_fold": True}}
    assert [
        http.post(PATH, json=body | more).json()["score"] for more in ({}, params, {"kwargs": params})
    ] == [0, 1, 1]


def test_its_health_names_the_verifier(http: httpx.Client) -> None:
    found = http.get("/reward-kit/exact:1.0.0/health").json()
    assert (found["status"], found["reward_function"].partition("@")[0]) == ("ok", "exact:1.0.0")
    assert http.get("/reward-kit/nobody:1.0.0/health").status_code == 404


def test_a_key_comes_in_either_header(narrow_service: ServiceProcess, keys: dict[str, str]) -> None:
    body = {"messages": talk("42"), "ground_truth": "42"}
    for headers, status in (
        ({}, 401),
        ({"X-Api-Key": "wrong"}, 401),
        ({"X-Api-Key": keys["audit"]}, 403),
        ({"X-Api-Key": keys["score"]}, 200),
        ({"Authorization": f"Bearer {keys['score']}"}, 200),
        ({"Authorization": ""}, 401),
    ):
        assert (
            httpx.post(narrow_service.url + PATH, json=body, headers=headers, timeout=300).status_code
            == status
        )
