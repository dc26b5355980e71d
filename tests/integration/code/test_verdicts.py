"""What a code verdict says: surroundings, rows, and nothing of the hidden tests."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from countermark_service.api.app import create_app
from countermark_service.assembly import assemble
from countermark_service.settings import load_settings
from tests.integration.code.conftest import Score, fenced, pinned
from tests.support import write_bundle

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "zebra-4711-quagga"
"""An expected output; nothing of a candidate's surroundings may hold it."""
SEARCH = """
import gc, os, sys
needle = "-".join(["zebra", "4711", "quagga"])
found = []
for thing in gc.get_objects():
    if isinstance(thing, dict) and thing is not globals():
        found += [key for key, value in list(thing.items()) if isinstance(value, str) and needle in value]
if any(needle in part for part in [*sys.argv, *os.environ.values()]):
    found.append("environment")
for top, folders, names in os.walk("/"):
    if top.startswith(("/proc", "/usr", "/lib")):
        folders.clear()
        continue
    for name in names:
        try:
            with open(os.path.join(top, name), errors="replace") as file:
                if needle in file.read(1 << 20):
                    found.append(top)
        except OSError:
            pass
for descriptor in range(3, 200):
    try:
        if needle.encode() in os.pread(descriptor, 1 << 20, 0):
            found.append(descriptor)
    except OSError:
        pass
print("found" if found else "nothing", found)
"""


async def test_a_verdict_names_level_interpreter_and_limits(score: Score) -> None:
    [verdict] = await score(
        "python-stdio",
        {"response": fenced("print(1)"), "reference": {"tests": [{"input": "", "output": "1"}]}},
    )

    assert verdict["surroundings"]["containment"] in ("namespaces", "landlock")
    assert verdict["surroundings"]["candidate"].startswith("Python 3.11.")
    assert verdict["detail"]["limits"] == {"cpu_seconds": 2.0, "wall_seconds": 6.0, "memory_mib": 512}


async def test_expected_outputs_are_nowhere_that_a_candidate_can_look(score: Score) -> None:
    tests = [{"input": "", "output": "nothing []"}, {"input": "", "output": SECRET}]

    [verdict] = await score(
        "python-stdio",
        {"response": fenced(SEARCH), "reference": {"tests": tests}, "params": {"score": "fraction"}},
    )

    assert [row["class"] for row in verdict["detail"]["tests"]] == ["accepted", "wrong_answer"]


@pytest.mark.parametrize(
    "code", ["print(input())", "raise ValueError(input())", "import sys; sys.exit(input())"]
)
async def test_a_verdict_shows_nothing_of_hidden_tests(score: Score, code: str) -> None:
    tests = [{"input": f"{SECRET}-input\n", "output": f"{SECRET}-output\n"}]
    item = {"response": fenced(code), "reference": {"tests": tests}}

    [hidden] = await score("python-stdio", item)
    [shown] = await score("python-stdio", {**item, "params": {"show_tests": True}})

    assert hidden["score"] == shown["score"] == 0.0
    assert SECRET not in json.dumps(hidden)
    assert SECRET in json.dumps(shown)


async def test_what_is_said_around_a_program_costs_no_second_run(client: httpx.AsyncClient) -> None:
    reference = {"tests": [{"input": "", "output": "once"}]}
    items = [
        {
            "response": f"Attempt {number}.\n{fenced('print(chr(111) + chr(110) + chr(99) + chr(101))')}",
            "reference": reference,
        }
        for number in range(16)
    ]

    answer = await client.post("/v1/score", json={"verifier": "python-stdio:1.0.0", "items": items})

    body = answer.json()
    assert [verdict["score"] for verdict in body["verdicts"]] == [1.0] * 16
    assert body["stats"]["cached"] == 15


async def test_a_hostile_neighbour_costs_the_others_nothing(score: Score) -> None:
    hostile = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    limits = {"limits": {"cpu_seconds": 0.3, "wall_seconds": 1.0}}
    reference = {"tests": [{"input": "20 22", "output": "42"}]}
    items: list[dict[str, Any]] = [
        {"response": fenced(f"print(sum(map(int, input().split())))  # {n}"), "reference": reference}
        for n in range(12)
    ]
    items[3] = {"response": fenced(hostile), "reference": reference, "params": limits}
    items[7] = {"response": fenced("while True: pass"), "reference": reference, "params": limits}

    verdicts = await score("python-stdio", *items)

    assert {verdict["outcome"] for verdict in verdicts} == {"scored"}
    assert [verdict["score"] for verdict in verdicts] == [0.0 if n in (3, 7) else 1.0 for n in range(12)]


async def test_below_the_least_level_code_verifiers_are_unavailable_and_others_score(
    shared_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "environments").symlink_to(shared_root / "environments")
    monkeypatch.setenv("PATH", str(tmp_path))  # no bubblewrap there, so no namespaces
    app = create_app(assemble(load_settings({"data": data}, environment={})))
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service", timeout=300) as client,
    ):
        item = {"response": fenced("print(1)"), "reference": {"tests": [{"input": "", "output": "1"}]}}
        code = await client.post("/v1/score", json={"verifier": "python-stdio:1.0.0", "items": [item]})
        raw = await client.post("/v1/run", json={"language": "python", "code": "print(1)"})
        rule = await client.post(
            "/v1/score", json={"verifier": "exact:1.0.0", "items": [{"response": "a", "reference": "a"}]}
        )

        ready = (await client.get("/readyz")).json()

    assert (code.status_code, code.json()["code"]) == (503, "unavailable")
    assert "bubblewrap" in code.json()["detail"]
    assert (ready["sandbox"]["available"], ready["sandbox"]["level"]) == (False, None)
    assert (raw.status_code, raw.json()["code"]) == (503, "unavailable")
    assert rule.json()["verdicts"][0]["score"] == 1.0


async def test_a_bundle_that_asks_for_nonsense_is_an_error_and_not_a_score(
    shared_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "bundles"
    folder = write_bundle(root, PLANNER, name="nonsense")
    manifest = (folder / "verifier.toml").read_text()
    manifest = manifest.replace('runtime = "python"', 'runtime = "sandbox"').replace(
        'entry = "verifier:verify"\n', ""
    )
    (folder / "verifier.toml").write_text(manifest + SANDBOX)
    data = tmp_path / "data"
    data.mkdir()
    (data / "environments").symlink_to(shared_root / "environments")
    app = create_app(assemble(load_settings({"data": data, "bundles": (root,)}, environment={})))
    transport = httpx.ASGITransport(app=app)
    wishes = ["no run", "unknown field", "bad limit", "file outside", "for ever", "no list", "raises"]
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service", timeout=300) as client,
    ):
        items = [{"response": wish, "reference": ""} for wish in wishes]
        answer = await client.post("/v1/score", json={"verifier": "nonsense:1.0.0", "items": items})

    verdicts = answer.json()["verdicts"]
    assert [(verdict["outcome"], verdict["score"]) for verdict in verdicts] == [("error", None)] * len(wishes)
    assert [verdict["detail"]["code"] for verdict in verdicts] == [
        *["invalid_plan"] * 2, *["invalid_run"] * 2, *["invalid_plan"] * 2, "verifier_raised",
    ]  # fmt: skip


SANDBOX = """
[sandbox]
language = "python"
plan = "verifier:plan"
judge = "verifier:judge"
"""
PLANNER = """
RUN = {"kind": "stdio", "code": "print(1)", "inputs": [""]}
def plan(item):
    wish = item["response"]
    if wish == "raises":
        raise ValueError("no")
    return {"run": {
        "no run": [{"kind": "shell"}], "unknown field": [{**RUN, "expected": "1"}],
        "bad limit": [{**RUN, "limits": {"memory_mib": 1}}],
        "file outside": [{**RUN, "files": {"../x": "1"}}], "for ever": [RUN], "no list": 3,
    }[wish]}
def judge(item, results):
    return {"run": [RUN]}
"""


FLOOD = "import sys\nsys.stdout.buffer.write(b'\\xff' * 1_000_000)"
HOSTILE_VALUES = {
    "half a character": "def f(): return '\\ud800'",
    "half a character in an exception": "def f(): raise ValueError('\\ud800\\udfff')",
    "half a character in the exception's name": "def f(): raise type('\\ud800', (Exception,), {})('x')",
    "deep": "def f():\n    x = 0\n    for _ in range(195): x = [x]\n    return x",
    "deep keys": "def f():\n    x = 0\n    for _ in range(195): x = (x,)\n    return {x: frozenset([x])}",
    "many": "def f(): return list(range(90_000))",
    "nan": "def f(): return float('nan')",
    "a large number": "def f(): return 10 ** 60_000",
    "a text that looks tagged": "def f(): return ['i', 'zz']",
    "an empty value": "def f(): return {}",
}


async def test_a_flood_of_output_in_every_test_is_wrong_and_no_error(score: Score) -> None:
    tests = [{"input": "", "output": "1"}] * 60

    [verdict] = await score(
        "python-stdio",
        {"response": fenced(FLOOD), "reference": {"tests": tests}, "params": {"score": "fraction"}},
    )

    assert (verdict["outcome"], verdict["score"], verdict["detail"]["class"]) == (
        "scored",
        0.0,
        "wrong_answer",
    )
    assert len(verdict["detail"]["tests"]) == 60


@pytest.mark.parametrize("show", [False, True])
async def test_no_value_that_a_candidate_returns_is_an_error(score: Score, show: bool) -> None:
    reference = {"entry_point": "f", "tests": [{"args": [], "expected": 1}]}
    params = {"show_tests": show, "limits": {"answer_bytes": 1 << 20}}

    verdicts = await score(
        "python-call",
        *(
            {"response": fenced(code), "reference": reference, "params": params}
            for code in HOSTILE_VALUES.values()
        ),
    )
    asserted = await score(
        "python-assert",
        *(
            {"response": fenced(code), "reference": ["assert f() == 1", "assert str(f()) == '1'"]}
            for code in HOSTILE_VALUES.values()
        ),
    )

    ended = dict(zip(HOSTILE_VALUES, zip(verdicts, asserted, strict=True), strict=True))
    assert {
        name: both
        for name, both in ended.items()
        if any(one["outcome"] != "scored" or one["score"] for one in both)
    } == {}


async def test_a_program_that_the_clock_ended_is_run_again_the_next_time(client: httpx.AsyncClient) -> None:
    """On a busy machine the clock ends programs that had CPU time left: no such verdict may stay."""
    tests = {"tests": [{"input": "", "output": "1\n"}]}
    short, long = ({"cpu_seconds": 0.2, "wall_seconds": wall} for wall in (0.6, 60))
    waits = fenced("import time\ntime.sleep(60)")
    computes = fenced("while True: pass")
    call = {"entry_point": "f", "tests": [{"args": [], "expected": 1}]}
    asserts = {"entry_point": "f", "test_list": ["assert f() == 1"]}
    inside = fenced("import time\ndef f():\n    time.sleep(60)")

    async def cached(
        verifier: str, response: str, reference: dict[str, Any], limits: dict[str, float] = short
    ) -> list[bool]:
        item = {"response": response, "reference": reference, "params": {"limits": limits}}
        told = []
        for _ in range(2):
            answer = await client.post("/v1/score", json={"verifier": pinned(verifier), "items": [item]})
            (verdict,) = answer.json()["verdicts"]
            assert (verdict["outcome"], verdict["score"]) == ("scored", 0.0)
            assert verdict["detail"]["class"] == "time_limit"
            told.append(verdict["cached"])
        return told

    assert await cached("python-stdio", waits, tests) == [False, False]
    assert await cached("python-call", inside, call) == [False, False]
    assert await cached("python-assert", inside, asserts) == [False, False]
    assert await cached("python-stdio", computes, tests, long) == [False, True]
