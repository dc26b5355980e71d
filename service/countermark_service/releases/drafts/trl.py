"""TRL: the arguments of a GRPO or RLOO run, as JSON, as the YAML of a recipe, or as they print themselves."""

import ast
import re
from collections.abc import Mapping
from typing import Any

from countermark_service.releases.drafts.draft import Draft, number, positive, texts, whole

_SIGNS = frozenset({"num_generations", "max_completion_length", "reward_funcs", "num_mini_batches"})
_BRANCHES = ("main", "master")
_PRINTED = re.compile(r"\b(\w*(?:GRPO|RLOO|Online|PPO)\w*Config)\([ \t]*$", re.MULTILINE)
_LINE = re.compile(r"^\s*(\w+)=(.*?),?\s*$")
_NO_HYPERPARAMETER = re.compile(
    r"^(?:_.*|.*_dir|output_dir|run_name|.*_token|logging.*|log_.*|hub_.*|push_to_hub.*|report_to|save_.*|wandb.*"
    r"|eval_.*|evaluation_.*|do_.*|dataset_.*|model_.*|reward_funcs|chat_template|system_prompt|benchmarks"
    r"|callbacks|resume_from.*|disable_tqdm|.*deepspeed.*|fsdp.*|accelerator_config|local_rank|vllm_.*|num_processes|config"
    r"|trackio.*|hub.*|prediction_loss_only|dataloader_(?!drop).*|load_best.*|metric_for_best.*|greater_is_better"
    r"|torch_dtype|attn_implementation|.*timeout.*|overwrite.*|skip_memory_metrics|project)$"
)


def is_trl(value: object) -> bool:
    """Whether a mapping holds the arguments of such a run."""
    return isinstance(value, Mapping) and bool(_SIGNS & value.keys())


def printed_arguments(text: str) -> dict[str, Any] | None:
    """Return arguments as their object prints them, a line each; None where the text is no such thing."""
    found = _PRINTED.search(text)
    if found is None:
        return None
    values: dict[str, Any] = {"": found[1]}
    for line in text[found.end() :].splitlines():
        matched = _LINE.match(line)
        if matched:
            values[matched[1]] = _literal(matched[2])
    return values if len(values) > 1 else None


def read_trl(arguments: Mapping[str, Any]) -> Draft:
    """Return what the arguments say."""
    draft = Draft("TRL arguments")
    kind = str(arguments.get("", ""))
    found = {key: value for key, value in arguments.items() if key and value is not None}

    def put(place: str, value: Any, key: str) -> None:
        draft.put(place, value, key)

    put("base_model.id", found.get("model_name_or_path"), "model_name_or_path")
    revision = found.get("model_revision")
    if revision in _BRANCHES:
        draft.unclear.append(f"model_revision is {revision!r}, a branch that moves: which commit was it?")
    else:
        put("base_model.revision", revision, "model_revision")
    for key in ("dtype", "torch_dtype"):
        value = found.get(key)
        put("base_model.dtype", value if isinstance(value, str) and value != "auto" else None, key)
    _data(found, draft)
    algorithm = "rloo" if "RLOO" in kind or "rloo_k" in found else "grpo"
    put("optimizer.algorithm", algorithm, kind or "the form of the file")
    put("optimizer.library", "trl", kind or "the form of the file")
    put("optimizer.library_version", found.get("trl_version"), "trl_version")
    steps = positive(found.get("max_steps"))
    put("optimizer.steps", steps, "max_steps")
    seed = whole(found.get("seed"))
    put("optimizer.seeds", None if seed is None else [seed], "seed")
    draft.hyperparameters({key: value for key, value in found.items() if not _NO_HYPERPARAMETER.match(key)})
    if isinstance(found.get("system_prompt"), str):
        draft.document.setdefault("scaffold", {})["system_prompt"] = found["system_prompt"]
        draft.taken["scaffold.system_prompt"] = "system_prompt"
    put("inference.samples", positive(found.get("num_generations")), "num_generations")
    put("inference.max_tokens", positive(found.get("max_completion_length")), "max_completion_length")
    prompt, answer = positive(found.get("max_prompt_length")), positive(found.get("max_completion_length"))
    if prompt is not None and answer is not None:
        put("inference.context_tokens", prompt + answer, "max_prompt_length + max_completion_length")
    for key in ("temperature", "top_p"):
        put(f"inference.{key}", number(found.get(key)), key)
    put("inference.top_k", whole(found.get("top_k")), "top_k")
    if found.get("use_vllm") is True:
        put("inference.engine", "vllm", "use_vllm")
    rewards = texts(found.get("reward_funcs"))
    named = f" ({', '.join(rewards)})" if rewards else ""
    draft.unclear.append(
        f"the reward functions{named} are code of the run, which no digest names: name the verifier that each "
        "calls, or publish it as one."
    )
    if "trl_version" not in found:
        draft.unclear.append("the version of TRL is not in its arguments.")
    if "model_name_or_path" in found and "model_revision" not in found:
        draft.unclear.append("no model_revision is set: the run took whatever the model's main branch was.")
    return draft


def _data(found: Mapping[str, Any], draft: Draft) -> None:
    name = found.get("dataset_name")
    if isinstance(name, str):
        source = {
            "id": name,
            "revision": found.get("dataset_revision"),
            "subset": found.get("dataset_config"),
            "split": found.get("dataset_train_split"),
            "role": "train",
        }
        draft.add("data.sources", source, "dataset_name")
    mixture = found.get("dataset_mixture")
    if isinstance(mixture, Mapping) and isinstance(mixture.get("datasets"), list):
        for one in mixture["datasets"]:
            if isinstance(one, Mapping) and isinstance(one.get("id"), str):
                source = {
                    "id": one["id"],
                    "subset": one.get("config"),
                    "split": one.get("split"),
                    "role": "train",
                }
                draft.add("data.sources", source, "dataset_mixture.datasets")


def _literal(text: str) -> Any:
    """Return the value that a printed argument stands for; what is no literal stays a text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text
