"""Two services on one Redis that is killed in mid-run and comes back: hits are lost, verdicts are not."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.api.conftest import StartService
from tests.integration.api.parts import Caller, item, stream_of, wait_until
from tests.redis_server import RedisServer, skip_without_redis


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    skip_without_redis()
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def pair(
    redis: RedisServer, start_service: StartService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Caller, Caller]]:
    """Callers of two services with data folders of their own and one Redis."""

    def start(data: Path) -> Caller:
        return Caller(start_service(data, redis_url=redis.url, store_timeout_seconds="1"))

    with start(tmp_path_factory.mktemp("one")) as one, start(tmp_path_factory.mktemp("other")) as other:
        yield one, other


def stored(redis: RedisServer) -> int:
    """Return how many keys the server holds."""
    return int(redis.command("DBSIZE").removeprefix(b":"))


def test_two_services_share_what_was_scored(pair: tuple[Caller, Caller], redis: RedisServer) -> None:
    one, other = pair
    items = [item(f"{n} {'right' if n % 2 else 'wrong'}") for n in range(300)]
    judged = one.verdicts([*items, item("raise shared")])
    wait_until(lambda: stored(redis) >= 300, "what was scored is written")

    found = other.verdicts([*items, item("raise shared")])
    assert [verdict["cached"] for verdict in found] == [True] * 300 + [False]
    assert [verdict["score"] for verdict in found] == [verdict["score"] for verdict in judged]
    assert stored(redis) == 300
    assert one.http.get("/readyz").json()["store"]["backend"] == "redis"


def test_a_redis_that_is_killed_in_mid_run_costs_hits_and_no_verdict_and_comes_back_into_use(
    pair: tuple[Caller, Caller], redis: RedisServer
) -> None:
    one, other = pair
    running = [item(f"work 2 running {n}", f"running {n}") for n in range(500)]
    with ThreadPoolExecutor(2) as together:
        batch = together.submit(one.verdicts, running)
        stream = together.submit(other.stream, stream_of(running))
        wait_until(lambda: one.metric("countermark_slots_busy") > 0, "the batch is under way")
        redis.kill()
        assert [verdict["score"] for verdict in batch.result()] == [1.0] * 500
        lines = stream.result()
    assert [line["score"] for line in lines[:-1]] == [1.0] * 500

    def degraded(caller: Caller, tag: str) -> bool:
        body = caller.score([item(f"while it is down {tag} {n}") for n in range(20)]).json()
        assert [verdict["outcome"] for verdict in body["verdicts"]] == ["scored"] * 20
        return "store_unavailable" in body.get("degraded", [])

    rounds = iter(range(1000))
    wait_until(lambda: degraded(one, f"one {next(rounds)}"), "a batch says that the store is down")
    wait_until(lambda: one.http.get("/readyz").json()["status"] == "degraded", "readiness says so, too")
    assert one.http.get("/readyz").status_code == 200
    assert one.metric("countermark_store_degraded") == 1
    lines = one.stream(stream_of([item(f"streamed while it is down {n}") for n in range(20)]))
    summary = lines[-1]["summary"]
    assert (summary["items"], summary["failed"], summary["degraded"]) == (20, 0, ["store_unavailable"])

    redis.start()
    for caller in pair:
        wait_until(lambda caller=caller: caller.http.get("/readyz").json()["status"] == "ready", "it is back")  # type: ignore[misc]
    fresh = [item(f"after it {n}") for n in range(100)]
    body = one.score(fresh).json()
    assert "degraded" not in body
    wait_until(lambda: other.metric("countermark_store_degraded") == 0, "the other has found it, too")
    wait_until(lambda: one.http.get("/readyz").json()["store"]["queued_writes"] == 0, "all is written")
    assert [verdict["cached"] for verdict in other.verdicts(fresh)] == [True] * 100


def test_what_was_judged_while_redis_was_away_is_written_when_it_is_back(
    pair: tuple[Caller, Caller], redis: RedisServer
) -> None:
    one, other = pair
    redis.kill()
    away = [item(f"kept for later {n}") for n in range(50)]
    one.verdicts(away)
    before = one.metric("countermark_store_events_total", event="written")
    redis.start()
    wait_until(
        lambda: one.metric("countermark_store_events_total", event="written") >= before + 50,
        "it is written late",
    )
    wait_until(lambda: other.http.get("/readyz").json()["status"] == "ready", "the other has found it, too")
    assert [verdict["cached"] for verdict in other.verdicts(away)] == [True] * 50


def test_a_redis_that_hangs_is_waited_for_no_longer_than_the_setting_says(
    pair: tuple[Caller, Caller], redis: RedisServer
) -> None:
    """Were it waited for, nothing here would end before the connection does."""
    one, _ = pair
    redis.pause()
    try:
        for n in range(5):
            body = one.score([item(f"while it hangs {n}")]).json()
            assert body["verdicts"][0]["outcome"] == "scored"
            assert body["degraded"] == ["store_unavailable"]
    finally:
        redis.resume()
    wait_until(lambda: one.http.get("/readyz").json()["status"] == "ready", "it is back")
