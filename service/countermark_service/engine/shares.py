"""What the lanes of a pool share: the machine's slots, the queue's bounds, the counts."""

import asyncio
import os
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from countermark_service.bundles import Bundle
from countermark_service.engine.jobs import Place
from countermark_service.engine.nursery import Nursery
from countermark_service.engine.worker import WorkerListener
from countermark_service.sandbox import Containment


@dataclass(frozen=True)
class PoolLimits:
    """How the pool shares the machine."""

    slots: int = os.cpu_count() or 1
    """Workers that judge at the same time."""
    slow_lane: int = 0
    """Workers that may run aside; 0 means twice the slots."""
    paused: int = 30
    """Workers that may have stepped back besides one for each slot. Nearly all are paused: they cost memory only."""
    slow_seconds: float = 0.25
    """Seconds after which an item is slow: where others wait, it runs aside."""
    queue_items: int = 65536
    """Items that may wait; past that a request is refused whole."""
    queue_bytes: int = 512 << 20
    """Bytes of items that may wait."""
    idle_seconds: float = 300.0
    """After this time without work a bundle's processes end."""
    recycle_items: int = 100_000
    """A worker ends after this many items."""
    recycle_bytes: int = 96 << 20
    """A worker ends when it has grown by this much."""


@dataclass
class PoolCounters:
    """What happened since the start, for the metrics."""

    items: int = 0
    moved_aside: int = 0
    cpu_seconds: float = 0.0
    restarts: dict[str, int] = field(default_factory=dict)
    """Ended workers by reason."""


class Shares(Protocol):
    """What a lane knows of its pool."""

    limits: PoolLimits
    containment: Containment
    counters: PoolCounters
    waiting_items: int
    waiting_bytes: int
    taken: dict[Place, int]
    """How many workers run at each place."""
    stopped: int
    """How many items were stopped and wait to begin again."""

    def has_room(self, place: Place) -> bool:
        """Whether one more worker may run at `place`."""

    def make_room_back(self) -> None:
        """Have room for one more worker to step back; the slowest of those there is stopped for it."""

    def open_nursery(self, bundle: Bundle, listener: WorkerListener) -> Nursery:
        """Return a nursery for `bundle`; builds what is missing, so call it in a thread."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` beside everything else, and not lose it."""

    def pump(self) -> None:
        """Give free slots to lanes, as something has changed."""

    def next_sequence(self) -> int:
        """Return a number for a chunk that no other chunk has."""
