"""A program that scores through the code of OpenRLHF and ms-swift that needs torch, and tells their rewards.

Of both packages only the modules that call rewards, and read what comes back, are loaded. Stand-ins: loggers,
engines that "generate" a given response, vLLM's and Ray's names, and ms-swift's rows.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import logging
import sys
import types
from pathlib import Path
from typing import Any

import tiny  # type: ignore[import-not-found]
import torch  # type: ignore[import-not-found]

PROMPT = "user 1 2 assistant"


def package(name: str) -> None:
    """Put a package in place whose own code is not run, and its parents."""
    *above, _ = name.split(".")
    if above and ".".join(above) not in sys.modules:
        package(".".join(above))
    spec = importlib.util.find_spec(name.partition(".")[0]) if not above else None
    made = types.ModuleType(name)
    if above:
        parent = sys.modules[".".join(above)]
        made.__path__ = [str(Path(place) / name.rpartition(".")[2]) for place in parent.__path__]
    else:
        assert spec is not None
        made.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[name] = made


def stand_in(name: str, **members: Any) -> None:
    """Put a module in place that has these members and no others."""
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module


class Engine:
    """Generates the given responses, one after the other."""

    def __init__(self, tokenizer: Any, responses: list[str]) -> None:
        self._tokenizer, self._responses = tokenizer, iter(responses)

    async def generate(self, ids: Any, params: Any, multi_modal_data: Any = None) -> Any:
        """Return the next one."""
        text = next(self._responses)
        tokens = [*self._tokenizer(text, add_special_tokens=False)["input_ids"], self._tokenizer.eos_token_id]
        output = types.SimpleNamespace(
            token_ids=tokens, text=text + " <eos>", finish_reason="stop", logprobs=None
        )
        return types.SimpleNamespace(outputs=[output])


def openrlhf(task: Any, tokenizer: Any) -> Any:
    """Return what OpenRLHF trains on: of the reward file, and of agents that may try twice."""
    package("openrlhf.utils")
    package("openrlhf.trainer.ppo_utils")
    stand_in("openrlhf.utils.logging_utils", init_logger=logging.getLogger)
    stand_in("vllm", SamplingParams=object)
    stand_in("openrlhf.trainer.ray", __path__=[])
    stand_in("openrlhf.trainer.ray.vllm_engine", batch_vllm_engine_call=None)
    agents = importlib.import_module("openrlhf.utils.agent")
    generator = importlib.import_module("openrlhf.trainer.ppo_utils.samples_generator").SamplesGenerator

    spec = importlib.util.spec_from_file_location("agent_func", task["agent"])
    assert spec is not None
    assert spec.loader is not None
    agent_file = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(agent_file)

    def params() -> Any:
        return types.SimpleNamespace(max_tokens=16, logprobs=None)

    async def single(row: Any) -> Any:
        executor = agents.SingleTurnAgentExecutor(task["file"])
        engine = Engine(tokenizer, [row["response"]])
        return await executor.execute(PROMPT, row["reference"], params(), 64, tokenizer, engine)

    async def episode(responses: list[str], reference: str) -> Any:
        engine = Engine(tokenizer, responses)
        executor = agent_file.AgentExecutor()
        return await executor.execute(PROMPT, reference, params(), 64, tokenizer, engine)

    async def everything() -> Any:
        return (
            await asyncio.gather(*(single(row) for row in task["rows"])),
            await asyncio.gather(*(episode(*each) for each in task["episodes"])),
        )

    def trained_on(response: Any) -> Any:
        experience = generator._process_response_into_experience(None, response, max_len=64)
        numbers = {name: value.tolist() for name, value in experience.info.items()}
        return {
            "rewards": None if experience.rewards is None else experience.rewards.tolist(),
            "scores": None if experience.scores is None else experience.scores.tolist(),
            "info": numbers,
        }

    singles, episodes = asyncio.run(everything())
    return [trained_on(each) for each in singles], [trained_on(each) for each in episodes]


def ms_swift(task: Any) -> Any:
    """Return the table of rewards that ms-swift's trainers make, by rows and reward functions."""
    package("swift.rl_core")
    stand_in("swift.rl_core.data", GRPOSample=object)
    stand_in("swift.utils", get_logger=logging.getLogger)

    class RowPreprocessor:
        """Turns rows into columns."""

        @staticmethod
        def rows_to_batched(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
            """Return the columns."""
            return {key: [row[key] for row in rows] for key in rows[0]}

    stand_in("swift.dataset", RowPreprocessor=RowPreprocessor)
    module = importlib.import_module("swift.rl_core.grpo_algorithm")

    class Sample:
        """One sample as the trainer keeps it."""

        def __init__(self, row: dict[str, Any]) -> None:
            self.messages = [{"role": "assistant", "content": row["response"]}]
            self._row = {"messages": self.messages, "solution": row["reference"]}

        def to_reward_row(self) -> dict[str, Any]:
            """Return its columns."""
            return self._row

    orms: dict[str, Any] = {}
    exec(Path(task["plugin"]).read_text(), {"orms": orms})
    functions = [orms[name](args=None) for name in sorted(orms)]
    samples = [Sample(row) for row in task["rows"]]
    table = module.compute_rewards_per_func(samples, functions, None, torch.device("cpu"), trainer_state=None)
    return [[None if value != value else value for value in row] for row in table.tolist()]


def main() -> None:
    """Score."""
    task = json.loads(sys.stdin.readline())
    singles, episodes = openrlhf(task, tiny.tokenizer())
    print("@" + json.dumps({"singles": singles, "episodes": episodes, "swift": ms_swift(task)}), flush=True)


if __name__ == "__main__":
    main()
