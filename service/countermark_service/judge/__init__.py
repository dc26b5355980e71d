"""Language models as judges: endpoints, questions, replies, transcripts.

What a bundle declares becomes messages (`render`, `shown`), is asked or looked up
(`asker`, over `client`, which is loaded with the first question, and `transcripts`), and is read by contract (`parse`).
How votes become a verdict is the runtime's matter.
"""

from countermark_service.judge.answer import Answer, CallError
from countermark_service.judge.asker import Asker, Question, Told
from countermark_service.judge.counters import JudgeCounters, ModelCounters
from countermark_service.judge.endpoints import Endpoint, Endpoints, read_endpoints
from countermark_service.judge.mode import JudgeMode, judging
from countermark_service.judge.probe import Probe, ProbeBook, probe
from countermark_service.judge.transcripts import ArchiveError, Transcript, archive_line, read_archive

__all__ = [
    "Answer",
    "ArchiveError",
    "Asker",
    "CallError",
    "Endpoint",
    "Endpoints",
    "JudgeCounters",
    "JudgeMode",
    "ModelCounters",
    "Probe",
    "ProbeBook",
    "Question",
    "Told",
    "Transcript",
    "archive_line",
    "judging",
    "probe",
    "read_archive",
    "read_endpoints",
]
