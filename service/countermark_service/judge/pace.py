"""When a question may be sent: slots, rate, pauses that the server asked for, and the breaker.

Rules with a clock that is passed in. A 429 with `Retry-After` holds back every call to
that server, not only the one that met it, so a storm ends instead of feeding itself.
"""

import asyncio
import email.utils
import math
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from countermark_service.judge.endpoints import Endpoint


class Pace:
    """The right to call one server."""

    def __init__(self, endpoint: Endpoint, clock: Callable[[], float]) -> None:
        """Open, with all slots free; `clock` is monotonic seconds."""
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        self._gap = 1 / endpoint.requests_per_second if endpoint.requests_per_second else 0.0
        self._clock = clock
        self._next = 0.0
        self._held_until = 0.0
        self._failures_to_open, self._open_seconds = endpoint.breaker_failures, endpoint.breaker_seconds
        self._failures = 0
        self._open_until = 0.0
        self._trying = False

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one of the server's slots."""
        async with self._slots:
            yield

    def delay(self, most: float = math.inf) -> float | None:
        """Take the next turn; return the seconds until it comes, or None where `most` would be over before.

        A turn that nobody can wait for is left to others: taken by one question after the other, such turns
        would keep the server from every later one.
        """
        now = self._clock()
        turn = max(now, self._next)
        if turn > now and turn - now >= most:
            return None
        self._next = turn + self._gap if self._gap else self._next
        return turn - now

    def hold(self, seconds: float) -> None:
        """Let nobody begin for `seconds`: the server asked for it."""
        self._held_until = max(self._held_until, self._clock() + seconds)
        self._next = max(self._next, self._held_until)

    @property
    def is_held(self) -> bool:
        """Whether the server has asked for a pause that is not over."""
        return self._clock() < self._held_until

    # --- breaker ---------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether no question may be tried now."""
        if self._failures < self._failures_to_open:
            return False
        return self._trying or self._clock() < self._open_until

    def admits(self) -> bool:
        """Whether a question may be tried; after a pause, one at a time."""
        if self.is_open:
            return False
        self._trying = self._failures >= self._failures_to_open
        return True

    def answered(self) -> None:
        """Note that the server works."""
        self._failures, self._trying = 0, False

    def gave_up(self) -> None:
        """Note a question that the server did not answer."""
        self._failures += 1
        self._trying = False
        if self._failures >= self._failures_to_open:
            self._open_until = self._clock() + self._open_seconds

    def left(self) -> None:
        """Note a question that was dropped by who asked it, which says nothing of the server."""
        self._trying = False


def backoff_seconds(endpoint: Endpoint, attempt: int, chance: Callable[[], float] = random.random) -> float:
    """Return the pause after the `attempt`-th attempt (from 1): a random part of a doubling bound."""
    bound = endpoint.backoff_seconds * 2.0 ** min(attempt - 1, 30)
    return min(bound, endpoint.backoff_most_seconds) * chance()


def retry_after_seconds(value: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds of a `Retry-After` header: a number, or a date; None where it is neither."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit() and len(text) <= 12:
        return float(text)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())
