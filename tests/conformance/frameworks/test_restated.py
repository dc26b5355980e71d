"""Clients that no index has as a package: what they send, restated byte for byte in golden files.

Each test sends what the client sends, and reads the answer as the client's code does.
"""

import json
from typing import Any

import httpx
import pytest

from tests.conformance.frameworks.wire import golden, replay


@pytest.fixture
def client(service_url: str) -> Any:
    with httpx.Client(base_url=service_url, timeout=120) as client:
        yield client


def test_open_instruct_s_code_verifier(client: httpx.Client) -> None:
    """Its score is the share of passed tests."""
    assertions, pairs = (replay(request, client) for request in golden("open_instruct_code_verifier"))
    assert [answer.status_code for answer in (assertions, pairs)] == [200, 200]
    results = [answer.json()["results"] for answer in (assertions, pairs)]
    assert [sum(one) / len(one) for one in results] == [0.5, 1.0]
    assert all(len(answer.json()["runtimes"]) == 2 for answer in (assertions, pairs))


def test_open_r1_s_piston_client(client: httpx.Client) -> None:
    """It takes a 200 whose body is JSON, and reads `run`; all else it sends again."""
    runtimes, reverse, ioi = (replay(request, client) for request in golden("open_r1_piston_client"))
    assert "python" in [one["language"] for one in runtimes.json()]
    assert (reverse.status_code, reverse.json()["run"]["stdout"]) == (200, "cba\n")
    assert "Resource temporarily unavailable" not in reverse.json()["run"]["stderr"]
    assert ioi.status_code == 400


def test_open_r1_s_routed_sandbox(client: httpx.Client) -> None:
    """The text of an execution is that of its main result; what is no number is None."""
    (request,) = golden("open_r1_routed_sandbox")
    rewards: list[float | None] = []
    for entry in replay(request, client).json():
        execution = entry["execution"] or {"results": [], "error": None}
        assert execution.keys() >= {"results", "error"}
        text = next((one["text"] for one in execution["results"] if one["is_main_result"]), None)
        rewards.append(None if text is None else float(text))
    assert rewards == [1.0, 0.5, 0.0, None]


def test_open_r1_s_routed_morph_sandbox(client: httpx.Client) -> None:
    """It makes a number of each `text`, and zeros of the whole batch where one is missing."""
    (request,) = golden("open_r1_routed_morph")
    rewards = [float(entry["text"]) for entry in replay(request, client).json()]
    assert rewards[:3] == [1.0, 0.5, 0.0]
    assert rewards[3] != rewards[3]  # not a number


def test_roll_s_code_tester(client: httpx.Client) -> None:
    """It posts each case twice, with a key that the real server has not, and compares the output itself."""
    for request in golden("roll_code_tester"):
        body = replay(request, client).json()
        assert body["status"] == "Success"
        assert body["run_result"]["stdout"].strip() == request["body"]["expected_stdout"].strip()


def test_roll_s_reward_system(client: httpx.Client) -> None:
    """It asks for a result by GET with a body, and takes 0 for done and 1 for running."""
    submit, ask = golden("roll_reward_system")
    taken = replay(submit, client).json()
    assert taken["errcode"] == 0
    asked = {**ask, "body": {"reward_request_id": taken["reward_request_id"]}}
    while (told := replay(asked, client).json())["errcode"] == 1:
        pass
    body = {
        "response": submit["body"]["response"],
        "reference": submit["body"]["reward_info"]["ground_truth"],
    }
    direct = client.post("/v1/score", json={"verifier": "math-verify:0.9.0-r2", "items": [body]}).json()[
        "verdicts"
    ][0]
    assert (told["errcode"], told["reward_score"]) == (0, direct["score"]) == (0, 1.0)
    assert all(isinstance(one, dict) for one in told["dimention_reward_score"].values())


def test_the_golden_files_hold_requests_and_nothing_else() -> None:
    for name in (
        "open_instruct_code_verifier",
        "open_r1_piston_client",
        "roll_reward_system",
        "verl_run_code",
    ):
        for request in golden(name):
            assert request.keys() == {"method", "path", "headers", "body"}
            assert "cmk_" not in json.dumps(request).replace("cmk_of_nobody", "")
