"""Runs an environment of Atropos, its own handling of items, and its own server, with groups scored by the adapter.

Says: what arrived at the server for each item. Tokenizer and tracker are no part of that and are put in place empty.
"""

import asyncio
import os
import sys
import types
from typing import Any

from asking import attempt_async, paste, run  # type: ignore[import-not-found]

for name in ("wandb", "transformers"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["transformers"].AutoTokenizer = types.SimpleNamespace(from_pretrained=lambda _: None)  # type: ignore[attr-defined]
sys.modules["transformers"].PreTrainedTokenizer = object  # type: ignore[attr-defined]

import uvicorn  # noqa: E402
from atroposlib.api.server import app  # type: ignore[import-not-found]  # noqa: E402
from atroposlib.envs.base import (  # type: ignore[import-not-found]  # noqa: E402
    APIServerConfig,
    BaseEnv,
    BaseEnvConfig,
)

from countermark.adapters.atropos import GroupScorer  # noqa: E402


class Quiet:
    """What the page leaves to its user: rollouts, here there already, and nothing to track."""

    async def rollouts(self, item: Any) -> Any:
        """Return texts, tokens and masks of an item."""
        numbers = [[n] for n in range(len(item["texts"]))]
        return item["texts"], numbers, numbers

    async def add_rollouts_for_wandb(self, *_: Any, **__: Any) -> None:
        """Track nothing."""

    async def get_next_item(self) -> Any:
        """Have none."""

    async def evaluate(self, *_: Any, **__: Any) -> None:
        """Have nothing to evaluate."""


async def handled(env: Any, item: dict[str, Any]) -> dict[str, Any]:
    """Let the environment handle one item and return what came to the server."""
    app.state.queue, app.state.buffer = [], {}
    env.running_items["uuid"] = {"item": item}
    began = asyncio.get_running_loop().time()
    await env.handle_env("uuid")
    groups = [*app.state.queue, *(group for groups in app.state.buffer.values() for group in groups)]
    return {
        "groups": [
            {name: group[name] for name in ("tokens", "scores", "group_overrides")} for group in groups
        ],
        "successful": env.task_successful[-1],
        "seconds": asyncio.get_running_loop().time() - began,
    }


async def main(facts: Any) -> Any:
    """Run server and environment."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    # What registering them would leave there.
    app.state.envs = [{"group_size": 4, "registered_id": 0, "connected": True}]

    config = BaseEnvConfig(
        group_size=4, rollout_server_url=f"http://127.0.0.1:{port}", use_wandb=False, ensure_scores_are_not_same=True,
        tokenizer_name="none",
    )  # fmt: skip
    kind = type("Pasted", (Quiet, paste(facts["page"], BaseEnv=BaseEnv)["MathEnv"]), {})
    env = kind(
        config, [APIServerConfig(model_name="none", base_url="http://127.0.0.1:1", api_key="x")], testing=True
    )
    env.env_id = 0
    good = ["Paris", "Rome", "Paris", ""]
    bad = "\ud800"  # no text that can be sent, so no verdict
    said = {
        "judged": await handled(env, {"answer": "Paris", "texts": good}),
        "one_failed": await handled(env, {"answer": "Paris", "texts": ["Paris", bad, "Rome", "Paris"]}),
        "all_failed": await handled(env, {"answer": "", "texts": good}),
        "wrong_length": await attempt_async(env.scorer.group({"answer": "Paris"}, good, tokens=[[1]])),
    }
    env.scorer = GroupScorer(facts["verifier"], on_failure="raise")
    said["raise"] = await handled(env, {"answer": "", "texts": good})
    os.environ["COUNTERMARK_URL"] = facts["hung"]
    env.scorer = GroupScorer(facts["verifier"], deadline=1.0)
    said["hung"] = await handled(env, {"answer": "Paris", "texts": good})
    server.should_exit = True
    await serving
    return said


run(main)
