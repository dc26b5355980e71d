"""Rewards through OpenRLHF's own code: the single-turn executor of 0.11 whole, the reward actor of 0.8.

Their packages import engines when they are imported, so the one module that calls a reward file is loaded without
the rest. Stand-ins: the logger, an engine that "generates" a row's response, a tokenizer of one token per
character, and, in 0.8, Ray. Says: rewards as OpenRLHF has them.
"""

import asyncio
import importlib
import logging
import os
import sys
import types
from pathlib import Path
from typing import Any

from asking import attempt, told  # type: ignore[import-not-found]
from asking import say as tell

BOS, EOS = 0x110000, 0x110001
PROMPT = "<|im_start|>user\nCapital? e.g. Rome<|im_end|>\n<|im_start|>assistant\n"


def utilities() -> Path:
    """Put OpenRLHF's package of utilities in place without running its own code; return its folder."""
    folder = next(found for path in sys.path if (found := Path(path) / "openrlhf" / "utils").is_dir())
    for name, place in (("openrlhf", folder.parent), ("openrlhf.utils", folder)):
        made = types.ModuleType(name)
        made.__path__ = [str(place)]
        sys.modules[name] = made
    logger = types.ModuleType("openrlhf.utils.logging_utils")
    logger.init_logger = logging.getLogger  # type: ignore[attr-defined]
    sys.modules[logger.__name__] = logger
    return folder


class Ids(list[int]):
    """Token ids with the one method of a tensor that is called."""

    def tolist(self) -> list[int]:
        """Return them."""
        return list(self)


class Tokenizer:
    """One token for each character, and two special ones."""

    def __call__(self, text: str, **_: Any) -> dict[str, list[Ids]]:
        """Return the tokens of a prompt, behind the token that begins a text."""
        return {"input_ids": [Ids([BOS, *map(ord, text)])]}

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        """Return the text."""
        special = {BOS: "<s>", EOS: "<|im_end|>"}
        return "".join(special.get(token) or chr(token) for token in ids)


class Engine:
    """Generates one given response."""

    def __init__(self, response: str) -> None:
        """Keep the response."""
        self._response = response

    async def generate(self, ids: list[int], params: Any, multi_modal_data: Any = None) -> Any:
        """Return it, ended by the token that ends a turn."""
        output = types.SimpleNamespace(
            token_ids=[*map(ord, self._response), EOS], finish_reason="stop", logprobs=None
        )
        return types.SimpleNamespace(outputs=[output])


async def executed(file: str, rows: list[dict[str, Any]]) -> Any:
    """Return what 0.11's executor has of each row, all of them executed at once."""
    agent = importlib.import_module("openrlhf.utils.agent")
    executor = agent.SingleTurnAgentExecutor(file)
    params = types.SimpleNamespace(max_tokens=64, logprobs=None)
    outputs = await asyncio.gather(
        *(
            executor.execute(PROMPT, row["reference"], params, 4096, Tokenizer(), Engine(row["response"]))
            for row in rows
        )
    )
    return [
        {
            "reward": None if output["reward"] is None else float(output["reward"][0]),
            "score": None if output["scores"] is None else float(output["scores"][0]),
            "failed": {name: float(values[0]) for name, values in output["extra_logs"].items()},
        }
        for output in outputs
    ]


def acted(file: str, rows: list[dict[str, Any]]) -> Any:
    """Return what 0.8's reward actor has, in chunks of four."""
    ray = types.ModuleType("ray")

    def remote(subject: Any) -> Any:
        return subject if isinstance(subject, type) else types.SimpleNamespace(remote=subject)

    ray.remote, ray.get = remote, lambda refs: refs  # type: ignore[attr-defined]
    sys.modules["ray"] = ray
    module = importlib.import_module("openrlhf.utils.remote_rm_utils")
    actor = module.RemoteRewardModel(types.SimpleNamespace(micro_rollout_batch_size=4), [file])
    queries = [f"<s>{PROMPT}{row['response']}<|im_end|>" for row in rows]
    infos = actor.get_rewards(queries, [PROMPT] * len(rows), [row["reference"] for row in rows])
    return [float(reward) for info in infos for reward in info["rewards"]]


def main() -> None:
    """Score everything."""
    facts = told()
    utilities()
    rows, many, file = facts["rows"], facts["many"], facts["file"]
    judged = [row for row in rows if row["reference"]]
    if facts["version"] == "0.8":
        tell(
            {
                "many": acted(file, many),
                "judged": acted(file, judged),
                "rows": attempt(lambda: acted(file, rows)),
            }
        )
        return
    said = {"rows": asyncio.run(executed(file, rows)), "many": asyncio.run(executed(file, many))}
    os.environ["COUNTERMARK_URL"] = facts["hung"]
    said["hung"] = asyncio.run(executed(facts["brief"], rows[:1]))
    tell(said)


main()
