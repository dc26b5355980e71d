"""open-r1's code router: ``POST /open-r1/execute_batch``, for its E2B and its Morph client alike.

A batch of scripts, each of which runs a model's program and ends in an expression that is
its reward. A script runs as the cell of a notebook, in a sandbox (`inside.notebook`).

Both clients read a list with an entry per script, the one its `execution`, the other its
`text`. What has no result has no execution, which the E2B client makes None of, and TRL
leaves out; the Morph client knows only numbers, so there it is ``nan``, which TRL leaves
out as well. A batch is refused as a whole only where it cannot be read: the clients have no
answer to that but to stop.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
from fastapi import Request, Response

from countermark_service.api.dependencies import Parts, RunningDep
from countermark_service.api.errors import status_of
from countermark_service.api.facades.facade import Refusal, facade_router, json_answer, read_json
from countermark_service.api.facades.programs import limits_of, settled, text
from countermark_service.errors import CountermarkError, RequestError, TooLargeError
from countermark_service.running import Program
from countermark_service.runtimes.sandboxes import Kind
from countermark_service.sandbox.code.model import Status

_NOTEBOOK = (Path(__file__).parent / "inside" / "notebook.py").read_text(encoding="utf-8")
_NO_NUMBER = "nan"
_SPARE_SECONDS = 2.0
"""What an answer has for its way."""
_SCRIPTS = 4096


def refuse(error: CountermarkError) -> Refusal:
    """Say errors as the routers (FastAPI) do."""
    return Refusal(status_of(error), {"detail": str(error)})


router = facade_router("/open-r1", refuse)


class ExecuteBatch(msgspec.Struct):
    """Scripts, as both clients send them; older ones name one language for all."""

    scripts: list[str]
    languages: list[str] | None = None
    language: str | None = None
    timeout: float = 30
    request_timeout: float = 30


_body = msgspec.json.Decoder(ExecuteBatch)


@router.get("/health")
async def health() -> Response:
    """Answers as long as the service can answer anything."""
    return json_answer({"status": "ok"})


@router.post("/execute_batch")
async def execute_batch(request: Request, parts: RunningDep) -> Response:
    """Run every script of a batch."""
    asked = await read_json(request, parts, _body)
    if len(asked.scripts) > _SCRIPTS:
        message = f"{len(asked.scripts)} scripts in one batch; this service takes {_SCRIPTS}."
        raise TooLargeError("too_many_items", message, limit=_SCRIPTS)
    languages = asked.languages or [asked.language or "python"] * len(asked.scripts)
    if len(languages) != len(asked.scripts):
        message = f"{len(languages)} languages for {len(asked.scripts)} scripts: give one for each."
        raise RequestError(message, field="languages")
    limits = limits_of(asked.timeout, None)
    # The E2B client waits as long as it takes, and asks for less time than its scripts have; the Morph client
    # waits for `request_timeout`, and then takes every script of the batch for wrong.
    waits = asked.request_timeout - _SPARE_SECONDS if asked.request_timeout > asked.timeout else None
    pairs = zip(asked.scripts, languages, strict=True)
    results = await asyncio.gather(*(_executed(parts, *pair, limits, waits) for pair in pairs))
    return json_answer(results)


async def _executed(
    parts: Parts, script: str, language: str, limits: dict[str, float], waits: float | None
) -> dict[str, Any]:
    """Run one script and return its entry."""
    if language.lower() != "python":
        return _failed(f"{language[:80]} scripts do not run in this service; python ones do.")
    try:
        program = Program(Kind("python"), _NOTEBOOK, stdin=script, limits=limits)
        # Such scripts give their programs seconds on the clock, so a busy machine has a say: nothing is kept.
        ran, _ = await parts.service.runner.run(program, within=waits, lasting=False)
    except CountermarkError as exc:
        return _failed(str(exc))
    result = settled(ran)
    if result.status is not Status.OK:
        return _failed(f"the script ended by {result.status.value}: {result.message}")
    return _entry(text(result.stdout))


def _entry(printed: str) -> dict[str, Any]:
    """Return the entry for what the notebook printed."""
    try:
        told = json.loads(printed.splitlines()[-1])
        value, error, stdout, stderr = (told[name] for name in ("text", "error", "stdout", "stderr"))
    except (ValueError, LookupError, TypeError):
        return _failed("the script wrote over its own result.")
    shown = [] if value is None else [{"text": value, "is_main_result": True}]
    logs = {"stdout": [stdout] if stdout else [], "stderr": [stderr] if stderr else []}
    last_line = (stdout.strip().splitlines() or [_NO_NUMBER])[-1]
    return {
        "execution": {"results": shown, "logs": logs, "error": error, "execution_count": 1},
        "text": _NO_NUMBER if error else value or last_line,
        "exception_str": None,
    }


def _failed(why: str) -> dict[str, Any]:
    """Return the entry of a script without a result."""
    return {"execution": None, "text": _NO_NUMBER, "exception_str": why}
