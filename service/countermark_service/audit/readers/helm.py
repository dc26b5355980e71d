"""HELM: a run directory, of which ``scenario_state.json`` holds the outputs.

``run_spec.json`` beside it names scenario and model, ``per_instance_stats.json`` has
the published scores by instance and trial. Files of gigabytes that end in the middle
are common: what stands before the end is read. Requests that ask for the likelihood
of a given answer have no text of the model.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from countermark_service.audit.readers.containers import opened
from countermark_service.audit.readers.interface import (
    MISSING,
    Found,
    InputFile,
    Read,
    Remark,
    object_of,
    shaped,
)
from countermark_service.audit.readers.json_stream import JsonStream
from countermark_service.audit.readers.lines import InputFileError, explained, unpacked

_VERDICTS = (
    "final_number_exact_match", "math_equiv_chain_of_thought", "math_equiv", "quasi_exact_match",
    "exact_match", "quasi_prefix_exact_match", "prefix_exact_match", "code_eval_acc", "test_avg",
    "strict_acc", "f1_score", "rouge_l", "bleu_4", "ifeval_strict_accuracy", "chain_of_thought_correctness",
    "safety_score", "wildbench_score", "omni_math_accuracy",
)  # fmt: skip
"""Metrics that judge a response, best known first; others that a scenario brings come after them."""
_BOOKKEEPING = re.compile(
    r"(num_|finish_reason_|training_|inference_|estimated_).*|batch_size|prompt_truncated|logprob.*|perplexity|"
    r"bits_per_byte|max_prob|predicted_index|.*@\d+"
)
"""Metrics of every run that count tokens and seconds, or are of several completions together."""

_Key = tuple[str, int, str]


class Helm:
    """See the module."""

    name: ClassVar[str] = "helm"

    @staticmethod
    def claims(file: InputFile) -> bool:
        """By the first members of a scenario's state."""
        whole = file.kind in ("json", "jsonl") and not file.is_list
        return whole and "adapter_spec" in file.first and "scenario_spec" not in file.first

    @staticmethod
    def beside(file: InputFile) -> Sequence[Path]:
        """What else of the run is read."""
        names = ("run_spec.json", "per_instance_stats.json")
        return [path for name in names if (path := file.path.with_name(name)).is_file()]

    @staticmethod
    def read(file: InputFile) -> Iterator[Read]:
        """Yield one row per completion."""
        run = file.path.parent.name
        scores: dict[_Key, dict[str, Any]] = {}
        for path in Helm.beside(file):
            try:
                if path.name == "run_spec.json":
                    run = _run_name(path) or run
                else:
                    scores = _scores(path)
            except InputFileError as exc:
                yield Remark(None, "run_incomplete", f"what is beside the outputs is not read: {exc}")
        task, model = _task_and_model(run, file.first.get("adapter_spec"))
        with opened(file.path, file.name) as raw, explained(file.name):
            stream = JsonStream(file.name, unpacked(file.name, raw), lists={"request_states"})
            for member, place, value in stream:
                if member != "request_states" or not place:
                    continue
                if not isinstance(value, dict):
                    yield file.unusable(place, "not_of_format", f"request {place} is no object")
                    continue
                make = partial(_rows, file, place, task, model, value, scores)
                yield from shaped(file, place, Helm.name, make)


def _rows(
    file: InputFile,
    place: int,
    task: str,
    model: str,
    state: dict[str, Any],
    scores: Mapping[_Key, dict[str, Any]],
) -> Iterator[Read]:
    instance = state.get("instance") or {}
    if state.get("reference_index") is not None or state.get("request_mode") == "calibration":
        problem = f"request {place} asks for the likelihood of a given answer: there is no text to score"
        yield file.unusable(place, "no_response_text", problem)
        return
    result = state.get("result") or {}
    if not result.get("success", True):
        problem = f"request {place} failed when it was evaluated: {str(result.get('error'))[:200]}"
        yield file.unusable(place, "sample_error", problem)
        return
    key = _key(instance.get("id"), state.get("train_trial_index"), instance.get("perturbation"))
    metrics = scores.get(key, {})
    completions = result.get("completions") or [{}]
    trial = key[1]
    for number, completion in enumerate(completions):
        yield Found(
            line=place,
            task=task,
            variant=key[2],
            model=model,
            sample=key[0],
            generation=trial * len(completions) + number,
            prompt=(state.get("request") or {}).get("prompt") or _text(instance.get("input")),
            response=completion.get("text", MISSING) if isinstance(completion, dict) else MISSING,
            reference=_reference(instance.get("references"), state.get("output_mapping")),
            # HELM scores the first completion; its @k metrics are of all together.
            metrics=metrics if number == 0 else {},
            extras={"metrics": metrics, "output_mapping": state.get("output_mapping")},
            record=state,
            place=number,
        )


def _reference(references: Any, mapping: Any) -> Any:
    """Return the correct answers, one or a list; as letters where the prompt offered letters."""
    correct = [
        _text(one.get("output"))
        for one in references or []
        if isinstance(one, dict) and "correct" in (one.get("tags") or [])
    ]
    if isinstance(mapping, dict):
        letters = [letter for letter, text in mapping.items() if text in correct]
        correct = letters or correct
    if not correct:
        return MISSING
    return correct[0] if len(correct) == 1 else correct


def _text(value: Any) -> Any:
    """Return the text of an input or output: an object has it, or in early runs it is the text itself."""
    return value.get("text") if isinstance(value, dict) else value


def _run_name(path: Path) -> str:
    with opened(path, path.name) as raw, explained(path.name):
        for member, _, value in JsonStream(path.name, raw):
            if member == "name":
                return str(value)
    return ""


def _task_and_model(run: str, spec: Any) -> tuple[str, str]:
    """Split a run's name, ``gsm:eval_split=test,model=openai_gpt-4``; the adapter's own model wins."""
    scenario, _, rest = run.partition(":")
    parts = [part.partition("=") for part in rest.split(",") if part]
    model = next((value for name, _, value in parts if name == "model"), "")
    others = [f"{name}={value}" for name, _, value in parts if name not in ("model", "model_deployment")]
    task = f"{scenario}:{','.join(others)}" if others else scenario
    own = spec.get("model") if isinstance(spec, dict) else None
    return task, str(own or model)


def _scores(path: Path) -> dict[_Key, dict[str, Any]]:
    """Return the metrics that judge, by instance; raises `InputFileError`."""
    found: dict[_Key, dict[str, Any]] = {}
    with opened(path, path.name) as raw, explained(path.name):
        for _, _, one in JsonStream(path.name, raw):
            if not isinstance(one, dict):
                continue
            stats = one.get("stats")
            metrics = {
                str(object_of(stat.get("name")).get("name")): stat.get("mean", stat.get("sum"))
                for stat in (stats if isinstance(stats, list) else [])
                if isinstance(stat, dict)
            }
            judging = {
                name: value
                for name, value in metrics.items()
                if value is not None and not _BOOKKEEPING.fullmatch(name)
            }
            key = _key(one.get("instance_id"), one.get("train_trial_index"), one.get("perturbation"))
            found[key] = {**found.get(key, {}), **judging}
    return {key: dict(sorted(metrics.items(), key=_prominence)) for key, metrics in found.items()}


def _prominence(metric: tuple[str, Any]) -> int:
    """Return the place of a metric among those that are known; all others come after these."""
    return _VERDICTS.index(metric[0]) if metric[0] in _VERDICTS else len(_VERDICTS)


def _key(instance: Any, trial: Any, perturbation: Any) -> _Key:
    name = perturbation.get("name", "") if isinstance(perturbation, dict) else ""
    return str(instance), trial if type(trial) is int else 0, str(name)
