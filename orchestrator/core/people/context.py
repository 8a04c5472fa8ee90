"""What a person needs to know before they talk to a customer, as data: on one screen.

`briefing` fills it; it travels as `context` with `task.create`, and the API shows it beside a
customer. Everything is the newest first, and times are RFC 3339 in UTC.
"""

from __future__ import annotations

from msgspec import Struct


class BoughtLine(Struct, frozen=True, gc=False):
    """One line of an order; `returned` pieces came back or were cancelled."""

    sku: str
    quantity: int
    returned: int
    category: str | None


class BoughtOrder(Struct, frozen=True, gc=False):
    """An order, with its first lines."""

    order_id: str
    time: str
    cancelled: bool
    items: tuple[BoughtLine, ...]


class HeldOffer(Struct, frozen=True, gc=False):
    """A promise that the customer may count on, and on which channel it was told first.

    There is no code while it is provisional. `text` is absent for an offer no longer declared.
    """

    offer: str
    text: str | None
    code: str | None
    valid_until: str
    provisional: bool
    channel: str | None


class ToldMessage(Struct, frozen=True, gc=False):
    """What was sent last. `fate` is sent, cancelled, or what its sender has reported since."""

    command_id: str
    channel: str
    template: str
    journey: str
    time: str
    fate: str
    fate_time: str | None
    seen: bool


class RunningJourney(Struct, frozen=True, gc=False):
    """A journey that the customer is in, and where they stand."""

    enrollment: str
    journey: str
    step: str
    since: str


class ProposedOffer(Struct, frozen=True, gc=False):
    """What may be offered now, after asking (`offer.requested`); `because` says why."""

    offer: str
    text: str
    because: str
    valid_until: str
    provisional: bool


class TaskContext(Struct, frozen=True, gc=False):
    """Who the customer is, what they have, what they were told, and what may be offered now.

    Everything is the newest first, and `proposals` best first; times are RFC 3339 in UTC.
    """

    customer: str
    locale: str
    stage: str | None
    attributes: dict[str, str | int | float | bool]
    orders: tuple[BoughtOrder, ...]
    promises: tuple[HeldOffer, ...]
    messages: tuple[ToldMessage, ...]
    journeys: tuple[RunningJourney, ...]
    proposals: tuple[ProposedOffer, ...]
    talking_until: str | None = None
