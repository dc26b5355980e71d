"""HumanEval under `python-assert`: every canonical solution passes, no emptied one does."""

import ast
import gzip
import json
from typing import Any

import pytest

from tests.integration.code.conftest import Score
from tests.support import SHARED_DATA

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILE = SHARED_DATA / "HumanEval.jsonl.gz"


@pytest.fixture(scope="module")
def problems() -> list[dict[str, Any]]:
    """The rows of the data set, beside the repository."""
    if not FILE.exists():
        pytest.skip(f"{FILE} is not here")
    return [json.loads(line) for line in gzip.decompress(FILE.read_bytes()).decode().splitlines()]


async def test_every_canonical_solution_passes_as_a_completion(
    score: Score, problems: list[dict[str, Any]]
) -> None:
    verdicts = await score(
        "python-assert", *({"response": row["canonical_solution"], "reference": row} for row in problems)
    )

    assert [row["task_id"] for row, one in zip(problems, verdicts, strict=True) if one["score"] != 1.0] == []


async def test_every_canonical_solution_passes_as_a_whole_function_in_a_fence(
    score: Score, problems: list[dict[str, Any]]
) -> None:
    verdicts = await score(
        "python-assert",
        *(
            {"response": f"Here:\n```python\n{_function(row)}\n```\nDone.", "reference": row}
            for row in problems[::4]
        ),
    )

    assert [
        row["task_id"] for row, one in zip(problems[::4], verdicts, strict=True) if one["score"] != 1.0
    ] == []


@pytest.mark.parametrize(("body", "every"), [("    pass\n", 1), ("    raise SystemExit(0)\n", 4)])
async def test_no_emptied_solution_passes(
    score: Score, problems: list[dict[str, Any]], body: str, every: int
) -> None:
    chosen = problems[::every]

    verdicts = await score("python-assert", *({"response": body, "reference": row} for row in chosen))

    assert {verdict["outcome"] for verdict in verdicts} == {"scored"}
    assert [row["task_id"] for row, one in zip(chosen, verdicts, strict=True) if one["score"] != 0.0] == []


def _function(row: dict[str, Any]) -> str:
    """Return the solution without the prompt's imports, as models often write it; helpers stay out too."""
    tree = ast.parse(row["prompt"] + row["canonical_solution"])
    [function] = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == row["entry_point"]
    ]
    return ast.unparse(function)
