"""Enrollments whose journey has changed under them: finished, or ended with a reason."""

import pytest

from orchestrator.core.decision import Ended, EndReason
from tests.core.builders import DAY, HOUR, Story, event, journey, purchase, send, shop_of, wait

V1 = journey("j", "seen", [send("hello"), wait("old_wait", "4h"), send("bye")], exits=["purchase"])
V1_CHANGED = journey("j", "seen", [send("hello"), wait("new_wait", "4h"), send("bye")])
V2 = journey("j", "seen", [send("hi"), wait("wait", "4h"), send("bye")], version=2)


def standing_in_v1(journeys):
    story = Story(shop_of(V1))
    story.tell(event("seen", "e1"))
    story.journeys = journeys
    return story


@pytest.mark.parametrize(
    ("journeys", "reason"),
    [
        (shop_of(V2), EndReason.VERSION_GONE),
        (shop_of(), EndReason.VERSION_GONE),
        (shop_of(V1_CHANGED), EndReason.STEP_GONE),
    ],
)
@pytest.mark.parametrize("by_timer", [True, False])
def test_what_is_gone_ends_with_a_reason_cancels_and_a_fence(journeys, reason, by_timer):
    story = standing_in_v1(journeys)

    if by_timer:
        story.pass_time(4 * HOUR)
    else:
        story.tell(event("store.visited", "v"))

    (ended,) = [entry for entry in story.entries if isinstance(entry, Ended)]
    assert ended.reason is reason
    assert story.commands[-1].cancels == (story.commands[0].id,)
    assert [entry.enrollment for entry in story.decisions[-1].fence or ()] == ["j#1"]
    assert story.standing_in == {}
    assert story.wake_at is None


def test_the_gone_version_does_not_block_the_new_one():
    story = standing_in_v1(shop_of(V2))
    story.tell(event("seen", "e2"))

    assert story.standing_in == {"j#2": "wait"}
    assert story.sent == ["hello", "hi"]


def test_an_event_can_exit_while_another_version_is_gone():
    story = standing_in_v1(shop_of(V1, V2))
    story.tell(purchase("1", "tent"))

    assert [e.reason for e in story.entries if isinstance(e, Ended)] == [EndReason.EXIT]


def test_a_backfilled_event_leaves_everything_as_it_is():
    story = standing_in_v1(shop_of())
    story.tell(event("store.visited", "v", backfill=True))

    assert list(story.standing_in) == ["j#1"]


def test_time_never_goes_back_for_a_customer():
    story = Story(shop_of(V1))
    story.tell(event("seen", "e1"))
    story.now -= DAY

    decision = story.tell(purchase("1", "tent", at=story.now))

    assert decision.now_ms == story.customer.now_ms == story.now + DAY
