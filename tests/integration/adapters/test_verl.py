"""verl's signatures against the real service."""

import asyncio
import inspect
import json
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy
import pytest

from countermark import InvalidInputError, VerdictFailedError
from countermark.adapters.verl import compute_score, compute_score_batch, compute_score_sync
from tests.integration.adapters.conftest import REF, Direct

KEYS = ["score", "acc", "countermark_failed", "countermark_outcome", "countermark_verifier"]
ROWS = [("Paris", "Paris"), ("Rome", "Paris"), ("", "Paris"), ("x", "x")]


def row(response: str, reference: Any, **extra: Any) -> dict[str, Any]:
    """Return the arguments that verl calls with."""
    extra = {"num_turns": None, "rollout_reward_scores": {}, **extra}
    return {
        "data_source": "cities", "solution_str": response, "ground_truth": reference, "extra_info": extra
    }  # fmt: skip


async def test_every_sample_has_the_same_keys_and_the_services_reward(direct: Direct) -> None:
    function = partial(compute_score, verifier=REF)
    assert inspect.iscoroutinefunction(function)
    scores = await asyncio.gather(*(function(**row(*each)) for each in ROWS * 25))
    assert {tuple(score) for score in scores} == {tuple(KEYS)}
    expected = direct.rewards([a for a, _ in ROWS], [b for _, b in ROWS])
    assert [score["score"] for score in scores] == expected * 25
    assert [score["acc"] for score in scores] == expected * 25
    assert {score["countermark_verifier"] for score in scores} == {direct.pin}
    assert scores[2]["countermark_outcome"] == "no_answer"


async def test_no_verdict_ends_the_run_unless_a_number_was_said() -> None:
    with pytest.raises(VerdictFailedError):
        await compute_score(**row("Paris", ""), verifier=REF)
    score = await compute_score(**row("Paris", ""), verifier=REF, on_failure=-0.5)
    assert (score["score"], score["countermark_failed"], list(score)) == (-0.5, 1.0, KEYS)
    assert math.isnan(score["acc"])
    with pytest.raises(InvalidInputError, match="no way to carry 'null'"):
        await compute_score(**row("Paris", ""), verifier=REF, on_failure="null")


async def test_the_verifier_is_named_by_the_row_its_data_source_or_the_run(direct: Direct) -> None:
    seven = ("The answer is 7", "7")
    for options, extra in (
        ({"verifier": "numeric:1.0.0"}, {}),
        ({"verifier": REF, "verifiers": {"cities": "numeric:1.0.0"}}, {}),
        ({"verifier": REF}, {"verifier": "numeric:1.0.0"}),
        ({"verifier": REF, "verifier_key": "judge"}, {"judge": "numeric:1.0.0"}),
    ):
        score = await compute_score(**row(*seven, **extra), **options)
        assert score["score"] == 1.0
        assert score["countermark_verifier"].startswith("numeric:1.0.0@sha256:")
    assert (await compute_score(**row(*seven), verifier=REF))["score"] == 0.0


def test_threads_and_the_old_batch_manager_get_the_same(direct: Direct) -> None:
    with ThreadPoolExecutor(16) as threads:
        calls = [threads.submit(compute_score_sync, **row(*each), verifier=REF) for each in ROWS * 4]
        single = [call.result() for call in calls]
    batch = compute_score_batch(
        data_sources=numpy.array(["cities"] * 16, dtype=object),
        solution_strs=[a for a, _ in ROWS * 4],
        ground_truths=[b for _, b in ROWS * 4],
        extra_infos=numpy.array([{} for _ in range(16)], dtype=object),
        verifier=REF,
    )
    assert single == batch
    assert [score["score"] for score in batch] == direct.rewards(
        [a for a, _ in ROWS * 4], [b for _, b in ROWS * 4]
    )
    with pytest.raises(InvalidInputError, match=r"\[1, 2, 1, 1\]"):
        compute_score_batch(["a"], ["a", "b"], ["a"], [{}], verifier=REF)


async def test_what_parquet_hands_out_is_sent_as_json() -> None:
    reference = numpy.array(["Paris", "paris"], dtype=object)
    settings = MappingProxyType({"case_fold": True})  # as a configuration library would hand it over
    score = await compute_score(
        numpy.str_("cities"), "PARIS", reference, {"verifier": numpy.str_(REF)}, params=settings
    )
    assert score["score"] == 1.0


async def test_ground_truths_may_be_json_texts() -> None:
    texts = json.dumps(["Paris"])
    assert (await compute_score(**row("Paris", texts), verifier=REF))["score"] == 0.0
    assert (await compute_score(**row("Paris", texts), verifier=REF, reference_format="json"))["score"] == 1.0


async def test_what_verl_adds_is_taken_and_a_slip_of_the_pen_is_not() -> None:
    added: dict[str, Any] = {"reward_router_address": "10.0.0.1:80", "reward_model_tokenizer": None}
    assert (await compute_score(**row("x", "x"), verifier=REF, **added))["score"] == 1.0
    with pytest.raises(InvalidInputError, match="on_failre"):
        await compute_score(**row("x", "x"), verifier=REF, on_failre="zero")


def test_the_functions_pass_to_other_processes() -> None:
    for function in (compute_score, compute_score_sync, compute_score_batch):
        assert pickle.loads(pickle.dumps(partial(function, verifier=REF))).keywords == {"verifier": REF}
