"""A Python grader in the shape of OpenAI's: `grade(sample, item)` gives a number.

The grader's source is a program that nobody vouches for, and the sample is a model's; so both meet in a
sandbox, and only a number comes back. `plan` writes the call, `judge` reads what came of it. A grader that
fails has no score, whatever it did. Values cross as JSON that keeps exact types apart: ["l", [...]] is a
list, ["m", [[key, value], ...]] a dict, ["i", hex] a large integer, ["f", name] nan or an infinity, ["u", base64] a
text with half characters, other values stand for themselves.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any

MOST_SOURCE = 256 * 1024
"""Bytes of a source, as OpenAI's guide has it."""
MOST_MESSAGE = 500
"""Characters that a verdict repeats of what a grader said when it crashed."""
_LARGEST_INT = 1 << 53
_LIMITS = {"time_limit", "memory_limit", "output_limit", "resource_limit"}
Item = dict[str, Any]


class GraderLimitError(Exception):
    """The grader ran into a limit; another time it may not."""


def plan(item: Item) -> dict[str, Any]:
    """Return the call of the grader, or the verdict where the reference holds none."""
    reference = item["reference"]
    if not isinstance(reference, dict) or set(reference) != {"source", "item"}:
        return _bad_reference("invalid", "the reference must be an object of `source` and `item`")
    source = reference["source"]
    if not isinstance(source, str) or not source.strip():
        return _bad_reference("invalid", "`source` must be a text that is not blank")
    if len(source.encode("utf-8", "surrogatepass")) > MOST_SOURCE:
        return _bad_reference("invalid", f"`source` has over {MOST_SOURCE} bytes")
    text = item["response"]
    sample = {"output_text": text, "output_json": _json_of(text)}
    try:
        arguments = [_tag(sample), _tag(reference["item"])]
    except RecursionError:
        return _bad_reference("invalid", "`item` is nested too deeply")
    call = {"args": arguments}
    return {"run": [{"kind": "call", "code": source, "entry_point": "grade", "calls": [call]}]}


def judge(item: Item, results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the verdict on the number that came back.

    Raises:
        GraderLimitError: The grader ran into a limit.
    """
    told = results[0]["calls"][0]
    status = told["status"]
    if status in _LIMITS:
        raise GraderLimitError(f"the grader ran into its {status.replace('_', ' ')}: {told['message']}")
    if status != "ok":
        return _bad_reference(status, _said(told))
    reward = _number(told.get("value"))
    if reward is None:
        return _bad_reference("no_number", "`grade` must return a finite number")
    detail = {"reward": reward, "cpu_seconds": told["cpu_seconds"]}
    return {"outcome": "scored", "score": min(1.0, max(0.0, float(reward))), "detail": detail}


def _bad_reference(kind: str, message: str) -> dict[str, Any]:
    return {"outcome": "bad_reference", "score": None, "detail": {"class": kind, "message": message}}


def _said(told: dict[str, Any]) -> str:
    """Return what a crash says of itself: exception, else message, with the end of what it wrote."""
    exception = ": ".join(told.get("exception") or []) or told["message"] or told["status"]
    return str(exception)[:MOST_MESSAGE]


def _number(value: Any) -> float | int | None:
    """Return a tagged value as a finite number that a double holds, or None."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, list) and value[:1] == ["i"]:
        value = int(value[1], 16)
    if not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _json_of(text: str) -> Any:
    """Return a text as JSON where it is an object or an array, else None."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _tag(value: Any) -> Any:
    """Return a JSON value as JSON that keeps types apart."""
    if isinstance(value, dict):
        return ["m", [[_tag(key), _tag(member)] for key, member in value.items()]]
    if isinstance(value, list):
        return ["l", [_tag(member) for member in value]]
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return ["u", base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST_INT:
        return ["i", hex(value)]
    if isinstance(value, float) and not math.isfinite(value):
        return ["f", repr(value)]
    return value
