"""Short ways to write journeys, events and histories in tests. Plain data in, real models out."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.core.customer import Customer
from orchestrator.core.decide import decide
from orchestrator.core.encoded.state import decode_customer, encode_customer
from orchestrator.core.event import BODY_BYTES, IDENTITY_BYTES, Event, Input, TimerFired, Visit
from orchestrator.core.expressions.templates import NO_TEMPLATES, Templates
from orchestrator.core.journeys import Journeys, Mode
from orchestrator.core.language.journey import Journey
from orchestrator.core.language.offers import Offer
from orchestrator.core.language.shop import Channel, Shop

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.core.command import Command
    from orchestrator.core.decision import Decision, LogEntry

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
# Sunday, 22 November 2026, 10:00 UTC.
START = 1_795_341_600_000

# Consent is what test_guard is about; everywhere else it would only be in the way.
CHANNELS = {
    "email": Channel(kind="message", address_ref="profile.email", needs_consent=False),
    "sms": Channel(kind="message", address_ref="profile.phone", needs_consent=False),
    "push": Channel(kind="message", address_ref="profile.push_token", needs_consent=False),
    "ads": Channel(kind="audience", address_ref="profile.hashed_email", needs_consent=False),
    "callcenter": Channel(kind="task", address_ref="profile.phone"),
    "webhook": Channel(kind="webhook"),
}


def send(step: str, channel: str = "email", *, goes_to: str | None = None, **fields: Any) -> Any:
    """Return a step that sends a template named like the step."""
    return {"id": step, "send": {"channel": channel, "template": step, **fields}, "next": goes_to}


def wait(step: str, duration: str) -> dict[str, Any]:
    """Return a step that waits."""
    return {"id": step, "wait": duration}


def journey(
    name: str,
    on: str | None,
    steps: Iterable[Mapping[str, Any]],
    *,
    exits: Iterable[str | Mapping[str, Any]] = (),
    goal: Mapping[str, Any] | None = None,
    kind: str = "promotional",
    version: int = 1,
    **entry: Any,
) -> Journey:
    """Return a journey entered by the event type `on`; other keywords belong to its entry."""
    return Journey.model_validate(
        {
            "name": name,
            "version": version,
            "owner": "crm@example.com",
            "kind": kind,
            "stage": "consideration",
            "entry": {"on": on, **entry},
            "goal": goal,
            "exits": [{"on": one} if isinstance(one, str) else one for one in exits],
            "steps": list(steps),
        }
    )


def shop_of(
    *journeys: Journey,
    shop: Shop | None = None,
    mode: Mode = "test",
    templates: Templates = NO_TEMPLATES,
    offers: Mapping[str, Any] | None = None,
) -> Journeys:
    """Return journeys in a shop with the usual channels, and these offers."""
    made = {name: offer(**fields) for name, fields in (offers or {}).items()}
    return Journeys(shop or Shop(), CHANNELS, journeys, mode, templates, offers=made)


def offer(**fields: Any) -> Offer:
    """Return an offer of 10 % for thirty days, unless something else is said."""
    told = {"en": "ten per cent off"}
    default = {"owner": "crm@example.com", "text": told, "gives": {"percent_off": 10}}
    default |= {} if "until" in fields else {"valid_for": "30d"}
    return Offer.model_validate(default | fields)


def event(
    type_: str,
    event_id: str,
    *,
    at: int = START,
    customer: str = "ana",
    source: str = "/shop",
    backfill: bool = False,
    **data: Any,
) -> Event:
    """Return an event as the codec would; keywords are its data."""
    body = orjson.dumps([type_, customer, data], option=orjson.OPT_SORT_KEYS)
    identity = f"{source}\0{event_id}".encode()
    return Event(
        source=source,
        id=event_id,
        type=type_,
        subject=customer,
        time_ms=at,
        data=data,
        identity=blake2b(identity, digest_size=IDENTITY_BYTES).digest(),
        body=blake2b(body, digest_size=BODY_BYTES).digest(),
        backfill=backfill,
    )


def item(sku: str, quantity: int = 1, **fields: Any) -> dict[str, Any]:
    """Return a line of an order or a cart."""
    return {"sku": sku, "quantity": quantity, **fields}


def purchase(order_id: str, *skus: str, at: int = START, **fields: Any) -> Event:
    """Return a purchase of one piece of each article."""
    data = {"items": [item(sku) for sku in skus], "total": "129.00", "currency": "EUR"} | fields
    return event("purchase", f"ord-{order_id}", at=at, order_id=order_id, **data)


class Story:
    """One customer living through a history; each step is decided and stored as in production."""

    def __init__(self, journeys: Journeys, customer: str = "ana", now: int = START) -> None:
        self.journeys = journeys
        self.customer = Customer(customer)
        self.now = now
        self.decisions: list[Decision] = []

    def tell(self, *events: Event) -> Decision:
        """Let events happen now, in this order; return the last decision."""
        for one in events:
            self._take(one)
        return self.decisions[-1]

    def pass_time(self, duration: int) -> None:
        """Let time pass; waits that come due on the way fire when they are due."""
        until = self.now + duration
        while (due := self.wake_at) is not None and due <= until:
            self.now = max(self.now, due)
            self._take(TimerFired(due))
        self.now = until

    def visit(self, name: str, *, at: int | None = None, version: int = 1) -> Decision:
        """Let a journey's time come, at `at` (now by default); None of its own is `introduce`."""
        return self._take(Visit(name, version, self.now if at is None else at))

    def introduce(self, name: str, *, version: int = 1) -> Decision:
        """Let a journey look at the customer because it is new."""
        return self._take(Visit(name, version))

    def fire(self) -> Decision:
        """Fire what is due now, like a driver after an outage."""
        return self._take(TimerFired(self.wake_at or self.now))

    @property
    def wake_at(self) -> int | None:
        """When the customer has to be woken."""
        return self.decisions[-1].wake_at_ms if self.decisions else None

    @property
    def commands(self) -> list[Command]:
        """Everything that went out, in order."""
        return [command for decision in self.decisions for command in decision.commands]

    @property
    def entries(self) -> list[LogEntry]:
        """The journey log, in order."""
        return [entry for decision in self.decisions for entry in decision.entries]

    @property
    def sent(self) -> list[str]:
        """The templates of all messages that went out."""
        return [c.template or "" for c in self.commands if c.type == "message.send"]

    @property
    def standing_in(self) -> dict[str, str | None]:
        """The enrollments, and the wait each stands in."""
        return {one.id: one.step for one in self.customer.enrollments}

    def _take(self, input_: Input) -> Decision:
        decision = decide(self.journeys, self.customer, input_, self.now)
        self.decisions.append(decision)
        self.customer = decode_customer(encode_customer(decision.customer))
        return decision
