"""Who goes first where memory runs out: verifiers and candidates, and not the service.

The kernel ends the largest process of a machine, or of a container with a memory limit, and that may well be the
service: every request is lost then, where the end of a worker costs its items another try. So what is started for
verifiers and candidates says of itself that it is to go first, and all that it starts inherits it.
"""

from collections.abc import Sequence

_SHELL = "/bin/sh"
_GOES_FIRST = 'echo 500 2>/dev/null >/proc/self/oom_score_adj; exec "$0" "$@"'
"""As half of all memory more than the process has; a machine that does not know the file starts it all the same."""


def going_first(argv: Sequence[str]) -> list[str]:
    """Return the command line that runs `argv` as one that goes first."""
    return [_SHELL, "-c", _GOES_FIRST, *argv]
