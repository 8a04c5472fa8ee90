"""What our people get told, what they do, and what may be offered to whom they talk to."""

from __future__ import annotations

from orchestrator.core.customer import RECENT_MAX
from orchestrator.core.decision import ClaimRefusal, ClaimRefused, MessageFinal, TaskClaimed
from orchestrator.core.encoded.state import encode_customer
from orchestrator.core.journeys import Journeys
from orchestrator.core.language.shop import Channel, Shop
from orchestrator.core.people.briefing import (
    ATTRIBUTES_MAX,
    LINES_MAX,
    ORDERS_MAX,
    VALUE_CHARACTERS_MAX,
    context,
)
from orchestrator.core.people.proposals import Because, next_best
from orchestrator.protocol.outputs import encode_command
from tests.core.builders import (
    DAY,
    HOUR,
    MINUTE,
    START,
    Story,
    event,
    item,
    journey,
    offer,
    send,
    shop_of,
    wait,
)
from tests.core.guarded import CHANNELS, consent

CALL = journey(
    "call",
    "callback.requested",
    [{"id": "task", "task": {"template": "call", "expires_after": "1d"}}, wait("w", "2d")],
    kind="service",
    reentry="always",
)
TEN = {"gives": {"percent_off": 10}, "code": "TEN", "valid_for": "30d"}
FREE = {"gives": {"free_shipping": True}, "valid_for": "10d"}


def claims(story: Story, by: str | None, *, task: str | None = None, number: int = 0):
    task_id = task or next(c.id for c in story.commands if c.type == "task.create")
    said = {} if by is None else {"by": by}
    name = f"claim-{by}-{number}"
    return story.tell(event("task.claimed", name, at=story.now, task_id=task_id, **said))


def called() -> Story:
    story = Story(shop_of(CALL))
    story.tell(event("callback.requested", "c"))
    return story


# -- Tasks ---------------------------------------------------------------------------------------


def test_the_first_who_claims_a_task_has_it():
    story = called()
    (task,) = [c for c in story.commands if c.type == "task.create"]

    assert claims(story, "eva").entries == (TaskClaimed(task.id, "call#1", "eva"),)
    assert claims(story, "eva", number=2).entries == ()
    assert claims(story, "tom").entries == (
        ClaimRefused(task.id, "tom", ClaimRefusal.ALREADY_CLAIMED, "eva"),
    )
    assert story.customer.enrollments[0].open_commands[0].claimed_by == "eva"


def test_a_claim_without_a_name_is_one_too():
    story = called()
    claims(story, None)

    (refused,) = claims(story, "tom").entries
    assert refused.detail == "somebody"


def test_nobody_gets_a_task_that_never_was():
    story = called()

    assert claims(story, "eva", task="other").entries == (
        ClaimRefused("other", "eva", ClaimRefusal.NOT_OPEN),
    )


def test_the_outcome_of_a_task_is_in_the_log():
    story = called()
    task = story.commands[-1].id

    entries = story.tell(event("task.closed", "x", task_id=task, outcome="sold")).entries

    assert entries[0] == MessageFinal(task, "call#1", "closed", "sold")


def test_a_journey_hears_only_of_its_own_tasks():
    until = [{"event": "task.closed", "next": "after"}]
    steps = [
        {"id": "task", "task": {"template": "call"}},
        {"id": "w", "wait": {"for": "2d", "until": until}},
        {"id": "end", "end": "late"},
        send("after"),
    ]
    story = Story(
        shop_of(journey("call", "callback.requested", steps, key="event.data.n", kind="service"))
    )
    first = story.tell(event("callback.requested", "1", n="1")).commands[0].id
    story.tell(event("callback.requested", "2", n="2"))

    decision = story.tell(event("task.closed", "x", task_id=first))

    assert [c.enrollment for c in decision.commands] == ["call/1#1"]


def test_a_task_that_nobody_closed_is_said_to_have_expired():
    story = called()
    task = story.commands[-1].id

    story.pass_time(3 * DAY)

    assert MessageFinal(task, "call#1", "expired") in story.entries


def test_a_task_waits_on_the_queue_of_its_step_else_of_its_channel_else_under_its_name():
    steps = [
        {"id": "a", "task": {"template": "a", "queue": "sales"}},
        {"id": "b", "task": {"template": "b"}},
        {"id": "c", "task": {"template": "c", "channel": "back_office"}},
    ]
    channels = {
        "callcenter": Channel(kind="task", queue="first_line"),
        "back_office": Channel(kind="task"),
    }
    story = Story(Journeys(Shop(), channels, [journey("j", "seen", steps, kind="service")]))

    story.tell(event("seen", "s"))

    assert [c.queue for c in story.commands] == ["sales", "first_line", "back_office"]


# -- Context -------------------------------------------------------------------------------------


def test_what_a_person_is_told_is_bounded_whatever_the_customer_has_done():
    story = called()
    names = {f"attribute_{number:03}": "x" * 10_000 for number in range(100)}
    story.tell(event("profile.updated", "p", attributes={**names, "list": [1], "score": 1.5}))
    for number in range(30):
        lines = [item(f"sku-{number}-{line}" + "y" * 5_000) for line in range(50)]
        story.tell(event("purchase", f"o{number}", order_id=str(number), items=lines))

    told = context(story.journeys, story.customer, story.now, "callcenter")

    assert len(told.attributes) == ATTRIBUTES_MAX
    assert all(len(str(one)) <= VALUE_CHARACTERS_MAX for one in told.attributes.values())
    assert len(told.orders) == ORDERS_MAX
    assert all(len(order.items) == LINES_MAX for order in told.orders)
    story.tell(event("callback.requested", "again"))
    story.pass_time(3 * DAY)
    story.tell(event("callback.requested", "more", at=story.now))
    assert len(encode_command(story.commands[-1])) < 64_000


def test_the_newest_messages_are_told_with_what_became_of_them():
    steps = [send("a"), send("b", "sms"), send("c", "push"), wait("w", "1d")]
    story = Story(shop_of(CALL, journey("j", "seen", steps, exits=["purchase"])))
    story.tell(event("seen", "s"))
    opened, other = (c.id for c in story.commands[1:])
    story.now += MINUTE
    for number, type_ in enumerate(("message.opened", "message.delivered")):
        story.tell(event(type_, f"r{number}", at=story.now, command_id=opened))

    told = context(story.journeys, story.customer, story.now, "callcenter").messages

    assert [(one.command_id, one.fate, one.seen) for one in told] == [
        (other, "sent", False),
        (opened, "opened", True),
    ]
    story.tell(event("purchase", "p", at=story.now, order_id="1"))
    told = context(story.journeys, story.customer, story.now, "callcenter").messages
    assert [(one.template, one.fate) for one in told] == [("c", "cancelled"), ("b", "opened")]
    assert len(story.customer.contact.recent) == RECENT_MAX


def test_a_shop_without_tasks_keeps_nothing_for_people():
    story = Story(shop_of(journey("j", "seen", [send("a")])))
    story.tell(event("seen", "s"))

    assert story.customer.contact.recent == ()


# -- What may be offered now ---------------------------------------------------------------------


def proposed(story: Story, channel: str | None = "email"):
    best = next_best(story.journeys, story.customer, story.now, channel)
    return [(one.offer, one.because) for one in best.proposed]


def not_proposed(story: Story, channel: str | None = "email"):
    best = next_best(story.journeys, story.customer, story.now, channel)
    return {one.offer: (one.reason, one.detail) for one in best.not_proposed}


def test_held_comes_before_a_running_journey_before_what_ends_soonest():
    tells = journey("tells", "seen", [wait("w", "1h"), send("told", offer="c_in_journey")])
    offers = {
        "a_soon": {"gives": {"other": "x"}, "valid_for": "1d"},
        "b_later": {"gives": {"other": "x"}, "valid_for": "2d"},
        "c_in_journey": {"gives": {"other": "x"}, "valid_for": "30d"},
        "d_held": {"gives": {"other": "x"}, "valid_for": "30d", "code": "HELD"},
    }
    story = Story(shop_of(tells, offers=offers))
    story.tell(event("seen", "s"), event("offer.requested", "ask", offer="d_held"))

    assert proposed(story) == [
        ("d_held", Because.PROMISED),
        ("c_in_journey", Because.IN_JOURNEY),
        ("a_soon", Because.QUALIFIES),
        ("b_later", Because.QUALIFIES),
    ]
    best = next_best(story.journeys, story.customer, story.now, "email").proposed
    assert [one.code for one in best] == ["HELD", None, None, None]


def test_what_contradicts_a_promise_is_not_proposed_and_the_promise_is_named():
    story = Story(shop_of(offers={"ten": TEN, "free": FREE}))
    story.tell(event("offer.requested", "ask", offer="free"))

    reason, detail = not_proposed(story)["ten"]
    assert (reason, detail.partition(" ")[0]) == ("offer_contradicted", "free")


def test_looking_promises_nothing():
    story = Story(shop_of(offers={"ten": TEN, "free": FREE}))
    before = encode_customer(story.customer)

    proposed(story)

    assert encode_customer(story.customer) == before
    assert [name for name, _ in proposed(story)] == ["free", "ten"]


def guarded(**shop) -> Story:
    offers = {"ten": offer(**TEN)}
    mails = journey("j", "seen", [send("a"), wait("w", "1h")])
    return Story(Journeys(Shop.model_validate(shop), CHANNELS, [mails], offers=offers))


def test_nothing_is_proposed_where_a_message_would_be_refused():
    story = guarded(caps=[{"max": 1, "per": "1d", "channel": "email"}])
    assert not_proposed(story)["ten"][0] == "no_consent"
    assert proposed(story, "web") == proposed(story, "callcenter") == [("ten", Because.QUALIFIES)]

    consent(story, "email", granted=True)
    assert proposed(story) == [("ten", Because.QUALIFIES)]

    story.tell(event("seen", "s"))
    assert not_proposed(story)["ten"] == ("frequency_cap", "1 in 1d, email")


def test_while_a_person_talks_only_they_may_offer():
    story = guarded()
    story.tell(event("handoff.started", "h"))

    assert not_proposed(story, "web")["ten"] == ("handoff", "until 2026-11-23T10:00:00Z")
    assert proposed(story, "callcenter") == [("ten", Because.QUALIFIES)]
    story.tell(event("handoff.ended", "e"))
    assert proposed(story, "web") == [("ten", Because.QUALIFIES)]


def test_nothing_is_proposed_to_who_was_erased():
    story = guarded()
    story.tell(event("customer.erased", "e", at=START))

    assert not_proposed(story, "callcenter") == {"ten": ("erased", None)}
    story.now += HOUR
    story.tell(event("seen", "s", at=story.now))
    assert proposed(story, "callcenter") == [("ten", Because.QUALIFIES)]
