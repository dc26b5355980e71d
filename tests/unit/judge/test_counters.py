"""Counters of judging have bounded labels, whatever models requests name."""

from countermark_service.judge.counters import OTHERS, JudgeCounters


def test_models_beyond_many_are_counted_together_and_known_ones_stay_apart() -> None:
    counters = JudgeCounters()
    counters.of("mine").calls = 1
    for number in range(1000):
        counters.of(f"model {number}").calls += 1
    assert len(counters.models) == 257
    assert counters.of("mine").calls == 1
    assert sum(each.calls for each in counters.models.values()) == 1001
    assert counters.of("yet another") is counters.of(OTHERS)
