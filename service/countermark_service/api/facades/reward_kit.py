"""reward-kit's (and eval-protocol's) remote evaluator: `POST …/evaluate`, `GET …/health`.

Its client raises on what is not a 2xx, and reads no `is_score_valid` of the whole; the shim that
its evaluators are deployed with makes ``is_score_valid: false`` of such an error. So what has no score
is an error, and what has one says that it is valid.
"""

from dataclasses import replace
from typing import Any

import msgspec
from fastapi import Request, Response

from countermark_service.api.dependencies import Parts
from countermark_service.api.errors import status_of
from countermark_service.api.facades.facade import (
    Refusal,
    facade_router,
    json_answer,
    read_json,
    worth_repeating,
)
from countermark_service.api.facades.rows import read_options, row_of, scored_rows, text_of_messages
from countermark_service.errors import CountermarkError, RequestError


class _Evaluation(msgspec.Struct):
    """What the clients send; one of them puts its extra arguments beside, the other into `kwargs`."""

    messages: list[dict[str, Any]]
    ground_truth: Any = None
    params: dict[str, Any] | None = None
    kwargs: dict[str, Any] | None = None


_evaluations = msgspec.json.Decoder(_Evaluation)


def refuse(error: CountermarkError) -> Refusal:
    """Answer as reward-kit's own server does, with a word on validity."""
    status = 503 if worth_repeating(error) else status_of(error)
    return Refusal(status, {"detail": str(error), "is_score_valid": False, "error": str(error)})


router = facade_router("/reward-kit", refuse)


async def _may_score(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    key = request.headers.get("x-api-key")
    parts.service.access.require(f"Bearer {key}" if key else request.headers.get("authorization"), "score")
    return parts


@router.get("/{ref:path}/health")
async def health(request: Request, ref: str) -> Response:
    """Say whether the verifier is here."""
    bundle = request.app.state.parts.service.scorer.resolve(ref)
    return json_answer({"status": "ok", "reward_function": str(bundle.ref)})


@router.post("/{ref:path}/evaluate")
async def evaluate(request: Request, ref: str) -> Response:
    """Evaluate the last assistant message of a conversation."""
    parts = await _may_score(request)
    options = read_options(request.scope["query_string"])
    asked = await read_json(request, parts, _evaluations)
    response = text_of_messages(asked.messages, "assistant")
    if response is None:
        raise RequestError(
            "messages has no message of the assistant, which is what is scored.", field="messages"
        )
    params = asked.params or (asked.kwargs or {}).get("params") or options.params
    options = replace(options, params=params)
    prompt = text_of_messages(asked.messages, "user")
    row = row_of(ref, response, asked.ground_truth, prompt, options)
    ((bundle, (verdict, cached)),) = await scored_rows(parts, [row], options.on_failure)
    detail = {
        "outcome": verdict.outcome.value,
        "verifier": str(bundle.ref),
        "cached": cached,
        "detail": verdict.detail(),
    }
    return json_answer(
        {
            "score": verdict.score if verdict.score is not None else 0.0,
            "is_score_valid": verdict.score is not None,
            "reason": f"{verdict.outcome.value} by {bundle.ref}",
            "metrics": {},
            "step_outputs": None,
            "error": None,
            "countermark": detail,
        }
    )
