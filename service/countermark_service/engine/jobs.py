"""What waits in the pool: items of one call, and the chunks they are judged in."""

import asyncio
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from countermark_service.engine.wire import Judged, Operation, Reduced

_MARKED_BYTES = 256


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
    """Out of its slot, as its item takes longer than a turn: paused for most of the time that others need."""
    ASIDE = 2
    """Out of its slot until its item, a slow one, is done, with a low priority."""


class Waiting:
    """Jobs that wait, parted so that items with equal references meet in one worker.

    A library remembers what it has read. Two workers that take items as they come both read every reference and
    every answer of a group; one that gets the whole group reads each once. So each job belongs to a *share*, by its
    reference, and a worker has a share that it takes first. It takes of the fullest other share rather than wait.
    """

    def __init__(self, shares: int) -> None:
        """Start empty, with so many shares."""
        self._shares: tuple[deque[Job], ...] = tuple(deque() for _ in range(shares))

    def __len__(self) -> int:
        return sum(map(len, self._shares))

    def has(self, share: int) -> bool:
        """Whether a job of `share` waits."""
        return bool(self._shares[share])

    def fullest(self) -> int:
        """Return the share of which most jobs wait."""
        return max(range(len(self._shares)), key=lambda share: len(self._shares[share]))

    def append(self, job: "Job") -> None:
        """Let a job wait for its turn."""
        self._shares[job.mark % len(self._shares)].append(job)

    def put_back(self, job: "Job") -> None:
        """Let a job be the next of its share."""
        self._shares[job.mark % len(self._shares)].appendleft(job)

    def take(self, share: int, most: int, most_bytes: int) -> list["Job"]:
        """Take up to `most` jobs for the worker of `share`, and no more bytes but for a first job that has them.

        One that is to be judged alone comes alone.
        """
        foreign = not self._shares[share]
        jobs = self._shares[self.fullest() if foreign else share]
        # Of another's share the end, which its own worker comes to last.
        take, following = (jobs.pop, -1) if foreign else (jobs.popleft, 0)
        taken, size = [take()], 0
        while not taken[0].alone and len(taken) < most and jobs and not jobs[following].alone:
            size += len(jobs[following].payload)
            if size > most_bytes:
                break
            taken.append(take())
        return taken

    def clear(self) -> int:
        """Forget all; return how many bytes they had."""
        size = sum(len(job.payload) for jobs in self._shares for job in jobs)
        for jobs in self._shares:
            jobs.clear()
        return size


class Group:
    """The items of one call that wait for one bundle."""

    def __init__(
        self,
        operation: Operation,
        payloads: Sequence[bytes],
        on_result: Callable[[int, Result], None],
        done: asyncio.Future[None],
        shares: int,
    ) -> None:
        """Let all of `payloads` (canonical items) wait, in so many shares; `done` is set with the last result."""
        self.operation: Operation = operation
        self.waiting = Waiting(shares)
        self.on_result = on_result
        self.done = done
        self.open = len(payloads)
        for index, payload in enumerate(payloads):
            self.waiting.append(Job(self, index, payload, mark_of(payload)))

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
    mark: int
    """A number that items with equal references have in common."""
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
    """Seconds that the worker had waited for a processor or been paused by then; None before it was seen twice."""


def placeholder(job: Job) -> Job:
    """Return what stands in a chunk for a job that another chunk has taken over."""
    return Job(job.group, job.index, b"", job.mark, answered=True)


def mark_of(payload: bytes) -> int:
    """Return a number that is the same for canonical items with equal references and parameters.

    It decides nothing but which worker is asked first, so a rare response that hides where it ends does no harm.
    """
    start = payload.find(b'","')  # the end of a response, unless the reference is no text
    if start < 0:
        start = payload.rfind(b'",')
    return zlib.crc32(payload[start : start + _MARKED_BYTES])
