"""A service that is killed, hangs or is busy in the middle of a run: no reward is lost, wrong, or made up."""

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from countermark import Client, CountermarkClientError, DeadlineExceededError
from countermark.adapters.trl import reward
from countermark.adapters.verl import compute_score
from tests.integration.adapters.conftest import REF
from tests.support import ServiceProcess

ROWS = [(str(n % 3), str(n % 2)) for n in range(200)]


@pytest.fixture(scope="module")
def frail(shared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service that a test may do anything to."""
    data = tmp_path_factory.mktemp("frail")
    (shared_root / "environments").mkdir(exist_ok=True)
    (data / "environments").symlink_to(shared_root / "environments")
    process = ServiceProcess(data).start()
    yield process
    process.stop()


def expected(url: str) -> list[float | None]:
    """Return the service's own rewards."""
    with Client(url) as client:
        items = [{"response": a, "reference": b} for a, b in ROWS]
        return client.score(REF, items).rewards


async def test_a_service_that_is_killed_and_started_again_costs_no_reward(frail: ServiceProcess) -> None:
    right = expected(frail.url)
    function = reward(REF, base_url=frail.url)
    columns: dict[str, Any] = {"completions": [a for a, _ in ROWS], "solution": [b for _, b in ROWS]}
    assert await function(**columns) == right

    frail.stop(signal.SIGKILL)
    back = threading.Timer(0.5, frail.start)
    back.start()
    single = (compute_score("d", a, b, {}, verifier=REF, base_url=frail.url) for a, b in ROWS)
    scores, again = await asyncio.gather(asyncio.gather(*single), function(**columns))
    back.join()

    assert [score["score"] for score in scores] == again == right


async def test_a_service_that_hangs_raises_within_the_deadline_whatever_a_failure_becomes(
    frail: ServiceProcess,
) -> None:
    options: dict[str, Any] = {"base_url": frail.url, "deadline": 0.6, "on_failure": "zero"}
    function = reward(REF, **options)
    frail.process.send_signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        ended = await asyncio.gather(
            *(compute_score("d", a, b, {}, verifier=REF, **options) for a, b in ROWS),
            function(completions=["a"], solution=["a"]),
            return_exceptions=True,
        )
        took = time.monotonic() - started
    finally:
        frail.process.send_signal(signal.SIGCONT)
    assert {type(each) for each in ended} == {DeadlineExceededError}
    assert took < 30.0
    # And it is used again as soon as it answers.
    assert await reward(REF, base_url=frail.url)(completions=["a"], solution=["a"]) == [1.0]


async def test_no_service_at_all_is_an_error_and_no_reward(frail: ServiceProcess) -> None:
    for policy in ("null", "zero", -1.0):
        function = reward(REF, base_url="http://127.0.0.1:1", deadline=0.4, on_failure=policy)
        with pytest.raises(CountermarkClientError):
            await function(completions=["a"], solution=["a"])
