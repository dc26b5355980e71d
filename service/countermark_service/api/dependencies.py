"""What routes are given: the service's parts, and the right to be here.

All are coroutines, though none waits: FastAPI sends plain functions to a thread.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from countermark_service.api.metrics import Metrics
from countermark_service.assembly import Service


@dataclass(frozen=True, slots=True)
class Parts:
    """What an app is made of."""

    service: Service
    metrics: Metrics


async def get_parts(request: Request) -> Parts:
    """Return the parts of the app."""
    parts: Parts = request.app.state.parts
    return parts


async def may_score(request: Request) -> Parts:
    """Return the parts of the app to a caller who may score.

    Raises:
        UnauthorizedError: Keys are set up, and the caller has none of them.
        ForbiddenError: The caller's key lacks the scope `score`.
    """
    return _allowed(request, "score")


async def may_run(request: Request) -> Parts:
    """Return the parts of the app to a caller who may run programs.

    Raises:
        UnauthorizedError: Keys are set up, and the caller has none of them.
        ForbiddenError: The caller's key lacks the scope `run`.
    """
    return _allowed(request, "run")


async def may_change(request: Request) -> Parts:
    """Return the parts of the app to a caller who may change what is registered.

    Raises:
        UnauthorizedError: Keys are set up, and the caller has none of them.
        ForbiddenError: The caller's key lacks the scope `admin`.
    """
    return _allowed(request, "admin")


async def may_audit(request: Request) -> Parts:
    """Return the parts of the app to a caller who may read receipts and reports.

    Raises:
        UnauthorizedError: Keys are set up, and the caller has none of them.
        ForbiddenError: The caller's key lacks the scope `audit`.
    """
    return _allowed(request, "audit")


def _allowed(request: Request, scope: str) -> Parts:
    parts: Parts = request.app.state.parts
    parts.service.access.require(request.headers.get("authorization"), scope)
    return parts


PartsDep = Annotated[Parts, Depends(get_parts)]
ScoringDep = Annotated[Parts, Depends(may_score)]
RunningDep = Annotated[Parts, Depends(may_run)]
AdminDep = Annotated[Parts, Depends(may_change)]
AuditingDep = Annotated[Parts, Depends(may_audit)]
