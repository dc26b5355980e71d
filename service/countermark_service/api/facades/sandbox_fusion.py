"""SandboxFusion's HTTP API, as verl, ROLL and the `sandbox-fusion` SDK call it.

``POST /sandbox-fusion/run_code`` runs a program; what its output is worth, the client
decides. ``POST /sandbox-fusion/submit`` scores a completion: the dataset is the pin of
a verifier. With a pin of a code verifier in the path,
``/sandbox-fusion/{ref}/run_code``, programs find the interpreter and the packages that
this verifier pins.

As with SandboxFusion, a program that fails is a 200 whose body says so. What the
*service* could not do is a 504: verl's client sends nothing else again, and counts
every other answer as a failed test.
"""

import base64
import time
from typing import Any

import msgspec
from fastapi import Request, Response

from countermark_service.api.dependencies import Parts, PartsDep, RunningDep, ScoringDep
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
from countermark_service.api.facades.programs import decoded_files, limits_of, settled, text
from countermark_service.api.replies import verifier_of
from countermark_service.errors import CountermarkError, RequestError
from countermark_service.model import Item
from countermark_service.running import Program
from countermark_service.runtimes.raw_run import RawRun
from countermark_service.runtimes.sandbox import kind_of
from countermark_service.runtimes.sandboxes import Kind
from countermark_service.sandbox.code.model import RunResult, Status

_TRY_AGAIN = 504
"""The one status for which verl's client sends a request again; the others repeat anything that is not 200."""

_LANGUAGES = {"python": "python", "cpp": "cpp", "nodejs": "javascript"}
"""SandboxFusion's names of the languages that run here."""
_OTHER_LANGUAGES = frozenset({
    "python2", "go", "go_test", "java", "php", "csharp", "bash", "typescript", "sql", "rust", "cuda", "lua", "R",
    "perl", "D_ut", "ruby", "scala", "julia", "pytest", "junit", "kotlin_script", "jest", "verilog", "python_gpu",
    "lean", "swift", "racket", "gtest", "react",
})  # fmt: skip
"""Languages of SandboxFusion that do not run here."""
_COMPILED = frozenset({"cpp"})
_CLIENT_SECONDS = 10.0
"""How much longer than both time limits verl's client waits for an answer."""
_SPARE_SECONDS = 1.5
"""Of that, what an answer has for its way."""

_OUT_OF_TIME = ("s of CPU time", "on the clock")
"""How the message of a run that met a time limit goes."""


def refuse(error: CountermarkError) -> Refusal:
    """Have what may work another time sent again, and say the rest as SandboxFusion (FastAPI) does."""
    return Refusal(_TRY_AGAIN if worth_repeating(error) else status_of(error), {"detail": str(error)})


router = facade_router("/sandbox-fusion", refuse)


class RunCode(msgspec.Struct):
    """A program, as SandboxFusion takes it; unknown keys are let be, as there."""

    code: str
    language: str
    compile_timeout: float = 10.0
    run_timeout: float = 10.0
    memory_limit_MB: float | None = -1  # noqa: N815 - the name on the wire
    stdin: str | None = None
    files: dict[str, str | None] = {}
    fetch_files: list[str] = []


class TestConfig(msgspec.Struct):
    """What of SandboxFusion's test configuration counts here."""

    provided_data: list[dict[str, Any]] | dict[str, Any] | None = None
    extra: dict[str, Any] = {}


class Submit(msgspec.Struct):
    """A completion to score, as SandboxFusion takes it."""

    dataset: str
    id: int | str
    completion: str
    config: TestConfig = msgspec.field(default_factory=TestConfig)


_run_code = msgspec.json.Decoder(RunCode)
_submit = msgspec.json.Decoder(Submit)


@router.get("/v1/ping")
async def ping(parts: PartsDep) -> Response:
    """Answers as long as the service can answer anything."""
    return json_answer("pong")


@router.post("/run_code")
async def run_code(request: Request, parts: RunningDep) -> Response:
    """Run a program."""
    return await _ran(await read_json(request, parts, _run_code), parts, None)


@router.post("/submit")
async def submit(request: Request, parts: ScoringDep) -> Response:
    """Score a completion under the verifier that `dataset` names.

    The reference is what the row that is provided calls `reference`, else `labels`, else the row.
    """
    asked = await read_json(request, parts, _submit)
    item = Item(asked.completion, _reference(asked), asked.config.extra.get("params") or {})
    bundle, scored = await judged(parts, asked.dataset, [item])
    (score,) = scores_of([item], scored)
    verdict, cached = scored[0]
    detail = verdict.detail()
    return json_answer(
        {
            "id": asked.id,
            "accepted": score == 1.0,
            "extracted_code": "",
            "full_code": None,
            "test_code": None,
            "tests": _tests(detail.get("tests")),
            "extracted_type": None,
            "extra": {
                "score": score,
                "outcome": verdict.outcome.value,
                "detail": detail,
                "verifier": verifier_of(bundle),
                "cached": cached,
            },
        }
    )


@router.post("/{ref:path}/run_code")
async def run_code_as(request: Request, ref: str, parts: RunningDep) -> Response:
    """Run a program with the interpreter and the packages of a code verifier."""
    kind = kind_of(parts.service.scorer.resolve(ref))
    return await _ran(await read_json(request, parts, _run_code), parts, kind)


async def _ran(asked: RunCode, parts: Parts, kind: Kind | None) -> Response:
    """Run what is asked for, in the surroundings of `kind` where there is one."""
    begun = time.monotonic()
    language = _LANGUAGES.get(asked.language)
    if language is None:
        return json_answer(_not_here(asked.language))
    if kind is None:
        kind = Kind(language)
    elif kind.language != language:
        raise RequestError(
            f"the language is {asked.language!r}, and the verifier in the path runs {kind.language}.",
            field="language",
        )
    program = Program(
        kind,
        asked.code,
        stdin=asked.stdin or "",
        files=decoded_files(asked.files),
        limits=limits_of(asked.run_timeout, asked.memory_limit_MB),
        fetch=tuple(dict.fromkeys(asked.fetch_files)),
        compile_seconds=limits_of(asked.compile_timeout, None)["cpu_seconds"],
    )
    patience = max(0, asked.compile_timeout) + max(0, asked.run_timeout) + _CLIENT_SECONDS - _SPARE_SECONDS
    ran, _ = await parts.service.runner.run(program, within=patience - (time.monotonic() - begun))
    return json_answer(_answer(ran, compiled=language in _COMPILED))


def _reference(asked: Submit) -> Any:
    """Return what a completion is held against."""
    row = asked.config.provided_data
    if isinstance(row, list):
        row = next((one for one in row if str(one.get("id")) == str(asked.id)), None)
        if row is None:
            raise RequestError(
                f"config.provided_data has no row with the id {asked.id!r}: give the row that holds the reference.",
                field="config.provided_data",
            )
    if row is None:
        raise RequestError(
            "config.provided_data is missing: give the row that holds the reference, as `reference` or `labels`.",
            field="config.provided_data",
        )
    return row.get("reference", row.get("labels", row))


def _tests(rows: Any) -> list[dict[str, Any]]:
    """Return the rows of a code verifier's detail as SandboxFusion's tests; none for other verifiers."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "class" in row for row in rows):
        return []
    return [
        {
            "passed": row["class"] == "accepted",
            "exec_info": {
                "status": "Success" if row["class"] in ("accepted", "wrong_answer") else "Failed",
                "message": row["class"],
            },
            "test_info": row,
        }
        for row in rows
    ]


def _not_here(language: str) -> dict[str, Any]:
    """Return what SandboxFusion answers where a language's tools are missing.

    Raises:
        RequestError: It is no language of SandboxFusion.
    """
    if language not in _OTHER_LANGUAGES:
        known = ", ".join([*_LANGUAGES, *sorted(_OTHER_LANGUAGES)])
        raise RequestError(f"language: {language[:80]!r} is none of {known}.", field="language")
    message = f"{language} does not run in this service; {', '.join(_LANGUAGES)} do."
    return {
        "status": "SandboxError",
        "message": message,
        "compile_result": None,
        "run_result": None,
        "executor_pod_name": None,
        "files": {},
    }


def _answer(ran: RawRun, *, compiled: bool) -> dict[str, Any]:
    """Return a run in SandboxFusion's words."""
    result = settled(ran)
    failed_to_compile = compiled and result.status is Status.COMPILE_ERROR
    compiling = _finished(0, "", "", None) if compiled else None
    return {
        "status": "Success" if result.status is Status.OK else "Failed",
        "message": result.message if result.status not in (Status.OK, Status.RUNTIME_ERROR) else "",
        "compile_result": _command(result) if failed_to_compile else compiling,
        "run_result": None if failed_to_compile else _command(result),
        "executor_pod_name": None,
        "files": {name: base64.b64encode(content).decode() for name, content in result.files.items()},
    }


def _command(result: RunResult) -> dict[str, Any]:
    """Return how a program or a compiler ended, as one of SandboxFusion's commands."""
    stderr = text(result.stderr)
    late = result.status is Status.TIME_LIMIT or (
        result.status is Status.COMPILE_ERROR
        and result.exit_code is None
        and any(sign in result.message for sign in _OUT_OF_TIME)
    )
    if late:
        return _finished(None, text(result.stdout), stderr, result) | {"status": "TimeLimitExceeded"}
    if result.status in (Status.MEMORY_LIMIT, Status.OUTPUT_LIMIT, Status.RESOURCE_LIMIT):
        stderr += f"{result.status.value}: {result.message}\n"
    code = -result.signal if result.signal is not None else result.exit_code
    if result.status is not Status.OK:
        code = code or 1  # some limits are met by programs that end well
    return _finished(code, text(result.stdout), stderr, result)


def _finished(code: int | None, stdout: str, stderr: str, result: RunResult | None) -> dict[str, Any]:
    return {
        "status": "Finished",
        "execution_time": None if result is None else round(result.wall_seconds, 6),
        "cpu_time": None if result is None else round(result.cpu_seconds, 6),
        "return_code": code,
        "stdout": stdout,
        "stderr": stderr,
    }
