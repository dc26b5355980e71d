"""Why a worker ended, and what that means for the item it was at.

Some ends are caused by the item at work for certain: its budget, its memory. Others
may be a neighbour's doing; then the pool judges every item of the chunk again,
alone. Ends that come from outside say nothing about any item.
"""

import os
import signal
from collections.abc import Callable

from countermark_service.bundles import Bundle
from countermark_service.engine.jobs import Failed

UNPREPARED = 72
"""Exit status of a worker that has begun nothing, as the machine lacked something to make it ready."""


def reason_of(status: int | None, *, begun: bool) -> str:
    """Return why a process ended that the service did not kill.

    Args:
        status: Its wait status; None where the nursery died with it.
        begun: Whether it had begun any item.
    """
    if status is None:
        return "nursery_lost"
    if not begun and os.WIFEXITED(status) and os.WEXITSTATUS(status) == UNPREPARED:
        return "worker_unprepared"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        known = {
            signal.SIGPROF: "cpu_limit",
            signal.SIGSYS: "out_of_memory",
            signal.SIGKILL: "killed_from_outside",
        }
        return known.get(signal.Signals(number), "verifier_crashed")
    return "verifier_exited"


def _cpu_limit(bundle: Bundle) -> Failed:
    seconds = bundle.manifest.limits.cpu_seconds
    return Failed("timeout", "cpu_limit", f"the verifier used up its {seconds:g} s of CPU time")


def _wall_limit(bundle: Bundle) -> Failed:
    seconds = bundle.manifest.limits.wall_seconds
    return Failed("timeout", "wall_limit", f"the verifier made no progress for {seconds:g} s")


def _out_of_memory(bundle: Bundle) -> Failed:
    size = bundle.manifest.limits.memory_mib
    return Failed("error", "out_of_memory", f"the verifier needed more than its {size} MiB of memory")


CERTAIN: dict[str, Callable[[Bundle], Failed]] = {
    "cpu_limit": _cpu_limit,
    "wall_limit": _wall_limit,
    "out_of_memory": _out_of_memory,
}
"""Ends that the item at work has caused for certain."""

NOT_THE_ITEM = {"killed_from_outside", "nursery_lost", "worker_stuck", "closing"}
"""Ends that say nothing about the item at work."""


def failure_of(reason: str, status: int | None) -> Failed:
    """Return what an item gets whose worker ended over it; `status` is the worker's wait status."""
    if reason == "protocol_violation":
        return Failed("error", reason, "the verifier wrote to, or closed, the pipe that carries verdicts")
    if reason == "verifier_exited" and status is not None:
        return Failed(
            "error", reason, f"the verifier ended its process with exit status {os.WEXITSTATUS(status)}"
        )
    number = signal.Signals(os.WTERMSIG(status)).name if status is not None else "no status"
    return Failed("error", reason, f"the verifier's process crashed ({number})")
