"""Judges through the whole: settings, API, metrics, command line; and under the loop that serves."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from countermark import AsyncClient, InvalidInputError
from countermark_service.api.app import create_app
from countermark_service.assembly import assemble, build_transcripts
from countermark_service.errors import SettingsError
from countermark_service.judge import Transcript, archive_line, read_endpoints
from countermark_service.judge.transcripts import id_of, pointers
from countermark_service.settings import Settings
from tests.integration.judge import scripted
from tests.integration.judge.parts import EQUIVALENCE, MODEL
from tests.integration.judge.scripted import ScriptedJudge, status
from tests.support import REPOSITORY, ServiceProcess

BODY: dict[str, Any] = {
    "verifier": EQUIVALENCE,
    "items": [
        {"response": "\\boxed{12}", "reference": "a dozen", "prompt": "How many?"},
        {"response": ":", "reference": "a dozen", "prompt": "How many?"},
    ],
}


def write_endpoints(folder: Path, url: str) -> Path:
    """Write the operator's table."""
    file = folder / "judges.toml"
    file.write_text(
        f'[models."{MODEL}"]\nbase_url = "{url}"\nprobe = "never"\nprice_in = 1\nbackoff_seconds = 0.01\n'
    )
    return file


async def scored_over_http(server: ScriptedJudge, tmp_path: Path) -> tuple[dict[str, Any], str]:
    """Score through an app with its own lifespan; return the reply and the metrics."""
    settings = Settings(data=tmp_path / "data", judges=write_endpoints(tmp_path, server.url))
    app = create_app(assemble(settings))
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://x") as http,
    ):
        reply = await http.post("/v1/score", json=BODY)
        metrics = await http.get("/metrics")
    return reply.json(), metrics.text


def test_a_request_is_judged_under_the_serving_loop_and_counted(tmp_path: Path) -> None:
    async def run() -> tuple[dict[str, Any], str]:
        async with ScriptedJudge(faults=[status(503)]) as server:
            return await scored_over_http(server, tmp_path)

    reply, metrics = uvloop.run(run())
    judged, refused = reply["verdicts"]
    assert (judged["score"], judged["detail"]["attempts"]) == (1.0, 2)
    assert (refused["outcome"], refused["score"], refused["detail"]["reason"]) == (
        "no_answer",
        0.0,
        "punctuation",
    )
    for event, count in {
        "calls": 1,
        "retries": 1,
        "prompt_tokens": 100,
        "refused_unasked": 1,
        "replays": 0,
    }.items():
        assert f'countermark_judge_events_total{{event="{event}",model="{MODEL}"}} {count:.1f}' in metrics
    assert f'countermark_judge_waiting{{model="{MODEL}"}} 0.0' in metrics


async def test_a_reply_says_when_the_transcripts_of_its_verdicts_cannot_be_kept(
    server: ScriptedJudge, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "transcripts.sqlite").write_bytes(b"no database " * 1000)
    reply, _ = await scored_over_http(server, tmp_path)
    assert (reply["verdicts"][0]["outcome"], reply["degraded"]) == ("scored", ["transcripts_unavailable"])


def test_a_judge_that_fails_is_counted_by_its_code_and_the_metrics_go_on(service_url: str) -> None:
    reply = httpx.post(f"{service_url}/v1/score", json=BODY, timeout=60).json()
    metrics = httpx.get(f"{service_url}/metrics")

    (failed, refused) = reply["verdicts"]
    assert (failed["outcome"], failed["detail"]["code"]) == ("error", "judge_no_endpoint")
    assert refused["outcome"] == "no_answer"
    assert metrics.status_code == 200
    counted = f'countermark_judge_failures_total{{code="judge_no_endpoint",model="{MODEL}"}} '
    assert counted in metrics.text


@pytest.fixture
async def running(server: ScriptedJudge, tmp_path: Path) -> AsyncIterator[str]:
    """Address of a real service whose judge is the scripted server."""
    process = ServiceProcess(
        tmp_path / "data", {"COUNTERMARK_JUDGES": str(write_endpoints(tmp_path, server.url))}
    )
    await asyncio.to_thread(process.start)
    yield process.url
    await asyncio.to_thread(process.stop)


async def test_a_request_says_where_its_judges_replies_come_from(server: ScriptedJudge, running: str) -> None:
    items = BODY["items"][:1]
    async with AsyncClient(running) as client:
        nothing_there = await client.score(EQUIVALENCE, items, judge_mode="replay")
        asked = await client.score(EQUIVALENCE, items)
        server.reply = lambda body: "DIFFERENT"
        again = await client.score(EQUIVALENCE, items, judge_mode="fresh")
        replayed = await client.score(EQUIVALENCE, items, judge_mode="replay")
        stored = await client.score(EQUIVALENCE, items, judge_mode="auto")
        streamed = [entry async for entry in client.stream(EQUIVALENCE, items, judge_mode="fresh")]
    (missing,) = nothing_there.verdicts
    assert (missing.outcome, missing.score, missing.detail["code"]) == ("error", None, "transcript_missing")
    assert [each.rewards for each in (asked, again, replayed, stored)] == [[1.0], [0.0], [1.0], [1.0]]
    assert [entry.verdict.score for entry in streamed] == [0.0]
    assert len(server.seen) == 3


async def test_a_mode_that_does_not_exist_is_refused_by_name(running: str) -> None:
    async with httpx.AsyncClient(timeout=300) as http:
        reply = await http.post(f"{running}/v1/score", json=BODY | {"judge_mode": "guess"})
    assert (reply.status_code, reply.json()["field"]) == (422, "judge_mode")
    with pytest.raises(InvalidInputError, match="judge_mode is 'guess'"):
        async with AsyncClient(running) as client:
            await client.score(EQUIVALENCE, BODY["items"], judge_mode="guess")  # type: ignore[arg-type]


async def test_a_file_is_scored_in_the_mode_that_the_command_names(
    server: ScriptedJudge, running: str, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(BODY["items"][0]) + "\n")
    words = ["score", str(tmp_path / "rows.jsonl"), "--verifier", EQUIVALENCE, "--judge-mode", "replay"]
    for where in (["--server", running], ["--data", str(tmp_path / "elsewhere")]):
        line = [sys.executable, "-m", "countermark_service", *words, *where]
        told = await asyncio.to_thread(subprocess.run, line, capture_output=True, text=True, check=False)
        assert "transcript_missing" in told.stdout, told.stderr
    assert server.seen == []


async def test_one_transcript_is_shown_as_the_model_got_it_and_as_no_terminal_is_harmed_by(
    server: ScriptedJudge, tmp_path: Path
) -> None:
    server.reply = lambda body: "\x1b[2J\x9bH the same\u202e, says é\nSAME"
    reply, _ = await scored_over_http(server, tmp_path)
    (name,) = reply["verdicts"][0]["detail"]["transcripts"]

    shown = await command("show", name, data=tmp_path / "data")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"model        {MODEL}\n" in shown.stdout
    assert '--- user\nquestion: "How many?"\nreference answer: "a dozen"\n' in shown.stdout
    assert shown.stdout.endswith("--- reply\n\\x1b[2J\\x9bH the same\\u202e, says é\nSAME\n")

    whole = json.loads((await command("show", name, "--json", data=tmp_path / "data")).stdout)
    kept = (await command("export", "-", data=tmp_path / "data")).stdout
    assert whole == json.loads(kept)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sha256:" + "0" * 64, "no transcript sha256:0+ is kept here"),
        ("exact:1.0.0", "'exact:1.0.0' is no id of a transcript"),
    ],
)
async def test_a_transcript_that_is_not_there_is_told_and_nothing_is_made(
    tmp_path: Path, name: str, said: str
) -> None:
    told = await command("show", name, data=tmp_path / "data")
    assert (told.returncode, told.stdout) == (1, "")
    assert re.search(said, told.stderr)
    assert not (tmp_path / "data").exists()


async def test_transcripts_move_to_a_second_machine_by_the_command_line(
    server: ScriptedJudge, tmp_path: Path
) -> None:
    reply, _ = await scored_over_http(server, tmp_path)
    archive = tmp_path / "moved.jsonl"
    told = await command("export", str(archive), data=tmp_path / "data")
    assert (told.returncode, told.stderr) == (0, "1 transcripts\n")
    told = await command("import", str(archive), "--json", data=tmp_path / "second")
    assert json.loads(told.stdout) == {"transcripts": 1, "new": 1, "other_reply_here": 0}
    told = await command("import", str(archive), "--json", data=tmp_path / "second")
    assert json.loads(told.stdout)["new"] == 0
    settings = Settings(data=tmp_path / "second", judge_mode="replay")
    service = assemble(settings)
    app = create_app(service)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://x") as http,
    ):
        replayed = (await http.post("/v1/score", json=BODY)).json()
    assert replayed["verdicts"] == reply["verdicts"]
    archive.write_bytes(archive.read_bytes().replace(b"SAME", b"FAKE"))
    told = await command("import", str(archive), data=tmp_path / "third")
    assert told.returncode == 1
    assert "line 1: the id" in told.stderr


async def test_what_is_replayed_here_is_replayed_there_however_often_was_asked(
    server: ScriptedJudge, running: str, tmp_path: Path
) -> None:
    items = [{**BODY["items"][0], "response": f"\\boxed{{{n}}}"} for n in range(6)]
    async with AsyncClient(running) as client:
        first = await client.score(EQUIVALENCE, items)
        for _ in range(2):
            again = await client.score(EQUIVALENCE, items, judge_mode="fresh")
        here = await client.score(EQUIVALENCE, items, judge_mode="replay")
    archive = tmp_path / "moved.jsonl"
    assert (await command("export", str(archive), data=tmp_path / "data")).stderr == "18 transcripts\n"
    await command("import", str(archive), data=tmp_path / "second")
    second = ServiceProcess(tmp_path / "second", {"COUNTERMARK_JUDGE_MODE": "replay"})
    await asyncio.to_thread(second.start)
    try:
        async with AsyncClient(second.url) as client:
            there = await client.score(EQUIVALENCE, items)
    finally:
        await asyncio.to_thread(second.stop)
    details = [[one.detail for one in each.verdicts] for each in (first, again, here, there)]
    assert details[0] == details[2] == details[3] != details[1]


async def test_a_stream_without_an_endpoint_judges_what_needs_none(service_url: str) -> None:
    items = [
        {"response": "\\boxed{12}", "reference": "12", "prompt": "How many?"},
        {"response": "The answer is a dozen", "reference": "12", "prompt": "How many?"},
    ]
    async with AsyncClient(service_url) as client:
        entries = [entry async for entry in client.stream("composite/numeric-then-judge:1.4.0", items)]
    verdicts = {entry.index: entry.verdict for entry in entries}
    assert [verdicts[n].outcome for n in range(2)] == ["scored", "error"]
    assert verdicts[1].detail["children"][1]["detail"]["code"] == "judge_no_endpoint"


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
async def test_an_archive_is_imported_from_a_pipe(tmp_path: Path, name: str) -> None:
    shipped = REPOSITORY / "verifiers" / EQUIVALENCE.replace(":", "/") / "transcripts.jsonl"
    content = shipped.read_text()
    lines = content.count("\n")
    told = await command("import", name, "--json", data=tmp_path, stdin=content)
    assert json.loads(told.stdout) == {"transcripts": lines, "new": lines, "other_reply_here": 0}
    told = await command("export", "-", data=tmp_path)
    assert sorted(told.stdout.splitlines()) == sorted(content.splitlines())
    told = await command("import", name, data=tmp_path, stdin=content + "half a line")
    assert told.returncode == 1
    source = "standard input" if name == "-" else name
    assert f"{source}, line {lines + 1}: " in told.stderr


async def test_an_import_counts_what_is_new_and_each_question_once(tmp_path: Path) -> None:
    def line(question: str, reply: str) -> str:
        raw = scripted.completion(reply).decode()
        return archive_line(
            Transcript(request={"model": question}, ask=0, raw=raw, served_as="m").encode()
        ).decode()

    twice = (line("a", "SAME") + line("b", "SAME")) * 2
    told = await command("import", "-", "--json", data=tmp_path, stdin=twice)
    assert json.loads(told.stdout) == {"transcripts": 4, "new": 2, "other_reply_here": 0}
    others = line("a", "DIFFERENT") * 2 + line("a", "UNCLEAR") + line("b", "SAME")
    told = await command("import", "-", "--json", data=tmp_path, stdin=others)
    assert json.loads(told.stdout) == {"transcripts": 4, "new": 2, "other_reply_here": 1}


async def test_import_mends_a_pointer_to_a_transcript_that_was_evicted(tmp_path: Path) -> None:
    def made(word: str) -> Transcript:
        raw = scripted.completion(word).decode()
        return Transcript(request={"model": MODEL}, ask=0, raw=raw, served_as="m")

    old, new = made("SAME"), made("DIFFERENT")
    await command("import", "-", data=tmp_path, stdin=archive_line(old.encode()).decode())
    store = build_transcripts(Settings(data=tmp_path))
    await store.discard_many([id_of(old.encode())])
    await store.close()
    told = await command("import", "-", "--json", data=tmp_path, stdin=archive_line(new.encode()).decode())
    assert json.loads(told.stdout) == {"transcripts": 1, "new": 1, "other_reply_here": 0}
    store = build_transcripts(Settings(data=tmp_path))
    assert await store.get_many(pointers(new.question(), "")) == [id_of(new.encode())]
    await store.close()


async def test_an_export_of_one_model_leaves_out_what_names_none(tmp_path: Path) -> None:
    odd = Transcript(request={}, ask=0, raw=scripted.completion("SAME").decode(), served_as="m").encode()
    store = build_transcripts(Settings(data=tmp_path))
    await store.put_many({id_of(odd): odd})
    await store.close()
    told = await command("export", "-", "--model", MODEL, data=tmp_path)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "0 transcripts\n")


async def test_probe_prints_what_was_found_and_fails_where_nobody_answers(
    server: ScriptedJudge, tmp_path: Path
) -> None:
    file = write_endpoints(tmp_path, server.url)
    told = await command("probe", "--json", data=tmp_path / "data", judges=file)
    facts = json.loads(told.stdout)["models"][MODEL]
    assert (told.returncode, facts["temperature"], facts["calls"]) == (0, False, len(server.seen))
    told = await command("probe", "no-such-model", data=tmp_path / "data", judges=file)
    assert told.returncode == 1
    assert "no endpoint here is for the model 'no-such-model'" in told.stderr


async def command(
    *words: str, data: Path, judges: Path | None = None, stdin: str | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run `countermark judge …` as a process of its own, while this loop serves."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COUNTERMARK_")}
    environment |= {
        "COUNTERMARK_DATA": str(data),
        **({} if judges is None else {"COUNTERMARK_JUDGES": str(judges)}),
    }
    line = [sys.executable, "-m", "countermark_service", "judge", *words]
    return await asyncio.to_thread(
        subprocess.run,
        line,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[models.m]\n", "models.m.base_url"),
        ('[models.m]\nbase_url = "ftp://x"\n', "must be http"),
        ('[models.m]\nbase_url = "http://user:pw@x"\n', "no user, password"),
        ('[models.m]\nbase_url = "http://x"\nkey = "sk-1"\n', "models.m.key"),
        ('[models.m]\nbase_url = "http://x/v1/chat/completions"\n', "must end before /chat/completions"),
        ('[models.m]\nbase_url = "http://x"\nconcurency = 3\n', "did you mean concurrency"),
        ('[models.m]\nbase_url = "http://x"\nurl = 3\n', "there are base_url, key_env"),
        (
            '[models.m]\nbase_url = "http://x"\nkey_env = "sk-1"\n',
            "must be the name of an environment variable",
        ),
        ('[models.m]\nbase_url = "http://x"\nconcurrency = 0\n', "models.m.concurrency"),
        ('[endpoints.m]\nbase_url = "http://x"\n', 'write one table [models."MODEL"]'),
        ("models = 1\n", 'write one table [models."MODEL"]'),
        ("not toml", "cannot be read"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_its_key(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "judges.toml"
    file.write_text(content)
    with pytest.raises(SettingsError, match="judges") as caught:
        read_endpoints(file)
    assert said in str(caught.value)
    assert "sk-1" not in str(caught.value)  # what may be a key is in no log
    assert "pw" not in str(caught.value)
