"""What all facades share: how a body is read, how items are scored, how errors are answered."""

import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from countermark_service.api.bodies import decode_with
from countermark_service.api.dependencies import Parts
from countermark_service.api.errors import bug, status_of
from countermark_service.api.hot import HotRoute
from countermark_service.api.intake import JSON_TYPES, read_body, require_type
from countermark_service.api.replies import refuse_failures
from countermark_service.bundles import Bundle
from countermark_service.errors import CountermarkError, RequestError, VerdictFailedError
from countermark_service.model import Item, Outcome
from countermark_service.remembered import Scored

_T = TypeVar("_T")
_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass(frozen=True)
class Refusal:
    """How a facade's client is told of an error."""

    status: int
    body: Any
    """JSON."""
    headers: Mapping[str, str] = field(default_factory=dict)


Refuse = Callable[[CountermarkError], Refusal]


def facade_router(prefix: str, refuse: Refuse) -> APIRouter:
    """Return a router for one facade, whose every error is answered by `refuse`."""
    return APIRouter(prefix=prefix, route_class=_answering(refuse), include_in_schema=False)


def _answering(refuse: Refuse) -> type[HotRoute]:
    class FacadeRoute(HotRoute):
        """A route that lets no error pass in another shape than its client reads."""

        def get_route_handler(self) -> _Handler:
            handle = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                try:
                    return await handle(request)
                except ClientDisconnect:
                    raise  # nobody is left to be answered
                except CountermarkError as exc:
                    refusal = refuse(exc)
                except Exception as exc:  # noqa: BLE001 - the API's edge, in the shape of this facade
                    refusal = refuse(bug(request.scope["path"], exc))
                return json_answer(refusal.body, status=refusal.status, headers=refusal.headers)

            return guarded

    return FacadeRoute


def worth_repeating(error: CountermarkError) -> bool:
    """Whether the same request may do better another time: no key gets better by that, a full queue does."""
    if isinstance(error, VerdictFailedError):
        return any(one["outcome"] != Outcome.BAD_REFERENCE.value for one in error.failed)
    status = status_of(error)
    return status >= 500 or status == 429


def json_answer(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response."""
    content = msgspec.json.encode(body, enc_hook=str)
    return Response(content, status, headers, media_type="application/json")


async def read_json(request: Request, parts: Parts, decoder: msgspec.json.Decoder[_T]) -> _T:
    """Read a request's body, within the limits of the native API.

    Args:
        request: The request.
        parts: The app's parts, for the limits.
        decoder: What the body must be; its structs ignore unknown keys unless they say otherwise.

    Raises:
        RequestError: Not JSON, too large, or not of the shape; says where.
    """
    require_type(request, JSON_TYPES)
    body = await read_body(request, parts.service.body_limit)
    try:
        return decode_with(decoder, body)
    except RequestError:
        if b"\\ud" not in body.lower():
            raise
        return _with_halves(decoder, body)


def _with_halves(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    """Read a body that holds halves of surrogate pairs, as models write them.

    The fast decoder takes none. A program that holds one is a program that cannot be compiled, which is
    for the sandbox to say; to refuse it would be a fault of ours in its client's eyes.
    """
    try:
        return msgspec.convert(json.loads(body), decoder.type)
    except (ValueError, RecursionError) as exc:
        raise RequestError(f"the body cannot be read: {str(exc)[:300]}.") from exc


async def judged(parts: Parts, ref: str, items: Sequence[Item]) -> tuple[Bundle, list[Scored]]:
    """Score `items` under the verifier that `ref` means; one verdict per item, in order, failures among them.

    Raises:
        CountermarkError: What `POST /v1/score` refuses.
    """
    bundle = parts.service.scorer.resolve(ref)
    return bundle, await judged_by(parts, bundle, items)


async def judged_by(parts: Parts, bundle: Bundle, items: Sequence[Item]) -> list[Scored]:
    """Score `items` under a bundle that is at hand; as `judged` does."""
    service = parts.service
    service.scorer.check(bundle, items, service.item_limits)
    scored, run = await service.scorer.score_batch(bundle, items)
    parts.metrics.count_batch(bundle, run)
    return scored


def scores_of(items: Sequence[Item], scored: Sequence[Scored]) -> list[float]:
    """Return the score of each item, in order, for clients that know nothing but numbers.

    Raises:
        VerdictFailedError: Some verdicts have no score, and no number may stand for that.
    """
    refuse_failures(items, scored, advice="The other verdicts are kept, so asking again costs little.")
    return [verdict.score for verdict, _ in scored if verdict.score is not None]
