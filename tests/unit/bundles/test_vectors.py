"""Vectors: read with the line of every fault, and compared with the key of every difference."""

import json
from pathlib import Path
from typing import Any

import pytest

from countermark_service.bundles import Expectation, read_bundle, read_vectors
from countermark_service.errors import VectorsError
from countermark_service.model import Outcome
from tests.support import write_bundle

GOOD = {
    "id": "plain",
    "item": {"response": "a", "reference": "a"},
    "expect": {"outcome": "scored", "score": 1.0},
}


def line(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def expecting(**parts: Any) -> bytes:
    return line(id="other", expect=parts)


def test_vectors_are_read_in_order_and_blank_lines_passed_over() -> None:
    whole = {"response": "é", "reference": {"n": [1, None]}, "params": {"p": 1}, "prompt": "q"}
    content = b"\n".join([line(), b"", b"  ", line(id="whole", item=whole), b""])

    first, second = read_vectors(content)

    assert (first.id, first.item.response, first.expect.score) == ("plain", "a", 1.0)
    assert (second.item.response, second.item.reference) == ("é", {"n": [1, None]})
    assert (second.item.params, second.item.prompt) == ({"p": 1}, "q")
    assert read_vectors(b"") == ()


FAULTS = [
    (b"not json", "malformed"),
    (b"[1]", "Expected `object`"),
    (b'{"id": "x"}', "missing required field `item`"),
    (b'{"id": "x", "item": {"response": "a", "reference": NaN}}', "malformed"),
    (b"\xff", "malformed"),
    (b'{"id": "\xff"}', "utf-8"),
    (b'{"item": {"reference": ' + b"[" * 100_000, "recursion"),
    (line(id=1), "Expected `str`"),
    (line(note="why"), "unknown field `note`"),
    (line(item={"response": "a"}), "missing required field `reference`"),
    (line(item={"response": 1, "reference": "a"}), "$.item.response"),
    (line(item={"response": "a", "reference": "a", "param": {}}), "unknown field `param`"),
    (expecting(outcome="perfect", score=1.0), "Invalid enum value"),
    (expecting(score=1.0), "missing required field `outcome`"),
    (expecting(outcome="scored"), "outcome scored cannot have the score None"),
    (expecting(outcome="scored", score="1"), "$.expect.score"),
    (expecting(outcome="scored", score=1.5), "$.expect.score"),
    (expecting(outcome="scored", score=-0.5), "$.expect.score"),
    (expecting(outcome="no_answer", score=0.5), "outcome no_answer cannot have the score 0.5"),
    (expecting(outcome="no_answer"), "outcome no_answer cannot have the score None"),
    (expecting(outcome="bad_reference", score=0.0), "outcome bad_reference cannot have the score 0.0"),
    (expecting(outcome="error", score=0.0), "outcome error cannot have the score 0.0"),
    (line(), "the id 'plain' is used twice"),
]


@pytest.mark.parametrize(("fault", "problem"), FAULTS)
def test_a_fault_names_the_file_and_the_line(fault: bytes, problem: str) -> None:
    with pytest.raises(VectorsError) as refused:
        read_vectors(b"\n".join([line(), b"", fault, line(id="later")]), file="subject/vectors.jsonl")

    error = refused.value
    assert (error.code, error.file, error.line) == ("invalid_vectors", "subject/vectors.jsonl", 3)
    assert problem in error.problem
    assert str(error).startswith("subject/vectors.jsonl, line 3: ")


def test_a_bundle_with_a_bad_vector_says_so_when_its_vectors_are_asked_for(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, "def verify(item): ...\n")
    (folder / "vectors.jsonl").write_bytes(b"\n\nnot json\n")
    bundle = read_bundle(folder)
    with pytest.raises(VectorsError, match=r"vectors\.jsonl, line 3: "):
        _ = bundle.vectors


@pytest.mark.parametrize(
    ("outcome", "score", "detail", "difference"),
    [
        (Outcome.SCORED, 1.0, {"found": "1", "more": 2}, None),
        (Outcome.NO_ANSWER, 0.0, {"found": "1"}, "outcome: expected scored, got no_answer"),
        (Outcome.SCORED, 0.0, {"found": "1"}, "score: expected 1.0, got 0.0"),
        (Outcome.SCORED, 1.0, {}, 'detail.found: expected "1", not there'),
        (Outcome.SCORED, 1.0, {"found": 1}, 'detail.found: expected "1", got 1'),
        (Outcome.ERROR, None, {"code": "verifier_raised"}, "verifier_raised"),
        (Outcome.SCORED, 0.0, {"found": "x" * 1000}, "..."),
    ],
)
def test_an_expectation_names_what_differs_and_leaves_other_details_free(
    outcome: Outcome, score: float | None, detail: dict[str, Any], difference: str | None
) -> None:
    found = Expectation(Outcome.SCORED, 1.0, {"found": "1"}).difference(outcome, score, detail)
    if difference is None:
        assert found is None
    else:
        assert found is not None
        assert difference in found
        assert len(found) < 400
