"""Facades found by the first part of a path, rather than by trying the routes of all of them one after the other.

A trainer sends each sample in a request of its own, and the framework's search through some dozens of patterns
costs as much as all else of such a request.
"""

from collections.abc import Sequence

from fastapi import APIRouter
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

_FOUND = "countermark.facade_route"


class ByPrefix(BaseRoute):
    """One route that stands for those of all facades, whose prefixes are one part of a path each."""

    def __init__(self, routers: Sequence[APIRouter]) -> None:
        """Lead to `routers`."""
        self._routes = {f"/{router.prefix.split('/')[1]}": router.routes for router in routers}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match as the routes of the one facade do that the path can be of."""
        if scope["type"] != "http":
            return Match.NONE, {}
        path: str = scope["path"]
        end = path.find("/", 1)
        best: tuple[Match, Scope] = Match.NONE, {}
        for route in self._routes.get(path if end < 0 else path[:end], ()):
            match, found = route.matches(scope)
            if match is Match.FULL:
                return match, {**found, _FOUND: route}
            if match is Match.PARTIAL and best[0] is Match.NONE:  # another method
                best = match, {**found, _FOUND: route}
        return best

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the route that was found answer."""
        route: BaseRoute = scope[_FOUND]
        await route.handle(scope, receive, send)
