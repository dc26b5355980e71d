"""Does a receipt hold? The rules, on bytes in memory: no service, no file, no network.

Signature first, then the key's time, then the tree, then the counts, then whatever
the caller holds beside it: verdicts, items. The first thing that is wrong is the
answer, in a sentence.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from countermark_service.model import FAILURES, Item, item_digests
from countermark_service.receipts.errors import (
    ItemsDifferError,
    ReceiptError,
    TreeError,
    VerdictsDifferError,
    VerifierDiffersError,
)
from countermark_service.receipts.keys import KeySet
from countermark_service.receipts.leaves import Leaf, digests_of
from countermark_service.receipts.merkle import inclusion_proof, leaf_hash, proves, root_of
from countermark_service.receipts.statement import Envelope, Statement, open_envelope, outcome_counts

_NAMED = ("ref", "name", "version", "digest")
"""What a document may say of its verifier."""


class Whole(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A receipt of a batch: what is signed, and every leaf under it."""

    envelope: Envelope
    leaves: list[Leaf]


class Single(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A receipt of one verdict: what is signed, one leaf, and the way from it to the root."""

    envelope: Envelope
    leaf: Leaf
    index: int
    """Place of the item in its batch, from 0."""
    proof: list[str]
    """Hashes as hex, lowest first."""


@dataclass(frozen=True)
class Held:
    """A document with a receipt in it, read and not checked."""

    receipt: Whole | Single
    verdicts: list[bytes] | None = None
    """JSON of the verdicts that came in the same document, a reply of ``/v1/score``."""
    verifier: Mapping[str, str] = field(default_factory=dict)
    """What the same document says of the verifier, by the names of `VerifierMark`."""
    places: int | None = None
    """How many rows or lines the same document says that the verdicts are on. Which ones is not signed."""


@dataclass(frozen=True)
class Checked:
    """A receipt that holds."""

    statement: Statement
    keyid: str
    leaves: list[Leaf]
    """The leaves that were there: all, or the one of a single verdict."""
    first: int
    """Place of the first of them in the batch."""
    items: bool
    """Whether items were held against it."""
    verdicts: bool
    """Whether verdicts were held against it."""

    def summary(self) -> dict[str, Any]:
        """Return what the receipt proves, as JSON values."""
        return {
            "valid": True,
            "key": self.keyid,
            "verdicts": len(self.leaves),
            "items_checked": self.items,
            "verdicts_checked": self.verdicts,
            "statement": msgspec.to_builtins(self.statement),
        }


def read(data: bytes) -> Held:
    """Read a receipt, a single one, or a reply of ``/v1/score`` that has one.

    Raises:
        ReceiptError: It is none of these.
    """
    try:
        keys = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        if "receipt" in keys:
            verdicts = msgspec.json.decode(keys.get("verdicts", b"null"), type=list[msgspec.Raw] | None)
            texts = None if verdicts is None else [bytes(each) for each in verdicts]
            return Held(_receipt(bytes(keys["receipt"])), texts, _verifier_of(keys), _places_of(keys))
        return Held(_receipt(data))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise ReceiptError(
            f"this is no receipt: {exc}. It takes the `receipt` of a reply, the whole reply, or what "
            "`countermark receipt prove` wrote, unchanged."
        ) from exc


def check(
    held: Held,
    keys: KeySet,
    *,
    items: Sequence[Item] | None = None,
    verdicts: Sequence[bytes] | None = None,
) -> Checked:
    """Check a receipt.

    Args:
        held: The receipt, and the verdicts that came with it.
        keys: Keys that are trusted.
        items: What was scored, in order: of the batch, or of the single verdict.
        verdicts: JSON of the verdicts, likewise; those of `held` by default.

    Raises:
        ReceiptError: It does not hold; the class and the sentence say why.
    """
    receipt = held.receipt
    statement, keyid = open_envelope(receipt.envelope, keys)
    for key, named in held.verifier.items():
        if named != (signed := getattr(statement.predicate.verifier, key)):
            raise VerifierDiffersError(named, signed)
    leaves = _leaves_under(receipt, statement)
    if held.places not in (None, len(leaves)):
        raise TreeError(f"{len(leaves)} verdicts were signed, and the document has places for {held.places}.")
    first = receipt.index if isinstance(receipt, Single) else 0
    texts = held.verdicts if verdicts is None else verdicts
    if texts is not None:
        _hold_verdicts(_own(texts, receipt, statement), leaves, first)
    if items is not None:
        _hold_items(_own(items, receipt, statement), leaves, first, statement)
    return Checked(statement, keyid, leaves, first, items is not None, texts is not None)


def prove(held: Held, index: int) -> Single:
    """Return the receipt of one verdict of a batch.

    Raises:
        ReceiptError: There is no such item, or the receipt is of one verdict already.
    """
    receipt = held.receipt
    if isinstance(receipt, Single):
        raise ReceiptError("this is the receipt of one verdict; others cannot be drawn from it.")
    if not 0 <= index < len(receipt.leaves):
        raise ReceiptError(f"there is no item {index}: the receipt is over {len(receipt.leaves)}, from 0.")
    hashes = [leaf_hash(leaf.encoded()) for leaf in receipt.leaves]
    proof = [each.hex() for each in inclusion_proof(hashes, index)]
    return Single(receipt.envelope, receipt.leaves[index], index, proof)


def _verifier_of(keys: dict[str, msgspec.Raw]) -> dict[str, str]:
    """Return what a document says of its verifier: its pin as a text, or an object as in a reply."""
    said = msgspec.json.decode(keys.get("verifier", b"null"))
    named = said if isinstance(said, dict) else {"ref": said}
    return {key: str(named[key]) for key in _NAMED if named.get(key) is not None}


def _places_of(keys: dict[str, msgspec.Raw]) -> int | None:
    """Return how many places a file of `countermark audit` or `score` gives its verdicts."""
    places = keys.get("rows", keys.get("lines"))
    return None if places is None else len(msgspec.json.decode(places, type=list[int]))


def _receipt(data: bytes) -> Whole | Single:
    keys = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    if "leaf" in keys:
        return msgspec.json.decode(data, type=Single)
    return msgspec.json.decode(data, type=Whole)


def _leaves_under(receipt: Whole | Single, statement: Statement) -> list[Leaf]:
    """Return the leaves, once they are known to be under the root and counted right."""
    predicate = statement.predicate
    if isinstance(receipt, Single):
        try:
            proof = [bytes.fromhex(each) for each in receipt.proof]
        except ValueError as exc:
            raise TreeError(f"the proof is no list of hashes ({exc}): the receipt was changed.") from exc
        hashed = leaf_hash(receipt.leaf.encoded())
        lowercase = all(each == each.lower() for each in receipt.proof)
        if not (lowercase and proves(hashed, receipt.index, predicate.items, proof, statement.root)):
            raise TreeError(
                f"the proof does not lead from this verdict, as item {receipt.index} of {predicate.items}, to the "
                "root that was signed: verdict or proof was changed, or the proof is one of another verdict."
            )
        return [receipt.leaf]
    leaves = receipt.leaves
    if len(leaves) != predicate.items:
        raise TreeError(
            f"{predicate.items} items were signed and {len(leaves)} are here: some were added or taken away."
        )
    if root_of([leaf_hash(leaf.encoded()) for leaf in leaves]) != statement.root:
        raise TreeError(
            f"the {len(leaves)} items here do not lead to the root that was signed: one was changed, or their "
            "order was. Hold verdicts or items against it to see which."
        )
    counted = outcome_counts(Counter(leaf.outcome for leaf in leaves))
    failed = sum(number for outcome, number in counted.items() if outcome in FAILURES)
    if (counted, failed) != (predicate.outcomes, predicate.failed):
        raise ReceiptError(
            f"the statement counts {_shown(predicate.outcomes)}, {predicate.failed} of them failed; the items under "
            f"it are {_shown(counted)}: whoever signed it did not count right."
        )
    return leaves


def _own(given: Sequence[Any], receipt: Whole | Single, statement: Statement) -> Sequence[Any]:
    """Return what belongs to the leaves: of a single receipt, one of the whole batch is picked."""
    if isinstance(receipt, Single) and len(given) == statement.predicate.items != 1:
        return given[receipt.index : receipt.index + 1]
    return given


def _hold_verdicts(texts: Sequence[bytes], leaves: Sequence[Leaf], first: int) -> None:
    if len(texts) != len(leaves):
        raise VerdictsDifferError(
            f"the receipt is over {len(leaves)} verdicts; {len(texts)} are held against it."
        )
    for index, (text, leaf) in enumerate(zip(texts, leaves, strict=True), start=first):
        try:
            ((_, _, digest),) = digests_of((text,)).found
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise VerdictsDifferError(f"verdict {index} cannot be read: {exc}.") from exc
        found = f"sha256:{digest}"
        if found != leaf.verdict:
            raise VerdictsDifferError(
                f"verdict {index} is not the one that was signed: the receipt has {leaf.outcome} with score "
                f"{leaf.score} and digest {leaf.verdict}; this one has {found}."
            )


def _hold_items(items: Sequence[Item], leaves: Sequence[Leaf], first: int, statement: Statement) -> None:
    verifier = statement.predicate.verifier
    if len(items) != len(leaves):
        raise ItemsDifferError(f"the receipt is over {len(leaves)} items; {len(items)} are held against it.")
    release = statement.predicate.release
    given = msgspec.json.decode(release.params, type=dict[str, Any]) if release is not None else {}
    identity = bytes.fromhex(verifier.identity.removeprefix("sha256:"))
    if given:
        items = [msgspec.structs.replace(item, params={**item.params, **given}) for item in items]
    digests = item_digests(identity, items, uses_prompt=verifier.uses_prompt)
    wrong = [
        index
        for index, (found, leaf) in enumerate(zip(digests, leaves, strict=True), start=first)
        if leaf.item != f"sha256:{found.hex()}"
    ]
    if wrong:
        raise ItemsDifferError(
            f"{len(wrong)} of {len(items)} items are not what was scored, the first is item {wrong[0]}: response, "
            f"reference, {'prompt, ' if verifier.uses_prompt else ''}or params differ from what {verifier.ref} was "
            "given. Every character counts, blanks and line ends too."
        )


def _shown(counts: dict[Any, int]) -> str:
    return ", ".join(f"{number} {outcome}" for outcome, number in counts.items()) or "no items"
