"""The OpenAPI document: what FastAPI finds, corrected where the service does otherwise.

The hot routes decode by hand, so their bodies are added; errors are
`application/problem+json`, whatever the framework assumes; and its own shape of a
validation error is never sent, so it is not promised either.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from countermark_service.api.schemas import Problem, ScoreRequest, VerifyReceiptRequest
from countermark_service.releases import ReleaseCard

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"
_REF = "#/components/schemas/{model}"
_FRAMEWORKS_OWN = ("HTTPValidationError", "ValidationError")


def problems(texts: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """Return the error answers of a route for its `responses`, by status."""
    content = {PROBLEM_JSON: {"schema": {"$ref": _REF.format(model="Problem")}}}
    return {status: {"description": text, "content": content} for status, text in texts.items()}


KEYS = {401: "Keys are set up, and this request has none that is known", 403: "The key lacks the scope"}
"""What every route that takes a key may answer."""


def document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of `app`; made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemas = made["components"]["schemas"]
        for model in (ScoreRequest, ReleaseCard, VerifyReceiptRequest, Problem):
            schema = model.model_json_schema(ref_template=_REF)
            schemas |= schema.pop("$defs", {})
            schemas[model.__name__] = schema
        for name in _FRAMEWORKS_OWN:
            schemas.pop(name, None)
        made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for operation in (one for path in made["paths"].values() for one in path.values()):
            _correct(operation)
        made["components"]["schemas"] = dict(sorted(schemas.items()))
        app.openapi_schema = made
    return app.openapi_schema


def _correct(operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    for status, answer in answers.items():
        if status >= "400" and JSON in answer.get("content", {}):
            answer["content"] = {PROBLEM_JSON: answer["content"][JSON]}
    if _FRAMEWORKS_OWN[0] in str(answers.get("422")):
        del answers["422"]
    if "401" in answers:
        operation["security"] = [{}, {"key": []}]
