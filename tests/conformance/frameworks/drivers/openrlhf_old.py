"""Runs OpenRLHF 0.8's own HTTP client: reads what to call, prints what came out.

Told: ``urls``, and ``samples`` (lists of query, prompt, label: one list is one rollout batch).
Says: for each batch the rewards as `update_samples_with_rewards` joins them, the scores, the log keys; or the
text of the exception.
"""

import importlib.util
import json
import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

logging.disable(logging.CRITICAL)


class Remote:
    """What `ray.remote` makes, in this process."""

    def __init__(self, made: Callable[..., Any]) -> None:
        self.made = made

    def remote(self, *given: Any, **named: Any) -> Any:
        return self.made(*given, **named)


def utils() -> Any:
    """Return the module with the client, without what the rest of OpenRLHF imports."""
    sys.modules["ray"] = SimpleNamespace(remote=Remote, get=lambda found: found)  # type: ignore[assignment]
    sys.modules["openrlhf.utils.logging_utils"] = SimpleNamespace(init_logger=logging.getLogger)  # type: ignore[assignment]
    found = next(
        Path(entry) / "openrlhf/utils/remote_rm_utils.py"
        for entry in sys.path
        if (Path(entry) / "openrlhf").is_dir()
    )
    spec = importlib.util.spec_from_file_location("remote_rm_of_openrlhf", found)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Get the rewards of every batch as the experience maker does."""
    told = json.load(sys.stdin)
    model = utils().RemoteRewardModel.remote(SimpleNamespace(micro_rollout_batch_size=4), told["urls"])

    def one(rows: list[list[Any]]) -> Any:
        columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[], [], []]
        try:
            infos = model.get_rewards(*columns)
        except Exception as exc:  # noqa: BLE001 - the client raises nothing narrower
            return f"raised: {exc}"
        joined = {key: [value for info in infos for value in info[key]] for key in ("rewards", "scores")}
        return joined | {"logs": sorted({key for info in infos for key in info["extra_logs"]})}

    with ThreadPoolExecutor(told["at_once"]) as threads:
        print(json.dumps(list(threads.map(one, told["samples"]))))


main()
