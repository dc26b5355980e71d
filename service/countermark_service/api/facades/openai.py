"""OpenAI's grader endpoints, as the `openai` SDK calls them: `fine_tuning.alpha.graders.run` and `validate`.

A grader that cannot give a number for an item (it crashed, the row lacks a value, the model
refused) is answered with ``"reward": null`` and the flag that OpenAI's own errors have for it. What
may do better another time (a full queue, a model or a sandbox that is away) is a status that the SDK
sends again: 429 or 503. Neither is ever 0.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from fastapi import Request, Response

from countermark_service.api.dependencies import Parts, ScoringDep
from countermark_service.api.errors import code_of, status_of
from countermark_service.api.facades.facade import Refusal, facade_router, json_answer, judged_by, read_json
from countermark_service.api.replies import refuse_failures
from countermark_service.bundles.grader import InlineGrader, define
from countermark_service.errors import CountermarkError, VerdictFailedError
from countermark_service.model import Item, Outcome, Verdict

_AGAIN = frozenset({Outcome.ERROR, Outcome.TIMEOUT})
_FLAGS = (
    "formula_parse_error", "sample_parse_error", "truncated_observation_error", "unresponsive_reward_error",
    "invalid_variable_error", "other_error", "python_grader_server_error", "python_grader_runtime_error",
    "model_grader_server_error", "model_grader_refusal_error", "model_grader_parse_error",
)  # fmt: skip
_DETAILS = (
    "python_grader_server_error_type",
    "python_grader_runtime_error_details",
    "model_grader_server_error_details",
)
_FLAG_OF_CODE = {
    "invalid_variable": "invalid_variable_error",
    "sample_unreadable": "sample_parse_error",
    "formula_without_value": "formula_parse_error",
    "judge_refused": "model_grader_refusal_error",
    "judge_unreadable": "model_grader_parse_error",
}
_IN_VAIN = frozenset(
    {
        "judge_no_endpoint",
        "judge_key_missing",
        "judge_wrong_revision",
        "judge_refused_request",
        "transcript_missing",
    }
)
"""Failures of a model grader that sending the request again does not mend."""
_LIMIT = "GraderLimitError"
"""How `openai/python-grader` says that a source ran into a limit."""


class _Run(msgspec.Struct):
    """What the SDK sends to `run`."""

    grader: dict[str, Any]
    model_sample: str
    item: dict[str, Any] = {}


class _Validate(msgspec.Struct):
    """What the SDK sends to `validate`."""

    grader: dict[str, Any]


_runs = msgspec.json.Decoder(_Run)
_validations = msgspec.json.Decoder(_Validate)


def refuse(error: CountermarkError) -> Refusal:
    """Answer as OpenAI does: 400 for what is wrong with a request; 429 and 503, which the SDK sends again."""
    status = status_of(error)
    status = {422: 400, 424: 503}.get(status, status)
    headers = {}
    if status in (429, 503):
        headers["Retry-After"] = str(max(1, round(getattr(error, "retry_after", 1.0))))
    if isinstance(error, VerdictFailedError) and _in_vain(error):
        headers["x-should-retry"] = "false"
    kind = "invalid_request_error" if status < 429 else "server_error"
    told = {
        "message": str(error),
        "type": kind,
        "param": getattr(error, "field", None),
        "code": code_of(error),
    }
    return Refusal(status, {"error": told}, headers)


def _in_vain(error: VerdictFailedError) -> bool:
    """Whether a failure is the operator's to mend, so that the SDK had better not ask again."""
    failed = error.failed[0]
    return any(leaf.get("code") in _IN_VAIN for _, leaf in _leaves(failed["outcome"], failed["detail"]))


router = facade_router("/openai/v1", refuse)


@router.post("/fine_tuning/alpha/graders/run")
async def run(request: Request, parts: ScoringDep) -> Response:
    """Grade one sample."""
    asked = await read_json(request, parts, _runs)
    grader = _defined(parts, asked.grader)
    item = Item(asked.model_sample, asked.item)
    started = time.perf_counter()
    scored = await judged_by(parts, grader, [item])
    verdict, cached = scored[0]
    if verdict.outcome in _AGAIN and not _hit_a_limit(verdict.detail()):
        refuse_failures([item], scored, advice="Ask again later.")
    return json_answer(_reply(grader, verdict, cached, time.perf_counter() - started))


@router.post("/fine_tuning/alpha/graders/validate")
async def validate(request: Request, parts: ScoringDep) -> Response:
    """Say whether a grader can be carried out, and which verifier it is."""
    asked = await read_json(request, parts, _validations)
    grader = _defined(parts, asked.grader)
    return json_answer({"grader": asked.grader, "countermark": _named(grader)})


def _defined(parts: Parts, definition: Mapping[str, Any]) -> InlineGrader:
    return define(definition, parts.service.scorer.resolve)


def _named(grader: InlineGrader) -> dict[str, Any]:
    """Return how a reply names the verifier that a definition is."""
    return {"verifier": str(grader.ref), "digest": grader.digest, "implementation": grader.implementation}


def _reply(grader: InlineGrader, verdict: Verdict, cached: bool, seconds: float) -> dict[str, Any]:
    detail = verdict.detail()
    leaves = list(_leaves(verdict.outcome.value, detail))
    model = next((leaf["answered_by"] for _, leaf in leaves if leaf.get("answered_by")), None)
    sub_rewards = detail.get("sub_rewards", {})
    said = {"outcome": verdict.outcome.value, "score": verdict.score, "cached": cached, "detail": detail}
    return {
        "reward": detail.get("reward"),
        "metadata": {
            "name": grader.grader.name,
            "type": grader.grader.type,
            "errors": _errors(leaves),
            "execution_time": seconds,
            "scores": sub_rewards,
            "token_usage": None,
            "sampled_model_name": model,
        },
        "sub_rewards": sub_rewards,
        "model_grader_token_usage_per_model": {},
        "countermark": {**_named(grader), **said},
    }


def _leaves(outcome: str, detail: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield outcome and detail of every verdict that something can be said of: the parts, and the whole."""
    for part in detail.get("parts", {}).values():
        yield from _leaves(part["outcome"], part["detail"])
    if detail.get("code") != "part_failed":
        yield outcome, detail


def _errors(leaves: list[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return every error key that OpenAI's reply has."""
    errors: dict[str, Any] = dict.fromkeys(_FLAGS, False) | dict.fromkeys(_DETAILS)
    for outcome, detail in leaves:
        code = detail.get("code")
        if code in _FLAG_OF_CODE:
            errors[_FLAG_OF_CODE[code]] = True
        elif outcome == Outcome.ABSTAIN:
            errors["unresponsive_reward_error"] = True
        elif outcome not in (Outcome.SCORED, Outcome.NO_ANSWER):
            crashed = "class" in detail or _hit_a_limit(detail)
            errors["python_grader_runtime_error" if crashed else "other_error"] = True
            if crashed:
                errors["python_grader_runtime_error_details"] = str(detail.get("message"))
    return errors


def _hit_a_limit(detail: Mapping[str, Any]) -> bool:
    """Whether a verdict has no score because a grader's source ran into a limit, and nothing else failed."""
    if "parts" in detail:
        failed = [part for part in detail["parts"].values() if part["outcome"] in _AGAIN]
        return bool(failed) and all(_hit_a_limit(part["detail"]) for part in failed)
    return detail.get("code") == "verifier_raised" and str(detail.get("message")).startswith(_LIMIT)
