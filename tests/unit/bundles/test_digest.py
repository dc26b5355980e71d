"""The digest of a bundle's content: which changes it sees, and which it must not see."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark_service.bundles import read_bundle, tree_digest
from tests.support import write_bundle

FILES = {"verifier.toml": b"name = 1\n", "verifier.py": b"", "data/table.csv": b"\x00\xff"}


def test_the_digest_has_a_known_value() -> None:
    """Written out by hand from the definition: RFC 8785 JSON of the sorted files."""
    rows = (
        b'[{"path":"data/table.csv","sha256":"06eb7d6a69ee19e5fbdf749018d3d2abfa04bcbd1365db312eb86dc7169389b8","size":2},'
        b'{"path":"verifier.py","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0},'
        b'{"path":"verifier.toml","sha256":"%b","size":9}]'
    ) % hashlib.sha256(FILES["verifier.toml"]).hexdigest().encode()  # fmt: skip

    assert tree_digest(FILES) == "sha256:" + hashlib.sha256(rows).hexdigest()
    assert tree_digest({"a": b"b"}) == KNOWN


KNOWN = "sha256:" + hashlib.sha256(
    b'[{"path":"a","sha256":"3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d","size":1}]'
).hexdigest()  # fmt: skip


def test_the_order_of_the_files_does_not_change_the_digest() -> None:
    assert tree_digest(dict(reversed(FILES.items()))) == tree_digest(FILES)


@pytest.mark.parametrize(
    "changed",
    [
        {**FILES, "verifier.py": b"\n"},
        {**FILES, "verifier.toml": b"name = 1\r\n"},
        {**FILES, "more": b""},
        {"verifier.toml": FILES["verifier.toml"], "verifier.py": b"", "data/table2.csv": b"\x00\xff"},
        {"verifier.toml": b"", "verifier.py": b"name = 1\n", "data/table.csv": b"\x00\xff"},
        {name: content for name, content in FILES.items() if name != "verifier.py"},
    ],
)
def test_every_change_of_a_name_or_of_content_changes_the_digest(changed: dict[str, bytes]) -> None:
    assert tree_digest(changed) != tree_digest(FILES)


@given(st.dictionaries(st.text(min_size=1), st.binary(), max_size=4))
def test_the_digest_is_the_hash_of_what_anybody_can_compute(files: dict[str, bytes]) -> None:
    """With Python's own JSON, which equals RFC 8785 for these values."""
    rows = [
        {"path": path, "sha256": hashlib.sha256(files[path]).hexdigest(), "size": len(files[path])}
        for path in sorted(files)
    ]
    text = json.dumps(rows, separators=(",", ":"), ensure_ascii=False)
    assert tree_digest(files) == "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def test_files_that_are_not_declared_do_not_change_the_digest(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, "def verify(item): ...\n")
    before = read_bundle(folder).digest
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "verifier.cpython-311.pyc").write_bytes(b"\x00")
    (folder / "verifier.py~").write_text("an editor's dropping")

    assert read_bundle(folder).digest == before


def test_a_bundle_is_held_by_the_bytes_that_were_read(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, "def verify(item): ...\n")
    bundle = read_bundle(folder)
    (folder / "verifier.py").write_text("def verify(item): return 1\n")

    assert bundle.files["verifier.py"] == b"def verify(item): ...\n"
    assert tree_digest(bundle.files) == bundle.digest
    assert bundle.digest_bytes.hex() == bundle.digest.removeprefix("sha256:")
    assert read_bundle(folder).digest != bundle.digest
