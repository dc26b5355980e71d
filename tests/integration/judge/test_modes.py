"""Where answers come from: transcripts, the model, and what may be kept of either."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from countermark_service.errors import CountermarkError
from countermark_service.judge import JudgeMode, ProbeBook, Transcript, read_archive
from countermark_service.judge import judging as judge_mode
from countermark_service.judge.transcripts import archive_line, id_of, written
from countermark_service.model import Outcome
from countermark_service.store.transcripts import scan_sqlite
from tests.integration.judge import scripted
from tests.integration.judge.parts import MODEL, Judging, item
from tests.integration.judge.scripted import ScriptedJudge, says, status

Make = Callable[..., Judging]
ITEMS = [item(f"\\boxed{{{n}}}") for n in range(6)]


def mixed(server: ScriptedJudge) -> None:
    """Let the next six questions end in six ways."""
    server.faults = [
        says("SAME"), status(500), says("DIFFERENT"), says("hm"), says("SAME"), says("UNCLEAR"),
        says(None, message={"refusal": "no"}), says("SAME", model="other", system_fingerprint="fp_x"),
    ]  # fmt: skip


async def test_a_stored_verdict_asks_nobody(judging: Make, server: ScriptedJudge) -> None:
    made = judging()
    first = await made.verdict(item())
    ((second, cached),) = await made.scored([item()])
    assert (second.json, cached) == (first.json, True)
    assert len(server.seen) == 1


async def test_another_response_with_the_same_final_answer_is_answered_from_the_transcript(
    judging: Make, server: ScriptedJudge
) -> None:
    made = judging()
    first = await made.verdict(item("Short. \\boxed{12}"))
    ((second, cached),) = await made.scored([item("A long way round. \\boxed{12}")])
    assert (second.json, cached) == (first.json, False)
    assert len(server.seen) == 1
    assert made.asker.counters.of(MODEL).replays == 1


async def test_fresh_asks_again_and_neither_finds_nor_leaves_a_stored_verdict(
    judging: Make, server: ScriptedJudge, tmp_path: Path
) -> None:
    old = judging()
    assert (await old.verdict(item())).score == 1.0
    await old.close()
    server.reply = lambda body: "DIFFERENT"
    fresh = judging(mode="fresh")
    assert [(await fresh.scored([item()]))[0][1] for _ in range(2)] == [False, False]
    assert (await fresh.verdict(item())).score == 0.0
    assert len(server.seen) == 4
    await fresh.close()
    assert (await judging().verdict(item())).score == 1.0
    assert len(set(scan_sqlite(tmp_path / "data" / "transcripts.sqlite"))) == 4


async def test_a_replay_after_fresh_takes_the_first_reply_also_in_a_service_that_has_not_seen_it(
    judging: Make, server: ScriptedJudge
) -> None:
    first = judging()
    made = await first.verdict(item())
    await first.close()
    server.reply = lambda body: "DIFFERENT"
    later = judging()  # with nothing in memory
    with judge_mode(JudgeMode.FRESH):
        assert (await later.verdict(item())).score == 0.0
    with judge_mode(JudgeMode.REPLAY):
        assert (await later.verdict(item("So it is \\boxed{12}"))).json == made.json


async def test_two_services_that_ask_the_same_at_once_go_by_one_reply(
    judging: Make, server: ScriptedJudge
) -> None:
    says_in_turn = iter(["SAME", "DIFFERENT"])
    server.reply, server.gate = lambda body: next(says_in_turn), asyncio.Event()
    services = [judging(), judging()]
    asked = [asyncio.ensure_future(one.verdict(item())) for one in services]
    await server.wait_for(2)
    server.gate.set()
    made = [one.json for one in await asyncio.gather(*asked)]
    assert made[0] == made[1]
    with judge_mode(JudgeMode.REPLAY):
        assert [(await one.verdict(item("So: \\boxed{12}"))).json for one in services] == made


async def test_a_verdict_goes_out_when_its_transcript_is_written(
    judging: Make, server: ScriptedJudge, tmp_path: Path
) -> None:
    """A service that is killed then leaves no verdict behind, here or at a caller's, that nobody can replay."""
    made = await judging().verdict(item())
    there = [written(id_of(one)) for one in scan_sqlite(tmp_path / "data" / "transcripts.sqlite")]
    assert made.detail()["transcripts"] == there


async def test_a_replay_on_a_second_machine_gives_the_same_bytes_without_a_server(
    judging: Make, server: ScriptedJudge, tmp_path: Path
) -> None:
    mixed(server)
    first = judging(options={"concurrency": 1, "price_in": 1.0, "price_out": 2.0})
    made = await first.verdicts(ITEMS)
    assert {one.outcome for one in made} == {Outcome.SCORED, Outcome.ABSTAIN}
    await first.close()
    second = tmp_path / "second"
    second.mkdir()
    shutil.copy(tmp_path / "data" / "transcripts.sqlite", second)
    replay = judging(server=None, data=second, mode="replay")
    assert [one.json for one in await replay.verdicts(ITEMS)] == [one.json for one in made]
    assert [one.json for one in await replay.verdicts(ITEMS)] == [one.json for one in made]


async def test_what_a_probe_found_is_shown_alike_by_a_verdict_and_by_its_replay(
    judging: Make, server: ScriptedJudge, tmp_path: Path
) -> None:
    first = judging(options={"probe": "first_use"}, probes=ProbeBook(tmp_path / "probes.json"))
    made = await first.verdict(item())
    assert made.detail()["probe"]["calls"] > 1
    await first.close()
    assert (await judging(server=None, mode="replay").verdict(item())).json == made.json


async def test_a_replay_without_the_transcript_is_an_error_even_beside_a_stored_verdict(
    judging: Make, server: ScriptedJudge, tmp_path: Path
) -> None:
    made = judging()
    await made.verdict(item())
    await made.close()
    (tmp_path / "data" / "transcripts.sqlite").unlink()
    verdict = await judging(mode="replay").verdict(item())
    assert (verdict.outcome, verdict.detail()["code"]) == (Outcome.ERROR, "transcript_missing")
    assert len(server.seen) == 1


async def test_a_transcript_that_a_full_store_evicted_is_asked_for_once_more_and_then_there(
    judging: Make, server: ScriptedJudge, tmp_path: Path
) -> None:
    made = judging()
    lost = (await made.verdict(item())).detail()["transcripts"]
    await made.close()
    file = tmp_path / "data" / "transcripts.sqlite"
    with closing(
        sqlite3.connect(file)
    ) as kept:  # eviction by range takes the one and leaves the pointer to it
        kept.execute(
            "DELETE FROM verdicts WHERE lower(hex(substr(head, 1, 32))) = ?",
            (lost[0].removeprefix("sha256:"),),
        )
        kept.commit()
    (tmp_path / "data" / "verdicts.sqlite").unlink()
    again = judging()
    found = (await again.verdict(item())).detail()["transcripts"]
    await again.close()
    assert (len(server.seen), found == lost) == (2, False)
    replay = judging(server=None, mode="replay")
    assert (await replay.verdict(item())).detail()["transcripts"] == found


async def test_failures_are_asked_again_and_never_stored(judging: Make, server: ScriptedJudge) -> None:
    server.faults = [status(400)]
    made = judging()
    assert (await made.verdict(item())).outcome is Outcome.ERROR
    assert (await made.verdict(item())).outcome is Outcome.SCORED


async def test_a_transcript_of_another_revision_is_not_used_and_both_are_kept(
    judging: Make, server: ScriptedJudge, tmp_path: Path
) -> None:
    old = judging(options={"revision": "a"})
    assert (await old.verdict(item())).detail()["revision"] == "a"
    await old.close()
    server.reply = lambda body: "DIFFERENT"
    new = judging(options={"revision": "b"})
    assert (await new.verdict(item())).score == 0.0
    await new.close()
    back = judging(options={"revision": "a"}, mode="replay")
    assert (await back.verdict(item())).score == 1.0
    assert len(server.seen) == 2


async def test_the_operators_names_change_what_is_sent_and_not_what_is_kept(
    judging: Make, server: ScriptedJudge, tmp_path: Path
) -> None:
    options = {"served_as": "local/path", "max_tokens_name": "max_completion_tokens"}
    first = judging(options=options)
    made = await first.verdict(item())
    assert server.seen[0].body["model"] == "local/path"
    assert server.seen[0].body["max_completion_tokens"] == 512
    assert "max_tokens" not in server.seen[0].body
    await first.close()
    assert (await judging(server=None, mode="replay").verdict(item())).json == made.json


async def test_a_transcript_holds_the_raw_reply_and_what_it_took(
    judging: Make, server: ScriptedJudge, tmp_path: Path
) -> None:
    raw = scripted.completion("SAME", model="m-2026", system_fingerprint="fp_7", odd=["kept", "too"])
    server.faults = [status(503), scripted.body(raw)]
    made = judging(options={"price_in": 10.0, "price_out": 100.0})
    detail = (await made.verdict(item())).detail()
    await made.close()
    (encoded,) = scan_sqlite(tmp_path / "data" / "transcripts.sqlite")
    ((transcript, _),) = read_archive([archive_line(encoded)], file="here")
    assert transcript.raw == raw.decode()
    assert transcript.request == server.seen[0].body
    assert (transcript.attempts, transcript.cost) == (2, 100 * 10e-6 + 10 * 100e-6)
    assert detail["transcripts"] == [json.loads(archive_line(encoded))["id"]]
    assert (detail["answered_by"], detail["fingerprint"], detail["attempts"]) == ("m-2026", "fp_7", 2)


async def test_a_tampered_store_is_as_good_as_an_empty_one(
    judging: Make, server: ScriptedJudge, tmp_path: Path
) -> None:
    made = judging()
    told = await made.verdict(item("\\boxed{12} "))
    digest = bytes.fromhex(told.detail()["transcripts"][0].removeprefix("sha256:"))
    store = made.asker._store
    assert store is not None
    await store.flush()
    (blob,) = (await store.get_many([digest])).values
    await made.close()
    assert blob is not None
    other = judging(data=tmp_path / "other", mode="replay")
    assert other.asker._store is not None
    pointed = dict.fromkeys(_pointers(blob), digest)
    await other.asker._open()
    other.asker._store.put_many({digest: blob.replace(b"SAME", b"FAKE"), **pointed})
    assert (await other.verdict(item())).detail()["code"] == "transcript_missing"


def _pointers(blob: bytes) -> list[bytes]:
    from countermark_service.judge.transcripts import decode_foreign, pointers

    return list(pointers(decode_foreign(blob).question(), ""))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda line: line.replace(b'"SAME', b'"FAKE').replace(b"\\nSAME", b"\\nFAKE"),
            "is not that of the content",
        ),
        (lambda line: line.replace(b"sha256:", b"sha256:0"), "is not that of the content"),
        (lambda line: line[:-40], "truncated"),
        (lambda line: b"[]\n", "Expected `object`"),
        (lambda line: b"\xff\xfe\n", ""),
        (lambda line: b'{"id":"x","transcript":{},"more":1}\n', "unknown field"),
        (lambda line: b'{"id":"x","transcript":' + b"[" * 100_000, ""),
    ],
)
async def test_an_archive_that_is_not_what_it_says_is_refused_by_its_line(
    judging: Make, server: ScriptedJudge, tmp_path: Path, change: Callable[[bytes], bytes], said: str
) -> None:
    made = judging()
    await made.verdict(item())
    await made.close()
    (encoded,) = scan_sqlite(tmp_path / "data" / "transcripts.sqlite")
    line = archive_line(encoded)
    with pytest.raises(CountermarkError, match=r"moved\.jsonl, line 2: ") as caught:
        list(read_archive([line, change(line)], file="moved.jsonl"))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda one: msgspec.structs.replace(one, raw='{"id":1,' + one.raw[1:]),
            "its `raw` is no reply that is taken: the key 'id' stands twice",
        ),
        (lambda one: msgspec.structs.replace(one, attempts=0), "its `attempts` is 0, and must be 1 to 20"),
        (lambda one: msgspec.structs.replace(one, attempts=-1), "its `attempts` is -1"),
        (lambda one: msgspec.structs.replace(one, attempts=10**18), "its `attempts` is 10000"),
        (
            lambda one: msgspec.structs.replace(one, seconds=-1.5),
            "its `seconds` is -1.5, and must be 0 at least",
        ),
        (lambda one: msgspec.structs.replace(one, cost=-0.001), "its `cost` is -0.001"),
        (lambda one: msgspec.structs.replace(one, request={"messages": []}), "its `request` has no `model`"),
        (lambda one: msgspec.structs.replace(one, request={"model": 7}), "its `request` has no `model`"),
    ],
)
async def test_an_archive_is_refused_for_what_no_call_here_would_have_made(
    judging: Make,
    server: ScriptedJudge,
    tmp_path: Path,
    change: Callable[[Transcript], Transcript],
    said: str,
) -> None:
    made = judging()
    await made.verdict(item())
    await made.close()
    (encoded,) = scan_sqlite(tmp_path / "data" / "transcripts.sqlite")
    line = archive_line(encoded)
    ((transcript, _),) = read_archive([line], file="here")
    with pytest.raises(CountermarkError, match=r"moved\.jsonl, line 2: ") as caught:
        list(read_archive([line, archive_line(change(transcript).encode())], file="moved.jsonl"))
    assert said in str(caught.value)
