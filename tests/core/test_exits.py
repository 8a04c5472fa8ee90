"""An exit ends the enrollment at once, recalls what is not final, and fences promotion."""

from orchestrator.core.command import CommandType
from orchestrator.core.customer import FenceEntry
from orchestrator.core.decision import Ended, EndReason, Entered
from tests.core.builders import (
    DAY,
    HOUR,
    MINUTE,
    START,
    Story,
    event,
    item,
    journey,
    purchase,
    send,
    shop_of,
    wait,
)

TIED = {"on": "purchase", "when": "event.data.items.exists(i, i.sku in enrollment.skus)"}


def winter(**entry):
    steps = [send("hello"), wait("weeks", "2w"), send("again")]
    return journey("winter", "newsletter.subscribed", steps, exits=["purchase"], **entry)


def subscribed(story, event_id="n1", **fields):
    return story.tell(event("newsletter.subscribed", event_id, at=story.now, **fields))


def bought(story, order_id, *skus, **fields):
    return story.tell(purchase(order_id, *skus, at=story.now, **fields))


def test_a_purchase_ends_a_promotion_in_the_middle_of_a_wait_of_weeks():
    """Braze leaves the customer in the delay till its end; Salesforce looks when it ends."""
    story = Story(shop_of(winter()))
    subscribed(story)
    story.pass_time(DAY)

    decision = bought(story, "1", "tent")

    assert story.standing_in == {}
    assert decision.wake_at_ms is None
    assert [entry.reason for entry in decision.entries if isinstance(entry, Ended)] == ["exit"]
    story.pass_time(30 * DAY)
    assert story.sent == ["hello"]


def test_one_purchase_exits_all_matching_journeys_and_starts_post_purchase():
    # No promotion of its own, or only one of them would go out.
    steps = [send("offer", **{"class": "service"}), wait("pause", "1w")]
    shop = shop_of(
        winter(),
        journey("summer", "newsletter.subscribed", steps, exits=["purchase"]),
        journey("stays", "newsletter.subscribed", steps),
        journey("post_purchase", "purchase", [send("thanks"), wait("days", "3d")], kind="service"),
    )
    story = Story(shop)
    subscribed(story)

    decision = bought(story, "1", "tent")

    assert story.standing_in == {"stays#1": "pause", "post_purchase#1": "days"}
    kinds = [type(entry) for entry in decision.entries]
    assert max(i for i, kind in enumerate(kinds) if kind is Ended) < kinds.index(Entered)
    assert [c.type for c in decision.commands] == ["message.cancel"] * 2 + ["message.send"]


def test_what_is_not_final_is_cancelled_with_one_command_for_each_topic():
    steps = [
        send("one"),
        send("two"),
        send("text", channel="sms"),
        send("receipt", **{"class": "transactional"}),
        send("notice", **{"class": "service"}),
        wait("week", "1w"),
    ]
    story = Story(shop_of(journey("j", "search.done", steps, exits=["purchase"])))
    sent = story.tell(event("search.done", "s")).commands
    ids = {command.step: command.id for command in sent}

    cancels = bought(story, "1", "tent").commands

    assert [(c.channel, c.promotional_lane, c.cancels) for c in cancels] == [
        ("email", True, (ids["one"], ids["two"])),
        ("sms", True, (ids["text"],)),
        ("email", False, (ids["receipt"], ids["notice"])),
    ]
    assert len({c.id for c in (*sent, *cancels)}) == 8
    assert all(c.type is CommandType.MESSAGE_CANCEL for c in cancels)


def test_what_a_sender_has_reported_final_is_not_cancelled():
    for report in ("delivered", "opened", "clicked", "replied", "bounced", "failed", "dropped"):
        story = Story(shop_of(winter()))
        (hello,) = subscribed(story).commands
        story.tell(event(f"message.{report}", "f1", source="/email", command_id=hello.id))

        assert bought(story, "1", "tent").commands == ()
        assert [e.outcome for e in story.entries if type(e).__name__ == "MessageFinal"]


def test_what_has_expired_is_not_cancelled():
    story = Story(shop_of(winter()))
    subscribed(story)
    story.pass_time(DAY + 1)

    assert bought(story, "1", "tent").commands == ()


def test_the_fence_names_the_last_sequence_before_the_exit_and_outlasts_every_message():
    story = Story(shop_of(winter()))
    (hello,) = subscribed(story).commands
    story.pass_time(HOUR)

    decision = bought(story, "1", "tent")

    assert decision.fence == (
        FenceEntry("winter#1", story.now, sequence=1, expires_at_ms=hello.expires_at_ms),
    )
    assert [command.sequence for command in decision.commands] == [2]


def test_fences_are_pruned_when_the_last_message_behind_them_has_expired():
    story = Story(shop_of(winter()))
    subscribed(story)
    bought(story, "1", "tent")
    story.pass_time(2 * DAY)
    subscribed(story, "n2")

    decision = bought(story, "2", "tent")

    assert [entry.enrollment for entry in decision.fence or ()] == ["winter#2"]


def test_a_service_journey_is_not_fenced():
    steps = [send("hello"), wait("week", "1w")]
    shop = shop_of(journey("care", "search.done", steps, kind="service", exits=["purchase"]))
    story = Story(shop)
    story.tell(event("search.done", "s"))

    decision = bought(story, "1", "tent")

    assert decision.fence is None
    assert [command.command_class for command in decision.commands] == ["service"]


def test_an_exit_tied_to_the_product_leaves_the_other_products_campaign_alone():
    steps = [wait("hours", "4h"), send("reminder")]
    shop = shop_of(
        journey(
            "browse",
            "product.viewed",
            steps,
            exits=[TIED],
            about="event.data",
            key="event.data.sku",
        )
    )
    story = Story(shop)
    story.tell(
        event("product.viewed", "v1", sku="tent"), event("product.viewed", "v2", sku="boots")
    )

    bought(story, "1", "tent")

    assert story.standing_in == {"browse/boots#2": "hours"}


def test_an_exit_may_compare_the_enrollments_key_and_its_trigger():
    emptied = "event.data.cart_id == enrollment.key && size(event.data.items) == 0"
    other_store = "event.data.store != trigger.data.store"
    exits = [{"on": "cart.updated", "when": emptied}, {"on": "store.visited", "when": other_store}]
    steps = [wait("hours", "4h")]
    shop = shop_of(journey("cart", "cart.abandoned", steps, exits=exits, key="event.data.cart_id"))
    story = Story(shop)
    for cart, store in (("a", "madrid"), ("b", "lugo"), ("c", "lugo")):
        story.tell(event("cart.abandoned", cart, cart_id=cart, items=[item("tent")], store=store))

    story.tell(event("cart.updated", "u1", cart_id="b", items=[]))
    story.tell(event("store.visited", "u2", store="lugo"))

    assert list(story.standing_in) == ["cart/c#3"]


def test_an_exit_older_than_the_entry_does_not_end_it():
    story = Story(shop_of(winter()))
    subscribed(story)

    story.tell(purchase("1", "tent", at=START - 1))
    assert list(story.standing_in) == ["winter#1"]
    story.tell(purchase("2", "tent", at=START))
    assert story.standing_in == {}


def test_a_late_exit_has_no_age_limit():
    story = Story(shop_of(winter()))
    subscribed(story)
    story.pass_time(13 * DAY)

    story.tell(purchase("1", "tent", at=START + MINUTE))

    assert story.standing_in == {}


def test_an_exit_stamped_ahead_of_time_counts_from_now():
    story = Story(shop_of(winter()))
    story.tell(event("newsletter.subscribed", "n1", at=START + HOUR))

    bought(story, "1", "tent")

    assert story.standing_in == {}
    story.pass_time(DAY)
    subscribed(story, "n2")
    assert list(story.standing_in) == ["winter#2"]


def test_who_has_run_to_the_end_is_still_recalled_until_the_messages_are_final():
    shop = shop_of(journey("flash", "search.done", [send("deal")], exits=["purchase"]))
    story = Story(shop)
    (deal,) = story.tell(event("search.done", "s")).commands
    assert story.standing_in == {"flash#1": None}

    decision = bought(story, "1", "tent")

    assert [command.cancels for command in decision.commands] == [(deal.id,)]
    assert [entry.enrollment for entry in decision.fence or ()] == ["flash#1"]
    assert story.standing_in == {}


def test_who_has_run_to_the_end_is_forgotten_with_the_last_open_message():
    shop = shop_of(journey("flash", "search.done", [send("deal")], exits=["purchase"]))
    delivered, expired = Story(shop), Story(shop)
    (deal,) = delivered.tell(event("search.done", "s")).commands
    expired.tell(event("search.done", "s"))

    delivered.tell(event("message.delivered", "d", command_id=deal.id))
    expired.pass_time(DAY + 1)
    expired.tell(event("store.visited", "v", at=expired.now))

    assert delivered.standing_in == expired.standing_in == {}


def test_an_exit_can_send_a_last_message_after_its_cancels():
    farewell = {"channel": "email", "template": "bye", "variables": {"sku": "trigger.data.sku"}}
    exits = [{"on": "purchase", "then": farewell}]
    steps = [send("hello"), wait("week", "1w")]
    story = Story(shop_of(journey("browse", "product.viewed", steps, exits=exits)))
    story.tell(event("product.viewed", "v", sku="tent"))

    decision = bought(story, "1", "tent")

    assert [(c.type, c.sequence) for c in decision.commands] == [
        ("message.cancel", 2),
        ("message.send", 3),
    ]
    bye = decision.commands[1]
    assert (bye.template, bye.command_class, bye.step) == ("bye", "service", "exit")
    assert bye.variables == {"sku": "tent"}
    assert (decision.fence or ())[0].sequence == 1


def test_the_first_matching_exit_wins_and_says_farewell_once():
    exits = [
        {
            "on": "purchase",
            "when": "event.data.total > 500.0",
            "then": {"channel": "email", "template": "wow"},
        },
        {"on": "purchase", "then": {"channel": "email", "template": "thanks"}},
    ]
    shop = shop_of(journey("j", "search.done", [wait("week", "1w")], exits=exits))
    small, large = Story(shop), Story(shop)
    for story, total in ((small, "12.50"), (large, "500.01")):
        story.tell(event("search.done", "s"))
        bought(story, "1", "tent", total=total)

    assert (small.sent, large.sent) == (["thanks"], ["wow"])


def test_an_agent_can_take_a_customer_out_of_one_enrollment():
    story = Story(shop_of(winter(), journey("stays", "newsletter.subscribed", [wait("d", "1d")])))
    subscribed(story)

    decision = story.tell(event("enrollment.exit_requested", "x", enrollment="winter#1"))

    assert list(story.standing_in) == ["stays#1"]
    assert [c.type for c in decision.commands] == ["message.cancel"]


def test_a_condition_over_a_field_that_is_not_there_does_not_exit():
    exits = [{"on": "purchase", "when": 'event.data.coupon == "WINTER"'}]
    story = Story(shop_of(journey("j", "search.done", [wait("week", "1w")], exits=exits)))
    story.tell(event("search.done", "s"))

    bought(story, "1", "tent")

    assert list(story.standing_in) == ["j#1"]


def test_promotion_fails_towards_silence_when_an_exit_condition_cannot_be_evaluated():
    exits = [{"on": "purchase", "when": "event.data.total > event.data.currency"}]
    for kind, standing in (("promotional", []), ("service", ["j#1"])):
        steps = [wait("week", "1w")]
        story = Story(shop_of(journey("j", "search.done", steps, kind=kind, exits=exits)))
        story.tell(event("search.done", "s"))
        bought(story, "1", "tent")

        assert list(story.standing_in) == standing
        reasons = [entry.reason for entry in story.entries if isinstance(entry, Ended)]
        assert reasons == [EndReason.STEP_FAILED] * (kind == "promotional")


def test_history_brought_in_by_backfill_exits_and_enters_nothing():
    shop = shop_of(winter(), journey("thanks", "purchase", [send("thank_you")]))
    story = Story(shop)
    subscribed(story)

    decision = story.tell(
        event("purchase", "b1", at=story.now, backfill=True, order_id="9", items=[item("tent")])
    )

    assert decision.commands == decision.entries == ()
    assert list(story.standing_in) == ["winter#1"]
    assert [order.order_id for order in story.customer.orders] == ["9"]
    assert story.customer.exits == ()


def test_an_event_that_finds_an_overdue_wait_wins_over_it():
    """After an outage live events come first; the exit must not be overtaken by the old wait."""
    story = Story(shop_of(winter()))
    subscribed(story)
    story.now += 20 * DAY

    bought(story, "1", "tent")

    assert story.decisions[-1].wake_at_ms is None
    assert story.sent == ["hello"]


def test_who_has_run_to_the_end_is_not_said_farewell_to():
    exits = [{"on": "purchase", "then": {"channel": "email", "template": "bye"}}]
    story = Story(shop_of(journey("flash", "search.done", [send("deal")], exits=exits)))
    story.tell(event("search.done", "s"))

    bought(story, "1", "tent")

    assert [command.type for command in story.commands] == ["message.send", "message.cancel"]


def test_all_fences_of_one_decision_name_the_sequence_before_any_of_its_commands():
    # No promotion of its own, or only one of them would go out.
    steps = [send("offer", **{"class": "service"}), wait("pause", "1w")]
    shop = shop_of(*(journey(n, "search.done", steps, exits=["purchase"]) for n in "abc"))
    story = Story(shop)
    story.tell(event("search.done", "s"))

    decision = bought(story, "1", "tent")

    assert [entry.sequence for entry in decision.fence or ()] == [3, 3, 3]
    assert [command.sequence for command in decision.commands] == [4, 5, 6]
