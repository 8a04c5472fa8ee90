"""What waits at its step, and which promotion goes when several are due at once."""

from __future__ import annotations

import pytest

from orchestrator.core.decision import Hold, Refusal
from orchestrator.core.language.journey import Journey
from tests.core.builders import DAY, HOUR, MINUTE, START, event, journey, send, wait
from tests.core.guarded import SEEN, consent, held, refused, see, story_of

# -- Quiet hours, spacing, people --------------------------------------------------------------

NIGHT = {"from": "21:00", "to": "09:00"}


def test_what_is_due_in_quiet_hours_waits_for_their_end():
    story = story_of(
        journey("j", SEEN, [send("offer"), wait("w", "1h"), send("b")]), quiet_hours=NIGHT
    )
    story.now += 12 * HOUR  # 22:00 in UTC.
    see(story)

    assert story.sent == []
    assert held(story) == [("offer", Hold.QUIET_HOURS, story.now + 11 * HOUR)]
    story.pass_time(11 * HOUR)
    assert story.sent == ["offer"]
    story.pass_time(HOUR)
    assert story.sent == ["offer", "b"]


@pytest.mark.parametrize(
    ("zone", "goes"), [("Asia/Tokyo", True), ("Asia/Kathmandu", False), ("Nowhere/Land", False)]
)
def test_quiet_hours_are_those_of_the_customer_and_without_a_zone_those_of_the_shop(zone, goes):
    """The trap: without a zone others keep no quiet hours at all."""
    story = story_of(journey("j", SEEN, [send("offer")]), quiet_hours=NIGHT)
    story.now += 15 * HOUR  # 01:00 in UTC, 10:00 in Tokyo, 06:45 in Kathmandu.
    story.tell(event("profile.updated", "p", at=START, attributes={"zone": zone}))
    see(story)

    assert (story.sent == ["offer"]) is goes


def test_a_purchase_in_the_night_ends_what_is_held():
    story = story_of(journey("j", SEEN, [send("offer")], exits=["purchase"]), quiet_hours=NIGHT)
    story.now += 12 * HOUR
    see(story)
    story.tell(event("purchase", "p", at=story.now + 1, order_id="1", items=[]))
    story.pass_time(DAY)

    assert story.sent == []
    assert story.customer.enrollments == ()


def test_everything_is_asked_again_when_quiet_hours_end():
    story = story_of(journey("j", SEEN, [send("offer")]), quiet_hours=NIGHT)
    story.now += 12 * HOUR
    see(story)
    consent(story, granted=False)
    story.pass_time(12 * HOUR)

    assert refused(story)[0][1] is Refusal.NO_CONSENT


def test_what_expires_in_the_night_is_not_sent_in_the_morning():
    steps = [send("offer", expires_after="2h"), wait("w", "1h"), send("later", channel="web")]
    story = story_of(journey("j", SEEN, steps), quiet_hours=NIGHT)
    story.now += 12 * HOUR
    see(story)
    story.pass_time(4 * HOUR)

    assert refused(story) == [("offer", Refusal.EXPIRED, None)]
    assert story.sent == ["later"]


def test_a_channel_and_a_journey_may_say_otherwise():
    loud = Journey.model_validate(
        journey("loud", SEEN, [send("now")]).model_dump(by_alias=True, exclude_unset=True)
        | {"quiet_hours": "ignore"}
    )
    silent = journey("silent", SEEN, [send("card", channel="web")], kind="service")
    receipt = Journey.model_validate(
        journey("receipt", SEEN, [send("r")], kind="transactional").model_dump(
            by_alias=True, exclude_unset=True
        )
        | {"quiet_hours": "keep"}
    )
    story = story_of(loud, silent, receipt, quiet_hours=NIGHT)
    story.now += 12 * HOUR
    see(story)

    assert sorted(story.sent) == ["card", "now"]
    assert [step for step, _, _ in held(story)] == ["r"]


def test_quiet_hours_end_once_where_the_clocks_are_changed():
    """02:30 does not exist on 28 March 2027 in Madrid; nobody is held for a day because of it."""
    story = story_of(
        journey("j", SEEN, [send("offer")]),
        quiet_hours={"from": "22:00", "to": "02:30"},
        zone="Europe/Madrid",
    )
    story.now = 1_806_192_000_000  # 28 March 2027, 00:00 UTC, 01:00 in Madrid.
    see(story)

    assert held(story) == [("offer", Hold.QUIET_HOURS, story.now + HOUR)]  # 03:00 in Madrid.
    story.pass_time(2 * HOUR)
    assert story.sent == ["offer"]


def test_promotions_keep_their_distance_and_none_is_lost():
    other = journey("other", "search.done", [send("found")])
    story = story_of(
        journey("j", SEEN, [send("offer"), send("card", channel="web")]), other, spacing="4h"
    )
    see(story)
    story.now += HOUR
    story.tell(event("search.done", "s", at=story.now))

    # What one journey says at once belongs together.
    assert story.sent == ["offer", "card"]
    assert held(story) == [("found", Hold.SPACING, START + 4 * HOUR)]
    story.pass_time(3 * HOUR)
    assert story.sent[-1] == "found"


def test_while_a_person_talks_promotions_wait_and_the_rest_goes_on():
    service = journey("service", SEEN, [send("notice")], kind="service")
    story = story_of(journey("j", SEEN, [send("offer")]), service, handoff_timeout="6h")
    story.tell(event("handoff.started", "h1", at=story.now))
    see(story)
    assert story.sent == ["notice"]
    assert held(story) == [("offer", Hold.HANDOFF, START + 6 * HOUR)]

    story.now += HOUR
    story.tell(event("handoff.ended", "h2", at=story.now))
    assert story.sent == ["notice", "offer"]


def test_a_person_who_forgets_to_end_the_talk_stops_promotions_for_a_time_only():
    story = story_of(journey("j", SEEN, [send("offer")]), handoff_timeout="6h")
    story.tell(event("handoff.started", "h1", at=story.now))
    see(story)
    story.pass_time(7 * HOUR)

    assert story.sent == ["offer"]


# -- Arbitration -------------------------------------------------------------------------------


def prior(name, priority, *steps, **entry):
    model = journey(name, SEEN, steps or [send(name)], **entry)
    return model.model_copy(update={"priority": priority})


def test_of_promotions_due_at_once_the_one_of_the_higher_priority_goes():
    story = story_of(prior("a", 10), prior("b", 90), prior("c", 50))
    see(story)

    assert story.sent == ["b"]
    assert refused(story) == [
        ("c", Refusal.ARBITRATION, "b#1"),
        ("a", Refusal.ARBITRATION, "b#1"),
    ]


def test_at_one_priority_what_expires_first_goes_then_who_entered_first_then_the_name():
    soon = prior("z", 50, send("z", expires_after="1h"))
    story = story_of(prior("a", 50), soon)
    see(story)
    assert story.sent == ["z"]

    older = journey("y", "search.done", [wait("w", "1h"), send("y")])
    newer = journey("b", "store.visited", [wait("w", "59m"), send("b")])
    story = story_of(older, newer)
    story.tell(event("search.done", "s", at=story.now))
    story.now += MINUTE
    story.tell(event("store.visited", "v", at=story.now))
    story.now += 2 * HOUR
    story.fire()
    # The newer one was due with the older one; both expire at the same time.
    assert story.sent == ["y"]

    story = story_of(prior("b", 50), prior("a", 50))
    see(story)
    assert story.sent == ["a"]


def test_who_cannot_be_rendered_takes_nobodys_place():
    broken = prior("first", 90, send("first", variables={"name": "profile.nickname"}))
    story = story_of(broken, prior("second", 10))
    see(story)

    assert story.sent == ["second"]
    assert refused(story) == [("first", Refusal.MISSING_VARIABLE, "name")]


def test_messages_of_one_journey_do_not_compete_with_each_other():
    story = story_of(prior("a", 50, send("mail"), send("ring", channel="push")), prior("b", 10))
    see(story)

    assert story.sent == ["mail", "ring"]
    assert [step for step, _, _ in refused(story)] == ["b"]


def test_the_loser_goes_on_with_its_journey():
    loser = prior("b", 10, send("lost"), wait("w", "1d"), send("later"))
    story = story_of(prior("a", 50), loser)
    see(story)
    story.pass_time(DAY)

    assert story.sent == ["a", "later"]


def test_what_is_held_for_the_same_morning_competes_in_the_morning():
    late = journey("late", "search.done", [send("late")]).model_copy(update={"priority": 90})
    story = story_of(prior("early", 10), late, quiet_hours=NIGHT)
    story.now += 12 * HOUR
    see(story)
    story.now += HOUR
    story.tell(event("search.done", "s", at=story.now))
    story.pass_time(DAY)

    assert story.sent == ["late"]
    assert refused(story) == [("early", Refusal.ARBITRATION, "late#1")]


def test_service_and_transactional_messages_never_compete():
    service = journey("service", SEEN, [send("notice")], kind="service")
    receipt = journey("receipt", SEEN, [send("receipt")], kind="transactional")
    story = story_of(prior("a", 50), service, receipt)
    see(story)

    assert sorted(story.sent) == ["a", "notice", "receipt"]
