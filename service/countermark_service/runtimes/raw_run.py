"""One program, run as it is: for facades and tools that judge by themselves.

The containment is that of candidates, the limits too, and the queue: a raw run takes
its turn with them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from countermark_service.bundles.manifest import SANDBOX_LIMITS
from countermark_service.errors import RequestError, UnavailableError
from countermark_service.runtimes.runs import effective_limits
from countermark_service.runtimes.sandboxes import Kind, Sandboxes
from countermark_service.sandbox.code.model import (
    Limits,
    RunResult,
    SandboxInputError,
    SandboxUnavailableError,
    Status,
)

_DEFAULTS: Mapping[str, Mapping[str, float]] = {
    "javascript": {
        "address_space_mib": 0,
        "processes": 64,
    },  # node reserves gigabytes and starts a dozen threads
}


@dataclass(frozen=True)
class RawRun:
    """What came out, and in which surroundings."""

    result: RunResult
    level: str
    """Containment of the run."""
    version: str
    """Interpreter or compiler."""
    limits: Limits
    """What it was allowed."""


async def run_raw(
    sandboxes: Sandboxes,
    kind: Kind,
    code: str,
    *,
    stdin: str = "",
    files: Mapping[str, bytes] | None = None,
    limits: Mapping[str, float] | None = None,
    compile_seconds: float | None = None,
    fetch: Sequence[str] = (),
) -> RawRun:
    """Run `code` once.

    Args:
        sandboxes: Where.
        kind: What it is written in, and what it finds.
        code: The source.
        stdin: Its standard input.
        files: Put into the working folder before, by relative path.
        limits: What differs from the sandbox's own limits, under the names of `Limits`.
        compile_seconds: CPU time of the compiler, where there is one; the sandbox has its own otherwise.
        fetch: Files of the working folder that are wanted afterwards.

    Raises:
        RequestError: A file name or a limit that is not accepted.
        SaturatedError: Too many wait.
        UnavailableError: Language or containment are not to be had here, or the sandbox failed.
    """
    wanted = limits or {}
    unknown = sorted(set(wanted) - set(SANDBOX_LIMITS))
    if unknown:
        message = f"limits.{unknown[0]} is no limit; there are {', '.join(SANDBOX_LIMITS)}."
        raise RequestError(message, field=f"limits.{unknown[0]}")
    sandboxes.admit(1)
    sandboxes.waiting += 1
    try:
        checked = effective_limits(_DEFAULTS.get(kind.language, {}), wanted)
        async with sandboxes.open(kind) as lent, sandboxes.turns:
            source = code.encode("utf-8", "surrogatepass")
            stdin_bytes = stdin.encode("utf-8", "surrogatepass")
            (result,) = await lent.pool.run_tests(
                source,
                [stdin_bytes],
                checked,
                files=files or None,
                compile_seconds=compile_seconds,
                fetch=fetch,
            )
    except SandboxInputError as exc:
        raise RequestError(f"{exc}.", field="limits" if str(exc).startswith("limit ") else None) from exc
    except SandboxUnavailableError as exc:
        raise UnavailableError(f"the sandbox is not to be had: {exc}") from exc
    finally:
        sandboxes.waiting -= 1
    if result.status is Status.INFRASTRUCTURE:
        raise UnavailableError("the sandbox failed, and nothing is known of the program: ask again.")
    return RawRun(result, lent.pool.level.value, lent.version, checked)
