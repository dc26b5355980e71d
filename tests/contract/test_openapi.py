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
from countermark_service.api.document import JSON
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


async def test_every_body_has_an_example_that_is_valid_and_works(shared_root: Path, tmp_path: Path) -> None:
    (shared_root / "environments").mkdir(exist_ok=True)
    (tmp_path / "environments").symlink_to(shared_root / "environments")
    service = assemble(load_settings({"data": tmp_path}, environment={}))
    app = create_app(service)
    document = app.openapi()
    bodies = {
        path: operations["post"]["requestBody"]["content"][JSON]
        for path, operations in document["paths"].items()
        if JSON in operations.get("post", {}).get("requestBody", {}).get("content", {})
    }
    wanted = {
        "/v1/score": (200, "ScoreResponse"),
        "/v1/releases": (201, "ReleaseSummary"),
        "/v1/receipts/verify": (200, "ReceiptFinding"),
        "/v1/run": (200, "RunResponse"),
    }
    assert bodies.keys() == wanted.keys()
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service", timeout=120) as client,
    ):
        for path, content in bodies.items():
            named = content["schema"].get("$ref", "").rpartition("/")[2]
            example = content.get("example") or _schema(document, named)["examples"][0]
            whole = {**content["schema"], "components": document["components"]}
            jsonschema.Draft202012Validator(whole).validate(example)
            status, shape = wanted[path]
            answer = await client.post(path, json=example)
            if path == "/v1/run" and answer.json().get("code") == "sandbox_unavailable":
                continue  # this machine holds no program
            assert answer.status_code == status, answer.text
            _valid(document, shape, answer.json())


def test_every_parameter_of_a_path_has_an_example(document: dict[str, Any]) -> None:
    parameters = [
        one
        for operations in document["paths"].values()
        for operation in operations.values()
        for one in operation.get("parameters", ())
    ]
    assert len(parameters) >= 2
    assert all(one["schema"].get("examples") for one in parameters)


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/v1/verifiers", "VerifierList"),
        ("/v1/verifiers/composite/boxed-numeric:1.0.0", "VerifierDetail"),
        ("/v1/verifiers/judge/pairwise:1.0.0", "VerifierDetail"),
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


def test_a_verifier_shows_what_it_is_made_of(service_url: str) -> None:
    def table(ref: str) -> Any:
        return httpx.get(f"{service_url}/v1/verifiers/{ref}").json()["runtime_table"]

    assert table("numeric:1.0.0") is None
    assert table("python-stdio:1.0.7")["language"] == "python"
    assert table("judge/equivalence:1.0.0")["messages"][0]["role"] == "system"
    composite = table("composite/boxed-numeric:1.0.0")
    assert composite["combine"] == "gate"
    assert [child["verifier"].partition("@sha256:")[0] for child in composite["children"]] == [
        "regex:1.0.0",
        "numeric:1.0.0",
    ]


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
