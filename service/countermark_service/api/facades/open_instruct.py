"""open-instruct's code API, as its `CodeVerifier` calls it.

``POST /open-instruct/test_program`` takes a program and assertions,
``/open-instruct/test_program_stdio`` a program and pairs of input and output; both say
1 or 0 and the seconds of each test. The tests are judged by the shipped verifiers
`ASSERTIONS` and `PAIRS`, or by the one whose pin stands before the route
(``/open-instruct/{ref}/test_program``).

Where the real server runs program and tests in one process, in which a program can
make any assertion pass, these verifiers keep the two apart.

open-instruct's client sends nothing again and makes 0 of every error, with a warning in
its log. So everything that can be waited for is waited for here.
"""

import base64
import binascii
import io
import json
import pickle
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import msgspec
from fastapi import Request, Response

from countermark_service.api.dependencies import Parts, PartsDep, ScoringDep
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
from countermark_service.api.facades.programs import WALL_FACTOR
from countermark_service.errors import CountermarkError, RequestError
from countermark_service.model import Item
from countermark_service.remembered import Scored

ASSERTIONS = "python-assert:1.0.8"
"""Judges assertions where no pin is given. Published versions never change, so this is one."""
PAIRS = "python-stdio:1.0.7"
"""Judges pairs of input and output where no pin is given."""

_ITEM_TESTS = 10
"""Tests of one item. Items run beside each other, and a detail has a row for each of so few."""
_UNPACKED_BYTES = 256 << 20
_PARAMS: Mapping[str, Mapping[str, Any]] = {
    ASSERTIONS: {},
    # As open-instruct compares: words, and numbers by their value.
    PAIRS: {"compare": "floats", "absolute_tolerance": 0, "relative_tolerance": 0},
}


def refuse(error: CountermarkError) -> Refusal:
    """Say errors as FastAPI does; where asking again may help, with a status that a proxy may repeat."""
    return Refusal(503 if worth_repeating(error) else status_of(error), {"detail": str(error)})


router = facade_router("/open-instruct", refuse)


class TestProgram(msgspec.Struct):
    """A program and its tests, as open-instruct takes them."""

    program: str
    tests: Any
    max_execution_time: float = 1.0


_body = msgspec.json.Decoder(TestProgram)


@router.get("/health")
async def health(parts: PartsDep) -> Response:
    """Answers as long as the service can answer anything."""
    return json_answer({"status": "healthy"})


@router.post("/test_program")
async def test_program(request: Request, parts: ScoringDep) -> Response:
    """Judge a program by assertions."""
    return await _tested(request, parts, ASSERTIONS, ASSERTIONS)


@router.post("/test_program_stdio")
async def test_program_stdio(request: Request, parts: ScoringDep) -> Response:
    """Judge a program by pairs of input and output."""
    return await _tested(request, parts, PAIRS, PAIRS)


@router.post("/{ref:path}/test_program")
async def test_program_as(request: Request, ref: str, parts: ScoringDep) -> Response:
    """Judge a program by assertions, under the verifier of the path."""
    return await _tested(request, parts, ref, ASSERTIONS)


@router.post("/{ref:path}/test_program_stdio")
async def test_program_stdio_as(request: Request, ref: str, parts: ScoringDep) -> Response:
    """Judge a program by pairs of input and output, under the verifier of the path."""
    return await _tested(request, parts, ref, PAIRS)


async def _tested(request: Request, parts: Parts, ref: str, like: str) -> Response:
    """Judge the tests of a request under `ref`, which is asked as the shipped verifier `like` is."""
    asked = await read_json(request, parts, _body)
    tests = _decoded(asked.tests)
    chunks = [tests[start : start + _ITEM_TESTS] for start in range(0, len(tests), _ITEM_TESTS)]
    items = [_item(asked, chunk, like) for chunk in chunks]
    results: list[int] = []
    runtimes: list[float] = []
    if items:
        bundle, scored = await judged(parts, ref, items)
        scores_of(items, scored)
        for chunk, one in zip(chunks, scored, strict=True):
            rows = _rows(one, len(chunk), str(bundle.ref))
            results += [int(row["class"] == "accepted") for row in rows]
            runtimes += [row["cpu_seconds"] if row["class"] == "accepted" else -1.0 for row in rows]
    return json_answer({"results": results, "runtimes": runtimes})


def _item(asked: TestProgram, tests: Sequence[Any], like: str) -> Item:
    seconds = asked.max_execution_time
    limits = {
        "cpu_seconds": seconds,
        "wall_seconds": WALL_FACTOR * seconds,
        "total_cpu_seconds": max(1.0, seconds * len(tests) + 1),
    }
    reference = {"test_list": tests} if like == ASSERTIONS else {"tests": tests}
    return Item(
        asked.program, reference, {**_PARAMS[like], "extract": "whole", "score": "fraction", "limits": limits}
    )


def _rows(scored: Scored, count: int, ref: str) -> list[dict[str, Any]]:
    """Return one row per test, in order.

    Raises:
        RequestError: The verifier says nothing of single tests.
    """
    verdict, _ = scored
    rows = verdict.detail().get("tests", [] if verdict.score == 0 else None)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "class" in row for row in rows):
        raise RequestError(f"{ref} does not say which tests were passed: give the pin of a code verifier.")
    failed = {"class": "not_run", "cpu_seconds": 0.0}  # a text that is no program, or none at all
    return [*({"cpu_seconds": 0.0, **row} for row in rows), *([failed] * (count - len(rows)))]


def _decoded(tests: Any) -> list[Any]:
    """Return the list that `tests` is, or stands for: JSON, or open-instruct's packed form.

    Raises:
        RequestError: It is none of these, or no list of texts or of pairs.
    """
    if isinstance(tests, str):
        tests = _from_text(tests) if tests else []
    if tests is None:
        return []
    if not isinstance(tests, list) or not all(isinstance(test, (str, dict)) for test in tests):
        raise RequestError(
            "tests: must be a list of assertions, or of pairs of input and output.", field="tests"
        )
    return tests


def _from_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        unpack = zlib.decompressobj()
        data = unpack.decompress(base64.b64decode(text, validate=True), _UNPACKED_BYTES)
        if not unpack.eof:
            raise ValueError(f"cut short, or more than {_UNPACKED_BYTES} bytes unpacked")
        tests = _PlainUnpickler(io.BytesIO(data)).load()
        if _size(tests) > _UNPACKED_BYTES:
            raise ValueError(f"more than {_UNPACKED_BYTES} bytes of tests")
    except (
        binascii.Error,
        zlib.error,
        ValueError,
        pickle.UnpicklingError,
        EOFError,
        LookupError,
        TypeError,
    ) as exc:
        raise RequestError(
            f"tests: neither JSON nor base64 of zlib of pickled texts: {exc}.", field="tests"
        ) from exc
    return tests


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists and dictionaries of texts and numbers; a pickle that names anything else is refused, not run."""

    def find_class(self, module: str, name: str, /) -> NoReturn:
        raise pickle.UnpicklingError(f"it names {module[:80]}.{name[:80]}, which tests do not need")

    def persistent_load(self, pid: object, /) -> NoReturn:
        raise pickle.UnpicklingError("it refers to something outside")


def _size(tests: Any) -> int:
    """Return how many characters a list of texts, or of pairs of texts, holds; what is the same counts each time."""
    if not isinstance(tests, list):
        raise ValueError(f"a {type(tests).__name__}, not a list")
    total = 0
    for test in tests:
        parts = list(test.values()) if isinstance(test, dict) else [test]
        if not all(isinstance(part, (str, int, float, type(None))) for part in parts):
            raise ValueError("tests that hold more than texts and numbers")
        total += sum(len(part) for part in parts if isinstance(part, str))
    return total
