"""What can be wrong with a receipt or with the keys that sign one.

    CountermarkError
    ├── ReceiptError              invalid_receipt      the file is none, or not whole
    │   ├── UnknownKeyError       unknown_signing_key
    │   ├── SignatureError        bad_signature
    │   ├── KeyValidityError      key_not_valid        expired, not yet valid, retired before, compromised
    │   ├── TreeError             wrong_proof          verdicts that are not under the signed root
    │   ├── VerifierDiffersError  verifier_differs
    │   ├── ItemsDifferError      items_differ
    │   └── VerdictsDifferError   verdicts_differ
    ├── SigningKeysError          invalid_signing_keys
    └── NoSigningKeyError         no_signing_key

Each sentence is for somebody who holds a file and asks what it proves.
"""

from countermark_service.errors import CountermarkError


class ReceiptError(CountermarkError):
    """A receipt that does not hold; the subclasses say in what way."""

    code = "invalid_receipt"


class UnknownKeyError(ReceiptError):
    """It is signed with a key that is not in the key set."""

    code = "unknown_signing_key"

    def __init__(self, keyid: str, known: int) -> None:
        super().__init__(
            f"the receipt is signed with key {keyid}, which is none of the {known} known ones: nothing is proved. "
            "Get the issuer's keys from the issuer, by a way that you trust (`countermark keys export` there, or "
            "GET /v1/receipts/keys of its service), and pass them with --keys."
        )
        self.keyid, self.known = keyid, known


class SignatureError(ReceiptError):
    """The signature does not fit what is signed."""

    code = "bad_signature"

    def __init__(self, keyid: str) -> None:
        super().__init__(
            f"the signature is not one of key {keyid} over this statement: the receipt was changed after it was "
            "signed, or another key signed it. Do not rely on anything in it."
        )
        self.keyid = keyid


class KeyValidityError(ReceiptError):
    """The signature is right, and the key was not to be used at that time."""

    code = "key_not_valid"

    def __init__(self, keyid: str, issued: str, problem: str) -> None:
        super().__init__(
            f"the receipt says that it was issued at {issued}, and key {keyid} {problem}. "
            "A receipt counts only if its key was valid when it was issued."
        )
        self.keyid, self.issued = keyid, issued


class TreeError(ReceiptError):
    """Verdicts that do not lead to the root that was signed."""

    code = "wrong_proof"


class VerifierDiffersError(ReceiptError):
    """The document names another verifier than the receipt in it."""

    code = "verifier_differs"

    def __init__(self, named: str, signed: str) -> None:
        super().__init__(
            f"the document names the verifier {named}, and what was signed is of {signed}: one of the two was "
            "changed or comes from elsewhere. Only the signed one counts."
        )
        self.named, self.signed = named, signed


class ItemsDifferError(ReceiptError):
    """Items beside the receipt that are not those it is about."""

    code = "items_differ"


class VerdictsDifferError(ReceiptError):
    """Verdicts beside the receipt that are not those it is about."""

    code = "verdicts_differ"


class SigningKeysError(CountermarkError):
    """A set of signing keys, or a file of one, that cannot be used."""

    code = "invalid_signing_keys"


class NoSigningKeyError(CountermarkError):
    """A receipt was asked for, and there is no key to sign it with."""

    code = "no_signing_key"

    def __init__(self, problem: str) -> None:
        super().__init__(f"no receipt can be signed here: {problem}. Nothing was scored.")
