"""Tiny real wheels, a folder to keep them in, and a uv that knows of no other place."""

import base64
import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

Bake = Callable[..., bytes]


@pytest.fixture(scope="session")
def uv_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of uv that these tests share and nobody else uses."""
    return tmp_path_factory.mktemp("uv-cache")


@pytest.fixture(scope="module", autouse=True)
def surroundings(uv_cache: Path) -> Iterator[None]:
    """Variables of a machine whose index does not answer; the developer's own ones are put away.

    They end with the module: what runs in this process afterwards builds environments of its own.
    """
    kept = dict(os.environ)
    for name in kept:
        if name.startswith(("UV_", "PIP_")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ["UV_CACHE_DIR"] = str(uv_cache)
    os.environ["UV_DEFAULT_INDEX"] = "http://127.0.0.1:9/simple"
    os.environ["UV_HTTP_RETRIES"] = "0"
    yield
    os.environ.clear()
    os.environ.update(kept)


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """An empty folder for wheels."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where environments go."""
    return tmp_path / "environments"


@pytest.fixture(scope="session")
def bake() -> Bake:
    """Write a wheel by hand; returns its line of a lock."""
    return _bake


def _bake(
    folder: Path,
    name: str,
    version: str = "1.0",
    files: Mapping[str, bytes] | None = None,
    *,
    tag: str = "py3-none-any",
    record_says: Mapping[str, bytes] | None = None,
) -> bytes:
    info = f"{name}-{version}.dist-info"
    content = {
        f"{name}.py": f"VERSION = {version!r}\n".encode(),
        **(files or {}),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    record = "".join(_record_line(path, data) for path, data in {**content, **(record_says or {})}.items())
    wheel = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in {**content, f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}.items():
            archive.writestr(zipfile.ZipInfo(path), data)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"{name}=={version} \\\n    --hash=sha256:{digest}\n".encode()


def _record_line(path: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(data)}\n"
