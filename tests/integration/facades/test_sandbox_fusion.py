"""SandboxFusion's API: runs as its clients read them, and nothing that they could take for a wrong answer."""

import base64
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.integration.api.parts import leaves_below, wait_until
from tests.support import ServiceProcess

ADD = "a, b = map(int, input().split())\nprint(a + b)"
CPP = '#include <cstdio>\nint main() { int a, b; scanf("%d %d", &a, &b); printf("%d", a + b); }'


def run(
    http: httpx.Client, code: str, *, path: str = "/sandbox-fusion/run_code", **more: Any
) -> dict[str, Any]:
    """Run a program that must be run, and return the body of the answer.

    A sandbox that starts on a busy machine may take longer than the facade has its caller wait; it is asked
    again then, as its client does.
    """
    for _ in range(10):
        answer = http.post(path, json={"code": code, "language": "python", **more})
        if answer.status_code != 504:
            break
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert body.keys() == {
        "status", "message", "compile_result", "run_result", "executor_pod_name", "files",
    }  # fmt: skip
    return body


def ended(body: dict[str, Any]) -> tuple[str, str, int | None]:
    """Return how a run ended: of the whole, of the program, its return code."""
    return body["status"], body["run_result"]["status"], body["run_result"]["return_code"]


def test_it_answers_a_ping(http: httpx.Client) -> None:
    answer = http.get("/sandbox-fusion/v1/ping")
    assert (answer.status_code, answer.json()) == (200, "pong")


def test_a_program_reads_its_input_and_its_output_comes_back(http: httpx.Client) -> None:
    body = run(http, "import sys\nprint(input()[::-1])\nprint('e', file=sys.stderr)", stdin="abc\n")

    assert ended(body) == ("Success", "Finished", 0)
    assert (body["run_result"]["stdout"], body["run_result"]["stderr"]) == ("cba\n", "e\n")
    assert body["compile_result"] is None
    assert body["run_result"]["execution_time"] > 0


@pytest.mark.parametrize(
    ("code", "expected", "word"),
    [
        ("1/0", ("Failed", "Finished", 1), "ZeroDivisionError"),
        ("import sys; sys.exit(3)", ("Failed", "Finished", 3), ""),
        ("def f(:", ("Failed", "Finished", 1), "SyntaxError"),
        ("import ctypes; ctypes.string_at(0)", ("Failed", "Finished", -11), ""),
        ("x = bytearray(300 << 20)", ("Failed", "Finished", 1), "memory_limit"),
        ("print('x' * (9 << 20))", ("Failed", "Finished", 1), "output_limit"),
        ("while True: pass", ("Failed", "TimeLimitExceeded", None), ""),
        ("import time; time.sleep(0.5)", ("Failed", "TimeLimitExceeded", None), ""),
    ],
)
def test_each_way_to_fail_is_told_as_its_clients_know_it(
    http: httpx.Client, code: str, expected: tuple[str, str, int | None], word: str
) -> None:
    limit = 0.3 if "Limit" in expected[1] else 10  # what ends otherwise may take a busy machine's time
    body = run(http, code, run_timeout=limit, memory_limit_MB=64)

    assert ended(body) == expected
    assert word in body["run_result"]["stderr"]


def test_a_compiled_program_has_both_results(http: httpx.Client) -> None:
    good = run(http, CPP, language="cpp", stdin="20 22")
    assert ended(good) == ("Success", "Finished", 0)
    assert (good["compile_result"]["status"], good["compile_result"]["return_code"]) == ("Finished", 0)
    assert good["run_result"]["stdout"] == "42"

    bad = run(http, "int main( {", language="cpp")
    assert (bad["status"], bad["run_result"]) == ("Failed", None)
    assert (bad["compile_result"]["status"], bad["compile_result"]["return_code"]) == ("Finished", 1)
    assert "error" in bad["compile_result"]["stderr"]

    slow = run(http, "#include <regex>\n#include <map>\n" + CPP, language="cpp", compile_timeout=0.05)
    assert (slow["status"], slow["compile_result"]["status"]) == ("Failed", "TimeLimitExceeded")


def test_files_are_found_in_the_working_folder(http: httpx.Client) -> None:
    content = base64.b64encode(b"\xff\x00").decode()
    body = run(http, "print(open('in/x', 'rb').read())", files={"in/x": content, "left/out": None})
    assert body["run_result"]["stdout"] == "b'\\xff\\x00'\n"


def test_files_that_are_asked_for_come_back(http: httpx.Client) -> None:
    code = "open('out', 'wb').write(bytes([255, 0]))"
    for _ in range(2):  # the second time from the store
        body = run(http, code, fetch_files=["out", "nothing"])
        assert body["files"] == {"out": base64.b64encode(b"\xff\x00").decode()}
    cpp = '#include <cstdio>\nint main() { fputs("hi", fopen("out", "w")); }'
    assert run(http, cpp, language="cpp", fetch_files=["out"])["files"] == {"out": "aGk="}
    assert run(http, code)["files"] == {}


def test_keys_that_nobody_knows_are_let_be_as_there(http: httpx.Client) -> None:
    body = run(http, ADD, stdin="1 2", expected_stdout="3", uuid="x", fetch_files=[])
    assert body["run_result"]["stdout"] == "3\n"


def test_half_a_character_is_the_program_s_own_fault(http: httpx.Client) -> None:
    answer = http.post(
        "/sandbox-fusion/run_code",
        content=rb'{"code": "print(\"\ud800\")", "language": "python"}',
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 200
    assert answer.json()["status"] == "Failed"


def test_a_language_that_does_not_run_here_is_no_failed_program(http: httpx.Client) -> None:
    body = run(http, "puts 1", language="ruby")
    assert (body["status"], body["run_result"]) == ("SandboxError", None)
    assert "python, cpp, nodejs" in body["message"]


def test_a_verifier_in_the_path_says_what_programs_find(http: httpx.Client) -> None:
    code = "import sys; print(sys.version_info[:2])"
    assert run(http, code, path="/sandbox-fusion/python-stdio:1.0.0/run_code")["status"] == "Success"
    numpy = "import numpy; print(numpy.arange(3).sum())"
    with_numpy = run(http, numpy, path="/sandbox-fusion/python-stdio-sci:1.0.0/run_code")
    assert (with_numpy["run_result"]["stdout"], run(http, numpy)["status"]) == ("3\n", "Failed")

    other = http.post("/sandbox-fusion/cpp-stdio:1.0.0/run_code", json={"code": code, "language": "python"})
    assert (other.status_code, "cpp" in other.json()["detail"]) == (422, True)
    rule = http.post("/sandbox-fusion/exact:1.0.0/run_code", json={"code": code, "language": "python"})
    assert rule.status_code == 422, "a 504 would be sent again and again"
    assert "runs no programs" in rule.json()["detail"]
    nobody = http.post("/sandbox-fusion/nobody:1.0.0/run_code", json={"code": code, "language": "python"})
    assert nobody.status_code == 404


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"language": "python"}, "code"),
        ({"code": "1"}, "language"),
        ({"code": "1", "language": "klingon"}, "klingon"),
        ({"code": 1, "language": "python"}, "code"),
        ({"code": "1", "language": "python", "run_timeout": "soon"}, "run_timeout"),
        ({"code": "1", "language": "python", "run_timeout": 3600}, "3600"),
        ({"code": "1", "language": "python", "files": {"a": "?"}}, "base64"),
        ({"code": "1", "language": "python", "files": {"../a": ""}}, "../a"),
        ({"code": "1", "language": "python", "fetch_files": ["/etc/passwd"]}, "/etc/passwd"),
        ([], "the body"),
    ],
)
def test_what_cannot_be_run_is_refused_and_says_why(http: httpx.Client, body: Any, word: str) -> None:
    answer = http.post("/sandbox-fusion/run_code", json=body)
    assert answer.status_code == 422
    assert word in answer.json()["detail"]


# --- submit ---------------------------------------------------------------------------------------


def submit(http: httpx.Client, dataset: str, completion: str, provided: Any, **extra: Any) -> httpx.Response:
    config = {"provided_data": provided, "language": "python", "locale": None, "extra": extra}
    body = {"dataset": dataset, "id": 7, "completion": completion, "config": config}
    return http.post("/sandbox-fusion/submit", json=body)


def test_a_completion_is_scored_under_the_pin_that_is_the_dataset(http: httpx.Client) -> None:
    tests = {"tests": [{"input": "1 2", "output": "3"}, {"input": "2 2", "output": "4"}]}
    fenced = f"```python\n{ADD}\n```"

    right = submit(http, "python-stdio:1.0.0", fenced, {"labels": tests}).json()
    wrong = submit(
        http,
        "python-stdio:1.0.0",
        fenced.replace("a + b", "3"),
        [{"id": "7", **tests}],
        params={"score": "fraction"},
    ).json()

    assert (right["id"], right["accepted"], right["extra"]["score"]) == (7, True, 1.0)
    assert [one["passed"] for one in right["tests"]] == [True, True]
    assert right["extra"]["verifier"]["ref"].startswith("python-stdio:1.0.0@sha256:")
    assert (wrong["accepted"], wrong["extra"]["score"]) == (False, 0.5)
    assert [one["passed"] for one in wrong["tests"]] == [True, False]
    pin = right["extra"]["verifier"]["ref"]
    assert submit(http, pin, fenced, {"reference": tests}).json()["extra"]["cached"] is True


def test_a_text_verifier_takes_its_reference_from_the_row_too(http: httpx.Client) -> None:
    assert submit(http, "exact:1.0.0", "4", {"reference": "4"}).json()["accepted"] is True
    assert (
        submit(http, "exact:1.0.0", "4", [{"id": 6, "labels": "4"}, {"id": 7, "labels": "5"}]).json()[
            "accepted"
        ]
        is False
    )


@pytest.mark.parametrize(
    ("command", "status"), [("raise", 504), ("crash", 504), ("sleep", 504), ("unreadable", 424)]
)
def test_a_verdict_without_a_score_is_never_a_rejection(
    http: httpx.Client, command: str, status: int
) -> None:
    answer = submit(http, "subject:1.0.0", command, {"reference": "x"})
    assert answer.status_code == status
    assert "no score" in answer.json()["detail"]


def test_a_submission_that_cannot_be_scored_says_why(http: httpx.Client) -> None:
    for provided in (None, [], [{"id": 8, "labels": "4"}]):
        answer = submit(http, "exact:1.0.0", "4", provided)
        assert (answer.status_code, "provided_data" in answer.json()["detail"]) == (422, True)
    assert submit(http, "nobody:1.0.0", "4", {"labels": "4"}).status_code == 404
    assert submit(http, "exact", "4", {"labels": "4"}).status_code == 400


# --- from the store -------------------------------------------------------------------------------


def test_equal_programs_run_once_whether_one_after_the_other_or_at_once(http: httpx.Client) -> None:
    code = "import os\nprint(os.urandom(8).hex())\n#" + str(time.monotonic_ns())
    with ThreadPoolExecutor(16) as threads:
        at_once = list(threads.map(lambda _: run(http, code)["run_result"]["stdout"], range(16)))
    later = run(http, code, timeout_of_mine=1)["run_result"]["stdout"]
    assert len({*at_once, later}) == 1
    other_input = run(http, code, stdin="x")["run_result"]["stdout"]
    other_limit = run(http, code, run_timeout=9)["run_result"]["stdout"]
    other_file = run(http, code, files={"x": ""})["run_result"]["stdout"]
    assert len({later, other_input, other_limit, other_file}) == 4


def test_a_run_that_met_a_limit_is_run_again(http: httpx.Client) -> None:
    code = "import os, sys\nprint(os.urandom(8).hex())\nsys.stdout.flush()\nwhile True: pass\n#" + str(
        time.monotonic_ns()
    )
    bodies = [run(http, code, run_timeout=0.5) for _ in range(2)]
    assert [ended(body) for body in bodies] == [("Failed", "TimeLimitExceeded", None)] * 2
    assert bodies[0]["run_result"]["stdout"] != bodies[1]["run_result"]["stdout"]


# --- keys, saturation, faults ---------------------------------------------------------------------


def test_a_key_counts_in_the_header_and_in_the_path(
    narrow_service: ServiceProcess, keys: dict[str, str]
) -> None:
    def status(prefix: str, key: str | None, path: str = "run_code") -> int:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        body = {"code": "print(1)", "language": "python"}
        return httpx.post(
            f"{narrow_service.url}{prefix}/sandbox-fusion/{path}", json=body, headers=headers, timeout=300
        ).status_code

    assert status(f"/t/{keys['run']}", None) == 200
    assert status("", keys["run"]) == 200
    assert [status("", None), status("/t/cmk_wrong", None)] == [401, 401]
    assert [status("", keys["score"]), status(f"/t/{keys['score']}", None)] == [403, 403]
    assert status(f"/t/{keys['run']}", None, "submit") == 403
    log = narrow_service.log.read_text()
    assert "/sandbox-fusion/run_code" in log
    assert not any(key.removeprefix("cmk_")[:12] in log for key in keys.values())


def test_a_full_queue_is_a_504_and_harms_nobody_who_is_in_it(
    narrow_service: ServiceProcess, keys: dict[str, str]
) -> None:
    def post(number: int) -> httpx.Response:
        body = {"code": f"import time; time.sleep(1); print({number})", "language": "python"}
        return narrow.post(f"/t/{keys['run']}/sandbox-fusion/run_code", json=body)

    with httpx.Client(base_url=narrow_service.url, timeout=300) as narrow, ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(post, range(6)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200, 504, 504, 504, 504, 504]
    assert all("queue is full" in one.json()["detail"] for one in answers if one.status_code == 504)


def test_a_body_over_the_limit_is_refused(narrow_service: ServiceProcess, keys: dict[str, str]) -> None:
    url = f"{narrow_service.url}/t/{keys['run']}/sandbox-fusion/run_code"
    answer = httpx.post(url, json={"code": "#" * (1 << 20), "language": "python"}, timeout=300)
    assert (answer.status_code, "limit" in answer.json()["detail"]) == (413, False)


def test_a_service_that_stops_answers_nothing_that_could_be_a_score(
    narrow_service: ServiceProcess, keys: dict[str, str]
) -> None:
    """Whoever is under way when it is killed gets no answer at all."""
    url = f"{narrow_service.url}/t/{keys['run']}/sandbox-fusion/run_code"
    caught: list[object] = []

    def post() -> None:
        try:
            caught.append(
                httpx.post(
                    url, json={"code": "import time; time.sleep(9)", "language": "python"}, timeout=300
                )
            )
        except httpx.TransportError as exc:
            caught.append(exc)

    before = leaves_below(narrow_service.process.pid)
    thread = threading.Thread(target=post)
    thread.start()
    wait_until(lambda: leaves_below(narrow_service.process.pid) - before, "the program runs")
    narrow_service.process.kill()
    narrow_service.process.wait(30)
    thread.join(30)
    assert isinstance(caught[0], httpx.TransportError)
    narrow_service.start()
