"""Runs axolotl's own NeMo Gym reward function: reads what to call, prints what came out.

Told: ``url`` (of the service; axolotl knows host and port only), ``samples`` (prompt, completion, the row's extras) and
``at_once``. Says: the rewards, NaN as the text "nan".
"""

import importlib.util
import json
import logging
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

logging.disable(logging.CRITICAL)


def rewards() -> Any:
    """Return the module with the reward function, without what the rest of axolotl imports."""
    sys.modules["axolotl.utils.logging"] = SimpleNamespace(get_logger=logging.getLogger)  # type: ignore[assignment]
    found = next(
        Path(entry) / "axolotl/integrations/nemo_gym/rewards.py"
        for entry in sys.path
        if (Path(entry) / "axolotl").is_dir()
    )
    spec = importlib.util.spec_from_file_location("rewards_of_axolotl", found)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Reward every sample as TRL has it rewarded, a group of eight at a time."""
    told = json.load(sys.stdin)
    module = rewards()
    module._verify_urls["countermark"] = f"{told['url']}/verify"

    def group(samples: list[dict[str, Any]]) -> list[float]:
        found: list[float] = module.reward_nemo_gym_verify(
            [[{"role": "assistant", "content": one["completion"]}] for one in samples],
            prompts=[[{"role": "user", "content": one["prompt"]}] for one in samples],
            resources_server_ref=[{"name": "countermark"}] * len(samples),
            verify_extra=[one["extra"] for one in samples],
        )
        return found

    samples = told["samples"]
    groups = [samples[start : start + 8] for start in range(0, len(samples), 8)]
    with ThreadPoolExecutor(told["at_once"]) as threads:
        found = [reward for rewarded in threads.map(group, groups) for reward in rewarded]
    print(json.dumps(["nan" if math.isnan(reward) else reward for reward in found]))


main()
