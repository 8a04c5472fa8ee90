"""What derived attributes set off: entries, waits, segments, templates, in the same decision."""

from __future__ import annotations

from tests.core.builders import DAY, START, event, journey, send
from tests.core.test_derived import bought, story_of, value

ZERO_BY_CEL = "profile.total_spent + 1.0 == 1.0"
DOUBLE_BY_CEL = "profile.total_spent * 2.0 > 200.0"


def test_history_fills_the_profile_and_starts_nothing():
    club = journey("club", None, [send("club")], segment='profile.tier == "gold"')
    story = story_of(club)

    story.tell(bought("1", "900.00", backfill=True))

    assert value(story, "tier") == "gold"
    assert story.sent == []


def test_who_has_nothing_counted_has_none_of_it_for_every_kind_of_condition():
    """One is decided by comparison, one by CEL, one is a path in a template."""
    text = send("text", variables={"orders": "profile.orders", "tier": "profile.tier"})
    story = story_of(
        journey("a", "quiz.done", [send("plain")], when="profile.orders == 0"),
        journey("b", "quiz.done", [send("cel")], when=ZERO_BY_CEL, kind="service"),
        journey("c", "quiz.done", [text], kind="service"),
    )

    story.tell(event("quiz.done", "q1"))

    assert sorted(story.sent) == ["cel", "plain", "text"]
    assert {"orders": 0, "tier": "base"} in [one.variables for one in story.commands]


def test_money_is_a_number_in_conditions_and_exact_in_templates():
    text = send("text", variables={"total": "profile.total_spent"})
    story = story_of(
        journey("a", "quiz.done", [send("plain")], when="profile.total_spent >= 100"),
        journey("b", "quiz.done", [send("cel")], when=DOUBLE_BY_CEL, kind="service"),
        journey("c", "quiz.done", [text], kind="service"),
    )
    story.tell(bought("1", "100.10"))

    story.tell(event("quiz.done", "q1"))

    assert sorted(story.sent) == ["cel", "plain", "text"]
    assert {"total": "100.10"} in [one.variables for one in story.commands]


def test_the_purchase_that_raises_the_tier_enters_the_club_in_the_same_decision():
    club = journey("club", None, [send("club")], segment='profile.tier == "gold"')
    when = 'profile.tier == "gold"'
    thanks = journey("thanks", "purchase", [send("gold_thanks")], when=when, kind="service")
    story = story_of(club, thanks)

    decision = story.tell(bought("1", "500.00"))

    assert sorted(c.template for c in decision.commands) == ["club", "gold_thanks"]


def test_a_return_that_lowers_the_tier_ends_a_wait_for_it_in_the_same_decision():
    step = {"for": "30d", "until": [{"when": 'profile.tier == "base"', "next": "sorry"}]}
    club = journey(
        "club",
        None,
        [{"id": "w", "wait": step}, send("no"), send("sorry")],
        segment='profile.tier == "gold"',
    )
    story = story_of(club)
    story.tell(bought("1", "500.00"))

    decision = story.tell(event("order.returned", "r", order_id="1"))

    assert [c.template for c in decision.commands] == ["sorry"]


def test_what_leaves_a_window_enters_and_ends_like_an_event():
    attributes = {
        "lately": {"count": "events", "on": "purchase", "within": "30d"},
        "activity": {"of": "lately", "tiers": [{"name": "asleep"}, {"name": "awake", "from": 1}]},
    }
    asleep = journey("asleep", None, [send("wake_up")], segment='profile.activity == "asleep"')
    story = story_of(asleep, attributes=attributes)
    story.tell(bought("1", "5.00"))

    story.pass_time(31 * DAY)

    assert story.sent == ["wake_up"]


def test_a_date_entry_follows_the_last_purchase():
    later = journey(
        "later", None, [send("how_is_it")], date={"of": "profile.last_purchase", "after": "10d"}
    )
    story = story_of(later)
    story.tell(bought("1", at=START))

    story.pass_time(9 * DAY)
    assert story.sent == []
    story.pass_time(2 * DAY)
    assert story.sent == ["how_is_it"]
