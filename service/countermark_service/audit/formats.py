"""Which format a file is of, by its content.

Document formats look first, since a document on one line looks like a line of records.
Any table is one of outputs where the caller named the file; in a folder it must look so.
"""

from countermark_service.audit.readers import DOCUMENTS, RECORDS
from countermark_service.audit.readers.interface import DocumentReader, InputFile, RecordReader
from countermark_service.audit.readers.tables import USUAL, Table


def document_format(file: InputFile) -> type[DocumentReader] | None:
    """Return the document format of a file; None where it is of none."""
    return next((document for document in DOCUMENTS if document.claims(file)), None)


def record_format(file: InputFile, *, any_table: bool) -> type[RecordReader] | None:
    """Return the format of a file's records; a table counts where it looks like outputs, or any does."""
    for record in RECORDS:
        if record.claims(file.first):
            return record if any_table or record is not Table or _is_outputs(file) else None
    return None


def _is_outputs(file: InputFile) -> bool:
    """Whether a table in a folder looks like outputs: it has a column for the response."""
    named = file.columns.get("response")
    names = USUAL["response"] if named is None else (named.partition(".")[0], named)
    return any(name in file.first for name in names)
