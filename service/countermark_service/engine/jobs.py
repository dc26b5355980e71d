"""What waits in the pool: items of one call, and the chunks they are judged in."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from countermark_service.engine.wire import Judged, Operation, Reduced


@dataclass(frozen=True)
class Failed:
    """An item that got no verdict from its verifier."""

    outcome: str
    """``timeout`` or ``error``."""
    code: str
    """Stable reason, such as ``cpu_limit``."""
    message: str


Result = Judged | Reduced | Failed


class Place(IntEnum):
    """Where a worker runs."""

    SLOT = 0
    """In one of the pool's slots."""
    BACK = 1
    """Out of its slot, as its item takes longer than a turn; it has to leave where others step back."""
    ASIDE = 2
    """Out of its slot until its item, a slow one, is done."""


class Group:
    """The items of one call that wait for one bundle."""

    def __init__(
        self, operation: Operation, on_result: Callable[[int, Result], None], done: asyncio.Future[None]
    ) -> None:
        """Start empty; `done` is set when the last job has its result."""
        self.operation: Operation = operation
        self.waiting: deque[Job] = deque()
        self.on_result = on_result
        self.done = done
        self.open = 0

    def resolve(self, job: "Job", result: Result) -> None:
        """Report a job's result; a second one for the same job is ignored."""
        if job.answered:
            return
        job.answered = True
        self.open -= 1
        if self.done.done():
            return
        self.on_result(job.index, result)
        if self.open == 0:
            self.done.set_result(None)


@dataclass(eq=False, slots=True)
class Job:
    """One item that waits or is judged."""

    group: Group
    index: int
    """Place in the call."""
    payload: bytes
    """The canonical item."""
    tries: int = 0
    """How often a worker was lost over it, through no fault that is known to be its own."""
    lost: int = 0
    """How often a worker was lost that had it, and had not begun it."""
    alone: bool = False
    """Judged in a chunk of its own, since a chunk with it ended badly."""
    answered: bool = False


@dataclass(eq=False, slots=True)
class Chunk:
    """What a worker has been given at once."""

    sequence: int
    operation: Operation
    jobs: list[Job]
    place: Place = Place.SLOT
    seconds: float = 0.0
    """What the item at work had taken when the worker was last looked at."""
    mark: tuple[int, int] = (-1, -1)
    """Sequence and index that the worker was at when it was last looked at."""
    mark_time: float = 0.0
    """When it was first seen there, by the monotonic clock."""
    mark_waited: float | None = None
    """Seconds that the worker had waited for a processor by then; None before it was seen there twice."""


def placeholder(job: Job) -> Job:
    """Return what stands in a chunk for a job that another chunk has taken over."""
    return Job(job.group, job.index, b"", answered=True)
