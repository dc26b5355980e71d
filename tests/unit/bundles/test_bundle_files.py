"""What a bundle's folder may hold: its own plain files, and all that it declares."""

from pathlib import Path

import pytest

from countermark_service.bundles import bundle as bundle_module
from countermark_service.bundles import read_bundle
from countermark_service.errors import BundleError, ManifestError
from tests.support import write_bundle

CODE = "def verify(item): ...\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundles", CODE)


def declare(folder: Path, path: str) -> None:
    """Add a file to the manifest's list."""
    manifest = folder / "verifier.toml"
    manifest.write_text(manifest.read_text().replace('"vectors.jsonl"]', f'"vectors.jsonl", "{path}"]'))


def test_a_folder_without_a_manifest_is_no_bundle(folder: Path) -> None:
    (folder / "verifier.toml").unlink()
    with pytest.raises(ManifestError, match=r"verifier\.toml.*no manifest"):
        read_bundle(folder)


def test_a_declared_file_must_be_there(folder: Path) -> None:
    declare(folder, "table.csv")
    with pytest.raises(BundleError, match=r"declares 'table\.csv', which is not there"):
        read_bundle(folder)


def test_a_declared_folder_is_no_file(folder: Path) -> None:
    (folder / "table.csv").mkdir()
    declare(folder, "table.csv")
    with pytest.raises(BundleError, match=r"declares 'table\.csv', which is not there"):
        read_bundle(folder)


def test_files_in_folders_of_the_bundle_take_part(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "table.csv").write_text("1,2\n")
    before = read_bundle(folder).digest
    declare(folder, "data/table.csv")
    bundle = read_bundle(folder)

    assert bundle.files["data/table.csv"] == b"1,2\n"
    assert bundle.digest != before


def test_a_link_out_of_the_bundle_is_refused(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not the bundle's")
    (folder / "table.csv").symlink_to(secret)
    declare(folder, "table.csv")
    with pytest.raises(BundleError, match="leads out of its bundle"):
        read_bundle(folder)


def test_a_folder_that_links_out_of_the_bundle_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "table.csv").write_text("not the bundle's")
    (folder / "data").symlink_to(tmp_path / "other")
    declare(folder, "data/table.csv")
    with pytest.raises(BundleError, match="leads out of its bundle"):
        read_bundle(folder)


def test_a_manifest_that_is_a_link_out_of_the_bundle_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "verifier.toml").rename(tmp_path / "verifier.toml")
    (folder / "verifier.toml").symlink_to(tmp_path / "verifier.toml")
    with pytest.raises(BundleError, match="leads out of its bundle"):
        read_bundle(folder)


def test_links_in_a_circle_are_an_error_of_the_bundle(folder: Path) -> None:
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")
    declare(folder, "a")
    with pytest.raises(BundleError, match=r"cannot be read|not there"):
        read_bundle(folder)


def test_a_name_that_no_file_can_have_is_an_error_of_the_bundle(folder: Path) -> None:
    declare(folder, "é" * 200)
    with pytest.raises(BundleError, match=r"cannot be read|not there"):
        read_bundle(folder)


def test_a_bundle_that_is_reached_through_a_link_is_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(folder)
    assert read_bundle(tmp_path / "linked").digest == read_bundle(folder).digest


def test_a_file_over_the_bound_is_refused_unread(folder: Path) -> None:
    with (folder / "table.csv").open("wb") as file:
        file.truncate(bundle_module._LARGEST_FILE + 1)  # holes: no disk is used
    declare(folder, "table.csv")
    with pytest.raises(BundleError, match=f"at most {bundle_module._LARGEST_FILE}"):
        read_bundle(folder)
