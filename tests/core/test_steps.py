"""From a step to the next wait: what goes out, what is refused, and where the journey leads."""

import pytest

from orchestrator.core.decision import Ended, EndReason, Moved, Refusal, SendRefused
from orchestrator.core.language.shop import Expiry, Shop
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


def run(*steps, shop=None, **fields):
    """Return the story of somebody who has just entered a journey of these steps."""
    journeys = shop_of(journey("j", "seen", steps, **fields), shop=shop)
    story = Story(journeys)
    story.tell(event("seen", "e1", sku="tent", name=" ", empty="", none=None, total="129.00"))
    return story


def refused(story):
    return [(e.step, e.reason) for e in story.entries if isinstance(e, SendRefused)]


def ended(story):
    return [(e.reason, e.step, e.detail) for e in story.entries if isinstance(e, Ended)]


def test_a_message_carries_what_the_contract_says():
    story = Story(shop_of(journey("j", "seen", [send("hello")]), mode="live"))
    story.tell(event("profile.updated", "p", attributes={"locale": "es-ES"}))

    (command,) = story.tell(event("seen", "e1")).commands

    assert command.mode == "live"
    assert command.customer == "ana"
    assert command.recipient == {"address_ref": "profile.email"}
    assert command.locale == "es-ES"
    assert (command.journey, command.journey_version, command.step) == ("j", 1, "hello")
    assert (command.caused_by.source, command.caused_by.id) == ("/shop", "e1")
    assert command.time_ms == START
    assert len(command.id) == 32


@pytest.mark.parametrize(
    ("kind", "delivery", "hours"),
    [
        ("promotional", "at_most_once", 24),
        ("service", "at_least_once", 72),
        ("transactional", "at_least_once", 71),
    ],
)
def test_class_expiry_and_delivery_follow_the_journeys_kind(kind, delivery, hours):
    expiry = Expiry.model_validate({"transactional": "71h"})
    (command,) = run(send("hello"), kind=kind, shop=Shop(expires_after=expiry)).commands

    assert command.command_class == kind
    assert command.delivery == delivery
    assert command.expires_at_ms == START + hours * HOUR


def test_a_step_may_say_otherwise():
    fields = {"class": "service", "expires_after": "2h", "delivery": "at_most_once"}
    (command,) = run(send("hello", **fields)).commands

    assert not command.promotional_lane
    assert (command.expires_at_ms, command.delivery) == (START + 2 * HOUR, "at_most_once")


def test_a_wait_moves_on_when_it_is_over_and_what_follows_is_caused_by_the_entering_event():
    story = run(wait("hours", "4h"), send("late"))
    story.tell(event("other", "e2"))
    story.pass_time(4 * HOUR - 1)
    assert story.sent == []

    story.pass_time(1)

    assert story.sent == ["late"]
    assert story.commands[0].caused_by.id == "e1"
    moves = [entry for entry in story.entries if isinstance(entry, Moved)]
    assert moves == [Moved("j#1", "hours", START + 4 * HOUR)]


def test_a_timer_that_comes_early_changes_nothing():
    story = run(wait("hours", "4h"), send("late"))
    before = story.customer
    story.now -= 10 * DAY

    decision = story.fire()

    assert decision.customer == before
    assert decision.wake_at_ms == START + 4 * HOUR
    assert decision.now_ms == START


def test_overdue_waits_of_a_customer_fire_in_the_order_in_which_they_were_due():
    shop = shop_of(
        journey("a", "seen", [wait("w", "3h"), send("third")], kind="service"),
        journey("b", "seen", [wait("w", "2h"), send("second")], kind="service"),
        journey("c", "seen", [wait("w", "1h"), send("first")], kind="service"),
    )
    story = Story(shop)
    story.tell(event("seen", "e1"))
    story.now += 5 * HOUR

    decision = story.fire()

    assert [command.template for command in decision.commands] == ["first", "second", "third"]
    assert decision.wake_at_ms is None


def test_after_an_outage_a_message_that_came_too_late_is_refused_and_the_journey_goes_on():
    story = run(
        wait("hours", "4h"), send("flash", expires_after="1h"), wait("day", "1d"), send("end")
    )
    story.now += 5 * HOUR + 1

    story.fire()

    assert refused(story) == [("flash", Refusal.EXPIRED)]
    assert story.wake_at == story.now + DAY
    story.pass_time(DAY)
    assert story.sent == ["end"]


def test_expiry_counts_from_when_the_message_was_due():
    story = run(wait("hours", "4h"), send("flash", expires_after="1h"))
    story.now += 5 * HOUR

    (command,) = story.fire().commands

    assert command.expires_at_ms == START + 5 * HOUR


def test_a_missing_or_empty_variable_has_its_default():
    expressions = [
        "profile.first_name",
        "trigger.data.name",
        "trigger.data.empty",
        "trigger.data.none",
        "trigger.data.x.y",
    ]
    variables = {f"v{n}": {"value": e, "default": "friend"} for n, e in enumerate(expressions)}

    (command,) = run(send("hello", variables=variables)).commands

    assert set(command.variables.values()) == {"friend"}


def test_without_a_default_the_message_is_refused_and_the_variable_named():
    """Never `Hello ,`."""
    story = run(send("hello", variables={"first_name": "profile.first_name"}), send("next"))

    assert refused(story) == [("hello", Refusal.MISSING_VARIABLE)]
    assert [e.detail for e in story.entries if isinstance(e, SendRefused)] == ["first_name"]
    assert story.sent == ["next"]


def test_variables_are_values_of_profile_enrollment_and_trigger():
    variables = {
        "amount": "trigger.data.total",
        "half": "trigger.data.total / 2.0",
        "sku": "enrollment.skus[0]",
        "zero": "0",
        "no": "false",
        "map": '{"z": 1, "c": 1, "f": 1, "b": 1, "y": 1, "d": 1, "a": {"h": 1, "g": 2}}',
    }

    (command,) = run(send("hello", variables=variables), about="event.data").commands

    assert command.variables == {
        "amount": "129.00",
        "half": 64.5,
        "sku": "tent",
        "zero": 0,
        "no": False,
        "map": {"a": {"g": 2, "h": 1}, "b": 1, "c": 1, "d": 1, "f": 1, "y": 1, "z": 1},
    }
    assert list(command.variables["map"]) == list("abcdfyz")


def test_a_branch_takes_the_first_arm_that_is_true():
    fork = {
        "id": "fork",
        "branch": [
            {"when": "profile.tier == 'gold'", "next": "gold"},
            {"when": "trigger.data.total > 100.0", "next": "big"},
            {"next": "small"},
        ],
    }
    story = run(
        fork, send("gold", goes_to="last"), send("big", goes_to="last"), send("small"), send("last")
    )

    assert story.sent == ["big", "last"]


def test_a_branch_without_a_true_arm_goes_on_below():
    fork = {"id": "fork", "branch": [{"when": "profile.tier == 'gold'", "next": "gold"}]}

    assert run(
        fork, send("below", goes_to="done"), send("gold"), {"id": "done", "end": "x"}
    ).sent == ["below"]


def test_a_journey_ends_at_its_end_step_or_below_the_last():
    labelled = run({"id": "done", "end": "reminded"}, send("never"))
    plain = run(wait("m", "1m"))
    plain.pass_time(MINUTE)

    assert ended(labelled) == [(EndReason.COMPLETED, "done", "reminded")]
    assert labelled.sent == []
    assert ended(plain) == [(EndReason.COMPLETED, None, None)]
    assert plain.standing_in == {}


def test_a_step_that_cannot_be_evaluated_ends_the_enrollment_with_a_reason_and_cancels():
    fork = {"id": "fork", "branch": [{"when": "trigger.data.sku > 5", "next": "x"}]}
    story = run(send("hello"), fork, send("x"))

    assert [(reason, step) for reason, step, _ in ended(story)] == [(EndReason.STEP_FAILED, "fork")]
    assert [c.type for c in story.commands] == ["message.send", "message.cancel"]
    assert (story.decisions[-1].fence or ())[0].sequence == 1
    assert story.standing_in == {}
    assert story.customer.memories["j"].last_end_ms == START


def test_a_journey_that_leads_in_a_circle_is_stopped():
    story = run(send("again", goes_to="again"))

    assert [reason for reason, _, _ in ended(story)] == [EndReason.STEP_FAILED]
    assert len({c.id for c in story.commands}) == len(story.commands)


def test_a_step_that_names_no_step_ends_the_enrollment():
    assert ended(run(send("hello", goes_to="nowhere")))[0][0] is EndReason.STEP_FAILED
    story = run({"id": "w", "wait": "1m", "next": "nowhere"})
    story.pass_time(MINUTE)
    assert ended(story) == [(EndReason.STEP_FAILED, "w", "there is no step 'nowhere'")]


def test_a_promotion_whose_products_were_bought_meanwhile_is_not_sent():
    story = run(
        wait("h", "4h"),
        send("buy_it"),
        {"id": "show", "audience": {"add": "hesitating"}},
        send("news", **{"class": "service"}),
        about="event.data",
    )
    story.tell(event("purchase", "p", order_id="1", items=[item("tent")]))

    story.pass_time(4 * HOUR)

    assert refused(story) == [("buy_it", Refusal.ALREADY_OWNED), ("show", Refusal.ALREADY_OWNED)]
    assert story.sent == ["news"]


def test_one_product_not_owned_is_enough_to_go_on():
    steps = [wait("h", "4h"), send("buy_it")]
    story = Story(shop_of(journey("j", "cart.abandoned", steps, about="event.data.items")))
    story.tell(event("cart.abandoned", "c", items=[item("tent"), item("boots")]))
    story.tell(purchase("1", "tent"))

    story.pass_time(4 * HOUR)

    assert story.sent == ["buy_it"]


ADS = {"id": "ads", "audience": {"add": "hesitating"}}


def test_an_audience_is_left_at_the_exit_also_when_the_add_was_applied():
    story = run(ADS, wait("w", "9w"), exits=["purchase"])
    (added,) = story.commands
    story.tell(event("audience.applied", "a", command_id=added.id))
    story.pass_time(30 * DAY)

    (removed,) = story.tell(purchase("1", "tent", at=story.now)).commands

    assert (removed.type, removed.audience, removed.channel) == (
        "audience.remove",
        "hesitating",
        "ads",
    )
    assert removed.promotional_lane
    assert removed.expires_at_ms > story.now
    assert removed.cancels == ()


def test_an_audience_is_left_at_the_end_of_the_journey():
    story = run(ADS, wait("w", "1w"))
    story.pass_time(7 * DAY)

    assert [c.type for c in story.commands] == ["audience.add", "audience.remove"]
    assert story.standing_in == {}


def test_an_audience_that_another_enrollment_still_needs_is_not_left():
    shop = shop_of(
        journey("a", "seen", [ADS, wait("w", "1w")], exits=["purchase"]),
        journey("b", "seen", [ADS, wait("w", "2w")]),
    )
    story = Story(shop)
    story.tell(event("seen", "e"))

    assert story.tell(purchase("1", "tent")).commands == ()
    story.pass_time(14 * DAY)
    assert story.commands[-1].type == "audience.remove"
    assert story.commands[-1].enrollment == "b#1"


def test_a_step_can_take_the_customer_out_of_an_audience_and_no_second_remove_follows():
    out = {"id": "out", "audience": {"remove": "hesitating"}}
    story = run(ADS, wait("w", "1w"), out, wait("v", "1w"))
    story.pass_time(30 * DAY)

    assert [c.type for c in story.commands] == ["audience.add", "audience.remove"]


CALL = {"id": "call", "task": {"template": "call", "variables": {"sku": "trigger.data.sku"}}}


def test_a_task_is_created_with_its_variables_and_closed_by_an_exit():
    story = run(CALL, wait("w", "2d"), exits=["purchase"])
    (created,) = story.commands

    (closed,) = story.tell(purchase("1", "tent")).commands

    assert (created.type, created.channel, created.variables) == (
        "task.create",
        "callcenter",
        {"sku": "tent"},
    )
    assert (closed.type, closed.cancels) == ("task.close", (created.id,))


def test_a_task_that_people_closed_is_not_closed_again():
    story = run(CALL, wait("w", "2d"), exits=["purchase"])
    story.tell(event("task.closed", "t", task_id=story.commands[0].id))

    assert story.tell(purchase("1", "tent")).commands == ()


def test_a_task_outlives_its_journey_and_a_purchase_still_closes_it():
    story = run(CALL, exits=["purchase"])
    assert story.standing_in == {"j#1": None}

    assert [c.type for c in story.tell(purchase("1", "tent")).commands] == ["task.close"]


def test_sequence_has_no_gap_over_all_commands_of_a_customer():
    story = run(send("a"), ADS, CALL, wait("w", "1w"), exits=["purchase"])
    story.tell(purchase("1", "tent"))
    story.tell(event("seen", "e2", at=START + 1))

    assert [c.sequence for c in story.commands] == list(range(1, len(story.commands) + 1))
    assert story.customer.sequence == len(story.commands)


def test_an_id_depends_on_nothing_but_what_makes_the_command():
    first, second = run(send("a"), send("b")), run(send("a"), send("b"))

    assert [c.id for c in first.commands] == [c.id for c in second.commands]
    assert first.commands[0].id != first.commands[1].id


def test_an_id_depends_on_the_customer_and_on_the_cause():
    shop = shop_of(journey("j", "seen", [send("a")]))
    causes = [
        ("ana", "/shop", "e1"),
        ("ben", "/shop", "e1"),
        ("ana", "/app", "e1"),
        ("ana", "/shop", "e2"),
    ]
    ids = set()
    for customer, source, event_id in causes:
        story = Story(shop, customer=customer)
        (command,) = story.tell(event("seen", event_id, source=source, customer=customer)).commands
        ids.add(command.id)

    assert len(ids) == len(causes)


def test_two_adds_of_one_audience_need_one_remove():
    again = {"id": "again", "audience": {"add": "hesitating"}}
    other = {"id": "other", "audience": {"add": "winter"}}
    story = run(ADS, again, other, wait("w", "1w"), exits=["purchase"])

    removed = story.tell(purchase("1", "tent")).commands

    assert [command.audience for command in removed] == ["hesitating", "winter"]
    assert len({command.id for command in story.commands}) == 5


def test_a_customer_who_owns_it_all_is_still_taken_out_of_the_audience():
    out = {"id": "out", "audience": {"remove": "hesitating"}}
    story = run(ADS, wait("w", "1h"), out, wait("v", "1h"), about="event.data")
    story.tell(purchase("1", "tent"))

    story.pass_time(HOUR)

    assert [c.type for c in story.commands] == ["audience.add", "audience.remove"]
    assert story.commands[-1].step == "out"


def test_no_report_about_an_audience_makes_the_customer_stay_in_it():
    story = run(ADS, wait("w", "1w"), exits=["purchase"])
    story.tell(event("message.delivered", "d", command_id=story.commands[0].id))

    assert [c.type for c in story.tell(purchase("1", "tent")).commands] == ["audience.remove"]
