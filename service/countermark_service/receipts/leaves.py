"""What a receipt says of one item: digests, outcome and score, never its text.

The item's digest is the one that keys it in the store (`model.item_key`): SHA-256 of
the verifier's 32 bytes and of the canonical item, so it names the item under this
verifier. The verdict's is over the canonical form (`canonical.py`) of the object of
`detail`, `outcome`, `score` and `surroundings`, whatever else a reply puts beside
them. A digest hides a text only from those who cannot guess it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import msgspec
import rfc8785

from countermark_service.model import FAILURES, Outcome, Verdict
from countermark_service.receipts.canonical import canonical_json

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
        return _leaf(self.item[7:], self.outcome, self.score, self.verdict[7:])


@dataclass(frozen=True)
class Leaves:
    """The leaves of one batch, as they are signed and written."""

    encoded: list[bytes]
    """Canonical JSON of each, in the order of the items."""
    surroundings: list[bytes]
    """Canonical JSON of every surroundings that a verdict has, sorted."""


class _Parts(msgspec.Struct):
    """A verdict as a reply or a store has it; other keys do not count."""

    outcome: Outcome
    score: msgspec.Raw
    detail: msgspec.Raw
    surroundings: msgspec.Raw


_parts = msgspec.json.Decoder(_Parts).decode


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
        parts = _parts(text)
        surroundings = self._canonical(bytes(parts.surroundings))
        self.surroundings.add(surroundings)
        return _sha256(
            b'{"detail":%b,"outcome":"%b","score":%b,"surroundings":%b}'
            % (
                self._canonical(bytes(parts.detail)),
                parts.outcome.encode(),
                self._canonical(bytes(parts.score)),
                surroundings,
            )
        ).hexdigest()

    def _canonical(self, text: bytes) -> bytes:
        known = self._known.get(text)
        if known is None:
            known = self._known[text] = canonical_json(text)
        return known


def leaves_of(keys: Sequence[bytes], verdicts: Iterable[Verdict]) -> Leaves:
    """Return the leaves of a batch, from the store keys of its items and their verdicts, in order."""
    digester = Digester()
    digest = digester.verdict
    encoded = [
        _leaf(key.hex(), verdict.outcome, verdict.score, digest(verdict.json))
        for key, verdict in zip(keys, verdicts, strict=True)
    ]
    return Leaves(encoded, sorted(digester.surroundings))


def _leaf(item: str, outcome: Outcome, score: float | None, verdict: str) -> bytes:
    middle = _middle(outcome, score)
    return f'{{"item":"sha256:{item}",{middle},"verdict":"sha256:{verdict}"}}'.encode()


@lru_cache(maxsize=4096)
def _middle(outcome: Outcome, score: float | None) -> str:
    return f'"outcome":"{outcome.value}","score":{rfc8785.dumps(score).decode()}'
