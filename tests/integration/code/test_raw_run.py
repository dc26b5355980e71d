"""`POST /v1/run`: programs as they are, contained as candidates."""

import asyncio
import base64
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from countermark_service.api.app import create_app
from countermark_service.assembly import Service, assemble
from countermark_service.settings import load_settings

pytestmark = pytest.mark.asyncio(loop_scope="module")


CPP = """
#include <cstdio>
int main() { int a, b; scanf("%d %d", &a, &b); printf("%d", a + b); }
"""
JAVASCRIPT = """
const numbers = require("fs").readFileSync(0, "utf8").split(" ").map(Number);
console.log(numbers[0] + numbers[1]);
"""
OUT_OF_REACH = """
import os, socket
for attempt in (
    lambda: socket.create_connection(("127.0.0.1", 80), 1),
    lambda: open("/etc/shadow"),
    lambda: open("/x", "w"),
    lambda: os.execv("/bin/sh", ["sh", "-c", "echo reached"]),
):
    try:
        attempt()
        print("reached")
    except OSError:
        print("held")
"""


async def run(client: httpx.AsyncClient, code: str, language: str = "python", **more: Any) -> dict[str, Any]:
    """Run a program and return the answer's body."""
    answer = await client.post("/v1/run", json={"language": language, "code": code, **more})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_a_program_answers_its_input(client: httpx.AsyncClient) -> None:
    ran = await run(client, "import sys\nprint(input()[::-1])\nprint('e', file=sys.stderr)", stdin="abc\n")

    assert (ran["status"], ran["exit_code"], ran["stdout"], ran["stderr"]) == ("ok", 0, "cba\n", "e\n")
    assert ran["level"] in ("namespaces", "landlock")
    assert ran["version"].startswith("Python 3.11.")
    assert ran["cpu_seconds"] > 0
    assert ran["peak_memory_mib"] > 0


async def test_files_are_there_and_gone_with_the_program(client: httpx.AsyncClient) -> None:
    files = {"in/data.bin": base64.b64encode(b"\xff\x00").decode()}

    first = await run(client, "print(open('in/data.bin', 'rb').read()); open('left', 'w')", files=files)
    second = await run(client, "import os; print(os.listdir('.'))")

    assert first["stdout"] == "b'\\xff\\x00'\n"
    assert second["stdout"] == "[]\n"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import sys; sys.exit(3)", "runtime_error"),
        ("import ctypes; ctypes.string_at(0)", "runtime_error"),
        ("def f(:", "compile_error"),
        ("while True: pass", "time_limit"),
        ("while True: print('x' * 1000)", "output_limit"),
    ],
)
async def test_each_way_to_end_has_its_status(client: httpx.AsyncClient, code: str, status: str) -> None:
    limits = {"cpu_seconds": 0.3, "wall_seconds": 2, "stdout_bytes": 10000}

    assert (await run(client, code, limits=limits))["status"] == status


async def test_the_network_and_the_machine_are_out_of_reach(client: httpx.AsyncClient) -> None:
    ran = await run(client, OUT_OF_REACH)

    assert ran["stdout"].split() == ["held"] * 4


@pytest.mark.parametrize(
    ("language", "command", "code"), [("cpp", "g++", CPP), ("javascript", "node", JAVASCRIPT)]
)
async def test_other_languages_run(client: httpx.AsyncClient, language: str, command: str, code: str) -> None:
    if shutil.which(command) is None:
        pytest.skip(f"{command} is not installed")

    ran = await run(client, code, language, stdin="20 22")

    assert (ran["status"], ran["stdout"].strip()) == ("ok", "42")
    assert "Python" not in ran["version"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"language": "perl", "code": ""}, "language"),
        ({"language": "python"}, "code"),
        ({"language": "python", "code": "", "more": 1}, "more"),
        ({"language": "python", "code": "", "limits": {"cpu_seconds": 100000}}, "limits"),
        ({"language": "python", "code": "", "limits": {"patience": 1}}, "limits.patience"),
        ({"language": "python", "code": "", "limits": {"memory_mib": 64.5}}, "limits"),
        ({"language": "python", "code": "", "files": {"a": "?"}}, "files.a"),
        ({"language": "python", "code": "", "files": {"../a": ""}}, None),
        ({"language": "python", "code": "", "files": {"/etc/a": ""}}, None),
        ({"language": "python", "code": "", "files": {"a": "", "a/b": ""}}, None),
        ({"language": "python", "code": "", "files": {"a/b/c": "", "a/b": ""}}, None),
        ({"language": "python", "code": "", "files": {"ü" * 128: ""}}, None),
    ],
)
async def test_what_cannot_be_run_is_refused_and_says_where(
    client: httpx.AsyncClient, body: dict[str, Any], field: str | None
) -> None:
    answer = await client.post("/v1/run", json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json().get("field") == field


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"language": "python", "code": "print(1)", "code": "print(2)"}', "code"),
        (b'{"language": "python", "code": "", "files": {"a": "YQ==", "a": "Yg=="}}', "a"),
        (
            b'{"language": "python", "code": "", "limits": {"cpu_seconds": 1, "cpu_\\u0073econds": 9}}',
            "cpu_seconds",
        ),
    ],
)
async def test_a_key_that_is_given_twice_is_refused_and_nothing_runs(
    client: httpx.AsyncClient, body: bytes, key: str
) -> None:
    answer = await client.post("/v1/run", content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["field"]) == (422, key)


async def test_a_key_needs_the_scope_run(client: httpx.AsyncClient, service: Service) -> None:
    scoring, only_scores = service.access.add(["score"], "a trainer")
    running, only_runs = service.access.add(["run"], "a tool")
    try:
        body = {"language": "python", "code": "print(1)"}
        statuses = [
            (await client.post("/v1/run", json=body, headers=headers)).status_code
            for headers in (
                {},
                {"authorization": f"Bearer {scoring}"},
                {"authorization": f"Bearer {running}"},
            )
        ]
    finally:
        service.access.remove(only_scores.id)
        service.access.remove(only_runs.id)

    assert statuses == [401, 403, 200]


async def test_a_full_queue_answers_429(tmp_path: Path) -> None:
    few = {"data": tmp_path / "data", "sandbox_slots": 1, "sandbox_queue": 2}
    app = create_app(assemble(load_settings(few, environment={})))
    transport = httpx.ASGITransport(app=app)
    body = {"language": "python", "code": "import time; time.sleep(0.5)"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service", timeout=300) as client,
    ):
        answers = await asyncio.gather(*(client.post("/v1/run", json=body) for _ in range(5)))

    assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429, 429]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["code"] == "saturated"
    assert int(refused.headers["retry-after"]) >= 1
