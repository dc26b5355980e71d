"""verifiers' own tasks and rubrics, scored by the adapters."""

import tomllib
from typing import Any

import pytest

from tests.conformance.frameworks.adapters import (
    MANY,
    ROWS,
    VERIFIER,
    direct,
    drive,
    hung_service,
    pasted,
    restarted_at,
)
from tests.conformance.frameworks.conftest import Fetched
from tests.conformance.frameworks.fetched import Package
from tests.support import ServiceProcess

V1 = Package("verifiers", alone=(), light=("verifiers==0.4.0",))
LEGACY = Package("verifiers-legacy", alone=(), light=("verifiers==0.1.9",))
REWARDS, OWN_REWARDS = (
    tomllib.loads(block)["env"]["taskset"]["task"]["rewards"] for block in pasted("verifiers", "toml")
)


@pytest.fixture(scope="module")
def said(
    fetched_whole: Fetched, own_service: ServiceProcess, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What verifiers v1 made of everything, the service being killed and started again in between."""
    half = tmp_path_factory.mktemp("half") / "half"
    with hung_service() as hung, restarted_at(half, own_service):
        answer: dict[str, Any] = drive(
            fetched_whole(V1), "adapter_verifiers", url=own_service.url, hung=hung, verifier=VERIFIER, rows=ROWS,
            many=MANY, rewards=REWARDS, own_rewards=OWN_REWARDS, my_rewards=pasted("verifiers", "python")[0],
            half=str(half),
        )  # fmt: skip
    return answer


def test_the_trace_has_the_score_of_the_service(said: dict[str, Any], service_url: str) -> None:
    pin, scores = direct(service_url, ROWS)
    assert [row["reward"] for row in said["rows"]] == scores
    assert [list(row["info"] or {}) for row in said["rows"]] == [[pin], [pin], [pin], [], [pin]]


def test_a_failed_verdict_is_an_error_of_the_task(said: dict[str, Any]) -> None:
    failed = said["rows"][3]
    assert failed["reward"] is None
    assert failed["error"]["raised"] == ["TaskError", "VerdictFailedError"]
    assert "bad_reference" in failed["error"]["says"]


def test_a_row_names_its_verifier_and_without_any_the_error_says_so(said: dict[str, Any]) -> None:
    assert said["by_row"]["reward"] == 1.0
    assert said["own"]["reward"] == 0.5  # the weight in the page's second table
    assert said["unnamed"]["reward"] is None
    assert "COUNTERMARK_VERIFIER" in said["unnamed"]["error"]["says"]


def test_a_service_that_is_killed_in_mid_run_costs_no_reward(said: dict[str, Any], service_url: str) -> None:
    _, scores = direct(service_url, MANY)
    assert [row["reward"] for row in said["many"]] == scores


@pytest.mark.parametrize("kind", ["hung", "cut"])
def test_a_hung_service_is_an_error_before_any_deadline(said: dict[str, Any], kind: str) -> None:
    """Also before the framework's own, which it would take for a reward of 0."""
    assert said[kind]["reward"] is None
    assert said[kind]["error"]["raised"][:2] == ["TaskError", "DeadlineExceededError"]
    assert said[kind]["error"]["seconds"] < 5.0


def test_prime_rl_s_table_is_the_same() -> None:
    (config,) = map(tomllib.loads, pasted("prime_rl", "toml"))
    (source,) = config["orchestrator"]["train"]["source"]
    assert source["env"]["taskset"]["task"]["rewards"] == REWARDS


@pytest.fixture(scope="module")
def legacy(fetched_whole: Fetched, service_url: str) -> dict[str, Any]:
    """What the rubrics of verifiers before 0.3 made of everything."""
    with hung_service() as hung:
        answer: dict[str, Any] = drive(
            fetched_whole(LEGACY),
            "adapter_verifiers_legacy",
            url=service_url,
            hung=hung,
            verifier=VERIFIER,
            rows=ROWS,
            page=pasted("verifiers_legacy", "python")[0],
        )
    return answer


def column(group: dict[str, Any], name: str) -> list[Any]:
    """Return one value of each state."""
    return [state[name] for state in group["states"]]


def test_a_rubric_gives_the_score_of_the_service_or_raises(legacy: dict[str, Any], service_url: str) -> None:
    pin, scores = direct(service_url, ROWS)
    assert [said["state"]["reward"] for said in legacy["alone"]] == scores
    assert legacy["alone"][3]["error"]["raised"] == ["VerdictFailedError"]
    assert legacy["alone"][0]["state"]["verifier"] == pin


def test_a_group_is_scored_with_the_frameworks_advantages(legacy: dict[str, Any]) -> None:
    assert column(legacy["group"], "reward") == [1.0, 0.0, 0.0, 1.0]
    assert column(legacy["group"], "advantage") == [0.5, -0.5, -0.5, 0.5]
    assert column(legacy["weighted_group"], "reward") == [0.75, 0.25, 0.25, 0.75]


@pytest.mark.parametrize("kind", ["failing_group", "in_a_rubric_group"])
def test_a_group_with_a_failed_verdict_raises_and_has_no_rewards(legacy: dict[str, Any], kind: str) -> None:
    assert legacy[kind]["error"]["raised"] == ["VerdictFailedError"]
    assert column(legacy[kind], "reward") == [None] * len(ROWS)


def test_a_failed_verdict_may_be_left_out_of_its_group(legacy: dict[str, Any]) -> None:
    group = legacy["lenient_group"]
    assert group["error"] is None
    assert column(group, "reward") == [1.0, 0.0, 0.0, "nan", 1.0]
    assert column(group, "advantage") == [0.5, -0.5, -0.5, 0.0, 0.5]
    assert column(group, "step_reward") == [1.0, 0.0, 0.0, "nan", 1.0]
    assert column(group, "step_advantage") == [0.5, -0.5, -0.5, 0.0, 0.5]
    assert column(group, "metric") == [1.0, 0.0, 0.0, "nan", 1.0]


def test_the_adapter_of_the_other_version_is_no_silent_zero_here(legacy: dict[str, Any]) -> None:
    assert legacy["the_wrong_adapter"]["state"]["reward"] == "nan"


def test_a_rubric_of_a_hung_service_raises_in_time(legacy: dict[str, Any]) -> None:
    assert legacy["hung"]["error"]["raised"][0] == "DeadlineExceededError"
    assert legacy["hung"]["error"]["seconds"] < 5.0
