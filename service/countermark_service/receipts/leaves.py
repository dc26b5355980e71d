"""What a receipt says of one item: digests, outcome and score, never its text.

The item's digest is the one that keys it in the store (`model.item_key`): SHA-256 of
the verifier's 32 bytes and of the canonical item, so it names the item under this
verifier. The verdict's is over the canonical form (`canonical.py`) of the object of
`detail`, `outcome`, `score` and `surroundings`, whatever else a reply puts beside
them. A digest hides a text only from those who cannot guess it.
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
from countermark_service.receipts.canonical import canonical_json, canonical_value, number

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
        return _leaf(self.item[7:], _middle(self.outcome.value, self.score), self.verdict[7:])


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


class Digester:
    """Digests of verdicts; remembers what the verdicts of one batch have in common."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._known: dict[bytes, bytes] = {}
        self.surroundings: set[bytes] = set()
        """Canonical JSON of every surroundings that was met."""

    def verdict(self, text: bytes) -> str:
        """Return the SHA-256 of a verdict's canonical form, as hex.

        Raises:
            msgspec.MsgspecError: It is no verdict.
        """
        return self.digest(_parts(text), text)[1]

    def digest(self, parts: _Parts, text: bytes) -> tuple[bytes, str]:
        """Return outcome and score of a verdict as both forms have them, and the digest as hex."""
        raw = bytes(parts.surroundings)
        surroundings = self._known.get(raw)
        if surroundings is None:
            surroundings = self._known[raw] = canonical_json(raw)
            self.surroundings.add(surroundings)
        middle = _middle(parts.outcome, parts.score)
        detail = canonical_value(parts.detail, text)
        form = b'{"detail":%b,%b,"surroundings":%b}' % (detail, middle, surroundings)
        return middle, _sha256(form).hexdigest()


def leaves_of(keys: Sequence[bytes], verdicts: Iterable[Verdict]) -> Leaves:
    """Return the leaves of a batch, from the store keys of its items and their verdicts, in order."""
    digester = Digester()
    digest = digester.digest
    encoded, outcomes = [], []
    for key, verdict in zip(keys, verdicts, strict=True):
        text = verdict.json
        parts = _parts(text)
        outcomes.append(parts.outcome)
        encoded.append(_leaf(key.hex(), *digest(parts, text)))
    counts = {Outcome(name): count for name, count in Counter(outcomes).items()}
    return Leaves(encoded, sorted(digester.surroundings), counts)


def _leaf(item: str, middle: bytes, verdict: str) -> bytes:
    return b'{"item":"sha256:%b",%b,"verdict":"sha256:%b"}' % (item.encode(), middle, verdict.encode())


@lru_cache(maxsize=4096)
def _middle(outcome: str, score: float | None) -> bytes:
    """Return outcome and score side by side, as leaf and verdict have them."""
    return b'"outcome":%b,"score":%b' % (rfc8785.dumps(outcome), rfc8785.dumps(score))
