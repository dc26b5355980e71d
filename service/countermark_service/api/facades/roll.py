"""ROLL's remote reward system: a task is submitted, and its result asked for.

``POST /roll/{ref}/submit_task`` and ``GET /roll/{ref}/task_result`` (with a JSON body, as
ROLL sends it); without a pin in the path, `reward_manager.verifier` names it. The key may
come as `XRL-Authorization`, which is the header that ROLL's settings fill.

The service keeps no tasks: the id of a task is the task itself, packed, so a restart or
another replica behind the same address answers it all the same. Submitting starts the
work, so its verdict is under way, or stored, when it is asked for.

ROLL asks again every 2 s for up to its own time limit, unless it is told a result; so
what may come yet is "running" or an error, and what can never have a score is a result
without one. ROLL then submits four times more before it puts 0, and says so in its log.
"""

import asyncio
import base64
import binascii
import logging
import zlib
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Request, Response

from countermark_service.api.dependencies import Parts
from countermark_service.api.errors import status_of
from countermark_service.api.facades.facade import (
    Refusal,
    facade_router,
    json_answer,
    judged,
    read_json,
    scores_of,
    worth_repeating,
)
from countermark_service.bundles import Bundle
from countermark_service.errors import CountermarkError, RequestError, VerdictFailedError
from countermark_service.model import Item
from countermark_service.remembered import Scored

_log = logging.getLogger(__name__)

_DONE, _RUNNING, _FAILED = 0, 1, 2
"""ROLL's codes: a result, not yet, an error."""
_ANSWER_SECONDS = 15.0
"""How long a question for a result waits for it; ROLL's client reads for 20 s."""


def refuse(error: CountermarkError) -> Refusal:
    """Say errors with ROLL's code beside the status; it asks again whatever they are."""
    status = 503 if worth_repeating(error) else status_of(error)
    return Refusal(status, {"errcode": _FAILED, "errmsg": str(error)})


async def may_score(request: Request) -> Parts:
    """Return the parts of the app to a caller who may score, with the key in either header."""
    parts: Parts = request.app.state.parts
    key = request.headers.get("authorization") or request.headers.get("xrl-authorization")
    parts.service.access.require(key, "score")
    return parts


_ScoringDep = Annotated[Parts, Depends(may_score)]

router = facade_router("/roll", refuse)


class SubmitTask(msgspec.Struct):
    """A task, as ROLL sends it, as far as it counts here."""

    response: str
    reward_info: Any
    prompt: str | None = None
    reward_manager: dict[str, Any] | None = None


class TaskResult(msgspec.Struct):
    """The question for a result."""

    reward_request_id: str


class Task(msgspec.Struct, array_like=True):
    """What the id of a task holds."""

    ref: str
    item: Item


_submit = msgspec.json.Decoder(SubmitTask)
_result = msgspec.json.Decoder(TaskResult)
_task = msgspec.json.Decoder(Task)
_under_way: set["asyncio.Task[tuple[Bundle, list[Scored]]]"] = set()
"""Keeps what was begun alive until it ends."""


@router.post("/submit_task")
async def submit_task(request: Request, parts: _ScoringDep) -> Response:
    """Take a task whose `reward_manager` names the verifier."""
    return await _submitted(request, parts, None)


@router.post("/{ref:path}/submit_task")
async def submit_task_as(request: Request, ref: str, parts: _ScoringDep) -> Response:
    """Take a task for the verifier of the path."""
    return await _submitted(request, parts, ref)


@router.get("/task_result")
@router.get("/{ref:path}/task_result")
async def task_result(request: Request, parts: _ScoringDep) -> Response:
    """Return the score of a task, or that it is not there yet."""
    asked = await read_json(request, parts, _result)
    task = _unpacked(asked.reward_request_id, parts.service.body_limit)
    work = _begun(parts, task)
    done, _ = await asyncio.wait({work}, timeout=_ANSWER_SECONDS)
    if not done:
        return json_answer({"errcode": _RUNNING, "errmsg": "running"})
    try:
        bundle, scored = work.result()
        (score,) = scores_of([task.item], scored)
    except VerdictFailedError as exc:
        if worth_repeating(exc):
            raise
        return json_answer({"errcode": _DONE, "errmsg": str(exc), "reward_score": None})
    outcome = scored[0][0].outcome.value
    return json_answer(
        {
            "errcode": _DONE,
            "reward_score": score,
            "dimention_reward_score": {
                str(bundle.ref): {"score": score, "outcome": outcome, "debug_info": {}}
            },
        }
    )


async def _submitted(request: Request, parts: Parts, ref: str | None) -> Response:
    """Begin a task and return its id. What cannot be scored is said now, not when it is asked for."""
    asked = await read_json(request, parts, _submit)
    manager = asked.reward_manager or {}
    if ref is None:
        ref = manager.get("verifier")
        if not isinstance(ref, str):
            message = "no verifier is named: put its pin into the path, or into reward_manager as `verifier`."
            raise RequestError(message, field="reward_manager")
    item = Item(asked.response, _reference(asked.reward_info), manager.get("params") or {}, asked.prompt)
    bundle = parts.service.scorer.resolve(ref)
    parts.service.scorer.check(bundle, [item], parts.service.item_limits)
    task = Task(str(bundle.ref), item)
    _begun(parts, task)
    return json_answer({"errcode": _DONE, "reward_request_id": _packed(task)})


def _reference(info: Any) -> Any:
    """Return what a response is held against: by its name, or else everything that is given."""
    if isinstance(info, dict):
        for name in ("reference", "ground_truth", "test_cases"):
            if name in info:
                return info[name]
    return info


def _begun(parts: Parts, task: Task) -> "asyncio.Task[tuple[Bundle, list[Scored]]]":
    """Score a task; equal ones that are under way or stored are not scored again."""
    work = asyncio.create_task(judged(parts, task.ref, [task.item]))
    _under_way.add(work)
    work.add_done_callback(_ended)
    return work


def _ended(work: "asyncio.Task[tuple[Bundle, list[Scored]]]") -> None:
    _under_way.discard(work)
    if (
        not work.cancelled()
        and (failed := work.exception()) is not None
        and not isinstance(failed, CountermarkError)
    ):
        _log.error("a task of ROLL's has ended in a bug", exc_info=failed)


def _packed(task: Task) -> str:
    try:
        content = msgspec.json.encode(task)
    except (ValueError, TypeError, RecursionError) as exc:
        raise RequestError(f"the task cannot be written as JSON: {exc}.") from exc
    return base64.urlsafe_b64encode(zlib.compress(content, 1)).decode()


def _unpacked(task_id: str, limit: int) -> Task:
    """Return the task that an id holds; it has at most `limit` bytes.

    Raises:
        RequestError: It is none of this service's.
    """
    try:
        unpack = zlib.decompressobj()
        content = unpack.decompress(base64.b64decode(task_id, b"-_", validate=True), limit)
        return _task.decode(content)
    except (binascii.Error, ValueError, zlib.error, msgspec.MsgspecError, RecursionError) as exc:
        raise RequestError(
            "reward_request_id: no id of a task of this service.", field="reward_request_id"
        ) from exc
