"""A program that runs verl's own reward managers, configured by the lines that a user pastes, and tells the rewards.

Its configuration is verl's own trainer configuration with those lines as overrides. ``loop`` runs the worker of
the reward loop, as verl's agents do; ``batch`` and ``older`` run the managers that came before it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy
import tiny  # type: ignore[import-not-found]
import torch  # type: ignore[import-not-found]
import verl  # type: ignore[import-not-found]
from hydra import compose, initialize_config_dir  # type: ignore[import-not-found]
from verl import DataProto
from verl.experimental.reward_loop.reward_loop import RewardLoopWorker  # type: ignore[import-not-found]
from verl.trainer.ppo.reward import get_custom_reward_fn  # type: ignore[import-not-found]
from verl.workers.reward_manager import BatchRewardManager, NaiveRewardManager  # type: ignore[import-not-found]

WIDTH = 8


def configuration(lines: list[str], tokenizer: str) -> Any:
    """Return verl's configuration with the user's lines laid over it."""
    folder = Path(verl.__file__).parent / "trainer" / "config"
    with initialize_config_dir(str(folder), version_base=None):
        paths = [f"actor_rollout_ref.model.path={tokenizer}"]
        return compose("ppo_trainer", overrides=[*lines, *paths])


def batch_of(rows: list[dict[str, Any]], tokenizer: Any) -> Any:
    """Return a batch as verl's rollouts leave it."""
    responses, masks = [], []
    for row in rows:
        ids = tokenizer(row["response"], add_special_tokens=False)["input_ids"][:WIDTH]
        responses.append(ids + [tokenizer.pad_token_id] * (WIDTH - len(ids)))
        masks.append([1, 1] + [1] * len(ids) + [0] * (WIDTH - len(ids)))
    tensors = {
        "prompts": torch.ones(len(rows), 2, dtype=torch.long),
        "responses": torch.tensor(responses),
        "attention_mask": torch.tensor(masks),
    }
    columns = {
        "data_source": [row["data_source"] for row in rows],
        "reward_model": [{"style": "rule", "ground_truth": row["ground_truth"]} for row in rows],
        "extra_info": [dict(row.get("extra_info") or {}) for row in rows],
    }
    arrays = {}
    for name, values in columns.items():
        arrays[name] = numpy.empty(len(rows), dtype=object)
        arrays[name][:] = values
    return DataProto.from_dict(tensors=tensors, non_tensors=arrays)


def main() -> None:
    """Score."""
    task = json.loads(sys.stdin.readline())
    tokenizer = tiny.tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        (Path(folder) / "config.json").write_text('{"model_type": "qwen2"}')
        config = configuration(task["lines"], folder)
        data = batch_of(task["rows"], tokenizer)
        print('@{"event": "ready"}', flush=True)
        sys.stdin.readline()
        if task["manager"] == "loop":

            async def scored() -> Any:
                worker = RewardLoopWorker(config)
                return worker.input_tokenizer, await worker.compute_score_batch(data)

            tokenizer, outputs = asyncio.run(scored())
            rewards = [output["reward_score"] for output in outputs]
            keys = list(outputs[0]["reward_extra_info"])  # as verl does: those of the first, for all
            extra = {key: [output["reward_extra_info"][key] for output in outputs] for key in keys}
        else:
            kind = BatchRewardManager if task["manager"] == "batch" else NaiveRewardManager
            found = kind(tokenizer, 0, get_custom_reward_fn(config))(data, return_dict=True)
            rewards = found["reward_tensor"].sum(dim=-1).tolist()
            extra = dict(found["reward_extra_info"])
    # What a manager reads of a response: its tokens, decoded by its own tokenizer without the special ones.
    lengths = data.batch["attention_mask"].sum(dim=-1) - 2
    texts = [
        tokenizer.decode(ids[:length], skip_special_tokens=True)
        for ids, length in zip(data.batch["responses"], lengths, strict=True)
    ]
    arrays = {key: numpy.array(values) for key, values in extra.items()}
    print(
        "@"
        + json.dumps(
            {
                "texts": texts,
                "rewards": rewards,
                "extra": {key: values.tolist() for key, values in arrays.items()},
                "kinds": {key: values.dtype.kind for key, values in arrays.items()},
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
