"""Rewards through Axolotl's own look-up of reward functions by path.

Its module imports torch, so the look-up is taken out of it. Says: rewards, called as TRL calls them.
"""

import ast
import asyncio
import importlib
import inspect
import logging
import os
import sys
import types
from pathlib import Path
from typing import Any

from asking import say, told  # type: ignore[import-not-found]


def look_up() -> Any:
    """Return ``GRPOStrategy.get_reward_func``."""
    file = next(
        found
        for path in sys.path
        if (found := Path(path) / "axolotl" / "core" / "trainers" / "grpo" / "__init__.py").is_file()
    )
    tree = ast.parse(file.read_text())
    strategy = next(
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "GRPOStrategy"
    )
    names = {"get_reward_func"}
    strategy.body = [node for node in strategy.body if getattr(node, "name", None) in names]
    tree.body = [strategy]
    space: dict[str, Any] = {
        "importlib": importlib, "inspect": inspect, "os": os, "LOG": logging.getLogger(), "RewardFunc": Any,
        "HTTPError": OSError, "snapshot_download": None,
    }  # fmt: skip
    exec(compile(ast.fix_missing_locations(tree), str(file), "exec"), space)
    return space["GRPOStrategy"].get_reward_func


def main() -> None:
    """Score everything."""
    facts = told()
    os.environ["COUNTERMARK_VERIFIER"] = facts["verifier"]
    os.environ["COUNTERMARK_ON_FAILURE"] = "null"
    sys.path.insert(0, facts["own"])
    rows = facts["rows"]
    called: dict[str, Any] = {
        "prompts": ["?"] * len(rows),
        "completions": [row["response"] for row in rows],
        "completion_ids": [[1]] * len(rows),
        "trainer_state": types.SimpleNamespace(global_step=1),
    }
    find, references = look_up(), [row["reference"] for row in rows]
    by_path = find("countermark.adapters.axolotl.score")
    blocking = find("countermark.adapters.axolotl.score_blocking")
    own = find("my_rewards.exact")
    say(
        {
            "by_path": asyncio.run(by_path(**called, reference=references)),
            "blocking": blocking(**called, reference=references),
            "own": asyncio.run(own(**called, solution=references)),
            "kinds": [inspect.iscoroutinefunction(function) for function in (by_path, blocking, own)],
        }
    )


main()
