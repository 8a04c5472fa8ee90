"""The demo's senders keep the contract's rules, and Ana's panels show what they did."""

import orjson
import pytest

from orchestrator.core.command import Command as Decided
from orchestrator.core.command import CommandClass, CommandType
from orchestrator.core.customer import Cause, FenceEntry
from orchestrator.demo.ana import Screens, Sight
from orchestrator.demo.desk import Command, Desk, delivery, report
from orchestrator.demo.judge.evidence import Kind
from orchestrator.demo.judge.sayings import SALE_OPENS, YOUR_CART
from orchestrator.protocol.codec import decode_event
from orchestrator.protocol.outputs import encode_command, encode_fence

NOON_MS = 1_795_348_800_000


def a_command(command_id="c-1", kind=CommandType.MESSAGE_SEND, sequence=3, **changes):
    """Return a command as a sender reads it, written by the real codec."""
    values = {
        "customer": "ana",
        "time_ms": NOON_MS,
        "channel": "email",
        "command_class": CommandClass.PROMOTIONAL,
        "mode": "test",
        "journey": "cart_abandonment",
        "journey_version": 1,
        "step": "reminder_email",
        "enrollment": "cart_abandonment/cart-1#1",
        "caused_by": Cause("/shop", "cart-1"),
        "expires_at_ms": NOON_MS + 1000,
        "delivery": "at_most_once",
        "template": "cart_reminder",
    }
    decided = Decided(id=command_id, type=kind, sequence=sequence, **(values | changes))
    return Command.read(orjson.loads(encode_command(decided)))


def a_fence(sequence):
    entry = FenceEntry("cart_abandonment/cart-1#1", NOON_MS, sequence, NOON_MS + 1000)
    return orjson.loads(encode_fence([entry]))


def test_promotional_email_waits_for_its_slow_provider_and_a_thank_you_does_not():
    desk = Desk()
    desk.take(a_command("slow"), at=0.0)
    desk.take(a_command("quick", command_class=CommandClass.TRANSACTIONAL), at=0.0)

    assert [(command.id, since) for command, since in desk.providers.due(1.0)] == [("quick", 0.0)]
    assert [(command.id, since) for command, since in desk.providers.due(8.0)] == [("slow", 0.0)]
    assert desk.providers.due(99.0) == []


def test_the_judge_is_told_of_a_handed_over_command_in_its_own_words():
    command = a_command(variables={"items": [{"sku": "tent-2"}], "cart_id": "1"})

    told = delivery(command, ordered_at=1.0, began_at=9.0, ended_at=9.1)

    assert (told.customer, told.channel, told.name) == ("ana", "email", "cart_reminder")
    assert (told.kind, told.saying.subject, told.saying.offer) == (Kind.MESSAGE, YOUR_CART, None)
    assert (told.skus, told.trigger) == ({"tent-2"}, "cart-1")
    assert (told.ordered_at, told.began_at, told.ended_at) == (1.0, 9.0, 9.1)


def test_an_offer_that_a_command_names_is_believed_before_the_table():
    command = a_command(template="winter_sale_opens", offer="warm20")

    told = delivery(command, ordered_at=1.0, began_at=9.0, ended_at=9.1)

    assert (told.saying.subject, told.saying.offer) == (SALE_OPENS, "warm20")


def test_a_cancelled_command_is_not_handed_over():
    desk = Desk()
    sent = a_command()
    desk.take(sent, at=0.0)
    desk.take(a_command("c-2", CommandType.MESSAGE_CANCEL, 4, cancels=("c-1",)), at=1.0)

    assert desk.obstacle(sent) == "cancelled"


@pytest.mark.parametrize(("fenced_up_to", "obstacle"), [(3, "fenced"), (2, None)])
def test_a_fence_stops_exactly_the_commands_up_to_its_number(fenced_up_to, obstacle):
    desk = Desk()
    desk.fence("ana", a_fence(fenced_up_to))

    assert desk.obstacle(a_command(sequence=3)) == obstacle


def test_a_fence_is_for_its_customer_and_enrollment_and_can_be_removed():
    desk = Desk()
    desk.fence("ana", a_fence(9))

    assert desk.obstacle(a_command(customer="ben")) is None
    assert desk.obstacle(a_command(enrollment="winter_sale#1")) is None
    desk.fence("ana", None)
    assert desk.obstacle(a_command()) is None


@pytest.mark.parametrize(
    ("kind", "obstacle", "told"),
    [
        (CommandType.MESSAGE_SEND, None, "message.delivered"),
        (CommandType.MESSAGE_SEND, "fenced", "message.dropped"),
        (CommandType.AUDIENCE_ADD, None, "audience.applied"),
    ],
)
def test_what_a_sender_reports_is_an_event_by_the_contract(kind, obstacle, told):
    event = report(a_command(kind=kind), obstacle) | {"time": "2026-11-22T12:00:00Z"}

    decoded = decode_event(b"ana", orjson.dumps(event), [], event_bytes_max=10_000)

    assert (decoded.type, decoded.data["command_id"]) == (told, "c-1")


def test_after_the_purchase_panels_are_stamped_with_the_time_since_it():
    screens = Screens()
    screens.on_command(a_command(), at=8.0)
    screens.purchase_at = 11.5

    recalled = screens.on_command(
        a_command("c-2", CommandType.MESSAGE_CANCEL, 4, cancels=("c-1",)), at=11.507
    )

    assert (recalled.sight, recalled.stamp) == (Sight.RECALLED, "+7 ms")
    assert screens.panel("email") == [recalled]


def test_an_email_in_the_inbox_cannot_be_taken_back():
    screens = Screens()
    command = a_command()
    screens.on_command(command, at=8.0)
    screens.on_handed_over(command, at=8.1)

    changed = screens.on_command(
        a_command("c-2", CommandType.MESSAGE_CANCEL, 4, cancels=("c-1",)), at=9.0
    )

    assert changed is None
    assert screens.entries[0].sight is Sight.THERE


def test_leaving_an_audience_takes_its_ad_away():
    screens = Screens()
    screens.on_command(a_command(kind=CommandType.AUDIENCE_ADD, channel="ads", audience="sale"), 1)
    screens.on_command(
        a_command("c-2", CommandType.AUDIENCE_REMOVE, channel="ads", audience="sale"), 2
    )

    assert [entry.sight for entry in screens.panel("ads")] == [Sight.GONE]


def test_what_is_kept_back_at_the_last_look_says_when_and_why():
    screens = Screens()
    command = a_command()
    screens.on_command(command, at=8.0)
    screens.purchase_at = 11.5

    entry = screens.on_dropped(command, "fenced", at=16.0)

    assert entry.sight is Sight.RECALLED
    assert entry.note == "its turn came +4.5 s: fenced, not sent"
