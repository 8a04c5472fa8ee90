"""Answers the routes that read their request themselves before the framework looks at it.

For a route that is asked a thousand times a second, finding it, opening what any route may need
and closing it again costs the framework more than the answer does. The token is looked at here as
there: by the route's own handler. Whatever is not answered here goes on to the framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastapi import Request

from orchestrator.api.access import is_by_hand

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Receive, Scope, Send


class Direct:
    """The middleware inside `shield`, which answers the problems that are raised here."""

    def __init__(self, app: ASGIApp, *, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._direct: Final = [
            (frozenset(route.methods or ()), route.path_regex, route, route.get_route_handler())
            for route in routes
            if is_by_hand(route)
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] == "http":
            for methods, path, route, answer in self._direct:
                found = path.match(scope["path"]) if scope["method"] in methods else None
                if found is not None:
                    scope["route"], scope["path_params"] = route, found.groupdict()
                    response = await answer(Request(scope, receive))
                    await response(scope, receive, send)
                    return
        await self._app(scope, receive, send)
