"""What is signed: an in-toto Statement v1 about one batch, in a DSSE envelope.

Its subject is the root of the tree over the leaves; its predicate says which verifier
judged, how many items came out how, in which surroundings, by which release and when.
The signed bytes are RFC 8785 JSON. Statement: https://in-toto.io/Statement/v1.
Envelope: DSSE v1.0, whose signature is over
``DSSEv1 SP len(type) SP type SP len(payload) SP payload``.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
import rfc8785

from countermark_service.model import Outcome
from countermark_service.receipts.errors import ReceiptError, SignatureError
from countermark_service.receipts.keys import KeySet, library_key

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:countermark:predicate:receipt:v1"
ROOT_DIGEST = "rfc6962Sha256"
"""Name of the subject's digest: it is no hash of a file."""
SUBJECT = "verdicts"


class Signer(Protocol):
    """What signs: one private key, wherever it is."""

    keyid: str

    def sign(self, data: bytes) -> bytes:
        """Return the ed25519 signature, 64 bytes."""


class ChildMark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A verifier that a composite asks."""

    ref: str
    """The pin."""
    digest: str
    """Of the bundle."""


class VerifierMark(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The verifier that judged."""

    ref: str
    """The pin."""
    name: str
    version: str
    digest: str
    """Of the bundle."""
    identity: str
    """32 bytes, as ``sha256:<hex>``, that key its verdicts: its digest, unless what judges is more than the
    bundle (a judge's endpoint)."""
    uses_prompt: bool
    """Whether prompts are part of the items' digests."""
    children: list[ChildMark] = []
    """Of a composite, what it asks, however deep, each once. Its digest covers their pins already; here they
    stand for who has the statement and not the bundle. Left out where there are none, and in statements that
    were signed before this stood in them."""


class ReleaseMark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The release that was scored by."""

    ref: str
    digest: str
    """Of its card."""
    task: str
    params: str
    """What the card gives every item of the task, as JSON text: they are part of the items' digests, where 1
    and 1.0 differ, as they do not in the form that is signed."""


class ServiceMark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The software that issued the receipt."""

    name: str
    version: str


class Predicate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a receipt claims of a batch."""

    verifier: VerifierMark
    items: int
    outcomes: dict[Outcome, int]
    """How many items came out how; outcomes that none had are left out."""
    failed: int
    """How many have no score."""
    surroundings: list[dict[str, Any]]
    """Every surroundings that a verdict was made in, the first `SURROUNDINGS` at most."""
    service: ServiceMark
    issued: str
    """Time, UTC."""
    surroundings_left_out: int = 0
    release: ReleaseMark | None = None


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the statement is about."""

    name: str
    digest: dict[str, str]


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The signed document."""

    type: str = msgspec.field(name="_type")
    subject: list[Subject]
    predicate_type: str = msgspec.field(name="predicateType")
    predicate: Predicate

    @classmethod
    def about(cls, root: bytes, predicate: Predicate) -> "Statement":
        """Return the statement over a root."""
        subject = Subject(SUBJECT, {ROOT_DIGEST: root.hex()})
        return cls(type=STATEMENT_TYPE, subject=[subject], predicate_type=PREDICATE_TYPE, predicate=predicate)

    def encoded(self) -> bytes:
        """Return the bytes to sign."""
        return rfc8785.dumps(msgspec.to_builtins(self))

    @property
    def root(self) -> bytes:
        """The root of the tree, 32 bytes."""
        return bytes.fromhex(self.subject[0].digest[ROOT_DIGEST])


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One signature; `sig` is base64."""

    keyid: str
    sig: str


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signed statement; `payload` is base64."""

    payload: str
    payload_type: str = msgspec.field(name="payloadType")
    signatures: list[Signature]


def seal(statement: Statement, signer: Signer) -> Envelope:
    """Sign a statement."""
    # Imported here: see `library_key`.
    from securesystemslib.dsse import Envelope as LibraryEnvelope

    payload = statement.encoded()
    signature = signer.sign(LibraryEnvelope(payload, PAYLOAD_TYPE, {}).pae())
    return Envelope(
        payload=_text(payload),
        payload_type=PAYLOAD_TYPE,
        signatures=[Signature(signer.keyid, _text(signature))],
    )


def open_envelope(envelope: Envelope, keys: KeySet) -> tuple[Statement, str]:
    """Check the signature; return the statement and the id of the key that signed it.

    Nothing of the payload is read before its signature holds. Of several signatures, the
    first whose key is known counts.

    Raises:
        ReceiptError: The envelope or the statement is not of the form.
        UnknownKeyError: None of the keys is known.
        SignatureError: The signature does not fit.
        KeyValidityError: The key was not valid when the receipt was issued.
    """
    from securesystemslib.dsse import Envelope as LibraryEnvelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import Signature as LibrarySignature  # type: ignore[attr-defined]  # as above

    if envelope.payload_type != PAYLOAD_TYPE:
        raise ReceiptError(
            f"the envelope holds {envelope.payload_type[:80]!r}, not an in-toto statement ({PAYLOAD_TYPE})."
        )
    if not envelope.signatures:
        raise ReceiptError("the envelope has no signature: anybody could have written it.")
    payload = _bytes(envelope.payload, "the payload")
    chosen = next((one for one in envelope.signatures if one.keyid in keys.keys), envelope.signatures[0])
    key = keys.find(chosen.keyid)
    signature = LibrarySignature(chosen.keyid, _bytes(chosen.sig, "the signature").hex())
    try:
        LibraryEnvelope(payload, PAYLOAD_TYPE, {chosen.keyid: signature}).verify([library_key(key)], 1)
    except VerificationError as exc:
        raise SignatureError(chosen.keyid) from exc
    statement = _read(payload)
    keys.require_valid(chosen.keyid, statement.predicate.issued)
    return statement, chosen.keyid


def outcome_counts(outcomes: Mapping[Outcome, int]) -> dict[Outcome, int]:
    """Return counts in the order of `Outcome`, those of none left out."""
    return {outcome: outcomes[outcome] for outcome in Outcome if outcomes.get(outcome)}


def _read(payload: bytes) -> Statement:
    """Read what is known to be signed."""
    try:
        statement = msgspec.json.decode(payload, type=Statement)
        known = (statement.type, statement.predicate_type) == (STATEMENT_TYPE, PREDICATE_TYPE)
        if known and len(statement.root) == 32:
            return statement
        problem = f"it is a {statement.type[:80]!r} with the predicate {statement.predicate_type[:80]!r}"
    except (msgspec.MsgspecError, ValueError, LookupError, RecursionError) as exc:
        problem = str(exc)
    raise ReceiptError(
        f"the signature holds, but what is signed is no receipt that this Countermark can read: {problem}. "
        f"It reads {PREDICATE_TYPE}; a later release may read more."
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str, what: str) -> bytes:
    """Read base64 in its one form: other ends that mean the same bytes are refused, too."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ReceiptError(f"{what} is not base64 ({exc}): the receipt was changed or cut off.") from exc
    if _text(data) != text:
        raise ReceiptError(f"{what} is base64 of another form than is written here: the receipt was changed.")
    return data
