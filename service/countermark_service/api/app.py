"""The ASGI application over an assembled service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.routing import APIRoute

from countermark_service import __version__
from countermark_service.api import errors, facades
from countermark_service.api.dependencies import Parts
from countermark_service.api.document import document
from countermark_service.api.hot import ByPath
from countermark_service.api.metrics import Metrics
from countermark_service.api.observe import Observe
from countermark_service.api.routes import health, receipts, releases, run, score, verifiers
from countermark_service.assembly import Service

_DESCRIPTION = """Scores model outputs with verifiers that cannot change under you.

Every verdict names the digest of the bytes that made it. A failure is never a zero: `score` is null where
there is none, and `on_failure` says what `reward` is then. Errors are `application/problem+json` with a
stable `code`."""


def create_app(service: Service) -> FastAPI:
    """Return the app of `service`, which it starts and ends.

    Raises:
        SettingsError: A facade of the settings does not exist.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.close()

    app = FastAPI(
        title="Countermark",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect would name whatever host the request does
        redoc_url=None,
        generate_unique_id_function=_operation_id,
        # The service has logs and metrics of its own, which hold no text of an item; the framework's would take
        # what an error says, and look for somebody to tell it to at every request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.parts = Parts(service, Metrics(service))
    app.add_middleware(Observe, metrics=app.state.parts.metrics)
    errors.install(app)
    routers = (score, verifiers, releases, receipts, run, health)
    for router in (each.router for each in routers):
        app.include_router(router)
    app.state.native_routes = [route for each in routers for route in each.router.routes]
    facades.install(app, service.settings.facades)
    app.router.routes.insert(0, ByPath(score.router.routes))
    app.openapi = lambda: document(app)  # type: ignore[method-assign]  # FastAPI's own way to extend the document
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
