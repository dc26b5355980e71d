"""Sends programs with verl's own client, 64 at once, and prints how many were run a second.

Started by `bench_facades` with verl's code on its path; told by JSON on standard input: ``url``,
``programs``, and ``first``, the number that makes them different from those of other calls.
"""

import importlib.util
import json
import logging
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

AT_ONCE = 64
ADD = "a, b = map(int, input().split())\nprint(a + b)\n# {number}"

logging.disable(logging.CRITICAL)


def verls_call() -> Any:
    """Return verl's `call_sandbox_api`, without what the rest of verl imports."""
    folder = next(Path(entry) for entry in sys.path if (Path(entry) / "verl").is_dir())
    file = folder / "verl/utils/reward_score/sandbox_fusion/utils.py"
    spec = importlib.util.spec_from_file_location("verl_sandbox_utils", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.call_sandbox_api


def main() -> None:
    """Send every program and print runs per second."""
    told = json.load(sys.stdin)
    call = verls_call()

    def one(number: int) -> None:
        answer, error = call(told["url"], ADD.format(number=number), "20 22\n", 10, 10, 1024, "python")
        if error or answer["run_result"]["stdout"] != "42\n":
            raise SystemExit(f"{error} {answer}")

    with ThreadPoolExecutor(AT_ONCE) as threads:
        started = time.perf_counter()
        list(threads.map(one, range(told["first"], told["first"] + told["programs"])))
        print(told["programs"] / (time.perf_counter() - started))


main()
