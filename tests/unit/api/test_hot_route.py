"""A hot route gives its endpoint what it declares, and refuses to be made where the framework would have to help."""

from collections.abc import Iterator
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, Response

from countermark_service.api.hot import ByPath, HotRoute
from countermark_service.errors import CountermarkError


async def caller(request: Request) -> str:
    """Return who asks."""
    if "name" not in request.headers:
        raise CountermarkError("no name")
    return request.headers["name"]


CallerDep = Annotated[str, Depends(caller)]


async def asked(app: FastAPI, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.post("/hot", content=b"body", headers=headers)


async def test_the_endpoint_gets_the_request_and_its_dependencies() -> None:
    app = FastAPI()
    app.router.route_class = HotRoute

    @app.post("/hot")
    async def hot(request: Request, name: CallerDep) -> Response:
        return Response(await request.body() + name.encode())

    assert (await asked(app, name="x")).content == b"bodyx"


async def test_what_a_dependency_raises_is_the_answer() -> None:
    app = FastAPI()
    app.router.route_class = HotRoute

    @app.exception_handler(CountermarkError)
    async def refused(request: Request, exc: CountermarkError) -> Response:
        return Response(str(exc), status_code=418)

    @app.post("/hot")
    async def hot(request: Request, name: CallerDep) -> Response:
        return Response(name)

    answer = await asked(app)
    assert (answer.status_code, answer.text) == (418, "no name")


def test_a_parameter_that_only_the_framework_could_find_is_refused() -> None:
    app = FastAPI()
    app.router.route_class = HotRoute
    with pytest.raises(TypeError, match="takes no parameter, but 'limit' is one"):

        @app.post("/hot")
        async def hot(request: Request, limit: int) -> Response:
            return Response()


def test_a_dependency_that_does_not_end_with_its_call_is_refused() -> None:
    def opened(request: Request) -> Iterator[str]:
        yield "left open"

    app = FastAPI()
    app.router.route_class = HotRoute
    with pytest.raises(TypeError, match="is a coroutine"):

        @app.post("/hot")
        async def hot(request: Request, name: Annotated[str, Depends(opened)]) -> Response:
            return Response(name)


async def test_a_route_that_is_found_by_its_path_leaves_other_methods_and_paths_to_the_app() -> None:
    router = APIRouter(prefix="/hot", route_class=HotRoute)

    @router.post("")
    async def hot(request: Request) -> Response:
        return Response(request.scope["route"].path)

    @router.post("/{rest}")
    async def below(request: Request, rest: str) -> Response:
        return Response(f"below {rest}")

    app = FastAPI()
    app.include_router(router)
    app.router.routes.insert(0, ByPath(router.routes))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.post("/hot")).text == "/hot"
        assert (await client.post("/hot/x")).text == "below x"
        refused = await client.get("/hot")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
