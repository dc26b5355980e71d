"""A route for the hot paths: FastAPI documents it, and does not stand between request and endpoint.

Solving dependencies and looking for parameters costs the framework about 0.15 ms a request, which is
what reading and keying fifty items costs, and finding the route among all and making room for what
dependencies leave open half as much again. An endpoint of such a route takes the request, and what
dependencies that themselves take nothing but the request give, and the parts of its path as texts; it returns
a response.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, cast

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

_Needed = Callable[[Request], Awaitable[object]]


class HotRoute(APIRoute):
    """Calls its endpoint with the request and the results of its dependencies, and does nothing else."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what the framework's own route takes."""
        super().__init__(*args, **kwargs)
        self._serve = self.get_route_handler()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; what is raised is answered by the app's handlers, as everywhere."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)  # which refuses it
            return
        response = await self._serve(Request(scope, receive, send))
        await response(scope, receive, send)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what serves a request; made once for each route.

        Raises:
            TypeError: The endpoint takes something that only the framework could find.
        """
        endpoint = self.dependant
        _refuse_others(endpoint, self.path)
        needed: list[tuple[str, _Needed]] = []
        for each in endpoint.dependencies:
            _refuse_others(each, self.path)
            if (
                each.dependencies
                or each.request_param_name is None
                or not inspect.iscoroutinefunction(each.call)
            ):
                raise TypeError(
                    f"{self.path}: a dependency of a hot route is a coroutine that takes the request alone"
                )
            needed.append((str(each.name), cast("_Needed", each.call)))
        call = cast("Callable[..., Awaitable[Response]]", endpoint.call)
        name = endpoint.request_param_name
        places = [str(each.name) for each in endpoint.path_params]

        async def serve(request: Request) -> Response:
            found: dict[str, Any] = {key: await give(request) for key, give in needed}
            for place in places:
                found[place] = request.path_params[place]
            if name is not None:
                found[name] = request
            return await call(**found)

        return serve


class ByPath(BaseRoute):
    """Leads to hot routes whose paths have no parameter, and stands before all others."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        """Lead to those of `routes` that are hot and have a fixed path."""
        self._routes = {
            route.path: route
            for route in routes
            if isinstance(route, HotRoute) and not route.param_convertors
        }

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match a request that one of the routes answers; all others are left to the routes behind."""
        if scope["type"] != "http" or scope.get("root_path"):
            return Match.NONE, {}
        route = self._routes.get(scope["path"])
        if route is None or scope["method"] not in (route.methods or ()):
            return Match.NONE, {}
        return Match.FULL, {"endpoint": route.endpoint, "path_params": {}, "route": route}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the route that was found answer."""
        await scope["route"].handle(scope, receive, send)


def _refuse_others(dependant: Any, path: str) -> None:
    others = [
        *dependant.query_params, *dependant.body_params, *dependant.header_params, *dependant.cookie_params,
    ]  # fmt: skip
    if others:
        raise TypeError(f"{path}: a hot route takes no parameter, but {others[0].name!r} is one")
