"""ROLL's remote reward system: a task is submitted and asked for, whichever process answers."""

from typing import Any

import httpx
import pytest

from tests.support import ServiceProcess


def task(response: str, info: Any, **more: Any) -> dict[str, Any]:
    """Return a task as ROLL sends it."""
    return {
        "priority": 1,
        "project_id": "p",
        "experiment_id": "e",
        "global_step": 0,
        "data_id": "d",
        "rollout_id": "r",
        "prompt": "?",
        "response": response,
        "reward_info": info,
        "reward_manager": {},
        "timeout": 300,
        **more,
    }


def submitted(http: httpx.Client, body: dict[str, Any], path: str = "/exact:1.0.0") -> str:
    answer = http.post(f"/roll{path}/submit_task", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["errcode"] == 0
    return str(answer.json()["reward_request_id"])


def result(http: httpx.Client, task_id: str, path: str = "/exact:1.0.0") -> httpx.Response:
    return http.request("GET", f"/roll{path}/task_result", json={"reward_request_id": task_id})


def test_a_task_has_the_score_of_its_verifier(http: httpx.Client) -> None:
    for response, score in (("4", 1.0), ("5", 0.0)):
        body = result(http, submitted(http, task(response, {"ground_truth": "4"}))).json()
        assert (body["errcode"], body["reward_score"]) == (0, score)
        (pin,) = body["dimention_reward_score"]
        assert pin.startswith("exact:1.0.0@sha256:")


def test_the_verifier_may_stand_in_the_reward_manager(http: httpx.Client) -> None:
    manager = {"verifier": "numeric:1.0.0", "params": {}}
    task_id = submitted(http, task("so it is 4.0", {"reference": "4"}, reward_manager=manager), "")
    assert result(http, task_id, "").json()["reward_score"] == 1.0


def test_programs_and_their_tests_are_tasks_too(http: httpx.Client) -> None:
    cases = {"case_type": "text", "test_cases": {"inputs": ["1 2"], "outputs": ["3"]}}
    response = "```python\na, b = map(int, input().split())\nprint(a + b)\n```"
    task_id = submitted(http, task(response, cases), "/python-stdio:1.0.0")
    assert result(http, task_id).json()["reward_score"] == 1.0


def test_a_task_outlives_the_process_that_took_it(
    http: httpx.Client, narrow_service: ServiceProcess, keys: dict[str, str]
) -> None:
    task_id = submitted(http, task("4", "4"))
    with httpx.Client(base_url=f"{narrow_service.url}/t/{keys['score']}", timeout=300) as other:
        assert result(other, task_id).json()["reward_score"] == 1.0


@pytest.mark.parametrize("command", ["raise", "crash", "sleep"])
def test_what_may_come_yet_is_an_error_and_never_a_score(http: httpx.Client, command: str) -> None:
    answer = result(http, submitted(http, task(command, "x"), "/subject:1.0.0"))
    assert (answer.status_code, answer.json()["errcode"]) == (503, 2)
    assert "reward_score" not in answer.json()


def test_what_can_never_have_a_score_is_a_result_without_one(http: httpx.Client) -> None:
    body = result(http, submitted(http, task("unreadable", "x"), "/subject:1.0.0")).json()
    assert (body["errcode"], body["reward_score"]) == (0, None)
    assert "bad_reference" in body["errmsg"]


def test_what_cannot_be_scored_is_said_when_it_is_submitted(http: httpx.Client) -> None:
    assert http.post("/roll/nobody:1/submit_task", json=task("4", "4")).status_code == 404
    unnamed = http.post("/roll/submit_task", json=task("4", "4"))
    assert (unnamed.status_code, "verifier" in unnamed.json()["errmsg"]) == (422, True)
    params = http.post(
        "/roll/exact:1.0.0/submit_task", json=task("4", "4", reward_manager={"params": {"no": 1}})
    )
    assert (params.status_code, params.json()["errcode"]) == (422, 2)
    assert http.post("/roll/exact:1.0.0/submit_task", json={"response": "4"}).status_code == 422


@pytest.mark.parametrize("task_id", ["", "x", "eJw=", "AAAA", "eJyLjgUAARUAuQ==", "é"])
def test_an_id_of_somebody_else_is_refused(http: httpx.Client, task_id: str) -> None:
    answer = result(http, task_id)
    assert (answer.status_code, answer.json()["errcode"]) == (422, 2)


def test_a_key_counts_in_roll_s_own_header_too(narrow_service: ServiceProcess, keys: dict[str, str]) -> None:
    url = f"{narrow_service.url}/roll/exact:1.0.0/submit_task"

    def status(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(url, json=task("4", "4"), headers=named, timeout=300).status_code

    assert status(XRL_Authorization=f"Bearer {keys['score']}", BusinessType="online") == 200
    assert status(Authorization=f"Bearer {keys['score']}") == 200
    assert [status(), status(XRL_Authorization="Bearer cmk_wrong")] == [401, 401]
    assert status(XRL_Authorization=f"Bearer {keys['run']}") == 403
