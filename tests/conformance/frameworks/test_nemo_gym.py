"""The clients of a NeMo Gym resources server: axolotl's reward function, and verifiers' taskset."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conformance.frameworks.conftest import Fetched
from tests.conformance.frameworks.fetched import Package, run_client
from tests.conformance.frameworks.samples import MATH, SUBJECT, Sample, direct, restarted, samples, slow
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
def verifiers(fetched: Fetched) -> Path:
    """The folder with verifiers."""
    return fetched(VERIFIERS)


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


def tasked(
    folder: Path, url: str, asked: list[Sample], *, in_row: str | None = None, at_once: int = 8
) -> list[dict[str, Any]]:
    """Have verifiers set up and score tasks."""
    told = {
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
    found: list[dict[str, Any]] = run_client(folder, DRIVERS / "verifiers_nemo_gym.py", told)
    return found


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
    found = rewarded(axolotl, narrow.url, slow(48, "axolotl"), SUBJECT, at_once=24)
    assert set(found) == {1.0, "nan"}


def test_verifiers_gets_each_sample_s_score_and_keeps_the_verdict(verifiers: Path, service_url: str) -> None:
    asked = samples(12)
    with Wire(service_url) as wire:
        found = tasked(verifiers, f"{wire.url}/nemo-gym/{MATH}", asked)
    assert [one["reward"] for one in found] == direct(service_url, asked)
    pins = {one["info"]["countermark"]["verifier"].partition("@")[0] for one in found}
    assert pins == {MATH}
    assert all(one["info"].keys() == {"expected_answer", "countermark"} for one in found)
    hold_to_golden("verifiers_nemo_gym", wire.requests)


def test_the_pin_may_come_with_the_row(verifiers: Path, service_url: str) -> None:
    asked = samples(6)
    for url in (service_url, f"{service_url}/nemo-gym"):
        found = tasked(verifiers, url, asked, in_row=MATH)
        assert [one["reward"] for one in found] == direct(service_url, asked)


def test_verifiers_counts_a_failure_of_ours_as_an_errored_rollout(
    verifiers: Path, narrow: ServiceProcess
) -> None:
    asked = [Sample("", "raise", "right"), Sample("", "right", "right"), *slow(24, "verifiers")]
    found = tasked(verifiers, f"{narrow.url}/nemo-gym/{SUBJECT}", asked, at_once=26)
    assert found[0] == {"raised": "HTTPStatusError"}
    assert {one.get("reward", one.get("raised")) for one in found} <= {1.0, "HTTPStatusError"}


def test_a_service_that_is_killed_and_comes_back_makes_no_reward_of_its_absence(
    verifiers: Path, narrow: ServiceProcess
) -> None:
    asked = [Sample("", f"work 40 vf {n} {'right' if n % 3 else 'wrong'}", "right") for n in range(60)]
    with restarted(narrow, 2.0):
        found = tasked(verifiers, f"{narrow.url}/nemo-gym/{SUBJECT}", asked, at_once=2)
    wanted = [float(n % 3 > 0) for n in range(60)]
    assert all("raised" in one or one["reward"] == score for one, score in zip(found, wanted, strict=True))


@pytest.mark.parametrize("name", ["axolotl_nemo_gym", "verifiers_nemo_gym"])
def test_what_they_send_is_answered_where_they_cannot_be_had(service_url: str, name: str) -> None:
    wanted = dict(zip([one.reference for one in samples(12)], direct(service_url, samples(12)), strict=True))
    answered = 0
    with httpx.Client(base_url=service_url, timeout=60) as client:
        for request in golden(name):
            answer = replay(request, client)
            assert answer.status_code == 200, answer.text
            if request["path"].endswith("/verify"):
                assert answer.json()["reward"] == wanted[request["body"]["expected_answer"]]
                answered += 1
    assert answered == 12
