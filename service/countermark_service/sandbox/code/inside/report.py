"""What the processes inside tell the service: fixed records, nothing that needs a parser.

Keepers and zygotes are ours, but they live where candidates do, so the service trusts
their messages as little as it can: fixed fields, checked sizes, bounded text. The other
direction carries our own word to our own processes and is marshalled.
"""

import marshal
import struct
from typing import Any, NamedTuple

HEADER = struct.Struct(">IB")
"""Opens each message to the zygote: whom it is about, and what is wanted."""
KEEPER, LONE_TEST, END = 0, 1, 2
"""Make a keeper; run a candidate's only test without one; end what has that number."""

ENDED, WALL, FAILED = 0, 1, 2
"""How a test came to its end: by itself, by the clock; or the keeper could not be confined."""
LONGEST_WALLS = 10
"""Times its wall limit that a test gets at most, however long it has waited for a processor."""
NOTHING, MEMORY, CPU, PROCESSES, FILES = 0, 1, 2, 3, 4
"""The sum that was exceeded."""
_TEST = struct.Struct(">IBiddQB")
_GONE = struct.Struct(">IiBQdddBB")
_TEXT_BYTES = 4096


def our_word(message: Any) -> Any:
    """Return what the service, or this process itself, has marshalled.

    Never for bytes that a candidate could have written: marshal may crash on those, or worse. Each channel that
    this reads has the service alone at its other end, and what a test keeps compiled is sealed before its
    candidate runs.
    """
    return marshal.loads(message)  # noqa: S302 - no candidate writes what comes here


class TestReport(NamedTuple):
    """One test, as its keeper saw it."""

    number: int
    """Place of the test among its candidate's."""
    outcome: int
    status: int
    """Wait status of the test's first process."""
    cpu_seconds: float
    wall_seconds: float
    peak_kib: int
    last: bool
    """The keeper takes no further test."""
    notes: bytes
    """See `program`; the reason where the outcome is FAILED."""

    @classmethod
    def unpack(cls, message: bytes) -> "TestReport":
        """Read a message; raises struct.error where it is too short."""
        number, outcome, status, cpu, wall, peak, last = _TEST.unpack_from(message)
        return cls(number, outcome, status, cpu, wall, peak, bool(last), message[_TEST.size :])


class GoneReport(NamedTuple):
    """The end of a keeper, as the zygote saw it."""

    number: int
    status: int
    excess: int
    peak_bytes: int
    cpu_seconds: float
    wall_seconds: float
    """Of a lone test; 0 for a keeper, which reports each test's own."""
    waited_seconds: float
    """For a processor: of a lone test that took longer than its CPU time allows, else 0."""
    outcome: int
    """ENDED or WALL, of a lone test."""
    clean: bool
    """False where the scratch could not be emptied, or the keeper could not be made (`failure`)."""
    failure: bytes = b""

    @classmethod
    def unpack(cls, message: bytes) -> "GoneReport":
        """Read a message; raises struct.error where it is too short."""
        number, status, excess, peak, cpu, wall, waited, outcome, clean = _GONE.unpack_from(message)
        failure = message[_GONE.size :]
        return cls(number, status, excess, peak, cpu, wall, waited, outcome, bool(clean), failure)


def gone_message(
    number: int,
    status: int,
    excess: int,
    peak_bytes: int,
    cpu_seconds: float,
    wall_seconds: float,
    waited_seconds: float,
    outcome: int,
    clean: bool,
    failure: bytes = b"",
) -> bytes:
    """Return the message that `GoneReport` reads."""
    head = _GONE.pack(
        number, status, excess, peak_bytes, cpu_seconds, wall_seconds, waited_seconds, outcome, clean
    )
    return head + failure[:_TEXT_BYTES]


def test_message(
    number: int,
    outcome: int,
    status: int,
    cpu_seconds: float,
    wall_seconds: float,
    peak_kib: int,
    last: bool,
    notes: bytes,
) -> bytes:
    """Return the message that `TestReport` reads: no report is made where every object costs a page."""
    head = _TEST.pack(number, outcome, status, cpu_seconds, wall_seconds, peak_kib, last)
    return head + notes[:_TEXT_BYTES]
