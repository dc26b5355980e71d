"""The environments of SkyRL, AReaL and Atropos, their own code, scored by the adapters."""

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
from tests.conformance.frameworks.wire import Interfere, Wire
from tests.support import ServiceProcess

SKYRL = Package("skyrl-gym", alone=(), light=("skyrl-gym==0.4.0",))
AREAL = Package("areal", alone=("areal==1.0.4",), light=("colorlog",))
ATROPOS = Package(
    "atropos",
    alone=("atroposlib==0.4.0",),
    light=("aiohttp", "jsonlines", "pydantic-cli", "tenacity", "openai", "markdown"),
)


@pytest.fixture(scope="module")
def skyrl(
    fetched_whole: Fetched, own_service: ServiceProcess, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What SkyRL's environments gave, the service being killed and started again in between."""
    half = tmp_path_factory.mktemp("half") / "half"
    with hung_service() as hung, restarted_at(half, own_service):
        said: dict[str, Any] = drive(
            fetched_whole(SKYRL), "adapter_skyrl_gym", url=own_service.url, hung=hung, verifier=VERIFIER, rows=ROWS,
            many=MANY, half=str(half),
            page=pasted("skyrl_gym", "python")[0],
        )  # fmt: skip
    return said


@pytest.fixture(scope="module")
def areal(fetched_whole: Fetched, service_url: str) -> dict[str, Any]:
    """What AReaL's wrapper and workflow gave, the service being busy or away for some of their requests."""
    away = {2: 429, 3: 503, 5: 504, 8: 502, 12: 429, 13: 429, 14: 503}
    interfere: Interfere = lambda number: (away[number], b"{}") if number in away else None  # noqa: E731
    with hung_service() as hung, Wire(service_url, interfere) as wire:
        said: dict[str, Any] = drive(
            fetched_whole(AREAL),
            "adapter_areal",
            url=wire.url,
            hung=hung,
            verifier=VERIFIER,
            rows=ROWS,
            many=MANY,
            page=pasted("areal", "python"),
        )
    assert set(away.values()) <= set(wire.statuses)
    return said


@pytest.fixture(scope="module")
def atropos(fetched_whole: Fetched, service_url: str) -> dict[str, Any]:
    """What came to the server of Atropos."""
    with hung_service() as hung:
        said: dict[str, Any] = drive(
            fetched_whole(ATROPOS),
            "adapter_atropos",
            url=service_url,
            hung=hung,
            verifier=VERIFIER,
            page=pasted("atropos", "python")[0],
        )
    return said


def kinds(said: list[Any]) -> list[Any]:
    """Return rewards as they are, and errors by their first class."""
    return [one["raised"][0] if isinstance(one, dict) and "raised" in one else one for one in said]


# SkyRL --------------------------------------------------------------------------------------------


def test_a_step_gives_the_score_of_the_service_and_ends_the_episode(
    skyrl: dict[str, Any], service_url: str
) -> None:
    pin, scores = direct(service_url, ROWS)
    assert [output.get("reward") for output in skyrl["rows"]] == scores
    for output, score in zip(skyrl["rows"], scores, strict=True):
        if score is not None:
            assert output["done"] is True
            assert output["observations"] == []
            assert (output["metadata"]["verifier"], output["metadata"]["score"]) == (pin, score)


def test_a_step_without_a_verdict_raises_or_gives_the_number_that_was_said(skyrl: dict[str, Any]) -> None:
    assert skyrl["rows"][3]["raised"] == ["VerdictFailedError"]
    assert skyrl["number"]["reward"] == 0.5
    assert skyrl["number"]["metrics"] == {"countermark_failed": 1.0}
    assert skyrl["null"]["raised"] == ["InvalidInputError"]


def test_the_row_or_the_config_names_the_verifier(skyrl: dict[str, Any]) -> None:
    assert [skyrl[kind]["reward"] for kind in ("by_row", "by_config", "by_dataclass")] == [1.0, 1.0, 1.0]
    assert "must be a mapping or a dataclass" in skyrl["wrong_config"]["says"]
    assert "no verifier is named" in skyrl["unnamed"]["says"]
    assert "no field 'reward_spec.ground_truth'" in skyrl["no_reference"]["says"]


def test_steps_go_on_when_the_service_is_killed_and_comes_back(
    skyrl: dict[str, Any], service_url: str
) -> None:
    assert skyrl["many"] == direct(service_url, MANY)[1]


def test_a_step_ends_within_its_deadline_when_the_service_hangs(skyrl: dict[str, Any]) -> None:
    assert skyrl["hung"]["raised"][0] == "DeadlineExceededError"
    assert skyrl["hung"]["seconds"] < 5.0


# AReaL --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wrapped", "by_path", "looped"])
def test_a_completion_gets_the_score_of_the_service_or_an_error(
    areal: dict[str, Any], service_url: str, kind: str
) -> None:
    _, scores = direct(service_url, ROWS)
    assert kinds(areal[kind]) == ["VerdictFailedError" if score is None else score for score in scores]


def test_the_wrapper_never_makes_a_zero_of_a_failed_verdict(areal: dict[str, Any]) -> None:
    assert areal["again"]["raised"][0] == "VerdictFailedError"


def test_the_workflow_scores_many_at_once_without_the_pool(areal: dict[str, Any], service_url: str) -> None:
    assert areal["is_theirs"] is True
    assert areal["many"] == direct(service_url, MANY)[1]


@pytest.mark.parametrize("kind", ["hung_wrapped", "hung_looped"])
def test_a_hung_service_is_an_error_and_not_the_wrappers_zero(areal: dict[str, Any], kind: str) -> None:
    assert areal[kind]["raised"][0] == "DeadlineExceededError"
    assert areal[kind]["seconds"] < 8.0


def test_a_deadline_that_the_wrapper_would_cut_is_refused(areal: dict[str, Any]) -> None:
    assert areal["too_long"]["raised"] == ["InvalidInputError"]
    assert "must be below 15 s" in areal["too_long"]["says"]


def test_the_token_that_ends_a_completion_can_be_cut_off(areal: dict[str, Any]) -> None:
    assert areal["ended"] == [0.0, 1.0]


# Atropos ------------------------------------------------------------------------------------------


def test_a_group_comes_to_the_server_with_the_scores_of_the_service(atropos: dict[str, Any]) -> None:
    (group,) = atropos["judged"]["groups"]
    assert group["scores"] == [1.0, 0.0, 1.0, 0.0]
    assert group["tokens"] == [[0], [1], [2], [3]]


def test_a_rollout_without_a_verdict_is_dropped_from_its_group(atropos: dict[str, Any]) -> None:
    (group,) = atropos["one_failed"]["groups"]
    assert group["scores"] == [1.0, 0.0, 1.0]
    assert group["tokens"] == [[0], [2], [3]]
    assert group["group_overrides"] == {"group_size": 3}


@pytest.mark.parametrize("kind", ["all_failed", "raise", "hung"])
def test_a_group_without_verdicts_does_not_come_at_all(atropos: dict[str, Any], kind: str) -> None:
    assert atropos[kind]["groups"] == []
    assert atropos[kind]["successful"] == 0
    assert atropos[kind]["seconds"] < 8.0


def test_lists_of_another_length_are_refused(atropos: dict[str, Any]) -> None:
    assert "tokens has 1 entries for 4 responses" in atropos["wrong_length"]["says"]
