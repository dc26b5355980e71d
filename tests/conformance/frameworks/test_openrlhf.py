"""OpenRLHF's own clients, 0.11 and 0.8: rewards as the verifier's scores, and no fault that counts as one."""

from concurrent.futures import ThreadPoolExecutor
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

NEW = Package("openrlhf", alone=("openrlhf==0.11.2",), light=("aiohttp==3.14.1",))
OLD = Package("openrlhf-old", alone=("openrlhf==0.8.11",), light=("requests==2.32.5",))
DRIVERS = Path(__file__).parent / "drivers"


def path(url: str, verifier: str = MATH) -> str:
    return f"{url}/openrlhf/{verifier}/get_reward"


def row(one: Sample, before: str = "<s>") -> list[str]:
    """Return query, prompt and label, as OpenRLHF decodes and passes them."""
    return [before + one.prompt + one.response, one.prompt, one.reference]


def new(folder: Path, urls: list[str], calls: list[list[list[str]]], at_once: int = 8) -> list[Any]:
    """Have 0.11 fetch the rewards of some calls."""
    told = {"urls": urls, "samples": calls, "at_once": at_once}
    found: list[Any] = run_client(folder, DRIVERS / "openrlhf_new.py", told)
    return found


def old(folder: Path, urls: list[str], batches: list[list[list[str]]], at_once: int = 1) -> list[Any]:
    """Have 0.8 get the rewards of some batches."""
    told = {"urls": urls, "samples": batches, "at_once": at_once}
    found: list[Any] = run_client(folder, DRIVERS / "openrlhf_old.py", told)
    return found


def rewards_of(replies: list[Any]) -> list[float]:
    """Return the reward of each single-sample call."""
    assert all(len(shards) == 1 and len(shards[0]["rewards"]) == 1 for shards in replies), replies
    assert all(
        shards[0]["scores"] == shards[0]["rewards"] and shards[0]["extra_logs"] == {} for shards in replies
    )
    return [shards[0]["rewards"][0] for shards in replies]


@pytest.fixture(scope="module")
def newer(fetched: Fetched) -> Path:
    """The folder with 0.11."""
    return fetched(NEW)


@pytest.fixture(scope="module")
def older(fetched: Fetched) -> Path:
    """The folder with 0.8."""
    return fetched(OLD)


def test_0_11_gets_each_sample_s_score(newer: Path, service_url: str) -> None:
    asked = samples(12)
    with Wire(service_url) as wire:
        found = new(newer, [path(wire.url)], [[row(one)] for one in asked])
    assert rewards_of(found) == direct(service_url, asked)
    hold_to_golden("openrlhf_0_11", wire.requests)


def test_0_8_gets_a_batch_s_scores_in_order(older: Path, service_url: str) -> None:
    asked = samples(12)
    with Wire(service_url) as wire:
        (one, shared) = old(older, [path(wire.url)], [[row(each) for each in asked]]) + old(
            older, [path(wire.url)] * 5, [[row(each) for each in asked]]
        )
    assert one == shared == {"rewards": direct(service_url, asked), "scores": one["rewards"], "logs": []}
    assert [] in [
        request["body"]["query"] for request in wire.requests
    ]  # 12 over 5 servers leaves one without any
    hold_to_golden("openrlhf_0_8", wire.requests)


def test_an_empty_batch_is_no_failure(newer: Path, older: Path, service_url: str) -> None:
    # 0.11.2 sends nothing for it; versions before it do, to every server for which no sample is left
    assert new(newer, [path(service_url)], [[]]) in (
        [[]],
        [[{"rewards": [], "scores": [], "extra_logs": {}}]],
    )
    assert old(older, [path(service_url)] * 2, [[]]) == [{"rewards": [], "scores": [], "logs": []}]


def test_two_hundred_samples_at_once_get_the_verifier_s_scores(
    newer: Path, older: Path, service_url: str
) -> None:
    asked = samples(200)
    wanted = direct(service_url, asked)
    assert rewards_of(new(newer, [path(service_url)], [[row(one)] for one in asked], at_once=200)) == wanted
    (batch,) = old(older, [path(service_url)] * 3, [[row(one) for one in asked]])
    assert batch["rewards"] == wanted


def test_what_has_no_score_is_no_reward_after_five_attempts(
    newer: Path, older: Path, narrow: ServiceProcess
) -> None:
    bad, good = ["raise", "", "right"], ["right", "", "right"]
    with Wire(narrow.url) as wire, ThreadPoolExecutor() as threads:
        batch = threads.submit(old, older, [path(wire.url, SUBJECT)], [[good, bad, good]])
        found = new(newer, [path(wire.url, SUBJECT)], [[bad], [good]])
        assert found[0].startswith("raised: Request error for 5 times")
        assert rewards_of(found[1:]) == [1.0]
        assert batch.result()[0].startswith("raised: Request error for 5 times")
    assert wire.statuses.count(503) == 10


def test_a_full_queue_makes_it_wait_and_costs_nobody_s_reward(newer: Path, narrow: ServiceProcess) -> None:
    """Few enough for the client's five attempts, a second apart, on a machine that does much else."""
    with Wire(narrow.url) as wire:
        calls = [[row(one, "")] for one in slow(12, "openrlhf")]
        found = new(newer, [path(wire.url, SUBJECT)], calls, at_once=12)
    assert 503 in wire.statuses
    assert rewards_of(found) == [1.0] * 12


def test_a_service_that_is_killed_and_comes_back_costs_no_reward(newer: Path, narrow: ServiceProcess) -> None:
    """The client counts five attempts, a second apart; the service is back within that."""
    asked = [Sample("", f"work 40 {n} {'right' if n % 3 else 'wrong'}", "right") for n in range(40)]
    calls = [[row(one, "")] for one in asked]
    with Wire(narrow.url, kill_at(narrow, 10)) as wire, started_again(narrow):
        found = new(newer, [path(wire.url, SUBJECT)], calls, at_once=2)
    assert 504 in wire.statuses
    assert rewards_of(found) == [float(n % 3 > 0) for n in range(40)]


@pytest.mark.parametrize("name", ["openrlhf_0_11", "openrlhf_0_8"])
def test_what_openrlhf_sends_is_answered_where_it_cannot_be_had(service_url: str, name: str) -> None:
    wanted = dict(zip([one.reference for one in samples(12)], direct(service_url, samples(12)), strict=True))
    with httpx.Client(base_url=service_url, timeout=300) as client:
        for request in golden(name):
            answer = replay(request, client)
            assert answer.status_code == 200
            assert answer.json()["rewards"] == [wanted[label] for label in request["body"]["labels"]]
