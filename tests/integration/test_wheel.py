"""What people install is the wheel, so the wheel is built, installed where nothing is, and used.

A checkout hides what a wheel lacks: a file that was not packed, a dependency that
only the tools bring, a bundle folder found beside the sources. Packages come from
uv's cache, which setting up has filled, so that no index is needed; where the cache
was emptied they are fetched.
"""

import os
import signal
import socket
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uv

REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = REPOSITORY / "requirements.service.lock"
START_SECONDS = 120.0
STOP_SECONDS = 60.0
BASE_PACKAGES = {"anyio", "certifi", "countermark", "h11", "httpcore", "httpx", "idna", "typing-extensions"}


def run_uv(*arguments: str | Path) -> str:
    """Run uv and return what it prints; a failure shows what uv said."""
    ended = subprocess.run(
        [uv.find_uv_bin(), *map(str, arguments)], capture_output=True, text=True, check=False, cwd=REPOSITORY
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def install(environment: Path, requirement: str) -> Path:
    """Make an empty environment, install a requirement as locked, and return the environment's `bin`.

    The wheel's own metadata decides which packages come; the lock decides their versions only.
    """
    run_uv("venv", "--quiet", "--python", sys.executable, environment)
    command = [
        "pip",
        "install",
        "--quiet",
        "--python",
        str(environment),
        "--constraint",
        str(LOCK),
        requirement,
    ]
    offline = subprocess.run([uv.find_uv_bin(), *command, "--offline"], capture_output=True, check=False)
    if offline.returncode != 0:
        run_uv(*command)
    return environment / "bin"


def plain_environment(**variables: str) -> dict[str, str]:
    """Return this process's variables without what could lead a program back to the checkout."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV", "COUNTERMARK_", "COV_"))
    }
    return {**kept, **variables}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the repository as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ["build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable]
    run_uv(*build, "--out-dir", folder, REPOSITORY)
    (built,) = folder.glob("countermark-*.whl")
    return built


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bin` of an environment with the client alone."""
    return install(tmp_path_factory.mktemp("base") / "env", str(wheel))


@pytest.fixture(scope="module")
def service(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bin` of an environment with the service."""
    return install(tmp_path_factory.mktemp("service") / "env", f"countermark[service] @ {wheel.as_uri()}")


def bundle_files() -> set[str]:
    """Return every file that a manifest below `verifiers/` declares, relative to that folder."""
    return {
        f"{manifest.parent.relative_to(REPOSITORY / 'verifiers').as_posix()}/{name}"
        for manifest in (REPOSITORY / "verifiers").rglob("verifier.toml")
        for name in tomllib.loads(manifest.read_text())["files"]
    }


def test_the_wheel_carries_every_file_of_every_bundle_unchanged(wheel: Path) -> None:
    declared = bundle_files()
    assert any(name.startswith("exact/1.0.0/") for name in declared)
    with zipfile.ZipFile(wheel) as archive:
        for name in {*declared, "published.toml"}:
            packed = archive.read(f"countermark_service/_bundled/{name}")
            assert packed == (REPOSITORY / "verifiers" / name).read_bytes(), name


def test_the_wheel_carries_both_packages_with_their_types_and_the_licence_and_nothing_else(
    wheel: Path,
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {"countermark/py.typed", "countermark_service/py.typed"} <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    templates = "countermark_service/audit/report/templates"
    assert {f"{templates}/report.css", f"{templates}/report.html.jinja"} <= set(names)
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"countermark", "countermark_service"}
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []


def test_the_base_install_brings_the_client_and_httpx_and_nothing_of_the_service(base: Path) -> None:
    code = (
        "import importlib.metadata as m, re\n"
        "import countermark; countermark.Client, countermark.AsyncClient\n"
        "print(*{re.sub('[-_.]+', '-', d.name).lower() for d in m.distributions()})\n"
    )
    ended = subprocess.run(
        [base / "python", "-W", "error", "-I", "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    installed = set(ended.stdout.split())
    assert {"countermark", "httpx"} <= installed <= BASE_PACKAGES


def test_the_command_of_a_base_install_says_how_to_get_the_service(base: Path, tmp_path: Path) -> None:
    ended = subprocess.run(
        [base / "countermark", "serve"],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=plain_environment(),
    )  # fmt: skip
    assert ended.returncode == 1
    assert "countermark[service]" in ended.stderr
    assert "Traceback" not in ended.stderr


@contextmanager
def served(command: Path, folder: Path) -> Iterator[httpx.Client]:
    """Run `countermark serve` from an empty folder and hand out a client for it, once it is ready.

    It must end in order when it is asked to: with status 0, or with the signal once its work is done.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [command, "serve", "--port", str(port)],
            cwd=folder,
            env=plain_environment(COUNTERMARK_DATA=str(folder / "data")),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=START_SECONDS, trust_env=False
        ) as client:
            wait_until_ready(client, process, log)
            yield client
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) in (0, -signal.SIGTERM), log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    """Ask /readyz until it answers 200; a service that ends before that fails the test with its log."""
    waits = int(START_SECONDS / 0.1)
    for _ in range(waits):
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.ConnectError:
            pass
        try:  # the pause between two questions, cut short if there is nobody left to ask
            status = process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"countermark serve ended with {status}:\n{log.read_text()}")
    pytest.fail(f"not ready after {START_SECONDS:.0f} s:\n{log.read_text()}")


def test_an_installed_service_starts_from_an_empty_folder_and_scores(service: Path, tmp_path: Path) -> None:
    items = [
        {"id": "same", "response": "Paris", "reference": "Paris"},
        {"response": "Rome", "reference": "Paris"},
    ]
    with served(service / "countermark", tmp_path) as client:
        refs = {each["ref"].partition("@")[0] for each in client.get("/v1/verifiers").json()["verifiers"]}
        answer = client.post("/v1/score", json={"verifier": "exact:1.0.0", "items": items})
    assert answer.status_code == 200, answer.text
    assert [(v["id"], v["outcome"], v["score"]) for v in answer.json()["verdicts"]] == [
        ("same", "scored", 1.0),
        (None, "scored", 0.0),
    ]
    assert refs == {
        "{}:{}".format(*name.rsplit("/", 2)) for name in bundle_files() if name.endswith("/verifier.toml")
    }


def test_the_packages_of_the_service_agree_with_each_other(service: Path) -> None:
    run_uv("pip", "check", "--quiet", "--python", service / "python")
