"""Published outputs, scored again.

`readers` turn what people publish into rows; the rows and the verdicts on them are
kept in one work file, so that a run can be killed and taken up again; what is
written and reported is read from that file. The verifiers are behind a port: this
room knows neither worker processes nor a service.
"""

from countermark_service.audit.rows import OutputRow, Unusable
from countermark_service.audit.work_file import (
    AuditVerifier,
    Input,
    JudgedRow,
    Mark,
    Note,
    Refusal,
    StoredVerdict,
    WorkFile,
    WorkFileError,
)

__all__ = [
    "AuditVerifier",
    "Input",
    "JudgedRow",
    "Mark",
    "Note",
    "OutputRow",
    "Refusal",
    "StoredVerdict",
    "Unusable",
    "WorkFile",
    "WorkFileError",
]
