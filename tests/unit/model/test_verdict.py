"""A verdict's bytes: what is kept is what is read, and what cannot be true is not believed."""

import json

import msgspec
import pytest

from countermark_service.model import CACHEABLE, FAILURES, Outcome, Verdict

SURROUNDINGS = b'{"python":"3.11.7","platform":"linux-x86_64","containment":"namespaces"}'


@pytest.mark.parametrize(
    ("outcome", "score"),
    [
        (Outcome.SCORED, 1.0), (Outcome.SCORED, 0.0), (Outcome.SCORED, 0.1), (Outcome.SCORED, 1 / 3),
        (Outcome.NO_ANSWER, 0.0), (Outcome.BAD_REFERENCE, None), (Outcome.TIMEOUT, None),
        (Outcome.ERROR, None), (Outcome.ABSTAIN, None),
    ],
)  # fmt: skip
def test_a_verdict_is_read_back_as_it_was_made(outcome: Outcome, score: float | None) -> None:
    made = Verdict.made(outcome, score, '{"found":"é\\n"}'.encode(), SURROUNDINGS)
    read = Verdict.decode(made.json)

    assert read == made
    assert read.detail() == {"found": "é\n"}
    assert json.loads(made.json) == {
        "outcome": outcome.value,
        "score": score,
        "detail": {"found": "é\n"},
        "surroundings": json.loads(SURROUNDINGS),
    }


def test_a_failure_has_a_code_a_message_and_no_score() -> None:
    verdict = Verdict.failure(Outcome.TIMEOUT, "cpu_limit", 'it said "no"')
    assert verdict.score is None
    assert verdict.detail() == {"code": "cpu_limit", "message": 'it said "no"'}
    assert Verdict.decode(verdict.json) == verdict


@pytest.mark.parametrize(
    "data",
    [
        b"", b"null", b"[]", b"{}", b"not json", b'{"outcome":"scored","score":1.0}',
        b'{"outcome":"scored","score":null,"detail":{},"surroundings":{}}',
        b'{"outcome":"error","score":0.0,"detail":{},"surroundings":{}}',
        b'{"outcome":"timeout","score":0,"detail":{},"surroundings":{}}',
        b'{"outcome":"bad_reference","score":0.0,"detail":{},"surroundings":{}}',
        b'{"outcome":"no_answer","score":null,"detail":{},"surroundings":{}}',
        b'{"outcome":"scored","score":1.5,"detail":{},"surroundings":{}}',
        b'{"outcome":"scored","score":-0.5,"detail":{},"surroundings":{}}',
        b'{"outcome":"scored","score":"1.0","detail":{},"surroundings":{}}',
        b'{"outcome":"scored","score":true,"detail":{},"surroundings":{}}',
        b'{"outcome":"scored","score":NaN,"detail":{},"surroundings":{}}',
        b'{"outcome":"perfect","score":1.0,"detail":{},"surroundings":{}}',
        b'{"outcome":"scored","score":1.0,"detail":{},"surroundings":{},"reward":1.0}',
        b'{"outcome":"scored","score":1.0,"detail":{},"surroundings":{}} ,',
    ],
)  # fmt: skip
def test_bytes_that_are_no_verdict_are_refused(data: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        Verdict.decode(data)


def test_every_outcome_is_kept_or_a_failure_and_only_a_bad_reference_is_both() -> None:
    assert set(Outcome) == CACHEABLE | FAILURES
    assert {Outcome.BAD_REFERENCE} == CACHEABLE & FAILURES
