"""Probes and figures: alive, ready, Prometheus."""

from dataclasses import asdict

from fastapi import APIRouter, Response

from countermark_service import __version__
from countermark_service.api.dependencies import PartsDep
from countermark_service.api.schemas import Ready

router = APIRouter(tags=["operation"])


@router.get("/livez", summary="Is the process alive?")
async def livez() -> dict[str, str]:
    """Answers as long as the service can answer anything."""
    return {"status": "alive"}


@router.get("/healthz", include_in_schema=False)
async def healthz() -> dict[str, str]:
    """The older name of `/livez`."""
    return await livez()


@router.get("/readyz", summary="Can it score?")
async def readyz(parts: PartsDep) -> Ready:
    """Ready as long as it can score. A store that is down costs hits: that is `degraded`, and ready."""
    service = parts.service
    store = asdict(service.scorer.store.health())
    return Ready.model_validate(
        {
            "status": "degraded" if service.scorer.store.degraded else "ready",
            "version": __version__,
            "verifiers": len(service.scorer.registry),
            "containment": service.pool.containment.level.value,
            "sandbox": service.sandboxes.state(),
            "store": store,
        }
    )


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(parts: PartsDep) -> Response:
    """Counters and gauges in Prometheus's text format."""
    return Response(parts.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
