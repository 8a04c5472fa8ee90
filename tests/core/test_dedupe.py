"""An event takes effect once: by its identity, and by the business key of its type."""

from orchestrator.core.decision import Outcome
from orchestrator.core.rules import dedupe
from tests.core.builders import DAY, START, Story, event, item, journey, purchase, send, shop_of

NOBODY = shop_of()
THANKS = shop_of(journey("thanks", "purchase", [send("thank_you")], kind="transactional"))


def test_the_same_event_again_changes_nothing_at_all():
    story = Story(THANKS)
    story.tell(purchase("1", "tent"))
    before = story.customer

    again = story.tell(purchase("1", "tent"))

    assert again.outcome is Outcome.DUPLICATE
    assert again.commands == again.entries == ()
    assert again.fence is None
    assert story.customer == before


def test_a_reused_id_with_another_body_is_a_dead_letter_and_changes_nothing():
    story = Story(THANKS)
    story.tell(event("profile.updated", "p1", attributes={"tier": "gold"}))
    before = story.customer

    other = story.tell(event("profile.updated", "p1", attributes={"tier": "none"}))

    assert other.outcome is Outcome.REJECTED
    assert other.rejection is not None
    assert other.rejection.reason == "id_reused"
    assert "p1" in other.rejection.detail
    assert story.customer == before


def test_the_same_id_from_another_source_is_another_event():
    story = Story(THANKS)
    story.tell(event("store.visited", "1", source="/store"))

    assert story.tell(event("store.visited", "1", source="/app")).outcome is Outcome.APPLIED


def test_exactly_the_last_64_events_are_remembered():
    story = Story(NOBODY)
    story.tell(*(event("search.done", f"s{number}") for number in range(65)))

    assert len(story.customer.seen) == 64 * 12
    assert story.tell(event("search.done", "s1")).outcome is Outcome.DUPLICATE
    assert story.tell(event("search.done", "s0")).outcome is Outcome.APPLIED


def test_a_digest_that_lies_across_two_slots_is_no_match():
    first = event("search.done", "a")
    window = dedupe.remember(dedupe.remember(b"", first), event("search.done", "b"))
    forged = first.__class__(
        **{name: getattr(first, name) for name in first.__struct_fields__}
        | {"identity": window[4:12]}
    )

    assert dedupe.seen_before(window, forged) is dedupe.Seen.NEW


def test_an_order_takes_effect_once_whatever_the_event_is_called():
    story = Story(THANKS)
    story.tell(purchase("1001", "tent"))
    before = story.customer

    again = story.tell(event("purchase", "retry-7", source="/other", order_id="1001", items=[]))

    assert again.outcome is Outcome.DUPLICATE
    assert story.customer == before
    assert story.sent == ["thank_you"]


def test_a_return_is_known_by_order_and_items_in_any_order_of_lines_and_fields():
    story = Story(NOBODY)
    tent, boots = item("tent"), item("boots")
    story.tell(event("order.returned", "r1", order_id="1", items=[tent, boots]))
    shuffled = [dict(reversed(boots.items())), tent]

    again = story.tell(event("order.returned", "r2", order_id="1", items=shuffled))
    other_line = story.tell(event("order.returned", "r3", order_id="1", items=[boots]))
    cancelled = story.tell(event("order.cancelled", "c1", order_id="1", items=[tent, boots]))

    assert again.outcome is Outcome.DUPLICATE
    assert other_line.outcome is Outcome.APPLIED
    assert cancelled.outcome is Outcome.APPLIED


def test_a_business_key_is_forgotten_after_ninety_days():
    story = Story(THANKS)
    story.tell(purchase("1", "tent"))

    story.pass_time(90 * DAY)
    in_time = story.tell(event("purchase", "x1", at=story.now, order_id="1", items=[item("tent")]))
    story.pass_time(1)
    late = story.tell(event("purchase", "x2", at=story.now, order_id="1", items=[item("tent")]))

    assert in_time.outcome is Outcome.DUPLICATE
    assert late.outcome is Outcome.APPLIED
    assert len(story.customer.business) == 14


def test_a_backfilled_event_is_remembered_like_any_other():
    story = Story(THANKS)
    story.tell(event("purchase", "old", at=START - DAY, backfill=True, order_id="1", items=[]))

    assert story.tell(purchase("1", "tent")).outcome is Outcome.DUPLICATE
