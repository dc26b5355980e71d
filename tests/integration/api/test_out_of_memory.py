"""Where memory runs out, the kernel ends verifiers and candidates before the service."""

import contextlib
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from countermark_service.sandbox.code.inside import kernel
from tests.integration.api.conftest import StartService
from tests.integration.api.parts import Caller, item, processes_below, wait_until
from tests.support import write_bundle

_SLOW_IMPORT = """
import time
time.sleep(600)
def verify(item): ...
"""


def oom_score_adj(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@pytest.mark.parametrize("level", ["namespaces", "landlock"])
def test_all_that_runs_below_the_service_goes_first(
    start_service: StartService, tmp_path: Path, level: str
) -> None:
    if level == "landlock" and kernel.landlock_abi() < kernel.LANDLOCK_SCOPED_ABI:
        pytest.skip("the kernel's Landlock has no scopes")
    service = start_service(tmp_path / "data", sandbox_best=level, sandbox_level=level)
    with Caller(service) as caller:
        assert caller.verdicts([item("right")])[0]["score"] == 1.0
        ran = caller.post({"language": "python", "code": "print(1)"}, path="/v1/run").json()
        assert (ran["stdout"], ran["level"]) == ("1\n", level)
        below = processes_below(service.process.pid)
        assert len(below) >= 3
        assert {oom_score_adj(pid) for pid in below} == {500}
        assert oom_score_adj(service.process.pid) == oom_score_adj(os.getpid())


def test_a_verifier_that_is_killed_while_it_is_loaded_is_told_from_one_that_fails(
    start_service: StartService, tmp_path: Path
) -> None:
    write_bundle(tmp_path / "bundles", _SLOW_IMPORT, name="sleeper")
    service = start_service(tmp_path / "data", bundles=tmp_path / "bundles")
    with Caller(service) as caller, ThreadPoolExecutor(1) as together:
        asked = together.submit(caller.score, [item("right")], verifier="sleeper:1.0.0")
        wait_until(lambda: bool(processes_below(service.process.pid)), "it is being loaded")
        while not asked.done():
            for pid in processes_below(service.process.pid):
                with contextlib.suppress(OSError):  # it has ended meanwhile
                    if b"harness.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        answer = asked.result()
    assert answer.status_code == 503
    assert "it was killed: is the machine out of memory?" in answer.json()["detail"]
