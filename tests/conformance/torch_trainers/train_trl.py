"""A program that trains with TRL's own trainers and tells, step by step, what the trainer made of the rewards.

It reads its task as the first line of standard input and prints one JSON line before each scoring and one after
it. Before a scoring it waits for a line, so that whoever runs it can do something to the service meanwhile.
"""

from __future__ import annotations

import json
import sys
import tempfile
from typing import Any

import tiny  # type: ignore[import-not-found]
import torch  # type: ignore[import-not-found]
from datasets import Dataset  # type: ignore[import-not-found]
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer  # type: ignore[import-not-found]

from countermark.adapters.trl import reward


def tell(**facts: Any) -> None:
    """Print one line of the protocol."""
    print("@" + json.dumps(facts), flush=True)


def numbers(tensor: Any) -> Any:
    """Return the values of a tensor, None where one is not a number."""
    return [
        [None if value != value else value for value in row] if isinstance(row, list) else row
        for row in tensor.tolist()
    ]


class Window:
    """Stands in front of what a trainer does with rewards, and changes nothing of it."""

    state: Any
    train: Any

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, ids: Any) -> Any:
        tell(event="scoring", step=self.state.global_step)
        sys.stdin.readline()
        rewards = super()._calculate_rewards(inputs, prompts, completions, ids)  # type: ignore[misc]
        texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
        columns = {key: [row[key] for row in inputs] for key in ("solution", "allowed")}
        tell(
            event="scored",
            step=self.state.global_step,
            completions=texts,
            rewards=numbers(rewards),
            **columns,
        )
        return rewards

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        output = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        tell(event="advantages", advantages=output["advantages"].tolist())
        return output


class Grpo(Window, GRPOTrainer):  # type: ignore[misc]
    """TRL's `GRPOTrainer`."""


class Rloo(Window, RLOOTrainer):  # type: ignore[misc]
    """TRL's `RLOOTrainer`."""


TRAINERS = {"grpo": (Grpo, GRPOConfig), "rloo": (Rloo, RLOOConfig)}


def main() -> None:
    """Train."""
    task = json.loads(sys.stdin.readline())
    tokenizer = tiny.tokenizer()
    model = tiny.model(len(tokenizer))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    rows = task["rows"]
    if task["conversational"]:
        rows = [{**row, "prompt": [{"role": "user", "content": row["prompt"]}]} for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        trainer_class, config_class = TRAINERS[task["trainer"]]
        config = config_class(
            output_dir=folder, per_device_train_batch_size=8, num_generations=4, max_completion_length=6,
            max_steps=task["steps"], learning_rate=1e-2, temperature=1.0, report_to=[], logging_steps=1,
            save_strategy="no", use_cpu=True, bf16=False, shuffle_dataset=False, disable_tqdm=True, seed=7,
            log_completions=False, beta=0.0,
        )  # fmt: skip
        trainer = trainer_class(
            model=model,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            reward_funcs=[
                reward("gsm8k-answer:1.0.0", gold="solution", **task["options"]),
                reward("regex:1.0.0", gold="allowed", name="allowed", **task["options"]),
            ],
        )
        trainer.train()
        logs = trainer.state.log_history
    changed = any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    finite = all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())
    tell(event="done", logs=logs, changed=changed, finite=finite)


if __name__ == "__main__":
    main()
