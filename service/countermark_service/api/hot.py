"""A route for the hot paths: FastAPI documents it, and does not stand between request and endpoint.

Solving dependencies and looking for parameters costs the framework about 0.15 ms a request, which is
what reading and keying fifty items costs. An endpoint of such a route takes the request, and what
dependencies that themselves take nothing but the request give, and the parts of its path as texts; it returns
a response.
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from fastapi import Request, Response
from fastapi.routing import APIRoute

_Needed = Callable[[Request], Awaitable[object]]


class HotRoute(APIRoute):
    """Calls its endpoint with the request and the results of its dependencies, and does nothing else."""

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
            if each.dependencies or each.request_param_name is None:
                raise TypeError(f"{self.path}: a dependency of a hot route takes the request alone")
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


def _refuse_others(dependant: Any, path: str) -> None:
    others = [
        *dependant.query_params, *dependant.body_params, *dependant.header_params, *dependant.cookie_params,
    ]  # fmt: skip
    if others:
        raise TypeError(f"{path}: a hot route takes no parameter, but {others[0].name!r} is one")
