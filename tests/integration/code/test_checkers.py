"""Checker programs: what they are given, what counts as their yes, and what says nothing of a candidate."""

from typing import Any

import pytest

from tests.integration.code.conftest import Score

pytestmark = pytest.mark.asyncio(loop_scope="module")


def reference(checker: str, *expected: str) -> dict[str, Any]:
    """Return a reference of one test for each expected output, with a checker."""
    return {
        "tests": [{"input": f"{n}\n", "output": output} for n, output in enumerate(expected)],
        "checker": checker,
    }


def response(printed: str) -> str:
    return f"```python\nprint({printed})\n```"


@pytest.mark.parametrize(
    "checker",
    [  # that one which loops is a vector of the bundles
        "import no_such_module",
        "print(undefined)",
        "x = [0] * 10 ** 10",
        "import sys\nwhile True: sys.stdout.write('x' * 10 ** 6)",
    ],
)
@pytest.mark.parametrize("printed", ["3", "4"])
async def test_a_checker_that_fails_by_itself_is_a_bad_reference(
    score: Score, checker: str, printed: str
) -> None:
    item = {"response": response(printed), "reference": reference(checker, "3\n")}
    (verdict,) = await score("python-stdio", item)
    assert (verdict["outcome"], verdict["score"]) == ("bad_reference", None), verdict
    assert "checker" in verdict["detail"]["reason"]


@pytest.mark.parametrize(
    "checker",
    [
        "while open('output.txt').read().split() != ['3']: pass",
        "[][int(open('output.txt').read()) != 3:][0] if open('output.txt').read() != '3\\n' else 0",
        "assert open('output.txt').read() == '3\\n'",
        "raise SystemExit(open('output.txt').read() != '3\\n')",
        "{'3\\n': 0}[open('output.txt').read()]",
    ],
)
async def test_a_checker_that_only_a_wrong_output_stops_says_no(score: Score, checker: str) -> None:
    items = [
        {"response": response(printed), "reference": reference(checker, "3\n")}
        for printed in ("3", "4", "'x'")
    ]
    verdicts = await score("python-stdio", *items)
    assert [(verdict["outcome"], verdict["score"]) for verdict in verdicts] == [
        ("scored", 1.0),
        ("scored", 0.0),
        ("scored", 0.0),
    ], verdicts


async def test_a_checker_without_an_expected_output_may_say_no_by_an_error(score: Score) -> None:
    checker = "if int(open('output.txt').read()) != 3: raise ValueError"
    verdicts = await score(
        "python-stdio",
        *(
            {"response": response(printed), "reference": reference(checker, "")}
            for printed in ("3", "4", "'x'")
        ),
    )
    assert [verdict["score"] for verdict in verdicts] == [1.0, 0.0, 0.0], verdicts


async def test_only_the_tests_that_failed_are_doubted(score: Score) -> None:
    checker = (
        "import sys\nassert open(sys.argv[3]).read() == open(sys.argv[2]).read()\n"
        "{'1\\n': 0}[open(sys.argv[3]).read()]"
    )
    item = {
        "response": "```python\nprint(int(input()) + 1)\n```",
        "reference": reference(checker, "1\n", "2\n"),
        "params": {"score": "fraction"},
    }
    (verdict,) = await score("python-stdio", item)
    assert verdict["outcome"] == "bad_reference", (
        verdict
    )  # the second expected output is refused by an error as well


CODEFORCES = {
    "official_tests": [{"input": "1 2\n", "output": "3\n"}],
    "input_mode": "stdio",
    "time_limit": 1.0,
}


@pytest.mark.parametrize(
    ("says", "right"),
    [
        ("print(1)", True),
        ("print(0)", False),
        ("print(' 1 ')", True),
        ("pass", False),
        ("print(1); exit(1)", False),
    ],
)
async def test_a_generated_checker_accepts_by_printing_one(score: Score, says: str, right: bool) -> None:
    item = {"response": response("3"), "reference": CODEFORCES | {"generated_checker": says}}
    (verdict,) = await score("python-stdio", item)
    assert (verdict["outcome"], verdict["score"]) == ("scored", float(right)), verdict


async def test_limits_of_a_task_only_give_more_than_is_usual(score: Score) -> None:
    items = [
        {"response": response("3"), "reference": CODEFORCES | limits, "params": params}
        for limits, params in (
            ({"time_limit": 1.0, "memory_limit": 64.0}, {}),
            ({"time_limit": 5.0, "memory_limit": 1024.0}, {}),
            ({"time_limit": 5.0}, {"limits": {"cpu_seconds": 1.5}}),
        )
    ]
    verdicts = await score("python-stdio", *items)
    limits = [verdict["detail"]["limits"] for verdict in verdicts]
    assert [one["cpu_seconds"] for one in limits] == [2.0, 5.0, 1.5]
    assert [one["memory_mib"] for one in limits] == [512, 1024, 512]
