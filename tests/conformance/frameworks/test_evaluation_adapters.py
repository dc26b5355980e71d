"""Inspect, lm-eval, lighteval and evaluate, their own code, scored by the adapters."""

import json
import math
from typing import Any

import pytest

from tests.conformance.frameworks.adapters import MANY, ROWS, VERIFIER, direct, drive, hung_service, pasted
from tests.conformance.frameworks.conftest import Fetched
from tests.conformance.frameworks.fetched import Package

INSPECT = Package("inspect-ai", alone=(), light=("inspect-ai==0.3.285",))
LM_EVAL = Package("lm-eval", alone=(), light=("lm-eval==0.4.13",))
EVALUATE = Package("evaluate", alone=(), light=("evaluate==0.4.6",))
LIGHTEVAL = Package("lighteval", alone=("lighteval==0.13.0",), light=("pytablewriter", "numpy"))

TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{number}}}}"
doc_to_target: answer
generation_kwargs: {{until: ["\\n"]}}
{scoring}
"""
SCORINGS = {
    "processed": pasted("lm_eval", "yaml")[0],
    "by_path": "process_results: !function countermark.adapters.lm_eval.score",
    "strict": "process_results: !function utils.strict",
    "metric": "metric_list: [{metric: !function utils.countermark, aggregation: mean, higher_is_better: true}]",
}
UTILS = (
    "\n".join(pasted("lm_eval", "python"))
    + f"""
strict = processor("{VERIFIER}", on_failure="raise")
"""
)


def said_by(driver: str, package: Package, fetched: Fetched, service_url: str, **told: Any) -> dict[str, Any]:
    """Run a driver."""
    with hung_service() as hung:
        said: dict[str, Any] = drive(
            fetched(package), driver, url=service_url, hung=hung, verifier=VERIFIER, rows=ROWS, **told
        )
    return said


@pytest.fixture(scope="module")
def inspect(
    fetched_whole: Fetched, service_url: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the logs of Inspect say."""
    logs = tmp_path_factory.mktemp("logs")
    return said_by(
        "adapter_inspect_ai",
        INSPECT,
        fetched_whole,
        service_url,
        many=MANY,
        logs=str(logs),
        page=pasted("inspect_ai", "python")[0],
    )


@pytest.fixture(scope="module")
def lm_eval(
    fetched_whole: Fetched, service_url: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What lm-eval found for each of the tasks."""
    tasks = tmp_path_factory.mktemp("tasks")
    (tasks / "utils.py").write_text(UTILS)
    for name, scoring in SCORINGS.items():
        rows = [{"number": n, "answer": row["reference"]} for n, row in enumerate(ROWS)]
        # A metric of lm-eval has no way to say "no verdict"; that is a test of its own.
        kept = [row for row in rows if name != "metric" or row["answer"]]
        data = tasks / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in kept))
        (tasks / f"{name}.yaml").write_text(TASK.format(name=name, data=data, scoring=scoring))
    (tasks / "failing_metric.yaml").write_text(
        TASK.format(name="failing_metric", data=tasks / "strict.jsonl", scoring=SCORINGS["metric"])
    )
    return said_by("adapter_lm_eval", LM_EVAL, fetched_whole, service_url, tasks=str(tasks))


@pytest.fixture(scope="module")
def evaluate(fetched_whole: Fetched, service_url: str) -> dict[str, Any]:
    """What evaluate computed."""
    return said_by(
        "adapter_evaluate", EVALUATE, fetched_whole, service_url, page=pasted("evaluate", "python")[0]
    )


@pytest.fixture(scope="module")
def lighteval(fetched: Fetched, service_url: str) -> dict[str, Any]:
    """What lighteval computed."""
    return said_by(
        "adapter_lighteval", LIGHTEVAL, fetched, service_url, page=pasted("lighteval", "python")[0]
    )


def with_nan(scores: list[float | None]) -> list[float | str]:
    """Return scores as the drivers say them where no verdict is NaN."""
    return ["nan" if score is None else score for score in scores]


def mean(scores: list[float | None]) -> float:
    """Return the mean of the scores that there are."""
    judged = [score for score in scores if score is not None]
    return math.fsum(judged) / len(judged)


# Inspect ------------------------------------------------------------------------------------------


def test_the_log_has_the_score_of_the_service_and_who_made_it(
    inspect: dict[str, Any], service_url: str
) -> None:
    pin, scores = direct(service_url, ROWS)
    log = inspect["rows"]
    assert log["status"] == "success"
    assert [score["value"] for score in log["scores"]] == with_nan(scores)
    kept = [score["metadata"]["countermark"] for score in log["scores"]]
    assert {facts["verifier"] for facts in kept} == {pin}
    assert [facts["score"] for facts in kept] == scores
    assert all(facts["surroundings"] for facts, score in zip(kept, scores, strict=True) if score)


def test_a_failed_verdict_is_unscored_and_in_no_metric(inspect: dict[str, Any], service_url: str) -> None:
    _, scores = direct(service_url, ROWS)
    failed = inspect["rows"]["scores"][3]
    assert failed["metadata"]["countermark"]["outcome"] == "bad_reference"
    assert failed.get("reason", "scoring_failed") == "scoring_failed"  # older releases have no such field
    assert failed["explanation"]
    for kind in ("rows", "epochs"):
        assert inspect[kind]["metrics"]["mean"] == pytest.approx(mean(scores))


def test_a_failed_verdict_may_be_an_error_of_the_sample(inspect: dict[str, Any]) -> None:
    assert inspect["raise"]["status"] == "error"
    assert any("bad_reference" in (error or "") for error in inspect["raise"]["errors"])


def test_the_best_of_several_targets_counts_and_is_unknown_with_one_that_failed(
    inspect: dict[str, Any],
) -> None:
    assert [score["value"] for score in inspect["several"]["scores"]] == [1.0, "nan"]


def test_a_sample_names_its_verifier_and_its_reference(inspect: dict[str, Any]) -> None:
    assert [score["value"] for score in inspect["in_metadata"]["scores"]] == [1.0]


def test_inspect_scores_many_samples_as_the_service_does(inspect: dict[str, Any], service_url: str) -> None:
    assert [score["value"] for score in inspect["many"]["scores"]] == direct(service_url, MANY)[1]


def test_a_hung_service_is_an_error_of_the_sample(inspect: dict[str, Any]) -> None:
    assert inspect["hung"]["status"] == "error"
    assert "deadline" in inspect["hung"]["errors"][0]


def test_no_key_comes_into_a_log(inspect: dict[str, Any]) -> None:
    assert inspect["key"]["raised"] == ["InvalidInputError"]
    assert "cmk_secret" not in inspect["key"]["says"]


# lm-eval ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["processed", "by_path"])
def test_the_samples_have_the_scores_of_the_service(
    lm_eval: dict[str, Any], service_url: str, task: str
) -> None:
    _, scores = direct(service_url, ROWS)
    samples = lm_eval[task]["samples"]
    assert [sample["countermark"] for sample in samples] == with_nan(scores)
    assert [sample["countermark_failed"] for sample in samples] == [float(score is None) for score in scores]


def test_nanmean_leaves_a_failed_verdict_out_and_mean_does_not_hide_it(
    lm_eval: dict[str, Any], service_url: str
) -> None:
    _, scores = direct(service_url, ROWS)
    assert lm_eval["processed"]["results"]["countermark,none"] == pytest.approx(mean(scores))
    assert lm_eval["processed"]["results"]["countermark_failed,none"] == pytest.approx(0.2)
    assert lm_eval["by_path"]["results"]["countermark,none"] == "nan"


def test_a_metric_gives_the_scores_and_raises_where_there_is_none(
    lm_eval: dict[str, Any], service_url: str
) -> None:
    _, scores = direct(service_url, [row for row in ROWS if row["reference"]])
    assert [sample["countermark"] for sample in lm_eval["metric"]["samples"]] == scores
    for task in ("failing_metric", "strict"):
        assert lm_eval[task]["raised"][0] == "VerdictFailedError"


def test_lm_eval_ends_within_the_deadline_when_the_service_hangs(lm_eval: dict[str, Any]) -> None:
    assert lm_eval["hung"]["raised"][0] == "DeadlineExceededError"


# evaluate -----------------------------------------------------------------------------------------


def test_the_metric_loads_from_its_file_and_gives_the_scores(
    evaluate: dict[str, Any], service_url: str
) -> None:
    pin, scores = direct(service_url, ROWS)
    assert evaluate["rows"] == {
        "countermark": pytest.approx(mean(scores)),
        "failed": 1,
        "scores": scores,
        "verifier": [pin],
    }
    assert evaluate["page"]["scores"] == evaluate["added"]["scores"] == [1.0, 0.0]


def test_a_batch_without_a_verdict_has_no_mean(evaluate: dict[str, Any]) -> None:
    assert evaluate["failed"]["countermark"] == "nan"
    assert evaluate["zero"]["scores"][3] == 0.0
    assert evaluate["raise"]["raised"][0] == "VerdictFailedError"
    assert "COUNTERMARK_VERIFIER" in evaluate["unnamed"]["says"]
    assert evaluate["hung"]["raised"][0] == "DeadlineExceededError"


# lighteval ----------------------------------------------------------------------------------------


def test_a_batch_of_documents_gets_the_scores_of_the_service(
    lighteval: dict[str, Any], service_url: str
) -> None:
    _, scores = direct(service_url, ROWS)
    assert lighteval["rows"] == {"values": with_nan(scores), "mean": pytest.approx(mean(scores))}
    assert lighteval["alone"] == 1.0
    assert lighteval["in_specific"]["values"] == [1.0]


def test_several_golds_count_by_the_best_and_several_texts_by_the_mean(lighteval: dict[str, Any]) -> None:
    assert lighteval["several_golds"]["values"] == [1.0, "nan"]
    assert lighteval["several_texts"]["values"] == [0.5]


def test_lighteval_ends_where_it_was_told_to_or_the_service_hangs(lighteval: dict[str, Any]) -> None:
    assert lighteval["raise"]["raised"][0] == "VerdictFailedError"
    assert lighteval["hung"]["raised"][0] == "DeadlineExceededError"
