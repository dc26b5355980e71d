"""The wheels of a lock, fetched from a real index of our own, and an environment from them without it."""

import base64
import hashlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

import pytest

from countermark_service.engine.environment import (
    EnvironmentCache,
    IndexUnreachableError,
    WheelHashMismatchError,
    WheelUnavailableError,
)
from countermark_service.engine.wheelhouse import collect_wheels

Bake = Callable[..., bytes]
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
NO_WHEEL = b"missingroot==2.0 --hash=sha256:" + b"0" * 64 + b"\n"


@dataclass
class Index:
    """A package index (PEP 503) over the wheels of a folder; it counts, and can be made to fail."""

    shelf: Path
    url: str = ""
    downloads: list[str] = field(default_factory=list)
    password: str = ""
    failures: list[int] = field(default_factory=list)
    """Statuses that the next downloads are answered with."""
    swapped: dict[str, bytes] = field(default_factory=dict)
    """What is sent instead of a file that the pages give the right hash of."""

    def answer(self, path: str, authorization: str | None) -> tuple[int, bytes, str]:
        """Return status, body and type for a request."""
        expected = "Basic " + base64.b64encode(f"reader:{self.password}".encode()).decode()
        if self.password and authorization != expected:
            return 401, b"", "text/plain"
        kind, _, name = unquote(path).strip("/").partition("/")
        if kind == "simple":
            wheels = sorted(self.shelf.glob(f"{name.replace('-', '_')}-*.whl"))
            page = "".join(self._link(wheel) for wheel in wheels).encode()
            return (200, page, "text/html") if wheels else (404, b"", "text/plain")
        self.downloads.append(name)
        if self.failures:
            return self.failures.pop(0), b"", "text/plain"
        return 200, self.swapped.get(name) or (self.shelf / name).read_bytes(), "application/octet-stream"

    def _link(self, wheel: Path) -> str:
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        return f'<a href="../../files/{wheel.name}#sha256={digest}">{wheel.name}</a>\n'


@pytest.fixture
def index(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """A running index over `shelf`, which uv is told to use."""
    served = Index(shelf)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, kind = served.answer(self.path, self.headers.get("Authorization"))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is inherited
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        served.url = f"http://127.0.0.1:{server.server_port}/simple"
        monkeypatch.setenv("UV_DEFAULT_INDEX", served.url)
        yield served
        server.shutdown()
        thread.join()


@pytest.fixture
def collected(tmp_path: Path) -> Path:
    """Where wheels go; it does not exist yet."""
    return tmp_path / "collected"


def test_collected_wheels_build_an_environment_where_there_is_no_index_and_no_cache(
    index: Index,
    shelf: Path,
    bake: Bake,
    collected: Path,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lock = bake(shelf, "tinyfruit") + bake(shelf, "tiny_root", "2.0")
    bake(shelf, "tinyfruit", "1.1")  # on offer, and not in the lock

    wheels = collect_wheels(lock, PYTHON, collected)

    assert [wheel.name for wheel in wheels] == [
        "tinyfruit-1.0-py3-none-any.whl",
        "tiny_root-2.0-py3-none-any.whl",
    ]
    assert sorted(collected.iterdir()) == sorted(wheels)
    for wheel in wheels:
        assert wheel.read_bytes() == (shelf / wheel.name).read_bytes()
    for name in ("HOME", "UV_CACHE_DIR"):
        empty = tmp_path / f"empty-{name}"
        empty.mkdir()
        monkeypatch.setenv(name, str(empty))
    for offline, index_url in ((True, index.url), (False, "http://127.0.0.1:9/simple")):
        monkeypatch.setenv("UV_DEFAULT_INDEX", index_url)
        asked = len(index.downloads)
        cache = EnvironmentCache(root / str(offline), wheelhouses=[collected], offline=offline)
        assert (cache.ensure(lock, PYTHON).site_packages[0] / "tiny_root.py").is_file()
        assert len(index.downloads) == asked


def test_the_wheel_that_is_collected_is_the_one_that_would_be_installed(
    index: Index, shelf: Path, bake: Bake, collected: Path, root: Path
) -> None:
    exact = f"cp{sys.version_info[0]}{sys.version_info[1]}-none-any"
    lines = [bake(shelf, "tinyfruit", tag=tag) for tag in ("py3-none-any", exact, "cp27-none-any")]
    hashes = b" ".join(line.split(b"\\\n")[1].strip() for line in lines)
    lock = b"tinyfruit==1.0 " + hashes + b"\n"

    [wheel] = collect_wheels(lock, PYTHON, collected)

    assert wheel.name == f"tinyfruit-1.0-{exact}.whl"
    installed = EnvironmentCache(root).ensure(lock, PYTHON)
    metadata = installed.site_packages[0] / "tinyfruit-1.0.dist-info" / "WHEEL"
    assert f"Tag: {exact}" in metadata.read_text()


def test_a_lock_of_comments_has_no_wheels(collected: Path) -> None:
    assert collect_wheels(b"# the standard library is enough\n", PYTHON, collected) == []
    assert list(collected.iterdir()) == []


def test_wheels_are_collected_from_a_wheelhouse_without_an_index(
    shelf: Path, bake: Bake, collected: Path
) -> None:
    """An imported bundle can be exported again."""
    lock = bake(shelf, "tinyfruit")
    for offline in (True, False):
        [wheel] = collect_wheels(lock, PYTHON, collected / str(offline), wheelhouses=[shelf], offline=offline)
        assert wheel.read_bytes() == (shelf / wheel.name).read_bytes()


def test_wheels_that_other_bundles_brought_stop_no_build_whatever_they_are_called(
    shelf: Path, bake: Bake, collected: Path, root: Path, tmp_path: Path
) -> None:
    """Each was named by the lock of the bundle that brought it, one of them under a name of another."""
    lock = bake(shelf, "tinyfruit") + bake(shelf, "tinyroot")
    names = [f"{name}-1.0-py3-none-any.whl" for name in ("tinyfruit", "tinyroot")]
    wheels = tmp_path / "wheels"

    def bring(content: bytes, name: str) -> None:
        folder = wheels / hashlib.sha256(content).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    fruit, tree = ((shelf / name).read_bytes() for name in names)
    bring(fruit, names[0])
    bring(tree, names[1])
    bring(fruit, names[1])
    bring(b"another", names[0])

    cache = EnvironmentCache(root, wheelhouses=[wheels], offline=True)
    assert (cache.ensure(lock, PYTHON).site_packages[0] / "tinyroot.py").is_file()
    exported = collect_wheels(lock, PYTHON, collected, wheelhouses=[wheels], offline=True)
    assert [wheel.read_bytes() for wheel in exported] == [fruit, tree]


def test_what_is_there_already_is_not_fetched_again_and_what_is_damaged_is(
    index: Index, shelf: Path, bake: Bake, collected: Path
) -> None:
    lock = bake(shelf, "tinyfruit") + bake(shelf, "tinyroot")
    first = collect_wheels(lock, PYTHON, collected)
    first[0].write_bytes(b"damaged")
    index.downloads.clear()
    assert collect_wheels(lock, PYTHON, collected) == first
    # uv may read the head of a file for its metadata; only a whole download makes the file right again
    assert first[0].read_bytes() == (shelf / first[0].name).read_bytes()
    assert "tinyroot-1.0-py3-none-any.whl" not in index.downloads


def test_a_file_that_the_lock_does_not_name_is_refused_before_it_is_fetched(
    index: Index, shelf: Path, bake: Bake, collected: Path
) -> None:
    locked = bake(shelf, "tinyfruit")
    bake(shelf, "tinyfruit", files={"surprise.py": b"import os\n"})
    found = hashlib.sha256(next(shelf.iterdir()).read_bytes()).hexdigest()
    with pytest.raises(WheelHashMismatchError, match=r"tinyfruit==1\.0") as caught:
        collect_wheels(locked, PYTHON, collected)
    assert caught.value.computed == f"sha256:{found}"
    assert caught.value.expected[0].encode() in locked
    assert list(collected.iterdir()) == []


def test_a_server_that_sends_something_else_than_its_index_says_is_refused(
    index: Index, shelf: Path, bake: Bake, collected: Path
) -> None:
    lock = bake(shelf, "tinyfruit")
    collect_wheels(lock, PYTHON, collected / "before")  # now uv knows the metadata and need not ask again
    index.swapped["tinyfruit-1.0-py3-none-any.whl"] = b"surprise"
    with pytest.raises(WheelHashMismatchError) as caught:
        collect_wheels(lock, PYTHON, collected / "after")
    assert caught.value.computed == "sha256:" + hashlib.sha256(b"surprise").hexdigest()
    assert list((collected / "after").iterdir()) == []


def test_a_server_that_is_busy_once_is_asked_again(
    index: Index, shelf: Path, bake: Bake, collected: Path
) -> None:
    lock = bake(shelf, "tinyfruit")
    collect_wheels(lock, PYTHON, collected / "before")
    index.failures.append(503)
    [wheel] = collect_wheels(lock, PYTHON, collected / "after")
    assert wheel.read_bytes() == (shelf / wheel.name).read_bytes()
    assert index.failures == []


def test_a_file_that_is_gone_is_named(index: Index, shelf: Path, bake: Bake, collected: Path) -> None:
    lock = bake(shelf, "tinyfruit")
    collect_wheels(lock, PYTHON, collected / "before")
    index.failures.append(404)
    with pytest.raises(WheelUnavailableError, match=r"tinyfruit==1\.0(.|\n)*HTTP status 404"):
        collect_wheels(lock, PYTHON, collected / "after")


def test_a_private_index_is_read_with_the_credentials_that_uv_has(
    index: Index, shelf: Path, bake: Bake, collected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = bake(shelf, "tinyfruit")
    index.password = "s3cret"
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.url.replace("//", "//reader:s3cret@"))
    assert len(collect_wheels(lock, PYTHON, collected / "in-url")) == 1
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_INDEX", f"our-own={index.url}")
    monkeypatch.setenv("UV_INDEX_OUR_OWN_USERNAME", "reader")
    monkeypatch.setenv("UV_INDEX_OUR_OWN_PASSWORD", "s3cret")
    assert len(collect_wheels(lock, PYTHON, collected / "named")) == 1


def test_a_wheel_that_is_nowhere_is_named(index: Index, collected: Path, shelf: Path, bake: Bake) -> None:
    with pytest.raises(WheelUnavailableError, match=r"fruit:1\.0: no wheel of missingroot==2\.0"):
        collect_wheels(bake(shelf, "tinyfruit") + NO_WHEEL, PYTHON, collected, label="fruit:1.0")
    assert list(collected.iterdir()) == []


def test_an_index_that_does_not_answer_is_said_to(collected: Path) -> None:
    with pytest.raises(IndexUnreachableError, match=r"127\.0\.0\.1:9"):
        collect_wheels(NO_WHEEL, PYTHON, collected)
