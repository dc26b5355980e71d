"""When to stop asking a store that does not answer, and when to ask again.

Waiting for the deadline on every request would make a dead store cost each of
them its deadline. After a few failures in a row the breaker opens: requests go on
without the store, and one probe asks in growing pauses whether it is back. These
are the rules alone; no clock and no task is in here.
"""


class Breaker:
    """Counts failures in a row; open means: do not ask."""

    def __init__(self, *, failures_to_open: int, first_pause: float, longest_pause: float) -> None:
        """Make a closed breaker.

        Args:
            failures_to_open: Failures in a row after which it opens.
            first_pause: Seconds before the first probe; doubled after each that fails.
            longest_pause: Bound of the pause, in seconds.
        """
        self._failures_to_open = failures_to_open
        self._first_pause, self._longest_pause = first_pause, longest_pause
        self._failures = 0
        self._open = False
        self._pause = first_pause

    @property
    def is_open(self) -> bool:
        """Whether the store is left alone for now."""
        return self._open

    @property
    def pause_seconds(self) -> float:
        """How long to wait before the next probe."""
        return self._pause

    def failed(self) -> bool:
        """Note a request or a probe that failed; return whether it is open now."""
        self._failures += 1
        if self._open:
            self._pause = min(self._pause * 2, self._longest_pause)
        elif self._failures >= self._failures_to_open:
            self.open()
        return self._open

    def succeeded(self) -> None:
        """Note an answer: close, and forget what failed before."""
        self._failures = 0
        self._open = False
        self._pause = self._first_pause

    def open(self) -> None:
        """Open at once, whatever the count."""
        self._open = True
