"""Every vector of every code bundle, through the whole service."""

import shutil
from collections.abc import Mapping

import pytest

from countermark_service.assembly import Service
from countermark_service.model import Outcome
from tests.integration.code.conftest import Score, pinned

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEEDS: Mapping[str, str | None] = {
    "python-stdio": None,
    "python-call": None,
    "python-assert": None,
    "python-stdio-sci": None,
    "python-call-sci": None,
    "python-assert-sci": None,
    "cpp-stdio": "g++",
    "javascript-stdio": "node",
}
"""The code bundles, and the program that the machine must have for them."""
COMMON = (
    "extract.py",
    "references.py",
    "pickled.py",
    "stdio.py",
    "compare.py",
    "calls.py",
    "values.py",
    "report.py",
)


@pytest.mark.parametrize("name", NEEDS)
async def test_every_vector_gets_its_verdict(service: Service, score: Score, name: str) -> None:
    needed = NEEDS[name]
    if needed is not None and shutil.which(needed) is None:
        pytest.skip(f"{needed} is not installed")
    vectors = service.scorer.resolve(pinned(name)).vectors

    verdicts = await score(
        name,
        *(
            {
                "response": vector.item.response,
                "reference": vector.item.reference,
                "params": vector.item.params,
            }
            for vector in vectors
        ),
    )

    wrong = {
        vector.id: problem
        for vector, verdict in zip(vectors, verdicts, strict=True)
        if (
            problem := vector.expect.difference(
                Outcome(verdict["outcome"]), verdict["score"], verdict["detail"]
            )
        )
    }
    assert wrong == {}


@pytest.mark.parametrize("name", NEEDS)
async def test_a_bundle_has_at_least_25_vectors_with_every_outcome(service: Service, name: str) -> None:
    vectors = service.scorer.resolve(pinned(name)).vectors

    assert len(vectors) >= 25
    assert {vector.expect.outcome for vector in vectors} == {
        Outcome.SCORED,
        Outcome.NO_ANSWER,
        Outcome.BAD_REFERENCE,
    }


@pytest.mark.parametrize("name", NEEDS)
async def test_what_bundles_share_is_the_same_text_in_each(service: Service, name: str) -> None:
    original = service.scorer.resolve(pinned("python-stdio")).files
    found = service.scorer.resolve(pinned(name)).files

    assert [file for file in COMMON if file in found and found[file] != original[file]] == []
