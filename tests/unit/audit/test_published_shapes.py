"""Shapes that published files have: seen in outputs of public repositories and in what the real writers leave.

Each of these was read wrongly, or in part, before it was seen. The files here are small ones of that shape.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]
import pytest

from tests.unit.audit.reading import read, write_json, write_lines
from tests.unit.audit.test_readers import INSPECT_EVAL, helm_run, inspect_sample, lm_eval

DATE, LATER = "2026-01-02T03-04-05.678901", "2026-01-02T09-04-05.678901"

# --- lm-eval ---------------------------------------------------------------------------------------------


def test_runs_of_two_models_in_one_folder_are_told_apart_by_the_results_beside_them(tmp_path: Path) -> None:
    """lm-eval writes so where its output path is a file, and people move files."""
    for date, model in ((DATE, "org/base"), (LATER, "org/tuned")):
        write_lines(tmp_path / "out" / f"samples_gsm8k_{date}.jsonl", [lm_eval(1, "none", 1.0, ["2"])])
        write_json(tmp_path / "out" / f"results_{date}.json", {"results": {}, "model_name": model}, 2)

    found = read(tmp_path, tmp_path / "out")

    assert [(row.model, row.sample) for row in found.rows] == [("org/base", "1"), ("org/tuned", "1")]
    assert found.unusable == []
    assert found.formats == ["beside", "beside", "lm-eval", "lm-eval"]


@pytest.mark.parametrize("results", ['{"results": {}}', '{"model_name": ', "[]", ""])
def test_results_that_name_no_model_leave_it_to_the_folder(tmp_path: Path, results: str) -> None:
    folder = tmp_path / "org__model"
    file = write_lines(folder / f"samples_gsm8k_{DATE}.jsonl", [lm_eval(1, "none", 1.0, ["2"])])
    (folder / f"results_{DATE}.json").write_text(results)

    assert [row.model for row in read(tmp_path, file).rows] == ["org__model"]


def test_accepted_answers_that_lm_eval_printed_as_one_text_are_a_list_again(tmp_path: Path) -> None:
    printed = ["['5', 'five']", "['only']", "[1, 2]", "['a', 'b']", "[not a list", "('x', 'y')"]
    records = [
        lm_eval(number, "none", 1.0, ["5"]) | {"target": target, "doc": {"question": "?"}}
        for number, target in enumerate(printed)
    ]
    records[3]["doc"] = {"question": "Write the list.", "answer": "['a', 'b']"}

    found = read(tmp_path, write_lines(tmp_path / "samples.jsonl", records))

    assert [row.reference for row in found.rows] == [
        ["5", "five"], "only", "[1, 2]", "['a', 'b']", "[not a list", ["x", "y"],
    ]  # fmt: skip


def test_a_chat_that_lm_eval_wrote_as_a_text_in_a_list_is_a_chat(tmp_path: Path) -> None:
    chat = json.dumps([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?"}])
    record = lm_eval(1, "none", 1.0, ["2"]) | {"arguments": {"gen_args_0": {"arg_0": [chat], "arg_1": {}}}}

    found = read(tmp_path, write_lines(tmp_path / "samples.jsonl", [record]))

    assert found.rows[0].prompt == "system: Be brief.\n\nuser: 1+1?"


def test_where_only_what_a_filter_left_is_published_that_is_the_response_and_is_said(tmp_path: Path) -> None:
    record = lm_eval(1, "strict-match", 1.0, ["It is 2"])
    del record["resps"]

    found = read(tmp_path, write_lines(tmp_path / "samples.jsonl", [record | {"filtered_resps": ["2"]}]))

    assert [row.response for row in found.rows] == ["2"]
    assert "response_filtered" in [note.code for note in found.notes]


def test_a_run_that_only_predicted_has_no_published_score(tmp_path: Path) -> None:
    record = lm_eval(1, "none", 1.0, ["2"]) | {"metrics": ["bypass"], "bypass": 999}

    found = read(tmp_path, write_lines(tmp_path / "samples.jsonl", [record]))

    assert [(row.published, row.metric) for row in found.rows] == [(None, None)]


def test_samples_of_lmms_eval_are_read_by_their_own_names(tmp_path: Path) -> None:
    records = [
        {
            "doc_id": number, "target": "Yes", "filtered_resps": answer, "doc_hash": "d" * 64,
            "token_counts": [{"output_tokens": 2}], "input_media": ["0020.png"], "input": "Is this code?",
            "mme_cognition_score": {"question_id": "0020.png", "category": "code", "score": score},
        }
        for number, (answer, score) in enumerate((("Yes", 1.0), ([["No"]], 0.0)))
    ]  # fmt: skip
    file = write_lines(tmp_path / "lmms_eval" / "20260923_172512_samples_mme.jsonl", records)
    write_json(file.with_name("20260923_172512_results.json"), {"model_name": "org/vl"}, 2)

    found = read(tmp_path, file)

    told = [
        (r.task, r.model, r.sample, r.prompt, r.response, r.reference, r.metric, r.published)
        for r in found.rows
    ]
    assert told == [
        ("mme", "org/vl", "0", "Is this code?", "Yes", "Yes", "mme_cognition_score", 1.0),
        ("mme", "org/vl", "1", "Is this code?", "No", "Yes", "mme_cognition_score", 0.0),
    ]


# --- lighteval -------------------------------------------------------------------------------------------


def lighteval_file(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """A file of details as lighteval published it before 0.11."""
    folder.mkdir(parents=True)
    file = folder / "details_lighteval|gsm8k|0_2025-01-02T03-04-05.678901.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file


def test_columns_that_lighteval_printed_as_text_are_values_again(tmp_path: Path) -> None:
    row = {
        "full_prompt": "1+1?", "predictions": "['It is 2']", "gold": "['2']", "choices": "[]",
        "gold_index": "[]", "metrics": "{'extractive_match': 1, 'qem': 0.0}", "input_tokens": "[[1, 2]]",
    }  # fmt: skip
    folder = tmp_path / "details_org__model" / "2025-01-02T03-04-05.678901"

    found = read(tmp_path, lighteval_file(folder, [row, row | {"predictions": "[-1.5, -2.5]"}]))

    assert found.formats == ["lighteval"]
    told = [(r.model, r.task, r.prompt, r.response, r.reference, r.metric, r.published) for r in found.rows]
    assert told == [
        ("org/model", "lighteval|gsm8k|0", "1+1?", "It is 2", "2", "extractive_match", 1.0),
    ]
    assert found.reasons == [(2, "no_response_text")]


def test_the_gold_of_a_question_that_lighteval_had_judged_stands_among_the_choices(tmp_path: Path) -> None:
    row = {
        "full_prompt": "?", "predictions": ["two"], "gold": [], "choices": ["2", "3"], "gold_index": [0],
        "metrics": {"judge": 1.0},
    }  # fmt: skip

    found = read(tmp_path, lighteval_file(tmp_path / "details" / "m" / "2025", [row]))

    assert [(row.model, row.reference) for row in found.rows] == [("m", "2")]


# --- OpenCompass -----------------------------------------------------------------------------------------


def opencompass(
    folder: Path, name: str, predictions: dict[str, Any], details: Any = None, dataset: str = "gsm8k"
) -> Path:
    """A file of predictions, with one of results where there are details."""
    if details is not None:
        document = {"accuracy": 50.0, "details": details}
        write_json(folder / "results" / "m" / f"{dataset}.json", document, 4)
    return write_json(folder / "predictions" / "m" / name, predictions, 4)


def test_replicas_of_a_question_in_opencompass_get_their_own_scores(tmp_path: Path) -> None:
    """`n` of a dataset repeats it in one file, and `details` has lists over the repeats."""
    answers = ["2", "4", "2", "5"]
    predictions = {
        str(number): {"origin_prompt": "?", "prediction": answer, "gold": ["2", "4"][number % 2]}
        for number, answer in enumerate(answers)
    }
    details = [
        {"example_abbr": "main_0", "pred": ["2", "2"], "answer": ["2", "2"], "correct": [True, True]},
        {"example_abbr": "main_1", "pred": ["4", "5"], "answer": ["4", "4"], "correct": [True, False]},
    ]

    found = read(tmp_path, opencompass(tmp_path, "gsm8k.json", predictions, details))

    told = [(r.sample, r.generation, r.response, r.published, r.extras["extracted"]) for r in found.rows]
    assert told == [
        ("0", 0, "2", 1.0, "2"), ("1", 0, "4", 1.0, "4"), ("0", 1, "2", 1.0, "2"), ("1", 1, "5", 0.0, "5"),
    ]  # fmt: skip


def test_opencompass_keeps_one_verdict_in_a_list_where_there_is_one_replica(tmp_path: Path) -> None:
    predictions = {"0": {"origin_prompt": "?", "prediction": "It is 0"}}  # a gold of 0 is left out
    details = [{"example_abbr": "main_0", "pred": ["0"], "answer": ["0"], "is_correct": [True]}]

    found = read(tmp_path, opencompass(tmp_path, "gsm8k.json", predictions, details))

    told = [(r.sample, r.generation, r.reference, r.published, r.metric) for r in found.rows]
    assert told == [("0", 0, "0", 1.0, "is_correct")]


def test_shards_find_their_scores_in_the_results_of_the_whole_dataset(tmp_path: Path) -> None:
    details = [{"pred": str(number), "correct": number == 2} for number in range(3)]
    one = {"origin_prompt": "?", "prediction": "x", "gold": "x"}
    opencompass(tmp_path, "math_0.json", {"0": one, "1": one}, details, "math")
    opencompass(tmp_path, "math_1.json", {"0": one})

    found = read(tmp_path, tmp_path / "predictions")

    assert [(row.task, row.sample, row.published) for row in found.rows] == [
        ("math", "0/0", 0.0), ("math", "0/1", 0.0), ("math", "1/0", 1.0),
    ]  # fmt: skip


def test_several_responses_to_one_prompt_in_opencompass_are_one_row_each(tmp_path: Path) -> None:
    predictions = {
        "0": {
            "origin_prompt": [{"role": "HUMAN", "prompt": "1+1?"}], "prediction": ["2", "3"], "gold": "2",
        },
        "1": {
            "origin_prompt": [{"role": "user", "content": "2+2?"}], "gold": "4",
            "prediction": {"prediction": "4", "rollout": {"num_tokens": 1}},
        },
    }  # fmt: skip
    details = [{"pred": "2", "correct": True}, {"pred": "4", "correct": True}]

    found = read(tmp_path, opencompass(tmp_path, "gsm8k.json", predictions, details))

    told = [(r.sample, r.generation, r.prompt, r.response, r.published) for r in found.rows]
    assert told == [
        ("0", 0, "HUMAN: 1+1?", "2", None), ("0", 1, "HUMAN: 1+1?", "3", None),
        ("1", 0, "user: 2+2?", "4", 1.0),
    ]  # fmt: skip
    assert [note.code for note in found.notes] == ["published_of_several"]


def test_a_folder_of_opencompass_has_predictions_of_several_models(tmp_path: Path) -> None:
    one = {"0": {"origin_prompt": "?", "prediction": "2", "gold": "2"}}
    for model in ("m1", "m2"):
        write_json(tmp_path / "predictions" / model / "gsm8k.json", one, 4)
        write_json(tmp_path / "results" / model / "gsm8k.json", {"details": [{"correct": True}]}, 4)

    found = read(tmp_path, tmp_path)

    assert [(row.model, row.task, row.published) for row in found.rows] == [
        ("m1", "gsm8k", 1.0), ("m2", "gsm8k", 1.0),
    ]  # fmt: skip


def test_the_last_answer_of_a_conversation_in_opencompass_counts(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "Hi."}, {"role": "assistant", "content": ""},
        {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": ""},
    ]  # fmt: skip
    predictions = {"0": {"origin_prompt": messages, "prediction": ["Hello", "4"], "gold": "4"}}

    found = read(tmp_path, opencompass(tmp_path, "chat.json", predictions))

    assert [(row.response, row.reference) for row in found.rows] == [("4", "4")]
    assert found.rows[0].extras["rounds"] == ["Hello", "4"]


# --- the others ------------------------------------------------------------------------------------------


def test_an_inspect_log_that_was_written_again_without_its_version(tmp_path: Path) -> None:
    log = {"status": "success", "eval": INSPECT_EVAL, "samples": [inspect_sample(1, 1)]}

    found = read(tmp_path, write_json(tmp_path / "log.json", log, 4))

    assert (found.formats, len(found.rows)) == (["inspect"], 1)


def test_a_log_without_samples_is_said_and_not_passed_over(tmp_path: Path) -> None:
    log = {"version": 2, "status": "error", "eval": INSPECT_EVAL, "error": {"message": "no"}}

    found = read(tmp_path, write_json(tmp_path / "log.json", log, 2))

    assert [(note.code, note.message) for note in found.notes] == [
        ("no_outputs", "read as inspect, the file has no row in it")
    ]


def test_a_metric_that_only_its_helm_scenario_has_is_published_and_tokens_are_not(tmp_path: Path) -> None:
    run = helm_run(tmp_path)
    stats = json.loads((run / "per_instance_stats.json").read_text())
    for one, score in zip(stats, (0.25, 1.0), strict=True):
        one["stats"][1] = {"name": {"name": "harm_bench_score", "split": "test"}, "count": 1, "mean": score}
    write_json(run / "per_instance_stats.json", stats, 2)

    found = read(tmp_path, run)

    assert [(row.metric, row.published) for row in found.rows] == [
        ("harm_bench_score", 0.25), ("harm_bench_score", 1.0),
    ]  # fmt: skip
    assert list(found.rows[0].extras["metrics"]) == ["harm_bench_score"]


def test_an_early_helm_run_has_texts_where_later_ones_have_objects(tmp_path: Path) -> None:
    run = helm_run(tmp_path)
    document = json.loads((run / "scenario_state.json").read_text())
    for state in document["request_states"]:
        state["instance"]["input"] = state["instance"]["input"]["text"]
        for one in state["instance"]["references"]:
            one["output"] = one["output"]["text"]
        del state["request"]["prompt"]
    write_json(run / "scenario_state.json", document, 2)

    found = read(tmp_path, run / "scenario_state.json")

    assert [(row.prompt, row.reference) for row in found.rows] == [("1+1?", "2"), ("2+2?", "A")]


def test_outputs_of_math_evaluation_harness_need_no_columns(tmp_path: Path) -> None:
    record = {
        "idx": 3, "question": "1+1?", "gt_cot": "So 2.", "gt": "2", "code": ["It is 2", "It is 3"],
        "pred": ["2", "3"], "report": [None, None], "score": [True, False],
    }  # fmt: skip

    found = read(tmp_path, write_lines(tmp_path / "math.jsonl", [record]))

    assert found.formats == ["math-evaluation-harness"]
    told = [(r.sample, r.generation, r.response, r.reference, r.published) for r in found.rows]
    assert told == [("3", 0, "It is 2", "2", 1.0), ("3", 1, "It is 3", "2", 0.0)]


def test_generations_of_verl_name_their_answer_within_the_reward_model(tmp_path: Path) -> None:
    row = {
        "data_source": "gsm8k", "prompt": [{"role": "user", "content": "1+1?"}], "responses": ["2", "3"],
        "reward_model": {"style": "rule", "ground_truth": "2"}, "extra_info": {"index": 7},
    }  # fmt: skip
    file = tmp_path / "gen.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), file)

    found = read(tmp_path, file)

    assert [(r.task, r.generation, r.response, r.reference) for r in found.rows] == [
        ("gsm8k", 0, "2", "2"), ("gsm8k", 1, "3", "2"),
    ]  # fmt: skip


def test_a_document_over_many_lines_is_none_of_lines_whatever_stands_in_one_of_them(tmp_path: Path) -> None:
    file = tmp_path / "notes.json"
    file.write_text('{\n  "description": "x",\n  "events": [\n    {"id": "a", "response": "b"}\n  ]\n}\n')

    found = read(tmp_path, file)

    assert found.formats == ["table"]
    assert found.reasons == [(1, "no_reference")], "the list within the document was read"


def test_a_second_document_in_a_file_is_not_passed_over(tmp_path: Path) -> None:
    log = {"version": 2, "status": "success", "eval": INSPECT_EVAL, "samples": [inspect_sample(1, 1)]}
    file = write_json(tmp_path / "log.json", log, 2)
    file.write_text(file.read_text() * 2)

    found = read(tmp_path, file)

    assert len(found.rows) == 1
    assert found.reasons == [(None, "unreadable")]
    assert "is followed by something else" in found.unusable[0].message


@pytest.mark.parametrize(
    "reply",
    [
        {"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": "It is 2"}}]},
        {"status_code": 200, "body": {"choices": [{"message": {"content": "It is 2"}}]}},
        {
            "output": [
                {"type": "reasoning", "summary": []},
                {"type": "message", "content": [{"type": "output_text", "text": "It is 2"}]},
            ]
        },
        {"role": "assistant", "content": [{"type": "text", "text": "It is 2"}]},
    ],
)
def test_a_models_whole_reply_says_what_it_says(tmp_path: Path, reply: dict[str, Any]) -> None:
    """Rollouts of NeMo-Gym and files of batches keep what the API sent."""
    record = {"custom_id": "a", "response": reply, "expected_answer": "2", "reward": 1.0}

    found = read(tmp_path, write_lines(tmp_path / "rollouts.jsonl", [record]))

    assert [(row.response, row.reference, row.published) for row in found.rows] == [("It is 2", "2", 1.0)]


def test_rollouts_of_nemo_gym_say_what_was_asked_and_of_whom(tmp_path: Path) -> None:
    asked = [{"role": "user", "content": [{"type": "input_text", "text": "1+1?"}]}]
    records = [
        {
            "responses_create_params": {"input": asked}, "reward": reward, "expected_answer": "2",
            "response": {
                "model": "org/m",
                "output": [{"type": "message", "content": [{"type": "output_text", "text": text}]}],
            },
        }
        for text, reward in (("2", 1.0), ("3", 0.0))
    ]  # fmt: skip

    found = read(tmp_path, write_lines(tmp_path / "rollouts.jsonl", records))

    told = [(r.model, r.prompt, r.generation, r.response, r.published) for r in found.rows]
    assert told == [("org/m", "user: 1+1?", 0, "2", 1.0), ("org/m", "user: 1+1?", 1, "3", 0.0)]
    assert len({row.sample for row in found.rows}) == 1


@pytest.mark.parametrize(
    "reply",
    [{"error": "timed out"}, {"choices": []}, {"output": [{"type": "reasoning"}]}, {"body": None}, [], {}],
)
def test_a_reply_that_says_nothing_is_no_response(tmp_path: Path, reply: Any) -> None:
    """A rollout that failed has an empty completion, and often a published reward of 0."""
    record = {"response": reply, "answer": "2", "reward": 0.0}

    found = read(tmp_path, write_lines(tmp_path / "rollouts.jsonl", [record]))

    assert (found.rows, found.reasons) == ([], [(1, "no_response")])


def test_files_of_one_name_in_several_folders_are_not_of_one_model(tmp_path: Path) -> None:
    """Else the answers of one model would be further answers of the other."""
    for run in (".", "gsm8k--small/0a", "gsm8k--large/7b"):
        record = {"id": 1, "completion": run, "answer": "2", "reward": 1.0}
        write_lines(tmp_path / "evals" / run / "results.jsonl", [record])

    found = read(tmp_path, tmp_path / "evals")

    assert [(row.model, row.sample, row.generation) for row in found.rows] == [
        ("gsm8k--large/7b", "1", 0), ("gsm8k--small/0a", "1", 0), ("evals", "1", 0),
    ]  # fmt: skip
    assert {note.code for note in found.notes} == {"columns_guessed", "model_is_folder"}


def test_shards_of_one_folder_are_of_one_model(tmp_path: Path) -> None:
    for shard in range(2):
        record = {"id": shard, "completion": "2", "answer": "2"}
        write_lines(tmp_path / "out" / f"test-0000{shard}-of-00002.jsonl", [record])

    found = read(tmp_path, tmp_path / "out")

    assert [(row.task, row.model, row.sample) for row in found.rows] == [("test", "", "0"), ("test", "", "1")]
