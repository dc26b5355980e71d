"""Issues receipts: leaves, root, statement, signature, ledger, in this order.

The time is the moment of signing and so is the choice of the key, so that no receipt
names a key that was retired while its items were judged.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from countermark_service.bundles import Bundle
from countermark_service.model import FAILURES, Item, Verdict, item_digests
from countermark_service.receipts.keyring import Keyring
from countermark_service.receipts.keys import written
from countermark_service.receipts.leaves import leaves_of
from countermark_service.receipts.ledger import Ledger, LedgerError
from countermark_service.receipts.merkle import leaf_hash, root_of
from countermark_service.receipts.statement import (
    ChildMark,
    Predicate,
    ReleaseMark,
    ServiceMark,
    Statement,
    VerifierMark,
    outcome_counts,
    seal,
)

SURROUNDINGS = 32
"""Surroundings that a statement lists, at most."""


@dataclass(frozen=True)
class Issued:
    """A receipt."""

    json: bytes
    """The document: envelope and leaves."""
    root: str
    """Of the tree over the verdicts, as hex."""
    keyid: str
    recorded: bool
    """Whether the ledger has it; the receipt is good either way."""


class Issuer:
    """Issues the receipts of one service."""

    def __init__(
        self, keyring: Keyring, ledger: Ledger, *, version: str, now: Callable[[], float] = time.time
    ) -> None:
        """Join the parts; `version` is Countermark's."""
        self.keyring = keyring
        self.ledger = ledger
        self._service = ServiceMark("countermark", version)
        self._now = now

    def require_key(self) -> None:
        """Refuse early what could not be signed later.

        Raises:
            NoSigningKeyError: There is no key to sign with.
        """
        self.keyring.signer()

    def issue(
        self,
        bundle: Bundle,
        identity: bytes,
        items: Sequence[Item],
        verdicts: Sequence[Verdict],
        *,
        below: Sequence[Bundle] = (),
        release: ReleaseMark | None = None,
    ) -> Issued:
        """Sign one batch.

        Args:
            bundle: The verifier.
            identity: The 32 bytes that key its verdicts (`Scorer.identity`).
            items: What was scored, as the verifier was given it.
            verdicts: What came out, in the same order; failures are failures here, too.
            below: What `bundle` asks, where it is a composite (`Scorer.below`).
            release: The release that was scored by, if any.

        Raises:
            NoSigningKeyError: There is no key to sign with.
        """
        manifest = bundle.manifest
        uses_prompt = manifest.uses_prompt
        digests = item_digests(identity, items, uses_prompt=uses_prompt)
        leaves = leaves_of(digests, verdicts)
        signer = self.keyring.signer()
        predicate = Predicate(
            verifier=VerifierMark(
                str(bundle.ref), manifest.name, manifest.version, bundle.digest,
                f"sha256:{identity.hex()}", uses_prompt,
                [ChildMark(str(one.ref), one.digest) for one in below],
            ),
            items=len(verdicts),
            outcomes=outcome_counts(leaves.outcomes),
            failed=sum(leaves.outcomes.get(outcome, 0) for outcome in FAILURES),
            surroundings=[_object(each) for each in leaves.surroundings[:SURROUNDINGS]],
            surroundings_left_out=max(0, len(leaves.surroundings) - SURROUNDINGS),
            service=self._service,
            issued=written(self._now()),
            release=release,
        )  # fmt: skip
        root = root_of([leaf_hash(leaf) for leaf in leaves.encoded])
        statement = Statement.about(root, predicate)
        envelope = seal(statement, signer)
        document = b'{"envelope":%b,"leaves":[%b]}' % (
            msgspec.json.encode(envelope),
            b",".join(leaves.encoded),
        )
        return Issued(document, root.hex(), signer.keyid, self._record(statement, envelope))

    def _record(self, statement: Statement, envelope: Any) -> bool:
        try:
            self.ledger.add(statement, envelope)
        except LedgerError:
            return False
        return True


def _object(text: bytes) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(text)
    return found
