"""The oracle: math-verify itself, called as its README says, with nothing of the bundle near it.

Runs inside a bundle's environment, in the main thread of a process of its own, alarms and all. Reads one JSON
object a line, ``{"response": ..., "gold": ...}``, and answers one a line,
``{"outcome": ..., "score": ..., "clocked": ...}``.

`clocked` says that the alarm may have spoken: three seconds of wall time (the shortest of its alarms) went by
in each of three attempts. A machine that stood still for a moment is asked again.

A further key of a pair, `fork`, has it judged in a fork of its own: nothing of it is left to the next, and nothing
of another pair that was judged so is found.
"""

import importlib
import json
import logging
import os
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


def in_a_fork(response: str, gold: str) -> dict[str, Any]:
    """Return what `unhurried` returns in a child of this process."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, json.dumps(unhurried(response, gold)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        verdict: dict[str, Any] = json.loads(pipe.read())
    os.waitpid(child, 0)
    return verdict


if __name__ == "__main__":
    replies = sys.stdout
    sys.stdout = sys.stderr  # 0.5.2 prints its parsing errors
    logging.disable()
    for line in sys.stdin:
        pair = json.loads(line)
        judge = in_a_fork if pair.get("fork") else unhurried
        print(json.dumps(judge(pair["response"], pair["gold"])), file=replies, flush=True)
