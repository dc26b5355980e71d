"""The clients of a NeMo Gym resources server: axolotl's reward function, and verifiers' taskset."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conformance.frameworks.conftest import Fetched
from tests.conformance.frameworks.fetched import Package, run_client
from tests.conformance.frameworks.samples import (
    MATH,
    SUBJECT,
    Sample,
    direct,
    kill_at,
    samples,
    slow,
    started_again,
)
from tests.conformance.frameworks.wire import Wire, golden, hold_to_golden, replay
from tests.support import ServiceProcess

AXOLOTL = Package("axolotl", alone=("axolotl==0.21.0",), light=("requests==2.32.5",), python="3.12")
VERIFIERS = Package("verifiers", alone=(), light=("verifiers==0.4.0",))
DRIVERS = Path(__file__).parent / "drivers"


@pytest.fixture(scope="module")
def axolotl(fetched: Fetched) -> Path:
    """The folder with axolotl."""
    return fetched(AXOLOTL)


@pytest.fixture(scope="module")
def verifiers(fetched_whole: Fetched) -> Path:
    """The folder with verifiers."""
    return fetched_whole(VERIFIERS)


def rewarded(
    folder: Path, url: str, asked: list[Sample], verifier: str = MATH, at_once: int = 2
) -> list[Any]:
    """Have axolotl reward samples; the pin comes in the row."""
    told = {
        "url": url,
        "at_once": at_once,
        "samples": [
            {
                "prompt": one.prompt,
                "completion": one.response.removesuffix("<|im_end|>"),
                "extra": {"verifier": verifier, "expected_answer": one.reference, "unused": None},
            }
            for one in asked
        ],
    }
    found: list[Any] = run_client(folder, DRIVERS / "axolotl_nemo_gym.py", told)
    return found


def tasks(url: str, asked: list[Sample], *, in_row: str | None = None, at_once: int = 8) -> dict[str, Any]:
    """Return a run of verifiers' tasks."""
    return {
        "url": url,
        "at_once": at_once,
        "samples": [
            {
                "row": {
                    "responses_create_params": {"input": [{"role": "user", "content": one.prompt}]},
                    "expected_answer": one.reference,
                    **({} if in_row is None else {"verifier": in_row}),
                },
                "reply": one.response.removesuffix("<|im_end|>"),
            }
            for one in asked
        ],
    }


def test_axolotl_gets_each_sample_s_score(axolotl: Path, service_url: str) -> None:
    asked = samples(12)
    with Wire(service_url) as wire:
        assert rewarded(axolotl, wire.url, asked) == direct(service_url, asked)
    hold_to_golden("axolotl_nemo_gym", wire.requests)


def test_two_hundred_samples_at_once_get_the_verifier_s_scores(axolotl: Path, service_url: str) -> None:
    asked = samples(200)
    assert rewarded(axolotl, service_url, asked, at_once=25) == direct(service_url, asked)


def test_axolotl_makes_no_0_of_a_failure_of_ours(axolotl: Path, narrow: ServiceProcess) -> None:
    """It makes 0 of any error status and sends nothing again; NaN is what TRL leaves out."""
    asked = [Sample("", "right", "right"), Sample("", "raise", "right"), Sample("", "wrong", "right")]
    assert rewarded(axolotl, narrow.url, asked, SUBJECT) == [1.0, "nan", 0.0]
    assert rewarded(axolotl, narrow.url, asked[:1], "nobody:1.0.0") == ["nan"]
    # It sends the eight of a group one after the other: this many groups, so that some always find the queue full.
    found = rewarded(axolotl, narrow.url, slow(24 * 8, "axolotl"), SUBJECT, at_once=24)
    assert set(found) == {1.0, "nan"}


@dataclass(frozen=True)
class Ran:
    """What verifiers made of its tasks, and what went over the wire."""

    pinned: list[dict[str, Any]]
    by_row: list[list[dict[str, Any]]]
    many: list[dict[str, Any]]
    failing: list[dict[str, Any]]
    interrupted: list[dict[str, Any]]
    requests: list[dict[str, Any]]
    statuses: list[int]


FAILING = [Sample("", "raise", "right"), Sample("", "right", "right"), *slow(24, "verifiers")]
INTERRUPTED = [Sample("", f"work 40 vf {n} {'right' if n % 3 else 'wrong'}", "right") for n in range(30)]


@pytest.fixture(scope="module")
def ran(verifiers: Path, service_url: str, narrow: ServiceProcess) -> Ran:
    """All of verifiers' runs in one process, because it takes long to be imported."""
    with Wire(service_url) as wire, Wire(narrow.url, kill_at(narrow, 30)) as breaking, started_again(narrow):
        runs = [
            tasks(f"{wire.url}/nemo-gym/{MATH}", samples(12)),
            tasks(service_url, samples(6), in_row=MATH),
            tasks(f"{service_url}/nemo-gym", samples(6), in_row=MATH),
            tasks(f"{service_url}/nemo-gym/{MATH}", samples(48), at_once=48),
            tasks(f"{narrow.url}/nemo-gym/{SUBJECT}", FAILING, at_once=26),
            tasks(f"{breaking.url}/nemo-gym/{SUBJECT}", INTERRUPTED, at_once=2),
        ]
        found = run_client(verifiers, DRIVERS / "verifiers_nemo_gym.py", {"runs": runs})
    return Ran(found[0], found[1:3], found[3], found[4], found[5], wire.requests, breaking.statuses)


def test_verifiers_gets_each_sample_s_score_and_keeps_the_verdict(ran: Ran, service_url: str) -> None:
    assert [one["reward"] for one in ran.pinned] == direct(service_url, samples(12))
    assert {one["info"]["countermark"]["verifier"].partition("@")[0] for one in ran.pinned} == {MATH}
    assert all(one["info"].keys() == {"expected_answer", "countermark"} for one in ran.pinned)
    hold_to_golden("verifiers_nemo_gym", ran.requests)


def test_the_pin_may_come_with_the_row(ran: Ran, service_url: str) -> None:
    for found in ran.by_row:
        assert [one["reward"] for one in found] == direct(service_url, samples(6))


def test_many_tasks_at_once_get_the_verifier_s_scores(ran: Ran, service_url: str) -> None:
    """Not two hundred: this client makes two connections a task, and reads all certificates for each."""
    assert [one["reward"] for one in ran.many] == direct(service_url, samples(48))


def test_verifiers_counts_a_failure_of_ours_as_an_errored_rollout(ran: Ran) -> None:
    assert ran.failing[0] == {"raised": "HTTPStatusError"}
    assert {one.get("reward", one.get("raised")) for one in ran.failing} == {1.0, "HTTPStatusError"}


def test_a_service_that_is_killed_and_comes_back_makes_no_reward_of_its_absence(ran: Ran) -> None:
    wanted = [float(n % 3 > 0) for n in range(30)]
    assert all(
        "raised" in one or one["reward"] == score for one, score in zip(ran.interrupted, wanted, strict=True)
    )
    assert {"raised" in one for one in ran.interrupted} == {True, False}
    assert {200, 504} <= set(ran.statuses)
    assert "reward" in ran.interrupted[-1]  # it is back


@pytest.mark.parametrize("name", ["axolotl_nemo_gym", "verifiers_nemo_gym"])
def test_what_they_send_is_answered_where_they_cannot_be_had(service_url: str, name: str) -> None:
    wanted = dict(zip([one.reference for one in samples(12)], direct(service_url, samples(12)), strict=True))
    answered = 0
    with httpx.Client(base_url=service_url, timeout=300) as client:
        for request in golden(name):
            answer = replay(request, client)
            assert answer.status_code == 200, answer.text
            if request["path"].endswith("/verify"):
                assert answer.json()["reward"] == wanted[request["body"]["expected_answer"]]
                answered += 1
    assert answered == 12
