"""Which recomputed score a card's result is held against, and what the report says of one that does not hold."""

from typing import Any

import pytest

from countermark_service.audit.claims import column_of, met, unmet_sentence
from countermark_service.audit.document import Claim, Column, Estimate, Finding, Slice
from countermark_service.audit.outputs import claims_of
from countermark_service.releases import release_of
from tests.cards import EXACT, NUMERIC, bare_card

FILE = "f" * 64


def column(value: float, *, due: int = 10, rows: int = 10, pin: str = NUMERIC) -> Column:
    """A verifier's column over `due` answers, of which `rows` have a score."""
    score = Estimate(value=value, low=0, high=1, level=0.95, method="wilson", rows=rows, items=rows)
    return Column(id=pin, label=pin.partition("@")[0], due=due, score=score, bounds=None, outcomes={})


def part(*columns: Column, task: str = "sums", model: str | None = None) -> Slice:
    """Outputs of one task."""
    finding = Finding(standing="unpublished", claimed="", holds="", why="")
    return Slice(
        task=task, model=model, rows=10, items=10, columns=list(columns), comparisons=[], finding=finding
    )


def claims(*results: dict[str, Any], on_failure: str | None = None) -> list[Claim]:
    """What the card of a release with two routes states."""
    routes = [
        {"task": "sums", "verifier": NUMERIC} | ({"on_failure": on_failure} if on_failure else {}),
        {"task": "words", "verifier": EXACT},
    ]
    return claims_of(release_of(bare_card(verifier={"routes": routes}, results=list(results))))


RESULT = {"metric": "accuracy", "value": 0.61, "decimals": 2, "task": "sums"}


@pytest.mark.parametrize(("value", "holds"), [(0.61, True), (0.6149, True), (0.6051, True), (0.616, False)])
def test_a_result_is_held_to_the_decimals_that_it_states(value: float, holds: bool) -> None:
    (claim,) = claims(RESULT)
    assert met(claim, column_of(claim, [part(column(value))], [FILE])) is holds


@pytest.mark.parametrize(
    "other",
    [
        {"task": "words"},
        {"model": "org/other"},
        {"outputs": {"file": "outputs.jsonl", "digest": f"sha256:{'0' * 64}"}},
        {"verifier": EXACT},
        {"metric": "pass@4"},
        {"task": None},
    ],
)
def test_another_question_is_not_held_against_these_outputs(other: dict[str, Any]) -> None:
    (claim,) = claims({key: value for key, value in {**RESULT, **other}.items() if value is not None})
    parts = [part(column(0.1), model="org/m")]
    assert met(claim, column_of(claim, parts, [FILE])) is None
    assert unmet_sentence([claim], parts, [FILE]) == ""


def test_the_result_of_the_very_file_is_held_against_it() -> None:
    (claim,) = claims({**RESULT, "outputs": {"file": "outputs.jsonl", "digest": f"sha256:{FILE}"}})
    assert met(claim, column_of(claim, [part(column(0.1))], [FILE])) is False


def test_outputs_without_a_score_count_as_the_card_says() -> None:
    (left_out,), (as_zero,) = claims(RESULT), claims(RESULT, on_failure="zero")
    parts = [part(column(0.61, due=20, rows=10))]
    assert met(left_out, column_of(left_out, parts, [])) is True
    assert met(as_zero, column_of(as_zero, parts, [])) is False


def test_a_result_that_does_not_hold_is_said_with_both_numbers() -> None:
    stated = claims(RESULT, {**RESULT, "metric": "mean_score", "value": 0.7})
    parts = [part(column(0.5764))]
    assert unmet_sentence(stated[:1], parts, []) == (
        "The accuracy 0.610 for sums that the release card states does not hold: these outputs give 0.576."
    )
    assert unmet_sentence(stated, parts, []).startswith("2 results that the release card states do not hold;")
    (close,) = claims({**RESULT, "value": 0.5766, "decimals": 4})
    assert "0.5766 for sums" in unmet_sentence([close], parts, [])
    assert "give 0.5764" in unmet_sentence([close], parts, [])
