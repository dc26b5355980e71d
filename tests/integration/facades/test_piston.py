"""Piston's API: programs, their ends in Piston's words, and what runs here."""

import base64
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support import ServiceProcess


def execute(http: httpx.Client, code: str, *, language: str = "python", **more: Any) -> dict[str, Any]:
    """Run a program that must be run, and return the body of the answer."""
    answer = http.post(
        "/piston/api/v2/execute",
        json={"language": language, "version": "*", "files": [{"content": code}], **more},
    )
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_program_reads_its_input_and_its_output_comes_back(http: httpx.Client) -> None:
    body = execute(
        http, "import sys\nprint(input())\nprint('e', file=sys.stderr)", stdin="hello", run_cpu_time=2000
    )
    run = body["run"]
    assert (body["language"], body["version"].split(".")[:2]) == ("python", ["3", "11"])
    assert (run["stdout"], run["stderr"], run["output"]) == ("hello\n", "e\n", "hello\ne\n")
    assert (run["code"], run["signal"], run["status"], run["message"]) == (0, None, None, None)
    assert run["memory"] > 1 << 20
    assert "compile" not in body


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("1 / 0", ("RE", 1, None)),
        ("import sys; sys.exit(3)", ("RE", 3, None)),
        ("import os; os.kill(os.getpid(), 11)", ("SG", None, "SIGSEGV")),
        ("x = bytearray(300 << 20)", ("SG", None, "SIGKILL")),
        ("while True: pass", ("TO", None, "SIGKILL")),
        ("import time; time.sleep(0.4)", ("TO", None, "SIGKILL")),
        ("print('x' * (9 << 20))", ("OL", 0, None)),
    ],
)
def test_each_way_to_fail_has_piston_s_word(
    http: httpx.Client, code: str, expected: tuple[str, int | None, str | None]
) -> None:
    limit = 300 if expected[0] == "TO" else 10_000  # what ends otherwise may take a busy machine's time
    run = execute(http, code, run_timeout=limit, run_memory_limit=64 << 20)["run"]
    assert (run["status"], run["code"], run["signal"]) == expected


def test_a_compiled_program_has_both_stages(http: httpx.Client) -> None:
    good = execute(http, '#include <cstdio>\nint main() { puts("hi"); }', language="c++")
    assert (good["compile"]["code"], good["run"]["stdout"]) == (0, "hi\n")
    bad = execute(http, "int main( {", language="cpp")
    assert bad["compile"]["code"] == 1
    assert bad["run"] == bad["compile"]


def test_files_come_in_three_encodings(http: httpx.Client) -> None:
    files = [
        {
            "name": "main.py",
            "content": base64.b64encode(b"print(open('a').read(), open('b').read(), end='')").decode(),
            "encoding": "base64",
        },
        {"name": "a", "content": b"A".hex(), "encoding": "hex"},
        {"name": "b", "content": "B"},
    ]
    body = {"language": "python", "version": "3.x", "files": files}
    assert http.post("/piston/api/v2/execute", json=body).json()["run"]["stdout"] == "A B"


def test_what_runs_here_is_listed_with_versions_that_are_taken(http: httpx.Client) -> None:
    listed = http.get("/piston/api/v2/runtimes").json()
    assert "python" in [one["language"] for one in listed]
    packages = http.get("/piston/api/v2/packages").json()
    assert [(one["language"], one["language_version"]) for one in packages] == [
        (one["language"], one["version"]) for one in listed
    ]
    for one in listed:
        for name in (one["language"], *one["aliases"]):
            execute(http, "", language=name, version=one["version"])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"language": "cms_ioi"}, "cms_ioi-* runtime is unknown"),
        ({"version": "2.7"}, "python-2.7 runtime is unknown"),
        ({"files": []}, "files"),
        ({"files": [{"content": "?", "encoding": "base64"}]}, "base64"),
        ({"files": [{"content": "/w==", "encoding": "base64"}]}, "UTF-8"),
        ({"files": [{"name": "a"}]}, "content"),
        ({"args": ["-x"]}, "args"),
        ({"run_timeout": 3_600_000}, "600 s"),
        ({"files": [{"content": ""}, {"name": "../x", "content": ""}]}, "../x"),
    ],
)
def test_what_cannot_be_run_is_a_400_and_says_why(
    http: httpx.Client, change: dict[str, Any], word: str
) -> None:
    body = {"language": "python", "version": "*", "files": [{"content": "print(1)"}], **change}
    answer = http.post("/piston/api/v2/execute", json=body)
    assert (answer.status_code, word in answer.json()["message"]) == (400, True)


def test_another_content_type_is_a_415(http: httpx.Client) -> None:
    answer = http.post(
        "/piston/api/v2/execute", content=b"language=python", headers={"Content-Type": "text/plain"}
    )
    assert (answer.status_code, answer.json().keys()) == (415, {"message"})


def test_keys_count_and_a_full_queue_is_a_503(narrow_service: ServiceProcess, keys: dict[str, str]) -> None:
    def post(prefix: str, number: int = 0) -> int:
        code = f"import time; time.sleep(1); print({time.monotonic_ns()}, {number})"
        body = {"language": "python", "version": "*", "files": [{"content": code}]}
        return narrow.post(f"{prefix}/piston/api/v2/execute", json=body).status_code

    with httpx.Client(base_url=narrow_service.url, timeout=300) as narrow, ThreadPoolExecutor(4) as threads:
        assert [post(""), post(f"/t/{keys['score']}")] == [401, 403]
        assert narrow.get("/piston/api/v2/runtimes").status_code == 401
        statuses = sorted(threads.map(lambda number: post(f"/t/{keys['run']}", number), range(4)))
    assert statuses == [200, 503, 503, 503]
