"""The oracle: math-verify itself, called as its README says, with nothing of the bundle near it.

Runs inside a bundle's environment, in the main thread of a process of its own, alarms and all. Reads one JSON
object a line, ``{"response": ..., "gold": ...}``, and answers one a line,
``{"outcome": ..., "score": ..., "clocked": ...}``.

`clocked` says that the alarm may have spoken: three seconds of wall time (the shortest of its alarms) went by
in each of three attempts. A machine that stood still for a moment is asked again.
"""

import importlib
import json
import logging
import sys
import time
from typing import Any

math_verify: Any = importlib.import_module("math_verify")

ALARM_SECONDS = 2.9
ATTEMPTS = 3


def outcome(response: str, gold: str) -> dict[str, Any]:
    """Return the library's verdict as the bundle has to put it."""
    read_gold, read_response = math_verify.parse(gold), math_verify.parse(response)
    equal = math_verify.verify(read_gold, read_response)
    if not read_gold:
        return {"outcome": "bad_reference", "score": None}
    if not read_response:
        return {"outcome": "no_answer", "score": 0.0}
    return {"outcome": "scored", "score": float(equal)}


def unhurried(response: str, gold: str) -> dict[str, Any]:
    """Return the verdict of the first attempt that no alarm can have cut short, else that of the last."""
    verdict: dict[str, Any] = {}
    for _ in range(ATTEMPTS):
        started = time.monotonic()
        verdict = outcome(response, gold)
        if time.monotonic() - started < ALARM_SECONDS:
            return verdict | {"clocked": False}
    return verdict | {"clocked": True}


if __name__ == "__main__":
    replies = sys.stdout
    sys.stdout = sys.stderr  # 0.5.2 prints its parsing errors
    logging.disable()
    for line in sys.stdin:
        pair = json.loads(line)
        print(json.dumps(unhurried(pair["response"], pair["gold"])), file=replies, flush=True)
