"""A function that is called and judged by what it returns.

Arguments cross to the candidate, and the value back, as plain data by exact type; the
expected value stays here. For tests of the verifier's own shape a value is right if it
equals the expected one with the same types everywhere (1, 1.0 and True differ, as do a
tuple and a list). For tests of data sets their own graders' rule holds: Python's ``==``,
a tuple as good as a list, a dict's keys as good as the texts that JSON makes of integers, and
where the expected value is a list of one member that member as good. Parameters change either.
"""

import json
import re
from typing import Any

import report
from references import BadReferenceError, Calls, CallTest, with_integer_keys
from values import Rule, equal, tag, untag

_VALUE_ROOM = 1024
_FACTOR = 8
_LEAST_ANSWER = 64 * 1024
_LARGEST_ANSWER = 64 << 20
USUAL_IMPORTS = (
    "import bisect, collections, copy, functools, heapq, itertools, math, operator, random, re, string, sys\n"
    "from bisect import *; from collections import *; from functools import *; from heapq import *; "
    "from itertools import *; from math import *; from typing import *; from builtins import *\n"
)
"""What the graders of the data sets import before a program; their programs rely on it, and so does any class
`Solution`, which people write for a site that has all of this imported."""
_FUTURE = re.compile(
    r"^from[ \t]++__future__[ \t]++import\b[ \t]*+(?:\([\w\s,]*+\)|[\w \t,]++)[ \t]*+(?:;[ \t]*+|(?:#[^\r\n]*+)?\r?$)",
    re.MULTILINE,
)
"""No part of it gives back what it has taken: a program may hold a great many spaces."""
Json = dict[str, Any]


def plan(problem: Calls, code: str, params: Json) -> list[Json]:
    """Return the run of a candidate over all tests."""
    entry = problem.entry_point
    if problem.dataset and re.search(r"^class\s+Solution\b", code, re.MULTILINE) and "." not in entry:
        entry = f"Solution.{entry}"
    if problem.dataset or is_solution(entry):
        code = behind(USUAL_IMPORTS, code)
    return [call_run(entry, code, problem.tests, params, params.get("compare_argument") is not None)]


def is_solution(entry: str | None) -> bool:
    """Return whether a method of the class `Solution` is called."""
    return (entry or "").startswith("Solution.")


def behind(before: str, code: str) -> str:
    """Return a program behind a text that it needs, and that behind the program's own imports from __future__."""
    futures = "".join(f"{line.strip()}\n" for line in _FUTURE.findall(code))
    return futures + before + _FUTURE.sub("", code)


def call_run(
    entry: str, code: str, tests: list[CallTest], params: Json, want_arguments: bool = False
) -> Json:
    """Return one run that calls `entry` once per test."""
    try:
        given = [
            {
                "args": [tag(value) for value in test.args],
                "kwargs": {k: tag(v) for k, v in test.kwargs.items()},
            }
            for test in tests
        ]
        keep = [_FACTOR * len(json.dumps(tag(test.expected))) + _VALUE_ROOM for test in tests]
    except (ValueError, RecursionError) as error:
        raise BadReferenceError(str(error)) from error
    if want_arguments:
        keep = [
            size + _FACTOR * len(json.dumps(call["args"])) for size, call in zip(keep, given, strict=True)
        ]
    limits = dict(params.get("limits", {}))
    limits.setdefault("answer_bytes", min(max(_LEAST_ANSWER, max(keep)), _LARGEST_ANSWER))
    return {
        "kind": "call",
        "code": code,
        "entry_point": entry,
        "calls": given,
        "keep_bytes": keep,
        "want_arguments": want_arguments,
        "limits": limits,
        "stop": params.get("score") != "fraction",
    }


def judge(problem: Calls, params: Json, results: list[Json]) -> Json:
    """Return the verdict on the values that came back."""
    rule = rule_of(problem, params)
    told = results[0]
    rows = [_judged(problem, n, result, rule, params) for n, result in enumerate(told["calls"])]
    return report.scored(rows, len(problem.tests), params, told["limits"])


def rule_of(problem: Calls, params: Json) -> Rule:
    """Return when a value is right."""
    tolerance = params.get("absolute_tolerance"), params.get("relative_tolerance")
    python = params.get("equality", "python" if problem.dataset else "exact") == "python"
    return Rule(python, params.get("tuple_equals_list", problem.dataset), *tolerance)


def _judged(problem: Calls, number: int, result: Json, rule: Rule, params: Json) -> Json:
    test = problem.tests[number]
    show = bool(params.get("show_tests"))
    texts = {
        "call": f"{problem.entry_point}(*{report.literal(test.args)}, **{report.literal(test.kwargs)})"
        if show
        else ""
    }
    if result["status"] != "ok":
        return report.row(result["status"], result, show, **texts)
    found, value = _found(result, params.get("compare_argument"))
    if found and _is_right(value, test.expected, rule, problem.dataset):
        return report.row("accepted", result)
    texts |= (
        {"expected": report.literal(test.expected), "got": report.literal(value) if found else "(too large)"}
        if show
        else {}
    )
    return report.row("wrong_answer", result, show, **texts)


def _found(result: Json, argument: int | None) -> tuple[bool, Any]:
    """Return whether there is a value that could be right, and the value."""
    if argument is None:
        return "value_bytes" not in result, untag(result["value"])
    values = None if result.get("args_bytes") else untag(result.get("args"))
    if not isinstance(values, list) or argument >= len(values):
        return False, None
    return True, values[argument]


def _is_right(value: Any, expected: Any, rule: Rule, dataset: bool) -> bool:
    if equal(value, expected, rule):
        return True
    if not dataset:
        return False
    alone = expected[:1] if isinstance(expected, list) and len(expected) == 1 else []
    others = [*alone, *(with_integer_keys(one) for one in (expected, *alone))]
    return any(equal(value, one, rule) for one in others)
