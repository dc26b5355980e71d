"""verl: the Hydra configuration of a run, its overrides, or the script that started it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from countermark_service.errors import CountermarkError
from countermark_service.model import BundleRef
from countermark_service.releases.drafts.draft import Draft, flat, number, positive, texts, whole
from countermark_service.releases.drafts.words import is_open

_ROOTS = ("actor_rollout_ref", "algorithm", "data", "trainer", "critic", "reward", "reward_model",
          "custom_reward_function")  # fmt: skip
_OVERRIDE = re.compile(rf"^[+~]{{0,2}}((?:{'|'.join(_ROOTS)})(?:\.\w+)*)=(.*)$", re.DOTALL)
_HYPERPARAMETERS = re.compile(
    r"algorithm\.|actor_rollout_ref\.actor\.(?!.*(?:fsdp|megatron|checkpoint|profile|offload|path|dir))"
    r"|actor_rollout_ref\.rollout\.(?:n|temperature|top_p|top_k|val_kwargs\..*)$"
    r"|critic\.(?:optim\.|ppo_|cliprange)|data\.(?:train_batch_size|gen_batch_size|shuffle|filter)"
    r"|trainer\.(?:total_epochs|total_training_steps)$|reward_model\.(?:enable|overlong_buffer\..*)$"
    r"|reward\.reward_kwargs\."
)
_ADAPTER = "countermark.adapters.verl"


def is_verl(value: object) -> bool:
    """Whether a mapping is a configuration of verl."""
    return isinstance(value, Mapping) and (
        "actor_rollout_ref" in value or {"algorithm", "trainer"} <= value.keys()
    )


def overrides_of(words: Sequence[str]) -> dict[str, Any]:
    """Return the settings among the words of a command line, or in a list of overrides."""
    found: dict[str, Any] = {}
    for word in words:
        matched = _OVERRIDE.match(word)
        if matched:
            found[matched[1]] = _typed(matched[2])
    return found


def read_verl(settings: Mapping[str, Any]) -> Draft:
    """Return what a configuration says; nested or with dots in its keys."""
    found = {key: value for key, value in flat(settings).items() if value is not None and value != "null"}
    draft = Draft("verl configuration")
    for key in [key for key, value in found.items() if is_open(value)]:
        draft.unclear.append(f"{key} is {found.pop(key)!r}, which only the machine that ran it knew.")

    def put(place: str, value: Any, *keys: str) -> None:
        draft.put(place, value, " + ".join(keys))

    put("base_model.id", found.get("actor_rollout_ref.model.path"), "actor_rollout_ref.model.path")
    _data(found, draft)
    put("optimizer.algorithm", found.get("algorithm.adv_estimator"), "algorithm.adv_estimator")
    put("optimizer.library", "verl", "the form of the file")
    put(
        "optimizer.steps", positive(found.get("trainer.total_training_steps")), "trainer.total_training_steps"
    )
    seed = whole(found.get("data.seed"))
    put("optimizer.seeds", None if seed is None else [seed], "data.seed")
    gpus, nodes = positive(found.get("trainer.n_gpus_per_node")), positive(found.get("trainer.nnodes"))
    if gpus is not None:
        put("optimizer.hardware", f"{nodes or 1} x {gpus} GPUs", "trainer.nnodes", "trainer.n_gpus_per_node")
    draft.hyperparameters({key: value for key, value in found.items() if _HYPERPARAMETERS.match(key)})
    rollout = "actor_rollout_ref.rollout"
    put("inference.samples", positive(found.get(f"{rollout}.n")), f"{rollout}.n")
    put("inference.temperature", number(found.get(f"{rollout}.temperature")), f"{rollout}.temperature")
    put("inference.top_p", number(found.get(f"{rollout}.top_p")), f"{rollout}.top_p")
    put("inference.top_k", whole(found.get(f"{rollout}.top_k")), f"{rollout}.top_k")
    put("inference.engine", found.get(f"{rollout}.name"), f"{rollout}.name")
    prompt, answer = (positive(found.get(f"data.max_{part}_length")) for part in ("prompt", "response"))
    put("inference.max_tokens", answer, "data.max_response_length")
    if prompt is not None and answer is not None:
        put("inference.context_tokens", prompt + answer, "data.max_prompt_length", "data.max_response_length")
    _verifier(found, draft)
    validation = sorted(key for key in found if key.startswith(f"{rollout}.val_kwargs."))
    if validation:
        draft.unclear.append(
            "the inference budget is that of training; validation has its own in "
            f"{rollout}.val_kwargs. Say in the results which of the two they are from."
        )
    draft.unclear.append("the version of verl is not in its configuration.")
    return draft


def _data(found: Mapping[str, Any], draft: Draft) -> None:
    for key, role in (("data.train_files", "train"), ("data.val_files", "evaluation")):
        for name in texts(found.get(key)):
            draft.add("data.sources", {"id": name, "role": role}, key)


def _verifier(found: Mapping[str, Any], draft: Draft) -> None:
    """Take the route where Countermark's adapter is used; else say what decides the reward."""
    for base in ("reward.custom_reward_function", "custom_reward_function"):
        path = found.get(f"{base}.path")
        if not isinstance(path, str):
            continue
        pin = found.get(f"{base}.reward_kwargs.verifier")
        if _ADAPTER in path and isinstance(pin, str) and (route := route_of(pin)) is not None:
            failure = found.get(f"{base}.reward_kwargs.on_failure")
            if failure in ("null", "zero", "raise"):
                route["on_failure"] = failure
            draft.add("verifier.routes", route, f"{base}.reward_kwargs.verifier")
            return
        draft.unclear.append(
            f"the reward is made by {path} ({base}.path), which no digest names: name the verifier that it calls, "
            "or publish it as one."
        )
        return
    draft.unclear.append(
        "the reward is verl's own, chosen by the data_source of each row and by the version of verl: name the "
        "verifier of each data source."
    )


def route_of(ref: str) -> dict[str, Any] | None:
    """Return a route by a reference that stands in a configuration; None where it is none."""
    try:
        if BundleRef.parse(ref).version is None:
            return None
    except CountermarkError:
        return None
    return {"task": "default", "verifier": ref}


def _typed(text: str) -> Any:
    """Return the value that Hydra reads in an override."""
    text = text.strip().strip("'\"")
    lowered = text.lower()
    if lowered in ("true", "false"):
        return lowered == "true"
    if lowered in ("null", "none", ""):
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
