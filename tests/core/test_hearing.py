"""Waits that something ends before their time: what counts, where it leads, what resets them."""

import msgspec
import pytest

from orchestrator.core.customer import Enrollment
from orchestrator.core.decision import Moved
from orchestrator.core.encoded.state import decode_customer, encode_customer
from tests.core.builders import DAY, HOUR, START, Story, event, journey, purchase, send, shop_of


def waiting(*until, steps=(), reset_on=(), exits=(), key=None, **wait):
    """Return the story of somebody who waits three days in `w`, or until one of these."""
    word = {"for": "3d", "until": list(until), "reset_on": list(reset_on), **wait}
    all_steps = [
        *steps,
        {"id": "w", "wait": word, "next": "in_vain"},
        send("heard", goes_to="done"),
        send("other", goes_to="done"),
        send("in_vain"),
        {"id": "done", "end": "done"},
    ]
    story = Story(shop_of(journey("j", "seen", all_steps, exits=exits, key=key)))
    story.tell(event("seen", "e1", cart="c1"))
    return story


def happen(story, type_, event_id="h", *, at=None, **data):
    return story.tell(event(type_, event_id, at=story.now if at is None else at, **data))


def until(event_type, goes_to="heard", when=None):
    return {"event": event_type, "when": when, "next": goes_to}


def when(condition, goes_to="heard"):
    return {"when": condition, "next": goes_to}


GOLD = 'profile.tier == "gold"'


def test_the_event_ends_the_wait_at_once_and_has_caused_what_follows():
    story = waiting(until("store.visited"))
    story.pass_time(DAY)

    (command,) = happen(story, "store.visited").commands

    assert (command.template, command.caused_by.id) == ("heard", "h")
    assert story.wake_at is None


def test_who_waits_in_vain_goes_on_where_next_leads():
    story = waiting(until("store.visited"))

    story.pass_time(3 * DAY)

    assert story.sent == ["in_vain"]
    happen(story, "store.visited")
    assert story.sent == ["in_vain"]


def test_the_first_that_comes_counts_and_of_several_the_first_written():
    arms = [
        until("search.done", "other", "event.data.n > 5"),
        until("search.done"),
        until("store.visited", "other"),
    ]
    assert happen(waiting(*arms), "search.done", n=1).commands[0].template == "heard"
    assert happen(waiting(*arms), "search.done", n=9).commands[0].template == "other"
    assert happen(waiting(*arms), "store.visited").commands[0].template == "other"


@pytest.mark.parametrize(
    ("data", "at"),
    [({"cart_id": "c2"}, START), ({}, START), ({"cart_id": 5}, START), ({"cart_id": "c1"}, 0)],
)
def test_an_event_about_something_else_or_from_before_the_entry_is_not_heard(data, at):
    arm = until("cart.updated", when="event.data.cart_id == enrollment.key")
    story = waiting(arm, key="event.data.cart")

    happen(story, "cart.updated", at=at, **data)

    assert story.sent == []
    happen(story, "cart.updated", "h2", cart_id="c1")
    assert story.sent == ["heard"]


def test_a_sender_is_heard_about_the_messages_of_this_enrollment_only():
    story = waiting(until("message.clicked"), steps=[send("mail")])
    mail = story.commands[0].id
    happen(story, "message.clicked", "h1", command_id="of another journey")
    assert story.sent == ["mail"]

    happen(story, "message.delivered", "h2", command_id=mail)
    happen(story, "message.clicked", "h3", command_id=mail)

    assert story.sent == ["mail", "heard"]


def test_a_condition_ends_the_wait_when_the_profile_comes_to_fit():
    story = waiting(when(GOLD))
    happen(story, "profile.updated", "h1", attributes={"tier": "silver"})
    happen(story, "search.done", "h2")
    assert story.sent == []

    happen(story, "profile.updated", "h3", attributes={"tier": "gold"})

    assert story.sent == ["heard"]


def test_a_condition_that_is_true_already_skips_its_wait():
    story = Story(waiting(when(GOLD)).journeys)
    story.tell(event("profile.updated", "p", attributes={"tier": "gold"}))

    story.tell(event("seen", "e1"))

    assert story.sent == ["heard"]


def test_an_event_that_exits_is_not_heard_and_one_that_enters_does_not_end_its_own_wait():
    story = waiting(until("purchase"), exits=["purchase"])
    story.tell(purchase("1", "tent"))
    assert story.sent == []
    assert story.customer.enrollments == ()

    assert waiting(until("seen")).sent == []


def test_history_that_is_filled_in_ends_no_wait():
    story = waiting(until("store.visited"))

    story.tell(event("store.visited", "h", backfill=True))

    assert story.sent == []


def test_a_repeat_starts_the_wait_anew():
    reset = {"event": "seen", "when": "event.data.cart == trigger.data.cart"}
    story = waiting(until("store.visited"), reset_on=[reset, "search.done"])
    story.pass_time(2 * DAY)

    happen(story, "seen", "h1", cart="c2")
    assert story.wake_at == START + 3 * DAY
    happen(story, "seen", "h2", cart="c1")
    assert story.wake_at == START + 5 * DAY
    story.pass_time(HOUR)
    happen(story, "search.done", "h3")

    assert story.wake_at == START + 5 * DAY + HOUR
    moves = [entry.wake_at_ms for entry in story.entries if isinstance(entry, Moved)]
    assert moves == [START + 3 * DAY, START + 5 * DAY, START + 5 * DAY + HOUR]
    story.pass_time(3 * DAY)
    assert story.sent == ["in_vain"]


def test_a_wait_until_an_event_may_end_at_a_local_time():
    story = waiting(until("store.visited"), **{"for": "0s", "time": "09:00"})

    assert story.wake_at == START + 23 * HOUR


def test_a_record_of_an_older_release_is_read_and_its_waits_go_on():
    story = waiting(until("message.clicked"), steps=[send("mail")])
    whole = msgspec.to_builtins(story.customer, builtin_types=(bytes,))
    at = type(story.customer).__struct_fields__.index("enrollments")
    whole[at] = enrollments = [list(one) for one in whole[at]]
    sent_at = type(story.customer.enrollments[0]).__struct_fields__.index("sent")
    assert list(enrollments[0][sent_at]) == [story.commands[0].id]
    del enrollments[0][sent_at:]
    assert len(enrollments[0]) == Enrollment.__struct_fields__.index("sent")
    stored = encode_customer(story.customer)[:9] + msgspec.msgpack.encode(whole)

    story.customer = decode_customer(stored)
    story.pass_time(3 * DAY)

    assert story.sent == ["mail", "in_vain"]
