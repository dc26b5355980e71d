"""Code facades where the sandbox is not to be had, or dies: nobody is given a score for that."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.api.parts import leaves_below, processes_below, wait_until
from tests.integration.facades.conftest import started
from tests.support import ServiceProcess

PROGRAM = {"code": "print(1)", "language": "python"}


@pytest.fixture(scope="module")
def without(shared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a service on a machine without bubblewrap, and with the least level that needs it."""
    old, os.environ["PATH"] = os.environ["PATH"], str(tmp_path_factory.mktemp("empty"))
    try:
        service = started(tmp_path_factory.mktemp("without"), shared_root)
    finally:
        os.environ["PATH"] = old
    with httpx.Client(base_url=service.url, timeout=300) as client:
        yield client
    service.stop()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/sandbox-fusion/run_code", PROGRAM, 504),
        (
            "/sandbox-fusion/submit",
            {
                "dataset": "python-stdio:1.0.0",
                "id": 1,
                "completion": "print(1)",
                "config": {"provided_data": {"tests": [{"input": "", "output": "1"}]}},
            },
            504,
        ),
        ("/open-instruct/test_program", {"program": "x = 1", "tests": ["assert f(1) == 1"]}, 503),
        (
            "/open-instruct/test_program_stdio",
            {"program": "print(1)", "tests": [{"input": "", "output": "1"}]},
            503,
        ),
        ("/piston/api/v2/execute", {"language": "python", "version": "*", "files": [{"content": "1"}]}, 503),
    ],
)
def test_without_a_sandbox_every_code_facade_says_try_again(
    without: httpx.Client, path: str, body: Any, status: int
) -> None:
    answer = without.post(path, json=body)
    assert answer.status_code == status
    assert "bubblewrap" in answer.text or "containment" in answer.text
    assert not answer.json().keys() & {"results", "run", "run_result", "accepted", "status"}


def test_without_a_sandbox_a_batch_of_scripts_has_no_values(without: httpx.Client) -> None:
    body = {"scripts": ["1", "2"], "timeout": 5, "request_timeout": 5}
    entries = without.post("/open-r1/execute_batch", json=body).json()
    assert [(one["execution"], one["text"]) for one in entries] == [(None, "nan")] * 2


def test_without_a_sandbox_a_task_of_roll_s_is_an_error(without: httpx.Client) -> None:
    body = {"response": "print(1)", "reward_info": {"tests": [{"input": "", "output": "1"}]}}
    taken = without.post("/roll/python-stdio:1.0.0/submit_task", json=body).json()
    asked = {"reward_request_id": taken["reward_request_id"]}
    answer = without.request("GET", "/roll/python-stdio:1.0.0/task_result", json=asked)
    assert (answer.status_code, answer.json()["errcode"]) == (503, 2)


def sandboxes_of(pid: int) -> set[int]:
    """Return the processes that hold the service's sandboxes."""
    return {one for one in processes_below(pid) if Path(f"/proc/{one}/comm").read_text().strip() == "bwrap"}


def test_a_sandbox_that_dies_under_a_program_costs_it_nothing(
    facade_service: ServiceProcess, http: httpx.Client
) -> None:
    """It is run again on a fresh one. That it runs is seen by the processes that it starts."""
    http.post("/sandbox-fusion/run_code", json=PROGRAM)
    pid = facade_service.process.pid
    before = leaves_below(pid)
    found: list[httpx.Response] = []

    def run() -> None:
        code = f"import time; time.sleep(1); print('done')  # {time.monotonic_ns()}"
        found.append(http.post("/sandbox-fusion/run_code", json={**PROGRAM, "code": code}))

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: leaves_below(pid) - before, "the program runs")
    victims = sandboxes_of(pid)
    if not victims:
        pytest.skip("no sandbox of this machine is bubblewrap's")
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    thread.join(60)
    assert found[0].status_code == 200
    assert (found[0].json()["status"], found[0].json()["run_result"]["stdout"]) == ("Success", "done\n")
