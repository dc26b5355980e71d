"""When another attempt is made and how long it waits, with the clock and the dice left out."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark import Backoff, ConnectError, ProtocolError
from countermark._errors import api_error
from countermark._retry import is_retryable, retry_after_seconds


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_statuses_that_pass_are_tried_again(status: int) -> None:
    assert is_retryable(api_error(status, {}, ""))


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 413, 422, 424, 500, 501])
def test_other_statuses_are_final(status: int) -> None:
    assert not is_retryable(api_error(status, {}, ""))


def test_a_broken_connection_is_tried_again_and_a_malformed_answer_is_not() -> None:
    assert is_retryable(ConnectError("http://x", "refused"))
    assert not is_retryable(ProtocolError("nonsense"))


@given(st.integers(1, 2000), st.floats(0, 100), st.floats(0.001, 1000))
def test_a_wait_obeys_the_service_and_the_bounds(attempts: int, least: float, room: float) -> None:
    wait = Backoff(0.25, 8.0).wait(attempts, at_least=least, room=room)
    if least >= room:
        assert wait is None
    else:
        assert wait is not None
        assert least <= wait <= min(room, least + min(8.0, 0.25 * 2 ** min(attempts - 1, 10)))


def test_jitter_uses_the_whole_range_below_its_bound() -> None:
    waits = [Backoff(1.0, 64.0).wait(4) or 0.0 for _ in range(500)]
    assert min(waits) < 2.0
    assert 6.0 < max(waits) <= 8.0


def test_waiting_leaves_a_seeded_generator_alone() -> None:
    random.seed(7)
    expected = random.random()
    random.seed(7)
    Backoff().wait(1)
    assert random.random() == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        (" 17 ", 17.0),
        ("1.5", 1.5),
        ("", None),
        ("-3", None),
        ("soon", None),
        ("1e9", None),
        ("\u0663", None),
        ("99999999999999999999", None),
        ("Wed, 99 Foo 2026 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +" + "9" * 20, None),
    ],
)
def test_retry_after_in_seconds(text: str, seconds: float | None) -> None:
    assert retry_after_seconds({"retry-after": text}) == seconds


def test_retry_after_as_a_date_counts_from_the_servers_own_clock() -> None:
    headers = {"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert retry_after_seconds(headers) == 30.0


def test_a_date_that_has_passed_asks_for_no_wait() -> None:
    headers = {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "Wed, 21 Oct 2015 07:29:00 GMT"}
    assert retry_after_seconds(headers) == 0.0


def test_without_a_servers_clock_a_date_counts_from_ours() -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    seconds = retry_after_seconds({"retry-after": until})
    assert seconds is not None
    assert 3000 < seconds <= 3600
