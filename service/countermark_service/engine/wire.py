"""Frames between the service and a worker: bytes in, values out; no process, no clock.

A frame is a 4-byte big-endian length and JSON, never pickle: what a worker sends
may have been written by a verifier that a hostile response took over, so it is
bounded, typed and checked before anything is made of it.
"""

import struct
from typing import Literal

import msgspec

from countermark_service.errors import CountermarkError
from countermark_service.model import Outcome

LENGTH = struct.Struct(">I")
LARGEST_REPLY = 64 * 1024 * 1024
"""Bytes of the largest frame that a worker may send."""

Operation = Literal["verify", "reduce", "plan", "judge"]


class ProtocolViolationError(CountermarkError):
    """A worker sent something that is no frame of this protocol."""

    code = "protocol_violation"


class Judged(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """What a worker says of one item."""

    outcome: Literal["scored", "no_answer", "bad_reference", "error", "run"]
    """``run``, to "plan" and "judge" only: no verdict yet; the detail says which programs to run for one."""
    score: float | None
    detail: msgspec.Raw
    cpu_microseconds: int


class Reduced(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """The reduction of one item: 64 hex digits, or None where it has none."""

    key: str | None
    cpu_microseconds: int


class JudgedReply(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """Some results of a "verify" chunk, from the index `first` on."""

    sequence: int
    first: int
    results: list[Judged]
    done: bool


class ReducedReply(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """Some results of a "reduce" chunk, from the index `first` on."""

    sequence: int
    first: int
    results: list[Reduced]
    done: bool


_judged = msgspec.json.Decoder(JudgedReply)
_reduced = msgspec.json.Decoder(ReducedReply)


def request_frame(operation: Operation, sequence: int, budget_seconds: float, items: list[bytes]) -> bytes:
    """Return the frame that asks for a chunk; `items` are canonical items, JSON already."""
    payload = b'["%b",%d,%b,[%b]]' % (
        operation.encode(),
        sequence,
        repr(budget_seconds).encode(),
        b",".join(items),
    )
    return LENGTH.pack(len(payload)) + payload


def read_reply(operation: Operation, payload: bytes) -> JudgedReply | ReducedReply:
    """Read one frame's content.

    Raises:
        ProtocolViolationError: It is no reply to `operation`, or a score does not fit its outcome.
    """
    try:
        if operation == "reduce":
            return _reduced.decode(payload)
        reply = _judged.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise ProtocolViolationError(f"a worker sent no valid reply: {exc}") from exc
    for result in reply.results:
        if result.outcome == "run" and operation == "verify":
            raise ProtocolViolationError("a worker asked for a run where it had to give a verdict")
        scored = result.outcome in (Outcome.SCORED, Outcome.NO_ANSWER)
        if scored is (result.score is None) or not bytes(result.detail).startswith(b"{"):
            raise ProtocolViolationError(f"a worker sent outcome {result.outcome} with score {result.score}")
        if result.score is not None and not 0.0 <= result.score <= 1.0:
            raise ProtocolViolationError(f"a worker sent the score {result.score}, which is not in [0, 1]")
    return reply


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self, largest: int = LARGEST_REPLY) -> None:
        """`largest` bounds one frame, in bytes."""
        self._largest = largest
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes and return the frames that are complete now.

        Raises:
            ProtocolViolationError: A frame announces more than the bound.
        """
        self._buffer += data
        frames: list[bytes] = []
        start = 0
        while len(self._buffer) - start >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer, start)
            if length > self._largest:
                raise ProtocolViolationError(
                    f"a worker announced a frame of {length} bytes, over {self._largest}"
                )
            end = start + LENGTH.size + length
            if len(self._buffer) < end:
                break
            frames.append(bytes(self._buffer[start + LENGTH.size : end]))
            start = end
        del self._buffer[:start]
        return frames
