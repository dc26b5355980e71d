"""Each kind of disagreement is told from verdicts as the shipped verifiers write them."""

import pytest

from countermark_service.audit.flips import (
    FlipKind,
    Judgement,
    Said,
    disagree,
    kind_of,
    marks_of,
    plain,
    reading,
    reference_texts,
)
from countermark_service.model import Outcome

SCORED = Outcome.SCORED


def said(score: float | None, outcome: Outcome | None = SCORED, *read: str) -> Said:
    return Said(score, outcome, read or None)


def judged(one: Said, other: Said, reference: str = "20", response: str = "so 20") -> Judgement:
    """Judge both ways round, which must not matter."""
    found = kind_of(one, other, reference=[reference], response=response)
    assert found == kind_of(other, one, reference=[reference], response=response)
    return found


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        (said(None, Outcome.TIMEOUT), said(1.0, SCORED, "20"), FlipKind.TIMEOUT),
        (said(None, Outcome.BAD_REFERENCE), said(0.0, Outcome.NO_ANSWER), FlipKind.REFERENCE),
        (said(None, Outcome.ERROR), said(1.0), FlipKind.FAILURE),
        (said(None, Outcome.ABSTAIN), said(0.0), FlipKind.FAILURE),
        (said(0.0, Outcome.NO_ANSWER), said(1.0, SCORED, "20"), FlipKind.FORMAT),
        (said(0.0, Outcome.NO_ANSWER), said(1.0, None), FlipKind.FORMAT),
        (said(0.0, SCORED, "19"), said(1.0, SCORED, "20"), FlipKind.EXTRACTION),
        (said(0.0, SCORED, "20\\%"), said(1.0, SCORED, "20\\%"), FlipKind.EQUIVALENCE),
        (said(0.0, SCORED, "20\\%"), said(1.0, SCORED, "20.0"), FlipKind.EQUIVALENCE),
        (said(0.0), said(1.0), FlipKind.OTHER),
    ],
)
def test_the_kind_follows_from_outcomes_and_readings(one: Said, other: Said, kind: FlipKind) -> None:
    assert disagree(one, other)
    assert judged(one, other) == Judgement(kind)


def test_a_candidate_program_that_ran_out_of_time_is_a_timeout_though_it_is_scored() -> None:
    slow = Said(0.0, SCORED, class_="time_limit")
    fast = Said(1.0, SCORED, class_="accepted")
    assert judged(slow, fast).kind is FlipKind.TIMEOUT


@pytest.mark.parametrize(
    ("verdict", "reference", "response", "kind"),
    [
        # It read the reference itself and refused it.
        (said(0.0, SCORED, "20\\%"), "20", "so 20%", FlipKind.EQUIVALENCE),
        # The reference stands in the response, and it read another part.
        (said(0.0, SCORED, "7"), "20", "the total is 20 over 7 days", FlipKind.EXTRACTION),
        # The reference does not stand there: whoever said right took something else for it.
        (said(0.0, SCORED, "0.5"), "1/2", "so 0.5", FlipKind.EQUIVALENCE),
        # It took something else for the reference.
        (said(1.0, SCORED, "0.5"), "1/2", "so 0.5", FlipKind.EQUIVALENCE),
        # It read the reference's very text, which any comparison takes.
        (said(1.0, SCORED, "20"), "20", "so 20", FlipKind.EXTRACTION),
    ],
)
def test_against_a_published_score_without_a_reading_the_kind_is_inferred(
    verdict: Said, reference: str, response: str, kind: FlipKind
) -> None:
    published = Said(0.0 if verdict.right else 1.0)
    assert judged(verdict, published, reference, response) == Judgement(kind, inferred=True)


def test_a_reference_inside_a_longer_number_does_not_stand_in_the_response() -> None:
    assert judged(said(0.0, SCORED, "7"), Said(1.0), "20", "1207 or 20.5").kind is FlipKind.EQUIVALENCE


def test_no_answer_and_wrong_are_both_wrong() -> None:
    assert not disagree(said(0.0, Outcome.NO_ANSWER), said(0.0))
    assert not disagree(said(None, Outcome.ERROR), said(None, Outcome.TIMEOUT))
    assert not disagree(said(0.5), said(0.0))


@pytest.mark.parametrize(
    ("detail", "texts"),
    [
        ({"gold": ["20"], "answer": ["20", "20\\%"]}, ("20", "20\\%")),
        ({"answer": "42", "by": "value"}, ("42",)),
        ({"matched": "42"}, ("42",)),
        ({"gold": ["42"], "answer": []}, None),
        ({"answer": None}, None),
        ({"class": "accepted"}, None),
        ({"answer": {"nested": 1}}, None),
    ],
)
def test_what_was_read_is_found_where_verifiers_write_it(
    detail: dict[str, object], texts: tuple[str, ...] | None
) -> None:
    assert reading(detail) == texts


def test_the_reference_is_what_a_verifier_read_of_it_or_else_what_it_is() -> None:
    assert reference_texts("#### 18", [{"gold": ["18"]}]) == ["18"]
    assert reference_texts("18", [{}]) == ["18"]
    assert reference_texts(18) == ["18"]
    assert reference_texts({"value": 5, "unit": "cm"}) == ["5"]
    assert reference_texts({"tests": []}) == []
    assert reference_texts(None) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("20\\%", "20"), ("$1,234$", "1234"), ("\\text{ 12 }", "12"), ("12.", "12"), ("18.00", "18"),
        ("-0.0", "0"), ("1e3", "1000"),
        ("**7**", "7"), ("\\dfrac{1}{2}", "\\frac{1}{2}"), ("\uff11\uff12", "12"), ("1\\,234", "1234"),
    ],
)  # fmt: skip
def test_readings_that_differ_in_notation_only_are_the_same(one: str, other: str) -> None:
    assert plain(one) == plain(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1/2", "0.5"),
        ("20", "21"),
        ("x=3", "3"),
        ("1,2", "12"),
        ("NaN", ""),
        ("1" * 40, "1" * 39 + "2"),
        ("0.1" + "0" * 30 + "1", "0.1"),
    ],
)
def test_readings_that_differ_in_more_are_not(one: str, other: str) -> None:
    assert plain(one) != plain(other)


def test_a_number_of_absurd_size_is_compared_as_text() -> None:
    assert plain("1e999999999") == "1e999999999"


def test_marks_name_how_an_answer_is_written() -> None:
    assert marks_of(["20\\%"]) == ["a percent sign"]
    assert "a thousands separator" in marks_of(["1,234"])
    assert "a fraction" in marks_of(["\\frac12"])
    assert marks_of(["42"]) == []
