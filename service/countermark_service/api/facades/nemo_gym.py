"""NeMo Gym's resources server, as its agents, verifiers' `nemo_gym` taskset and axolotl call it.

The reply to `/verify` is the request, byte for byte, with `reward` and `countermark` added. What has no score
is an HTTP error: NeMo Gym makes a failure of that rollout and tries it another time, and verifiers an
errored one. Both would take a 200 for a measured reward. axolotl makes 0 of every error, and
hands on what a 200 says; so it, and it alone (it names itself in the response that it makes up), is
told ``NaN``, which TRL leaves out of a group.

NeMo Gym and axolotl know a host and a port and no path, so the routes are at the service's root, too.
"""

import statistics
from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from countermark_service.api.bodies import decode_with
from countermark_service.api.dependencies import Parts, PartsDep, ScoringDep
from countermark_service.api.errors import bug, code_of, status_of
from countermark_service.api.facades.facade import (
    Refusal,
    facade_router,
    json_answer,
    read_json,
    worth_repeating,
)
from countermark_service.api.facades.rows import (
    Row,
    read_options,
    row_of,
    scored_rows,
    text_of_content,
    text_of_messages,
)
from countermark_service.api.intake import JSON_TYPES, read_body, require_type
from countermark_service.bundles import Bundle
from countermark_service.errors import CountermarkError, RequestError
from countermark_service.remembered import Scored
from countermark_service.scoring import reward_of

REFERENCES = ("reference", "expected_answer", "ground_truth", "answer", "label", "verifier_metadata")
"""Fields of a row that may hold the reference; the first that is there counts."""
_OWN = ("reward", "countermark")
_TASK = "_ng_task_index"
_MASK = "mask_sample"
_NAMELESS = b'{"reward":NaN,"mask_sample":true,"failure_kind":"verifier_error","failure_reason":%b}'


class _Responses(msgspec.Struct):
    verify_responses: list[dict[str, Any]] = []


_rows = msgspec.json.Decoder(dict[str, Any])
_aggregations = msgspec.json.Decoder(_Responses)
_encode = msgspec.json.encode


def refuse(error: CountermarkError) -> Refusal:
    """Answer with an error whose body says, in NeMo Gym's words, that this is no measurement."""
    again = worth_repeating(error)
    kind = "provider_unavailable" if again and code_of(error) != "verdict_failed" else "verifier_error"
    told = {
        "detail": str(error),
        "code": code_of(error),
        "failure_kind": kind,
        "failure_reason": str(error)[:2000],
    }
    return Refusal(503 if again else status_of(error), told)


router = facade_router("/nemo-gym", refuse)
at_root = facade_router("", refuse)
"""The routes without a pin, where clients without a path look for them."""


@router.post("/{ref:path}/verify")
async def verify(request: Request, ref: str, parts: ScoringDep) -> Response:
    """Reward a rollout."""
    return await _verify(request, parts, ref)


async def verify_by_row(request: Request, parts: ScoringDep) -> Response:
    """Reward a rollout whose row names its verifier."""
    return await _verify(request, parts, None)


async def seed_session(request: Request, parts: PartsDep) -> Response:
    """Begin nothing: a verifier has no state. A session that came with a name gets it back.

    A pin that leads nowhere is said here, before a rollout is made in vain.
    """
    if "ref" in request.path_params:
        parts.service.scorer.resolve(request.path_params["ref"])
    asked = await read_json(request, parts, _rows)
    named = asked.get("resources_session_id")
    return json_answer({} if named is None else {"resources_session_id": named})


async def reverify_mode(request: Request) -> Response:
    """Say that a stored rollout may be verified again at any time."""
    return json_answer("stateless")


async def aggregate_metrics(request: Request, parts: PartsDep) -> Response:
    """Return mean, greatest, least, median and deviation of every number, by task and of all."""
    asked = await read_json(request, parts, _aggregations)
    measured = [row for row in asked.verify_responses if not row.get(_MASK)]
    tasks: dict[Any, list[dict[str, Any]]] = {}
    for row in measured:
        tasks.setdefault(row.get(_TASK, 0), []).append(row)
    of_all = _statistics(measured)
    by_task = [
        {_TASK: task, **_statistics(rows)}
        for task, rows in sorted(tasks.items(), key=lambda one: str(one[0]))
    ]
    headline = {name: value for name, value in of_all.items() if name.startswith("mean/")}
    return json_answer({"group_level_metrics": by_task, "agent_metrics": of_all, "key_metrics": headline})


def _mount(target: APIRouter, prefix: str) -> None:
    target.post(f"{prefix}/seed_session")(seed_session)
    target.post(f"{prefix}/close_session")(seed_session)
    target.post(f"{prefix}/aggregate_metrics")(aggregate_metrics)
    target.get(f"{prefix}/reverify_mode")(reverify_mode)


for _router in (router, at_root):
    _router.post("/verify")(verify_by_row)
    _mount(_router, "")
_mount(router, "/{ref:path}")
at_root.post("/ng-rollout/{rollout}/verify")(verify_by_row)
_mount(at_root, "/ng-rollout/{rollout}")


async def _verify(request: Request, parts: Parts, ref: str | None) -> Response:
    require_type(request, JSON_TYPES)
    body = await read_body(request, parts.service.body_limit)
    row = decode_with(_rows, body)
    if not _is_axolotl(row):
        return Response(
            _reply(body, row, *await _rewarded(request, parts, ref, row)), media_type="application/json"
        )
    try:
        return Response(
            _reply(body, row, *await _rewarded(request, parts, ref, row)), media_type="application/json"
        )
    except CountermarkError as exc:
        error = exc
    except Exception as exc:  # noqa: BLE001 - the API's edge: this client would make a reward of 0 of a bug as well
        error = bug(request.scope["path"], exc)
    return Response(_NAMELESS % _encode(str(error)[:2000]), media_type="application/json")


async def _rewarded(
    request: Request, parts: Parts, ref: str | None, row: Mapping[str, Any]
) -> tuple[Bundle, Scored, float | None]:
    options = read_options(request.scope["query_string"])
    asked = _asked(ref, row, request)
    ((bundle, scored),) = await scored_rows(parts, [asked], options.on_failure)
    return bundle, scored, reward_of(scored[0], options.on_failure)


def _asked(ref: str | None, row: Mapping[str, Any], request: Request) -> Row:
    """Return the item that a row and its response are."""
    options = read_options(request.scope["query_string"])
    named = row.get("verifier")
    if ref is None and not isinstance(named, str):
        raise RequestError(
            "the row names no verifier: give it a field `verifier`, or put it into the path.",
            field="verifier",
        )
    if ref is not None and isinstance(named, str) and ":" in named:
        _refuse_another(request.app.state.parts, ref, named)
    at = next((name for name in REFERENCES if name in row), None)
    if at is None:
        raise RequestError(f"the row has no reference: none of {', '.join(REFERENCES)}.", field="reference")
    created = row.get("responses_create_params")
    given = created.get("input") if isinstance(created, dict) else None
    prompt = given if isinstance(given, str) else text_of_messages(given, "user")
    asked = row_of(ref or str(named), _output_text(row.get("response")), row[at], prompt, options)
    params = row.get("verifier_params", asked.item.params)
    if not isinstance(params, dict):
        raise RequestError("the row's `verifier_params` must be an object.", field="verifier_params")
    item = asked.item
    return Row(asked.ref, type(item)(item.response, item.reference, params, item.prompt))


def _refuse_another(parts: Parts, ref: str, named: str) -> None:
    """Refuse a row that names another verifier than the path."""
    if parts.service.scorer.resolve(named).digest != parts.service.scorer.resolve(ref).digest:
        message = f"the row's verifier {named[:200]!r} is not {ref[:200]!r}, which the path names: drop one of the two."
        raise RequestError(message, field="verifier")


def _output_text(response: Any) -> str:
    """Return what the model said: the texts of its messages, in order."""
    output = response.get("output") if isinstance(response, dict) else None
    if not isinstance(output, list):
        raise RequestError("`response` must be a Responses object with a list `output`.", field="response")
    messages = (one for one in output if isinstance(one, dict) and one.get("type") == "message")
    return "".join(text_of_content(message.get("content")) for message in messages)


def _is_axolotl(row: Mapping[str, Any]) -> bool:
    response = row.get("response")
    return isinstance(response, dict) and (response.get("model"), response.get("id")) == ("axolotl", "resp")


def _reply(body: bytes, row: dict[str, Any], bundle: Bundle, scored: Scored, reward: float | None) -> bytes:
    """Return the request as it came, with what was found."""
    verdict, cached = scored
    added = b'"reward":%b,"countermark":{"verifier":%b,"cached":%b,%b' % (
        _encode(reward), _encode(str(bundle.ref)), b"true" if cached else b"false", verdict.json[1:]
    )  # fmt: skip
    if any(name in row for name in _OWN):  # a stored rollout that is verified again
        body = _encode({name: value for name, value in row.items() if name not in _OWN})
    head = body.rstrip()[:-1].rstrip()
    return b"%b%b%b}" % (head, b"" if head.endswith(b"{") else b",", added)


def _statistics(rows: list[dict[str, Any]]) -> dict[str, float]:
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, int | float) and name not in (_TASK, "_ng_rollout_index", _MASK):
                columns.setdefault(name, []).append(float(value))
    found: dict[str, float] = {}
    for name, values in columns.items():
        found |= {
            f"mean/{name}": statistics.fmean(values), f"max/{name}": max(values), f"min/{name}": min(values),
            f"median/{name}": statistics.median(values),
            f"std/{name}": statistics.stdev(values) if len(values) > 1 else 0.0,
        }  # fmt: skip
    return found
