"""Archives: equal content, equal bytes; and nothing of a hostile one is taken."""

import hashlib
import json
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from countermark_service.bundles import Bundle, read_bundle
from countermark_service.errors import DigestMismatchError
from countermark_service.registry.archive import FACTS_NAME, ArchiveError, read_archive, write_archive

WHEEL = b"not a real wheel, but bytes with a hash"
WHEEL_NAME = "tiny-1.0-py3-none-any.whl"


@pytest.fixture
def bundle(bundles: Path, tmp_path: Path) -> Bundle:
    """A bundle whose lock names one wheel."""
    folder = tmp_path / "locked"
    folder.mkdir()
    for file in (bundles / "last-number" / "1.0.0").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    digest = hashlib.sha256(WHEEL).hexdigest()
    (folder / "requirements.lock").write_text(f"tiny==1.0 \\\n    --hash=sha256:{digest}\n")
    return read_bundle(folder)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """The wheel that the lock names."""
    file = tmp_path / WHEEL_NAME
    file.write_bytes(WHEEL)
    return file


@pytest.fixture
def archive(bundle: Bundle, wheel: Path, tmp_path: Path) -> Path:
    """A sound archive."""
    file = tmp_path / "bundle.zip"
    write_archive(bundle, [wheel], platform="linux-x86_64", into=file)
    return file


def test_what_is_written_is_read_back(bundle: Bundle, archive: Path, tmp_path: Path) -> None:
    found = read_archive(archive)

    assert found.bundle.ref == bundle.ref
    assert found.bundle.files == bundle.files
    (copied,) = found.copy_wheels(tmp_path / "wheels")
    assert copied.read_bytes() == WHEEL


def test_the_same_bundle_gives_the_same_bytes(
    bundle: Bundle, wheel: Path, archive: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again.zip"
    wheel.touch()

    write_archive(bundle, [wheel], platform="linux-x86_64", into=again)

    assert again.read_bytes() == archive.read_bytes()


def test_an_archive_takes_the_place_of_no_pipe_and_no_device(bundle: Bundle, tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="is no file"):
        write_archive(bundle, [], platform="linux-x86_64", into=pipe)
    assert pipe.is_fifo()


def test_wheels_of_one_name_stand_side_by_side_and_a_damaged_one_is_replaced(
    archive: Path, tmp_path: Path
) -> None:
    wheels = tmp_path / "wheels"
    (there,) = read_archive(archive).copy_wheels(wheels)
    there.write_bytes(b"damaged")
    other = wheels / hashlib.sha256(b"another").hexdigest() / WHEEL_NAME
    other.parent.mkdir()
    other.write_bytes(b"another")

    assert read_archive(archive).copy_wheels(wheels) == [there]

    assert (there.read_bytes(), other.read_bytes()) == (WHEEL, b"another")


Entries = dict[str, bytes]


def add(name: str, content: bytes = b"x") -> Callable[[Entries], None]:
    """Put an entry into an archive."""

    def change(entries: Entries) -> None:
        entries[name] = content

    return change


def drop(name: str) -> Callable[[Entries], None]:
    """Take an entry out of an archive."""

    def change(entries: Entries) -> None:
        del entries[name]

    return change


def facts(**values: object) -> Callable[[Entries], None]:
    """Change what an archive says of itself."""

    def change(entries: Entries) -> None:
        entries[FACTS_NAME] = json.dumps({**json.loads(entries[FACTS_NAME]), **values}).encode()

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (add("../../etc/cron.d/evil"), "no archive of a bundle holds"),
        (add("/etc/passwd"), "no archive of a bundle holds"),
        (add("bundle/../../evil"), "exactly the files"),
        (add("bundle/more.py"), "exactly the files"),
        (add("bundle/"), "no archive of a bundle holds"),
        (add("wheels/../evil.whl"), "no archive of a bundle holds"),
        (add("wheels/sub/evil.whl"), "no archive of a bundle holds"),
        (add("wheels/.hidden.whl"), "no archive of a bundle holds"),
        (add("wheels/evil.py"), "no archive of a bundle holds"),
        (add("wheels/evil-1.0-py3-none-any.whl"), "which the bundle's lock does not name"),
        (add(f"wheels/{WHEEL_NAME}", b"changed"), "which the bundle's lock does not name"),
        (drop("bundle/verifier.py"), "exactly the files"),
        (drop("bundle/verifier.toml"), "has no bundle/verifier.toml"),
        (drop(FACTS_NAME), f"has no {FACTS_NAME}"),
        (add(FACTS_NAME, b"[]"), f"its {FACTS_NAME} cannot be read"),
        (facts(format=2), "has the format 2"),
        (facts(name="other"), "says it holds other:1.0.0"),
    ],
)
def test_an_archive_that_was_tampered_with_is_refused(
    archive: Path, tmp_path: Path, change: Callable[[Entries], None], said: str
) -> None:
    with zipfile.ZipFile(archive) as package:
        entries = {name: package.read(name) for name in package.namelist()}
    change(entries)
    hostile = tmp_path / "hostile.zip"
    with zipfile.ZipFile(hostile, "w") as package:
        for name, content in entries.items():
            package.writestr(zipfile.ZipInfo(name), content)

    with pytest.raises(ArchiveError) as caught:
        read_archive(hostile)

    assert said in str(caught.value)


def test_a_changed_file_of_the_bundle_is_another_digest(archive: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "hostile.zip"
    with zipfile.ZipFile(archive) as package, zipfile.ZipFile(hostile, "w") as changed:
        for name in package.namelist():
            extra = b"\n# harmless" if name == "bundle/verifier.py" else b""
            changed.writestr(zipfile.ZipInfo(name), package.read(name) + extra)

    with pytest.raises(DigestMismatchError):
        read_archive(hostile)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("compressed", "is compressed or encrypted"),
        ("link", "no archive of a bundle holds"),
        ("twice", "holds one name twice"),
        ("huge", "larger than itself"),
        ("many", "entries, over"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")  # writing the hostile one warns
def test_zip_tricks_are_refused_before_anything_is_unpacked(
    archive: Path, tmp_path: Path, kind: str, said: str
) -> None:
    hostile = tmp_path / "hostile.zip"
    hostile.write_bytes(archive.read_bytes())
    with zipfile.ZipFile(hostile, "a") as package:
        entry = zipfile.ZipInfo("wheels/evil-1.0-py3-none-any.whl")
        if kind == "compressed":
            entry.compress_type = zipfile.ZIP_DEFLATED
            package.writestr(entry, bytes(10_000_000))
        elif kind == "link":
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            package.writestr(entry, b"/etc/passwd")
        elif kind == "twice":
            package.writestr(zipfile.ZipInfo(FACTS_NAME), b"{}")
        elif kind == "huge":
            package.writestr(entry, b"x")
            entry.file_size = entry.compress_size = 1 << 40
        else:
            for number in range(5000):
                package.writestr(zipfile.ZipInfo(f"wheels/w{number}.whl"), b"")

    with pytest.raises(ArchiveError) as caught:
        read_archive(hostile)

    assert said in str(caught.value)


def test_an_entry_that_goes_on_behind_the_end_is_refused(archive: Path, tmp_path: Path) -> None:
    content = bytearray(archive.read_bytes())
    directory, last = content.find(b"PK\x01\x02"), content.rfind(b"PK\x01\x02")
    sizes = slice(last + 20, last + 28)
    packed, unpacked = struct.unpack("<II", content[sizes])
    beyond = len(content) - directory + 1
    content[sizes] = struct.pack("<II", packed + beyond, unpacked + beyond)
    (hostile := tmp_path / "hostile.zip").write_bytes(content)

    with pytest.raises(ArchiveError, match="behind its end"):
        read_archive(hostile)


def test_what_is_no_zip_or_half_of_one_is_refused(archive: Path, tmp_path: Path) -> None:
    whole = archive.read_bytes()
    broken = tmp_path / "broken.zip"
    for content in (b"", b"hello", whole[: len(whole) // 2], whole[:-30], struct.pack("<I", 0x06054B50)):
        broken.write_bytes(content)
        with pytest.raises(ArchiveError):
            read_archive(broken)
    with pytest.raises(ArchiveError, match="cannot be read"):
        read_archive(tmp_path / "none.zip")
