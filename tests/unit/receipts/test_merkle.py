"""The tree over leaves: the published vectors, and a second implementation written from the definition."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark_service.receipts.merkle import inclusion_proof, leaf_hash, proves, root_of

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
"""Input of the reference vectors of Certificate Transparency, whose tree is RFC 6962's."""
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PROOFS = [
    (0, 1, []),
    (
        0, 8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5, 8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
]  # fmt: skip

some_leaves = st.lists(st.binary(max_size=8), max_size=40)


def defined_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = largest_power_below(len(leaves))
    return hashlib.sha256(b"\x01" + defined_root(leaves[:k]) + defined_root(leaves[k:])).digest()


def defined_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962, 2.1.1, word for word."""
    if len(leaves) == 1:
        return []
    k = largest_power_below(len(leaves))
    if m < k:
        return [*defined_path(m, leaves[:k]), defined_root(leaves[k:])]
    return [*defined_path(m - k, leaves[k:]), defined_root(leaves[:k])]


def largest_power_below(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def hashes(leaves: list[bytes]) -> list[bytes]:
    return [leaf_hash(leaf) for leaf in leaves]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_reference_vectors(size: int) -> None:
    assert root_of(hashes(LEAVES[:size])).hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size", "path"), PROOFS)
def test_proofs_are_those_of_the_reference_vectors(index: int, size: int, path: list[str]) -> None:
    found = inclusion_proof(hashes(LEAVES[:size]), index)

    assert [each.hex() for each in found] == path
    assert proves(leaf_hash(LEAVES[index]), index, size, found, bytes.fromhex(ROOTS[size]))


@given(some_leaves)
def test_root_and_proofs_are_those_of_the_definition(leaves: list[bytes]) -> None:
    root = root_of(hashes(leaves))
    assert root == defined_root(leaves)
    for index, leaf in enumerate(leaves):
        path = inclusion_proof(hashes(leaves), index)
        assert path == defined_path(index, leaves)
        assert proves(leaf_hash(leaf), index, len(leaves), path, root)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=40, unique=True), st.data())
def test_a_proof_proves_nothing_else(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    other = data.draw(
        st.integers(0, len(leaves) - 1).filter(lambda n: n != index) if len(leaves) > 1 else st.none()
    )
    path, root, size = inclusion_proof(hashes(leaves), index), root_of(hashes(leaves)), len(leaves)
    own = leaf_hash(leaves[index])

    assert not proves(leaf_hash(leaves[index] + b"!"), index, size, path, root)
    assert not proves(own, index, size, path, bytes(32))
    assert not proves(own, index, size, [*path, bytes(32)], root)
    assert not proves(own, size, size, path, root)
    assert not proves(own, -1, size, path, root)
    if other is not None:
        assert not proves(leaf_hash(leaves[other]), index, size, path, root)
        assert not proves(own, other, size, path, root)
        assert not proves(own, index, size, path[:-1], root)
        assert not proves(own, index, size, inclusion_proof(hashes(leaves), other), root)


def test_an_inner_node_cannot_be_passed_off_as_a_leaf() -> None:
    left, right = hashes(LEAVES[:2])
    forged = leaf_hash(left + right)
    assert not proves(forged, 0, 1, [], root_of([left, right]))


def test_there_is_no_proof_of_what_is_not_there() -> None:
    for index in (-1, 3):
        with pytest.raises(IndexError):
            inclusion_proof(hashes(LEAVES[:3]), index)
