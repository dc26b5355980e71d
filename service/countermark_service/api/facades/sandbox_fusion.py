"""SandboxFusion's HTTP API, as verl, ROLL and the `sandbox-fusion` SDK call it."""

from fastapi import Response

from countermark_service.api.dependencies import PartsDep
from countermark_service.api.errors import status_of
from countermark_service.api.facades.facade import Refusal, facade_router, json_answer, worth_repeating
from countermark_service.errors import CountermarkError

_TRY_AGAIN = 504
"""The one status that verl's client sends a request again for; the others repeat anything that is not 200."""


def refuse(error: CountermarkError) -> Refusal:
    """Have what may work another time sent again, and say the rest as SandboxFusion (FastAPI) does."""
    return Refusal(_TRY_AGAIN if worth_repeating(error) else status_of(error), {"detail": str(error)})


router = facade_router("/sandbox-fusion", refuse)


@router.get("/v1/ping")
async def ping(parts: PartsDep) -> Response:
    """Answers as long as the service can answer anything."""
    return json_answer("pong")
