"""When to try again, and how long to wait before.

Scoring is a pure function of the request, so any request may be repeated. It is repeated only if the same
bytes can meet a better answer: a broken connection, a full queue, a service that restarts. Waiting is "full
jitter": a uniform draw below an exponentially growing bound, so that the clients of one restarted service do
not come back in step.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import ClassVar

from ._errors import ApiError, ConnectError, CountermarkClientError

RETRIED_STATUSES = frozenset({429, 502, 503, 504})
"""Statuses after which the same request can succeed."""


def is_retryable(error: CountermarkClientError) -> bool:
    """Say whether the request that met `error` can succeed when repeated."""
    return isinstance(error, ConnectError) or (
        isinstance(error, ApiError) and error.status in RETRIED_STATUSES
    )


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before an attempt."""

    base_seconds: float = 0.25
    """Bound of the wait before the second attempt; it doubles with each attempt."""
    cap_seconds: float = 8.0
    """The bound grows no further than this."""
    # The system's generator, not Python's global one: a trainer that seeds `random` must not see it move.
    _random: ClassVar[random.Random] = random.SystemRandom()

    def wait(self, attempts: int, *, at_least: float | None = None, room: float = math.inf) -> float | None:
        """Return the seconds to wait after `attempts` failed attempts, or None if no wait is short enough.

        Args:
            attempts: Attempts made so far, 1 or more.
            at_least: What the service asked for by ``Retry-After``; the jitter is added to it.
            room: Seconds that the call has left; the wait is shorter.
        """
        least = at_least or 0.0
        if least >= room:
            return None
        bound = min(self.cap_seconds, self.base_seconds * 2.0 ** min(attempts - 1, 30), room - least)
        return least + self._random.uniform(0.0, bound)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return what ``Retry-After`` asks for, in seconds from now; None if it is absent or unreadable.

    A date is taken relative to the answer's own ``Date`` where it has one, so that a clock that is off on
    either side does not matter.
    """
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", value):
        return float(value)
    until = _date(value)
    if until is None:
        return None
    now = _date(headers.get("date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def _date(text: str) -> datetime | None:
    """Return an HTTP date, None if it is none."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for a zone beyond every number
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
