"""What may be shown to a visitor now, and the question whether it may be promised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from orchestrator.api.access import by_hand, scoped_router
from orchestrator.api.people import actions
from orchestrator.api.people.asking import Said, ask, no_answer
from orchestrator.api.people.proposing import NextBestView
from orchestrator.api.problems import Problem, documented
from orchestrator.api.routes.customers import CustomerId, check_id
from orchestrator.api.routes.people import ChannelName, check_channel, published
from orchestrator.api.tokens import Scope
from orchestrator.api.waiting import After, caught_up
from orchestrator.core.encoded.state import UnknownStateFormat
from orchestrator.protocol.outputs import rfc3339

if TYPE_CHECKING:
    from orchestrator.api.application import Api
    from orchestrator.core.journeys import Journeys

_seen = scoped_router(Scope.READ, tags=["offers"])
_acted = scoped_router(Scope.ACT, tags=["offers"])
routers = (_seen, _acted)

_TIME: Final = "2026-11-22T10:00:00.000Z"
_ANSWERS: Final = frozenset({"offer_granted", "offer_refused"})


class Question(BaseModel):
    """Who asks, and where it would be shown."""

    model_config = ConfigDict(extra="forbid")

    channel: str | None = Field(default=None, min_length=1, max_length=128, examples=["web"])
    by: actions.By


class Grant(BaseModel):
    """The owner's word, committed: show it only when `granted` is true."""

    granted: bool
    offer: str = Field(examples=["free_shipping"])
    channel: str | None = Field(examples=["web"])
    text: str | None = Field(description="what to show", examples=["Free shipping this weekend"])
    code: str | None = Field(description="none while it is provisional", examples=[None])
    expires_at: str | None = Field(examples=[_TIME])
    provisional: bool
    reason: str | None = Field(description="why not", examples=[None])
    detail: str | None = Field(examples=[None])
    otherwise: str | None = Field(description="a template to show instead", examples=[None])
    receipt: str = Field(examples=["r1.kZSrdG91Y2hwb2ludHMDzQTSAQ"])


async def _next_best(request: Request) -> Response:
    api: Api = request.app.state.api
    query = request.query_params
    await caught_up(request, query.get("after"), request.headers.get("x-after"))
    customer_id, channel = request.path_params["customer_id"], query.get("channel")
    check_id(customer_id)
    journeys = published(api)
    check_channel(journeys, channel)
    model = api.model
    try:
        body = api.proposals.answer(
            customer_id,
            channel,
            state_of=model.state,
            journeys=journeys,
            now_ms=model.now_ms(),
        )
    except UnknownStateFormat as error:
        raise Problem(
            503, f"a newer release has written this customer: {error}", slug="newer-release"
        ) from None
    return Response(body, media_type="application/json")


@_seen.get(
    "/customers/{customer_id}/next-best",
    summary="What may be shown to a visitor now",
    dependencies=[After],
    response_model=NextBestView,
    responses=documented(409),
)
@by_hand(_next_best)
async def get_next_best(customer_id: CustomerId, channel: ChannelName = None) -> Response:
    """Propose offers, best first, and say why others not; it promises nothing.

    Nothing has to be known of the visitor. An answer may be a second old.
    """
    raise NotImplementedError  # `_next_best` answers; this says what it takes.


@_acted.post(
    "/customers/{customer_id}/offers/{offer}/request",
    summary="Ask whether an offer may be shown",
    dependencies=[After],
    responses=documented(409, 504),
)
async def post_request(
    request: Request,
    customer_id: CustomerId,
    offer: Annotated[str, Path(min_length=1, max_length=128, examples=["free_shipping"])],
    question: Question,
    wait: Annotated[float, Query(gt=0, le=10, description="seconds; then show nothing")] = 2,
) -> Grant:
    """Answer when the owner of the customer has granted or refused it, and that is committed.

    After a timeout (504) show nothing. The promise may have been made all the same: who asks again
    is told the same again.
    """
    api: Api = request.app.state.api
    journeys = published(api)
    check_channel(journeys, question.channel)
    caller = request.state.caller.name
    data = {"offer": offer, "channel": question.channel, "by": actions.who(caller, question.by)}
    asked = await ask(api, caller, customer_id, Said("offer.requested", data), seconds=wait)
    said = None if asked.answer is None else asked.answer.entry(*_ANSWERS)
    if asked.answer is not None and said is None:
        # Such as that the customer was erased meanwhile.
        said = {"kind": "offer_refused", "reason": asked.answer.outcome}
    if said is None:
        raise no_answer(asked, f"no answer within {wait:g} s: show nothing")
    granted = said["kind"] == "offer_granted"
    provisional = bool(said.get("provisional"))
    words = _words(api, journeys, customer_id, offer) if granted else {}
    if provisional:
        words["code"] = None
    expires_ms = said.get("expires_at_ms")
    return Grant(
        granted=granted,
        offer=offer,
        channel=question.channel,
        text=words.get("text"),
        code=words.get("code"),
        expires_at=None if expires_ms is None else rfc3339(int(expires_ms)),
        provisional=provisional,
        reason=said.get("reason"),
        detail=said.get("detail"),
        otherwise=said.get("otherwise"),
        receipt=asked.receipt,
    )


def _words(api: Api, journeys: Journeys, customer_id: str, offer: str) -> dict[str, Any]:
    """Return what an offer says in the customer's language, as far as it is known here."""
    terms = journeys.offers.get(offer)
    if terms is None:
        return {}
    try:
        customer = api.model.customer(customer_id)
    except UnknownStateFormat:
        customer = None  # The shop's language will do.
    locale = None if customer is None else customer.attributes.get("locale")
    languages = (
        *([str(locale.value)] if locale is not None and locale.value else []),
        journeys.shop.locale,
    )
    return {"text": terms.offer.text_in(languages), "code": terms.offer.code}
