"""The `sandbox-fusion` SDK against the service."""

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conformance.frameworks.conftest import Fetched
from tests.conformance.frameworks.fetched import Package, run_client
from tests.conformance.frameworks.wire import Wire, golden, hold_to_golden, replay

SDK = Package(
    "sandbox-fusion",
    alone=("sandbox-fusion==0.3.7",),
    light=("requests==2.32.5", "tenacity==9.1.2", "pydantic==2.12.5", "aiohttp==3.13.2"),
)
DRIVER = Path(__file__).parent / "drivers" / "sandbox_fusion_sdk.py"
REFERENCE = {"tests": [{"input": "1 2", "output": "3"}, {"input": "2 2", "output": "4"}]}
ADD = "a, b = map(int, input().split())\nprint(a + b)"


@pytest.fixture(scope="module")
def sdk(fetched: Fetched) -> Path:
    """The folder with the SDK."""
    return fetched(SDK)


def called(sdk: Path, url: str, calls: list[dict[str, Any]]) -> list[Any]:
    """Have the SDK make calls."""
    results: list[Any] = run_client(sdk, DRIVER, {"url": f"{url}/sandbox-fusion", "calls": calls})
    return results


def run(code: str, *, attempts: int = 5, coroutine: bool = False, **fields: Any) -> dict[str, Any]:
    return {
        "kind": "run",
        "fields": {"code": code, "language": "python", **fields},
        "attempts": attempts,
        "async": coroutine,
    }


def submit(
    completion: str, provided: Any, dataset: str = "python-stdio:1.0.0", **more: Any
) -> dict[str, Any]:
    config = {"provided_data": provided}
    return {
        "kind": "submit",
        "fields": {"dataset": dataset, "id": "1", "completion": completion, "config": config},
        **more,
    }


CALLS = [
    run("print(input())", stdin="hello"),
    run("1/0", coroutine=True),
    run("while True: pass", run_timeout=0.3),
    run("print(open('a/b').read())", files={"a/b": base64.b64encode(b"in a file").decode()}),
    run("int main() { return 0; }", language="cpp"),
    submit(f"```python\n{ADD}\n```", {"labels": REFERENCE}),
    submit("```python\nprint(3)\n```", {"labels": REFERENCE}) | {"async": True},
]


def test_runs_and_submissions_come_out_as_the_sdk_reads_them(sdk: Path, service_url: str) -> None:
    with Wire(service_url) as wire:
        hello, crash, loop, file, cpp, right, wrong = called(sdk, wire.url, CALLS)

    assert (hello["status"], hello["run_result"]["stdout"]) == ("Success", "hello\n")
    assert (crash["status"], crash["run_result"]["return_code"]) == ("Failed", 1)
    assert (loop["status"], loop["run_result"]["status"]) == ("Failed", "TimeLimitExceeded")
    assert file["run_result"]["stdout"] == "in a file\n"
    assert (cpp["status"], cpp["compile_result"]["status"]) == ("Success", "Finished")
    assert (right["id"], right["accepted"], wrong["accepted"]) == (1, True, False)
    body = {
        "verifier": "python-stdio:1.0.0",
        "items": [{"response": call["fields"]["completion"], "reference": REFERENCE} for call in CALLS[5:]],
    }
    verdicts = httpx.post(f"{service_url}/v1/score", json=body, timeout=300).json()["verdicts"]
    assert [right["extra"]["score"], wrong["extra"]["score"]] == [one["score"] for one in verdicts]
    hold_to_golden("sandbox_fusion_sdk", wire.requests)


def test_a_504_is_sent_again(sdk: Path, service_url: str) -> None:
    with Wire(service_url, lambda number: (504, b"{}") if number == 0 else None) as wire:
        (right,) = called(sdk, wire.url, [CALLS[5]])
    assert (right["accepted"], wire.statuses) == (True, [504, 200])


def test_what_has_no_verdict_and_what_does_not_run_here_is_raised_and_not_rejected(
    sdk: Path, service_url: str
) -> None:
    unreadable = submit("```python\nprint(3)\n```", {"labels": "no tests at all ["}, attempts=1)
    ruby, refused, nobody = called(
        sdk,
        service_url,
        [
            run("puts 1", language="ruby", attempts=1),
            unreadable,
            submit("x", {"labels": "x"}, "nobody:1", attempts=1),
        ],
    )
    assert "ruby does not run in this service" in ruby
    assert "responded with code 424" in refused
    assert "no score" in refused
    assert "responded with code 404" in nobody


def test_what_the_sdk_sends_is_answered_where_it_cannot_be_had(service_url: str) -> None:
    with httpx.Client(base_url=service_url, timeout=300) as client:
        answers = [replay(request, client) for request in golden("sandbox_fusion_sdk")]
    assert len(answers) == len(CALLS)
    assert {answer.status_code for answer in answers} == {200}
