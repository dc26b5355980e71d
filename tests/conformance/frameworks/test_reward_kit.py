"""reward-kit's own remote reward function: valid scores, and exceptions for all else."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conformance.frameworks.conftest import Fetched
from tests.conformance.frameworks.fetched import Package, run_client
from tests.conformance.frameworks.samples import MATH, SUBJECT, Sample, direct, samples, slow
from tests.conformance.frameworks.wire import Wire, golden, hold_to_golden, replay
from tests.support import ServiceProcess

KIT = Package("reward-kit", alone=("reward-kit==0.4.1",), light=("requests==2.32.5", "openai==1.78.1"))
DRIVER = Path(__file__).parent / "drivers" / "reward_kit_remote.py"


@pytest.fixture(scope="module")
def kit(fetched: Fetched) -> Path:
    """The folder with reward-kit."""
    return fetched(KIT)


def evaluated(
    kit: Path, url: str, asked: list[Sample], verifier: str = MATH, at_once: int = 8
) -> list[dict[str, Any]]:
    """Have reward-kit evaluate samples."""
    told = {
        "endpoint": f"{url}/reward-kit/{verifier}/evaluate",
        "at_once": at_once,
        "samples": [
            {
                "messages": [
                    {"role": "user", "content": one.prompt},
                    {"role": "assistant", "content": one.response},
                ],
                "ground_truth": one.reference,
            }
            for one in asked
        ],
    }
    found: list[dict[str, Any]] = run_client(kit, DRIVER, told)
    return found


def test_each_sample_s_score_is_valid_and_the_verifier_s(kit: Path, service_url: str) -> None:
    asked = samples(12)
    with Wire(service_url) as wire:
        found = evaluated(kit, wire.url, asked)
    assert found == [{"score": score, "valid": True} for score in direct(service_url, asked)]
    hold_to_golden("reward_kit", wire.requests)


def test_two_hundred_at_once_get_the_verifier_s_scores(kit: Path, service_url: str) -> None:
    asked = samples(200)
    found = evaluated(kit, service_url, asked, at_once=200)
    assert [one.get("score") for one in found] == direct(service_url, asked)


def test_what_has_no_score_raises(kit: Path, narrow: ServiceProcess) -> None:
    asked = [Sample("", "raise", "right"), Sample("", "right", "right"), *slow(24, "kit")]
    found = evaluated(kit, narrow.url, asked, SUBJECT, at_once=26)
    assert found[0] == {"raised": "HTTPError"}
    assert all(one in ({"raised": "HTTPError"}, {"score": 1.0, "valid": True}) for one in found)
    assert evaluated(kit, narrow.url, asked[1:2], "nobody:1.0.0") == [{"raised": "HTTPError"}]


def test_what_reward_kit_sends_is_answered_where_it_cannot_be_had(service_url: str) -> None:
    wanted = dict(zip([one.reference for one in samples(12)], direct(service_url, samples(12)), strict=True))
    with httpx.Client(base_url=service_url, timeout=300) as client:
        for request in golden("reward_kit"):
            assert replay(request, client).json()["score"] == wanted[request["body"]["ground_truth"]]
