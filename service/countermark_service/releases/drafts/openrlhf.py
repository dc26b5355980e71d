"""OpenRLHF: the arguments of a run, from its command line, its launch script, or a file of them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from countermark_service.releases.drafts.draft import Draft, number, positive, texts, whole
from countermark_service.releases.drafts.verl import route_of
from countermark_service.releases.drafts.words import is_open

_ALGORITHMS = {"gae": "ppo", "group_norm": "grpo"}
"""What an advantage estimator is called elsewhere; the others have one name."""
_SIGNS = frozenset({"pretrain", "prompt_data", "remote_rm_url", "reward_pretrain", "n_samples_per_prompt",
                    "advantage_estimator"})  # fmt: skip
_NO_HYPERPARAMETER = re.compile(
    r"^(?:pretrain|reward_pretrain|critic_pretrain|.*_path|prompt_data.*|eval_dataset|eval_split|prompt_split"
    r"|remote_rm_url|use_wandb|wandb.*|use_tensorboard|.*_num_nodes|.*_num_gpus_per_node|vllm_(?!sync).*|logging.*"
    r"|save_.*|ckpt.*|load_checkpoint|.*_key|input_template|local_rank|zpg|.*offload|max_ckpt.*|disable_ds_ckpt"
    r"|agent_func.*|colocate.*|.*sleep|ref_reward.*|ring.*|perf|flash_attn|attn_implementation|aux_loss_coef)$"
)
_PROGRAM = re.compile(r"^openrlhf\.cli\.|\w\.py$")
_ENDS = re.compile(r"&&|\|\|?|;|&|--|\d?>.*|\$@")
"""Words that end a command's arguments."""
_PIN_IN_PATH = re.compile(r"/openrlhf/(?P<ref>.+?)/get_reward/?$")


def is_openrlhf(value: object) -> bool:
    """Whether a mapping holds such arguments."""
    return isinstance(value, Mapping) and len(_SIGNS & value.keys()) >= 2


def arguments_of(words: Sequence[str]) -> dict[str, Any]:
    """Return the arguments among the words of a command line: ``--key value``, ``--key=value``, ``--flag``."""
    found: dict[str, Any] = {}
    key, values = "", list[str]()

    def end() -> None:
        if key:
            found[key] = True if not values else values[0] if len(values) == 1 else list(values)

    for word in _own(words):
        if word.startswith("--") and len(word) > 2:
            end()
            key, equals, value = word[2:].partition("=")
            key = key.replace("-", "_")
            values = [value] if equals else []
        elif key and not _ENDS.fullmatch(word):
            values.append(word)
        else:
            end()
            key, values = "", []
    end()
    return found


def _own(words: Sequence[str]) -> Sequence[str]:
    """Return the words after the program, where it can be told: what is before belongs to its launcher."""
    starts = [place for place, word in enumerate(words) if _PROGRAM.search(word)]
    return words[starts[-1] + 1 :] if starts else words


def read_openrlhf(arguments: Mapping[str, Any]) -> Draft:
    """Return what the arguments say."""
    draft = Draft("OpenRLHF arguments")
    found = {key: _typed(value) for key, value in arguments.items() if value is not None}
    for key in [key for key, value in found.items() if is_open(value)]:
        draft.unclear.append(f"--{key} is {found.pop(key)!r}, which only the machine that ran it knew.")

    def put(place: str, value: Any, key: str) -> None:
        draft.put(place, value, f"--{key}")

    put("base_model.id", found.get("pretrain"), "pretrain")
    for key, role in (("prompt_data", "train"), ("eval_dataset", "evaluation")):
        split = found.get("prompt_split" if role == "train" else "eval_split")
        for name in texts(found.get(key)):
            draft.add("data.sources", {"id": name, "split": split, "role": role}, f"--{key}")
    estimator = found.get("advantage_estimator", "gae")
    if isinstance(estimator, str):
        put("optimizer.algorithm", _ALGORITHMS.get(estimator, estimator), "advantage_estimator")
    draft.put("optimizer.library", "openrlhf", "the form of the file")
    seed = whole(found.get("seed"))
    put("optimizer.seeds", None if seed is None else [seed], "seed")
    gpus = positive(found.get("actor_num_gpus_per_node"))
    if gpus is not None:
        nodes = positive(found.get("actor_num_nodes")) or 1
        put("optimizer.hardware", f"{nodes} x {gpus} GPUs for the actor", "actor_num_gpus_per_node")
    draft.hyperparameters({key: value for key, value in found.items() if not _NO_HYPERPARAMETER.match(key)})
    template = found.get("input_template")
    put("scaffold.prompt_template", template if isinstance(template, str) else None, "input_template")
    put("inference.samples", positive(found.get("n_samples_per_prompt")), "n_samples_per_prompt")
    answer, prompt = positive(found.get("generate_max_len")), positive(found.get("prompt_max_len"))
    put("inference.max_tokens", answer, "generate_max_len")
    if prompt is not None and answer is not None:
        put("inference.context_tokens", prompt + answer, "prompt_max_len + --generate_max_len")
    for key in ("temperature", "top_p"):
        put(f"inference.{key}", number(found.get(key)), key)
    if positive(found.get("vllm_num_engines")):
        put("inference.engine", "vllm", "vllm_num_engines")
    _verifier(found, draft)
    draft.unclear.append("the version of OpenRLHF is not in its arguments.")
    if "seed" not in found:
        draft.unclear.append("no --seed is given: the library's default held.")
    return draft


def _verifier(found: Mapping[str, Any], draft: Draft) -> None:
    for address in texts(found.get("remote_rm_url")):
        matched = _PIN_IN_PATH.search(unquote(urlsplit(address).path))
        route = route_of(matched["ref"]) if matched else None
        if route is None:
            draft.unclear.append(
                f"the reward is made by {address} (--remote_rm_url), which no digest names: name the verifier "
                "that it calls, or publish it as one."
            )
        else:
            draft.add("verifier.routes", route, "--remote_rm_url")
    for key, what in (("reward_pretrain", "the reward model"), ("agent_func_path", "the agent function")):
        if key in found:
            draft.unclear.append(
                f"the reward is made by {what} {found[key]} (--{key}): name it as a verifier."
            )


def _typed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
