"""The receipts of an audit as files: one for each batch that was signed, and the keys to check them with.

The work file holds both, in one transaction with the verdicts. So these files are made
from it like all others, and made again whenever it is gone through: what somebody
changed in the folder does not stay. Who issued the receipts is not known here.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from countermark_service.audit.document import Receipt, ReceiptKey
from countermark_service.audit.verdict_files import OutputError, whole
from countermark_service.audit.work_file import StoredReceipt, WorkFile
from countermark_service.model import BundleRef
from countermark_service.receipts import KeySet

FOLDER = "receipts"
"""Name of the folder of receipts in that of an audit."""
KEYS = "receipt-keys.json"
"""Name of the file of public keys beside it."""
_META = "receipt_keys"
_PREFIX = "rows-"
_ROOT_DIGITS = 16


def keep_keys(work: WorkFile, keys: KeySet) -> None:
    """Keep public keys in the work file, beside those that are there."""
    known = receipt_keys(work)
    if known.keys != keys.keys:
        joined = KeySet.of([*known.keys.values(), *keys.keys.values()])
        work.set_meta(_META, joined.encoded().decode())


def receipt_keys(work: WorkFile) -> KeySet:
    """Return the public keys that the issuer named while it signed."""
    text = work.meta(_META)
    return KeySet({}) if text is None else KeySet.parse(text.encode(), str(work.path))


def write_receipts(work: WorkFile, folder: Path) -> list[Path]:
    """Write the receipts of an audit, and the keys; return what was written, nothing where nothing is signed.

    A file is ``{"verifier", "rows", "receipt"}``: whose verdicts on which rows, in the order of the receipt.

    Raises:
        OutputError: A file cannot be written.
    """
    there = folder / FOLDER
    stale = set(there.glob(f"{_PREFIX}*.json"))
    written = False
    for path, receipt, pin in _placed(work):
        write_receipt(folder / path, pin, "rows", receipt.rows, receipt.document)
        stale.discard(folder / path)
        written = True
    try:
        for path in stale:  # of verdicts that were made again since
            path.unlink()
    except OSError as exc:
        raise OutputError(there, exc.strerror or str(exc)) from exc
    if not written:
        return []
    with whole(folder / KEYS) as file:
        file.write(receipt_keys(work).encoded())
    return [there, folder / KEYS]


def make_folder(folder: Path) -> None:
    """Make a folder for receipts before anything is scored.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(folder, exc.strerror or str(exc)) from exc


def write_receipt(path: Path, pin: BundleRef, unit: str, places: Sequence[int], receipt: bytes) -> None:
    """Write one receipt, JSON, with whose verdicts it is over, and on what.

    Raises:
        OutputError: It cannot be written.
    """
    document = {"verifier": str(pin), unit: places, "receipt": msgspec.Raw(receipt)}
    with whole(path) as file:
        file.write(msgspec.json.encode(document) + b"\n")


def receipts_of(work: WorkFile) -> list[Receipt]:
    """Return what `audit.json` says of the receipts."""
    return [
        Receipt(path=path.as_posix(), verifier=str(pin), key=one.key, verdicts=len(one.rows), root=one.root)
        for path, one, pin in _placed(work, documents=False)
    ]


def signers_of(work: WorkFile, receipts: list[Receipt]) -> list[ReceiptKey]:
    """Return the keys that signed `receipts`, in the order in which they come first."""
    known = receipt_keys(work).keys
    return [
        ReceiptKey(
            key=key,
            label=known[key].label if key in known else "",
            receipts=sum(one.key == key for one in receipts),
        )
        for key in dict.fromkeys(one.key for one in receipts)
    ]


def receipt_name(unit: str, first: int, last: int, pin: BundleRef, root: str) -> str:
    """Return the name of a receipt's file: the same for the same content, whenever it was signed.

    Args:
        unit: What `first` and `last` count, such as ``rows``.
        first: Of what it is over.
        last: Likewise.
        pin: The verifier.
        root: Of the tree over the verdicts, as hex.
    """
    verifier = f"{pin.name}-{pin.version}".replace("/", "-")
    return f"{unit}-{first:07}-{last:07}.{verifier}.{root[:_ROOT_DIGITS]}.json"


def _placed(work: WorkFile, *, documents: bool = True) -> Iterator[tuple[Path, StoredReceipt, BundleRef]]:
    pins = [one.pin for one in work.verifiers]
    for one in work.receipts(documents=documents):
        pin = pins[one.pin]
        yield Path(FOLDER) / receipt_name("rows", one.rows[0], one.rows[-1], pin, one.root), one, pin
