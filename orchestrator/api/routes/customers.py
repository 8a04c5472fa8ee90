"""One customer: what is known, what happened, and why something was or was not sent."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import orjson
from fastapi import Path, Query, Request
from pydantic import BaseModel, Field

from orchestrator.api.access import scoped_router
from orchestrator.api.problems import FieldFault, Problem, documented
from orchestrator.api.tokens import Scope
from orchestrator.api.views import CustomerView, customer_view
from orchestrator.api.waiting import After
from orchestrator.core.encoded.state import UnknownStateFormat
from orchestrator.protocol.codec import CUSTOMER_ID_BYTES_MAX
from orchestrator.protocol.outputs import rfc3339
from orchestrator.timeline.explanation import as_json, explain
from orchestrator.timeline.record import read_record

if TYPE_CHECKING:
    from orchestrator.api.application import Api
    from orchestrator.api.model.store import Entry
    from orchestrator.core.customer import Customer

router = scoped_router(Scope.READ, tags=["customers"])

_PAGE_MAX: Final = 200
_FOUND: Final = documented(404, 409)
CustomerId = Annotated[
    str, Path(description="The customer id.", min_length=1, max_length=256, examples=["ana"])
]


class TimelineEntry(BaseModel):
    """One decision about the customer: when, what caused it, what it did."""

    id: int = Field(description="order within the customer; newer is greater", examples=[4711])
    at: str = Field(examples=["2026-11-22T10:00:00.000Z"])
    cause: dict[str, Any] = Field(
        examples=[{"kind": "event", "source": "/shop", "id": "ord-1001", "type": "purchase"}]
    )
    outcome: str = Field(examples=["applied"])
    entries: list[dict[str, Any]] = Field(
        examples=[[{"kind": "entered", "enrollment": "post_purchase/1001#1"}]]
    )


class TimelinePage(BaseModel):
    """A page of a timeline, the newest first."""

    customer: str = Field(examples=["ana"])
    entries: list[TimelineEntry]
    next: int | None = Field(description="`before` of the next page; null on the last one")


class Story(BaseModel):
    """What was sent and not sent, and why, in sentences; oldest first."""

    customer: str = Field(examples=["ana"])
    moments: list[dict[str, Any]]
    messages: list[dict[str, Any]]
    refused: list[dict[str, Any]]
    unknown_entries: int = Field(description="entries of a newer release", examples=[0])
    complete: bool = Field(description="false when older decisions are not kept any more")


@router.get(
    "/customers/{customer_id}", summary="What is known now", dependencies=[After], responses=_FOUND
)
async def get_customer(request: Request, customer_id: CustomerId) -> CustomerView:
    """Return profile, stage, consents, enrollments, open promises, and what is left of caps."""
    api: Api = request.app.state.api
    model = api.model
    return customer_view(known_customer(api, customer_id), model.journeys, model.now_ms())


@router.get(
    "/customers/{customer_id}/timeline",
    summary="What happened",
    dependencies=[After],
    responses=_FOUND,
)
async def get_timeline(
    request: Request,
    customer_id: CustomerId,
    limit: Annotated[int, Query(ge=1, le=_PAGE_MAX)] = 50,
    before: Annotated[int | None, Query(ge=0, le=2**53, description="`next` of a page")] = None,
    event_type: Annotated[str | None, Query(alias="type", description="of the cause")] = None,
    entry: Annotated[str | None, Query(description="a kind of entry, such as emitted")] = None,
    since: Annotated[datetime | None, Query(description="not older than this")] = None,
) -> TimelinePage:
    """Return decisions, the newest first, a page at a time."""
    api: Api = request.app.state.api
    check_id(customer_id)
    since_ms = None if since is None else round(since.timestamp() * 1000)
    found: list[TimelineEntry] = []
    mark = before
    while len(found) < limit:
        page = api.model.timeline(customer_id, before=mark, limit=_PAGE_MAX)
        for one in page:
            mark = one.row
            if since_ms is not None and one.at_ms < since_ms:
                return TimelinePage(customer=customer_id, entries=found, next=None)
            shown = _entry(one)
            if shown is not None and _wanted(shown, event_type, entry):
                found.append(shown)
                if len(found) == limit:
                    break
        if len(page) < _PAGE_MAX and len(found) < limit:
            mark = None
            break
    if not found and before is None and api.model.state(customer_id) is None:
        raise _unknown()
    return TimelinePage(customer=customer_id, entries=found, next=mark)


@router.get(
    "/customers/{customer_id}/explain",
    summary="Why something was or was not sent",
    dependencies=[After],
    responses=_FOUND,
)
async def get_explanation(request: Request, customer_id: CustomerId) -> Story:
    """Return the customer's story as `orchestrator explain --json` tells it."""
    api: Api = request.app.state.api
    check_id(customer_id)
    kept = api.settings.api_timeline_entries_max
    entries = api.model.timeline(customer_id, limit=kept)
    if not entries and api.model.state(customer_id) is None:
        raise _unknown()
    records = (read_record(one.record) for one in reversed(entries))
    story = explain(customer_id, (one for one in records if one is not None))
    return Story(**as_json(story), complete=len(entries) < kept)


def known_customer(api: Api, customer_id: str) -> Customer:
    """Return a customer. Raises Problem for an id of which nothing is known."""
    check_id(customer_id)
    try:
        customer = api.model.customer(customer_id)
    except UnknownStateFormat as error:
        raise Problem(
            503, f"a newer release has written this customer: {error}", slug="newer-release"
        ) from None
    if customer is None:
        raise _unknown()
    return customer


def check_id(customer_id: str) -> None:
    """Raise Problem for what cannot be a customer id."""
    try:
        size = len(customer_id.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= CUSTOMER_ID_BYTES_MAX:
        fault = FieldFault(
            field="path.customer_id", detail=f"1 to {CUSTOMER_ID_BYTES_MAX} bytes of UTF-8"
        )
        raise Problem(422, "this is no customer id", errors=[fault])


def _unknown() -> Problem:
    return Problem(404, "nothing is known of this customer")


def _entry(one: Entry) -> TimelineEntry | None:
    try:
        record = orjson.loads(one.record)
        return TimelineEntry(
            id=one.row,
            at=record.get("now", rfc3339(one.at_ms)),
            cause=record["cause"],
            outcome=record["outcome"],
            entries=record["entries"],
        )
    except (ValueError, KeyError, AttributeError):
        return None  # Nothing that a worker has written.


def _wanted(shown: TimelineEntry, event_type: str | None, entry: str | None) -> bool:
    if event_type is not None and shown.cause.get("type") != event_type:
        return False
    return entry is None or any(one.get("kind") == entry for one in shown.entries)
