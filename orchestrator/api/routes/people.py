"""What an agent sees and does about one customer: context, hand-off, outcome, exit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from orchestrator.api.access import scoped_router
from orchestrator.api.model.tasks import Wanted
from orchestrator.api.people import actions
from orchestrator.api.people.asking import WAIT, Said, Told, tell
from orchestrator.api.people.briefing import TASKS_MAX, CustomerContext, context_view
from orchestrator.api.problems import FieldFault, Problem, documented
from orchestrator.api.routes.customers import CustomerId, known_customer
from orchestrator.api.tokens import Scope
from orchestrator.api.waiting import After
from orchestrator.catalog.findings import instead
from orchestrator.core.rules.erasure import is_forgotten

if TYPE_CHECKING:
    from orchestrator.api.application import Api
    from orchestrator.core.customer import Customer
    from orchestrator.core.journeys import Journeys

_seen = scoped_router(Scope.READ, tags=["people"])
_acted = scoped_router(Scope.ACT, tags=["people"])
routers = (_seen, _acted)

CALL_CENTRE: Final = "callcenter"
_TELLS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": Told, "description": "The effect was seen within the wait."},
    202: {"model": Told, "description": "The broker has the event."},
    **documented(404, 409),
}
ChannelName = Annotated[str | None, Query(max_length=128, examples=["web"])]


class ExitWord(BaseModel):
    """Who takes the customer out."""

    model_config = ConfigDict(extra="forbid")

    by: actions.By


@_seen.get(
    "/customers/{customer_id}/context",
    summary="What a person needs to know who talks to a customer",
    dependencies=[After],
    responses=documented(404, 409),
)
async def get_context(
    request: Request, customer_id: CustomerId, channel: ChannelName = CALL_CENTRE
) -> CustomerContext:
    """Return profile, orders, consents, promises, messages, tasks, and what may be offered now.

    `channel` is where the person works; what may be offered depends on it.
    """
    return context_of(request.app.state.api, customer_id, channel or CALL_CENTRE)


@_acted.post(
    "/customers/{customer_id}/handoff",
    summary="Say that a person talks to the customer, or no longer does",
    status_code=202,
    dependencies=[After],
    response_model=Told,
    responses=_TELLS,
)
async def post_handoff(
    request: Request,
    response: Response,
    customer_id: CustomerId,
    word: actions.Handoff,
    wait: Annotated[float, WAIT] = 0,
) -> Told:
    """Let promotions wait while a person talks; they go on at the end or after the shop's time."""
    _living(request.app.state.api, customer_id)
    caller = request.state.caller.name
    return await _told(request, response, customer_id, actions.handoff(caller, word), wait)


@_acted.post(
    "/customers/{customer_id}/outcome",
    summary="Say what a conversation came to",
    status_code=202,
    dependencies=[After],
    response_model=Told,
    responses=_TELLS,
)
async def post_outcome(
    request: Request,
    response: Response,
    customer_id: CustomerId,
    word: actions.Outcome,
    wait: Annotated[float, WAIT] = 0,
) -> Told:
    """Tell an accepted or rejected offer, an opened or closed case, or a note.

    Every channel follows it at once, as it follows any event.
    """
    _living(request.app.state.api, customer_id)
    caller = request.state.caller.name
    return await _told(request, response, customer_id, actions.outcome(caller, word), wait)


@_acted.post(
    "/customers/{customer_id}/enrollments/{enrollment:path}/exit",
    summary="Take a customer out of a journey",
    status_code=202,
    dependencies=[After],
    response_model=Told,
    responses=_TELLS,
)
async def post_exit(
    request: Request,
    response: Response,
    customer_id: CustomerId,
    enrollment: Annotated[
        str, Path(min_length=1, max_length=512, examples=["cart_abandonment/k1#1"])
    ],
    word: ExitWord,
    wait: Annotated[float, WAIT] = 0,
) -> Told:
    """End one enrollment at once, and recall what it has sent and nobody has delivered yet."""
    customer = _living(request.app.state.api, customer_id)
    if all(one.id != enrollment for one in customer.enrollments):
        raise Problem(404, "the customer is in no journey with this enrollment id")
    said = actions.exit_from(request.state.caller.name, enrollment, word.by)
    return await _told(request, response, customer_id, said, wait)


def context_of(api: Api, customer_id: str, channel: str) -> CustomerContext:
    """Return a customer's context. Raises Problem for who is not known."""
    journeys = published(api)
    check_channel(journeys, channel)
    customer = _living(api, customer_id)
    now_ms = api.model.now_ms()
    tasks = api.model.tasks(Wanted(now_ms, customer=customer_id), TASKS_MAX)
    return context_view(customer, journeys, tasks, channel=channel, now_ms=now_ms)


def _living(api: Api, customer_id: str) -> Customer:
    """Return a customer. Raises Problem for a wrong id, which must not become a new customer."""
    customer = known_customer(api, customer_id)
    if is_forgotten(customer):
        raise Problem(404, "this customer was erased", slug="erased")
    return customer


def published(api: Api) -> Journeys:
    """Return the journeys that run. Raises Problem when nothing is published."""
    journeys = api.model.journeys
    if journeys is None:
        raise Problem(
            503, "no journeys are published yet", slug="not-ready", headers={"Retry-After": "5"}
        )
    return journeys


def check_channel(journeys: Journeys, channel: str | None) -> None:
    """Raise Problem for a channel that nobody has declared."""
    if channel is not None and channel not in journeys.channels:
        fault = FieldFault(
            field="query.channel", detail=f"there is none{instead(channel, journeys.channels)}"
        )
        raise Problem(422, "there is no such channel", errors=[fault])


async def _told(
    request: Request, response: Response, customer_id: str, said: Said, wait: float
) -> Told:
    api: Api = request.app.state.api
    told = await tell(api, request.state.caller.name, customer_id, said, wait_seconds=wait)
    if told.applied:
        response.status_code = 200
    return told
