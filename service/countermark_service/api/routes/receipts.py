"""Receipts: the keys that sign them, and whether one holds."""

import asyncio
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from countermark_service.api.bodies import decode_receipt_body
from countermark_service.api.dependencies import AuditingDep, PartsDep
from countermark_service.api.document import KEYS, problems
from countermark_service.api.examples import RECEIPT
from countermark_service.api.intake import JSON_TYPES, read_body, require_type
from countermark_service.api.schemas import ReceiptFinding, SigningKeySet
from countermark_service.receipts import ReceiptError, check, read

router = APIRouter(prefix="/v1/receipts", tags=["receipts"])

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/VerifyReceiptRequest"},
                "example": RECEIPT,
            }
        },
    }
}
_REFUSALS = problems(
    {
        **KEYS,
        413: "The body is too large",
        415: "Not JSON, or packed otherwise than with gzip",
        422: "Not of the shape; `item` and `field` say where",
        503: "The key set of this service cannot be read",
    }
)


@router.get("/keys", summary="Show the signing keys", response_model=SigningKeySet)
async def keys(parts: PartsDep) -> Response:
    """The public keys of this service's receipts, retired ones too. Anybody may have them."""
    return Response(parts.service.receipts.keyring.public().encoded(), media_type="application/json")


@router.post(
    "/verify",
    summary="Check a receipt",
    response_model=ReceiptFinding,
    response_model_exclude_unset=True,
    responses=_REFUSALS,
    openapi_extra=_BODY,
)
async def verify(request: Request, parts: AuditingDep) -> Response:
    """Whether a receipt holds under this service's keys, and what it proves. One that does not
    hold is answered with `valid: false`, a `code` and a sentence; it is no error of the request.
    `countermark receipt verify` does the same without any service."""
    require_type(request, JSON_TYPES)
    body = decode_receipt_body(await read_body(request, parts.service.body_limit))
    known = parts.service.receipts.keyring.public()

    def judge() -> dict[str, Any]:
        try:
            held = read(body.receipt)
            return check(held, known, items=body.items, verdicts=body.verdicts).summary()
        except ReceiptError as exc:
            return {"valid": False, "code": exc.code, "detail": str(exc)}

    return Response(msgspec.json.encode(await asyncio.to_thread(judge)), media_type="application/json")
