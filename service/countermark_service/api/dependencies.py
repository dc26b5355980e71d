"""What routes are given: the service's parts, and the right to be here."""

from typing import Annotated, cast

from fastapi import Depends, Request

from countermark_service.api.metrics import Metrics
from countermark_service.assembly import Service


def get_service(request: Request) -> Service:
    """Return the assembled service of the app."""
    return cast("Service", request.app.state.service)


ServiceDep = Annotated[Service, Depends(get_service)]


def get_metrics(request: Request) -> Metrics:
    """Return the counters of the app."""
    return cast("Metrics", request.app.state.metrics)


MetricsDep = Annotated[Metrics, Depends(get_metrics)]


async def may_score(request: Request, service: ServiceDep) -> str | None:
    """Let a caller score; raises `AccessError`. Returns the key's id."""
    return service.access.require(request.headers.get("authorization"), "score")


MayScore = Annotated[str | None, Depends(may_score)]
