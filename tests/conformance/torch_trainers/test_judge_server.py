"""What a probe finds at an inference server that takes options and heeds some of them.

The judges' own tests run against another real server (tests/integration/judge/random_model.py), which heeds all.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.conformance.torch_trainers.conftest import HERE

MODEL = "Qwen/Qwen2.5-7B-Instruct"
_READY_SECONDS = 180.0


@dataclass
class Server:
    """The inference server."""

    folder: Path
    url: str
    process: "subprocess.Popen[bytes]"


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter that has the inference server."""
    found = os.environ.get("COUNTERMARK_TORCH_PYTHON")
    if not found:
        pytest.skip("the inference server has a job of its own: make conformance-torch")
    return Path(found)


@pytest.fixture(scope="module")
def server(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the Transformers library, with a model made here."""
    folder = tmp_path_factory.mktemp("judge") / "model"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([python, "-s", HERE / "make_judge.py", folder], env=environment, check=True)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command: list[str | Path] = [
        python.with_name("transformers"),
        "serve",
        folder,
        "--port",
        str(port),
        "--device",
        "cpu",
    ]
    with (folder.parent / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--host", "127.0.0.1"], env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + _READY_SECONDS
        while process.poll() is None and time.monotonic() < until:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/health").status_code == 200:
                    break
            time.sleep(0.2)
        else:
            raise AssertionError((folder.parent / "log").read_text())
        yield Server(folder, url, process)
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_the_probe_sees_what_the_server_heeds_and_what_it_only_accepts(
    server: Server, tmp_path: Path
) -> None:
    judges = tmp_path / "judges.toml"
    judges.write_text(
        f'[models."{MODEL}"]\nbase_url = "{server.url}/v1"\nserved_as = "{server.folder}"\n'
        # It seeds one generator for all that it is answering: two at once, and the probe sees no seed heeded.
        "concurrency = 1\nattempts = 2\nbackoff_seconds = 0.05\n"
    )
    told = subprocess.run(
        [sys.executable, "-m", "countermark_service", "judge", "probe", "--json"],
        env={**os.environ, "COUNTERMARK_JUDGES": str(judges), "COUNTERMARK_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)["models"][MODEL]
    assert (found["seed"], found["temperature"]) == (True, True)
    assert (found["response_format"], found["logprobs"]) == (False, False), "it takes both and heeds neither"
