"""Python functions judged by assertions: HumanEval's `check(candidate)`, MBPP's assert lines, test programs.

`plan` says what to run, `judge` what the results are worth, `reduce` what a verdict depends on. They run
in a worker that no candidate can reach; programs run in sandboxes that hold no expected outputs. What counts
as equal, what is ignored and what is not attempted is in the manifest's description.
"""

from typing import Any

import asserts
import extract
import report
from references import Asserts, BadReferenceError, Problem, read

LANGUAGE = "python"
Item = dict[str, Any]


def plan(item: Item) -> dict[str, Any]:
    """Return the verdict where there is nothing to run, else the runs."""
    try:
        problem = _problem(item)
        program = _program(item)
        if program is None:
            return report.no_answer("the response holds no program")
        return {"run": asserts.plan(problem, program.code, item["params"])}
    except BadReferenceError as error:
        return report.bad_reference(str(error))


def judge(item: Item, results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the verdict on what the runs came to."""
    program = _program(item)
    first = results[0].get("tester") or results[0]["calls"][0]
    if first["status"] == "compile_error" and program is not None and not program.fenced:
        return report.no_answer("the response is a text without a fenced program, and is none itself")
    try:
        return asserts.judge(_problem(item), "" if program is None else program.code, item["params"], results)
    except BadReferenceError as error:
        return report.bad_reference(str(error))


def reduce(item: Item) -> list[Any]:
    """Return the part of an item that its verdict depends on: the program, not what is said around it."""
    return [_program(item), item["reference"], item["params"]]


def _problem(item: Item) -> Asserts:
    problem: Problem = read(item["reference"], challenge=bool(item["params"].get("challenge_tests")))
    if not isinstance(problem, Asserts):
        raise BadReferenceError(
            f"tests of the kind {type(problem).__name__.lower()}: another verifier is for them"
        )
    return problem


def _program(item: Item) -> extract.Program | None:
    params = item["params"]
    how, strip = params.get("extract", "last_fenced"), bool(params.get("strip_reasoning"))
    return extract.program(item["response"], LANGUAGE, how, strip)
