"""Raw runs as facades have them: limits in their clients' units, answers while somebody still listens."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace

from countermark_service.errors import RequestError
from countermark_service.runtimes.raw_run import RawRun
from countermark_service.sandbox.code.model import RunResult, Status

WALL_FACTOR = 2.0
"""Wall time that a program gets per second of its time limit.

Other sandboxes count time on the clock, in which a busy machine has a say. Here the limit counts CPU time,
the clock ends what sleeps, and `settled` tells who was kept waiting for a processor from who waited by choice.
"""
_IDLE_SHARE = 0.5
"""A program that ran beyond its limit on the clock, and was idle for more of that time, has slept."""
_LEAST_CPU, _LEAST_WALL = 0.05, 0.1
"""Bounds of the sandbox's limits; a client's smaller wish means these."""
_LEAST_MIB, _MOST_MIB = 32, 65536
OUTPUT_BYTES = 8 << 20
"""Output of one program. Other sandboxes cut it at more, or nowhere."""
_STDERR_BYTES = 1 << 20
MEMORY_MIB = 1024
"""Memory of one program where its client names none."""


def limits_of(seconds: float, memory_mib: float | None) -> dict[str, float]:
    """Return the limits of a run.

    Args:
        seconds: The client's time limit.
        memory_mib: The client's memory limit; None or nothing above 0 is the default.

    Raises:
        RequestError: The time limit is beyond what the sandbox has.
    """
    if seconds > 600:
        raise RequestError(
            f"a time limit of {seconds:g} s is more than the 600 s that a program may have.", field="timeout"
        )
    memory = MEMORY_MIB if memory_mib is None or memory_mib <= 0 else memory_mib
    return {
        "cpu_seconds": max(_LEAST_CPU, seconds),
        "wall_seconds": max(_LEAST_WALL, WALL_FACTOR * seconds),
        "memory_mib": int(min(_MOST_MIB, max(_LEAST_MIB, memory))),
        "stdout_bytes": OUTPUT_BYTES,
        "stderr_bytes": _STDERR_BYTES,
    }


def settled(ran: RawRun) -> RunResult:
    """Return how a run ended, by the clock too: one that slept beyond its time limit has met it."""
    result, seconds = ran.result, ran.limits.cpu_seconds
    busy = result.cpu_seconds + result.waited_seconds
    idle = 1 - busy / result.wall_seconds if result.wall_seconds > seconds else 0.0
    if result.status is Status.TIME_LIMIT or idle <= _IDLE_SHARE:
        return result
    message = f"more than {seconds:g} s on the clock, most of it idle"
    return replace(result, status=Status.TIME_LIMIT, exit_code=None, signal=None, message=message)


def decoded_files(files: Mapping[str, str | None]) -> dict[str, bytes]:
    """Return files from base64; those without content are left out.

    Raises:
        RequestError: Not base64; says which.
    """
    found = {}
    for name, content in files.items():
        if content is None:
            continue
        try:
            found[name] = base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError) as exc:
            raise RequestError(f"the file {name[:100]!r} is not base64: {exc}.", field="files") from exc
    return found


def text(output: bytes) -> str:
    """Return output as text; bytes that are no UTF-8 are replaced."""
    return output.decode("utf-8", "replace")
