"""Scores completions through AReaL's own `AsyncRewardWrapper`, and without it in its own workflow.

AReaL's package imports torch when it is imported, so its modules are loaded without it: the wrapper whole, and of
the workflow the class, whose other parts generate. Says: rewards, or errors.
"""

import ast
import asyncio
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asking import attempt, attempt_async, paste, run  # type: ignore[import-not-found]


def package(name: str, folder: Path) -> types.ModuleType:
    """Put a package in place whose own code is not run."""
    made = types.ModuleType(name)
    made.__path__ = [str(folder)]
    sys.modules[name] = made
    return made


AREAL = next(folder for path in sys.path if (folder := Path(path) / "areal").is_dir())
package("areal", AREAL)
package("areal.api", AREAL / "api")
from areal.api.reward_api import AsyncRewardWrapper  # type: ignore[import-not-found]  # noqa: E402


def workflow_class() -> Any:
    """Return the class of the workflow out of its module, whose other imports are not needed to score."""
    tree = ast.parse((AREAL / "workflow" / "rlvr.py").read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "RLVRWorkflow"]
    module = types.ModuleType("areal.workflow.rlvr")

    def passes(*_: Any, **__: Any) -> Any:
        return lambda function: function

    named = (
        "ModelResponse",
        "InferenceEngine",
        "ModelRequest",
        "GenerationHyperparameters",
        "RolloutWorkflow",
    )
    module.__dict__.update(dict.fromkeys((*named, "PreTrainedTokenizerFast"), object))
    module.__dict__.update(
        {"Any": Any, "Callable": Callable, "AsyncRewardWrapper": AsyncRewardWrapper},
        torch=types.SimpleNamespace(Tensor=object),
        trace_session=passes,
        session_context=passes,
        default_get_input_ids_fn=None,
        default_data_extract_prompt_fn=None,
    )
    exec(
        compile(ast.fix_missing_locations(tree), str(AREAL / "workflow" / "rlvr.py"), "exec"), module.__dict__
    )
    package("areal.workflow", AREAL / "workflow")
    sys.modules["areal.workflow.rlvr"] = module
    return module.RLVRWorkflow


THEIRS = workflow_class()
from countermark.adapters import areal  # noqa: E402 - after the framework is in place


class Tokenizer:
    """Reads what a response's tokens are, here a text."""

    def decode(self, tokens: Any) -> Any:
        """Return the text."""
        return tokens


SETTINGS = types.SimpleNamespace(new_with_stop_and_pad_token_ids=lambda _: None)


def workflow(verifier: str, **more: Any) -> Any:
    """Return AReaL's workflow as a config that names it by its path makes it."""
    return areal.RLVRWorkflow(verifier=verifier, gconfig=SETTINGS, tokenizer=Tokenizer(), **more)


async def wrapped(reward: Any, row: dict[str, Any], retries: int = 0) -> Any:
    """Score one row through AReaL's pool of processes."""
    wrapper = AsyncRewardWrapper(reward, max_workers=2, max_retries=retries)
    return await attempt_async(wrapper("?", row["response"], [1], [2], answer=row["reference"], level=3))


async def looped(flow: Any, row: dict[str, Any]) -> Any:
    """Score one row in the workflow."""
    response = types.SimpleNamespace(output_tokens=row["response"], input_tokens="?")
    return await attempt_async(flow._compute_rewards(response, "?", {"answer": row["reference"], "level": 3}))


async def main(facts: Any) -> Any:
    """Score everything."""
    verifier, rows, many = facts["verifier"], facts["rows"], facts["many"]
    os.environ["COUNTERMARK_VERIFIER"] = verifier
    by_hand, by_path = (paste(block, gconfig=SETTINGS, tokenizer=Tokenizer()) for block in facts["page"])
    ended = by_hand["workflow"]
    package_name, _, class_name = by_path["workflow"].rpartition(".")
    flow = getattr(sys.modules[package_name], class_name)(**by_path["workflow_kwargs"])
    said = {
        "wrapped": [await wrapped(areal.reward(verifier), row) for row in rows],
        "by_path": [await wrapped(areal.reward_fn, row) for row in rows],
        "again": await wrapped(areal.reward(verifier), rows[3], retries=3),
        "looped": [await looped(flow, row) for row in rows],
        "many": await asyncio.gather(*(looped(flow, row) for row in many)),
        "ended": [await looped(one, {**rows[0], "response": "Paris<|im_end|>"}) for one in (flow, ended)],
        "is_theirs": isinstance(flow, THEIRS),
        "too_long": attempt(lambda: areal.reward(verifier, pool_deadline=15.0)),
    }
    # The pool's processes keep the environment that they were started with.
    hung = areal.reward(verifier, pool_deadline=1.0, base_url=facts["hung"])
    said["hung_wrapped"] = await wrapped(hung, rows[0], retries=1)
    os.environ["COUNTERMARK_URL"] = facts["hung"]
    said["hung_looped"] = await looped(workflow(verifier, deadline=1.0), rows[0])
    return said


run(main)
