"""The best hour of the day: named, learned or the shop's, and always to come."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.calendar import minute_of_day, zone_named
from orchestrator.core.decision import Moved
from orchestrator.core.encoded.state import encode_customer
from orchestrator.core.journeys import Journeys
from orchestrator.core.language.shop import BEST_HOURS, Channel, Shop
from orchestrator.core.rules.learning.hours import HALF_LIFE_MS, counted
from tests.core.builders import DAY, HOUR, MINUTE, START, Story, event, journey, send, shop_of, wait

OPENED, CLICKED, REPLIED = "message.opened", "message.clicked", "message.replied"
ENTERS = "product.viewed"
CURVE = {9: 1, 20: 3}


def letter(wait_="best_time", **more):
    return journey("letter", ENTERS, [wait("w", wait_), send("mail")], reentry="always", **more)


def story_of(*journeys, now=START, zone="UTC", best_hours=None, **shop):
    said = {"zone": zone, "best_hours": best_hours or CURVE, **shop}
    shop_ = Shop.model_validate(said)
    return Story(shop_of(*(journeys or [letter()]), shop=shop_), now=now)


def respond(story, type_, hour, *, times=1, days_ago=1):
    for _ in range(times):
        at = START - START % DAY - days_ago * DAY + hour * HOUR
        number = len(story.decisions)
        story.tell(event(type_, f"r{number}", at=at, command_id="m1"))


def known(story, **attributes):
    number = len(story.decisions)
    story.tell(event("profile.updated", f"p{number}", attributes=attributes))


def enter(story):
    """Let the customer come to the wait; return until when."""
    story.tell(event(ENTERS, f"v{len(story.decisions)}", at=story.now))
    return next(e.wake_at_ms for e in reversed(story.entries) if isinstance(e, Moved))


def instant(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def test_nobody_known_is_thought_to_be_like_the_shops_curve():
    story = story_of()

    assert enter(story) == START + 10 * HOUR  # START is ten in the morning, the best hour is 20.
    story.pass_time(DAY)
    assert story.sent == ["mail"]


def test_a_shop_that_declares_nothing_has_a_curve_with_its_best_in_the_evening():
    assert max(BEST_HOURS, key=BEST_HOURS.__getitem__) == 20
    assert Shop().best_hours == BEST_HOURS


@pytest.mark.parametrize(("answer", "times"), [(OPENED, 4), (CLICKED, 2), (REPLIED, 1)])
def test_who_answers_at_another_hour_is_written_to_then(answer, times):
    """A reply says more than a click, and a click more than an opening, which programs do too."""
    story = story_of()
    respond(story, answer, 14, times=times)

    assert enter(story) == START + 4 * HOUR


def test_a_single_opening_is_not_believed():
    story = story_of()
    respond(story, OPENED, 3)

    assert enter(story) == START + 10 * HOUR


def test_what_is_newer_counts_for_more():
    story = story_of()
    respond(story, CLICKED, 15, times=5, days_ago=100)
    respond(story, CLICKED, 13, times=4, days_ago=2)

    assert enter(story) == START + 3 * HOUR


def test_who_has_been_silent_for_long_keeps_their_habits():
    story = story_of()
    respond(story, CLICKED, 14, times=2, days_ago=500)

    assert enter(story) == START + 4 * HOUR


@pytest.mark.parametrize("named", [12, "12", "12:00", "12:30"])
def test_the_hour_that_the_customer_names_counts_before_anything_learned(named):
    story = story_of()
    respond(story, REPLIED, 14, times=9)
    known(story, preferred_hour=named)

    assert enter(story) == START + 2 * HOUR


@pytest.mark.parametrize("named", [24, -1, "noon", True, None, [12], 12.5, ""])
def test_what_is_no_hour_counts_for_nothing(named):
    story = story_of()
    known(story, preferred_hour=named)

    assert enter(story) == START + 10 * HOUR


def test_the_hour_is_one_of_the_customers_own_clock():
    story = story_of()
    known(story, zone="Asia/Kathmandu", preferred_hour=9)

    assert enter(story) == START + DAY - 6 * HOUR - 45 * MINUTE  # 09:00 there is 03:15 UTC.


def test_answers_are_counted_in_the_hour_of_the_customers_own_clock():
    story = story_of()
    known(story, zone="Asia/Tokyo")
    respond(story, REPLIED, 5)  # 14:00 in Tokyo.

    assert enter(story) == START + 19 * HOUR


def test_who_is_in_that_hour_goes_on_with_the_next_minute():
    story = story_of(now=START + 10 * HOUR + 30 * MINUTE + 7)

    assert enter(story) == START + 10 * HOUR + 31 * MINUTE


def test_after_a_wait_the_hour_that_it_is_then_counts_as_come():
    story = story_of(letter({"for": "3d", "best_time": True}), now=START + 10 * HOUR)

    assert enter(story) == story.now + 3 * DAY


def test_within_a_few_hours_the_best_of_those_that_come_is_chosen():
    story = story_of(letter({"best_time": True, "within": "4h"}), best_hours={9: 5, 13: 1, 12: 2})

    assert enter(story) == START + 2 * HOUR


def test_an_hour_that_the_customer_names_and_that_does_not_come_in_time_is_not_waited_for():
    story = story_of(letter({"best_time": True, "within": "4h"}), best_hours={12: 1})
    known(story, preferred_hour=20)

    assert enter(story) == START + 2 * HOUR


QUIET = {"from": "19:30", "to": "08:00"}


def test_a_quiet_hour_is_no_best_one():
    assert enter(story_of(quiet_hours=QUIET)) == START + 23 * HOUR


@pytest.mark.parametrize("more", [{"kind": "transactional"}, {"kind": "promotional"}])
def test_a_journey_that_does_not_keep_quiet_hours_waits_for_them_too(more):
    said = letter(**more)
    if more["kind"] == "promotional":
        said = said.model_copy(update={"quiet_hours": "ignore"})

    assert enter(story_of(said, quiet_hours=QUIET)) == START + 10 * HOUR


OWN = {"from": "12:00", "to": "08:00"}


class TestQuietHoursOfChannels:
    """The hour is one at which the message that comes next may go out."""

    def enter(self, *steps, **shop):
        channels = {
            "sms": Channel(kind="message", needs_consent=False, quiet_hours=OWN),
            "web": Channel(kind="message", needs_consent=False, quiet_hours="none"),
            "email": Channel(kind="message", needs_consent=False),
        }
        said = {"zone": "UTC", "best_hours": CURVE, "quiet_hours": QUIET, **shop}
        letter = journey("letter", ENTERS, [wait("w", "best_time"), *steps])
        return enter(Story(Journeys(Shop.model_validate(said), channels, [letter])))

    def test_a_channel_with_quiet_hours_of_its_own_is_waited_for(self):
        assert self.enter(send("text", "sms")) == START + 23 * HOUR
        assert self.enter(send("text", "sms"), best_hours={10: 1, 20: 3}) == START + MINUTE

    def test_a_channel_without_any_has_all_hours(self):
        assert self.enter(send("card", "web")) == START + 10 * HOUR

    def test_only_the_message_that_comes_next_counts(self):
        assert self.enter(send("card", "web"), send("text", "sms")) == START + 10 * HOUR
        assert self.enter(wait("w2", "1h"), send("card", "web")) == START + 23 * HOUR

    def test_on_every_way_that_leads_to_one(self):
        arms = {"id": "b", "branch": [{"when": "profile.a == 1", "next": "text"}, {"next": "card"}]}
        ways = [send("text", "sms", goes_to="end"), send("card", "web"), {"id": "end", "end": "x"}]

        assert self.enter(arms, *ways) == START + 23 * HOUR
        assert self.enter({"id": "g", "go_to": "card"}, *ways) == START + 10 * HOUR

    def test_and_on_every_channel_that_it_may_take(self):
        said = {"id": "s", "send": {"channel": "web", "or": "sms", "template": "t"}}

        assert self.enter(said) == START + 23 * HOUR

    def test_where_some_channel_is_quiet_at_every_hour_the_best_one_is_waited_for(self):
        quiet = {"from": "08:00", "to": "20:30"}

        said = {"id": "s", "send": {"channel": "email", "or": "sms", "template": "t"}}
        assert self.enter(said, quiet_hours=quiet) == START + 10 * HOUR


def why(story):
    enter(story)
    return next(e.detail for e in reversed(story.entries) if isinstance(e, Moved))


class TestTheLogSaysWhy:
    def test_the_shops_curve(self):
        assert why(story_of()) == "best_hours: 20:00"

    def test_the_customers_answers(self):
        story = story_of()
        respond(story, REPLIED, 7, times=3)

        assert why(story) == "learned: 07:00"

    def test_their_own_word(self):
        story = story_of()
        known(story, preferred_hour="19:00")

        assert why(story) == "named: 19:00"

    def test_a_wait_that_chooses_nothing_says_nothing(self):
        story = story_of(letter("2h"))
        enter(story)

        assert [e.detail for e in story.entries if isinstance(e, Moved)] == [None]


def test_equal_hours_are_decided_by_the_first_that_comes():
    assert enter(story_of(best_hours={8: 1, 15: 1, 22: 1})) == START + 5 * HOUR


@pytest.mark.parametrize(
    ("now", "hour", "expected"),
    [
        # 29 March 2026, Madrid: 02:00 becomes 03:00. The hour that there is not begins at 03:00.
        ("2026-03-28T23:30", 2, "2026-03-29T01:00"),
        ("2026-03-28T19:30", 20, "2026-03-28T19:31"),
        ("2026-03-28T20:30", 20, "2026-03-29T18:00"),
        # 25 October 2026: 02:00 comes twice, and a day has 25 hours.
        ("2026-10-24T22:30", 2, "2026-10-25T00:00"),
        ("2026-10-25T01:30", 2, "2026-10-25T01:31"),
        ("2026-10-24T19:30", 20, "2026-10-25T19:00"),
    ],
)
def test_when_the_clocks_change_the_hour_is_the_one_they_show(now, hour, expected):
    story = story_of(zone="Europe/Madrid", now=instant(now), best_hours={hour: 1})

    assert enter(story) == instant(expected)


def test_nothing_is_learned_where_no_journey_waits_for_it():
    story = story_of(letter("1h"))
    respond(story, REPLIED, 14)

    assert story.customer.hours is None


ANSWERS = st.lists(
    st.tuples(
        st.sampled_from([OPENED, CLICKED, REPLIED]),
        st.integers(0, 270 * 24).map(lambda hours: START - hours * HOUR),
    ),
    max_size=8,
)


@settings(max_examples=100, deadline=None)
@given(answers=ANSWERS, data=st.data())
def test_any_order_of_arrival_of_the_answers_of_ten_months_teaches_the_same(answers, data):
    told = [event(type_, f"r{n}", at=at, command_id="m") for n, (type_, at) in enumerate(answers)]
    one, other = story_of(), story_of()
    for answer in told:
        one.tell(answer)
    for answer in data.draw(st.permutations(told)):
        other.tell(answer)

    assert one.customer.hours == other.customer.hours


@settings(max_examples=100, deadline=None)
@given(answers=ANSWERS, repeats=st.lists(st.integers(0, 7), max_size=5))
def test_an_answer_that_is_told_twice_changes_nothing(answers, repeats):
    told = [event(type_, f"r{n}", at=at, command_id="m") for n, (type_, at) in enumerate(answers)]
    story = story_of()
    for answer in told:
        story.tell(answer)
    before = encode_customer(story.customer)
    for choice in repeats:
        if choice < len(told):
            story.tell(told[choice])

    assert encode_customer(story.customer) == before


@settings(max_examples=60, deadline=None)
@given(
    answers=st.lists(
        st.tuples(st.integers(0, 23), st.integers(-(10**14), 10**14), st.integers(1, 4096)),
        max_size=200,
    )
)
def test_what_is_learned_is_48_bytes_whatever_comes(answers):
    held = None
    for hour, at, weight in answers:
        held = counted(held, hour, at, weight)

        assert len(held.counts) == 48


def test_counts_stop_before_they_overflow():
    held = None
    for _ in range(100):
        held = counted(held, 3, HALF_LIFE_MS, 3072)

    assert held.counts[6:8] == b"\xff\xff"


ZONES = st.sampled_from(
    ["UTC", "Europe/Madrid", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]
)


@settings(max_examples=300, deadline=None)
@given(
    now=st.integers(instant("2026-01-01T00:00"), instant("2027-12-31T00:00")),
    zone=ZONES,
    within=st.integers(1, 24),
    named=st.none() | st.integers(0, 23),
    curve=st.dictionaries(st.integers(0, 23), st.integers(1, 9), min_size=1, max_size=6),
    quiet=st.booleans(),
)
def test_the_hour_is_always_to_come_and_within_the_bound(now, zone, within, named, **hours):
    said = letter({"best_time": True, "within": f"{within}h"})
    curve, quiet = hours["curve"], QUIET if hours["quiet"] else None
    story = story_of(said, now=now, zone=zone, best_hours=curve, quiet_hours=quiet)
    if named is not None:
        known(story, preferred_hour=named)

    at = enter(story)

    # A whole day is one of the calendar, which has 25 hours once a year.
    assert now < at <= now + (25 if within == 24 else within) * HOUR
    if within == 24 and named is not None:
        skipped = 1  # The hour that the clocks leave out begins with the next one.
        assert (minute_of_day(at, zone_named(zone)) // 60 - named) in (0, skipped)
