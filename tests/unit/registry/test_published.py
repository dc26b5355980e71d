"""The list of what was published: it only grows, and every line of it is a promise."""

from pathlib import Path

import pytest

from countermark_service.errors import BundleError, DigestMismatchError
from countermark_service.model import BundleRef
from countermark_service.registry import append_published, read_published

ONE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
ENTRY = '[[bundle]]\nname = "exact"\nversion = "1.0.0"\ndigest = "{}"\n'


def pin(text: str) -> BundleRef:
    return BundleRef.parse(text)


def test_a_folder_without_a_list_has_published_nothing(tmp_path: Path) -> None:
    assert read_published(tmp_path) == {}


def test_publishing_appends_and_leaves_every_earlier_byte_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "published.toml"
    file.write_text("# Never edit a line of this file.\n" + ENTRY.format(ONE))
    before = file.read_bytes()

    assert append_published(tmp_path, pin(f"exact:1.0.1@{OTHER}")) is True
    assert append_published(tmp_path, pin(f"judge/exact:1.0.0@{OTHER}")) is True

    assert file.read_bytes().startswith(before)
    assert list(read_published(tmp_path).items()) == [
        (("exact", "1.0.0"), ONE),
        (("exact", "1.0.1"), OTHER),
        (("judge/exact", "1.0.0"), OTHER),
    ]


def test_publishing_the_same_again_writes_nothing(tmp_path: Path) -> None:
    append_published(tmp_path, pin(f"exact:1.0.0@{ONE}"))
    before = (tmp_path / "published.toml").read_bytes()

    assert append_published(tmp_path, pin(f"exact:1.0.0@{ONE}")) is False
    assert (tmp_path / "published.toml").read_bytes() == before


def test_a_published_version_cannot_be_published_with_other_content(tmp_path: Path) -> None:
    append_published(tmp_path, pin(f"exact:1.0.0@{ONE}"))
    before = (tmp_path / "published.toml").read_bytes()

    with pytest.raises(DigestMismatchError) as refusal:
        append_published(tmp_path, pin(f"exact:1.0.0@{OTHER}"))

    assert refusal.value.values() == {"ref": "exact:1.0.0", "pinned": ONE, "found": OTHER}
    assert "new version" in str(refusal.value)
    assert (tmp_path / "published.toml").read_bytes() == before


@pytest.mark.parametrize("text", ["exact", "exact:1.0.0", f"exact@{ONE}"])
def test_only_a_pin_can_be_published(tmp_path: Path, text: str) -> None:
    with pytest.raises(BundleError, match="is no pin"):
        append_published(tmp_path, pin(text))
    assert not (tmp_path / "published.toml").exists()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("name = ", "is not TOML"),
        ("x = " + "[" * 5000, "is not TOML"),
        ("bundle = 1\n", "no list of tables"),
        ("bundle = [1]\n", "no list of tables"),
        ('[bundle]\nname = "exact"\n', "no list of tables"),
        (ENTRY.format(ONE) + '[[bundle]]\nname = "exact"\nversion = "2"\n', "entry 2: needs"),
        (f'[[bundle]]\nname = "exact"\nversion = 1.0\ndigest = "{ONE}"\n', "entry 1: needs"),
        (ENTRY.format("md5:00"), "entry 1: digest 'md5:00'"),
        (ENTRY.format(ONE.upper()), "entry 1: digest"),
        (ENTRY.format(ONE) + ENTRY.format(ONE), "entry 2: exact:1.0.0 is published twice"),
        (ENTRY.format(ONE) + ENTRY.format(OTHER), "entry 2: exact:1.0.0 is published twice"),
    ],
)
def test_a_list_that_promises_nothing_clear_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    file = tmp_path / "published.toml"
    file.write_text(content)
    with pytest.raises(BundleError) as refusal:
        read_published(tmp_path)
    assert problem in str(refusal.value)
    assert str(refusal.value).startswith(str(file))
    with pytest.raises(BundleError):
        append_published(tmp_path, pin(f"new:1@{ONE}"))
    assert file.read_text() == content
