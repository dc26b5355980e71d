"""Countermark's client: scores model outputs with verifiers that cannot change under you.

>>> from countermark import Client
>>> with Client("http://127.0.0.1:8000") as client:
...     result = client.score("math-verify:0.9.0-r2", [{"response": r"\\boxed{\\frac12}", "reference": "0.5"}])
>>> result.rewards, result.verifier.ref
([1.0], 'math-verify:0.9.0-r2@sha256:…')

This package needs httpx and nothing else, and it never imports the service.
"""

from ._async_client import AsyncClient, AsyncVerdictStream
from ._client import Client, VerdictStream
from ._errors import (
    ApiError,
    ConnectError,
    CountermarkClientError,
    DeadlineExceededError,
    DigestMismatchError,
    ForbiddenError,
    InvalidInputError,
    InvalidItemError,
    InvalidRequestError,
    ProtocolError,
    ReleaseConflictError,
    SaturatedError,
    TooLargeError,
    TransportError,
    UnauthorizedError,
    UnavailableError,
    UnknownReleaseError,
    UnknownVerifierError,
    VerdictFailedError,
    VerifierMismatchError,
    VersionRequiredError,
    YankedError,
)
from ._http import Reply, Request, Transport
from ._retry import Backoff
from ._transport import HttpxTransport
from ._types import (
    Advisory,
    IndexedVerdict,
    Item,
    JudgeMode,
    Message,
    OnFailure,
    Outcome,
    Partial,
    Probe,
    Receipt,
    ReleaseDetail,
    ReleaseInfo,
    ReleaseSummary,
    ScoreResult,
    Stats,
    StreamSummary,
    Verdict,
    VerifierDetail,
    VerifierInfo,
    VerifierSummary,
)
from ._version import __version__

__all__ = [
    "Advisory",
    "ApiError",
    "AsyncClient",
    "AsyncVerdictStream",
    "Backoff",
    "Client",
    "ConnectError",
    "CountermarkClientError",
    "DeadlineExceededError",
    "DigestMismatchError",
    "ForbiddenError",
    "HttpxTransport",
    "IndexedVerdict",
    "InvalidInputError",
    "InvalidItemError",
    "InvalidRequestError",
    "Item",
    "JudgeMode",
    "Message",
    "OnFailure",
    "Outcome",
    "Partial",
    "Probe",
    "ProtocolError",
    "Receipt",
    "ReleaseConflictError",
    "ReleaseDetail",
    "ReleaseInfo",
    "ReleaseSummary",
    "Reply",
    "Request",
    "SaturatedError",
    "ScoreResult",
    "Stats",
    "StreamSummary",
    "TooLargeError",
    "Transport",
    "TransportError",
    "UnauthorizedError",
    "UnavailableError",
    "UnknownReleaseError",
    "UnknownVerifierError",
    "Verdict",
    "VerdictFailedError",
    "VerdictStream",
    "VerifierDetail",
    "VerifierInfo",
    "VerifierMismatchError",
    "VerifierSummary",
    "VersionRequiredError",
    "YankedError",
    "__version__",
]
