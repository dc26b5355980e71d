"""Where judges' replies come from: what the settings say, or what one request asks for.

`replay` uses transcripts only, so what it gives is exact or an error; `fresh` always asks; `auto` asks what
was never asked. A request's wish travels with its task and the tasks that it starts, through composites to
their children, so that no part in between has to know of judges.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum


class JudgeMode(StrEnum):
    """Where answers come from."""

    AUTO = "auto"
    REPLAY = "replay"
    FRESH = "fresh"


_asked: ContextVar[JudgeMode | None] = ContextVar("countermark_judge_mode", default=None)


@contextmanager
def judging(mode: JudgeMode | None) -> Iterator[None]:
    """Have what is scored inside judged in `mode`; None leaves it to the settings."""
    token = _asked.set(mode)
    try:
        yield
    finally:
        _asked.reset(token)


def asked_mode() -> JudgeMode | None:
    """Return the mode that holds here, None where nobody asked for one."""
    return _asked.get()
