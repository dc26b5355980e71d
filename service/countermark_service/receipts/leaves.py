"""What a receipt says of one item: digests, outcome and score, never its text.

The item's digest (`model.item_digests`) is SHA-256 of the verifier's 32 bytes and of the
canonical item, so it names the item under this verifier. The verdict's is over the
canonical form (`canonical.py`) of the object of `detail`, `outcome`, `score` and
`surroundings`, whatever else a reply puts beside them. A digest hides a text only from
those who cannot guess it.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import msgspec
import rfc8785

from countermark_service.model import FAILURES, Outcome, Verdict
from countermark_service.receipts.canonical import (
    BACKSLASH,
    canonical_json,
    canonical_value,
    encode_plain,
    number,
)

_sha256 = hashlib.sha256
_Digest = Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]


class Leaf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One item of a batch and what came out; its fields are in the order of the canonical form."""

    item: _Digest
    outcome: Outcome
    score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None
    verdict: _Digest

    def __post_init__(self) -> None:
        if (self.score is None) is not (self.outcome in FAILURES):
            raise ValueError(f"outcome {self.outcome} cannot have the score {self.score}")

    def encoded(self) -> bytes:
        """Return the leaf's canonical JSON, which is what the tree hashes."""
        middle = _middle(self.outcome.value, self.score)
        return b'{"item":"%b",%b,"verdict":"%b"}' % (self.item.encode(), middle, self.verdict.encode())


@dataclass(frozen=True)
class Leaves:
    """The leaves of one batch, as they are signed and written."""

    encoded: list[bytes]
    """Canonical JSON of each, in the order of the items."""
    surroundings: list[bytes]
    """Canonical JSON of every surroundings that a verdict has, sorted."""
    outcomes: dict[Outcome, int]
    """How many came out how."""


class _Parts(msgspec.Struct, gc=False):
    """A verdict as a reply or a store has it; other keys do not count."""

    outcome: str  # hashing a member of an enumeration would cost more than the digest
    score: float | None
    detail: Any
    surroundings: msgspec.Raw  # few different ones in a batch, and remembered


_parts = msgspec.json.Decoder(_Parts, float_hook=number).decode


@dataclass(frozen=True)
class Digests:
    """Digests of verdicts, and what the verdicts have in common."""

    found: list[tuple[str, bytes, str]]
    """For each verdict its outcome, outcome and score as a leaf has them, and the digest as hex."""
    surroundings: list[bytes]
    """Canonical JSON of every surroundings that was met, sorted."""


def digests_of(texts: Iterable[bytes]) -> Digests:
    """Return the SHA-256 of the canonical form of each verdict, given as its JSON.

    One loop without calls: thousands of verdicts are signed between two requests.

    Raises:
        msgspec.MsgspecError: One is no verdict.
    """
    found = []
    known: dict[bytes, bytes] = {}
    for text in texts:
        parts = _parts(text)
        raw = bytes(parts.surroundings)
        surroundings = known.get(raw)
        if surroundings is None:
            surroundings = known[raw] = canonical_json(raw)
        plain = text.isascii() and BACKSLASH not in text
        detail = encode_plain(parts.detail) if plain else canonical_value(parts.detail, text)
        middle = _middle(parts.outcome, parts.score)
        form = b'{"detail":%b,%b,"surroundings":%b}' % (detail, middle, surroundings)
        found.append((parts.outcome, middle, _sha256(form).hexdigest()))
    return Digests(found, sorted(known.values()))


def leaves_of(items: Sequence[bytes], verdicts: Iterable[Verdict]) -> Leaves:
    """Return the leaves of a batch, from the digests of its items and their verdicts, in order."""
    digests = digests_of([verdict.json for verdict in verdicts])
    encoded = [
        b'{"item":"sha256:%b",%b,"verdict":"sha256:%b"}' % (item.hex().encode(), middle, digest.encode())
        for item, (_, middle, digest) in zip(items, digests.found, strict=True)
    ]
    counts = Counter([outcome for outcome, _, _ in digests.found])
    outcomes = {Outcome(name): count for name, count in counts.items()}
    return Leaves(encoded, digests.surroundings, outcomes)


@lru_cache(maxsize=4096)
def _middle(outcome: str, score: float | None) -> bytes:
    """Return outcome and score side by side, as leaf and verdict have them."""
    return b'"outcome":%b,"score":%b' % (rfc8785.dumps(outcome), rfc8785.dumps(score))
