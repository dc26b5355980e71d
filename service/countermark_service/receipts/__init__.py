"""Signed statements that bind items, verdicts and the verifier's pin; checked offline.

One signature per batch over the root of a tree (`merkle`), whose leaves say what came
out for each item (`leaves`). `statement` is what is signed, `check` the rules of
checking it; `keys` the rules of keys. Files are touched by `keyring` (private keys) and
`ledger` (what was issued) alone.
"""

from countermark_service.receipts.check import Checked, Held, Single, Whole, check, prove, read
from countermark_service.receipts.errors import ReceiptError
from countermark_service.receipts.issuer import Issued, Issuer
from countermark_service.receipts.keyring import DEFAULT_DAYS, Keyring
from countermark_service.receipts.keys import KeySet, SigningKey
from countermark_service.receipts.ledger import IssuedReceipt, Ledger, LedgerError
from countermark_service.receipts.statement import ReleaseMark, Statement

__all__ = [
    "DEFAULT_DAYS",
    "Checked",
    "Held",
    "Issued",
    "IssuedReceipt",
    "Issuer",
    "KeySet",
    "Keyring",
    "Ledger",
    "LedgerError",
    "ReceiptError",
    "ReleaseMark",
    "SigningKey",
    "Single",
    "Statement",
    "Whole",
    "check",
    "prove",
    "read",
]
