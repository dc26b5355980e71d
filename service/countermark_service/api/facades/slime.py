"""slime's remote reward, as `--rm-type remote_rm --rm-url` calls it (and miles, which has the same client).

The whole reply becomes the sample's reward, of which `--reward-key score` takes the number; so
verdict, pin and detail stay with the sample. The client sends again, ten times, what is not a 200.
"""

from typing import Any

import msgspec
from fastapi import Request, Response

from countermark_service.api.dependencies import Parts, ScoringDep
from countermark_service.api.facades.facade import facade_router, read_json
from countermark_service.api.facades.rows import (
    read_options,
    refused_row,
    row_of,
    scored_rows,
    text_of_messages,
)
from countermark_service.api.replies import verdict_json


class _Sample(msgspec.Struct):
    """What the client sends."""

    response: str
    prompt: str | list[dict[str, Any]] | None = None
    label: Any = None


_samples = msgspec.json.Decoder(_Sample)
_encode = msgspec.json.encode


router = facade_router("/slime", refused_row)


@router.post("")
async def by_label(request: Request, parts: ScoringDep) -> Response:
    """Reward a sample whose label names its verifier."""
    return await _reward(request, parts, None)


@router.post("/{ref:path}")
async def reward(request: Request, ref: str, parts: ScoringDep) -> Response:
    """Reward a sample."""
    return await _reward(request, parts, ref)


async def _reward(request: Request, parts: Parts, ref: str | None) -> Response:
    options = read_options(request.scope["query_string"])
    sample = await read_json(request, parts, _samples)
    prompt = sample.prompt if isinstance(sample.prompt, str) else text_of_messages(sample.prompt, "user")
    row = row_of(ref, sample.response, sample.label, prompt, options)
    ((bundle, scored),) = await scored_rows(parts, [row], options.on_failure)
    verdict = verdict_json(scored, None, options.on_failure)
    reply = b'{"verifier":%b,%b' % (_encode(str(bundle.ref)), verdict[1:])
    return Response(reply, media_type="application/json")
