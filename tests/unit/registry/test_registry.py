"""Which bundle a reference means, and that one which cannot be trusted is never the answer."""

from pathlib import Path

import pytest

from countermark_service.bundles import Bundle
from countermark_service.errors import (
    BundleError,
    DigestMismatchError,
    ManifestError,
    RefError,
    UnavailableError,
    UnknownVerifierError,
    VersionRequiredError,
)
from countermark_service.registry import Registry, append_published, bundle_roots
from tests.support import no_more_than, write_bundle

CODE = "def verify(item): ...\n"


def write(root: Path, *versions: str, name: str = "subject") -> None:
    for version in versions:
        write_bundle(root, CODE, name=name, version=version)


def refs(registry: Registry) -> list[str]:
    return [f"{bundle.ref.name}:{bundle.ref.version}" for bundle in registry]


def test_a_version_and_its_pin_mean_the_same_bundle(tmp_path: Path) -> None:
    write(tmp_path, "1.0.0")
    registry = Registry([tmp_path])
    bundle = registry.resolve("subject:1.0.0")

    assert str(bundle.ref) == f"subject:1.0.0@{bundle.digest}"
    assert registry.resolve(str(bundle.ref)) is bundle
    assert registry.broken == {}


def test_a_wrong_pin_is_an_error_that_shows_both_digests(tmp_path: Path) -> None:
    write(tmp_path, "1.0.0")
    registry = Registry([tmp_path])
    wrong = "sha256:" + "0" * 64
    with pytest.raises(DigestMismatchError) as refusal:
        registry.resolve(f"subject:1.0.0@{wrong}")

    found = registry.resolve("subject:1.0.0").digest
    assert refusal.value.values() == {"ref": "subject:1.0.0", "pinned": wrong, "found": found}
    assert "the pin" in str(refusal.value)


@pytest.mark.parametrize("pin", ["", "@sha256:" + "0" * 64])
def test_without_a_version_the_versions_are_the_answer(tmp_path: Path, pin: str) -> None:
    write(tmp_path, "0.10.0", "0.9.0-r2", "0.9.0", "1.0.0", "0.9.0-r10")
    with pytest.raises(VersionRequiredError) as refusal:
        Registry([tmp_path]).resolve("subject" + pin)

    assert refusal.value.versions == ["0.9.0", "0.9.0-r2", "0.9.0-r10", "0.10.0", "1.0.0"]
    assert "0.9.0, 0.9.0-r2, 0.9.0-r10, 0.10.0, 1.0.0" in str(refusal.value)


def test_an_unknown_version_is_answered_with_the_versions(tmp_path: Path) -> None:
    write(tmp_path, "1.0.0", "2.0.0")
    with pytest.raises(UnknownVerifierError) as refusal:
        Registry([tmp_path]).resolve("subject:latest")
    assert refusal.value.versions == ["1.0.0", "2.0.0"]


@pytest.mark.parametrize("ref", ["nobody:1.0.0", "nobody"])
def test_an_unknown_name_is_answered_with_the_names(tmp_path: Path, ref: str) -> None:
    write(tmp_path, "1.0.0")
    write(tmp_path, "1.0.0", name="other")
    with pytest.raises(UnknownVerifierError) as refusal:
        Registry([tmp_path]).resolve(ref)
    assert refusal.value.names == ["other", "subject"]


@pytest.mark.parametrize(
    ("ref", "meant"),
    [("exakt:1.0.0", "exact"), ("rubric:1.0.0", "judge/rubric"), ("math_verify", "math-verify")],
)
def test_a_name_that_is_nearly_right_is_answered_with_the_one_that_was_meant(
    tmp_path: Path, ref: str, meant: str
) -> None:
    for name in ("exact", "judge/rubric", "math-verify"):
        write(tmp_path, "1.0.0", name=name)
    with pytest.raises(UnknownVerifierError, match=f"Did you mean {meant}\\?"):
        Registry([tmp_path]).resolve(ref)


def test_what_is_no_reference_is_refused_before_anything_is_looked_up(tmp_path: Path) -> None:
    with pytest.raises(RefError):
        Registry([tmp_path]).resolve("../../etc/passwd")


def test_names_with_a_namespace_are_found_beside_names_without(tmp_path: Path) -> None:
    write(tmp_path, "1.0.0")
    write(tmp_path, "1.0.0", name="judge/subject")
    registry = Registry([tmp_path])

    assert refs(registry) == ["judge/subject:1.0.0", "subject:1.0.0"]
    assert registry.resolve("judge/subject:1.0.0").digest != registry.resolve("subject:1.0.0").digest


def test_bundles_are_listed_by_name_and_then_by_version_as_people_count(tmp_path: Path) -> None:
    write(tmp_path, "0.10.0", "0.9.0")
    write(tmp_path, "2024-12", "2024-02", name="a")
    assert refs(Registry([tmp_path])) == ["a:2024-02", "a:2024-12", "subject:0.9.0", "subject:0.10.0"]


def test_an_edited_bundle_is_refused_and_the_others_are_served(tmp_path: Path) -> None:
    write(tmp_path, "1.0.0", "2.0.0")
    published = Registry([tmp_path]).resolve("subject:1.0.0")
    append_published(tmp_path, published.ref)
    (tmp_path / "subject" / "1.0.0" / "verifier.py").write_text(CODE + "# a small fix\n")

    registry = Registry([tmp_path])
    with pytest.raises(DigestMismatchError) as refusal:
        registry.resolve("subject:1.0.0")

    assert refusal.value.pinned == published.digest
    assert "published.toml" in str(refusal.value)
    assert list(registry.broken) == ["subject:1.0.0"]
    assert refs(registry) == ["subject:2.0.0"]
    assert registry.resolve("subject:2.0.0").manifest.version == "2.0.0"


@pytest.mark.parametrize(
    ("folder", "claimed"), [("subject/1.0.1", "subject:1.0.1"), ("topic/1.0.0", "topic:1.0.0")]
)
def test_a_folder_that_is_named_otherwise_than_its_manifest_is_refused(
    tmp_path: Path, folder: str, claimed: str
) -> None:
    write(tmp_path, "1.0.0", name="other")
    (tmp_path / folder).parent.mkdir(exist_ok=True)
    write_bundle(tmp_path / "elsewhere", CODE).rename(tmp_path / folder)
    registry = Registry([tmp_path])

    with pytest.raises(
        BundleError, match=f"says subject:1.0.0, its folder says {claimed}: make the two agree"
    ):
        registry.resolve(claimed)
    with pytest.raises(UnknownVerifierError):
        registry.resolve("subject:1.0.0")
    assert refs(registry) == ["other:1.0.0"]


@pytest.mark.parametrize(
    "manifest", ["", "name = ", 'name = "subject"\nversion = 1\n', "\x00", "x = " + "[" * 5000]
)
def test_a_malformed_bundle_is_kept_with_its_reason_and_the_others_are_served(
    tmp_path: Path, manifest: str
) -> None:
    write(tmp_path, "1.0.0", "2.0.0")
    (tmp_path / "subject" / "1.0.0" / "verifier.toml").write_text(manifest)
    registry = Registry([tmp_path])

    with pytest.raises(ManifestError, match=r"subject/1\.0\.0/verifier\.toml"):
        registry.resolve("subject:1.0.0")
    assert refs(registry) == ["subject:2.0.0"]


def test_a_bundle_that_links_out_of_its_folder_is_refused_and_the_others_are_served(tmp_path: Path) -> None:
    write(tmp_path / "bundles", "1.0.0", "2.0.0")
    code = tmp_path / "bundles" / "subject" / "1.0.0" / "verifier.py"
    code.rename(tmp_path / "verifier.py")
    code.symlink_to(tmp_path / "verifier.py")
    registry = Registry([tmp_path / "bundles"])

    with pytest.raises(BundleError, match="leads out of its bundle"):
        registry.resolve("subject:1.0.0")
    assert refs(registry) == ["subject:2.0.0"]


def test_two_folders_may_hold_the_same_bundle(tmp_path: Path) -> None:
    for root in ("one", "two"):
        write(tmp_path / root, "1.0.0")
    registry = Registry([tmp_path / "one", tmp_path / "two"])

    assert registry.resolve("subject:1.0.0").origin.startswith(str(tmp_path / "one"))
    assert registry.broken == {}


def test_two_folders_with_one_version_and_different_content_serve_neither(tmp_path: Path) -> None:
    write(tmp_path / "one", "1.0.0", "2.0.0")
    write_bundle(tmp_path / "two", CODE + "# otherwise\n")
    write(tmp_path / "three", "1.0.0")
    registry = Registry([tmp_path / root for root in ("one", "two", "three")])

    with pytest.raises(BundleError, match="in two folders with different content") as refusal:
        registry.resolve("subject:1.0.0")
    assert str(tmp_path / "one") in str(refusal.value)
    assert str(tmp_path / "two") in str(refusal.value)
    assert refs(registry) == ["subject:2.0.0"]


def test_a_folder_that_does_not_exist_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist: create it or drop it from the settings"):
        Registry([tmp_path / "absent"])


def test_a_published_list_that_cannot_be_read_is_an_error_at_the_start(tmp_path: Path) -> None:
    write(tmp_path, "1.0.0")
    (tmp_path / "published.toml").write_text("not toml")
    with pytest.raises(BundleError, match=r"published\.toml is not TOML"):
        Registry([tmp_path])


def test_what_the_registry_has_read_does_not_change_with_the_folder(tmp_path: Path) -> None:
    write(tmp_path, "1.0.0")
    registry = Registry([tmp_path])
    before = registry.resolve("subject:1.0.0")
    (tmp_path / "subject" / "1.0.0" / "verifier.py").write_text("def verify(item): return 1\n")

    assert registry.resolve("subject:1.0.0") is before
    assert before.files["verifier.py"] == CODE.encode()


def test_the_operators_folders_come_before_the_shipped_ones(tmp_path: Path) -> None:
    roots = bundle_roots([tmp_path])
    assert roots[0] == tmp_path
    assert len(roots) == 2
    assert (roots[1] / "exact").is_dir()


def test_a_bundle_that_could_not_be_read_for_want_of_descriptors_is_read_the_next_time(
    tmp_path: Path,
) -> None:
    """What is kept of it would be answered until the service starts again, and clients would give up."""
    write(tmp_path, "1.0.0", "2.0.0")
    registry = Registry([tmp_path])

    with (
        no_more_than(0),
        pytest.raises(UnavailableError, match="cannot be read now: Too many open files"),
    ):
        registry.resolve("subject:1.0.0")
    with no_more_than(0), pytest.raises(UnavailableError):
        registry.versions("subject")

    assert registry.resolve("subject:1.0.0").digest
    assert registry.broken == {}


def test_a_composite_whose_child_could_not_be_read_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "composite/boxed-numeric:1.0.0"
    registry = Registry(bundle_roots())
    bundle = registry.resolve(name)
    assert bundle.manifest.composite is not None
    child = bundle.manifest.composite.children[0].ref

    again = Registry(bundle_roots())
    read = again._read_folders

    def read_no_child(key: tuple[str, str]) -> Bundle:
        if key == (child.name, child.version):
            raise UnavailableError("not now")
        return read(key)

    with monkeypatch.context() as patched:
        patched.setattr(again, "_read_folders", read_no_child)
        with pytest.raises(UnavailableError, match="not now"):
            again.resolve(name)
    assert again.resolve(name).digest == bundle.digest
