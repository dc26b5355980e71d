"""The public half of signing keys: which there are, and when each could be used.

A key set is a JSON document that anybody may have: the service publishes it, a
release may carry it, an auditor keeps it. A key's id is derived from the key, so a
set in which the two were mixed up is refused. A key is valid from its start to its
end, or to the moment it was retired; receipts of that time stay good. A key that was
compromised is good for none, whenever they say they were issued. No file and no clock
in here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from countermark_service.receipts.errors import KeyValidityError, SigningKeysError, UnknownKeyError

KEY_SET_TYPE = "urn:countermark:signing-keys:v1"
KEY_TYPE = "ed25519"
"""Type and scheme of every key."""


class KeyValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The key itself."""

    public: str
    """32 bytes, as hex."""


class SigningKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One public key and its time. The first four members are securesystemslib's form of a key."""

    keyid: str
    """SHA-256, as hex, of the canonical form of type, scheme and value."""
    keytype: str
    scheme: str
    keyval: KeyValue
    valid_from: str
    """Time, UTC, as ``YYYY-MM-DDThh:mm:ssZ``; so are the others."""
    valid_until: str
    retired: str | None = None
    """Since when it is used no more; None while it is in use."""
    compromised: bool = False
    """Whether somebody else may have the private half."""
    label: str = ""
    """Whose it is, in the owner's words."""

    def fault_at(self, moment: str) -> str | None:
        """Return why the key was not to be used at `moment`, as the end of a sentence; None where it was."""
        at = instant(moment)
        if self.compromised:
            return "is marked as compromised"
        if at < instant(self.valid_from):
            return f"is valid only from {self.valid_from}"
        if at > instant(self.valid_until):
            return f"expired at {self.valid_until}"
        if self.retired is not None and at > instant(self.retired):
            return f"was retired at {self.retired}"
        return None


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    keys: list[SigningKey]


@dataclass(frozen=True)
class KeySet:
    """Public keys by id."""

    keys: Mapping[str, SigningKey]

    @classmethod
    def of(cls, keys: Iterable[SigningKey]) -> "KeySet":
        """Join keys; of two entries for one key, the one that allows less counts."""
        found: dict[str, SigningKey] = {}
        for key in keys:
            known = found.get(key.keyid)
            found[key.keyid] = key if known is None else _stricter(known, key)
        return cls(found)

    @classmethod
    def parse(cls, data: bytes, origin: str) -> "KeySet":
        """Read a key set.

        Args:
            data: The document.
            origin: Where it is from, for messages.

        Raises:
            SigningKeysError: It is none, or a key in it is not what its id says.
        """
        try:
            document = msgspec.json.decode(data, type=_Document)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise SigningKeysError(
                f"{origin} is no set of signing keys ({exc}). Write one with `countermark keys export`, or take "
                "what GET /v1/receipts/keys of the issuing service answers."
            ) from exc
        if document.type != KEY_SET_TYPE:
            raise SigningKeysError(f"{origin}: type is {document.type[:80]!r}, not {KEY_SET_TYPE!r}.")
        for key in document.keys:
            _check(key, origin)
        return cls.of(document.keys)

    def encoded(self) -> bytes:
        """Return the document, indented: people read it."""
        return (
            msgspec.json.format(
                msgspec.json.encode(_Document(KEY_SET_TYPE, list(self.keys.values()))), indent=1
            )
            + b"\n"
        )

    def find(self, keyid: str) -> SigningKey:
        """Return a key.

        Raises:
            UnknownKeyError: It is not in the set.
        """
        if keyid not in self.keys:
            raise UnknownKeyError(keyid[:80], len(self.keys))
        return self.keys[keyid]

    def require_valid(self, keyid: str, issued: str) -> None:
        """Refuse a key that was not to be used at the time `issued`.

        Raises:
            UnknownKeyError: It is not in the set.
            KeyValidityError: Says why.
        """
        problem = self.find(keyid).fault_at(issued)
        if problem is not None:
            raise KeyValidityError(keyid, issued, problem)


def instant(text: str) -> datetime:
    """Read a time.

    Raises:
        ValueError: It is not of the form ``YYYY-MM-DDThh:mm:ssZ``.
    """
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def written(seconds: float) -> str:
    """Return a time, given in seconds since the epoch, in the form of all documents here."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def library_key(key: SigningKey) -> Any:
    """Return a key as securesystemslib has it."""
    # Imported here: it takes longer to load than the web framework, and most requests want no receipt.
    from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]  # not in its `__all__`

    return SSlibKey(key.keyid, key.keytype, key.scheme, {"public": key.keyval.public})


def named(public: bytes) -> tuple[str, str]:
    """Return the id of an ed25519 key, given as its 32 bytes, and those as hex.

    Raises:
        ValueError: They are no key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]  # not in its `__all__`

    made = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(public))
    return made.keyid, made.keyval["public"]


def _stricter(one: SigningKey, other: SigningKey) -> SigningKey:
    retired = [key.retired for key in (one, other) if key.retired is not None]
    return msgspec.structs.replace(
        one,
        valid_from=max(one.valid_from, other.valid_from),
        valid_until=min(one.valid_until, other.valid_until),
        retired=min(retired, default=None),
        compromised=one.compromised or other.compromised,
    )


def _check(key: SigningKey, origin: str) -> None:
    where = f"{origin}: key {key.keyid[:80]}"
    if (key.keytype, key.scheme) != (KEY_TYPE, KEY_TYPE):
        raise SigningKeysError(
            f"{where} is of type {key.keytype[:40]!r}; receipts are signed with {KEY_TYPE}."
        )
    try:
        keyid, public = named(bytes.fromhex(key.keyval.public))
        for moment in (key.valid_from, key.valid_until, *([key.retired] if key.retired else [])):
            instant(moment)
    except ValueError as exc:
        raise SigningKeysError(f"{where} cannot be used: {exc}.") from exc
    if (keyid, public) != (key.keyid, key.keyval.public):
        raise SigningKeysError(
            f"{where} does not belong to its public value, which has the id {keyid}: the set was changed. "
            "Get it anew from the issuer."
        )
