"""The shipped judges against their own vectors, from the transcripts in their bundles: no model, no network."""

import pytest

from countermark_service.bundles import Bundle
from countermark_service.judge import Asker, JudgeMode, read_archive
from countermark_service.model import Verdict
from countermark_service.registry import Registry
from countermark_service.runtimes import JudgeRuntime
from tests.support import REPOSITORY

BUNDLES = [bundle for bundle in Registry([REPOSITORY / "verifiers"]) if bundle.manifest.runtime == "judge"]


def test_the_four_judges_are_here() -> None:
    assert {bundle.manifest.name for bundle in BUNDLES} >= {
        f"judge/{name}" for name in ("equivalence", "rubric", "pairwise", "refusal")
    }


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.manifest.name)
async def test_every_vector_gets_its_verdict_twice(bundle: Bundle) -> None:
    lines = bundle.files["transcripts.jsonl"].splitlines(keepends=True)
    runs = []
    for _ in range(2):
        runtime = JudgeRuntime(
            Asker({}, None, mode=JudgeMode.REPLAY, fixed=list(read_archive(lines, file="here")))
        )
        found: dict[int, Verdict] = {}
        payloads = [vector.item.canonical(uses_prompt=True) for vector in bundle.vectors]
        await runtime.verify(bundle, payloads, found.__setitem__)
        await runtime.close()
        runs.append([found[index] for index in range(len(payloads))])
    for vector, verdict in zip(bundle.vectors, runs[0], strict=True):
        assert vector.expect.difference(verdict.outcome, verdict.score, verdict.detail()) is None, vector.id
    assert [one.json for one in runs[0]] == [one.json for one in runs[1]]
