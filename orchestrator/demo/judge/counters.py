"""The judge: from what was delivered and what customers did to nine numbers, for either world.

Pure functions over `evidence`. A promotion is about the products that it names, else about those of
the event that brought it about; with neither it is about the whole shop. What is about products
is over with a purchase of one of them, what is about the shop with any purchase after its cause.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.demo.judge.evidence import Delivery, Kind, Order, Touchpoints
from orchestrator.demo.judge.sayings import WELCOME
from orchestrator.demo.shop import quicker_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Two messages closer than this say the same thing at the same time. A second reminder on the next
# day is none of them, in neither world. In seconds of the demo's clock.
SAME_TIME_SECONDS: Final = quicker_seconds("6h")


@dataclass(frozen=True, slots=True)
class Counters:
    """What one world did to its customers in a day; promotions only."""

    after_purchase: int
    """Handed over although the purchase that made it pointless was known when that began."""
    during_purchase: int
    """Handed over after the purchase, but before or while it became known."""
    ads_seconds: float
    """In an ads audience after the purchase, added up over customers and audiences."""
    greeted_as_new: int
    """Greetings for strangers to customers whom the shop knows as loyal."""
    contradicted: int
    """Customers who held two different discounts at one time."""
    twice: int
    """The same message on a second channel that rings, at the same time."""
    without_consent: int
    """Messages and audiences on a channel on which the customer does not want promotions."""
    messages: int
    """Promotional messages in all; audiences are none."""
    most: int
    """Promotional messages to the one customer who got most."""


def judge(
    deliveries: Sequence[Delivery],
    touchpoints: Touchpoints,
    *,
    until: float,
    silent_channels: frozenset[str],
) -> Counters:
    """Count one world's deliveries up to `until`, when the day was over.

    `silent_channels` are those that reach nobody who has not come by themselves, like cards on a
    site: they need no consent, and what they say besides another channel is said once.
    """
    world = _World(touchpoints)
    messages = [d for d in deliveries if d.kind is Kind.MESSAGE]
    reached = [d for d in deliveries if d.kind is not Kind.REMOVED]
    each = Counter(message.customer for message in messages)
    return Counters(
        after_purchase=sum(1 for d in messages if world.is_after_purchase(d)),
        during_purchase=sum(1 for d in messages if world.is_during_purchase(d)),
        ads_seconds=world.ads_seconds(deliveries, until),
        greeted_as_new=sum(1 for d in messages if world.greets_as_new(d)),
        contradicted=world.contradicted(messages),
        twice=_said_twice([d for d in messages if d.channel not in silent_channels], world),
        without_consent=sum(
            1
            for d in reached
            if d.channel not in silent_channels
            and not touchpoints.agreed(d.customer, d.channel, d.began_at)
        ),
        messages=len(messages),
        most=max(each.values(), default=0),
    )


class _World:
    """The touchpoints, by customer."""

    def __init__(self, touchpoints: Touchpoints) -> None:
        self._touchpoints = touchpoints
        self._orders: defaultdict[str, list[Order]] = defaultdict(list)
        for order in touchpoints.orders.values():
            if order.accepted_at is not None:
                self._orders[order.customer].append(order)

    def products(self, delivery: Delivery) -> frozenset[str]:
        """Return what a promotion is about; nothing means the whole shop."""
        return delivery.skus or self._touchpoints.products.get(delivery.trigger, frozenset())

    def ended_by(self, delivery: Delivery) -> Iterable[tuple[float, float | None]]:
        """Yield when each purchase that ends a promotion was accepted, and when it was known."""
        products = self.products(delivery)
        cause_at = self._touchpoints.sent_at.get(delivery.trigger, delivery.ordered_at)
        for order in self._orders[delivery.customer]:
            # What was sent back is no longer theirs.
            if order.returned_at is not None and order.returned_at <= delivery.began_at:
                continue
            accepted_at = order.accepted_at or 0.0
            if products & order.skus if products else accepted_at > cause_at:
                yield accepted_at, self._touchpoints.known_at(order)

    def is_after_purchase(self, delivery: Delivery) -> bool:
        return any(
            known_at is not None and delivery.began_at >= known_at
            for _, known_at in self.ended_by(delivery)
        )

    def is_during_purchase(self, delivery: Delivery) -> bool:
        if self.is_after_purchase(delivery):
            return False
        return any(delivery.ended_at >= accepted_at for accepted_at, _ in self.ended_by(delivery))

    def greets_as_new(self, delivery: Delivery) -> bool:
        if delivery.saying.subject != WELCOME:
            return False
        since = self._touchpoints.loyal_since.get(delivery.customer)
        return since is not None and since <= delivery.began_at

    def ads_seconds(self, deliveries: Sequence[Delivery], until: float) -> float:
        """Add up, over customers and audiences, the time in an audience after the purchase."""
        inside: dict[tuple[str, str], Delivery] = {}
        seconds = 0.0
        for delivery in sorted(deliveries, key=lambda d: d.ended_at):
            where = (delivery.customer, delivery.name)
            if delivery.kind is Kind.ADDED:
                inside.setdefault(where, delivery)
            elif delivery.kind is Kind.REMOVED and where in inside:
                seconds += self._too_long(inside.pop(where), delivery.ended_at)
        return seconds + sum(self._too_long(added, until) for added in inside.values())

    def _too_long(self, added: Delivery, left_at: float) -> float:
        ends = [accepted_at for accepted_at, _ in self.ended_by(added)]
        return max(0.0, left_at - max(added.ended_at, min(ends))) if ends else 0.0

    def contradicted(self, messages: Iterable[Delivery]) -> int:
        """Count customers with two different discounts open; a purchase uses up what there was."""
        promised: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
        for message in messages:
            if message.saying.offer is not None:
                promised[message.customer].append((message.ended_at, message.saying.offer))
        return sum(1 for customer, offers in promised.items() if self._contradict(customer, offers))

    def _contradict(self, customer: str, offers: list[tuple[float, str]]) -> bool:
        bought = sorted(order.accepted_at or 0.0 for order in self._orders[customer])
        between: defaultdict[int, set[str]] = defaultdict(set)
        for at, offer in offers:
            between[sum(1 for purchase in bought if purchase <= at)].add(offer)
        return any(len(held) > 1 for held in between.values())


def _said_twice(messages: Iterable[Delivery], world: _World) -> int:
    """Count messages that a customer had already been sent on another channel just before."""
    said: defaultdict[tuple[str, str, frozenset[str]], list[Delivery]] = defaultdict(list)
    twice = 0
    for message in sorted(messages, key=lambda d: d.ordered_at):
        heard = said[message.customer, message.saying.subject, world.products(message)]
        twice += any(
            earlier.channel != message.channel
            and message.ordered_at - earlier.ordered_at < SAME_TIME_SECONDS
            for earlier in heard
        )
        heard.append(message)
    return twice
