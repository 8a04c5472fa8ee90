"""What a person needs on one screen about a customer: pure, from state, journeys, tasks and now.

Filled by the core's briefing, the same that travels with a task, and by what only the read model
knows. Bounded, whatever the customer has done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import to_builtins
from pydantic import BaseModel, Field

from orchestrator.api.people.actions import NOTE
from orchestrator.api.people.proposing import NotProposedView, ProposedView, offers_view
from orchestrator.api.views import ConsentView, customer_view
from orchestrator.core.people.briefing import context
from orchestrator.core.people.proposals import next_best
from orchestrator.protocol.outputs import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.api.model.tasks import Waiting
    from orchestrator.core.customer import Customer, Enrollment
    from orchestrator.core.journeys import Journeys

TASKS_MAX: Final = 20
_CONSENTS_MAX: Final = 40
_CASE: Final = "case.opened"
_TIME: Final = "2026-11-22T10:00:00.000Z"


class NoteView(BaseModel):
    """The newest note of one of our people."""

    text: str = Field(examples=["calls back at 5"])
    time: str = Field(examples=[_TIME])
    source: str = Field(description="who wrote it", examples=["/api/eva"])


class BoughtLine(BaseModel):
    """A line of an order; `returned` pieces came back or were cancelled."""

    sku: str = Field(examples=["tent-2"])
    quantity: int = Field(examples=[1])
    returned: int = Field(examples=[0])
    category: str | None = Field(examples=["outdoor"])


class BoughtOrder(BaseModel):
    """An order, with its first lines."""

    order_id: str = Field(examples=["1001"])
    time: str = Field(examples=[_TIME])
    cancelled: bool
    items: list[BoughtLine]


class HeldOffer(BaseModel):
    """An offer that the customer may count on; no code while it is provisional."""

    offer: str = Field(examples=["winter_sale"])
    text: str | None = Field(examples=["20 % off what keeps you warm"])
    code: str | None = Field(examples=["WARM20"])
    valid_until: str = Field(examples=[_TIME])
    provisional: bool
    channel: str | None = Field(description="where it was told first", examples=["email"])


class ToldMessage(BaseModel):
    """What was sent last; `fate` is sent, cancelled, or what its sender has reported since."""

    command_id: str = Field(examples=["9f31…"])
    channel: str = Field(examples=["email"])
    template: str = Field(examples=["thank_you"])
    journey: str = Field(examples=["post_purchase"])
    time: str = Field(examples=[_TIME])
    fate: str = Field(examples=["opened"])
    fate_time: str | None = Field(examples=[_TIME])
    seen: bool


class RunningJourney(BaseModel):
    """A journey that the customer is in."""

    enrollment: str = Field(examples=["cart_abandonment/k1#1"])
    journey: str = Field(examples=["cart_abandonment"])
    kind: str | None = Field(examples=["promotional"])
    step: str = Field(examples=["an_hour"])
    since: str = Field(examples=[_TIME])
    due: str | None = Field(description="when the step is taken next", examples=[_TIME])
    held: str | None = Field(description="why it may not act yet", examples=[None])


class OpenCase(BaseModel):
    """A case of the customer that a journey follows."""

    case_id: str = Field(examples=["c-7"])
    since: str = Field(examples=[_TIME])
    enrollment: str = Field(examples=["service_case/c-7#1"])


class TaskView(BaseModel):
    """Something that one of our people has to do."""

    task_id: str = Field(examples=["4be1…"])
    customer: str = Field(examples=["ana"])
    queue: str = Field(examples=["callcenter"])
    priority: int = Field(description="of its journey; greater is more urgent", examples=[95])
    journey: str = Field(examples=["service_case"])
    step: str = Field(examples=["to_a_person"])
    template: str | None = Field(description="what to do", examples=["service_case"])
    channel: str = Field(examples=["callcenter"])
    enrollment: str = Field(examples=["service_case/c-7#1"])
    created_at: str = Field(examples=[_TIME])
    expires_at: str = Field(examples=[_TIME])
    claimed_by: str | None = Field(examples=["eva via callcenter"])
    claimed_at: str | None = Field(examples=[_TIME])


class CustomerContext(BaseModel):
    """Who the customer is, what they have, what they were told, and what may be offered now.

    Everything is the newest first, and `may_offer` best first.
    """

    customer: str = Field(examples=["ana"])
    as_of: str = Field(description="the newest decision", examples=[_TIME])
    locale: str = Field(examples=["es-ES"])
    stage: str | None = Field(examples=["purchase"])
    attributes: dict[str, Any]
    note: NoteView | None
    talking_until: str | None = Field(
        description="a person is talking to the customer; promotions wait", examples=[None]
    )
    orders: list[BoughtOrder]
    consents: list[ConsentView]
    unreachable: dict[str, str] = Field(description="dead addresses, by channel: since when")
    promises: list[HeldOffer]
    messages: list[ToldMessage]
    journeys: list[RunningJourney]
    tasks: list[TaskView]
    cases: list[OpenCase]
    may_offer: list[ProposedView]
    may_not_offer: list[NotProposedView]


def context_view(
    customer: Customer,
    journeys: Journeys,
    tasks: Iterable[Waiting],
    *,
    channel: str,
    now_ms: int,
) -> CustomerContext:
    """Return what a person has to know who works on `channel`."""
    now_ms = max(now_ms, customer.now_ms)
    found = to_builtins(context(journeys, customer, now_ms, channel))
    known = customer_view(customer, journeys, now_ms)
    offers = offers_view(next_best(journeys, customer, now_ms, channel))
    note = customer.attributes.get(NOTE)
    running = {one.id: one for one in customer.enrollments}
    return CustomerContext(
        customer=customer.id,
        as_of=known.as_of,
        locale=found["locale"],
        stage=known.stage,
        attributes={name: one for name, one in found["attributes"].items() if name != NOTE},
        note=None
        if note is None
        else NoteView(text=str(note.value), time=rfc3339(note.time_ms), source=note.source),
        talking_until=found["talking_until"],
        orders=found["orders"],
        consents=known.consents[:_CONSENTS_MAX],
        unreachable=known.bounced,
        promises=found["promises"],
        messages=found["messages"],
        journeys=[
            RunningJourney(**one, **_running(running[one["enrollment"]], journeys))
            for one in found["journeys"]
        ],
        tasks=[task_view(one, journeys) for one in tasks],
        cases=_cases(customer, journeys),
        may_offer=offers.proposed,
        may_not_offer=offers.not_proposed,
    )


def task_view(one: Waiting, journeys: Journeys | None) -> TaskView:
    """Return a task as a list shows it."""
    task = one.task
    return TaskView(
        task_id=task.id,
        customer=one.customer,
        queue=one.queue,
        priority=one.priority,
        journey=task.journey,
        step=task.step,
        template=_template(one, journeys),
        channel=task.channel,
        enrollment=task.enrollment,
        created_at=rfc3339(task.created_ms),
        expires_at=rfc3339(task.expires_at_ms),
        claimed_by=task.claimed_by,
        claimed_at=None if task.claimed_ms is None else rfc3339(task.claimed_ms),
    )


def _template(one: Waiting, journeys: Journeys | None) -> str | None:
    task = one.task
    journey = None if journeys is None else journeys.versions.get((task.journey, task.version))
    steps = () if journey is None else journey.steps
    words = (step.task for step in steps if step.id == task.step)
    return next((word.template for word in words if word is not None), None)


def _running(one: Enrollment, journeys: Journeys) -> dict[str, Any]:
    journey = journeys.versions.get((one.journey, one.version))
    return {
        "kind": None if journey is None else journey.kind.value,
        "due": None if one.wake_at_ms is None else rfc3339(one.wake_at_ms),
        "held": one.held,
    }


def _cases(customer: Customer, journeys: Journeys) -> list[OpenCase]:
    """Return the cases: what a journey that a case enters is still about."""
    found = []
    for one in sorted(customer.enrollments, key=lambda one: (-one.entered_at_ms, one.id)):
        plan = journeys.plans.get((one.journey, one.version))
        if plan is None or plan.entry.on != _CASE or one.step is None:
            continue
        found.append(
            OpenCase(case_id=one.key or one.id, since=rfc3339(one.entry_time_ms), enrollment=one.id)
        )
    return found[:TASKS_MAX]
