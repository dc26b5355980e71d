"""NeMo Gym's resources server: the echo, the sessions, the metrics, and what each client takes for invalid."""

import json
import math
from typing import Any

import httpx
import pytest

SUBJECT, EXACT = "subject:1.0.0", "exact:1.0.0"


def row(text: str, **extras: Any) -> dict[str, Any]:
    """Return a row with the response that a policy gave."""
    parts = [{"type": "output_text", "text": part, "annotations": []} for part in (text[:1], text[1:])]
    output = [
        {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": parts},
    ]
    response = {"id": "resp_1", "created_at": 1.5, "model": "policy", "object": "response", "output": output}
    created = {"input": [{"role": "user", "content": "6*7?"}]}
    return {"responses_create_params": created, "response": response, **extras}


def axolotl_row(text: str, **extras: Any) -> dict[str, Any]:
    made = row(text, **extras)
    made["response"] |= {"id": "resp", "model": "axolotl"}
    return made


def test_the_reply_is_the_request_as_it_came_with_reward_and_verdict(http: httpx.Client) -> None:
    sent = json.dumps(row("42", expected_answer="42", n=[1, 2.50, 1e300], said="é\u2028", big=2**63)).encode()
    answer = http.post(
        f"/nemo-gym/{EXACT}/verify", content=b" " + sent + b"\n", headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 200, answer.text
    assert answer.content.startswith(b" " + sent[:-1])
    reply = answer.json()
    found = {name: reply.pop(name) for name in ("reward", "countermark")}
    assert reply == json.loads(sent)
    assert found["reward"] == 1.0
    assert found["countermark"]["verifier"].startswith(f"{EXACT}@sha256:")
    assert found["countermark"]["outcome"] == "scored"


def test_a_stored_rollout_that_is_verified_again_loses_its_old_reward(http: httpx.Client) -> None:
    stored = row("41", expected_answer="42", reward=1.0, countermark={"verifier": "old"})
    answer = http.post(f"/nemo-gym/{EXACT}/verify", json=stored)
    assert answer.text.count('"reward"') == 1
    assert answer.json()["reward"] == 0.0
    assert answer.json()["countermark"]["verifier"] != "old"


@pytest.mark.parametrize("prefix", ["", "/nemo-gym", "/ng-rollout/7-0"])
def test_the_routes_without_a_pin_are_there_for_clients_without_a_path(
    http: httpx.Client, prefix: str
) -> None:
    assert http.post(f"{prefix}/seed_session", json=row("", verifier=EXACT)).json() == {}
    assert http.get(f"{prefix}/reverify_mode").json() == "stateless"
    answer = http.post(f"{prefix}/verify", json=row("42", verifier=EXACT, expected_answer="42"))
    assert answer.json()["reward"] == 1.0


def test_every_route_is_below_a_pin_too_and_a_session_for_nobody_is_refused(http: httpx.Client) -> None:
    assert http.post(f"/nemo-gym/{EXACT}/seed_session", json=row("")).json() == {}
    assert (
        http.post(f"/nemo-gym/{EXACT}/close_session", json={"resources_session_id": "s"}).status_code == 200
    )
    assert http.get("/nemo-gym/openai/string-check:1.0.0/reverify_mode").json() == "stateless"
    assert http.post(f"/nemo-gym/{EXACT}/aggregate_metrics", json={"verify_responses": []}).status_code == 200
    assert http.post("/nemo-gym/nobody:1.0.0/seed_session", json=row("")).status_code == 404


def test_a_session_with_a_name_gets_it_back(http: httpx.Client) -> None:
    body = {"resources_session_id": "s1", "episode_id": "e", "task_id": "t", "task_data": {}}
    for route in ("seed_session", "close_session"):
        assert http.post(f"/nemo-gym/{route}", json=body).json() == {"resources_session_id": "s1"}


@pytest.mark.parametrize("name", ["reference", "expected_answer", "ground_truth", "answer", "label"])
def test_the_reference_is_the_field_that_data_sets_have_for_it(http: httpx.Client, name: str) -> None:
    path = f"/nemo-gym/{EXACT}/verify"
    assert http.post(path, json=row("42", **{name: "42"})).json()["reward"] == 1.0
    assert http.post(path, json=row("42", **{name: "41"})).json()["reward"] == 0.0


def test_parameters_come_with_the_row(http: httpx.Client) -> None:
    path = f"/nemo-gym/{EXACT}/verify"
    assert (
        http.post(path, json=row("YES", answer="yes", verifier_params={"case_fold": True})).json()["reward"]
        == 1.0
    )
    assert http.post(path, json=row("YES", answer="yes", verifier_params={"fold": True})).status_code == 422
    assert http.post(path, json=row("YES", answer="yes", verifier_params=1)).status_code == 422


def test_a_row_that_names_another_verifier_than_the_path_is_refused(http: httpx.Client) -> None:
    pin = http.get(f"/v1/verifiers/{EXACT}").json()["ref"]
    path = f"/nemo-gym/{EXACT}/verify"
    assert http.post(path, json=row("42", answer="42", verifier=pin)).json()["reward"] == 1.0
    assert http.post(path, json=row("42", answer="42", verifier="a word of the data set")).status_code == 200
    assert http.post(path, json=row("42", answer="42", verifier="numeric:1.0.0")).status_code == 422


@pytest.mark.parametrize(
    "change",
    [
        {"response": None},
        {"response": {}},
        {"response": {"output": "42"}},
        {"answer": None},
        {"verifier": None},
    ],
)
def test_a_row_without_what_is_needed_has_no_reward(http: httpx.Client, change: dict[str, Any]) -> None:
    made = row("42", answer="42", verifier="exact:1.0.0") | change
    if change == {"answer": None}:
        del made["answer"]
    answer = http.post("/nemo-gym/verify", json=made)
    assert (answer.status_code, "reward" in answer.json()) == (422, False)


def test_a_response_without_a_message_is_an_empty_one(http: httpx.Client) -> None:
    made = row("42", answer="42")
    made["response"]["output"] = made["response"]["output"][:1]
    assert http.post(f"/nemo-gym/{EXACT}/verify", json=made).json()["countermark"]["outcome"] == "no_answer"


def test_what_has_no_score_is_an_error_in_nemo_gym_s_own_words(http: httpx.Client) -> None:
    answer = http.post(f"/nemo-gym/{SUBJECT}/verify", json=row("raise", answer="right"))
    assert answer.status_code == 503
    assert answer.json()["failure_kind"] == "verifier_error"
    assert "no score" in answer.json()["failure_reason"]


@pytest.mark.parametrize("path", [f"/nemo-gym/{SUBJECT}/verify", "/nemo-gym/nobody:1.0.0/verify", "/verify"])
def test_axolotl_which_makes_0_of_every_error_is_told_nan(http: httpx.Client, path: str) -> None:
    answer = http.post(path, json=axolotl_row("raise", answer="right"))
    reward = answer.json().get("reward", 0.0) if answer.is_success else 0.0  # as axolotl reads it
    assert math.isnan(float(reward))
    assert answer.json()["mask_sample"] is True


def test_axolotl_s_rewards_are_those_of_everybody(http: httpx.Client) -> None:
    for text, reward in (("42", 1.0), ("41", 0.0)):
        answer = http.post(f"/nemo-gym/{EXACT}/verify", json=axolotl_row(text, answer="42"))
        assert answer.json()["reward"] == reward


def test_metrics_are_of_what_was_measured(http: httpx.Client) -> None:
    rows = [
        {"_ng_task_index": 0, "reward": 1.0, "tokens": 3},
        {"_ng_task_index": 0, "reward": 0.0, "tokens": 5},
        {"_ng_task_index": 1, "reward": 1.0, "note": "x"},
        {"_ng_task_index": 1, "reward": 0.0, "mask_sample": True},
    ]
    found = http.post("/nemo-gym/aggregate_metrics", json={"verify_responses": rows}).json()

    assert found["key_metrics"] == {"mean/reward": pytest.approx(2 / 3), "mean/tokens": 4.0}
    assert [one["mean/reward"] for one in found["group_level_metrics"]] == [0.5, 1.0]
    assert found["agent_metrics"]["max/tokens"] == 5.0
    empty = http.post("/nemo-gym/aggregate_metrics", json={"verify_responses": []}).json()
    assert empty == {"group_level_metrics": [], "agent_metrics": {}, "key_metrics": {}}
