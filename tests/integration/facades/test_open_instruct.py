"""open-instruct's code API: what each test came to, by verifiers that keep program and test apart."""

import base64
import json
import os
import pickle
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support import ServiceProcess

DOUBLE = "def double(x):\n    return 2 * x"
ASSERTIONS = ["assert double(1) == 2", "assert double(2) == 5", "assert double('ab') == 'abab'"]
INCREMENT = "for line in open(0):\n    print(int(line) + 1)"
PAIRS = [
    {"input": "1\n", "output": "2"},
    {"input": "1\n2\n", "output": "2\n3\n"},
    {"input": "5", "output": "7"},
]


def judged(
    http: httpx.Client, program: str, tests: Any, *, route: str = "test_program", **more: Any
) -> tuple[list[int], list[float]]:
    """Return results and runtimes of a request that must be answered."""
    answer = http.post(f"/open-instruct/{route}", json={"program": program, "tests": tests, **more})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body.keys() == {"results", "runtimes"}
    assert len(body["results"]) == len(body["runtimes"])
    return body["results"], body["runtimes"]


def packed(tests: Any) -> str:
    """Return tests as open-instruct packs them."""
    return base64.b64encode(zlib.compress(pickle.dumps(tests))).decode()


def test_it_says_that_it_is_healthy(http: httpx.Client) -> None:
    assert http.get("/open-instruct/health").json() == {"status": "healthy"}


def test_each_assertion_has_its_result_and_its_seconds(http: httpx.Client) -> None:
    results, runtimes = judged(http, DOUBLE, ASSERTIONS, max_execution_time=1.0)
    assert results == [1, 0, 1]
    assert [seconds >= 0 for seconds in runtimes] == [True, False, True]


def test_each_pair_has_its_result_and_numbers_count_by_value(http: httpx.Client) -> None:
    assert judged(http, INCREMENT, PAIRS, route="test_program_stdio")[0] == [1, 1, 0]
    assert judged(http, "print(2)", [{"input": "", "output": "2.0"}], route="test_program_stdio")[0] == [1]


@pytest.mark.parametrize(
    "program",
    [
        "",
        "def double(:",
        "1 / 0",
        "while True: pass",
        "import os; os._exit(0)",
        "double = 3",
        "import time\ndef double(x): time.sleep(9)",
    ],
)
def test_a_program_that_fails_fails_every_test(http: httpx.Client, program: str) -> None:
    assert judged(http, program, ASSERTIONS, max_execution_time=0.2) == ([0, 0, 0], [-1.0, -1.0, -1.0])


@pytest.mark.parametrize(
    "program",
    [
        "class Yes:\n    def __eq__(self, other): return True\ndef double(x): return Yes()",
        "import builtins\nbuiltins.AssertionError = int\ndef double(x): return 0",
        "import sys\ndef double(x): sys.exit(0)",
        "import inspect\ndef double(x):\n    inspect.currentframe().f_back.f_globals['double'] = None",
    ],
)
def test_a_program_cannot_make_a_wrong_assertion_pass(http: httpx.Client, program: str) -> None:
    assert judged(http, program, ["assert double(1) == 5"])[0] == [0]


def test_more_tests_than_one_item_takes_stay_in_order(http: httpx.Client) -> None:
    tests = [f"assert double({number}) == {2 * number + (number % 7 == 3)}" for number in range(43)]
    assert judged(http, DOUBLE, tests)[0] == [int(number % 7 != 3) for number in range(43)]


@pytest.mark.parametrize("form", [json.dumps, packed])
def test_tests_may_come_as_a_text(http: httpx.Client, form: Any) -> None:
    assert judged(http, DOUBLE, form(ASSERTIONS))[0] == [1, 0, 1]
    assert judged(http, INCREMENT, form(PAIRS), route="test_program_stdio")[0] == [1, 1, 0]


def test_no_tests_have_no_results(http: httpx.Client) -> None:
    nothing: list[Any] = [[], "", None]
    for tests in nothing:
        assert judged(http, DOUBLE, tests) == ([], [])


def test_the_results_are_those_of_the_verifier_asked_directly(http: httpx.Client) -> None:
    item = {"response": DOUBLE, "reference": {"test_list": ASSERTIONS}, "params": {"score": "fraction"}}
    direct = http.post("/v1/score", json={"verifier": "python-assert:1.0.8", "items": [item]}).json()
    results, _ = judged(http, DOUBLE, ASSERTIONS)
    assert sum(results) / len(results) == direct["verdicts"][0]["score"]
    pinned = f"{direct['verifier']['ref']}/test_program"
    assert judged(http, DOUBLE, ASSERTIONS, route=pinned)[0] == results


class Bomb:
    """What a hostile row could hold: unpickling it runs a command."""

    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/countermark-was-here",)


@pytest.mark.parametrize(
    "tests",
    [
        packed(Bomb()),
        packed([Bomb()]),
        packed("no list"),
        packed([["nested"]]),
        base64.b64encode(zlib.compress(b"\x80\x04" + b"(" * 100)).decode(),
        base64.b64encode(zlib.compress(pickle.dumps(["x" * 100]))[:-9]).decode(),
        "no base64 ?",
        7,
        [7],
    ],
)
def test_tests_that_are_none_are_refused_and_nothing_of_them_is_run(http: httpx.Client, tests: Any) -> None:
    answer = http.post("/open-instruct/test_program", json={"program": DOUBLE, "tests": tests})
    assert (answer.status_code, answer.json()["detail"].startswith("tests: ")) == (422, True)


def test_a_pickle_of_few_bytes_that_stands_for_gigabytes_is_refused(http: httpx.Client) -> None:
    tests = packed(["x" * (1 << 20)] * 2000)
    answer = http.post("/open-instruct/test_program", json={"program": DOUBLE, "tests": tests})
    assert (answer.status_code, "bytes" in answer.json()["detail"]) == (422, True)


@pytest.mark.parametrize(
    ("tests", "status"), [(["assert double("], 424), (["assert double(object())"], 424), (["x = 1"], 424)]
)
def test_tests_that_cannot_be_judged_are_no_failed_program(
    http: httpx.Client, tests: list[str], status: int
) -> None:
    answer = http.post("/open-instruct/test_program", json={"program": DOUBLE, "tests": tests})
    assert answer.status_code == status
    assert "bad_reference" in answer.json()["detail"]


def test_a_verifier_that_says_nothing_of_tests_is_refused(http: httpx.Client) -> None:
    answer = http.post("/open-instruct/exact:1.0.0/test_program", json={"program": "1", "tests": ASSERTIONS})
    assert answer.status_code == 422
    assert (
        http.post("/open-instruct/nobody:1/test_program", json={"program": "1", "tests": ["x"]}).status_code
        == 404
    )


def test_keys_count_and_a_full_queue_is_no_result(
    narrow_service: ServiceProcess, keys: dict[str, str]
) -> None:
    def post(key: str | None, number: int = 0) -> httpx.Response:
        prefix = "" if key is None else f"/t/{key}"
        program = f"import time\ntime.sleep(1)\ndef double(x): return 2 * x\n# {number}"
        body = {"program": program, "tests": ["assert double(1) == 2"]}
        return narrow.post(f"{prefix}/open-instruct/test_program", json=body)

    with httpx.Client(base_url=narrow_service.url, timeout=300) as narrow, ThreadPoolExecutor(4) as threads:
        assert post(None).status_code == 401
        assert post(keys["run"]).status_code == 403
        answers = list(threads.map(lambda number: post(keys["score"], number), range(4)))
    refused = [one for one in answers if one.status_code != 200]
    assert [one.json()["results"] for one in answers if one.status_code == 200] == [[1]] * (4 - len(refused))
    assert refused
    assert all((one.status_code, "queue is full" in one.json()["detail"]) == (503, True) for one in refused)
