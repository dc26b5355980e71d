"""Tests that are written as Python assertions, and a candidate that they must not share a process with.

An assertion that calls a function with literal arguments and compares the value with a
literal is taken apart: the call is made in the candidate's sandbox, the comparison here,
by Python's own rule for plain data. Any other test runs as it is, in a sandbox of its
own, where the function's name is a proxy that passes plain data to the candidate. So does one that was taken apart
and brings what is no plain data, such as a Fraction, and what a task's own text defines for its tests stays the text's.
"""

import ast
import builtins
import importlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import calls
import extract
import report
import separate
from references import Asserts, BadReferenceError, CallTest
from values import untag

Json = dict[str, Any]
_INDENT = 4
_STARRED = (
    "bisect", "cmath", "collections", "datetime", "decimal", "fractions", "functools", "heapq", "itertools", "math",
    "operator", "random", "re", "statistics", "string", "typing",
)  # fmt: skip
"""Modules that tests take all names from; no other is imported here."""
_NOT_PLAIN = "is not plain data"
_MOST_TESTERS = 16
"""Assertions that each get a test program of their own; more are put into one."""


class Simple(NamedTuple):
    """An assertion that was taken apart."""

    function: str
    test: CallTest
    wanted: str
    """``==``, ``!=``, ``true`` or ``false``."""
    source: str
    """All of it, as it was."""


Case = Simple | str
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)
_OF_PYTEST = ("raises", "approx", "mark", "parametrize", "param", "fixture", "main")
"""What `small_pytest` has."""
_FIXTURES = frozenset({"capsys", "monkeypatch", "tmp_path"})
"""Those that it has without being told."""
_OF_FIXTURES = {"capsys": "readouterr", "monkeypatch": "setattr"}
"""What they have of what pytest's have."""
_CHANGES = ("skip", "skipif", "xfail", "usefixtures", "filterwarnings")
"""Marks that change how a test is run, and are not known; of others that only name it there may be any."""
_OTHER_SETUPS = (
    "setup_class", "teardown_class", "teardown_method", "teardown",
)  # fmt: skip
_PYTEST = Path(__file__).with_name("small_pytest.py").read_text()
_AS_A_MODULE = (
    "import sys, types\n"
    "sys.modules['pytest'] = types.ModuleType('pytest')\n"
    f"exec({_PYTEST!r}, sys.modules['pytest'].__dict__)\n"
    "del sys, types\n"
)


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
    """Return a test program without what it imports from the program, which stands under its own names here.

    What the test calls otherwise gets that name as well, and the whole module is an object with what is asked of it.
    """
    lines = source.split("\n")
    tree = ast.parse(source)
    for node in tree.body:
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        instead: list[str] = []
        if isinstance(node, ast.ImportFrom):
            if node.module != "solution":
                continue
            instead = [
                f"{one.asname} = {one.name}" for one in node.names if one.asname not in (None, one.name)
            ]
        else:
            names = [one.asname or one.name for one in node.names if one.name == "solution"]
            others = [one for one in node.names if one.name != "solution"]
            if not names:
                continue
            instead = [ast.unparse(ast.Import(others))] if others else []
            for name in names:
                asked = dict.fromkeys(
                    one.attr
                    for one in ast.walk(tree)
                    if isinstance(one, ast.Attribute)
                    and isinstance(one.value, ast.Name)
                    and one.value.id == name
                )
                given = ", ".join(f"{one}={one}" for one in asked)
                instead.append(f"{name} = __import__('types').SimpleNamespace({given})")
        end = node.end_lineno or node.lineno
        lines[node.lineno - 1 : end] = ["; ".join(instead), *[""] * (end - node.lineno)]
    return "\n".join(lines)


def _unasked(tree: ast.Module) -> list[str]:
    """Return what runs the tests that a program defines and leaves to pytest or unittest to find, in pieces.

    Raises:
        BadReferenceError: Only pytest itself could run one of them.
    """
    _refuse_more_of_pytest(tree)
    functions = [node for node in tree.body if isinstance(node, _FUNCTIONS) and node.name.startswith("test_")]
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    units = [node for node in classes if any(ast.unparse(base).endswith("TestCase") for base in node.bases)]
    groups = [node for node in classes if node not in units and node.name.startswith("Test")]
    others = [
        node
        for one in tree.body
        if not isinstance(one, (*_DEFINITIONS, ast.Import, ast.ImportFrom))
        for node in ast.walk(one)
    ]
    used = {node.id for node in others if isinstance(node, ast.Name)}
    if any(isinstance(node, ast.Attribute) and _runs_tests(node) for node in others) or used & {
        node.name for node in (*functions, *classes)
    }:
        return []
    fixtures = {node.name for node in tree.body if isinstance(node, _FUNCTIONS) and _is_fixture(node)}
    found = [_run(node.name) for node in functions if _can_run(node, 0, fixtures)]
    for group in groups:
        methods = [node for node in group.body if isinstance(node, _FUNCTIONS)]
        tests = [node for node in methods if node.name.startswith("test_")]
        odd = [node.name for node in methods if node.name in _OTHER_SETUPS or _is_fixture(node)]
        if tests and (odd or group.bases or group.decorator_list):
            raise BadReferenceError(f"the tests of the class {group.name} need pytest")
        found += [_run(f"{group.name}().{node.name}") for node in tests if _can_run(node, 1, fixtures)]
    if len(found) > _MOST_TESTERS:
        found = ["\n".join(found)]
    return [*found, "import unittest\nunittest.main()"] if units else found


def _run(test: str) -> str:
    return f"__import__('pytest').run({test}, globals())"


def _runs_tests(node: ast.Attribute) -> bool:
    return node.attr in ("main", "run") and ast.unparse(node) != "pytest.main"


def _refuse_more_of_pytest(tree: ast.Module) -> None:
    """Raise BadReferenceError where a test program uses more of pytest than `small_pytest` has."""
    for node in ast.walk(tree):
        wanted: list[str] = []
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pytest":
            wanted = [node.attr]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pytest.mark":
            wanted = [node.attr] if node.attr in _CHANGES else []
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in _OF_FIXTURES:
            wanted = [node.attr] if node.attr != _OF_FIXTURES[ast.unparse(node.value)] else []
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "pytest":
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            named = [alias for alias in node.names if alias.name.partition(".")[0] == "pytest"]
            wanted = ["a name of its own" for alias in named if alias.asname or alias.name != "pytest"]
        for name in wanted:
            if name not in _OF_PYTEST:
                raise BadReferenceError(f"the tests need pytest itself ({name})")


def _is_fixture(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("fixture" in ast.unparse(one) for one in node.decorator_list)


def _can_run(node: ast.FunctionDef | ast.AsyncFunctionDef, own: int, fixtures: set[str]) -> bool:
    """Return True where a test takes no arguments, beside its `own` first, but parameters and fixtures.

    Raises:
        BadReferenceError: It takes others, or is no plain function.
    """
    names = set(fixtures) | _FIXTURES
    awaits = False
    for one in node.decorator_list:
        mark = ast.unparse(one.func if isinstance(one, ast.Call) else one)
        if ".mark." not in f".{mark}" or mark.rpartition(".")[2] in _CHANGES:
            raise BadReferenceError(f"the test {node.name} needs pytest")
        if mark.endswith("mark.parametrize"):
            if not isinstance(one, ast.Call) or not one.args:
                raise BadReferenceError(f"the test {node.name} needs pytest")
            names |= set(re.findall(r"\w+", ast.unparse(one.args[0])))
        awaits = awaits or mark.endswith("mark.asyncio")
    given = node.args
    needed = given.posonlyargs + given.args
    needed = needed[own : len(needed) - len(given.defaults)]
    if (isinstance(node, ast.AsyncFunctionDef) and not awaits) or not {one.arg for one in needed} <= names:
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
    return Simple(name, CallTest(called[1], called[2], expected), wanted, ast.unparse(node))


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
    own = _bound(tree) | _given(problem) | {"candidate"}
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


def _given(problem: Asserts) -> set[str]:
    """Return what a prompt defines for program and tests alike, beside what it asks for.

    A program may define it anew, which is its own affair: the tests keep to the prompt's.
    """
    if not problem.prompt.strip() or not _parses(problem.prompt):
        return set()
    asked = (problem.entry_point or "").partition(".")[0]
    found = [
        node
        for node in ast.parse(problem.prompt).body
        if isinstance(node, _DEFINITIONS) and node.name != asked
    ]
    return {node.name for node in found if not _is_stub(node)}


def _is_stub(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """Return whether nothing stands in a function: it is asked for, too. A class may well hold nothing."""
    if isinstance(node, ast.ClassDef):
        return False
    raised = [one for one in node.body if isinstance(one, ast.Raise)]
    return all(_is_idle(one) for one in node.body if one not in raised)


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
    prompt, whole = problem.prompt, extract.at_the_margin(code)
    indented = whole != code
    if calls.is_solution(problem.entry_point):
        code, whole = (calls.behind(calls.USUAL_IMPORTS, one) for one in (code, whole))
    if not prompt.strip():
        return calls.behind(f"{problem.setup}\n\n", whole) if problem.setup.strip() else whole
    if _defines(whole, (problem.entry_point or "").partition(".")[0], indented=indented):
        head = prompt if _parses(prompt) else _head(prompt, problem.entry_point or "")
        return calls.behind(f"{head}\n\n", whole)
    prompt = f"{prompt.rstrip(' ')}{'' if prompt.endswith(chr(10)) else chr(10)}"
    return f"{prompt}{_indented(code)}"


def _defines(code: str, name: str, *, indented: bool) -> bool:
    """Return whether a response is a program with the function, and not only the rest of one.

    It may also give the name to a lambda or a method. The rest of a function may use it for a variable, or for a
    function within, but returns.
    """
    if not name:
        return False
    if re.search(rf"^(?:(?:async\s+)?def|class)\s+{re.escape(name)}\b", code, re.MULTILINE):
        return not indented or not re.search(r"^return\b", code, re.MULTILINE)
    given = re.search(rf"^{re.escape(name)}[ \t]*+(?::[^=\n]*+)?=(?!=)", code, re.MULTILINE)
    return given is not None and not re.search(r"^return\b", code, re.MULTILINE)


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
    runs: list[Json] = []
    for tests in _planned(found):
        simple = [case for case in tests if isinstance(case, Simple)]
        if simple:
            given = [case.test for case in simple]
            runs.append(calls.call_run(simple[0].function, code, given, params))
        else:
            runs += [_tester(problem, code, case, params) for case in tests]
    return runs


def _tester(problem: Asserts, code: str, case: Case, params: Json) -> Json:
    if isinstance(case, Simple):
        source, functions = case.source, [case.function]
    else:
        source, functions = case, entry_points(problem, case)
    return {
        "kind": "tester",
        "code": code,
        "tester": source,
        "entry_points": functions,
        "prelude": (_AS_A_MODULE if "pytest" in source else "") + _prelude(problem),
        "limits": dict(params.get("limits", {})),
        "stop": params.get("score") != "fraction",
    }


def _prelude(problem: Asserts) -> str:
    """Return what a test program finds: the setup, and the helpers that a prompt defines."""
    prompt = problem.prompt if problem.prompt.strip() and _parses(problem.prompt) else ""
    return f"{problem.setup}\n{prompt}" if problem.setup or prompt else ""


def judge(problem: Asserts, code: str, params: Json, results: list[Json]) -> Json:
    """Return the verdict on calls and test programs; or more runs, where these do not tell enough."""
    planned = _planned(cases(problem))
    first = _first(results[: len(planned)], stop=params.get("score") != "fraction")
    more = results[len(first) :]
    alone, tested = (more[0]["tests"][0], more[1:]) if more and "tests" in more[0] else (None, more)
    again = _again(planned, first)
    verdict = _judged(problem, planned, params, first, again, tested)
    setup = _prelude(problem)
    if not more:
        runs: list[Json] = []
        if verdict["score"] < 1 and setup.strip() and _raised(verdict):
            limits = dict(params.get("limits", {}))
            runs.append({"kind": "stdio", "code": setup, "inputs": [""], "keep_bytes": [0], "limits": limits})
        whole = program(problem, code)
        runs += [_tester(problem, whole, case, params) for case in again]
        if runs:
            return {"run": runs}
    if alone is not None and alone["status"] == "runtime_error":
        error = alone["stderr"].strip().rpartition("\n")[2]
        raise BadReferenceError(f"what the reference has before every program fails by itself: {error[:300]}")
    return verdict


def _planned(found: list[Case]) -> list[list[Case]]:
    """Return the tests of each run: of a function those that were taken apart, and each test program."""
    simple: dict[str, list[Case]] = {}
    for case in found:
        if isinstance(case, Simple):
            simple.setdefault(case.function, []).append(case)
    programs: list[list[Case]] = [[case] for case in found if isinstance(case, str)]
    return [*simple.values(), *programs]


def _first(results: list[Json], *, stop: bool) -> list[Json]:
    """Return the results of what was planned: with `stop`, the first that is not ok is the last of them."""
    for number, told in enumerate(results):
        last = told["calls"][-1] if "calls" in told else told.get("tester", {"status": ""})
        if stop and last["status"] != "ok":
            return results[: number + 1]
    return results


def _again(planned: list[list[Case]], first: list[Json]) -> list[Case]:
    """Return the tests that are to be run as they are, since a call has brought no plain data, and those after them.

    Where they are very many it stays a failure: each may take the time of a test once more.
    """
    again: list[Case] = []
    for tests, told in zip(planned, first, strict=False):
        odd = [n for n, call in enumerate(told.get("calls", ())) if call["message"].endswith(_NOT_PLAIN)]
        if odd:
            again += tests[odd[0] :]
    if again:
        again += [case for tests in planned[len(first) :] for case in tests]
    return again if len(again) <= _MOST_TESTERS else []


def _raised(verdict: Json) -> bool:
    return any(row["class"] == "runtime_error" for row in verdict["detail"]["tests"])


def _judged(
    problem: Asserts,
    planned: list[list[Case]],
    params: Json,
    first: list[Json],
    again: list[Case],
    tested: list[Json],
) -> Json:
    rows: list[Json] = []
    left = {id(case) for case in again}
    for tests, told in zip(planned, first, strict=False):
        if "tester" in told:
            rows.append(_tested(problem, tests[0], told["tester"], params))
        else:
            pairs = zip(tests, told["calls"], strict=False)
            kept = left if tested else set()
            rows += [
                _called(case, call, params)
                for case, call in pairs
                if isinstance(case, Simple) and id(case) not in kept
            ]
    rows += [
        _tested(problem, case, told["tester"], params) for case, told in zip(again, tested, strict=False)
    ]
    return report.scored(rows, sum(map(len, planned)), params, first[0]["limits"])


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


def _tested(problem: Asserts, case: Case, result: Json, params: Json) -> Json:
    show = bool(params.get("show_tests"))
    if result["unsupported"]:
        raise BadReferenceError(
            f"a test cannot be run against a program of another process: {result['message']}"
        )
    if result["passed"]:
        return report.row("accepted", result)
    wants = (
        None
        if isinstance(case, Simple)
        else separate.wanted(f"{problem.setup}\n{case}", entry_points(problem, case))
    )
    if wants is not None:
        raise BadReferenceError(f"a test cannot be run against a program of another process: it {wants}")
    if result["status"] == "ok":
        return report.row("wrong_answer", result, show)
    return report.row(result["status"], result, show)
