"""open-r1's code router: scripts as cells of a notebook, and no result where there is none."""

import json
from typing import Any

import httpx
import pytest

from tests.support import ServiceProcess

EVALUATE = """
    import subprocess
    import json

    def evaluate(code, cases):
        passed = 0
        for case in cases:
            done = subprocess.run(
                ["python3", "-c", code], input=case["input"], text=True, capture_output=True, timeout=20
            )
            if done.returncode == 0 and done.stdout.strip() == case["output"].strip():
                passed += 1
        return passed / len(cases)

    code = json.loads({code!r})
    cases = json.loads({cases!r})
    evaluate(code, cases)
    """
"""A script as trainers write it: indented, with the program as a text, run by `subprocess`."""
CASES = [{"input": "1 2", "output": "3"}, {"input": "3 4", "output": "7"}]
ADD = "a, b = map(int, input().split())\nprint(a + b)"


def script(code: str, cases: Any = CASES) -> str:
    return EVALUATE.format(code=json.dumps(code), cases=json.dumps(cases))


def executed(http: httpx.Client, *scripts: str, **more: Any) -> list[dict[str, Any]]:
    """Run scripts and return their entries."""
    body = {
        "scripts": scripts,
        "languages": ["python"] * len(scripts),
        "timeout": 30,
        "request_timeout": 28,
        **more,
    }
    answer = http.post("/open-r1/execute_batch", json=body)
    assert answer.status_code == 200, answer.text
    entries: list[dict[str, Any]] = answer.json()
    assert len(entries) == len(scripts)
    return entries


def value(entry: dict[str, Any]) -> str | None:
    """Return what the E2B client takes for the text of an execution."""
    if entry["execution"] is None:
        return None
    return next((one["text"] for one in entry["execution"]["results"] if one["is_main_result"]), None)


def test_the_last_expression_is_the_value(http: httpx.Client) -> None:
    number, nothing, printed, words, empty = executed(
        http, "x = 1\nx / 4", "x = 1", "print('a')\n0.5", "'a' + 'b'", ""
    )
    assert [value(one) for one in (number, nothing, printed, words, empty)] == [
        "0.25",
        None,
        "0.5",
        "'ab'",
        None,
    ]
    assert printed["execution"]["logs"] == {"stdout": ["a\n"], "stderr": []}
    assert all(
        one["exception_str"] is None and one["execution"]["error"] is None for one in (number, nothing)
    )


@pytest.mark.parametrize(
    ("code", "reward"),
    [
        (ADD, 1.0),
        (ADD.replace("a + b", "3"), 0.5),
        ("print(42)", 0.0),
        ("1 / 0", 0.0),
        ("def f(:", 0.0),
        (ADD + "\nimport sys; sys.exit(1)", 0.0),
        (ADD + "\nexit()", 1.0),
        (ADD + "\nimport os; os._exit(0)", 0.0),  # what was printed was never written
        ("import os; os.kill(os.getpid(), 9)", 0.0),
        ("import sys; sys.stdout.write(str(sum(map(int, sys.stdin.read().split()))))", 1.0),
        ("print('x' * (6 << 20))", 0.0),
        ("if __name__ == '__main__':\n    " + ADD.replace("\n", "\n    "), 1.0),
    ],
)
def test_a_script_rewards_a_program_that_it_runs_by_itself(
    http: httpx.Client, code: str, reward: float
) -> None:
    (entry,) = executed(http, script(code))
    assert entry["execution"]["error"] is None, entry
    assert float(value(entry) or "nan") == float(entry["text"]) == reward


THIEF = """
import gc, os, sys

def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True

drow = "tuptuo-terces"  # written backwards, so that this program does not find itself
found = [type(one).__name__ for one in gc.get_objects() if drow in repr(one)[::-1] and one is not globals()]
frame = sys._getframe()
while frame.f_back:
    frame = frame.f_back
    found += [name for name, one in frame.f_globals.items() if drow in repr(one)[::-1]]
print(found, os.listdir("."), [number for number in range(3, 60) if is_open(number)], sys.stdin.read())
"""


def test_a_program_finds_neither_the_tests_nor_the_script(http: httpx.Client) -> None:
    """It looks through every object, its parents' frames, its folder, its descriptors and its input."""
    call = f"subprocess.run(['python3', '-c', {THIEF!r}], input='in', text=True, capture_output=True)"
    (entry,) = executed(
        http, f"import subprocess\nkept = ['secret-output']\ndone = {call}\ndone.stdout + done.stderr"
    )
    assert value(entry) == repr("[] [] [] in\n")


def test_a_program_that_loops_is_ended_by_the_script_s_own_time_out(http: httpx.Client) -> None:
    run = "s.run(['python3', '-c', 'while True: pass'], timeout=0.3)"
    code = f"import subprocess as s\ntry:\n    {run}\nexcept s.TimeoutExpired as error:\n    late = error.timeout\nlate"
    assert value(executed(http, code)[0]) == "0.3"


@pytest.mark.parametrize(
    "code",
    [
        "1 / 0",
        "def f(:",
        "import sys; sys.exit(3)",
        "import subprocess; subprocess.run(['ls'])",
        "raise KeyboardInterrupt",
    ],
)
def test_a_script_that_fails_has_an_error_and_no_value(http: httpx.Client, code: str) -> None:
    (entry,) = executed(http, code)
    assert value(entry) is None
    assert entry["execution"]["error"].keys() == {"name", "value", "traceback"}
    assert entry["text"] == "nan"


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import os; os.kill(os.getpid(), 9)",
        "x = bytearray(2 << 30)",
        "import os; os.write(1, b'[]')\nos._exit(0)",
    ],
)
def test_a_script_that_is_ended_has_no_execution(http: httpx.Client, code: str) -> None:
    entry, other = executed(http, code, "1 + 1", timeout=1)
    assert (entry["execution"], entry["text"]) == (None, "nan")
    assert "script" in entry["exception_str"]
    assert value(other) == "2"


def test_a_language_that_does_not_run_here_costs_only_its_own_entry(http: httpx.Client) -> None:
    ruby, python = executed(http, "puts 1", "1", languages=["ruby", "python"])
    assert (ruby["execution"], value(python)) == (None, "1")
    assert "ruby" in ruby["exception_str"]


def test_a_script_runs_each_time_as_its_programs_run_on_the_clock(http: httpx.Client) -> None:
    code = "import os\nos.urandom(8).hex()"
    assert len({value(one) for one in (*executed(http, code, code), *executed(http, code))}) == 3


def test_older_clients_name_one_language_and_an_empty_batch_is_empty(http: httpx.Client) -> None:
    body = {"scripts": ["1", "2"], "language": "python", "timeout": 5, "request_timeout": 5}
    assert [value(one) for one in http.post("/open-r1/execute_batch", json=body).json()] == ["1", "2"]
    assert executed(http) == []


def test_what_cannot_be_read_is_refused(http: httpx.Client) -> None:
    bodies: list[Any] = [{}, {"scripts": "1"}, {"scripts": ["1"], "timeout": 3600}]
    for body in bodies:
        assert http.post("/open-r1/execute_batch", json=body).status_code == 422
    assert (
        http.post("/open-r1/execute_batch", json={"scripts": ["1"], "languages": ["python"] * 2}).status_code
        == 422
    )


def test_who_is_turned_away_has_no_value_and_no_zero(
    narrow_service: ServiceProcess, keys: dict[str, str]
) -> None:
    with httpx.Client(base_url=f"{narrow_service.url}/t/{keys['run']}", timeout=300) as client:
        entries = executed(client, *[f"import time; time.sleep(1)\n{number}" for number in range(4)])
    values = [value(one) for one in entries]
    assert values.count(None) == 3
    assert all(
        one["text"] == "nan" and "queue is full" in one["exception_str"]
        for one in entries
        if value(one) is None
    )
    assert (
        httpx.post(
            f"{narrow_service.url}/open-r1/execute_batch", json={"scripts": []}, timeout=300
        ).status_code
        == 401
    )
