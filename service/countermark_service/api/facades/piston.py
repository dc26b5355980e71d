"""Piston's API, version 2, as open-r1's `PistonClient` and others call it.

``POST /piston/api/v2/execute`` runs a program; ``GET …/runtimes`` and ``…/packages`` say
in what. Times are milliseconds and sizes bytes, as there. The clients send again what is
not answered with 200.
"""

import asyncio
import binascii
import re
import signal
from base64 import b64decode
from typing import Any, Literal

import msgspec
from fastapi import Request, Response

from countermark_service.api.dependencies import Parts, RunningDep
from countermark_service.api.errors import status_of
from countermark_service.api.facades.facade import (
    Refusal,
    facade_router,
    json_answer,
    read_json,
    worth_repeating,
)
from countermark_service.api.facades.programs import WALL_FACTOR, limits_of, settled, text
from countermark_service.errors import CountermarkError, RequestError
from countermark_service.running import Program
from countermark_service.runtimes.raw_run import RawRun
from countermark_service.runtimes.sandboxes import Kind
from countermark_service.sandbox.code.model import RunResult, Status

_ALIASES = {
    "python": ("python", ["py", "py3", "python3"]),
    "cpp": ("c++", ["cpp", "g++"]),
    "javascript": ("javascript", ["node-javascript", "node-js", "js"]),
}
"""Piston's name of each language that runs here, and its other names."""
_LANGUAGES = {name: language for language, (first, others) in _ALIASES.items() for name in (first, *others)}
_VERSION = re.compile(r"\d+(?:\.\d+)+")
_ANSWER_SECONDS = 28.0
"""open-r1's client reads for 30 s, and comes again; the run goes on meanwhile, and is found."""
_MILLISECONDS = 1000.0
_MEBIBYTE = 1 << 20
_STATUSES = {Status.TIME_LIMIT: "TO", Status.OUTPUT_LIMIT: "OL"}


def refuse(error: CountermarkError) -> Refusal:
    """Say errors as Piston does; what asks too much of it there is a 400."""
    status = 503 if worth_repeating(error) else status_of(error)
    return Refusal(400 if status == 422 else status, {"message": str(error)})


router = facade_router("/piston/api/v2", refuse)


class File(msgspec.Struct):
    """A file; the first one is the program."""

    content: str
    name: str | None = None
    encoding: Literal["utf8", "base64", "hex"] = "utf8"


class Execute(msgspec.Struct):
    """A program, as Piston takes it; unknown keys are let be, as there."""

    language: str
    version: str
    files: list[File]
    stdin: str | None = ""
    args: list[str] | None = None
    compile_timeout: float = 10_000
    run_timeout: float = 3_000
    compile_cpu_time: float | None = None
    run_cpu_time: float | None = None
    compile_memory_limit: float | None = -1
    run_memory_limit: float | None = -1


_execute = msgspec.json.Decoder(Execute)


@router.get("/runtimes")
async def runtimes(parts: RunningDep) -> Response:
    """List what programs can be written in."""
    return json_answer(
        [
            {"language": _ALIASES[language][0], "version": version, "aliases": _ALIASES[language][1]}
            for language, version in (await _versions(parts)).items()
        ]
    )


@router.get("/packages")
async def packages(parts: RunningDep) -> Response:
    """List the same as packages, all of them installed."""
    return json_answer(
        [
            {"language": _ALIASES[language][0], "language_version": version, "installed": True}
            for language, version in (await _versions(parts)).items()
        ]
    )


@router.post("/execute")
async def execute(request: Request, parts: RunningDep) -> Response:
    """Run a program."""
    asked = await read_json(request, parts, _execute)
    language = _LANGUAGES.get(asked.language)
    if language is None or (asked.version != "*" and not await _has(parts, language, asked.version)):
        raise RequestError(f"{asked.language[:80]}-{asked.version[:40]} runtime is unknown")
    if not asked.files:
        raise RequestError("files: the program is missing")
    if asked.args:
        raise RequestError("args: programs get no arguments here; give them as stdin")
    main, *others = [_content(file) for file in asked.files]
    program = Program(
        Kind(language),
        _source(main),
        stdin=asked.stdin or "",
        files={
            file.name or f"file{number}.code": content
            for number, (file, content) in enumerate(zip(asked.files[1:], others, strict=True), 1)
        },
        limits=_limits(asked),
        compile_seconds=limits_of((asked.compile_cpu_time or asked.compile_timeout) / _MILLISECONDS, None)[
            "cpu_seconds"
        ],
    )
    ran, _ = await parts.service.runner.run(program, within=_ANSWER_SECONDS)
    return json_answer(_answer(language, ran))


def _limits(asked: Execute) -> dict[str, float]:
    memory = asked.run_memory_limit
    limits = limits_of(
        (asked.run_cpu_time or asked.run_timeout) / _MILLISECONDS,
        None if memory is None or memory <= 0 else memory / _MEBIBYTE,
    )
    return limits | {"wall_seconds": max(0.1, WALL_FACTOR * asked.run_timeout / _MILLISECONDS)}


def _answer(language: str, ran: RawRun) -> dict[str, Any]:
    """Return a run in Piston's words."""
    result = settled(ran)
    stage = _stage(result)
    body = {"language": _ALIASES[language][0], "version": _version(ran.version), "run": stage}
    if language == "cpp":
        failed = result.status is Status.COMPILE_ERROR
        body["compile"] = stage if failed else _stage(RunResult(Status.OK, exit_code=0))
    return body


def _stage(result: RunResult) -> dict[str, Any]:
    """Return how a program or a compiler ended."""
    stdout, stderr = text(result.stdout), text(result.stderr)
    killed = result.exit_code is None and result.signal is None
    ended_by = signal.SIGKILL if killed else result.signal
    status = "SG" if ended_by is not None else "RE"
    if result.status in _STATUSES:
        status = _STATUSES[result.status]
    return {
        "stdout": stdout,
        "stderr": stderr,
        "output": stdout + stderr,
        "code": result.exit_code,
        "signal": None if ended_by is None else signal.Signals(ended_by).name,
        "message": result.message or None,
        "status": None if result.status is Status.OK else status,
        "cpu_time": round(result.cpu_seconds * _MILLISECONDS),
        "wall_time": round(result.wall_seconds * _MILLISECONDS),
        "memory": round(result.peak_memory_mib * _MEBIBYTE),
    }


def _content(file: File) -> bytes:
    try:
        if file.encoding == "base64":
            return b64decode(file.content, validate=True)
        if file.encoding == "hex":
            return bytes.fromhex(file.content)
    except (binascii.Error, ValueError) as exc:
        raise RequestError(
            f"files: {(file.name or 'the program')[:80]} is not {file.encoding}: {exc}"
        ) from exc
    return file.content.encode("utf-8", "surrogatepass")


def _source(content: bytes) -> str:
    try:
        return content.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as exc:
        raise RequestError(f"files: the program is not UTF-8: {exc.reason} at byte {exc.start}") from exc


async def _versions(parts: Parts) -> dict[str, str]:
    """Return the version of each language that runs here."""
    found = await asyncio.to_thread(parts.service.sandboxes.languages)
    return {language: _version(version) for language, version in found.items() if version is not None}


def _version(text_of_it: str) -> str:
    """Return the number in what an interpreter or compiler says of itself, the last of several."""
    return str(_VERSION.findall(text_of_it)[-1])


async def _has(parts: Parts, language: str, wanted: str) -> bool:
    """Whether the version here is one that a selector such as ``3``, ``3.11``, or ``3.x`` takes."""
    here = (await _versions(parts)).get(language, "").split(".")
    asked = [part for part in wanted.split(".") if part not in ("x", "X", "*")]
    return bool(asked) and here[: len(asked)] == asked
