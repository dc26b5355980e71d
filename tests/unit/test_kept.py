"""Keys and lists on a disk that fills up, and under several who change them at once; names of files that are none."""

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from countermark_service import kept
from countermark_service.errors import BundleError, SettingsError
from countermark_service.judge import read_endpoints
from countermark_service.kept import head_of, read_small, replace_whole
from countermark_service.model import BundleRef
from countermark_service.receipts import Keyring
from countermark_service.receipts.errors import SigningKeysError
from countermark_service.registry import (
    AdvisoryError,
    append_advisory,
    append_published,
    append_withdrawal,
    make_advisory,
    read_advisories,
    read_published,
)
from countermark_service.releases import CardError, read_release_file
from countermark_service.settings import load_settings
from countermark_service.store.access_keys import AccessKeys, AccessKeysError

DIGEST = "sha256:" + "a" * 64
PIN = f"subject:1.0.0@{DIGEST}"


@contextmanager
def no_file_over(size: int) -> Iterator[None]:
    """Let a write go as far as that and no further, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def content(folder: Path) -> dict[Path, bytes]:
    """Return every file below `folder`."""
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def advise(folder: Path, reason: str) -> str:
    """Add an advisory to the list in `folder`; return its id."""
    made = make_advisory(PIN, "warning", reason, subject="verifier", date="2026-11-29")
    append_advisory(folder / "advisories.toml", made)
    return made.id


def publish(folder: Path, version: str) -> None:
    """Publish a version in `folder`."""
    append_published(folder, BundleRef("subject", version, DIGEST))


CHANGES: dict[str, Callable[[Path], object]] = {
    "a key is made": lambda folder: AccessKeys(folder / "keys.json").add(["score"], "x" * 2000),
    "a key is removed": lambda folder: AccessKeys(folder / "keys.json").remove(
        AccessKeys(folder / "keys.json").all()[0].id
    ),
    "a signing key is rotated": lambda folder: Keyring(folder / "signing").rotate(),
    "a signing key is retired": lambda folder: Keyring(folder / "signing").retire(
        next(iter(Keyring(folder / "signing").public().keys))
    ),
    "an advisory is added": lambda folder: advise(folder, "bad " * 400),
    "an advisory is taken back": lambda folder: append_withdrawal(
        folder / "advisories.toml",
        read_advisories(folder / "advisories.toml")[0].id,
        "good",
        date="2026-11-29",
    ),
    "a version is published": lambda folder: publish(folder, "1.0.1"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("room", [0, 100])
def test_what_does_not_fit_on_the_disk_leaves_everything_as_it_was(
    tmp_path: Path, change: Callable[[Path], object], room: int
) -> None:
    keys = AccessKeys(tmp_path / "keys.json")
    keys.add(["score"], "one"), keys.add(["score"], "two")
    Keyring(tmp_path / "signing").make()
    advise(tmp_path, "worse")
    publish(tmp_path, "1.0.0")
    before = content(tmp_path)
    with (
        no_file_over(room),
        pytest.raises((OSError, AccessKeysError, AdvisoryError, SigningKeysError), match="File too large"),
    ):
        change(tmp_path)
    assert content(tmp_path) == before
    change(tmp_path)
    assert content(tmp_path) != before


MANY = """
import sys
from pathlib import Path
from tests.unit.test_kept import AccessKeys, advise, publish
folder, number = Path(sys.argv[1]), sys.argv[2]
for turn in range(10):
    AccessKeys(folder / "keys.json").add(["score"], number)
    advise(folder, f"{number} {turn}")
    publish(folder, f"{number}.{turn}")
"""


def test_nothing_is_lost_where_several_change_a_list_at_once(tmp_path: Path) -> None:
    """Of a key that is lost nobody learns but who was shown it."""
    root = Path(__file__).resolve().parents[2]
    many = [
        subprocess.Popen([sys.executable, "-c", MANY, str(tmp_path), str(number)], cwd=root)
        for number in range(4)
    ]
    assert [one.wait() for one in many] == [0] * 4
    assert len(AccessKeys(tmp_path / "keys.json").all()) == 40
    assert len(read_advisories(tmp_path / "advisories.toml")) == 40
    assert len(read_published(tmp_path)) == 40


def test_a_link_stays_one_and_permissions_stay_as_they_are(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    replace_whole(link, b"new", mode=0o600)
    assert (link.is_symlink(), real.read_text(), real.stat().st_mode & 0o777) == (True, "new", 0o640)
    replace_whole(tmp_path / "fresh", b"", mode=0o600)
    assert (tmp_path / "fresh").stat().st_mode & 0o777 == 0o600


@pytest.fixture(params=["endless", "random", "silent", "folder"])
def odd(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What may stand where a small file is meant."""
    monkeypatch.setattr(kept, "_COMES_SECONDS", 0.05)
    os.mkfifo(tmp_path / "pipe")
    places = {
        "endless": Path("/dev/zero"),
        "random": Path("/dev/urandom"),
        "silent": tmp_path / "pipe",
        "folder": tmp_path,
    }
    return places[str(request.param)]


PROBLEMS = r"over 16 MiB|nothing came from it|Is a directory"


def test_what_never_ends_or_never_comes_is_an_error_that_says_so(odd: Path) -> None:
    with pytest.raises(OSError, match=PROBLEMS) as caught:
        read_small(odd)
    assert caught.value.filename == str(odd)


@pytest.mark.parametrize(
    ("read", "error"),
    [
        (lambda odd: load_settings(environment={"COUNTERMARK_CONFIG": str(odd)}), SettingsError),
        (read_endpoints, SettingsError),
        (read_advisories, AdvisoryError),
        (lambda odd: AccessKeys(odd).all(), AccessKeysError),
    ],
)
def test_whoever_reads_a_small_file_ends_with_an_error_of_its_own(
    odd: Path, read: Callable[[Path], object], error: type[Exception]
) -> None:
    with pytest.raises(error, match=PROBLEMS):
        read(odd)


def test_a_card_that_never_ends_or_never_comes_is_refused(odd: Path) -> None:
    with pytest.raises(CardError, match=r"has over|nothing came from it|Is a directory|No such file"):
        read_release_file(odd)


def test_a_list_of_what_is_published_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "published.toml").write_bytes(b"#" * (kept.LARGEST + 1))
    with pytest.raises(BundleError, match="over 16 MiB"):
        read_published(tmp_path)


def test_a_pipe_is_read_to_its_end_however_late_its_writer_comes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    content = bytes(range(256)) * 4096
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[content])
    reader = threading.Timer(0.05, writer.start)
    reader.start()
    assert read_small(tmp_path / "pipe") == content
    writer.join()


def test_the_head_of_a_file_is_no_more_than_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    assert head_of(tmp_path / "file", 4) == b"0123"
    assert head_of(tmp_path / "file", 40) == b"0123456789"
    assert head_of(Path("/dev/null"), 4) == b""
