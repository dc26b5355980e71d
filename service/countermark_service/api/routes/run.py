"""A raw run: a program in, what it wrote and used out. Nothing is judged."""

import base64
import binascii
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, ValidationError

from countermark_service.api.dependencies import RunningDep
from countermark_service.api.document import KEYS, problems
from countermark_service.api.examples import RUN
from countermark_service.api.intake import JSON_TYPES, read_body, require_type
from countermark_service.api.repeats import refuse_double_keys
from countermark_service.bundles.manifest import SANDBOX_LIMITS
from countermark_service.errors import RequestError
from countermark_service.runtimes.raw_run import RawRun, run_raw
from countermark_service.runtimes.runs import readable
from countermark_service.runtimes.sandboxes import Kind

router = APIRouter(prefix="/v1/run", tags=["run"])

_REFUSALS = problems(
    {
        **KEYS,
        403: "The key lacks the scope `run`",
        413: "The body is too large",
        415: "Not JSON",
        422: "Not of the shape, or a limit out of bounds",
        429: "Saturated; ask again after `Retry-After` seconds",
        503: "The language or the containment is not to be had here",
    }
)


def _from_base64(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError("a file is a text, its content as base64")
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as exc:
        raise ValueError(f"not base64: {exc}") from exc


class RunRequest(BaseModel):
    """A program and what it finds."""

    model_config = ConfigDict(extra="forbid", strict=True)
    language: Literal["python", "cpp", "javascript"]
    code: str
    stdin: str = ""
    files: dict[str, Annotated[bytes, BeforeValidator(_from_base64)]] = Field(
        {}, description="Content by relative path, as base64."
    )
    limits: dict[str, FiniteFloat] = Field({}, description=f"Some of {', '.join(SANDBOX_LIMITS)}.")


class RunResponse(BaseModel):
    """What the program came to."""

    status: Literal[
        "ok", "runtime_error", "compile_error", "time_limit", "memory_limit", "output_limit", "resource_limit"
    ]
    exit_code: int | None
    signal: int | None
    stdout: str = Field(description="Bytes that are no UTF-8 are replaced.")
    stderr: str
    stdout_truncated: bool
    stderr_truncated: bool
    cpu_seconds: float
    wall_seconds: float
    peak_memory_mib: float
    message: str = Field(description="Which limit, which error; for people.")
    level: str = Field(description="Containment: namespaces or landlock.")
    version: str = Field(description="Interpreter or compiler.")


_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": RunRequest.model_json_schema(), "example": RUN}},
    }
}


@router.post("", summary="Run a program", responses=_REFUSALS, openapi_extra=_BODY)
async def run(request: Request, parts: RunningDep) -> RunResponse:
    """Runs the program once, contained as candidates are, and judges nothing."""
    require_type(request, JSON_TYPES)
    service = parts.service
    asked = _read(await read_body(request, service.body_limit))
    ran = await run_raw(
        service.sandboxes,
        Kind(asked.language),
        asked.code,
        stdin=asked.stdin,
        files=asked.files,
        limits=asked.limits,
    )
    return _response(ran)


def _read(body: bytes) -> RunRequest:
    try:
        asked = RunRequest.model_validate_json(body)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        problem = first["msg"].removeprefix("Value error, ")
        raise RequestError(f"{where or 'the body'}: {problem}.", field=where or None) from exc
    refuse_double_keys(body, 1)
    return asked


def _response(ran: RawRun) -> RunResponse:
    result = ran.result
    return RunResponse.model_validate(
        {
            "status": result.status.value,
            "exit_code": result.exit_code,
            "signal": result.signal,
            "stdout": result.stdout.decode("utf-8", "replace"),
            "stderr": result.stderr.decode("utf-8", "replace"),
            "stdout_truncated": result.stdout_truncated,
            "stderr_truncated": result.stderr_truncated,
            "cpu_seconds": round(result.cpu_seconds, 6),
            "wall_seconds": round(result.wall_seconds, 6),
            "peak_memory_mib": round(result.peak_memory_mib, 3),
            "message": readable(result.message),
            "level": ran.level,
            "version": ran.version,
        }
    )
