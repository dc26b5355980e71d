"""The OpenAPI document: as committed, and true.

A change of the API shows in the committed copy, so that nobody changes it unawares.
Write it anew with ``python -m tests.contract.test_openapi``. The other tests hold the
document to the running service: what it shows as an example works when it is sent,
and what is answered has the shape that it promises.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from countermark_service.api import create_app
from countermark_service.assembly import assemble
from countermark_service.settings import load_settings
from tests.support import ServiceProcess

COMMITTED = Path(__file__).with_name("openapi.json")


def made(data: Path) -> dict[str, Any]:
    """Return the document as the code makes it now."""
    service = assemble(load_settings({"data": data}, environment={}))
    return create_app(service).openapi()


def written(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


@pytest.fixture(scope="module")
def document(service: ServiceProcess) -> dict[str, Any]:
    """The document that the running service gives out."""
    found: dict[str, Any] = httpx.get(f"{service.url}/openapi.json", timeout=300).json()
    return found


def test_the_document_is_the_committed_one(document: dict[str, Any]) -> None:
    assert written(document) == COMMITTED.read_text(), "write it anew: python -m tests.contract.test_openapi"


def test_every_reference_in_the_document_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    references = {value.rpartition("/")[2] for key, value in _leaves(document) if key == "$ref"}
    assert references <= schemas.keys()
    for name in schemas:
        jsonschema.Draft202012Validator.check_schema(schemas[name])


def test_every_refusal_is_documented_as_a_problem(document: dict[str, Any]) -> None:
    refusals = [
        answer["content"]
        for operations in document["paths"].values()
        for operation in operations.values()
        for status, answer in operation["responses"].items()
        if status >= "400"
    ]
    assert len(refusals) > 20
    assert all(list(content) == ["application/problem+json"] for content in refusals)


def test_the_example_of_a_batch_works_and_its_answer_has_the_promised_shape(
    document: dict[str, Any], service_url: str
) -> None:
    operation = document["paths"]["/v1/score"]["post"]
    examples = _schema(document, "ScoreRequest")["examples"]
    assert examples
    for example in examples:
        _valid(document, "ScoreRequest", example)
        answer = httpx.post(f"{service_url}/v1/score", json=example, timeout=300)
        assert answer.status_code == 200, answer.text
        assert [one["score"] for one in answer.json()["verdicts"]] == [1.0] * len(example["items"])
        content = operation["responses"]["200"]["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/ScoreResponse"}
        _valid(document, "ScoreResponse", answer.json())
        assert answer.json().keys() <= _schema(document, "ScoreResponse")["properties"].keys()
        for verdict in answer.json()["verdicts"]:
            assert verdict.keys() == _schema(document, "VerdictSchema")["properties"].keys()


def test_the_example_of_a_stream_works(document: dict[str, Any], service_url: str) -> None:
    operation = document["paths"]["/v1/score/stream"]["post"]
    example = operation["requestBody"]["content"]["application/x-ndjson"]["example"]
    answer = httpx.post(
        f"{service_url}/v1/score/stream",
        content=example.encode(),
        headers={"Content-Type": "application/x-ndjson"},
        timeout=300,
    )
    *verdicts, last = [json.loads(line) for line in answer.text.splitlines()]
    assert answer.status_code == 200
    assert [one["score"] for one in verdicts] == [1.0] * (len(example.splitlines()) - 1)
    assert list(last) == ["summary"]


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/v1/verifiers", "VerifierList"),
        ("/v1/verifiers/numeric:1.0.0", "VerifierDetail"),
        ("/readyz", "Ready"),
    ],
)
def test_what_is_shown_has_the_promised_shape(
    document: dict[str, Any], service_url: str, path: str, schema: str
) -> None:
    shown = httpx.get(service_url + path, timeout=300).json()
    _valid(document, schema, shown)
    assert shown.keys() == _schema(document, schema)["properties"].keys()


def test_an_error_has_the_promised_shape(document: dict[str, Any], service_url: str) -> None:
    for path in ("/v1/verifiers/nobody:1", "/v1/nothing"):
        problem = httpx.get(service_url + path, timeout=300).json()
        _valid(document, "Problem", problem)
        assert list(problem)[:5] == list(_schema(document, "Problem")["properties"])


def _schema(document: dict[str, Any], name: str) -> dict[str, Any]:
    schema: dict[str, Any] = document["components"]["schemas"][name]
    return schema


def _valid(document: dict[str, Any], name: str, value: Any) -> None:
    """Hold a value to a schema of the document."""
    whole = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of a document that is neither a list nor an object, with its key."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _leaves(one, name)
    elif isinstance(value, list):
        for one in value:
            yield from _leaves(one, key)
    else:
        yield key, value


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        COMMITTED.write_text(written(made(Path(folder))))
