"""Around every request: a bound on its body and its time, safe headers, one log line, its metrics.

Plain ASGI, outermost. The line has the route's template and the caller's name, never a path, a
query, a header or a body: those may hold what a customer is.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import structlog

from orchestrator.api.problems import Problem, failed

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from orchestrator.api.telemetry import Telemetry

_log = structlog.get_logger()

_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Under way at one time; more would only wait for each other.
REQUESTS_MAX: Final = 512
_NO_ROUTE: Final = "(none)"


class Shield:
    """The middleware; `body_bytes_max` and `seconds_max` bound one request."""

    def __init__(
        self, app: ASGIApp, *, telemetry: Telemetry, body_bytes_max: int, seconds_max: float
    ) -> None:
        self._app = app
        self._telemetry = telemetry
        self._body_bytes_max = body_bytes_max
        self._seconds_max = seconds_max
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send, self._body_bytes_max)
        self._under_way += 1
        started = time.perf_counter()
        scope.setdefault("state", {})
        try:
            await self._answer(scope, exchange)
        finally:
            self._under_way -= 1
            seconds = time.perf_counter() - started
            route = _route(scope)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            status = exchange.status or 499  # Who asked has gone, as nginx counts it.
            self._telemetry.answered(route, method, status, seconds)
            caller = scope["state"].get("caller")
            _log.info(
                "answered",
                route=route,
                method=method,
                status=status,
                caller=None if caller is None else caller.name,
                ms=round(seconds * 1000, 1),
            )

    async def _answer(self, scope: Scope, exchange: _Exchange) -> None:
        if self._under_way > REQUESTS_MAX:
            problem = Problem(503, "too much is asked at once", headers={"Retry-After": "1"})
            await problem.response()(scope, exchange.receive, exchange.send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"")
        if length.isdigit() and int(length) > self._body_bytes_max:
            await self._too_large().response()(scope, exchange.receive, exchange.send)
            return
        try:
            async with asyncio.timeout(self._seconds_max):
                await self._app(scope, exchange.receive, exchange.send)
        except _TooLargeError:
            problem = self._too_large()
        except TimeoutError:
            problem = Problem(
                503,
                f"no answer within {self._seconds_max:g} s; ask again",
                slug="timeout",
                headers={"Retry-After": "1"},
            )
        except Problem as found:
            problem = found
        except Exception as error:  # noqa: BLE001 - Whatever it is, who asked gets an answer.
            problem = failed(_route(scope), error)
        else:
            return
        if exchange.status is None:
            await problem.response()(scope, exchange.receive, exchange.send)

    def _too_large(self) -> Problem:
        return Problem(413, f"the body is over {self._body_bytes_max} bytes")


def _route(scope: Scope) -> str:
    """Return the template of the route that was found: a label, and no path of anybody's."""
    template: str = getattr(scope.get("route"), "path", _NO_ROUTE)
    return template


class _TooLargeError(Exception):
    """More of a body has come than is allowed."""


class _Exchange:
    """Counts what is received, and puts safe headers on what is sent."""

    def __init__(self, receive: Receive, send: Send, body_bytes_max: int) -> None:
        self._receive = receive
        self._send = send
        self._left = body_bytes_max
        self.status: int | None = None

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise _TooLargeError
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers: list[Any] = list(message.get("headers", ()))
            given = {name.lower() for name, _ in headers}
            headers += [header for header in _HEADERS if header[0] not in given]
            message = {**message, "headers": headers}
        await self._send(message)
