"""One hash over many leaves, and short proofs that a leaf is under it (RFC 6962, section 2.1).

Leaves and inner nodes are hashed with different first bytes, so that no node can be
passed off as a leaf; a tree whose size is no power of two is split at the largest one
below it. Built from the leaves upwards that means: pair neighbours, and carry the odd
last one up as it is. Bytes in, bytes out; what the leaves say is not known here.
"""

import hashlib
from collections.abc import Sequence

HASH_BYTES = 32
_sha256 = hashlib.sha256


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf's content."""
    return _sha256(b"\x00" + data).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return _sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes, in order; of none, the hash of nothing."""
    if not hashes:
        return _sha256(b"").digest()
    level = hashes
    while len(level) > 1:
        level = _level_above(level)
    return level[0]


def inclusion_proof(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Return the hashes that lead from leaf `index` to the root, lowest first.

    Raises:
        IndexError: There is no such leaf.
    """
    if not 0 <= index < len(hashes):
        raise IndexError(index)
    proof, level, place = [], hashes, index
    while len(level) > 1:
        sibling = place ^ 1
        if sibling < len(level):  # the odd last one has none and goes up as it is
            proof.append(level[sibling])
        level, place = _level_above(level), place >> 1
    return proof


def proves(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether `proof` leads from the hash of leaf `index` of `size` to `root` (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False  # longer than the way up
        if place & 1 or place == last:
            found = _node_hash(sibling, found)
            while place and not place & 1:  # levels at which it was carried up
                place, last = place >> 1, last >> 1
        else:
            found = _node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def _level_above(level: Sequence[bytes]) -> list[bytes]:
    sha256 = _sha256
    above = [
        sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)
    ]
    if len(level) % 2:
        above.append(level[-1])
    return above
