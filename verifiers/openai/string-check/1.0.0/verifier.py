"""Two texts and one operation, as OpenAI's grader `string_check` has it.

What counts: `eq` and `ne` compare characters, `like` looks for the reference inside the response, `ilike` does
so after full case folding of both. What is ignored: nothing, not even white space at the ends. What is not
attempted: wild cards, numbers, normalisation.

There is no `reduce`: one comparison is the work. Standard library only; every operation is linear.
"""

from __future__ import annotations

from typing import Any


def verify(item: dict[str, Any]) -> dict[str, Any]:
    """Score 1 when the operation holds, else 0.

    Args:
        item: `response` (str), `reference` (str), and `operation` in `params`.
    """
    response, reference = item["response"], item["reference"]
    operation = (item.get("params") or {}).get("operation", "eq")
    if not isinstance(reference, str):
        return _bad_reference("not_a_text", "the reference must be a text")
    if operation in ("like", "ilike") and not reference:
        return _bad_reference("empty_reference", "every response contains the empty text")
    if operation == "eq":
        holds = response == reference
    elif operation == "ne":
        holds = response != reference
    elif operation == "like":
        holds = reference in response
    else:
        holds = reference.casefold() in response.casefold()
    return {"outcome": "scored", "score": 1.0 if holds else 0.0, "detail": {"operation": operation}}


def _bad_reference(code: str, message: str) -> dict[str, Any]:
    return {"outcome": "bad_reference", "score": None, "detail": {"code": code, "message": message}}
