"""A customer's state as people and programs read it: pure, from state, journeys and now.

`routes/customers` asks it; whatever else shows a customer takes it from here. Times are RFC 3339.
Nothing in here decides: what is left of a cap is what the guard would count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from orchestrator.core.contact import address_changed_ms, bounced_at_ms, cap_used
from orchestrator.core.journeys import STAGE
from orchestrator.core.language.scalars import duration_text
from orchestrator.core.offers.ledger import is_open
from orchestrator.protocol.outputs import rfc3339

if TYPE_CHECKING:
    from orchestrator.core.customer import Attribute, Customer, Enrollment
    from orchestrator.core.journeys import Journeys

_TIME = "2026-11-22T10:00:00.000Z"


class AttributeView(BaseModel):
    """A profile attribute, and whose word it is."""

    value: Any = Field(examples=["ES"])
    time: str = Field(examples=[_TIME])
    source: str = Field(examples=["/crm"])


class ConsentView(BaseModel):
    """The customer's newest word on a class of messages on a channel; `*` is every channel."""

    channel: str = Field(examples=["email"])
    message_class: str = Field(alias="class", examples=["promotional"])
    granted: bool
    time: str = Field(examples=[_TIME])
    source: str = Field(examples=["/shop"])


class EnrollmentView(BaseModel):
    """One journey that the customer is in, or whose messages are still on their way."""

    id: str = Field(examples=["cart_abandonment/k1#1"])
    journey: str = Field(examples=["cart_abandonment"])
    version: int = Field(examples=[1])
    entered_at: str = Field(examples=[_TIME])
    step: str | None = Field(description="null when it has run to its end", examples=["an_hour"])
    due: str | None = Field(description="when the step is taken next", examples=[_TIME])
    held: str | None = Field(description="why the step may not act yet", examples=[None])
    open_commands: list[str] = Field(description="emitted and not final", examples=[["9f31…"]])


class PromiseView(BaseModel):
    """An offer that the customer may count on."""

    offer: str = Field(examples=["welcome_10"])
    granted_at: str = Field(examples=[_TIME])
    expires_at: str = Field(examples=[_TIME])
    channel: str | None = Field(examples=["email"])
    provisional: bool


class CapView(BaseModel):
    """A frequency cap of the shop, and how much of it is left now."""

    message_class: str = Field(alias="class", examples=["promotional"])
    channel: str | None = Field(examples=["email"])
    journey: str | None = Field(examples=[None])
    per: str = Field(examples=["7d"])
    max: int = Field(examples=[3])
    left: int = Field(examples=[2])


class OrderView(BaseModel):
    """An order that still counts."""

    order_id: str = Field(examples=["1001"])
    time: str = Field(examples=[_TIME])
    cancelled: bool
    items: list[dict[str, Any]] = Field(
        examples=[[{"sku": "tent-2", "quantity": 1, "returned": 0}]]
    )


class CustomerView(BaseModel):
    """Everything that decisions about a customer know, as of the newest one."""

    id: str = Field(examples=["ana"])
    other_ids: list[str] = Field(description="absorbed into this customer", examples=[["web-1"]])
    as_of: str = Field(description="the newest decision", examples=[_TIME])
    erased_at: str | None = Field(description="nothing from before it is known", examples=[None])
    sequence: int = Field(description="commands so far", examples=[12])
    stage: str | None = Field(examples=["purchase"])
    attributes: dict[str, AttributeView]
    consents: list[ConsentView]
    bounced: dict[str, str] = Field(description="dead addresses, by channel: since when")
    talking_until: str | None = Field(description="a person is talking to the customer")
    enrollments: list[EnrollmentView]
    promises: list[PromiseView]
    caps: list[CapView]
    orders: list[OrderView]


def customer_view(customer: Customer, journeys: Journeys | None, now_ms: int) -> CustomerView:
    """Return what is known of a customer."""
    attributes = customer.attributes
    stage = attributes.get(STAGE)
    contact = customer.contact
    return CustomerView(
        id=customer.id,
        other_ids=sorted(customer.absorbed),
        as_of=rfc3339(customer.now_ms),
        erased_at=None if customer.erased is None else rfc3339(customer.erased.at_ms),
        sequence=customer.sequence,
        stage=_first_stage(journeys) if stage is None else str(stage.value),
        attributes={name: _attribute(one) for name, one in sorted(attributes.items())},
        consents=[_consent(key, one) for key, one in sorted(contact.consents.items())],
        bounced=_bounced(customer, journeys),
        talking_until=(
            rfc3339(contact.talking_until_ms) if contact.talking_until_ms > now_ms else None
        ),
        enrollments=[_enrollment(one) for one in customer.enrollments],
        promises=[
            PromiseView(
                offer=name,
                granted_at=rfc3339(one.granted_ms),
                expires_at=rfc3339(one.expires_at_ms),
                channel=one.channel,
                provisional=one.provisional,
            )
            for name, one in sorted(customer.promises.items())
            if is_open(one, now_ms)
        ],
        caps=_caps(customer, journeys, now_ms),
        orders=[
            OrderView(
                order_id=order.order_id,
                time=rfc3339(order.time_ms),
                cancelled=order.cancelled,
                items=[
                    {
                        "sku": line.product.sku,
                        "category": line.product.category,
                        "quantity": line.quantity,
                        "returned": line.returned,
                    }
                    for line in order.lines
                ],
            )
            for order in customer.orders
        ],
    )


def _first_stage(journeys: Journeys | None) -> str | None:
    if journeys is None or journeys.stages is None:
        return None
    return journeys.stages.rules[0].name


def _attribute(one: Attribute) -> AttributeView:
    return AttributeView(value=one.value, time=rfc3339(one.time_ms), source=one.source)


def _consent(key: str, one: Any) -> ConsentView:
    channel, _, message_class = key.rpartition("/")
    return ConsentView.model_validate(
        {
            "channel": channel,
            "class": message_class,
            "granted": one.granted,
            "time": rfc3339(one.time_ms),
            "source": one.source,
        }
    )


def _enrollment(one: Enrollment) -> EnrollmentView:
    return EnrollmentView(
        id=one.id,
        journey=one.journey,
        version=one.version,
        entered_at=rfc3339(one.entered_at_ms),
        step=one.step,
        due=None if one.wake_at_ms is None else rfc3339(one.wake_at_ms),
        held=one.held,
        open_commands=[command.id for command in one.open_commands],
    )


def _bounced(customer: Customer, journeys: Journeys | None) -> dict[str, str]:
    """Return the channels whose address is dead, unless the profile has a newer one."""
    found = {}
    for channel in sorted(customer.contact.bounced):
        declared = None if journeys is None else journeys.channels.get(channel)
        address_ref = None if declared is None else declared.address_ref
        changed_ms = address_changed_ms(address_ref, customer.attributes)
        at_ms = bounced_at_ms(customer.contact, channel, changed_ms)
        if at_ms is not None:
            found[channel] = rfc3339(at_ms)
    return found


def _caps(customer: Customer, journeys: Journeys | None, now_ms: int) -> list[CapView]:
    caps = () if journeys is None else journeys.shop.caps
    now_ms = max(now_ms, customer.now_ms)
    return [
        CapView.model_validate(
            {
                "class": cap.command_class,
                "channel": cap.channel,
                "journey": cap.journey,
                "per": duration_text(cap.per),
                "max": cap.max,
                "left": max(0, cap.max - cap_used(customer.contact, cap, now_ms)),
            }
        )
        for cap in caps
    ]
