"""The grammar of references: what is one, what is none, and that nothing is lost on the way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark_service.errors import RefError
from countermark_service.model import BundleRef

DIGEST = "sha256:" + "0123456789abcdef" * 4

ACCEPTED = {
    "exact": ("exact", None, None),
    "exact:1.0.0": ("exact", "1.0.0", None),
    "math-verify:0.9.0-r2": ("math-verify", "0.9.0-r2", None),
    f"exact:1.0.0@{DIGEST}": ("exact", "1.0.0", DIGEST),
    f"exact@{DIGEST}": ("exact", None, DIGEST),
    "judge/equivalence:2024-01": ("judge/equivalence", "2024-01", None),
    "a.b_c__d-e--f:V.1_2-3": ("a.b_c__d-e--f", "V.1_2-3", None),
    "7:0": ("7", "0", None),
    "exact:_1": ("exact", "_1", None),
    "exact:latest": ("exact", "latest", None),
    "a" * 128 + ":1": ("a" * 128, "1", None),
    "exact:" + "1" * 128: ("exact", "1" * 128, None),
}

REFUSED = [
    "", " ", ":", "@", "/", ":1.0.0", f"@{DIGEST}", "exact:", "exact@", "exact: 1", " exact:1", "exact:1 ",
    "exact:1\n", "Exact:1", "EXACT", "ex act:1", "exact:1:2", "-exact:1", "exact-:1", ".exact:1", "exact.:1",
    "a..b:1", "a___b:1", "a._b:1", "a//b:1", "/a:1", "a/:1", "a/b/c:1", "../exact:1", "exact:.1", "exact:-1",
    "exact:1/2", "exact:1+2", "exact:é", "é:1", "exact:1\x00", "exact\x00:1", "exact:\uff11", "exact%3A1",
    "exact:1@", f"exact:1@{DIGEST}0", f"exact:1@{DIGEST[:-1]}", f"exact:1@{DIGEST.upper()}",
    f"exact:1@{DIGEST.replace(':', '-')}", "exact:1@md5:" + "0" * 32, f"exact:1@{DIGEST}@{DIGEST}",
    f"exact:1@{DIGEST}\n", "a" * 129 + ":1", "exact:" + "1" * 129, "https://host/exact:1",
]  # fmt: skip


@pytest.mark.parametrize("text", ACCEPTED)
def test_a_reference_is_read_into_its_parts_and_written_back_unchanged(text: str) -> None:
    ref = BundleRef.parse(text)

    assert (ref.name, ref.version, ref.digest) == ACCEPTED[text]
    assert str(ref) == text
    assert ref.pinned is (ACCEPTED[text][2] is not None)


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_reference_is_refused_with_a_word_on_how_to_write_one(text: str) -> None:
    with pytest.raises(RefError, match="Write \\[namespace/\\]name:version") as refusal:
        BundleRef.parse(text)
    assert refusal.value.code == "invalid_ref"


def test_a_refusal_does_not_repeat_a_text_of_any_length() -> None:
    with pytest.raises(RefError) as refusal:
        BundleRef.parse("X" * 1_000_000)
    assert len(str(refusal.value)) < 500
    assert len(str(refusal.value.values()["ref"])) <= 120


def test_pinning_a_reference_keeps_its_name_and_version() -> None:
    ref = BundleRef.parse("exact:1.0.0")
    assert str(ref.with_digest(DIGEST)) == f"exact:1.0.0@{DIGEST}"
    assert not ref.pinned


component = st.from_regex(r"[a-z0-9]+(?:(?:\.|_|__|-{1,3})[a-z0-9]+){0,2}", fullmatch=True).filter(
    lambda text: len(text) <= 60
)
names = st.one_of(component, st.tuples(component, component).map("/".join))
versions = st.from_regex(r"[0-9A-Za-z_][0-9A-Za-z._-]{0,127}", fullmatch=True)
digests = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)


@given(names, st.none() | versions, st.none() | digests)
def test_every_reference_survives_being_written_and_read(
    name: str, version: str | None, digest: str | None
) -> None:
    ref = BundleRef(name, version, digest)
    assert BundleRef.parse(str(ref)) == ref


@given(st.text())
def test_any_text_is_either_refused_or_means_exactly_itself(text: str) -> None:
    try:
        ref = BundleRef.parse(text)
    except RefError:
        return
    assert str(ref) == text
