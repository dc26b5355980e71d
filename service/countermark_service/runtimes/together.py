"""Waits for work of one batch as a whole."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


Start = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]
"""Takes work and starts it."""


@asynccontextmanager
async def started() -> AsyncIterator[Start]:
    """Give what starts work; leave when all of it is done. Where one fails, end the others and raise its error."""
    tasks: list[asyncio.Task[Any]] = []

    def start(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        tasks.append(asyncio.ensure_future(work))
        return tasks[-1]

    try:
        yield start
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Return the results in order; where one fails, end the others first and raise its error as it is."""
    async with started() as start:
        tasks = [start(one) for one in work]
    return [task.result() for task in tasks]
