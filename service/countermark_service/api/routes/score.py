"""Scoring: a batch in one answer, or a stream of any length."""

import asyncio
from collections.abc import Sequence

import msgspec
from fastapi import APIRouter, Request, Response

from countermark_service.api import replies
from countermark_service.api.bodies import asked_of, decode_batch
from countermark_service.api.dependencies import ScoringDep
from countermark_service.api.document import KEYS, problems
from countermark_service.api.hot import HotRoute
from countermark_service.api.intake import JSON_TYPES, LINE_TYPES, read_body, require_type
from countermark_service.api.schemas import ScoreResponse
from countermark_service.api.stream import ScoreStream, StreamedReply
from countermark_service.assembly import Service
from countermark_service.judge import judging
from countermark_service.model import Item, OnFailure
from countermark_service.receipts import ReleaseMark
from countermark_service.releases import ReleaseUse
from countermark_service.remembered import Scored
from countermark_service.scoring import Asked, Run

router = APIRouter(prefix="/v1/score", tags=["score"], route_class=HotRoute)

_REFUSALS = problems(
    {
        400: "Not a reference, or one without a version (the versions are in `versions`)",
        **KEYS,
        404: "No such verifier, release, or task of a release",
        409: "The pin, or what was published, does not match the bundle or the release's card; or a receipt has no key",
        410: "It is yanked, and this service refuses what is yanked",
        413: "The body, the number of items or a response is too large",
        415: "Not JSON, or packed otherwise than with gzip",
        422: "Not of the shape; `item` and `field` say where",
        424: "`on_failure` is raise and items have no score",
        429: "Saturated; ask again after `Retry-After` seconds",
        503: "The verifier cannot run here",
    }
)

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
                "example": '{"verifier": "exact:1.0.0"}\n{"response": "2", "reference": "2"}\n',
            }
        },
    }
}
_STREAM_REPLY = {
    "description": "A verdict a line, with `index`; last a line with `summary`, or with `error`",
    "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
}


@router.post(
    "", summary="Score a batch", response_model=ScoreResponse, responses=_REFUSALS, openapi_extra=_BATCH_BODY
)
async def score(request: Request, parts: ScoringDep) -> Response:
    """One verdict per item, in order. Nothing is scored where the request is refused."""
    require_type(request, JSON_TYPES)
    service = parts.service
    batch = decode_batch(await read_body(request, service.body_limit))
    asked = service.scorer.asked(**asked_of(batch))
    items = asked.items(batch.items)
    service.scorer.check(asked.bundle, items, service.item_limits)
    if batch.receipt is True:
        service.receipts.require_key()
    with judging(batch.wished_mode):
        scored, run = await service.scorer.score_batch(asked.bundle, items)
        parts.metrics.count_batch(asked.bundle, run)
        if asked.on_failure is OnFailure.RAISE:
            replies.refuse_failures(items, scored)
        receipt = await _receipt(service, asked, items, scored, run) if batch.receipt is True else None
    reply = replies.batch_json(asked, items, scored, run, receipt)
    return Response(reply, media_type="application/json")


async def _receipt(
    service: Service, asked: Asked, items: Sequence[Item], scored: Sequence[Scored], run: Run
) -> bytes:
    """Return the receipt of a batch, made in a thread: it hashes for milliseconds and writes to the ledger."""
    issued = await asyncio.to_thread(
        service.receipts.issue,
        asked.bundle,
        service.scorer.identity(asked.bundle),
        items,
        [verdict for verdict, _ in scored],
        below=service.scorer.below(asked.bundle),
        release=None if asked.use is None else _release_mark(asked.use),
    )
    if not issued.recorded:
        run.degraded.add("receipt_not_recorded")
    return issued.json


def _release_mark(use: ReleaseUse) -> ReleaseMark:
    params = msgspec.json.encode(use.route.params).decode()
    return ReleaseMark(str(use.release.ref), use.release.digest, use.task, params)


@router.post(
    "/stream",
    summary="Score a stream",
    response_class=Response,
    responses={200: _STREAM_REPLY, **_REFUSALS},
    openapi_extra=_STREAM_BODY,
)
async def stream(request: Request, parts: ScoringDep) -> Response:
    """NDJSON in: a head line `{"verifier": …}`, or `{"release": …, "task": …}`, then an item a line.
    NDJSON out: a verdict a line as it is made, with the `index` of its item; a `summary` line last. What
    goes wrong after the first line is an `error` line in place of the summary."""
    require_type(request, LINE_TYPES)
    scoring = await ScoreStream.begin(request, parts.service, parts.metrics)
    return StreamedReply(scoring.lines(), media_type="application/x-ndjson")
