"""Every format that is read: what its files say is what the rows say. The files have the shape of their writers."""

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]
import pytest
import zipfile_zstd  # type: ignore[import-untyped]  # noqa: F401 - teaches zipfile to write zstd
import zstandard

from tests.support import SHARED_DATA
from tests.unit.audit.reading import read, write_json, write_lines


def lm_eval(doc: int, filter_name: str, score: float, responses: list[str]) -> dict[str, Any]:
    """A record as lm-eval 0.4.13 writes it."""
    return {
        "doc_id": doc,
        "doc": {"question": f"{doc}+{doc}?", "answer": f"So.\n#### {2 * doc}"},
        "target": f"So.\n#### {2 * doc}",
        "arguments": {
            "gen_args_0": {"arg_0": f"Question: {doc}+{doc}?\nAnswer:", "arg_1": {"until": ["Q:"]}}
        },
        "resps": [responses],
        "filtered_resps": [responses[0][-1]],
        "filter": filter_name,
        "metrics": ["exact_match"],
        "doc_hash": "d" * 64,
        "prompt_hash": "p" * 64,
        "target_hash": "t" * 64,
        "exact_match": score,
    }


def test_lm_eval_has_one_row_per_question_and_filter(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "org__model"
    file = write_lines(
        folder / "samples_gsm8k_2026-01-02T03-04-05.678901.jsonl",
        [
            lm_eval(d, f, s, [f"It is {2 * d}"])
            for f, s in (("strict-match", 0.0), ("flexible", 1.0))
            for d in (1, 2)
        ],
    )

    found = read(tmp_path, tmp_path / "results")

    assert found.formats == ["lm-eval"]
    assert [(row.task, row.variant, row.model, row.sample, row.published) for row in found.rows] == [
        ("gsm8k", "strict-match", "org__model", "1", 0.0),
        ("gsm8k", "strict-match", "org__model", "2", 0.0),
        ("gsm8k", "flexible", "org__model", "1", 1.0),
        ("gsm8k", "flexible", "org__model", "2", 1.0),
    ]
    first = found.rows[0]
    assert first.file == f"{tmp_path}/results/org__model/{file.name}"
    assert (first.line, first.metric, first.response) == (1, "exact_match", "It is 2")
    assert first.prompt == "Question: 1+1?\nAnswer:"
    assert first.reference == "So.\n#### 2"
    assert first.extras["extracted"] == "2"


def test_lm_eval_scores_of_several_responses_are_of_none_of_them(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "samples.jsonl", [lm_eval(1, "maj@2", 1.0, ["2", "3"])])

    found = read(tmp_path, file)

    assert [(row.generation, row.response, row.published) for row in found.rows] == [
        (0, "2", None), (1, "3", None),
    ]  # fmt: skip
    assert "published_of_several" in [note.code for note in found.notes]


def test_lm_eval_answers_that_were_ranked_have_no_text(tmp_path: Path) -> None:
    record = lm_eval(1, "none", 1.0, ["x"]) | {"resps": [[["-1.5", "False"]], [["-2.5", "False"]]]}

    found = read(tmp_path, write_lines(tmp_path / "samples.jsonl", [record]))

    assert found.reasons == [(1, "no_response_text")]


def test_an_older_lm_eval_wrote_lists(tmp_path: Path) -> None:
    old = lm_eval(1, "", 1.0, ["2"]) | {"arguments": [["Question: 1+1?", {"until": []}]]}
    for name in ("filter", "metrics", "target_hash", "prompt_hash", "doc_hash"):
        del old[name]

    found = read(tmp_path, write_json(tmp_path / "old_gsm8k.jsonl", [old], indent=2))

    assert found.formats == ["lm-eval"]
    assert [(row.prompt, row.published, row.metric) for row in found.rows] == [
        ("Question: 1+1?", 1.0, "exact_match")
    ]


def test_the_answer_is_found_in_a_reference_that_is_a_solution(tmp_path: Path) -> None:
    other = lm_eval(2, "none", 1.0, ["4"]) | {"target": "no mark"}
    file = write_lines(tmp_path / "samples.jsonl", [lm_eval(1, "none", 1.0, ["2"]), other])

    plain = read(tmp_path, file)
    (tmp_path / "read.sqlite").unlink()
    found = read(tmp_path, file, reference_pattern="#### (.+)")

    assert [row.reference for row in plain.rows] == ["So.\n#### 2", "no mark"]
    assert [(note.code, note.count) for note in plain.notes] == [("reference_is_solution", 1)]
    assert "--reference-pattern" in plain.notes[0].message
    assert [(row.reference, row.extras["whole_reference"]) for row in found.rows] == [("2", "So.\n#### 2")]
    assert found.reasons == [(2, "no_reference")]
    assert "finds nothing in the reference 'no mark'" in found.unusable[0].message


def test_lighteval_details(tmp_path: Path) -> None:
    rows = [
        {
            "doc": {
                "query": "1+1?", "choices": [" 2"], "gold_index": [0], "id": "7", "task_name": "lighteval|gsm8k",
                "specific": None,
            },
            "metric": {"extractive_match": 1.0},
            "model_response": {
                "input": "1+1?", "text": ["It is 2"], "text_post_processed": ["2"], "input_tokens": [1, 2],
            },
        },
        {
            "doc": {
                "query": "2+2?", "choices": ["4", "four"], "gold_index": [0, 1], "id": "8",
                "task_name": "lighteval|gsm8k", "specific": None,
            },
            "metric": {"extractive_match": 0.5},
            "model_response": {
                "input": "2+2?", "text": ["4", "5"], "text_post_processed": None, "input_tokens": [1],
            },
        },
    ]  # fmt: skip
    folder = tmp_path / "details" / "org" / "model" / "2026-01-02T03-04-05.678901"
    folder.mkdir(parents=True)
    file = folder / "details_lighteval|gsm8k|0_2026-01-02T03-04-05.678901.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)

    found = read(tmp_path, file)

    assert found.formats == ["lighteval"]
    told = [
        (r.model, r.task, r.sample, r.generation, r.response, r.reference, r.published) for r in found.rows
    ]
    assert told == [
        ("org/model", "lighteval|gsm8k", "7", 0, "It is 2", " 2", 1.0),
        ("org/model", "lighteval|gsm8k", "8", 0, "4", ["4", "four"], None),
        ("org/model", "lighteval|gsm8k", "8", 1, "5", ["4", "four"], None),
    ]
    assert found.rows[0].extras["extracted"] == "2"


def inspect_sample(number: int, epoch: int, **more: Any) -> dict[str, Any]:
    """A sample as Inspect 0.3.285 writes it."""
    return {
        "id": number,
        "epoch": epoch,
        "input": f"{number}+{number}?",
        "target": str(2 * number),
        "messages": [
            {"role": "user", "content": f"{number}+{number}?"},
            {"role": "assistant", "content": f"It is {2 * number}"},
        ],
        "output": {
            "model": "m",
            "choices": [
                {"message": {"role": "assistant", "content": f"It is {2 * number}"}, "stop_reason": "stop"}
            ],
            "completion": f"It is {2 * number}",
        },
        "scores": {
            "match": {"value": "C", "answer": str(2 * number), "history": []},
            "quality": {"value": {"clear": 0.5, "short": "I"}},
        },
        "attachments": {},
        **more,
    }


INSPECT_EVAL = {"task": "sums", "model": "openai/m", "eval_id": "e", "packages": {}}


def write_inspect(path: Path, entries: dict[str, Any], method: int = 93) -> Path:
    """Write an archive; 93 is zstd, as Inspect writes."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, value in entries.items():
            archive.writestr(name, value if isinstance(value, (bytes, str)) else json.dumps(value))
    return path


def test_an_inspect_archive(tmp_path: Path) -> None:
    long = "a long text " * 100
    attached = inspect_sample(2, 1, attachments={"a" * 32: long})
    attached["output"]["choices"][0]["message"]["content"] = [
        {"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "attachment://" + "a" * 32},
    ]  # fmt: skip
    failed = inspect_sample(3, 1, error={"message": "out of\ntime", "traceback": "…"}, scores=None)
    entries = {
        "_journal/start.json": {"version": 2, "eval": INSPECT_EVAL},
        "samples/1_epoch_1.json": inspect_sample(1, 1),
        "samples/1_epoch_2.json": inspect_sample(1, 2),
        "samples/2_epoch_1.json": attached,
        "samples/3_epoch_1.json": failed,
        "header.json": {"version": 2, "status": "success", "eval": INSPECT_EVAL},
    }

    found = read(tmp_path, write_inspect(tmp_path / "log.eval", entries))

    assert found.formats == ["inspect"]
    told = [
        (r.task, r.model, r.sample, r.generation, r.response, r.reference, r.published) for r in found.rows
    ]
    assert told == [
        ("sums", "openai/m", "1", 0, "It is 2", "2", 1.0),
        ("sums", "openai/m", "1", 1, "It is 2", "2", 1.0),
        ("sums", "openai/m", "2", 0, long, "4", 1.0),
    ]
    assert found.rows[0].metric == "match"
    assert found.rows[0].extras["metrics"] == {"match": 1.0, "quality.clear": 0.5, "quality.short": 0.0}
    assert found.reasons == [(4, "sample_error")]
    assert "out of time" in found.unusable[0].message


def test_an_inspect_archive_of_a_run_that_died_with_samples_in_parts(tmp_path: Path) -> None:
    long = "a long answer " * 50
    sample = inspect_sample(1, 1)
    sample["input"] = "attachment://1"
    del sample["messages"]
    sample["output"] = {"choices": []}
    entries = {
        "_journal/start.json": {"version": 2, "eval": INSPECT_EVAL},
        "samples/1_epoch_1/sample.json": sample,
        "samples/1_epoch_1/skeleton.json": {},
        "samples/1_epoch_1/messages/0.json": [{"role": "user", "content": "attachment://1"}],
        "samples/1_epoch_1/messages/1.json": [{"role": "assistant", "content": "attachment://2"}],
        "samples/1_epoch_1/events/stats.json": {},
        "samples/1_epoch_1/attachments/0.json": ["zero", "the question"],
        "samples/1_epoch_1/attachments/2.json": [long],
    }

    found = read(tmp_path, write_inspect(tmp_path / "log.eval", entries))

    assert [(row.prompt, row.response) for row in found.rows] == [("the question", long)]
    assert [note.code for note in found.notes] == ["run_ended_early"]


def test_the_events_of_a_sample_are_stepped_over_unless_a_column_lies_in_them(tmp_path: Path) -> None:
    sample = inspect_sample(1, 1, events=[{"event": "note", "text": "seen"}], metadata={"gold": "two"})
    odd = inspect_sample(2, 1, scores={"match": {"value": float("nan")}}, metadata={"gold": "four"})
    entries = {"header.json": {"eval": INSPECT_EVAL}}
    entries |= {f"samples/{n}_epoch_1.json": one for n, one in ((1, sample), (2, odd))}
    file = write_inspect(tmp_path / "log.eval", entries)

    plain = read(tmp_path, file)
    (tmp_path / "read.sqlite").unlink()
    named = read(tmp_path, file, columns={"reference": "metadata.gold"})

    assert [(row.reference, row.published) for row in plain.rows] == [("2", 1.0), ("4", None)]
    assert [(row.reference, row.published) for row in named.rows] == [("two", 1.0), ("four", None)]


@pytest.mark.parametrize("indent", [None, 2])
def test_an_inspect_log_in_json(tmp_path: Path, indent: int | None) -> None:
    log = {
        "version": 2, "status": "success", "eval": INSPECT_EVAL,
        "samples": [inspect_sample(1, 1), inspect_sample(2, 1, scores={"match": {"value": float("nan")}})],
    }  # fmt: skip

    found = read(tmp_path, write_json(tmp_path / "log.json", log, indent))

    assert found.formats == ["inspect"]
    assert [(row.task, row.sample, row.published) for row in found.rows] == [
        ("sums", "1", 1.0), ("sums", "2", None),
    ]  # fmt: skip
    assert [(note.code, note.line) for note in found.notes] == [("published_not_a_number", 2)]


def test_verl_counts_the_rollouts_of_a_question_and_prefers_the_verdict(tmp_path: Path) -> None:
    rollouts = [
        {"input": "1+1?", "output": "2", "gts": "2", "score": 1.0, "step": 5, "acc": True, "pred": "2"},
        {"input": "1+1?", "output": "2", "gts": "2", "score": 1.0, "step": 5, "acc": True, "pred": "2"},
        {"input": "2+2?", "output": "5", "gts": "4", "score": -1.0, "step": 5, "acc": False, "pred": "5"},
    ]

    found = read(tmp_path, write_lines(tmp_path / "run7" / "5.jsonl", rollouts))

    assert found.formats == ["verl"]
    assert [(r.task, r.variant, r.generation, r.published, r.metric) for r in found.rows] == [
        ("run7", "step 5", 0, 1.0, "acc"), ("run7", "step 5", 1, 1.0, "acc"), ("run7", "step 5", 0, 0.0, "acc"),
    ]  # fmt: skip
    assert found.rows[2].extras["pred"] == "5"


def openr1() -> list[dict[str, Any]]:
    """Two problems with two generations each, as OpenR1-Math-220k has them."""
    return [
        {
            "problem": "1+1?", "solution": "…", "answer": "2", "problem_type": "Algebra", "source": "olympiads",
            "uuid": "u1", "is_reasoning_complete": [True, True], "generations": ["\\boxed{2}", "\\boxed{3}"],
            "correctness_math_verify": [True, False], "correctness_llama": None, "correctness_count": 1,
            "messages": [{"role": "user", "content": "1+1?"}],
        },
        {
            "problem": "2+2?", "solution": "…", "answer": "4", "problem_type": "Algebra", "source": "olympiads",
            "uuid": "u2", "is_reasoning_complete": [True, True], "generations": ["\\boxed{4}", "\\boxed{4}"],
            "correctness_math_verify": [True], "correctness_llama": [False, True], "correctness_count": 2,
            "messages": [{"role": "user", "content": "2+2?"}],
        },
    ]  # fmt: skip


@pytest.mark.parametrize("container", ["parquet", "jsonl", "jsonl.gz", "jsonl.zst"])
def test_lists_of_generations_are_read_along_with_their_verdicts(tmp_path: Path, container: str) -> None:
    file = tmp_path / f"train.{container}"
    lines = "".join(json.dumps(record) + "\n" for record in openr1()).encode()
    if container == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(openr1()), file)
    elif container == "jsonl":
        file.write_bytes(lines)
    else:
        file.write_bytes((gzip if container.endswith("gz") else zstandard).compress(lines))

    found = read(tmp_path, file)

    assert found.formats == ["openr1-math"]
    told = [
        (r.line, r.sample, r.generation, r.response, r.reference, r.published, r.metric) for r in found.rows
    ]
    assert told == [
        (1, "u1", 0, "\\boxed{2}", "2", 1.0, "correctness_math_verify"),
        (1, "u1", 1, "\\boxed{3}", "2", 0.0, "correctness_math_verify"),
        (2, "u2", 0, "\\boxed{4}", "4", 1.0, "correctness_math_verify"),
        # The list is short: what another judge said is not the verdict that is missing.
        (2, "u2", 1, "\\boxed{4}", "4", None, None),
    ]


def helm_run(folder: Path) -> Path:
    """A run directory as HELM leaves it."""

    def state(number: int, text: str, **more: Any) -> dict[str, Any]:
        return {
            "instance": {
                "input": {"text": f"{number}+{number}?"},
                "references": [
                    {"output": {"text": str(2 * number)}, "tags": ["correct"]},
                    {"output": {"text": "0"}, "tags": []},
                ],
                "split": "test",
                "id": f"id{number}",
            },
            "train_trial_index": 0,
            "request": {"model": "org/m", "prompt": f"Q: {number}+{number}?\nA:"},
            "result": {
                "success": True,
                "completions": [{"text": text, "logprob": 0, "tokens": []}],
                "cached": False,
            },
            "num_train_instances": 5,
            **more,
        }

    run = folder / "gsm:model=org_m"
    write_json(
        run / "run_spec.json",
        {"name": "gsm:split=test,model=org_m", "scenario_spec": {}, "adapter_spec": {"model": "org/m"}}, 2,
    )  # fmt: skip
    states = [
        state(1, " 2"),
        state(2, " A", output_mapping={"A": "4", "B": "0"}),
        state(3, "", reference_index=1, request_mode="original"),
    ]
    document = {"adapter_spec": {"method": "generation", "model": "org/m"}, "request_states": states}
    write_json(run / "scenario_state.json", document, 2)
    stats = [
        {
            "instance_id": f"id{number}", "train_trial_index": 0,
            "stats": [
                {"name": {"name": "num_prompt_tokens", "split": "test"}, "count": 1, "sum": 90, "mean": 90.0},
                {"name": {"name": "exact_match", "split": "test"}, "count": 1, "sum": score, "mean": score},
            ],
        }
        for number, score in ((1, 1.0), (2, 0.0))
    ]  # fmt: skip
    write_json(run / "per_instance_stats.json", stats, 2)
    write_json(run / "stats.json", [{"name": {"name": "exact_match"}, "mean": 0.5}], 2)
    return run


def test_a_helm_run(tmp_path: Path) -> None:
    found = read(tmp_path, helm_run(tmp_path))

    assert found.formats == ["beside", "beside", "helm", None]
    told = [(r.task, r.model, r.sample, r.prompt, r.response, r.reference, r.published) for r in found.rows]
    assert told == [
        ("gsm:split=test", "org/m", "id1", "Q: 1+1?\nA:", " 2", "2", 1.0),
        ("gsm:split=test", "org/m", "id2", "Q: 2+2?\nA:", " A", "A", 0.0),
    ]
    assert found.rows[0].metric == "exact_match"
    assert found.reasons == [(3, "no_response_text")]
    assert [(Path(note.file).name, note.code) for note in found.notes] == [("stats.json", "not_outputs")]


def test_what_is_read_with_a_file_is_an_input_too(tmp_path: Path) -> None:
    found = read(tmp_path, helm_run(tmp_path) / "scenario_state.json")

    assert found.formats == ["helm", "beside", "beside"]
    assert [row.published for row in found.rows] == [1.0, 0.0]


def test_a_helm_run_that_was_cut_off_is_read_to_where_it_ends(tmp_path: Path) -> None:
    file = helm_run(tmp_path) / "scenario_state.json"
    text = file.read_text()
    file.write_text(text[: text.index("id2") + 20])

    found = read(tmp_path, file)

    assert [row.sample for row in found.rows] == ["id1"]
    assert found.reasons == [(None, "unreadable")]
    assert "cut off" in found.unusable[0].message
    assert "The 1 rows before it are used." in found.unusable[0].message


def test_opencompass_predictions_with_the_results_beside_them(tmp_path: Path) -> None:
    predictions = {
        "0": {"origin_prompt": [{"role": "HUMAN", "prompt": "1+1?"}], "prediction": "2", "gold": "2"},
        "1": {"origin_prompt": ["Hi.", "2+2?"], "prediction": ["let me see", "5"], "gold": ["Hi", "4"]},
    }
    file = write_json(tmp_path / "predictions" / "m-hf" / "gsm8k.json", predictions, 4)
    details = {"type": "GEN", "0": {"pred": "2", "correct": True}, "1": {"pred": "5", "correct": False}}
    write_json(tmp_path / "results" / "m-hf" / "gsm8k.json", {"accuracy": 50.0, "details": details}, 4)

    found = read(tmp_path, tmp_path)

    assert found.formats == ["opencompass", "beside"]
    told = [(r.task, r.model, r.sample, r.prompt, r.response, r.reference, r.published) for r in found.rows]
    assert told == [
        ("gsm8k", "m-hf", "0", "HUMAN: 1+1?", "2", "2", 1.0),
        ("gsm8k", "m-hf", "1", "Hi.\n\n2+2?", "5", "4", 0.0),
    ]
    assert found.rows[1].extras["rounds"] == ["let me see", "5"]
    assert file.exists()


def test_opencompass_shards_number_their_questions_anew_and_runs_in_progress_are_lines(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "predictions" / "m"
    for shard in (0, 1):
        write_json(
            folder / f"math_{shard}.json", {"0": {"origin_prompt": "?", "prediction": "a", "gold": "a"}}
        )
    write_lines(folder / "tmp_bbh.jsonl", [{"idx": 3, "origin_prompt": "?", "prediction": "b", "gold": "b"}])

    found = read(tmp_path, folder)

    assert found.formats == ["opencompass"] * 3
    assert [(row.task, row.sample) for row in found.rows] == [
        ("math", "0/0"),
        ("math", "1/0"),
        ("bbh", "3"),
    ]


def test_every_eval_ever_instances(tmp_path: Path) -> None:
    record = {
        "schema_version": "0.3.0", "evaluation_id": "e", "model_id": "org/m", "evaluation_name": "sums",
        "evaluation_result_id": "sums/accuracy",
        "sample_id": "s1", "interaction_type": "single_turn",
        "input": {"raw": "1+1?", "reference": ["2"]},
        "output": {"raw": ["It is 2"]},
        "answer_attribution": [
            {"turn_idx": 0, "source": "output.raw", "extracted_value": "2", "extraction_method": "re",
             "is_terminal": True}
        ],
        "evaluation": {"score": 1.0, "is_correct": True},
    }  # fmt: skip
    chat = record | {
        "sample_id": "s2", "interaction_type": "multi_turn", "output": None,
        "messages": [{"turn_idx": 0, "role": "user", "content": "?"},
                     {"turn_idx": 1, "role": "assistant", "content": "So 2"}],
        "evaluation": {"score": 0.0, "is_correct": False},
    }  # fmt: skip
    broken = record | {"sample_id": "s3", "error": "no answer in time"}

    found = read(tmp_path, write_lines(tmp_path / "samples.jsonl", [record, chat, broken]))

    assert found.formats == ["every-eval-ever"]
    assert {row.variant for row in found.rows} == {"sums/accuracy"}
    told = [(r.task, r.model, r.sample, r.prompt, r.response, r.reference, r.published) for r in found.rows]
    assert told == [
        ("sums", "org/m", "s1", "1+1?", "It is 2", "2", 1.0),
        ("sums", "org/m", "s2", "1+1?", "So 2", "2", 0.0),
    ]
    assert found.reasons == [(3, "sample_error")]


def test_plain_lines_by_their_usual_names_which_are_said(tmp_path: Path) -> None:
    records = [
        {"id": "a", "question": "1+1?", "completion": "2", "answer": "2", "correct": True, "dataset": "sums"},
        {
            "id": "a",
            "question": "1+1?",
            "completion": "3",
            "answer": "2",
            "correct": False,
            "dataset": "sums",
        },
    ]

    found = read(tmp_path, write_lines(tmp_path / "rows.jsonl", records))

    told = [
        (r.task, r.sample, r.generation, r.response, r.reference, r.published, r.metric) for r in found.rows
    ]
    assert told == [
        ("sums", "a", 0, "2", "2", 1.0, "correct"),
        ("sums", "a", 1, "3", "2", 0.0, "correct"),
    ]
    assert [note.code for note in found.notes] == ["columns_guessed", "ids_repeated"]
    assert "response is 'completion'" in found.notes[0].message


def test_a_column_that_only_later_rows_have_is_read_from_there_on(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {"id": "a", "response": "2"},
        {"id": "b", "response": "2", "reference": "2", "score": 1.0, "task": "sums"},
        {"id": "c", "response": "3"},
        {"id": "d", "response": "3", "reference": "4", "score": 0.0, "note": "x", "answer": "no reference"},
    ]

    found = read(tmp_path, write_lines(tmp_path / "rows.jsonl", records))

    assert [(row.sample, row.task, row.reference, row.published) for row in found.rows] == [
        ("b", "sums", "2", 1.0), ("d", "rows", "4", 0.0),
    ]  # fmt: skip
    assert found.reasons == [(1, "no_reference"), (3, "no_reference")]
    late = next(note.message for note in found.notes if note.code == "columns_late")
    assert late == (
        "columns that row 2 is the first to have: reference is 'reference', published is 'score', task is 'task'"
    )


def test_columns_may_be_named_and_lead_into_objects_and_lists(tmp_path: Path) -> None:
    record = {"q": "1+1?", "gt": {"value": 2}, "code": ["It is 2"], "eval": {"ok": "true"}, "output": "no"}
    columns = {"response": "code.0", "reference": "gt.value", "prompt": "q", "published": "eval.ok"}

    found = read(tmp_path, write_lines(tmp_path / "rows.jsonl", [record]), columns=columns)

    (row,) = found.rows
    assert (row.response, row.reference, row.prompt, row.published) == ("It is 2", 2, "1+1?", 1.0)
    assert (row.metric, row.task) == ("eval.ok", "rows")
    assert found.notes == []


def test_named_columns_win_in_every_format(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "samples.jsonl", [lm_eval(1, "none", 1.0, ["2"])])

    found = read(tmp_path, file, columns={"reference": "doc.answer", "response": "filtered_resps.0"})

    assert [(row.response, row.reference, row.published) for row in found.rows] == [("2", "So.\n#### 2", 1.0)]


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_csv_with_named_columns(tmp_path: Path, delimiter: str) -> None:
    cells = [
        ["key", "said", "gold", "ok"],
        ["a", '"it is\n2"', "2", "1"],
        ["b", "3", "", "0"],
        ["c", "4", "4", "nan"],
    ]
    file = tmp_path / "rows.csv"
    file.write_text("\ufeff" + "".join(delimiter.join(row) + "\n" for row in cells), encoding="utf-8")

    found = read(
        tmp_path, file, columns={"response": "said", "reference": "gold", "published": "ok", "sample": "key"}
    )

    assert [(r.line, r.sample, r.response, r.reference, r.published) for r in found.rows] == [
        (2, "a", "it is\n2", "2", 1.0), (5, "c", "4", "4", None),
    ]  # fmt: skip
    assert found.reasons == [(4, "no_reference")]
    assert [note.code for note in found.notes] == ["published_not_a_number"]


def test_chats_are_reduced_to_the_last_answer_and_shown_with_roles(tmp_path: Path) -> None:
    record = {
        "prompt": [{"role": "system", "content": "Count."}, {"role": "user", "content": "1+1?"}],
        "response": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}],
        "reference": {"any": ["2", "two"]},
    }

    found = read(tmp_path, write_lines(tmp_path / "rows.jsonl", [record]))

    (row,) = found.rows
    assert (row.prompt, row.response) == ("system: Count.\n\nuser: 1+1?", "2")
    assert row.reference == {"any": ["2", "two"]}


def test_the_metric_task_and_model_that_are_asked_for_win(tmp_path: Path) -> None:
    records = [lm_eval(1, "none", 0.0, ["2"]) | {"metrics": ["exact_match", "math_verify"], "math_verify": 1}]

    found = read(
        tmp_path, write_lines(tmp_path / "samples.jsonl", records), metric="math_verify", task="t", model="m"
    )

    assert [(r.metric, r.published, r.task, r.model) for r in found.rows] == [("math_verify", 1.0, "t", "m")]


def test_a_list_within_a_document_is_a_table_where_it_looks_like_outputs(tmp_path: Path) -> None:
    rows = [{"id": str(n), "completion": "2", "answer": "2", "pad": "x" * 500_000} for n in range(5)]
    document = {
        "config": {"model": "m"},
        "stages": [{"name": "load"}],
        "results": rows,
        "summary": {"acc": 1},
    }

    found = read(tmp_path, write_json(tmp_path / "run.json", document, 1))

    assert (found.formats, found.unusable) == (["table"], [])
    assert [(row.line, row.sample) for row in found.rows] == [(n + 1, str(n)) for n in range(5)]


def test_tables_of_one_task_that_name_no_model_are_of_one_model_each(tmp_path: Path) -> None:
    files = [
        write_lines(tmp_path / name, [{"id": "a", "response": "2", "reference": "2"}])
        for name in ("small.jsonl", "large-00000-of-00002.jsonl", "large-00001-of-00002.jsonl")
    ]

    found = read(tmp_path, *files, task="sums")

    assert [(row.task, row.model, row.sample, row.generation) for row in found.rows] == [
        ("sums", "small", "a", 0), ("sums", "large", "a", 0), ("sums", "large", "a", 1),
    ]  # fmt: skip


def test_messages_stand_for_the_response_where_nothing_else_does(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "\\boxed{2}"}]
    record = {
        "problem": "1+1?",
        "solution": "$2$",
        "messages": messages,
        "correct": True,
        "source": "olympiads",
    }

    found = read(tmp_path, write_lines(tmp_path / "train.jsonl", [record]))

    assert [(r.prompt, r.response, r.reference, r.published) for r in found.rows] == [
        ("1+1?", "\\boxed{2}", "$2$", 1.0)
    ]


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="needs the outputs in ../shared/data")
def test_outputs_that_were_published_are_read_to_the_last(tmp_path: Path) -> None:
    columns = {"response": "code.0", "reference": "gt", "prompt": "question"}
    files = [SHARED_DATA / "tora_70b_gsm8k.jsonl", SHARED_DATA / "tora_code_34b_gsm8k.jsonl"]

    found = read(tmp_path, *files, columns=columns)

    assert (len(found.rows), found.unusable) == (2 * 1319, [])
    assert sum("\\boxed" in row.response for row in found.rows) > 2600
    assert len({(row.task, row.sample, row.generation) for row in found.rows}) == 2 * 1319
