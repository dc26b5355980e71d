"""Every vector of every rule bundle gets the verdict that it must get, on every machine, for ever."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3] / "verifiers"
NAMES = [
    f"{name}:{folder.name}"
    for name in ("exact", "choice", "regex", "json-schema", "numeric", "gsm8k-answer")
    for folder in sorted((ROOT / name).iterdir())
]
CASES = [
    (name, json.loads(line))
    for name in NAMES
    for line in (ROOT / name.replace(":", "/") / "vectors.jsonl").read_text("utf-8").splitlines()
]
SCORES = {"no_answer": 0.0, "bad_reference": None}


@pytest.mark.parametrize(("name", "vector"), CASES, ids=[f"{name}-{vector['id']}" for name, vector in CASES])
def test_a_vector_gets_its_verdict_twice(
    bundle: Callable[[str], Any], name: str, vector: dict[str, Any]
) -> None:
    item = {"params": {}, "prompt": None, **vector["item"]}
    expected = vector["expect"]

    first = bundle(name).call("verify", item)
    second = bundle(name).call("verify", item)

    assert first == second
    assert first["outcome"] == expected["outcome"]
    assert first["score"] == expected.get("score", SCORES.get(expected["outcome"]))
    assert expected.get("detail", {}).items() <= first["detail"].items()


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_has_at_least_25_vectors_with_distinct_ids_and_all_three_outcomes(name: str) -> None:
    vectors = [vector for owner, vector in CASES if owner == name]

    assert len(vectors) >= 25
    assert len({vector["id"] for vector in vectors}) == len(vectors)
    assert {vector["expect"]["outcome"] for vector in vectors} == {"scored", "no_answer", "bad_reference"}


@pytest.mark.parametrize("name", NAMES)
def test_vectors_use_declared_parameters_only(bundle: Callable[[str], Any], name: str) -> None:
    declared = bundle(name).manifest.get("parameters", {}).keys()

    used = {key for owner, vector in CASES if owner == name for key in vector["item"].get("params", {})}

    assert used <= declared
    assert declared <= used, "a parameter without a vector is a promise without a proof"
