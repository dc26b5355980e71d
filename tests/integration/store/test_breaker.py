"""When the breaker opens, closes, and how its pause grows."""

from countermark_service.store.breaker import Breaker


def breaker() -> Breaker:
    return Breaker(failures_to_open=3, first_pause=0.1, longest_pause=0.5)


def test_it_opens_after_failures_in_a_row() -> None:
    tried = breaker()
    assert [tried.failed() for _ in range(3)] == [False, False, True]
    assert tried.is_open


def test_an_answer_in_between_starts_the_count_anew() -> None:
    tried = breaker()
    tried.failed()
    tried.failed()
    tried.succeeded()
    assert [tried.failed() for _ in range(3)] == [False, False, True]


def test_the_pause_doubles_while_probes_fail_and_is_bounded() -> None:
    tried = breaker()
    tried.open()
    pauses = []
    for _ in range(5):
        pauses.append(tried.pause_seconds)
        tried.failed()
    assert pauses == [0.1, 0.2, 0.4, 0.5, 0.5]


def test_an_answer_closes_it_and_the_next_outage_starts_with_a_short_pause() -> None:
    tried = breaker()
    tried.open()
    tried.failed()
    tried.succeeded()
    assert not tried.is_open
    assert tried.pause_seconds == 0.1
