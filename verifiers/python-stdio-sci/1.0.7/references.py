"""What data sets call tests, read into one of three problems.

Own shapes
    {"tests": [{"input": text, "output": text}]}                          Stdio
    {"entry_point": name, "tests": [{"args", "kwargs", "expected"}]}      Calls; Python literals as text in
                                                                          args_literal, kwargs_literal and
                                                                          expected_literal instead, for tuples
    {"entry_point": name, "test": program}, {"test_list": [assert …]}     Asserts
Data sets
    APPS, TACO      {"inputs": […], "outputs": […], "fn_name"?}, also as JSON text, also in `input_output`
    CodeContests    `public_tests`, `private_tests`, `generated_tests` of {"input": […], "output": […]}
    LiveCodeBench   `public_test_cases`, `private_test_cases` (lists, JSON texts, or the packed form of the
                    private ones) of {"input", "output", "testtype"}; `metadata` with func_name
    HumanEval       `prompt`, `test`, `entry_point`
    HumanEval+      the same
    MBPP            `test_list`, `test_setup_code` or `test_imports`, `challenge_test_list`
    MBPP+           the same and `test`, a program: both count
    BigCodeBench    `test` with classes of unittest, `entry_point`
    LeetCodeDataset `test`, `prompt`, `entry_point` such as ``Solution().add``
    KodCode         `test` with functions test_…, which imports from ``solution``
    AceCode         `test_cases`, a list of assertions
    PrimeIntellect  `verification_info` of `test_cases`, each {"type", "fn_name"?, "input", "output"}; SYNTHETIC-1,
                    SYNTHETIC-2 and open-r1 the same
    DeepCoder       `tests`, a text of what PrimeIntellect, TACO or LiveCodeBench have
    open-r1         codeforces: `official_tests` of {"input", "output"}, with `generated_checker`, `time_limit` and
                    `memory_limit`
    Eurus           `reward_model` of `ground_truth`, which is what APPS has; SYNTHETIC-2 has it in `verification_info`
    NeMo-Gym        `unit_tests` of {"inputs", "outputs"}
A text is read as JSON, also one within a text, or as the Python literals that some sets hold. Fields that no shape
names are passed over, so whole rows can be given. No tests at all is an error, never a pass.
"""

import ast
import contextlib
import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pickled


class BadReferenceError(ValueError):
    """The reference is none of these shapes; the text says why."""


class Stdio(NamedTuple):
    """Programs that read standard input and write standard output."""

    tests: list[tuple[str, str]]
    """Input and expected output of each."""
    checker: str | None = None
    """Source of a program that accepts outputs, where many are right."""
    dataset: bool = False
    """In the shape of a data set."""
    prints: bool = False
    """The checker accepts by printing 1, and not by its exit status alone."""
    limits: Mapping[str, float] = MappingProxyType({})
    """Where the task allows more than is usual."""


class CallTest(NamedTuple):
    """One call."""

    args: list[Any]
    kwargs: dict[str, Any]
    expected: Any


class Calls(NamedTuple):
    """A function to call."""

    entry_point: str
    tests: list[CallTest]
    dataset: bool = False
    """From a data set, whose own graders compare by ``==``, take tuples for lists, import what is usual
    before the program and find methods of `Solution`."""


class Asserts(NamedTuple):
    """A test program, or single assertions."""

    test: str | None
    """Program that defines `check(candidate)`, or asserts by itself."""
    test_list: list[str]
    """Assertions, each a statement."""
    entry_point: str | None
    setup: str = ""
    """Source that tests and program find."""
    prompt: str = ""
    """The beginning of the program, which a response may go on from."""


Problem = Stdio | Calls | Asserts
_MOST_TESTS = 20_000
_TYPES = ("stdin_stdout", "function_call")
_ON_AN_OBJECT = re.compile(r"(\w+)\(\)\.(\w+)")
"""A method as LeetCodeDataset calls it: on an object that is made for the call."""
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,99}")


def read(reference: Any, *, challenge: bool = False) -> Problem:
    """Return the problem that `reference` states.

    Args:
        reference: Any JSON value.
        challenge: Add MBPP's challenge tests.

    Raises:
        BadReferenceError: It cannot be read, or holds no test.
    """
    if isinstance(reference, str):
        reference = _from_text(reference)
    if isinstance(reference, list):
        reference = _from_list(reference)
    if not isinstance(reference, dict):
        raise BadReferenceError(f"a reference is an object with tests, not a {type(reference).__name__}")
    problem = _read(reference, challenge)
    count = (
        len(problem.test_list) + (problem.test is not None)
        if isinstance(problem, Asserts)
        else len(problem.tests)
    )
    if count == 0:
        raise BadReferenceError("the reference holds no test, which anything would pass")
    if count > _MOST_TESTS:
        raise BadReferenceError(f"{count} tests; at most {_MOST_TESTS} are run")
    return problem


def _from_text(text: str) -> Any:
    try:
        value = _decoded(text)
    except (ValueError, RecursionError) as error:
        if "assert " in text:
            return {"test_list": [text]}
        raise BadReferenceError(f"a text that is no JSON ({error})") from error
    return value


def _decoded(text: str) -> Any:
    """Return what a text holds: JSON, JSON in a text of JSON, or Python literals; raises as `json.loads` does."""
    try:
        value = json.loads(text)
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        if text.lstrip()[:1] in ("{", "["):
            with contextlib.suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                return ast.literal_eval(text.strip())
        raise


def _from_list(tests: list[Any]) -> dict[str, Any]:
    if tests and all(isinstance(test, str) for test in tests):
        return {"test_list": tests}
    if tests and all(isinstance(test, dict) and "testtype" in test for test in tests):
        return {"public_test_cases": tests}
    if any(isinstance(test, dict) and (test.get("fn_name") or test.get("type") in _TYPES) for test in tests):
        return {"test_cases": tests}
    return {"tests": tests}


def _read(row: dict[str, Any], challenge: bool) -> Problem:
    for name in ("input_output", "verification_info", "unit_tests"):
        if name in row:
            return _read(_object(row[name], name), challenge)
    if "inputs" in row:
        return _apps(row)
    if "official_tests" in row:
        return _codeforces(row)
    if "public_test_cases" in row or "private_test_cases" in row:
        return _livecodebench(row)
    if any(name in row for name in ("public_tests", "private_tests", "generated_tests")):
        return _codecontests(row)
    if "test_list" in row or "test" in row:
        return _asserts(row, challenge)
    for name in ("tests", "test_cases"):
        if name in row:
            return _tests(row, name, challenge)
    for name in ("reward_model", "ground_truth"):
        if name in row:
            return _wrapped(row[name], name, challenge)
    raise BadReferenceError(
        f"an object with the keys {', '.join(sorted(map(str, row)))[:200] or '(none)'}: no known shape"
    )


def _wrapped(value: Any, name: str, challenge: bool) -> Problem:
    """Read what a row has under a name that says nothing of its shape."""
    if isinstance(value, str):
        value = _from_text(value)
    if isinstance(value, list):
        value = _from_list(value)
    return _read(_object(value, name), challenge)


def _codeforces(row: dict[str, Any]) -> Stdio:
    tests, checker = row["official_tests"] or [], row.get("generated_checker") or None
    if row.get("interaction_format") or row.get("input_mode") not in (None, "stdio"):
        raise BadReferenceError(
            "a program that converses, or reads and writes files, and not standard input and output"
        )
    if not isinstance(tests, list) or not all(isinstance(test, dict) for test in tests):
        raise BadReferenceError("`official_tests` is not a list of objects")
    if checker is not None and not isinstance(checker, str):
        raise BadReferenceError("`generated_checker` is not the source of a program")
    pairs = [(_text(test.get("input"), n), _text(test.get("output"), n)) for n, test in enumerate(tests)]
    limits = {
        name: float(row[given])
        for name, given, usual in (("cpu_seconds", "time_limit", 2.0), ("memory_mib", "memory_limit", 512.0))
        if isinstance(row.get(given), (int, float)) and usual < row[given] <= 4096
    }
    return Stdio(pairs, checker, dataset=True, prints=True, limits=limits)


def _tests(row: dict[str, Any], name: str, challenge: bool) -> Problem:
    """Read `tests` or `test_cases`, which hold whatever a data set has."""
    tests = row[name]
    if isinstance(tests, str):
        tests = _from_text(tests)
    if isinstance(tests, dict):
        return _codecontests({"public_tests": tests}) if "input" in tests else _read(tests, challenge)
    if isinstance(tests, list):
        found = _from_list(tests)
        if "test_cases" in found:
            return _typed(tests)
        if "tests" not in found:
            return _read(row | found, challenge) if "test_list" in found else _livecodebench(row | found)
    return _own(row | {"tests": tests})


def _typed(tests: list[Any]) -> Problem:
    """Read test cases that say each of what type they are."""
    if not all(isinstance(test, dict) and "input" in test and "output" in test for test in tests):
        raise BadReferenceError("a test case is no object with `input` and `output`")
    if not all(isinstance(test.get(name) or "", str) for test in tests for name in ("type", "fn_name")):
        raise BadReferenceError("`type` or `fn_name` of a test case is not a text")
    kinds = {"function_call" if test.get("fn_name") else test.get("type") for test in tests}
    names = {test.get("fn_name") or None for test in tests}
    if not kinds <= set(_TYPES) or len(names) != 1:
        raise BadReferenceError(
            f"test cases of the types {sorted(map(str, kinds))} for {sorted(map(str, names))}: all are stdin_stdout, "
            "or all function_call of one fn_name"
        )
    return _apps(
        {
            "inputs": [test["input"] for test in tests],
            "outputs": [test["output"] for test in tests],
            "fn_name": names.pop(),
        }
    )


def _own(row: dict[str, Any]) -> Problem:
    tests = row["tests"]
    if not isinstance(tests, list) or not all(isinstance(test, dict) for test in tests):
        raise BadReferenceError("`tests` is not a list of objects")
    if "entry_point" in row:
        return Calls(
            _name(row["entry_point"]), [_own_call(test, number) for number, test in enumerate(tests)]
        )
    checker = row.get("checker")
    if checker is not None and not isinstance(checker, str):
        raise BadReferenceError("`checker` is not the source of a program")
    pairs = [
        (_text(test.get("input", ""), number), _text(test.get("output"), number, checker))
        for number, test in enumerate(tests)
    ]
    return Stdio(pairs, checker)


def _own_call(test: dict[str, Any], number: int) -> CallTest:
    args = _literal(test, "args", [], number)
    kwargs = _literal(test, "kwargs", {}, number)
    if "expected" not in test and "expected_literal" not in test:
        raise BadReferenceError(f"test {number} has no `expected`")
    if (
        not isinstance(args, (list, tuple))
        or not isinstance(kwargs, dict)
        or not all(isinstance(key, str) for key in kwargs)
    ):
        raise BadReferenceError(f"test {number}: `args` is a list and `kwargs` an object")
    return CallTest(list(args), kwargs, _literal(test, "expected", None, number))


def _literal(test: dict[str, Any], name: str, default: Any, number: int) -> Any:
    text = test.get(f"{name}_literal")
    if text is None:
        return test.get(name, default)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        kind = type(error).__name__
        raise BadReferenceError(f"test {number}: `{name}_literal` is no Python literal ({kind})") from error


def _apps(row: dict[str, Any]) -> Problem:
    inputs, outputs = row["inputs"], row.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        raise BadReferenceError("`inputs` and `outputs` are not two lists of one length")
    name = row.get("fn_name")
    if name:
        tests: list[CallTest] = []
        for number, (given, expected) in enumerate(zip(inputs, outputs, strict=True)):
            args, kwargs = _apps_arguments(given, number)
            if isinstance(given, str) and isinstance(expected, str):  # and a line of JSON for the value
                with contextlib.suppress(ValueError, RecursionError):
                    expected = json.loads(expected)
            tests.append(CallTest([with_integer_keys(value) for value in args], kwargs, expected))
        return Calls(_name(name), tests, dataset=True)
    return Stdio(
        [
            (_lines(given, number), _lines(wanted, number))
            for number, (given, wanted) in enumerate(zip(inputs, outputs, strict=True))
        ],
        dataset=True,
    )


def _apps_arguments(given: Any, number: int) -> tuple[list[Any], dict[str, Any]]:
    if isinstance(given, str):  # a line of JSON per argument
        try:
            given = [json.loads(line) for line in given.split("\n") if line.strip()]
        except (ValueError, RecursionError) as error:
            raise BadReferenceError(f"test {number}: the arguments are no JSON ({error})") from error
    if isinstance(given, dict) and all(isinstance(key, str) for key in given):
        return [], given
    if not isinstance(given, list):
        raise BadReferenceError(f"test {number}: the arguments are a {type(given).__name__}, not a list")
    return given, {}


def with_integer_keys(value: Any) -> Any:
    """Return a dict whose keys are all integers written as texts with those integers, anything else as it is.

    JSON has texts for keys only; the data sets' own graders undo that so.
    """
    if isinstance(value, dict) and all(isinstance(key, str) and _INTEGER.fullmatch(key) for key in value):
        return {int(key): member for key, member in value.items()}
    return value


def _codecontests(row: dict[str, Any]) -> Stdio:
    pairs: list[tuple[str, str]] = []
    for name in ("public_tests", "private_tests", "generated_tests"):
        part = row.get(name)
        if not part:
            continue
        if isinstance(part, list) and all(isinstance(test, dict) for test in part):
            part = {key: [test.get(key) for test in part] for key in ("input", "output")}
        part = _object(part, name)
        inputs, outputs = part.get("input", []), part.get("output", [])
        if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
            raise BadReferenceError(f"`{name}` holds no lists `input` and `output` of one length")
        pairs += [
            (_text(given, n), _text(wanted, n))
            for n, (given, wanted) in enumerate(zip(inputs, outputs, strict=True))
        ]
    return Stdio(pairs, dataset=True)


def _livecodebench(row: dict[str, Any]) -> Problem:
    tests: list[Any] = []
    for name in ("public_test_cases", "private_test_cases"):
        tests += _cases(row.get(name), name)
    if not all(
        isinstance(test, dict) and isinstance(test.get("input"), str) and isinstance(test.get("output"), str)
        for test in tests
    ):
        raise BadReferenceError("a test case is no object with the texts `input` and `output`")
    if not all(isinstance(test.get("testtype", "stdin"), str) for test in tests):
        raise BadReferenceError("the `testtype` of a test case is not a text")
    kinds = {test.get("testtype", "stdin") for test in tests}
    if kinds <= {"stdin"}:
        return Stdio([(test["input"], test["output"]) for test in tests], dataset=True)
    if kinds != {"functional"}:
        raise BadReferenceError(
            f"test cases of the types {sorted(map(str, kinds))}; all are stdin, or all functional"
        )
    own = tests[0].get("metadata") or {}
    function = (
        _object(row.get("metadata") or own, "metadata").get("func_name")
        or _object(own, "metadata").get("func_name")
        or row.get("fn_name")
    )
    if not function:
        raise BadReferenceError("functional test cases, and no func_name in `metadata`")
    return Calls(
        _name(function), [_functional(test, number) for number, test in enumerate(tests)], dataset=True
    )


def _functional(test: dict[str, Any], number: int) -> CallTest:
    args, kwargs = _apps_arguments(test["input"], number)
    try:
        return CallTest(args, kwargs, json.loads(test["output"]))
    except (ValueError, RecursionError) as error:
        raise BadReferenceError(f"test {number}: the output is no JSON ({error})") from error


def _cases(value: Any, name: str) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, str):
        if not value.strip():
            return []
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            try:
                value = json.loads(pickled.encoded_text(value))
            except (ValueError, RecursionError) as error:
                raise BadReferenceError(f"`{name}` cannot be read: {error}") from error
    if not isinstance(value, list):
        raise BadReferenceError(f"`{name}` is a {type(value).__name__}, not a list")
    return value


def _asserts(row: dict[str, Any], challenge: bool) -> Asserts:
    entry = row.get("entry_point")
    setup = row.get("test_setup_code") or row.get("test_imports") or row.get("setup") or ""
    if isinstance(setup, list):
        setup = "\n".join(map(str, setup))
    tests = row.get("test_list", [])
    if isinstance(tests, str):
        with contextlib.suppress(ValueError, RecursionError):
            tests = _decoded(tests)
    if not isinstance(tests, list):
        raise BadReferenceError("`test_list` is not a list")
    tests = [*tests, *((row.get("challenge_test_list") or []) if challenge else [])]
    test = row.get("test")
    texts = [setup, *tests, *([] if test is None else [test])]
    if not all(isinstance(text, str) for text in texts):
        raise BadReferenceError("a test is not a text")
    for text in texts:
        _parse(text)
    prompt = row.get("prompt", "") if entry else ""
    if not isinstance(prompt, str):
        raise BadReferenceError("`prompt` is not a text")
    return Asserts(test, tests, _name(entry) if entry else None, setup, prompt)


def _parse(text: str) -> None:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise BadReferenceError(f"a test that is no Python ({type(error).__name__}: {error})") from error


def _object(value: Any, name: str) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = _decoded(value)
        except (ValueError, RecursionError) as error:
            raise BadReferenceError(f"`{name}` is a text that is no JSON ({error})") from error
    if not isinstance(value, dict):
        raise BadReferenceError(f"`{name}` is a {type(value).__name__}, not an object")
    return value


def _name(value: Any) -> str:
    if isinstance(value, str):
        value = _ON_AN_OBJECT.sub(r"\1.\2", value)
    if (
        not isinstance(value, str)
        or not all(part.isidentifier() for part in value.split("."))
        or value.count(".") > 1
    ):
        raise BadReferenceError(f"{value!r:.80} is not the name of a function, nor Class.method")
    return value


def _text(value: Any, number: int, default: str | None = None) -> str:
    """Return a test's text; a checker needs no expected output."""
    if value is None and default is not None:
        return ""
    if not isinstance(value, str):
        raise BadReferenceError(f"test {number}: input and output are texts, not {type(value).__name__}")
    return value


def _lines(value: Any, number: int) -> str:
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(value, number)
