"""Scoring: a batch in one answer, or a stream of any length."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from countermark_service.api import replies
from countermark_service.api.bodies import (
    JSON_TYPES,
    LINE_TYPES,
    decode_batch,
    id_of,
    items_of,
    read_body,
    require_type,
)
from countermark_service.api.dependencies import MayScore, MetricsDep, ServiceDep
from countermark_service.api.schemas import Problem, ScoreRequest, ScoreResponse
from countermark_service.api.stream import ScoreStream
from countermark_service.model import OnFailure, Verdict

router = APIRouter(prefix="/v1/score", tags=["score"])

_REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": text}
    for code, text in {
        400: "The reference names no version",
        404: "No such verifier",
        409: "The pin does not match the bundle",
        413: "The body, the number of items or a response is too large",
        415: "Not JSON",
        422: "Not of the shape; `item` and `field` say where",
        424: "`on_failure` is raise and items have no score",
        429: "Saturated; ask again after `Retry-After` seconds",
        503: "The verifier cannot run here",
    }.items()
}
_SCHEMA = ScoreRequest.model_json_schema(ref_template="#/components/schemas/{model}")
REQUEST_SCHEMAS: dict[str, Any] = {**_SCHEMA.pop("$defs"), "ScoreRequest": _SCHEMA}
"""Schemas of the bodies that are decoded by hand, for the components of the OpenAPI document."""

_BATCH_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ScoreRequest"}}},
    }
}
_STREAM_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-ndjson": {
                "schema": {"type": "string"},
                "example": '{"verifier": "math-verify:0.9.0"}\n{"response": "\\\\boxed{2}", "reference": "2"}\n',
            }
        },
    }
}


@router.post(
    "", summary="Score a batch", response_model=ScoreResponse, responses=_REFUSALS, openapi_extra=_BATCH_BODY
)
async def score(request: Request, service: ServiceDep, metrics: MetricsDep, key: MayScore) -> Response:
    """One verdict per item, in order. Nothing is scored where the request is refused."""
    require_type(request, JSON_TYPES)
    body = decode_batch(await read_body(request, service.body_limit))
    bundle = service.scorer.resolve(body.verifier)
    items = items_of(body.items)
    service.scorer.check(bundle, items, service.item_limits)
    scored: list[tuple[Verdict, bool] | None] = [None] * len(items)

    def take(index: int, verdict: Verdict, cached: bool) -> None:
        scored[index] = (verdict, cached)

    run = await service.scorer.score(bundle, items, take)
    whole = [one for one in scored if one is not None]
    metrics.count_batch(bundle, whole)
    ids = [id_of(item) for item in body.items]
    on_failure = OnFailure.NULL if body.on_failure is msgspec.UNSET else body.on_failure
    if on_failure is OnFailure.RAISE:
        replies.refuse_failures(whole, ids)
    return Response(replies.batch_json(bundle, whole, ids, on_failure, run), media_type="application/json")


@router.post(
    "/stream",
    summary="Score a stream",
    responses={200: {"content": {"application/x-ndjson": {}}}, **_REFUSALS},
    openapi_extra=_STREAM_BODY,
)
async def stream(request: Request, service: ServiceDep, metrics: MetricsDep, key: MayScore) -> Response:
    """NDJSON in: a head line `{"verifier": …}`, then an item a line. NDJSON out: a verdict
    a line as it is made, with the `index` of its item; a `summary` line last. What goes
    wrong after the first line is an `error` line in place of the summary."""
    require_type(request, LINE_TYPES)
    scoring = await ScoreStream.begin(request, service, metrics)
    return StreamingResponse(scoring.lines(), media_type="application/x-ndjson")
