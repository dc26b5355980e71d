"""What is in a package folder is told apart from what the lock and the wheels say."""

import base64
import hashlib
from pathlib import Path

import pytest

from countermark_service.engine.installed import (
    installed_distributions,
    lock_differences,
    record_differences,
)
from countermark_service.engine.lockfile import read_lock

HASH = f"--hash=sha256:{'a' * 64}"


def install(folder: Path, name: str, version: str, record: str = "") -> Path:
    """Write the metadata of an installed distribution; returns its folder."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nAbout: fruit\n"
    )
    (info / "RECORD").write_text(record + f"{info.name}/RECORD,,\n")
    return info


def test_names_and_versions_are_compared_in_their_normal_form(tmp_path: Path) -> None:
    install(tmp_path, "Tiny_Fruit", "1.0")
    lock = read_lock(f"tiny-fruit==1.0.0 {HASH}\n".encode())
    assert lock_differences(lock, installed_distributions([tmp_path, tmp_path])) == []


def test_every_difference_from_the_lock_is_named(tmp_path: Path) -> None:
    install(tmp_path, "fruit", "1.1")
    install(tmp_path, "stowaway", "0.1")
    lock = read_lock(f"fruit==1.0 {HASH}\nroot==2.0 {HASH}\n".encode())
    assert lock_differences(lock, installed_distributions([tmp_path])) == [
        "fruit has version 1.1, locked is 1.0",
        "root==2.0 is missing",
        "stowaway==0.1 is not in the lock",
    ]


@pytest.mark.parametrize("metadata", ["", "Name: fruit\n", "Name: fruit\nVersion: newest\n"])
def test_metadata_without_a_version_is_refused(metadata: str, tmp_path: Path) -> None:
    (install(tmp_path, "fruit", "1.0") / "METADATA").write_text(metadata)
    with pytest.raises(ValueError, match=r"fruit-1\.0\.dist-info names itself"):
        installed_distributions([tmp_path])


def test_missing_metadata_is_refused(tmp_path: Path) -> None:
    (install(tmp_path, "fruit", "1.0") / "METADATA").unlink()
    with pytest.raises(ValueError, match=r"fruit-1\.0\.dist-info has no METADATA"):
        installed_distributions([tmp_path])


def test_files_are_held_to_the_record(tmp_path: Path) -> None:
    content = b"VERSION = 1\n"
    (tmp_path / "same.py").write_bytes(content)
    (tmp_path / "edited.py").write_bytes(b"VERSION = 2\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    lines = [f"{name}.py,sha256={digest},{len(content)}\n" for name in ("same", "edited", "gone")]
    lines.append("same.py,rot13=abc,3\n")
    install(tmp_path, "fruit", "1.0", "".join(lines))
    assert record_differences([tmp_path]) == [
        "edited.py of fruit-1.0.dist-info is not the file that its wheel recorded",
        "gone.py of fruit-1.0.dist-info is missing",
        "same.py of fruit-1.0.dist-info is not the file that its wheel recorded",
    ]


def test_a_distribution_without_record_cannot_be_held_to_it(tmp_path: Path) -> None:
    (install(tmp_path, "fruit", "1.0") / "RECORD").unlink()
    assert record_differences([tmp_path]) == ["fruit-1.0.dist-info has no RECORD"]
