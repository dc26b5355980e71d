"""Everything stands still for longer than a program may take, as in a paused container, and goes on."""

import contextlib
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.api.parts import Caller, item, leaves_below, processes_below, wait_until

CODE = """```python
import time
until = time.process_time() + 2
while time.process_time() < until:
    pass
print(int(input()) + 1)
```"""
LIMITS = {"limits": {"cpu_seconds": 4.0, "wall_seconds": 5.0}}


def burnt(pid: int) -> int:
    """Return the ticks of CPU time that a process has used; 0 for one that has ended."""
    with contextlib.suppress(OSError), Path(f"/proc/{pid}/stat").open() as file:
        return int(file.read().rpartition(")")[2].split()[11])
    return 0


@pytest.mark.parametrize("service_first", [True, False])
def test_a_right_program_that_is_paused_is_not_wrong(caller: Caller, service_first: bool) -> None:
    """A pause is no failure of the program; a zero would be one that nobody can tell from a wrong answer."""
    reference = {"tests": [{"input": "1\n", "output": "2\n"}]}
    verifier = "python-stdio:1.0.3"
    caller.verdicts([item("warm", reference)], verifier=verifier)
    asked = item(CODE.replace("import time", f"import time  # {service_first}"), reference, params=LIMITS)
    service = caller.service.process.pid
    before = {pid: burnt(pid) for pid in leaves_below(service)}
    with ThreadPoolExecutor(1) as together:
        scored = together.submit(caller.verdicts, [asked], verifier=verifier)
        wait_until(
            lambda: any(burnt(pid) > before.get(pid, 0) + 5 for pid in leaves_below(service)), "it computes"
        )
        all_of_it = [service, *processes_below(service)]
        for pid in all_of_it:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        time.sleep(7)
        for pid in all_of_it if service_first else reversed(all_of_it):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        (verdict,) = scored.result()
    assert (verdict["outcome"], verdict["score"]) == ("scored", 1.0)
