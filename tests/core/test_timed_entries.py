"""Entries that no event makes: a time table, a date of the customer, an absence, a segment."""

from datetime import datetime

import pytest

from orchestrator.core.calendar import latest_occurrence, next_occurrence, zone_named
from orchestrator.core.decision import EntryRefused, Refusal
from tests.core.builders import DAY, HOUR, START, Story, event, journey, purchase, send, shop_of

GOLD = 'profile.tier == "gold"'


def profile(event_id="p1", at=START, **attributes):
    return event("profile.updated", event_id, at=at, attributes=attributes)


def story_of(*journeys, tell=()):
    story = Story(shop_of(*journeys))
    for one in tell:
        story.tell(one)
    return story


def scheduled(**more):
    return journey("news", None, [send("news")], schedule={"cron": "0 9 * * 1"}, **more)


def test_a_time_of_the_table_enters_those_for_whom_the_condition_holds():
    gold = story_of(scheduled(when=GOLD), tell=[profile(tier="gold")])
    other = story_of(scheduled(when=GOLD), tell=[profile(tier="none")])

    assert gold.visit("news").commands
    assert not other.visit("news").commands
    assert other.customer.memories == {}


def test_a_time_enters_once_whoever_asks_twice():
    story = story_of(scheduled(), tell=[profile(tier="gold")])

    story.visit("news", at=START)
    story.visit("news", at=START)
    assert story.sent == ["news"]

    story.now += DAY
    story.visit("news", at=START + DAY)
    assert story.sent == ["news", "news"]


def test_a_visit_that_changes_nothing_leaves_the_customer_as_they_were():
    story = story_of(scheduled(when=GOLD), tell=[profile(tier="none")])
    before = story.customer

    assert story.visit("news").customer == before


def test_a_purchase_before_the_visit_and_after_its_time_still_keeps_the_customer_out():
    """The round is slow, the purchase was fast: one rule for order."""
    story = story_of(scheduled(exits=["purchase"]), tell=[profile(tier="gold")])
    story.now += HOUR
    story.tell(purchase("1", "tent-2", at=story.now))

    (refused,) = story.visit("news", at=START).entries

    assert refused.reason is Refusal.EXITED_LATER


def test_a_visit_of_another_version_does_nothing():
    story = story_of(scheduled(version=2), tell=[profile(tier="gold")])

    assert story.visit("news", version=1).entries == ()


def birthday(**more):
    date = {"of": "profile.birthday", "yearly": True, "time": "09:00", **more}
    return journey("birthday", None, [send("cake")], date=date)


def test_a_birthday_enters_every_year_at_local_time():
    story = story_of(birthday(), tell=[profile(birthday="1990-11-24", zone="Europe/Madrid")])

    story.pass_time(2 * DAY)

    assert story.sent == ["cake"]
    assert story.commands[0].time_ms == START + 46 * HOUR  # 24 November, 08:00 UTC.
    story.pass_time(366 * DAY)
    assert story.sent == ["cake", "cake"]


def test_who_tells_another_birthday_is_congratulated_then():
    story = story_of(birthday(), tell=[profile(birthday="1990-11-24")])

    story.tell(profile("p2", at=START + 1, birthday="1990-12-24"))
    story.pass_time(10 * DAY)

    assert story.sent == []


def test_a_change_of_something_else_does_not_lose_a_birthday_that_is_overdue():
    """The worker was down over nine o'clock; the first thing it hears is a new address."""
    story = story_of(birthday(), tell=[profile(birthday="1990-11-24")])
    story.now += 2 * DAY

    story.tell(profile("p2", at=story.now, city="Porto"))
    story.fire()

    assert story.sent == ["cake"]


def test_a_date_that_is_too_long_ago_is_let_go():
    story = story_of(birthday(), tell=[profile(birthday="1990-11-24")])
    story.now += 8 * DAY

    (refused,) = story.fire().entries

    assert isinstance(refused, EntryRefused)
    assert refused.reason is Refusal.TOO_OLD
    assert story.wake_at > story.now + 300 * DAY


def test_a_date_before_its_time_and_one_that_has_passed():
    renewal = {"of": "profile.renewal", "before": "7d"}
    story = story_of(
        journey("renew", None, [send("renew")], date=renewal),
        tell=[profile(renewal="2026-12-24")],
    )
    story.pass_time(40 * DAY)
    story.tell(profile("p2", at=story.now, renewal="2026-12-30"))
    story.pass_time(DAY)

    assert story.sent == ["renew"]
    assert story.wake_at is None


@pytest.mark.parametrize("value", ["soon", 17, None, "2026-02-30", ["2026-01-01"]])
def test_what_is_no_date_enters_nothing(value):
    assert story_of(birthday(), tell=[profile(birthday=value)]).wake_at is None


def lapsed(**more):
    return journey(
        "lapsed", None, [send("miss_you")], absence={"of": "purchase", "for": "90d", **more}
    )


def test_who_has_not_bought_for_so_long_is_missed_once():
    story = story_of(lapsed(), tell=[purchase("1", "tent-2")])

    story.pass_time(89 * DAY)
    assert story.sent == []
    story.pass_time(200 * DAY)

    assert story.sent == ["miss_you"]


def test_a_purchase_starts_the_count_anew():
    story = story_of(lapsed(), tell=[purchase("1", "tent-2")])
    story.pass_time(80 * DAY)

    story.tell(purchase("2", "mug", at=story.now))
    story.pass_time(80 * DAY)

    assert story.sent == []
    story.pass_time(10 * DAY)
    assert story.sent == ["miss_you"]


def test_who_never_bought_is_not_absent():
    story = story_of(lapsed(), tell=[profile(tier="none")])

    assert story.wake_at is None


def test_history_says_since_when_and_enters_nobody():
    old = event(
        "purchase", "o", at=START - 200 * DAY, backfill=True,
        order_id="1", items=[{"sku": "a"}], total=1, currency="EUR",
    )  # fmt: skip
    story = story_of(lapsed(), tell=[old])

    assert story.wake_at is None
    recent = event(
        "purchase", "n", at=START - 30 * DAY, backfill=True,
        order_id="2", items=[{"sku": "a"}], total=1, currency="EUR",
    )  # fmt: skip
    story.tell(recent)
    story.pass_time(60 * DAY)
    assert story.sent == ["miss_you"]


def test_only_what_the_condition_names_counts():
    story = story_of(lapsed(when="event.data.total > 100"), tell=[purchase("1", "a", total="90")])

    assert story.wake_at is None


def test_a_journey_that_is_new_looks_at_who_is_there_already():
    bought = story_of(tell=[profile(birthday="1990-11-24"), purchase("1", "tent-2")])
    bought.journeys = shop_of(lapsed(), birthday())

    bought.introduce("lapsed")
    bought.introduce("birthday")
    bought.introduce("birthday")
    bought.pass_time(100 * DAY)

    assert bought.sent == ["cake", "miss_you"]


def test_a_journey_that_is_gone_lets_nobody_enter():
    story = story_of(lapsed(), tell=[purchase("1", "tent-2")])
    story.journeys = shop_of()

    story.pass_time(100 * DAY)

    assert story.sent == []
    assert story.customer.watches == {}
    assert story.wake_at is None


def test_a_new_version_counts_by_its_own_time():
    story = story_of(lapsed(), tell=[purchase("1", "tent-2")])
    longer = journey(
        "lapsed", None, [send("miss_you")], absence={"of": "purchase", "for": "120d"}, version=2
    )
    story.journeys = shop_of(longer)

    story.pass_time(119 * DAY)
    assert story.sent == []
    story.pass_time(DAY)
    assert story.sent == ["miss_you"]


def test_a_new_version_with_a_shorter_time_enters_who_is_due_by_it():
    story = story_of(lapsed(), tell=[purchase("1", "tent-2")])
    shorter = journey(
        "lapsed", None, [send("miss_you")], absence={"of": "purchase", "for": "10d"}, version=2
    )
    story.journeys = shop_of(shorter)

    story.pass_time(12 * DAY)
    story.introduce("lapsed", version=2)
    story.pass_time(1)

    assert story.sent == ["miss_you"]
    story.pass_time(100 * DAY)
    assert story.sent == ["miss_you"]


def gold():
    return journey("gold", None, [send("welcome_gold")], segment=GOLD)


def test_who_comes_into_a_segment_enters_and_who_is_in_it_does_not_again():
    story = story_of(gold(), tell=[profile(tier="none")])

    story.tell(profile("p2", at=START + 1, tier="gold"))
    story.tell(profile("p3", at=START + 2, city="Porto"))

    assert story.sent == ["welcome_gold"]


def test_who_leaves_a_segment_and_comes_back_enters_again():
    story = story_of(gold(), tell=[profile(tier="gold"), profile("p2", at=START + 1, tier="none")])

    story.tell(profile("p3", at=START + 2, tier="gold"))

    assert story.sent == ["welcome_gold"] * 2


def test_what_a_step_writes_may_bring_somebody_into_a_segment():
    makes = journey("makes", "seen", [{"id": "s", "set": {"tier": {"to": "gold"}}}])
    story = story_of(gold(), makes, tell=[event("seen", "e1")])

    assert story.sent == ["welcome_gold"]


def test_history_brings_nobody_into_a_segment():
    known = event("profile.updated", "p", backfill=True, attributes={"tier": "gold"})
    story = story_of(gold(), tell=[known])

    story.tell(profile("p2", at=START + 1, city="Porto"))

    assert story.sent == []


MADRID = "Europe/Madrid"


@pytest.mark.parametrize(
    ("cron", "zone", "now", "last", "following"),
    [
        ("0 9 * * 1", MADRID, "2026-11-23T07:59", "2026-11-16T08:00", "2026-11-23T08:00"),
        ("0 9 * * 1", MADRID, "2026-11-23T08:00", "2026-11-23T08:00", "2026-11-30T08:00"),
        # 02:30 is skipped on 29 March 2026 and shown twice on 25 October.
        ("30 2 * * *", MADRID, "2026-03-29T12:00", "2026-03-29T01:00", "2026-03-30T00:30"),
        ("30 2 * * *", MADRID, "2026-10-25T12:00", "2026-10-25T00:30", "2026-10-26T01:30"),
        ("0 6 29 2 *", "UTC", "2027-06-01T00:00", "2024-02-29T06:00", "2028-02-29T06:00"),
        ("0 9 * * *", "Asia/Kathmandu", "2026-11-22T10:00", "2026-11-22T03:15", "2026-11-23T03:15"),
    ],
)
def test_times_of_a_table_are_those_of_its_zone(cron, zone, now, last, following):
    """All of them in UTC here."""
    at = _ms(now)

    assert latest_occurrence(cron, zone_named(zone), at) == _ms(last)
    assert next_occurrence(cron, zone_named(zone), at) == _ms(following)


def _ms(instant):
    return int(datetime.fromisoformat(instant + "Z").timestamp() * 1000)
