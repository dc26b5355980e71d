"""Keys and lists on a disk that fills up, and under several who change them at once."""

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from countermark_service.kept import replace_whole
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
