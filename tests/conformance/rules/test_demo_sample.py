"""The demo's sample is what its README says, and its plain numbers are labelled consistently."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEMO = Path(__file__).parents[3] / "service/countermark_service/demo"
ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in (DEMO / "sample.jsonl").read_text("utf-8").splitlines()
]


def test_every_line_has_the_declared_fields_and_its_own_id() -> None:
    types = {"id": str, "prompt": str, "response": str, "reference": str, "right": bool, "shape": str}

    for row in ROWS:
        assert {key: type(value) for key, value in row.items()} == types
        assert row["id"].startswith(row["shape"])
    assert len({row["id"] for row in ROWS}) == len(ROWS) == 229


def test_the_sample_has_many_shapes_and_its_readme_counts_it() -> None:
    readme = (DEMO / "README.md").read_text("utf-8")
    right = sum(row["right"] for row in ROWS)

    assert len({row["shape"] for row in ROWS}) >= 30
    assert f"{len(ROWS)} answers" in readme
    assert f"{right} responses are right and {len(ROWS) - right} are wrong" in readme
    assert "by a language model" in readme


def test_numeric_rewards_no_number_that_is_labelled_wrong(bundle: Callable[[str], Any]) -> None:
    scored = [(row, bundle("numeric").verify(row["response"], row["reference"])) for row in ROWS]
    numbers = [(row, verdict) for row, verdict in scored if verdict["outcome"] == "scored"]

    assert len(numbers) > 100
    wrongly_right = {row["id"] for row, verdict in numbers if verdict["score"] == 1.0 and not row["right"]}
    # Prose around a box is ignored by definition: here it says that the boxed number is not the answer.
    assert wrongly_right == {"negated-01"}
