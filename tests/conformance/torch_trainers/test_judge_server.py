"""A real inference server with a random model behind the judges: what it says means nothing, how it says it is real."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from countermark import Client
from tests.conformance.torch_trainers.conftest import HERE
from tests.support import REPOSITORY, ServiceProcess

MODEL = "Qwen/Qwen2.5-7B-Instruct"
JUDGE = "test/short-equivalence:1.0.0"
ITEMS = [
    {
        "response": f"So it is \\boxed{{{n} things}}",
        "reference": f"{n % 3} of them",
        "prompt": f"How many? ({n})",
    }
    for n in range(16)
]
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


@pytest.fixture(scope="module")
def environment(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings of a service that asks this server, with a judge whose replies are short."""
    folder = tmp_path_factory.mktemp("operator")
    bundle = folder / "bundles/test/short-equivalence/1.0.0"
    shutil.copytree(REPOSITORY / "verifiers/judge/equivalence/1.0.0", bundle)
    manifest = (bundle / "verifier.toml").read_text()
    manifest = manifest.replace('"judge/equivalence"', '"test/short-equivalence"')
    (bundle / "verifier.toml").write_text(manifest.replace("max_tokens = 512", "max_tokens = 24"))
    (folder / "judges.toml").write_text(
        f'[models."{MODEL}"]\nbase_url = "{server.url}/v1"\nserved_as = "{server.folder}"\n'
        # It seeds one generator for all that it is answering: two at once, and the probe sees no seed heeded.
        "concurrency = 1\nattempts = 2\nbackoff_seconds = 0.05\n"
    )
    return {
        "COUNTERMARK_JUDGES": str(folder / "judges.toml"),
        "COUNTERMARK_BUNDLES": str(folder / "bundles"),
    }


def command(*words: str, environment: dict[str, str], data: Path) -> "subprocess.CompletedProcess[str]":
    """Run `countermark judge …`."""
    return subprocess.run(
        [sys.executable, "-m", "countermark_service", "judge", *words],
        env={**os.environ, **environment, "COUNTERMARK_DATA": str(data)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_probe_sees_what_the_server_heeds_and_what_it_only_accepts(
    environment: dict[str, str], tmp_path: Path
) -> None:
    told = command("probe", "--json", environment=environment, data=tmp_path)
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)["models"][MODEL]
    assert (found["seed"], found["temperature"]) == (True, True)
    assert (found["response_format"], found["logprobs"]) == (False, False), "it takes both and heeds neither"


@pytest.mark.slow
def test_verdicts_are_what_the_server_said_and_replay_without_it_to_the_byte(
    server: Server, environment: dict[str, str], tmp_path: Path
) -> None:
    process = ServiceProcess(tmp_path / "data", environment).start()
    try:
        with Client(process.url, timeout=300) as client:
            judged = client.score(JUDGE, ITEMS)
            archive = tmp_path / "transcripts.jsonl"
            assert command("export", str(archive), environment={}, data=tmp_path / "data").returncode == 0
            server.process.kill()
            server.process.wait()
            replayed = client.score(JUDGE, ITEMS, judge_mode="replay")
            unreachable = client.score(JUDGE, ITEMS[:2], judge_mode="fresh")
    finally:
        process.stop()
    assert {verdict.outcome.value for verdict in judged.verdicts} == {"scored", "abstain"}
    said = [json.loads(line) for line in archive.read_text().splitlines()]
    lasts = [last_word(line) for line in said]
    for word, score in (("SAME", 1.0), ("DIFFERENT", 0.0)):
        assert sum(verdict.score == score for verdict in judged.verdicts) == lasts.count(word)
    assert [document(one) for one in replayed.verdicts] == [document(one) for one in judged.verdicts]
    assert [(one.outcome.value, one.score) for one in unreachable.verdicts] == [("error", None)] * 2


def last_word(line: dict[str, Any]) -> str:
    """Return the last line of the reply that a transcript keeps."""
    reply = json.loads(line["transcript"]["raw"])
    content: str = reply["choices"][0]["message"]["content"]
    return content.splitlines()[-1]


def document(verdict: Any) -> tuple[Any, ...]:
    """Return what of a verdict must be the same again."""
    return verdict.outcome, verdict.score, verdict.detail, verdict.surroundings
