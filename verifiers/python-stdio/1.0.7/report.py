"""A verdict from what became of each test.

The score is 1 where every test is accepted, else 0; with `score` "fraction" it is the
share of accepted tests. The detail has a row per test with its class. Rows never show
what a hidden test puts in or expects, nor what the program wrote, which may repeat it,
unless the parameter `show_tests` says so.
"""

import builtins
from typing import Any

MOST_ROWS = 200
"""Rows of a detail; what is left out is counted."""
_SHOWN = 200
"""Characters of a shown text."""

Verdict = dict[str, Any]
Row = dict[str, Any]


def no_answer(reason: str) -> Verdict:
    """Return the verdict on a response without a program."""
    return {"outcome": "no_answer", "score": 0.0, "detail": {"reason": reason}}


def bad_reference(reason: str) -> Verdict:
    """Return the verdict where the reference cannot be read."""
    return {"outcome": "bad_reference", "score": None, "detail": {"reason": reason[:500]}}


def scored(rows: list[Row], total: int, params: dict[str, Any], limits: dict[str, Any]) -> Verdict:
    """Return the verdict on `rows`, the tests that were run out of `total`.

    The detail's own `class` is that of the first test that is not accepted.
    """
    passed = sum(row["class"] == "accepted" for row in rows)
    fraction = passed / total if params.get("score") == "fraction" else float(passed == total)
    first = next((row["class"] for row in rows if row["class"] != "accepted"), "accepted")
    detail: dict[str, Any] = {
        "class": first,
        "passed": passed,
        "total": total,
        "tests": rows[:MOST_ROWS],
        "limits": limits,
    }
    if len(rows) > MOST_ROWS:
        detail["rows_left_out"] = len(rows) - MOST_ROWS
    if len(rows) < total:
        detail["not_run"] = total - len(rows)
    return {"outcome": "scored", "score": fraction, "detail": detail}


def row(kind: str, result: dict[str, Any] | None = None, show: bool = False, **more: Any) -> Row:
    """Return the row of one test.

    Args:
        kind: Its class.
        result: What the sandbox told of it.
        show: Whether texts of the program may be shown.
        more: Shown only if `show`, cut to a few characters.
    """
    made: Row = {"class": kind}
    if result is not None:
        made["cpu_seconds"] = result["cpu_seconds"]
        if kind == "runtime_error":
            made |= _error(result)
        if show:
            more = {"message": result["message"], "stderr": result["stderr"][-_SHOWN:], **more}
    if show:
        made |= {name: shorten(value) for name, value in more.items() if value not in ("", None)}
    return made


def shorten(value: Any) -> str:
    """Return `value` as a text of at most a few characters."""
    text = value if isinstance(value, str) else literal(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def literal(value: Any) -> str:
    """Return `value` as Python writes it, where it can."""
    try:
        return repr(value)
    except ValueError:  # an integer of more digits than Python converts
        return "(too many digits to show)"


def _error(result: dict[str, Any]) -> Row:
    """Return exit code, signal and the exception's name where it is one of Python's own: no other text."""
    made: Row = {}
    if result.get("exception"):
        name = result["exception"][0]
    else:
        lines = result["stderr"].rstrip().splitlines()
        name = lines[-1].partition(":")[0] if lines else ""
    known = getattr(builtins, name, None) if name.isidentifier() else None
    if isinstance(known, type) and issubclass(known, BaseException):
        made["exception"] = name
    for field in ("exit_code", "signal"):
        if result.get(field):
            made[field] = result[field]
    return made
