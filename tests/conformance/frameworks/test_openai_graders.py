"""The OpenAI SDK's own grader calls: numbers as the verifier's, and no exception or flag that is a 0."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from countermark_service.store.access_keys import AccessKeys
from tests.conformance.frameworks.conftest import Fetched
from tests.conformance.frameworks.fetched import Package, run_client
from tests.conformance.frameworks.samples import kill_at, started_again
from tests.conformance.frameworks.wire import Wire, golden, hold_to_golden, replay
from tests.integration.api.parts import link_environments
from tests.support import ServiceProcess

SDK = Package("openai", alone=(), light=("openai==3.51.0",))
DRIVER = Path(__file__).parent / "drivers" / "openai_graders.py"

CHECK = {
    "type": "string_check", "name": "same", "input": "{{sample.output_text}}", "reference": "{{item.answer}}",
    "operation": "eq",
}  # fmt: skip
LIKE = {
    "type": "text_similarity", "name": "like", "input": "{{sample.output_text}}", "reference": "{{item.answer}}",
    "evaluation_metric": "fuzzy_match",
}  # fmt: skip
OWN = {
    "type": "python", "name": "own",
    "source": "def grade(sample, item):\n    return len(sample['output_text']) / len(item['answer'])",
}  # fmt: skip
CRASH = {"type": "python", "name": "crash", "source": "def grade(sample, item):\n    return item['nothing']"}
MULTI = {
    "type": "multi",
    "name": "all",
    "graders": {"a": CHECK, "b": LIKE},
    "calculate_output": "0.25 * a + b",
}
AWAY = {
    "type": "score_model", "name": "away", "model": "nobody-serves-this",
    "input": [{"role": "user", "content": "{{sample.output_text}}"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def sdk(fetched: Fetched) -> Path:
    """The folder with the SDK."""
    return fetched(SDK)


def called(
    sdk: Path,
    url: str,
    calls: list[dict[str, Any]],
    *,
    validate: Any = (),
    key: str = "k",
    at_once: int = 8,
    retries: int = 2,
) -> dict[str, Any]:
    """Have the SDK run graders."""
    told = {"base_url": f"{url}/openai/v1", "key": key, "calls": calls, "at_once": at_once}
    found: dict[str, Any] = run_client(sdk, DRIVER, told | {"validate": list(validate), "retries": retries})
    return found


def call(grader: dict[str, Any], sample: str, answer: str = "the cat") -> dict[str, Any]:
    return {"grader": grader, "model_sample": sample, "item": {"answer": answer}}


def test_each_kind_is_parsed_with_its_number(sdk: Path, service_url: str) -> None:
    calls = [
        call(CHECK, "the cat"), call(CHECK, "the bat"), call(LIKE, "the bat"), call(OWN, "the cat the cat"),
        call(MULTI, "the bat"), call(CRASH, "the cat"),
    ]  # fmt: skip
    with Wire(service_url) as wire:
        found = called(sdk, wire.url, calls, validate=[CHECK, MULTI])
    rewards = [run["reward"] for run in found["runs"]]
    assert rewards == [1.0, 0.0, pytest.approx(6 / 7), pytest.approx(15 / 7), pytest.approx(6 / 7), None]
    assert [run["flags"] for run in found["runs"]] == [[]] * 5 + [["python_grader_runtime_error"]]
    assert found["runs"][4]["sub_rewards"] == {"a": 0.0, "b": pytest.approx(6 / 7)}
    assert [one["grader"]["name"] for one in found["validated"]] == ["same", "all"]
    assert found["validated"][0]["countermark"]["digest"] == found["runs"][0]["digest"]
    hold_to_golden("openai_graders", wire.requests)


def test_two_hundred_at_once_get_the_verifier_s_scores(sdk: Path, service_url: str) -> None:
    texts = [f"the {word} {number}" for number in range(100) for word in ("cat", "bat")]
    answers = [text.replace("bat", "cat") for text in texts]
    found = called(
        sdk, service_url, [call(LIKE, *pair) for pair in zip(texts, answers, strict=True)], at_once=200
    )
    items = [{"response": text, "reference": answer} for text, answer in zip(texts, answers, strict=True)]
    direct = httpx.post(
        f"{service_url}/v1/score",
        json={"verifier": "openai/text-similarity:1.0.0", "items": items},
        timeout=300,
    )
    assert [run["reward"] for run in found["runs"]] == [one["score"] for one in direct.json()["verdicts"]]


def test_what_cannot_be_graded_raises_and_only_what_may_pass_is_sent_again(
    sdk: Path, service_url: str
) -> None:
    bad = {**CHECK, "operation": "gt"}
    with Wire(service_url, lambda number: (503, b"{}") if number in (1, 2) else None) as wire:
        runs = called(sdk, wire.url, [call(bad, "x"), call(CHECK, "the cat"), call(AWAY, "x")], at_once=1)[
            "runs"
        ]
    assert (runs[0]["raised"], runs[0]["status"], runs[0]["body"]["param"]) == (
        "BadRequestError",
        400,
        "grader.operation",
    )
    assert runs[1]["reward"] == 1.0
    assert (runs[2]["raised"], runs[2]["status"]) == ("InternalServerError", 503)
    assert wire.statuses == [
        400,
        503,
        503,
        200,
        503,
    ]  # no endpoint: the reply says that asking again is in vain


def test_a_full_queue_is_waited_for(sdk: Path, narrow: ServiceProcess) -> None:
    with Wire(narrow.url) as wire:
        calls = [call(CHECK, f"{number}", f"{number}") for number in range(40)]
        found = called(sdk, wire.url, calls, at_once=40, retries=10)
    assert 429 in wire.statuses
    assert [run["reward"] for run in found["runs"]] == [1.0] * 40


def test_a_service_that_is_killed_and_comes_back_costs_no_number(sdk: Path, narrow: ServiceProcess) -> None:
    calls = [call(CHECK, f"r{n}", f"r{n if n % 3 else -n}") for n in range(1, 60)]
    with Wire(narrow.url, kill_at(narrow, 20)) as wire, started_again(narrow):
        found = called(sdk, wire.url, calls, at_once=2, retries=10)
    assert 504 in wire.statuses
    assert [run["reward"] for run in found["runs"]] == [float(n % 3 > 0) for n in range(1, 60)]


def test_the_sdk_s_key_is_the_service_s(
    sdk: Path, shared_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = link_environments(tmp_path_factory.mktemp("keyed"), shared_root)
    secret, _ = AccessKeys(data / "keys.json").add(["score"], "trainer")
    service = ServiceProcess(data).start()
    try:
        (good,) = called(sdk, service.url, [call(CHECK, "the cat")], key=secret)["runs"]
        (bad,) = called(sdk, service.url, [call(CHECK, "the cat")], key="cmk_wrong")["runs"]
    finally:
        service.stop()
    assert good["reward"] == 1.0
    assert (bad["raised"], bad["status"]) == ("AuthenticationError", 401)


def test_what_the_sdk_sends_is_answered_where_it_cannot_be_had(service_url: str) -> None:
    with httpx.Client(base_url=service_url, timeout=300) as client:
        answers = {str(request["body"]): replay(request, client) for request in golden("openai_graders")}
    assert len(answers) == 8
    assert {answer.status_code for answer in answers.values()} == {200}
    rewards = [answer.json()["reward"] for answer in answers.values() if "reward" in answer.json()]
    assert sorted(reward for reward in rewards if reward is not None)[:2] == [0.0, pytest.approx(6 / 7)]
