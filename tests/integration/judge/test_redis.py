"""Transcripts in a real Redis: kept beside verdicts, apart from them, and listed for export."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from countermark_service.assembly import build_transcripts
from countermark_service.judge import Asker, Endpoint, JudgeMode
from countermark_service.judge.asker import Question
from countermark_service.judge.transcripts import decode_foreign
from countermark_service.settings import Settings
from countermark_service.store import TieredStore
from countermark_service.store.redis import RedisStore
from countermark_service.store.transcripts import REDIS_PREFIX, scan_redis
from tests.integration.judge.parts import FAST
from tests.integration.judge.scripted import ScriptedJudge, says
from tests.redis_server import RedisServer, skip_without_redis


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of this test."""
    skip_without_redis()
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis") as server:
        yield server


async def test_transcripts_are_kept_listed_and_found_again(server: ScriptedJudge, redis: RedisServer) -> None:
    def asker() -> Asker:
        endpoint = Endpoint.model_validate({"model": "m", "base_url": server.url, **FAST})
        return Asker(
            {"m": endpoint}, TieredStore(RedisStore(redis.url, key_prefix=REDIS_PREFIX, checked=False))
        )

    question = Question.of({"model": "m", "messages": [{"role": "user", "content": "?"}], "max_tokens": 5}, 0)
    first = asker()
    told = await first.ask(question)
    await first.close()
    other = RedisStore(redis.url)
    await other.put_many({told.digest: b"a verdict under the same key"})
    await other.close()
    second = asker()
    found = (await second.known([question]))[question.digest]
    assert (found.digest, found.transcript) == (told.digest, told.transcript)
    await second.close()
    listed = [decode_foreign(encoded) async for encoded in scan_redis(redis.url)]
    assert listed == [told.transcript]


async def test_the_first_of_several_replies_stays_the_one_that_is_replayed(
    server: ScriptedJudge, redis: RedisServer, tmp_path: Path
) -> None:
    question = Question.of({"model": "m", "messages": [{"role": "user", "content": "?"}], "max_tokens": 5}, 0)
    endpoint = Endpoint.model_validate({"model": "m", "base_url": server.url, **FAST})
    server.faults = [says("SAME"), says("DIFFERENT")]
    told = []
    for _ in range(2):
        store = TieredStore(build_transcripts(Settings(data=tmp_path, redis_url=redis.url)))
        asker = Asker({"m": endpoint}, store, mode=JudgeMode.FRESH)
        told.append(await asker.ask(question))
        await asker.close()
    store = TieredStore(build_transcripts(Settings(data=tmp_path, redis_url=redis.url)))
    replay = Asker({}, store, mode=JudgeMode.REPLAY)
    assert (await replay.known([question]))[question.digest].digest == told[0].digest
    await replay.close()
    assert len([encoded async for encoded in scan_redis(redis.url)]) == 2
