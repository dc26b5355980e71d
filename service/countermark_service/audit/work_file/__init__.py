"""The work file of an audit: rows in, verdicts beside them, in one SQLite file.

Everything that an audit knows is here, so a run that was killed goes on where it
was, a report can be made again without scoring, and an auditor can ask questions
in SQL. Rows are read in order and a chunk at a time: memory does not grow with
their number.

`file` is the object that is used; each subject has a module: `asked` (inputs, verifiers, routes), `rows`,
`verdicts`, `receipts`. `layout` has the tables, `values` what goes in and comes out. Use one object from
one thread at a time.
"""

from countermark_service.audit.work_file.file import WorkFile
from countermark_service.audit.work_file.layout import Ready, WorkFileError, at_once
from countermark_service.audit.work_file.values import (
    AuditVerifier,
    Input,
    JudgedRow,
    Mark,
    NewVerdict,
    Note,
    Refusal,
    Role,
    Route,
    StoredReceipt,
    StoredVerdict,
    Texts,
)

__all__ = [
    "AuditVerifier",
    "Input",
    "JudgedRow",
    "Mark",
    "NewVerdict",
    "Note",
    "Ready",
    "Refusal",
    "Role",
    "Route",
    "StoredReceipt",
    "StoredVerdict",
    "Texts",
    "WorkFile",
    "WorkFileError",
    "at_once",
]
