"""Runs verl's own sandbox client: reads what to call, prints what came out.

Told: ``url``, ``at_once`` (samples at the same time), ``most`` (requests at the same time,
verl's `max_concurrent`), ``memory``, and ``samples``: completion, cases, timeout, continuous.
Says: for each sample its score and the status of each case.
"""

import importlib.util
import json
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

logging.disable(logging.CRITICAL)


def client() -> Any:
    """Return the package with verl's client, without what the rest of verl imports."""
    found = next(
        Path(entry) / "verl/utils/reward_score/sandbox_fusion/__init__.py"
        for entry in sys.path
        if (Path(entry) / "verl").is_dir()
    )
    spec = importlib.util.spec_from_file_location(
        "sandbox_fusion_of_verl", found, submodule_search_locations=[str(found.parent)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Score every sample as verl's reward function does."""
    told = json.load(sys.stdin)
    compute_score = client().compute_score
    semaphore = threading.Semaphore(told["most"])

    def one(sample: dict[str, Any]) -> dict[str, Any]:
        score, cases = compute_score(
            told["url"], semaphore, told.get("memory", 1024), sample["completion"], sample["cases"],
            continuous=sample.get("continuous", False), timeout=sample.get("timeout", 10),
        )  # fmt: skip
        return {"score": score, "statuses": [case.get("status", case.get("error")) for case in cases]}

    with ThreadPoolExecutor(told["at_once"]) as threads:
        print(json.dumps(list(threads.map(one, told["samples"]))))


main()
