"""The door of every route: who asks, whether they may, and not too often.

Routes are made by `scoped_router`, whose routes look at the token before anything of the request is
read; a test walks all routes to see that none was made otherwise. FastAPI would read a body first.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import orjson
from fastapi import APIRouter, Request, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from orchestrator.api.problems import FieldFault, Problem, documented
from orchestrator.protocol.codec import NESTING_MAX, too_deep

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from orchestrator.api.tokens import Caller, Scope

# What any route may answer besides its own.
COMMON_PROBLEMS: Final = (401, 403, 413, 415, 422, 429, 500, 503)
_BURST_SECONDS: Final = 2.0
_BY_HAND: Final = "answered_by_hand"
# For the document only: the check itself stands in `_ScopedRoute`.
_bearer: Final = HTTPBearer(
    auto_error=False, scheme_name="token", description="A token with the scope of the route."
)


class RateLimit:
    """So many requests a second for each caller, with a burst of two seconds' worth."""

    def __init__(self, per_second: float) -> None:
        self._per_second: Final = per_second
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_seconds(self, caller: str, now: float) -> float:
        """Take one request off; return 0, or how long to wait when there is none left."""
        if not self._per_second:
            return 0.0
        full = max(1.0, self._per_second * _BURST_SECONDS)
        left, at = self._buckets.get(caller, (full, now))
        left = min(full, left + (now - at) * self._per_second)
        if left < 1:
            self._buckets[caller] = (left, now)
            return (1 - left) / self._per_second
        self._buckets[caller] = (left - 1, now)
        return 0.0


class JsonRequest(Request):
    """A request whose JSON is read strictly, and not deeper than an event may be."""

    async def json(self) -> Any:
        """Return the body. Raises Problem for what is not JSON."""
        return read_json(await self.body())


def read_json(body: bytes) -> Any:
    """Return what a body says. Raises Problem with the place of the fault."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        fault = FieldFault(
            field="body", detail=f"{error.msg}: line {error.lineno} column {error.colno}"
        )
        raise Problem(422, "the body is not JSON", slug="invalid-json", errors=[fault]) from None
    if too_deep(document):
        fault = FieldFault(field="body", detail=f"nesting is over {NESTING_MAX}")
        raise Problem(422, "the body is nested too deeply", slug="invalid-json", errors=[fault])
    return document


def by_hand(answer: Callable[[Request], Coroutine[Any, Any, Response]]) -> Callable[[Any], Any]:
    """Let a route that is asked a thousand times a second read its request itself.

    What it decorates says what the route takes, for the document. `direct` answers such a route
    before the framework, whose own reading costs more than the answer.
    """

    def mark(endpoint: Any) -> Any:
        setattr(endpoint, _BY_HAND, answer)
        return endpoint

    return mark


def is_by_hand(route: BaseRoute) -> TypeGuard[APIRoute]:
    """Whether a route reads its request itself."""
    return isinstance(route, APIRoute) and hasattr(route.endpoint, _BY_HAND)


def scoped_router(scope: Scope, *, prefix: str = "/v1", tags: list[str]) -> APIRouter:
    """Return a router whose routes need a token with this scope."""

    class _ScopedRoute(APIRoute):
        required = scope

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            answer = getattr(self.endpoint, _BY_HAND, None) or super().get_route_handler()

            async def handle(request: Request) -> Response:
                request.state.caller = admitted(request, scope)
                return await answer(JsonRequest(request.scope, request.receive))

            return handle

    return APIRouter(
        prefix=prefix,
        tags=list(tags),
        route_class=_ScopedRoute,
        dependencies=[Security(_bearer, scopes=[scope.value])],
        responses=documented(*COMMON_PROBLEMS),
    )


def admitted(request: Request, scope: Scope) -> Caller:
    """Return who asks. Raises Problem when they may not, or not now."""
    api = request.app.state.api
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    caller: Caller | None = None
    if kind.lower() == "bearer":
        caller = api.tokens.find(token.strip())
    if caller is None:
        detail = "send `Authorization: Bearer <token>` with a token that is configured here"
        if not api.tokens:
            detail = "no token is configured here, so only /health answers; see docs/api.md"
        raise Problem(401, detail, headers={"WWW-Authenticate": "Bearer"})
    wait_seconds = api.rates.wait_seconds(caller.name, time.monotonic())
    if wait_seconds:
        retry = {"Retry-After": str(max(1, round(wait_seconds)))}
        raise Problem(429, "too many requests with this token", headers=retry)
    if scope not in caller.scopes:
        raise Problem(
            403,
            f"this token has no scope {scope.value}",
            headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'},
        )
    return caller
