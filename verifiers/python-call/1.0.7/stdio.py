"""Programs that are given an input and judged by their output.

A run holds the inputs. What is expected stays here, as does a checker program, which
runs in a sandbox of its own after the candidate has ended: it finds the files
`input.txt`, `output.txt` and `expected.txt`, and their names as arguments (input,
expected, output), and accepts by ending with exit code 0, or as the data set has it by
printing 1. One that fails is tried on the expected output, too: if it cannot read that
either, it is no checker, and says nothing of the candidate.
"""

import base64
import re
from typing import Any

import compare
import report
from references import BadReferenceError, Stdio

_ROOM = 64 * 1024
"""Bytes that an output may have beyond four times the expected one; a longer one is wrong in any case."""
_DEFAULT_OUTPUT = 1 << 20
_LARGEST_OUTPUT = 64 << 20
_ARGUMENTS = "import sys; sys.argv[:] = ['checker.py', 'input.txt', 'expected.txt', 'output.txt']"
_FUTURE = re.compile(r"^from[ \t]+__future__[ \t]+import\b[^\n]*$", re.MULTILINE)
_WORD = 64
"""Bytes of what a checker prints that are looked at."""
Json = dict[str, Any]


def plan(problem: Stdio, code: str, params: Json) -> list[Json]:
    """Return the run of a candidate over all tests."""
    expected = [len(output.encode()) for _, output in problem.tests]
    most = _LARGEST_OUTPUT if checker_of(problem, params) else 0
    limits = {**problem.limits, **params.get("limits", {})}
    limits.setdefault("stdout_bytes", min(max(_DEFAULT_OUTPUT, 4 * max(expected) + _ROOM), _LARGEST_OUTPUT))
    run = {
        "kind": "stdio",
        "code": code,
        "inputs": [given for given, _ in problem.tests],
        "keep_bytes": [most or 4 * size + _ROOM for size in expected],
        "limits": limits,
        "stop": params.get("score") != "fraction",
    }
    return [run]


def checker_of(problem: Stdio, params: Json) -> str | None:
    """Return the source of the checker, where there is one."""
    checker: str | None = params.get("checker") or problem.checker
    return checker


def judge(problem: Stdio, params: Json, results: list[Json]) -> Json:
    """Return the verdict, or the runs of the checker."""
    told = results[0]
    source = checker_of(problem, params)
    if source is None:
        rows = [_compared(problem.tests[n], result, params) for n, result in enumerate(told["tests"])]
        return report.scored(rows, len(problem.tests), params, told["limits"])
    outputs = {n: output_of(result) for n, result in enumerate(told["tests"]) if result["status"] == "ok"}
    if outputs and len(results) == 1:
        runs = [
            _checker_run(source, problem.tests[n], output)
            for n, output in outputs.items()
            if output is not None
        ]
        if runs:
            return {"run": runs}
    checked = dict(zip([n for n, output in outputs.items() if output is not None], results[1:], strict=False))
    controls = results[1 + len(checked) :]
    doubted = [n for n, verdict in checked.items() if _fails(verdict, problem.tests[n])]
    if doubted and not controls:
        given, expected = problem.tests[doubted[0]]
        return {"run": [_checker_run(source, (given, expected), expected.encode())]}
    if doubted and _fails(controls[0], problem.tests[doubted[0]]):
        told = controls[0]["tests"][0]
        error = told["stderr"].strip().rpartition("\n")[2]
        raise BadReferenceError(
            f"the checker fails on the expected output as well: {told['status']} {error[:300]}"
        )
    rows = []
    for number, result in enumerate(told["tests"]):
        rows.append(_checked(problem, number, result, checked.get(number), params))
    return report.scored(rows, len(problem.tests), params, told["limits"])


def output_of(result: Json) -> bytes | None:
    """Return what a test wrote; None where it was too long to be handed on."""
    output = result.get("stdout")
    if isinstance(output, dict):
        return base64.b64decode(output["base64"])
    return output.encode() if isinstance(output, str) else None


def _compared(test: tuple[str, str], result: Json, params: Json) -> Json:
    given, expected = test
    show = bool(params.get("show_tests"))
    if result["status"] != "ok":
        return report.row(result["status"], result, show, input=given)
    output, wanted = output_of(result), expected.encode()
    if output is not None and compare.matches(
        output,
        wanted,
        params.get("compare", "tokens"),
        params.get("absolute_tolerance", 1e-6),
        params.get("relative_tolerance", 1e-6),
    ):
        return report.row("accepted", result)
    difference = "far longer than expected" if output is None else compare.difference(output, wanted)
    got = "" if output is None else output[:1000].decode("utf-8", "replace")
    return report.row("wrong_answer", result, show, input=given, expected=expected, got=got) | {
        "difference": difference
    }


def _fails(verdict: Json, test: tuple[str, str]) -> bool:
    """Return whether a checker may have ended without judging: by a limit, or by an error of its own.

    An error where nothing is expected is how some say no: the expected output would tell no more.
    """
    told = verdict["tests"][0]
    if told["status"] == "runtime_error":
        error = told["stderr"].rstrip().rpartition("\n")[2].partition(":")[0]
        return bool(test[1].strip()) and "Traceback" in told["stderr"] and error != "AssertionError"
    return told["status"] not in ("ok", "compile_error")


def _checker_run(source: str, test: tuple[str, str], output: bytes) -> Json:
    given, expected = test
    files = {"input.txt": given, "output.txt": output.decode("utf-8", "replace"), "expected.txt": expected}
    size = sum(map(len, files.values()))
    limits = {"cpu_seconds": 10.0, "scratch_mib": min(1024, 16 + 4 * size // (1 << 20))}
    return {
        "kind": "stdio",
        "language": "python",
        "code": "\n".join([*_FUTURE.findall(source), _ARGUMENTS, _FUTURE.sub("", source)]),
        "inputs": [given],
        "files": files,
        "keep_bytes": [_WORD],
        "limits": limits,
    }


def _checked(problem: Stdio, number: int, result: Json, verdict: Json | None, params: Json) -> Json:
    test, show = problem.tests[number], bool(params.get("show_tests"))
    if result["status"] != "ok":
        return report.row(result["status"], result, show, input=test[0])
    if verdict is None:
        return report.row("wrong_answer", result) | {"difference": "far longer than any output may be"}
    checker = verdict["tests"][0]
    if checker["status"] == "compile_error":
        raise BadReferenceError(f"the checker does not compile: {checker['message']}")
    printed = output_of(checker) if problem.prints and not params.get("checker") else b"1"
    if checker["status"] == "ok" and printed is not None and printed.strip() == b"1":
        return report.row("accepted", result)
    return report.row("wrong_answer", result, show, input=test[0], checker=checker["stderr"]) | {
        "difference": "the checker did not accept it"
    }
