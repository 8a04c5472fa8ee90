"""Events in: CloudEvents, one or many, and the shapes of collectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi import Request, Response
from pydantic import BaseModel, Field

from orchestrator.api.access import read_json, scoped_router
from orchestrator.api.collectors import Identify, Track, event_of_track, events_of_identify
from orchestrator.api.ingest import Checked, Unavailable
from orchestrator.api.model.effects import receipt_of
from orchestrator.api.problems import FieldFault, Problem
from orchestrator.api.tokens import Scope
from orchestrator.errors import EventRejected

if TYPE_CHECKING:
    from orchestrator.api.application import Api
    from orchestrator.api.model.effects import Position

router = scoped_router(Scope.INGEST, tags=["events"])

EVENTS_MAX: Final = 1_000
_ONE: Final = frozenset({"application/json", "application/cloudevents+json"})
_MANY: Final = frozenset({"application/json", "application/cloudevents-batch+json"})
ERASED: Final = "customer.erased"

_EXAMPLE: Final = {
    "specversion": "1.0",
    "id": "ord-1001",
    "source": "/shop",
    "type": "purchase",
    "subject": "ana",
    "time": "2026-11-22T10:00:00Z",
    "data": {
        "order_id": "1001",
        "total": "129.00",
        "currency": "EUR",
        "items": [{"sku": "tent-2", "category": "outdoor", "quantity": 1, "price": "129.00"}],
    },
}
_EVENT: Final = {
    "type": "object",
    "description": "A CloudEvent 1.0 in structured mode; schemas/events has what each type needs.",
    "required": ["specversion", "id", "source", "type", "subject"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "minLength": 1},
        "type": {"type": "string", "minLength": 1},
        "subject": {"type": "string", "minLength": 1, "maxLength": 256},
        "time": {"type": "string", "format": "date-time"},
        "data": {"type": "object"},
    },
}
_BODY: Final = {
    "required": True,
    "content": {
        "application/cloudevents+json": {"schema": _EVENT, "example": _EXAMPLE},
        "application/cloudevents-batch+json": {
            "schema": {"type": "array", "items": _EVENT, "minItems": 1, "maxItems": EVENTS_MAX},
            "example": [_EXAMPLE],
        },
        "application/json": {
            "schema": {
                "anyOf": [
                    _EVENT,
                    {"type": "array", "items": _EVENT, "minItems": 1, "maxItems": EVENTS_MAX},
                ]
            },
            "example": _EXAMPLE,
        },
    },
}


class Accepted(BaseModel):
    """The broker has every event of the request."""

    receipt: str = Field(
        description="give it to a GET as `after`, and it waits for the effect",
        examples=["r1.kZSrdG91Y2hwb2ludHMDzQTSAQ"],
    )
    accepted: int = Field(examples=[1])


class Result(BaseModel):
    """What became of one event of a batch."""

    index: int = Field(examples=[0])
    status: int = Field(description="202 or 422", examples=[202])
    receipt: str | None = Field(default=None, examples=["r1.kZSrdG91Y2hwb2ludHMDzQTSAQ"])
    errors: list[FieldFault] = Field(default_factory=list)


class Results(BaseModel):
    """What became of a batch of which some were refused; the others are accepted."""

    receipt: str = Field(examples=["r1.kZSrdG91Y2hwb2ludHMDzQTSAQ"])
    accepted: int = Field(examples=[1])
    rejected: int = Field(examples=[1])
    results: list[Result]


@router.post(
    "/events",
    summary="Send one event, or a batch",
    status_code=202,
    response_model=Accepted,
    responses={207: {"model": Results, "description": "Some of the batch are refused."}},
    openapi_extra={"requestBody": _BODY},
)
async def post_events(request: Request) -> Accepted | Response:
    """Answer when the broker has the events; sending one again, with its source and id, is safe.

    A batch is written in its order. Refused ones are told one by one, and do not stop the others.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _ONE | _MANY:
        allowed = ", ".join(sorted(_ONE | _MANY))
        raise Problem(415, f"content-type: allowed: {allowed}")
    document = read_json(await request.body())
    api: Api = request.app.state.api
    caller = request.state.caller
    is_batch = isinstance(document, list)
    if is_batch and kind not in _MANY:
        raise Problem(415, "content-type: a batch is application/cloudevents-batch+json")
    documents = document if isinstance(document, list) else [document]
    if not 0 < len(documents) <= EVENTS_MAX:
        fault = FieldFault(field="events", detail=f"1 to {EVENTS_MAX} of them")
        raise Problem(422, f"a batch holds 1 to {EVENTS_MAX} events", errors=[fault])
    checked: dict[int, Checked] = {}
    faults: dict[int, FieldFault] = {}
    may_erase = Scope.ERASE in caller.scopes
    for index, one in enumerate(documents):
        place = f"events[{index}]" if is_batch else "event"
        found = _check(api, one, place, may_erase=may_erase)
        if isinstance(found, FieldFault):
            faults[index] = found
        else:
            checked[index] = found
    if not checked:
        named = list(faults.values())
        raise Problem(
            422, f"{named[0].field}: {named[0].detail}", slug="invalid-event", errors=named
        )
    positions = dict(zip(checked, await write(api, list(checked.values())), strict=True))
    receipt = receipt_of(positions.values())
    if not faults:
        return Accepted(receipt=receipt, accepted=len(positions))
    results = Results(
        receipt=receipt,
        accepted=len(positions),
        rejected=len(faults),
        results=[_result(index, positions, faults) for index in range(len(documents))],
    )
    return Response(results.model_dump_json(), 207, media_type="application/json")


@router.post("/identify", summary="Say who somebody is", status_code=202)
async def identify(request: Request, said: Identify) -> Accepted:
    """Take an `identify` as collectors send it: traits, and which visitor is which user."""
    return await _collected(request, events_of_identify(said))


@router.post("/track", summary="Say what somebody did", status_code=202)
async def track(request: Request, said: Track) -> Accepted:
    """Take a `track` as collectors send it; what the contract has a word for becomes that."""
    return await _collected(request, [event_of_track(said)])


async def write(api: Api, events: list[Checked]) -> list[Position]:
    """Write checked events. Raises Problem when the broker does not say that it has them."""
    try:
        return await api.ingest.accept(events)
    except Unavailable:
        raise Problem(
            503,
            "the broker has not confirmed the events; send them again, each is applied once",
            headers={"Retry-After": "2"},
        ) from None


def checked_event(api: Api, document: Any, place: str = "event") -> Checked:
    """Return the event of a CloudEvents object. Raises Problem naming the field."""
    found = _check(api, document, place, may_erase=True)
    if isinstance(found, FieldFault):
        raise Problem(422, f"{found.field}: {found.detail}", slug="invalid-event", errors=[found])
    return found


async def _collected(request: Request, documents: list[dict[str, Any]]) -> Accepted:
    api: Api = request.app.state.api
    events = [checked_event(api, one) for one in documents]
    positions = await write(api, events)
    return Accepted(receipt=receipt_of(positions), accepted=len(positions))


def _check(api: Api, document: Any, place: str, *, may_erase: bool) -> Checked | FieldFault:
    try:
        checked = api.ingest.check(document)
    except EventRejected as rejected:
        name, colon, what = rejected.detail.partition(": ")
        if not colon or " " in name:
            return FieldFault(field=place, detail=rejected.detail)
        return FieldFault(field=f"{place}.{name}", detail=what)
    if checked.event.type == ERASED and not may_erase:
        return FieldFault(field=f"{place}.type", detail=f"{ERASED} needs a token of scope erase")
    return checked


def _result(index: int, positions: dict[int, Position], faults: dict[int, FieldFault]) -> Result:
    fault = faults.get(index)
    if fault is not None:
        return Result(index=index, status=422, errors=[fault])
    return Result(index=index, status=202, receipt=receipt_of([positions[index]]))
