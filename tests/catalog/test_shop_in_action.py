"""What the journeys of the shop in the box do for their customers, without Kafka.

Each test tells a short story to `decide` and looks at the commands: template, channel or audience.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from orchestrator.catalog import load
from orchestrator.core.command import CommandType
from orchestrator.core.customer import Customer, wake_at_ms
from orchestrator.core.decide import decide
from orchestrator.core.event import Event, TimerFired

JOURNEYS = load(Path(__file__).parents[2] / "journeys", "test")
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = 1_800_000_000_000

TENT = {"sku": "tent-2", "category": "camping", "quantity": 1, "price": "289.00"}
BOOTS = {"sku": "boots-9", "category": "footwear", "quantity": 1, "price": "159.00"}
SOCKS = {"sku": "socks-1", "category": "clothing", "quantity": 3, "price": "12.00"}


class Story:
    """One customer, and what they got."""

    def __init__(self, **attributes: str) -> None:
        self.customer = Customer(id="ana")
        self.now_ms = START_MS
        self._numbers = itertools.count(1)
        for channel in JOURNEYS.channels:
            about = {"channel": channel, "class": "promotional", "granted": True, "proof": "form"}
            self.tell("consent.updated", backfill=True, **about)
        if attributes:
            self.tell("profile.updated", backfill=True, attributes=attributes)

    def tell(self, event_type: str, *, backfill: bool = False, **data: Any) -> list[str]:
        """Let an event happen and return the commands that it causes."""
        number = next(self._numbers)
        event = Event(
            source="/shop",
            id=str(number),
            type=event_type,
            subject="ana",
            time_ms=self.now_ms,
            data=data,
            identity=number.to_bytes(8, "big"),
            body=number.to_bytes(4, "big"),
            backfill=backfill,
        )
        return self._decide(event)

    def wait(self, duration_ms: int) -> list[str]:
        """Let time pass and return the commands of the waits that come due."""
        until_ms, commands = self.now_ms + duration_ms, []
        while (due_ms := wake_at_ms(self.customer)) is not None and due_ms <= until_ms:
            self.now_ms = due_ms
            commands += self._decide(TimerFired(due_ms))
        self.now_ms = until_ms
        return commands

    def _decide(self, event: Event | TimerFired) -> list[str]:
        decision = decide(JOURNEYS, self.customer, event, self.now_ms)
        self.customer = decision.customer
        return [
            f"{one.type.value.partition('.')[2]} {one.channel}"
            + (f" {one.template or one.audience}" if one.type != CommandType.MESSAGE_CANCEL else "")
            for one in decision.commands
        ]

    def journeys(self) -> set[str]:
        """Return the journeys that the customer is in."""
        return {one.journey for one in self.customer.enrollments if one.step is not None}


def buy(story: Story, order_id: str, *items: dict[str, Any], total: str = "129.00") -> list[str]:
    return story.tell("purchase", order_id=order_id, items=items, total=total, currency="EUR")


def test_a_new_subscriber_is_welcomed_and_a_loyal_one_is_not_greeted_as_new() -> None:
    assert Story().tell("newsletter.subscribed") == ["send email welcome"]
    loyal = Story(loyalty_tier="gold", first_name="Ana", email="ana@shop.example")
    assert loyal.tell("newsletter.subscribed") == ["send email newsletter_hello_loyal"]
    assert loyal.wait(60 * DAY_MS) == []


def test_a_welcome_runs_to_its_end_on_the_channels_that_reach_the_customer() -> None:
    without_app, with_app = Story(), Story(push_token="x")
    for story in (without_app, with_app):
        story.tell("newsletter.subscribed")

    assert without_app.wait(30 * DAY_MS) == [
        "send email first_tour_guide",
        "send web bestsellers_card",
    ]
    assert with_app.wait(30 * DAY_MS) == ["send email first_tour_guide", "send push bestsellers"]


def test_a_forgotten_cart_is_reminded_of_by_mail_ads_and_app() -> None:
    story = Story(push_token="x")
    assert story.tell("cart.abandoned", cart_id="c1", items=[TENT]) == []

    assert story.wait(2 * HOUR_MS) == ["send email cart_reminder", "add ads cart_abandoners"]
    assert story.wait(DAY_MS) == ["send push cart_still_there"]
    assert story.wait(9 * DAY_MS) == ["remove ads cart_abandoners"]
    assert story.journeys() == set()


def test_only_a_large_cart_gets_a_text_message() -> None:
    small, large = Story(phone="+34"), Story(phone="+34")
    small.tell("cart.abandoned", cart_id="c1", items=[TENT])
    large.tell("cart.abandoned", cart_id="c1", items=[TENT, BOOTS])

    assert "send sms cart_still_there" not in small.wait(3 * DAY_MS)
    assert "send sms cart_still_there" in large.wait(3 * DAY_MS)


def test_buying_the_tent_ends_its_cart_and_leaves_the_boots_alone() -> None:
    """At once, in the middle of a wait. Who has two carts leaves the ads with the second."""
    story = Story()
    story.tell("cart.abandoned", cart_id="c1", items=[TENT])
    story.wait(60_000)  # At one instant only one of them would be reminded of.
    story.tell("cart.abandoned", cart_id="c2", items=[BOOTS])
    story.wait(2 * HOUR_MS)

    assert sorted(buy(story, "1001", TENT)) == ["cancel email", "send email thank_you"]
    assert [(one.journey, one.key) for one in story.customer.enrollments] == [
        ("cart_abandonment", "c2"),
        ("post_purchase", "1001"),
    ]
    assert sorted(buy(story, "1002", BOOTS)) == [
        "cancel email",
        "remove ads cart_abandoners",
        "send email thank_you",
    ]


def test_emptying_a_cart_ends_its_reminders() -> None:
    story = Story()
    story.tell("cart.abandoned", cart_id="c1", items=[TENT])

    assert story.tell("cart.updated", cart_id="c1", items=[]) == []
    assert story.journeys() == set()


def test_looking_at_what_one_owns_starts_nothing() -> None:
    story = Story(email="ana@example.com")
    buy(story, "1001", TENT)

    story.tell("product.viewed", sku="tent-2", category="camping")
    assert story.journeys() == {"post_purchase"}
    story.tell("product.viewed", sku="boots-9", category="footwear")
    assert story.journeys() == {"post_purchase", "browse_abandonment"}


def test_a_looked_at_product_is_reminded_of_until_it_is_in_the_cart() -> None:
    story = Story(email="ana@example.com")
    story.tell("product.viewed", sku="boots-9", category="footwear")
    assert story.wait(5 * HOUR_MS) == ["send web seen_recently_card"]

    assert story.tell("cart.updated", cart_id="c1", items=[BOOTS]) == ["cancel web"]
    assert story.journeys() == set()


def test_any_purchase_ends_the_sale() -> None:
    story = Story()
    assert story.tell("campaign.started", campaign="winter_sale", discount_text="20 %") == [
        "send email winter_sale_opens",
        "send web winter_sale_banner",
        "add ads winter_sale",
    ]
    assert story.tell("campaign.started", campaign="spring_sale", discount_text="5 %") == []

    assert sorted(buy(story, "1001", SOCKS)) == [
        "cancel email",
        "cancel web",
        "remove ads winter_sale",
        "send email thank_you",
    ]


def test_an_order_is_accompanied_up_to_the_question_how_it_was() -> None:
    story = Story(push_token="x", first_name="Ana")

    assert buy(story, "1001", TENT) == ["send email thank_you", "send push order_received"]
    assert story.wait(30 * DAY_MS) == ["send email care_guide"]
    assert story.tell("order.delivered", order_id="1001", items=[TENT]) == []
    assert story.wait(15 * DAY_MS) == ["send email how_is_it"]


def test_a_large_order_gets_a_call() -> None:
    story = Story()
    buy(story, "1001", TENT, BOOTS, total="500.00")

    assert story.wait(30 * DAY_MS)[-1] == "create callcenter courtesy_call"


def test_a_returned_order_is_not_asked_how_it_was() -> None:
    """The other order goes on."""
    story = Story()
    buy(story, "1001", TENT)
    buy(story, "1002", BOOTS)
    story.wait(6 * DAY_MS)

    assert story.tell("order.returned", order_id="1001") == [
        "cancel email",
        "send email return_received",
    ]
    waiting = {one.id for one in story.customer.enrollments if one.step is not None}
    assert waiting == {"post_purchase/1002#2", "returned_order/1001#1"}


def test_a_lapsed_customer_is_called_back_until_they_are_back() -> None:
    best, other = Story(loyalty_tier="gold", phone="+34"), Story(phone="+34")
    for story in (best, other):
        assert story.tell("profile.updated", attributes={"lifecycle": "lapsed"}) == []
        commands = story.wait(DAY_MS)
        assert commands == ["send email we_miss_you_15", "add ads lapsed_customers"]

    assert best.wait(15 * DAY_MS) == ["create callcenter winback_call"]
    assert other.wait(15 * DAY_MS) == ["send whatsapp whats_new"]
    assert set(best.tell("store.visited")) >= {"remove ads lapsed_customers"}
    assert (best.journeys(), other.journeys()) == (set(), {"winback"})


def test_a_later_change_of_the_profile_calls_nobody_back() -> None:
    story = Story(lifecycle="lapsed")
    story.tell("store.visited")

    assert story.tell("profile.updated", attributes={"city": "Cádiz"}) == []
    assert story.journeys() == set()
