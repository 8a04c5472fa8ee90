"""Waits until a local time, a weekday or a date: whose zone counts, and what is skipped."""

import pytest

from orchestrator.core.decision import Ended, EndReason
from orchestrator.core.language.shop import Shop
from tests.core.builders import DAY, HOUR, MINUTE, START, Story, event, journey, send, shop_of

NINE = {"time": "09:00"}


def waiting(until, *, where=None, shop="UTC", **attributes):
    """Return the story of somebody who came to a wait on Sunday, 10:00 UTC."""
    steps = [{"id": "w", "wait": until}, send("after")]
    one = journey("j", "seen", steps).model_copy(update={"zone": where})
    story = Story(shop_of(one, shop=Shop(zone=shop)))
    story.tell(event("profile.updated", "p", attributes=attributes))
    story.tell(event("seen", "e1"))
    return story


@pytest.mark.parametrize(
    ("profile", "zone", "shop", "hours"),
    [
        ({"zone": "Asia/Tokyo"}, "America/New_York", "UTC", 14),
        ({}, "America/New_York", "Asia/Tokyo", 4),
        ({}, None, "Asia/Tokyo", 14),
        ({}, None, "UTC", 23),
        ({"zone": "Asia/Tokio"}, "America/New_York", "UTC", 4),
        ({"zone": "Asia/Tokio"}, None, "Asia/Tokyo", 14),
        ({"zone": 9}, None, "Asia/Tokyo", 14),
        ({"zone": None}, None, "Asia/Tokyo", 14),
        ({"zone": "../../etc/passwd"}, None, "UTC", 23),
    ],
)
def test_the_zone_is_the_customers_else_the_journeys_else_the_shops(profile, zone, shop, hours):
    story = waiting(NINE, where=zone, shop=shop, **profile)

    assert story.wake_at == START + hours * HOUR


def test_a_quarter_of_an_hour_is_not_lost():
    story = waiting({"time": "17:00"}, where="Asia/Kathmandu")

    assert story.wake_at == START + HOUR + 15 * MINUTE


def test_at_least_so_long_and_then_at_nine():
    assert waiting({"for": "3d", "time": "09:00"}).wake_at == START + 4 * DAY - HOUR


def test_a_weekday_or_one_of_several():
    assert waiting({"weekday": "thursday", "time": "10:00"}).wake_at == START + 4 * DAY
    assert waiting({"weekday": ["monday", "thursday"]}).wake_at == START + 14 * HOUR


def test_a_date_of_the_customer():
    story = waiting({"date": "profile.renewal", "before": "2d", **NINE}, renewal="2026-11-30")
    assert story.wake_at == START + 6 * DAY - HOUR

    story.pass_time(6 * DAY)

    assert story.sent == ["after"]


def test_a_date_that_has_passed_skips_the_wait():
    assert waiting({"date": "profile.renewal"}, renewal="2026-11-22").sent == ["after"]


def test_a_birthday_that_has_passed_is_next_year():
    story = waiting({"date": "profile.birthday", "yearly": True, **NINE}, birthday="1990-11-22")

    assert story.wake_at == START + 365 * DAY - HOUR


@pytest.mark.parametrize("renewal", [None, "soon", 17, "2090-01-01"])
def test_a_date_that_nobody_knows_ends_the_enrollment_with_a_reason(renewal):
    story = waiting({"date": "profile.renewal"}, renewal=renewal)

    (end,) = [entry for entry in story.entries if isinstance(entry, Ended)]
    assert (end.reason, end.step) == (EndReason.STEP_FAILED, "w")
    assert "profile.renewal" in (end.detail or "")
    assert story.sent == []


def test_a_wait_fires_once_after_an_outage_over_the_night_of_the_change():
    """Madrid, 25 October 2026: 02:30 comes twice, and the worker was away for both."""
    change = 1_792_886_400_000  # 2026-10-25 00:00 UTC
    steps = [{"id": "w", "wait": {"time": "02:30"}}, send("after"), {"id": "r", "go_to": "w"}]
    story = Story(shop_of(journey("j", "seen", steps), shop=Shop(zone="Europe/Madrid")), now=change)
    story.tell(event("seen", "e1", at=change))
    assert story.wake_at == change + 30 * MINUTE

    story.now += 2 * HOUR
    story.fire()

    assert story.sent == ["after"]
    assert story.wake_at == change + DAY + 90 * MINUTE
