"""Runs reward-kit's own remote reward function: reads what to call, prints what came out.

Told: ``endpoint``, ``samples`` (messages, ground_truth) and ``at_once``.
Says: for each sample its score and whether it is valid, or the class of the exception.
"""

import importlib
import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

logging.disable(logging.CRITICAL)


def reward_function() -> Any:
    """Return the class, without what the package's front door imports."""
    found = next(Path(entry) / "reward_kit" for entry in sys.path if (Path(entry) / "reward_kit").is_dir())
    package = ModuleType("reward_kit")
    package.__path__ = [str(found)]
    sys.modules["reward_kit"] = package
    return importlib.import_module("reward_kit.reward_function").RewardFunction


def main() -> None:
    """Evaluate every sample."""
    told = json.load(sys.stdin)
    evaluate = reward_function()(endpoint=told["endpoint"], mode="remote")

    def one(sample: dict[str, Any]) -> dict[str, Any]:
        try:
            result = evaluate(messages=sample["messages"], ground_truth=sample["ground_truth"])
        except Exception as exc:  # noqa: BLE001 - the client hands on whatever happened
            return {"raised": type(exc).__name__}
        return {"score": result.score, "valid": result.is_score_valid}

    with ThreadPoolExecutor(told["at_once"]) as threads:
        print(json.dumps(list(threads.map(one, told["samples"]))))


main()
