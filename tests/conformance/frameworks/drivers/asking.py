"""What the drivers of adapters share: how they are told what to do, and how they say what came of it."""

import asyncio
import json
import logging
import os
import sys
import time
import types
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any


def told() -> Any:
    """Read what to do, and set the environment that a trainer's user sets.

    Told are always ``url`` of the service, ``hung`` of one that never answers, ``verifier`` and ``rows``.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    facts = json.load(sys.stdin)
    os.environ["COUNTERMARK_URL"] = facts["url"]
    return facts


def say(result: Any) -> None:
    """Print what came out, as the last line."""
    print(json.dumps(result))


def paste(block: str, **names: Any) -> dict[str, Any]:
    """Run lines of an adapter's page and return the names that they leave."""
    exec(compile(block, "the page", "exec"), names)
    return names


def module(name: str, block: str) -> None:
    """Put lines of an adapter's page in place as a module."""
    made = types.ModuleType(name)
    made.__dict__.update(paste(block))
    sys.modules[name] = made


def mark(path: str) -> None:
    """Say that half is done, for the test that restarts the service now."""
    Path(path).touch()


def attempt(call: Callable[[], Any]) -> Any:
    """Return what a call returns, or the error that it ends with and how long that took."""
    began = time.monotonic()
    try:
        return call()
    except Exception as exc:  # noqa: BLE001 - what a framework makes of an error is what is asked
        return raised(exc, began)


async def attempt_async(awaitable: Awaitable[Any]) -> Any:
    """Do the same for what is awaited."""
    began = time.monotonic()
    try:
        return await awaitable
    except Exception as exc:  # noqa: BLE001 - as above
        return raised(exc, began)


def raised(exc: BaseException, began: float) -> dict[str, Any]:
    """Describe an error: its class, those that caused it, its text and the seconds it took."""
    causes = []
    below: BaseException | None = exc
    while below is not None:
        causes.append(type(below).__name__)
        below = below.__cause__
    return {"raised": causes, "says": str(exc)[:500], "seconds": time.monotonic() - began}


def run(main: Callable[[Any], Awaitable[Any]]) -> None:
    """Run an asynchronous driver."""
    facts = told()
    say(asyncio.run(main(facts)))  # type: ignore[arg-type]  # a coroutine
