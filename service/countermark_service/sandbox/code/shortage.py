"""What it means that the machine has run out of something: nothing, for programs and for containment."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from countermark_service.sandbox.code.model import SandboxShortageError

_SHORTAGE = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT}
)
"""Failures that say nothing of a program: no descriptors, processes, memory or room left."""


@contextmanager
def shortage_told() -> Iterator[None]:
    """Have it told as that where the machine runs out of something.

    Raises:
        SandboxShortageError: It has.
    """
    try:
        yield
    except (OSError, ExceptionGroup) as error:  # a group where a run has two halves
        shortage = _shortage(error)
        if shortage is None:
            raise
        raise SandboxShortageError(f"the machine has run out: {shortage.strerror}") from error


def _shortage(error: OSError | ExceptionGroup[Exception]) -> OSError | None:
    """Return the error, or the first of a group, where the machine has run out of something; None elsewhere."""
    found = error.exceptions if isinstance(error, ExceptionGroup) else [error]
    short = [one for one in found if isinstance(one, OSError) and one.errno in _SHORTAGE]
    return short[0] if len(short) == len(found) else None
