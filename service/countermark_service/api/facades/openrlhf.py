"""OpenRLHF's remote reward model, as `--reward.remote_url` (0.8: `--remote_rm_url`) calls it.

The client sends again, five times, whatever is not a 2xx. So a batch in which an item has no
score is an error as a whole: the client knows numbers only, and none of them means "no verdict".
"""

from typing import Any

import msgspec
from fastapi import Request, Response

from countermark_service.api.dependencies import Parts, ScoringDep
from countermark_service.api.facades.facade import facade_router, read_json
from countermark_service.api.facades.rows import after_prompt, read_options, refused_row, row_of, scored_rows
from countermark_service.errors import RequestError
from countermark_service.scoring import reward_of


class _Batch(msgspec.Struct):
    """What the client sends. `query` is singular, and a list."""

    query: list[str]
    prompts: list[str] | None = None
    labels: list[Any] | None = None


_batches = msgspec.json.Decoder(_Batch)
_encode = msgspec.json.encode


router = facade_router("/openrlhf", refused_row)


@router.post("/get_reward")
async def get_reward_by_label(request: Request, parts: ScoringDep) -> Response:
    """Reward a batch whose labels name their verifiers."""
    return await _rewards(request, parts, None)


@router.post("/{ref:path}/get_reward")
async def get_reward(request: Request, ref: str, parts: ScoringDep) -> Response:
    """Reward a batch, of any length."""
    return await _rewards(request, parts, ref)


async def _rewards(request: Request, parts: Parts, ref: str | None) -> Response:
    options = read_options(request.scope["query_string"])
    batch = await read_json(request, parts, _batches)
    count = len(batch.query)
    prompts = [""] * count if batch.prompts is None else batch.prompts
    labels = [None] * count if batch.labels is None else batch.labels
    if not len(prompts) == len(labels) == count:
        lengths = f"{count}, {len(prompts)} and {len(labels)}"
        message = f"query, prompts and labels must be as long as each other, not {lengths}."
        raise RequestError(message, field="query")
    rows = [
        row_of(ref, after_prompt(query, prompt, options, index), label, prompt, options, index)
        for index, (query, prompt, label) in enumerate(zip(batch.query, prompts, labels, strict=True))
    ]
    if ref is not None and not rows:
        parts.service.scorer.resolve(ref)
    scored = await scored_rows(parts, rows, options.on_failure)
    rewards = _encode([reward_of(verdict, options.on_failure) for _, (verdict, _) in scored])
    # Lists, which 0.8 joins as they are; and no logs, which it could not join.
    return Response(
        b'{"rewards":%b,"scores":%b,"extra_logs":{}}' % (rewards, rewards), media_type="application/json"
    )
