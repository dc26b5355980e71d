"""The receipts of an audit, each kept in the transaction of the verdicts that it is over."""

from collections.abc import Iterator

from countermark_service.audit.work_file.layout import Connected, decode, text
from countermark_service.audit.work_file.values import StoredReceipt


class Receipts(Connected):
    """The table `receipts`."""

    def add_receipt(self, receipt: StoredReceipt) -> None:
        """Store a receipt, in the transaction of the verdicts that it is over."""
        self._connection.execute(
            "INSERT INTO receipts (pin, rows, root, key, document) VALUES (?, ?, ?, ?, ?)",
            (receipt.pin, text(receipt.rows), receipt.root, receipt.key, receipt.document),
        )

    def receipts(self, *, documents: bool = True) -> Iterator[StoredReceipt]:
        """Yield the receipts, in the order in which they came; without `documents`, theirs are empty."""
        document = "document" if documents else "x''"
        found = self._connection.execute(
            f"SELECT pin, rows, root, key, {document} FROM receipts ORDER BY number"  # noqa: S608 - named above
        )
        for pin, rows, root, key, document in found:
            yield StoredReceipt(pin, decode(rows), root, key, document)

    def _drop_empty_receipts(self) -> None:
        """Drop what has none of its verdicts left."""
        self._connection.execute(
            "DELETE FROM receipts WHERE NOT EXISTS (SELECT 1 FROM json_each(receipts.rows) AS signed "
            "JOIN verdicts v ON v.row = signed.value AND v.pin = receipts.pin)"
        )
