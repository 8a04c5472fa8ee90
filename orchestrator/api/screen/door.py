"""The door of the screen: a session instead of a bearer token, forms that are ours, HTML errors.

Routes are made by `session_router`. Who has no session gets the form to sign in, with 401. A bearer
token does not open a page: with one, the answer is what any other route says, and no more.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from orchestrator.api.access import admitted
from orchestrator.api.problems import Problem
from orchestrator.api.screen import pages
from orchestrator.api.screen.sessions import COOKIE, LIFE_SECONDS, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.responses import Response

    from orchestrator.api.tokens import Scope

HOME: Final = "/people"
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_FORM: Final = "application/x-www-form-urlencoded"
_FIELDS_MAX: Final = 20
_OURS: Final = frozenset({"same-origin", "none"})
_CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}


def session_router(scope: Scope) -> APIRouter:
    """Return a router whose pages need a session of a token with this scope."""

    class _SessionRoute(APIRoute):
        required = scope

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            answer = super().get_route_handler()

            async def handle(request: Request) -> Response:
                try:
                    if "authorization" in request.headers:
                        admitted(request, scope)
                    request.state.session = await _session(request, scope)
                    request.state.caller = request.state.session.caller
                    answered = await answer(request)
                except _SignedOutError as error:
                    return pages.sign_in(request, 401, str(error), headers=_CHALLENGE)
                except Problem as problem:
                    answered = pages.failed(request, problem)
                except RequestValidationError:
                    answered = pages.failed(request, Problem(422, "this address is not complete"))
                return remembered(request, answered)

            return handle

    return APIRouter(prefix=HOME, route_class=_SessionRoute, include_in_schema=False)


def sign_in_router(scope: Scope) -> APIRouter:
    """Return the router of the one form that is answered without a session."""

    class _SignInRoute(APIRoute):
        required = scope

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            answer = super().get_route_handler()

            async def handle(request: Request) -> Response:
                try:
                    if "authorization" in request.headers:
                        admitted(request, scope)
                    _check_site(request)
                    request.state.form = await _form(request)
                    return await answer(request)
                except Problem as problem:
                    headers = problem.headers
                    return pages.sign_in(
                        request, problem.status_code, problem.detail, headers=headers
                    )

            return handle

    return APIRouter(prefix=HOME, route_class=_SignInRoute, include_in_schema=False)


def remembered(request: Request, answer: Response) -> Response:
    """Let the browser keep the session of a request as it is now, or forget one that is over."""
    session: Session | None = getattr(request.state, "session", None)
    if session is None:
        return answer
    if session.ended:
        answer.delete_cookie(COOKIE, path=HOME)
        return answer
    now = time.time()
    answer.set_cookie(
        COOKIE,
        request.app.state.api.sessions.sealed(session, now),
        max_age=max(0, int(session.began + LIFE_SECONDS - now)),
        path=HOME,
        httponly=True,
        samesite="strict",
        # A browser keeps such a cookie over plain HTTP on the machine itself only.
        secure=request.url.hostname not in _LOOPBACK,
    )
    return answer


class _SignedOutError(Exception):
    """There is no session, or not any more; the words are for people."""


async def _session(request: Request, scope: Scope) -> Session:
    """Return who asks. Raises Problem when they may not, or when the form is not of our page."""
    api = request.app.state.api
    cookie = request.cookies.get(COOKIE)
    session: Session | None = None
    if cookie is not None:
        session = api.sessions.find(cookie, time.time())
    if session is None:
        raise _SignedOutError("" if cookie is None else "You were signed out. Sign in again.")
    request.state.session = session
    if api.rates.wait_seconds(session.caller.name, time.monotonic()):
        raise Problem(429, "Too many requests at once. Wait a moment.")
    if request.method != "GET":
        _check_site(request)
        request.state.form = await _form(request)
        if not session.is_from_us(request.state.form.get("secret", "")):
            raise Problem(403, "This form is not of your session. Go back and try once more.")
    if not session.may(scope):
        raise Problem(403, f"Your token may not do this: it has no scope “{scope}”.")
    return session


def _check_site(request: Request) -> None:
    """Refuse a form that a page of somebody else has sent, where the browser says so."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in _OURS:
        raise Problem(403, "This form was sent by another site.")


async def _form(request: Request) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM:
        return {}  # Then what the form has to hold is missing, and that is told.
    try:
        text = (await request.body()).decode()
        return dict(parse_qsl(text, max_num_fields=_FIELDS_MAX, encoding="utf-8", errors="strict"))
    except ValueError:
        raise Problem(422, "This form cannot be read.") from None
