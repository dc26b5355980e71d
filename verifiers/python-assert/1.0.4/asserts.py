"""Tests that are written as Python assertions, and a candidate that they must not share a process with.

An assertion that calls a function with literal arguments and compares the value with a
literal is taken apart: the call is made in the candidate's sandbox, the comparison here,
by Python's own rule for plain data. Any other test runs as it is, in a sandbox of its
own, where the function's name is a proxy that passes plain data to the candidate.
"""

import ast
import builtins
import importlib
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import calls
import report
from references import Asserts, BadReferenceError, CallTest
from values import untag

Json = dict[str, Any]
_INDENT = 4
_STARRED = (
    "bisect", "cmath", "collections", "datetime", "decimal", "fractions", "functools", "heapq", "itertools", "math",
    "operator", "random", "re", "statistics", "string", "typing",
)  # fmt: skip
"""Modules that tests take all names from; no other is imported here."""
_MOST_TESTERS = 16
"""Assertions that each get a test program of their own; more are put into one."""


class Simple(NamedTuple):
    """An assertion that was taken apart."""

    function: str
    test: CallTest
    wanted: str
    """``==``, ``!=``, ``true`` or ``false``."""


Case = Simple | str


def cases(problem: Asserts) -> list[Case]:
    """Return each test: taken apart, or the source of a test program."""
    entry = problem.entry_point or _only_function(problem.test_list)
    found: list[Case] = [_simple(text, entry) or text for text in problem.test_list]
    programs = [case for case in found if isinstance(case, str)]
    if len(programs) > _MOST_TESTERS:
        found = [case for case in found if not isinstance(case, str)] + ["\n".join(programs)]
    return found if problem.test is None else found + _of_program(problem, problem.test)


def _only_function(tests: list[str]) -> str | None:
    """Return the one function that all tests call and nothing else, which some tasks name like one of Python's own."""
    asked = [node for text in tests for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    names = {node.func.id if isinstance(node.func, ast.Name) else "" for node in asked}
    return names.pop() if len(names) == 1 else None


def _of_program(problem: Asserts, source: str) -> list[Case]:
    source = _without_the_solution(source)
    tree = ast.parse(source)
    check = next(
        (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check"), None
    )
    if check is None:
        return [f"{source}\n\n{calls}\n" for calls in _unasked(tree)] or [source]
    others = [node for node in tree.body if node is not check and not _is_idle(node)]
    called = any(_askedcheck(node) for node in others)
    others = [node for node in others if not _askedcheck(node)]
    body = [node for node in check.body if not _is_idle(node)]
    arguments = [argument.arg for argument in check.args.args]
    if not others and body and len(arguments) == 1:
        names = {arguments[0], problem.entry_point or ""}
        simple = [_simple_statement(node, names, problem.entry_point) for node in body]
        if all(case is not None for case in simple):
            return [case for case in simple if case is not None]
    return [source if called else f"{source}\n\ncheck(candidate)\n"]


def _without_the_solution(source: str) -> str:
    """Return a test program without what it imports from the program, which stands under its own names here."""
    lines = source.split("\n")
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and node.module == "solution":
            lines[node.lineno - 1 : node.end_lineno] = [""] * (
                (node.end_lineno or node.lineno) - node.lineno + 1
            )
    return "\n".join(lines)


def _unasked(tree: ast.Module) -> list[str]:
    """Return what runs the tests that a program defines and leaves to pytest or unittest to find, in pieces.

    Raises:
        BadReferenceError: Only pytest itself could run one of them.
    """
    functions = [
        node
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
    ]
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    units = [node for node in classes if any(ast.unparse(base).endswith("TestCase") for base in node.bases)]
    groups = [node for node in classes if node not in units and node.name.startswith("Test")]
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    others = [node for one in tree.body if not isinstance(one, defined) for node in ast.walk(one)]
    used = {node.id for node in others if isinstance(node, ast.Name)}
    if any(isinstance(node, ast.Attribute) and node.attr in ("main", "run") for node in others) or used & {
        node.name for node in (*functions, *classes)
    }:
        return []
    found = [f"{node.name}()" for node in functions if _takes_nothing(node, 0)]
    for group in groups:
        methods = [node for node in group.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        tests = [node for node in methods if node.name.startswith("test_")]
        if group.bases or any(node.name.startswith("setup") for node in methods if tests):
            raise BadReferenceError(f"the tests of the class {group.name} need pytest")
        found += [f"{group.name}().{node.name}()" for node in tests if _takes_nothing(node, 1)]
    if len(found) > _MOST_TESTERS:
        found = ["\n".join(found)]
    return [*found, "import unittest\nunittest.main()"] if units else found


def _takes_nothing(node: ast.FunctionDef | ast.AsyncFunctionDef, own: int) -> bool:
    """Return True where a test takes no arguments but its `own` first; raises BadReferenceError where it does."""
    given = node.args
    if (
        isinstance(node, ast.AsyncFunctionDef)
        or node.decorator_list
        or len(given.posonlyargs + given.args) > own + len(given.defaults)
    ):
        raise BadReferenceError(f"the test {node.name} needs pytest")
    return True


def _is_idle(node: ast.stmt) -> bool:
    """Return whether a statement can neither fail nor matter: docstring, `pass`, `assert True`, metadata."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant) and bool(node.test.value):
        return True
    names = (
        [target.id for target in node.targets if isinstance(target, ast.Name)]
        if isinstance(node, ast.Assign)
        else []
    )
    return isinstance(node, ast.Pass) or names == ["METADATA"]


def _askedcheck(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "check"
    )


def _simple(text: str, entry: str | None) -> Simple | None:
    tree = ast.parse(text)
    if len(tree.body) != 1:
        return None
    return _simple_statement(tree.body[0], None, entry)


def _simple_statement(node: ast.stmt, names: set[str] | None, entry: str | None) -> Simple | None:
    """Take an assertion apart; None where it is not that simple.

    Args:
        node: The statement.
        names: What the function may be called; None for any name.
        entry: What it is called in the program; None for the name in the assertion.
    """
    if not isinstance(node, ast.Assert):
        return None
    test, wanted = node.test, "true"
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        test, wanted = test.operand, "false"
    expected: Any = None
    if isinstance(test, ast.Compare) and wanted == "true" and len(test.ops) == 1:
        operator = {ast.Eq: "==", ast.NotEq: "!="}.get(type(test.ops[0]))
        if operator is None:
            return None
        left, right = test.left, test.comparators[0]
        if not isinstance(left, ast.Call):
            left, right = right, left
        test, wanted = left, operator
        try:
            expected = ast.literal_eval(right)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return None
    called = _literal_call(test)
    if called is None or (names is not None and called[0] not in names):
        return None
    name = entry if names is not None and entry else called[0]
    if names is None and hasattr(builtins, name) and name != entry:
        return None
    return Simple(name, CallTest(called[1], called[2], expected), wanted)


def _literal_call(node: ast.expr) -> tuple[str, list[Any], dict[str, Any]] | None:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return None
    try:
        args = [ast.literal_eval(argument) for argument in node.args]
        kwargs = {
            str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords if keyword.arg
        }
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return None if len(kwargs) != len(node.keywords) else (node.func.id, args, kwargs)


def entry_points(problem: Asserts, source: str) -> list[str]:
    """Return the functions of the candidate that a test program calls, or hands on, the main one first.

    Raises:
        BadReferenceError: It names none that it does not define itself.
    """
    found = [problem.entry_point] if problem.entry_point else []
    tree = ast.parse(f"{problem.setup}\n{source}")
    own = _bound(tree) | {"candidate"}
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found += [name for name in _names(called) if name not in own]
    own |= _bound(ast.parse(_prelude(problem)))
    found += [name for name in _names(ast.walk(tree)) if name not in own]
    found = list(dict.fromkeys(found))
    if not found:
        raise BadReferenceError(
            "a test calls no function that it does not define itself; name it as `entry_point`"
        )
    return found


def _names(nodes: Iterable[ast.AST]) -> list[str]:
    """Return the names among `nodes` that are none of Python's own."""
    names = [node.id for node in nodes if isinstance(node, ast.Name)]
    return [name for name in names if not hasattr(builtins, name) and not name.startswith("__")]


def _bound(tree: ast.AST) -> set[str]:
    """Return every name that a source binds itself, wherever it does."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
            if isinstance(node, ast.ImportFrom) and node.module in _STARRED and node.names[0].name == "*":
                names.update(dir(importlib.import_module(node.module)))
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            names.add(node.name)
    return names


def program(problem: Asserts, code: str) -> str:
    """Return the whole program: the response, with the beginning that the task gave where there is one."""
    prompt = problem.prompt
    if calls.is_solution(problem.entry_point):
        code = calls.behind(calls.USUAL_IMPORTS, code)
    if not prompt.strip():
        return calls.behind(f"{problem.setup}\n\n", code) if problem.setup.strip() else code
    defined = problem.entry_point and re.search(
        rf"^(?:(?:async\s+)?def|class)\s+{re.escape(problem.entry_point.partition('.')[0])}\b",
        code,
        re.MULTILINE,
    )
    if defined:
        head = prompt if _parses(prompt) else _head(prompt, problem.entry_point or "")
        return calls.behind(f"{head}\n\n", code)
    prompt = f"{prompt.rstrip(' ')}{'' if prompt.endswith(chr(10)) else chr(10)}"
    return f"{prompt}{_indented(code)}"


def _indented(body: str) -> str:
    """Return the body of a function as one.

    It may have lost its indentation, or only that of its first line, with the white space around the text. It is
    hostile, so it is not parsed here: a parser can be made to take long.
    """
    lines = body.split("\n")
    widths = [_width(line) for line in lines if line.strip()]
    if not widths or widths[0] > 0:
        return body
    first = next(line for line in lines if line.strip())
    begins_block = first.partition("#")[0].rstrip().endswith(":")
    if len(widths) > 1 and min(widths[1:]) > 0 and (not begins_block or widths[1] > _INDENT):
        return " " * _INDENT + body.lstrip()
    return "\n".join(" " * _INDENT + line if line.strip() else line for line in lines)


def _width(line: str) -> int:
    text = line.expandtabs(_INDENT)
    return len(text) - len(text.lstrip())


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def _head(prompt: str, entry: str) -> str:
    """Return what stands before the function in a prompt: imports and helpers."""
    head = re.split(rf"^(?:async\s+)?def\s+{re.escape(entry)}\b", prompt, maxsplit=1, flags=re.MULTILINE)[0]
    return head if _parses(head) else ""


def plan(problem: Asserts, code: str, params: Json) -> list[Json]:
    """Return the runs of a candidate: one per function for assertions taken apart, one per test program."""
    code = program(problem, code)
    found = cases(problem)
    functions = dict.fromkeys(case.function for case in found if isinstance(case, Simple))
    runs = [
        calls.call_run(
            name,
            code,
            [case.test for case in found if isinstance(case, Simple) and case.function == name],
            params,
        )
        for name in functions
    ]
    return runs + [_tester(problem, code, case, params) for case in found if isinstance(case, str)]


def _tester(problem: Asserts, code: str, source: str, params: Json) -> Json:
    return {
        "kind": "tester",
        "code": code,
        "tester": source,
        "entry_points": entry_points(problem, source),
        "prelude": _prelude(problem),
        "limits": dict(params.get("limits", {})),
        "stop": params.get("score") != "fraction",
    }


def _prelude(problem: Asserts) -> str:
    """Return what a test program finds: the setup, and the helpers that a prompt defines."""
    prompt = problem.prompt if problem.prompt.strip() and _parses(problem.prompt) else ""
    return f"{problem.setup}\n{prompt}" if problem.setup or prompt else ""


def judge(problem: Asserts, params: Json, results: list[Json]) -> Json:
    """Return the verdict on calls and test programs; or a run, where it may be the reference that failed."""
    alone = results[-1]["tests"][0] if "tests" in results[-1] else None
    verdict = _judged(problem, params, results if alone is None else results[:-1])
    setup = _prelude(problem)
    if verdict["score"] < 1 and alone is None and setup.strip() and _raised(verdict):
        limits = dict(params.get("limits", {}))
        return {
            "run": [{"kind": "stdio", "code": setup, "inputs": [""], "keep_bytes": [0], "limits": limits}]
        }
    if alone is not None and alone["status"] == "runtime_error":
        error = alone["stderr"].strip().rpartition("\n")[2]
        raise BadReferenceError(f"what the reference has before every program fails by itself: {error[:300]}")
    return verdict


def _raised(verdict: Json) -> bool:
    return any(row["class"] == "runtime_error" for row in verdict["detail"]["tests"])


def _judged(problem: Asserts, params: Json, results: list[Json]) -> Json:
    found = cases(problem)
    simple: dict[str, list[Simple]] = {}
    for case in found:
        if isinstance(case, Simple):
            simple.setdefault(case.function, []).append(case)
    rows: list[Json] = []
    for tests, told in zip(simple.values(), results, strict=False):
        rows += [_called(case, result, params) for case, result in zip(tests, told["calls"], strict=False)]
    for told in results[len(simple) :]:
        rows.append(_tested(told["tester"], params))
    return report.scored(rows, len(found), params, results[0]["limits"])


def _called(case: Simple, result: Json, params: Json) -> Json:
    show = bool(params.get("show_tests"))
    texts = {
        "call": f"{case.function}(*{report.literal(case.test.args)}, **{report.literal(case.test.kwargs)})"
        if show
        else ""
    }
    if result["status"] != "ok":
        return report.row(result["status"], result, show, **texts)
    if "value_bytes" in result:
        right = case.wanted in ("!=", "true")
        value: Any = "(far larger than the expected value)"
    else:
        value = untag(result["value"])
        right = _holds(value, case)
    if right:
        return report.row("accepted", result)
    expected = report.literal(case.test.expected) if case.wanted in ("==", "!=") else case.wanted
    return report.row(
        "wrong_answer",
        result,
        show,
        expected=f"{case.wanted} {expected}",
        got=report.literal(value) if show else "",
        **texts,
    )


def _holds(value: Any, case: Simple) -> bool:
    """Compare as the assertion would; both are plain data, so nobody's code runs."""
    if case.wanted == "true":
        return bool(value)
    if case.wanted == "false":
        return not value
    return bool(value == case.test.expected) is (case.wanted == "==")


def _tested(result: Json, params: Json) -> Json:
    show = bool(params.get("show_tests"))
    if result["unsupported"]:
        raise BadReferenceError(
            f"a test cannot be run against a program of another process: {result['message']}"
        )
    if result["passed"]:
        return report.row("accepted", result)
    if result["status"] == "ok":
        return report.row("wrong_answer", result, show)
    return report.row(result["status"], result, show)
