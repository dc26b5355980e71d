"""verl's own sandbox client against the service: scores as by the verifier, and no fault that counts as an answer."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conformance.frameworks.conftest import Fetched
from tests.conformance.frameworks.fetched import Package, run_client
from tests.conformance.frameworks.wire import Wire, golden, hold_to_golden, replay
from tests.integration.api.parts import link_environments
from tests.support import ServiceProcess

VERL = Package("verl", alone=("verl==0.9.1",), light=("requests==2.32.5",))
DRIVER = Path(__file__).parent / "drivers" / "verl_sandbox.py"

CASES = {"inputs": ["1 2\n", "3 4\n", "-5 5\n"], "outputs": ["3", "7", "0"]}
GOOD = "a, b = map(int, input().split())\nprint(a + b)"
PROGRAMS = {
    "right": (GOOD, ["success"] * 3),
    "wrong for some": (GOOD.replace("a + b", "abs(a) + abs(b)"), ["success", "success", "wrong_answer"]),
    "wrong": ("print(42)", ["wrong_answer"] * 3),
    "silent": ("", ["wrong_answer"] * 3),
    "raises": ("1 / 0", ["runtime_error"] * 3),
    "is no Python": ("def f(:", ["runtime_error"] * 3),
    "ends badly": (GOOD + "\nimport sys; sys.exit(1)", ["runtime_error"] * 3),
    "takes too much": ("x = bytearray(1 << 30)", ["runtime_error"] * 3),
}
ONE = {"inputs": ["1 2"], "outputs": ["3"]}
CALLS = {"inputs": ["1\n2", "3\n4"], "outputs": ["3", "7"], "fn_name": "total"}


def fenced(code: str) -> str:
    """Return a completion that ends in `code`."""
    return f"I add them.\n```python\n{code}\n```\n"


@pytest.fixture(scope="module")
def verl(fetched: Fetched) -> Path:
    """The folder with verl's code."""
    return fetched(VERL)


def scored(
    verl: Path, url: str, samples: list[dict[str, Any]], *, at_once: int = 8, memory: int = 256
) -> list[dict[str, Any]]:
    """Have verl score samples."""
    told = {
        "url": f"{url}/sandbox-fusion/run_code",
        "samples": samples,
        "at_once": at_once,
        "most": 64,
        "memory": memory,
    }
    results: list[dict[str, Any]] = run_client(verl, DRIVER, told)
    return results


def direct(url: str, samples: list[dict[str, Any]]) -> list[float]:
    """Return what the verifier says of the same samples."""
    items = [
        {
            "response": one["completion"],
            "reference": one["cases"],
            "params": {
                "score": "fraction",
                "compare": "exact",
                "limits": {"cpu_seconds": 1, "memory_mib": 256},
            },
        }
        for one in samples
    ]
    answer = httpx.post(
        f"{url}/v1/score", json={"verifier": "python-stdio:1.0.0", "items": items}, timeout=120
    )
    assert answer.status_code == 200, answer.text
    return [one["score"] for one in answer.json()["verdicts"]]


def sample(code: str, **more: Any) -> dict[str, Any]:
    return {"completion": fenced(code), "cases": CASES, "timeout": 1, **more}


def varied(count: int) -> list[dict[str, Any]]:
    """Return samples of every kind, no two alike."""
    codes = [code for code, _ in PROGRAMS.values()]
    return [sample(f"{codes[number % len(codes)]}\n# {number}") for number in range(count)]


def test_each_kind_of_program_has_verl_s_own_status_for_it_and_the_verifier_s_score(
    verl: Path, service_url: str
) -> None:
    samples = [sample(code) for code, _ in PROGRAMS.values()]
    with Wire(service_url) as wire:
        results = scored(verl, wire.url, samples)

    found = dict(zip(PROGRAMS, (one["statuses"] for one in results), strict=True))
    assert found == {name: statuses for name, (_, statuses) in PROGRAMS.items()}
    assert [one["score"] for one in results] == direct(service_url, samples)
    hold_to_golden("verl_run_code", wire.requests)


def test_what_runs_too_long_is_a_time_out_and_nothing_else(verl: Path, service_url: str) -> None:
    (loop, sleep) = scored(
        verl,
        service_url,
        [sample(code, cases=ONE) for code in ("while True: pass", "import time; time.sleep(9)")],
    )
    assert (loop["score"], loop["statuses"]) == (0.0, ["timeout"])
    assert (sleep["score"], sleep["statuses"]) == (0.0, ["timeout"])


def test_functions_assertions_and_the_pass_rate_of_the_first_ten(verl: Path, service_url: str) -> None:
    twelve = {
        "inputs": [f"{n} 1\n" for n in range(12)],
        "outputs": [str(n + 1) for n in range(10)] + ["no", "no"],
    }
    samples = [
        {"completion": fenced("def total(a, b):\n    return a + b"), "cases": CALLS},
        {
            "completion": fenced("class Solution:\n    def total(self, a, b):\n        return 3"),
            "cases": CALLS,
        },
        {
            "completion": fenced("def add(a, b): return a + b"),
            "cases": {"assert_case": ["assert add(1, 2) == 3", "assert add(1, 2) == 4"]},
        },
        sample(GOOD, cases=twelve, continuous=True),
        sample(GOOD, cases=twelve, continuous=False),
    ]
    assert [one["score"] for one in scored(verl, service_url, samples)] == [1.0, 0.5, 0.5, 1.0, 10 / 12]


def test_two_hundred_samples_at_once_get_the_verifier_s_scores(verl: Path, service_url: str) -> None:
    samples = varied(200)
    results = scored(verl, service_url, samples, at_once=200)
    assert [one["score"] for one in results] == direct(service_url, samples)


def test_a_504_is_sent_again_and_the_score_is_the_same(verl: Path, service_url: str) -> None:
    samples = varied(8)
    with Wire(service_url, lambda number: (504, b"{}") if number < 20 else None) as wire:
        results = scored(verl, wire.url, samples)
    assert [one["score"] for one in results] == direct(service_url, samples)
    assert wire.statuses.count(504) == 20


@pytest.fixture(scope="module")
def small(shared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service whose queue takes twelve programs."""
    data = link_environments(tmp_path_factory.mktemp("small"), shared_root)
    service = ServiceProcess(data, {"COUNTERMARK_SANDBOX_QUEUE": "12"}).start()
    yield service
    service.stop()


def test_a_full_queue_makes_verl_wait_and_not_fail_anybody(verl: Path, small: ServiceProcess) -> None:
    with Wire(small.url) as wire:
        results = scored(
            verl,
            wire.url,
            [sample(f"{GOOD}\nimport time; time.sleep(0.25)\n# full {n}", cases=ONE) for n in range(24)],
            at_once=24,
        )
    assert 504 in wire.statuses
    assert [(one["score"], one["statuses"]) for one in results] == [(1.0, ["success"])] * 24


def test_a_service_that_is_killed_and_comes_back_behind_a_gateway_costs_no_score(
    verl: Path, small: ServiceProcess
) -> None:
    """The gateway holds what the service cannot take, and says 504, as gateways do."""
    samples = [
        sample(
            f"{GOOD.replace('a + b', 'a + b' if n % 2 else 'a - b')}\n# restart {n}",
            cases=ONE,
        )
        for n in range(30)
    ]
    reached = threading.Event()

    def restart() -> None:
        assert reached.wait(60)
        small.process.kill()
        small.process.wait(30)
        small.start()

    def note(number: int) -> None:
        if number == 10:
            reached.set()

    thread = threading.Thread(target=restart)
    thread.start()
    with Wire(small.url, note) as wire:
        results = scored(verl, wire.url, samples, at_once=4)
    thread.join()
    assert 504 in wire.statuses
    assert [one["score"] for one in results] == [float(n % 2) for n in range(30)]


def test_what_verl_sends_is_answered_where_verl_cannot_be_had(service_url: str) -> None:
    requests = golden("verl_run_code")
    with httpx.Client(base_url=service_url, timeout=300) as client:
        answers = [replay(request, client) for request in requests]
    assert len(answers) == 3 * len(PROGRAMS)
    assert {answer.status_code for answer in answers} == {200}
    right = [a.json() for a, r in zip(answers, requests, strict=True) if r["body"]["code"].strip() == GOOD]
    assert sorted(body["run_result"]["stdout"] for body in right) == ["0\n", "3\n", "7\n"]
