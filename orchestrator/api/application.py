"""Puts the routes together: one FastAPI application, its document, and what every route shares.

A new subject is a file in `routes/` with routers made by `scoped_router`, named in `_ROUTERS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from orchestrator import __version__
from orchestrator.api import problems
from orchestrator.api.access import RateLimit, scoped_router
from orchestrator.api.direct import Direct
from orchestrator.api.people.proposing import Proposals
from orchestrator.api.problems import ProblemDetails
from orchestrator.api.routes import (
    customers,
    definitions,
    events,
    health,
    journeys,
    offers,
    pauses,
    people,
    tasks,
)
from orchestrator.api.screen import routes as screen
from orchestrator.api.screen.sessions import Sessions
from orchestrator.api.shield import Shield
from orchestrator.api.tokens import Scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from orchestrator.api.ingest import Ingest
    from orchestrator.api.model.read_model import ReadModel
    from orchestrator.api.telemetry import Telemetry
    from orchestrator.api.tokens import Tokens
    from orchestrator.core.language.shop import Channel
    from orchestrator.settings import Settings

    SeeToTopics = Callable[[Settings, Mapping[str, Channel]], Awaitable[None]]

_ROUTERS = (
    health.router,
    events.router,
    customers.router,
    journeys.router,
    *offers.routers,
    *definitions.routers,
    *pauses.routers,
    *people.routers,
    *tasks.routers,
    *screen.routers,
)
_about = scoped_router(Scope.READ, tags=["about"])


@dataclass(slots=True)
class Api:
    """What every route works with: `request.app.state.api`.

    `inputs` are the topics that receipts may name; `see_to_topics` creates those of channels that
    are published.
    """

    settings: Settings
    tokens: Tokens
    model: ReadModel
    ingest: Ingest
    telemetry: Telemetry
    inputs: frozenset[str]
    see_to_topics: SeeToTopics
    rates: RateLimit = field(init=False)
    proposals: Proposals = field(default_factory=Proposals)
    sessions: Sessions = field(init=False)

    def __post_init__(self) -> None:
        secret = self.settings.api_session_secret
        text = "" if secret is None else secret.get_secret_value()
        self.sessions = Sessions(self.tokens, text)
        self.rates = RateLimit(self.settings.api_requests_per_second)


@_about.get("/openapi.json", summary="This document", response_class=JSONResponse)
async def get_document(request: Request) -> dict[str, Any]:
    """Return the OpenAPI document of this release."""
    return document(request.app)


def create_application(api: Api) -> FastAPI:
    """Return the application around what its routes work with."""
    application = _with_routes()
    application.state.api = api
    problems.install(application)
    application.add_middleware(
        Direct, routes=[route for router in _ROUTERS for route in router.routes]
    )
    application.add_middleware(  # The last one is the outermost.
        Shield,
        telemetry=api.telemetry,
        body_bytes_max=api.settings.api_body_bytes_max,
        seconds_max=api.settings.api_timeout_seconds,
    )
    return application


def _with_routes() -> FastAPI:
    application = FastAPI(
        title="Journey orchestrator",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for router in (*_ROUTERS, _about):
        application.include_router(router)
    return application


def written_document() -> bytes:
    """Return the document as it is written to docs/openapi.json."""
    application = _with_routes()
    made = document(application)
    return orjson.dumps(made, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"


def document(application: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    made = get_openapi(
        title=application.title,
        version=application.version,
        openapi_version="3.1.0",
        description=(
            "Events in; customers, their timelines and explanations out. docs/api.md tells the"
            " rest. Errors are problem details (RFC 9457)."
        ),
        routes=application.routes,
    )
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    details = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(details.pop("$defs", {}))
    schemas["ProblemDetails"] = details
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return made
