"""When a question may be sent: rules with a clock that is passed in."""

from datetime import UTC, datetime
from typing import Any

import pytest

from countermark_service.judge.endpoints import Endpoint
from countermark_service.judge.pace import Pace, backoff_seconds, retry_after_seconds


class Clock:
    """A clock that stands until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def endpoint(**changes: Any) -> Endpoint:
    return Endpoint.model_validate({"model": "m", "base_url": "http://x", **changes})


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0), (" 0.5 ", 0.5), ("0", 0.0), ("Mon, 23 Nov 2026 07:00:10 GMT", 10.0), (None, None), ("", None),
        ("Mon, 23 Nov 2026 06:59:00 GMT", 0.0), ("soon", None), ("-1", None), ("1e9", None), ("nan", None), ("٣", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999999", None),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, datetime(2026, 11, 23, 7, tzinfo=UTC)) == seconds


def test_the_bound_of_a_pause_doubles_up_to_its_own_and_chance_takes_a_part() -> None:
    slow = endpoint(backoff_seconds=1, backoff_most_seconds=5)
    assert [backoff_seconds(slow, n, lambda: 1.0) for n in (1, 2, 3, 4, 500)] == [1, 2, 4, 5, 5]
    assert backoff_seconds(slow, 3, lambda: 0.25) == 1.0


def test_a_rate_gives_turns_one_after_the_other() -> None:
    clock = Clock()
    pace = Pace(endpoint(requests_per_second=4), clock)
    assert [pace.delay() for _ in range(3)] == [0.0, 0.25, 0.5]
    clock.now += 10
    assert pace.delay() == 0.0


def test_a_turn_that_nobody_can_wait_for_is_left_to_those_who_come_later() -> None:
    clock = Clock()
    pace = Pace(endpoint(requests_per_second=0.1), clock)
    assert [pace.delay(15) for _ in range(30)] == [0.0, 10.0, *[None] * 28]
    clock.now += 10
    assert pace.delay(15) == 10.0
    pace.hold(100)
    assert pace.delay(100) is None
    assert pace.delay(101) == 100.0


def test_who_need_not_wait_may_begin_with_any_time() -> None:
    assert Pace(endpoint(), Clock()).delay(-1.0) == 0.0


def test_what_one_call_is_told_to_wait_holds_all_back() -> None:
    clock = Clock()
    pace = Pace(endpoint(), clock)
    pace.hold(2.0)
    pace.hold(1.0)
    assert [pace.delay(), pace.delay()] == [2.0, 2.0]


def test_the_breaker_opens_after_questions_given_up_in_a_row_and_lets_one_try() -> None:
    clock = Clock()
    pace = Pace(endpoint(breaker_failures=2, breaker_seconds=5), clock)
    pace.gave_up()
    pace.answered()
    pace.gave_up()
    assert pace.admits()
    pace.gave_up()
    assert not pace.admits()
    clock.now += 5
    assert [pace.admits(), pace.admits()] == [True, False]
    pace.left()
    assert pace.admits()
    pace.gave_up()
    assert not pace.admits()
    clock.now += 5
    assert pace.admits()
    pace.answered()
    assert [pace.admits(), pace.admits()] == [True, True]
