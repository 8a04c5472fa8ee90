"""The order of the checks: what stands against handing over, and which reason is told first."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sender.rules.attempts import GRACE_MS, Attempt, State, attempt_of, encode_attempt
from orchestrator.sender.rules.command import Place
from orchestrator.sender.rules.verdict import DROP_REASONS, Drop, Go, Hold, Lost, Repeat, Wait
from tests.sender.builders import (
    HOUR_MS,
    NOW_MS,
    PROMOTIONAL_LANE,
    command,
    control,
    fence,
    rfc3339,
    view,
)


def stand(against: str, seen, changes: dict) -> None:
    """Let one thing stand against the command `c1`."""
    match against:
        case "duplicate":
            other = command(place=Place(PROMOTIONAL_LANE, 0, 99))
            note(seen, other, State.DELIVERED)
        case "expired":
            changes["expires_at"] = rfc3339(NOW_MS - 1)
        case "cancelled":
            seen.cancels.take(command("x", type="message.cancel", cancels=["c1"]))
        case "fenced":
            seen.fences.apply(b"ana", fence(sequence=5))
        case "killed":
            seen.controls.apply(*control("global", kill=True))
        case "test":
            changes["mode"] = "test"


def note(seen, one, state, by="them", **more) -> Attempt:
    attempt = attempt_of(one, state, by=by, now_ms=NOW_MS, **more)
    seen.attempts.apply(one.id.encode(), encode_attempt(attempt))
    return attempt


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(DROP_REASONS, 2)))
def test_of_two_reasons_the_earlier_check_is_told(first, second):
    seen, changes = view(), {}
    stand(first, seen, changes)
    stand(second, seen, changes)

    assert seen.verdict(command(**changes), NOW_MS) == Drop(first)


@given(st.sets(st.sampled_from(DROP_REASONS)))
def test_the_first_reason_of_any_set_is_told_and_none_lets_it_go(reasons):
    seen, changes = view(), {}
    for reason in reasons:
        stand(reason, seen, changes)
    told = next((reason for reason in DROP_REASONS if reason in reasons), None)

    assert seen.verdict(command(**changes), NOW_MS) == (Drop(told) if told else Go(1))


def test_nothing_goes_before_its_time_or_from_its_end_on():
    seen = view()
    one = command(not_before=rfc3339(NOW_MS + 10), expires_at=rfc3339(NOW_MS + 20))

    assert seen.verdict(one, NOW_MS) == Wait(NOW_MS + 10)
    assert seen.verdict(one, NOW_MS + 10) == Go(1)
    assert seen.verdict(one, NOW_MS + 20) == Drop("expired")


def test_what_is_taken_back_is_told_also_before_its_time():
    seen = view()
    seen.fences.apply(b"ana", fence())

    assert seen.verdict(command(not_before=rfc3339(NOW_MS + 10)), NOW_MS) == Drop("fenced")


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"sequence": 5}, Drop("fenced")),
        ({"sequence": 6}, Go(1)),
        ({"enrollment": "winter_sale/#2"}, Go(1)),
        ({"subject": "ben"}, Go(1)),
        ({"command_class": "transactional"}, Go(1)),
        ({"type": "audience.remove", "audience": "tents"}, Go(1)),
        ({"type": "audience.add", "audience": "tents"}, Drop("fenced")),
    ],
)
def test_a_fence_stops_promotions_of_its_enrollment_up_to_its_sequence(changes, verdict):
    seen = view()
    seen.fences.apply(b"ana", fence(sequence=5))

    assert seen.verdict(command(**changes), NOW_MS) == verdict


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"sequence": 5}, Drop("fenced")),
        ({"sequence": 5, "enrollment": "winter_sale/#2"}, Drop("fenced")),
        ({"sequence": 6}, Go(1)),
        ({"sequence": 5, "subject": "ben"}, Go(1)),
        ({"sequence": 5, "command_class": "transactional"}, Go(1)),
    ],
)
def test_the_fence_of_who_was_erased_stops_every_promotion_up_to_its_sequence(changes, verdict):
    seen = view()
    seen.fences.apply(b"ana", fence(enrollment="*", sequence=5))

    assert seen.verdict(command(**changes), NOW_MS) == verdict


@pytest.mark.parametrize(
    ("scope", "changes", "verdict"),
    [
        ("global", {}, Hold()),
        ("journey/winter_sale", {}, Hold()),
        ("channel/email", {}, Hold()),
        ("offer/tents10", {"offer": "tents10"}, Hold()),
        ("offer/tents10", {}, Go(1)),
        ("journey/welcome", {}, Go(1)),
        ("global", {"command_class": "service"}, Hold()),
        ("global", {"command_class": "transactional"}, Go(1)),
        ("global", {"type": "message.cancel", "cancels": ["c9"]}, Go(1)),
        ("global", {"type": "audience.remove", "audience": "tents"}, Go(1)),
    ],
)
def test_a_pause_holds_its_scope_and_never_what_ends_something(scope, changes, verdict):
    seen = view()
    seen.controls.apply(*control(scope))

    assert seen.verdict(command(**changes), NOW_MS) == verdict


@pytest.mark.parametrize(
    ("scope", "held"), [("global", True), ("channel/email", True), ("journey/winter_sale", False)]
)
def test_only_a_channel_or_everything_can_be_paused_for_transactional_ones(scope, held):
    seen = view()
    seen.controls.apply(*control(scope, transactional=True))
    verdict = seen.verdict(command(command_class="transactional"), NOW_MS)

    assert isinstance(verdict, Hold if held else Go)


def test_a_resume_ends_a_pause():
    seen = view()
    seen.controls.apply(*control("global", kill=True))
    seen.controls.apply(*control("global", paused=False))

    assert seen.verdict(command(), NOW_MS) == Go(1)


def test_test_mode_reaches_the_allowed_only_also_with_removals():
    seen = view(allowed=frozenset({"ben"}))
    removal = {"type": "audience.remove", "audience": "tents", "mode": "test"}

    assert seen.verdict(command(mode="test", subject="ben"), NOW_MS) == Go(1)
    assert seen.verdict(command(**removal), NOW_MS) == Drop("test")


def test_a_record_that_cannot_be_read_changes_nothing_that_stands():
    seen = view()
    seen.fences.apply(b"ana", fence())
    assert not seen.fences.apply(b"ana", b"{")
    assert not seen.controls.apply(b"global", b"[]")

    assert seen.verdict(command(), NOW_MS) == Drop("fenced")


def test_our_own_past_is_told_again_with_the_same_outcome():
    seen = view()
    attempt = note(seen, command(), State.FAILED, reason="too_long")

    assert seen.verdict(command(), NOW_MS + HOUR_MS) == Repeat(attempt)


def test_an_attempt_at_most_once_that_somebody_began_is_never_repeated():
    seen = view()
    once = command(delivery="at_most_once")
    attempt = note(seen, once, State.ATTEMPTING)

    assert seen.verdict(once, NOW_MS) == Lost(attempt)


def test_of_two_claims_the_first_in_the_log_holds_for_both():
    once = command(delivery="at_most_once")
    ours, theirs = view(by="us"), view(by="them")
    for seen in (ours, theirs):
        note(seen, once, State.ATTEMPTING, by="us")
        note(seen, once, State.ATTEMPTING, by="them")

    assert ours.verdict(once, NOW_MS) == Go(1)
    assert isinstance(theirs.verdict(once, NOW_MS), Lost)


def test_after_a_refusal_that_sent_nothing_it_is_tried_again_and_counted():
    seen = view()
    once = command(delivery="at_most_once")
    note(seen, once, State.ATTEMPTING)
    note(seen, once, State.WAITING)

    assert seen.verdict(once, NOW_MS) == Go(2)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["us", "them", "others"]),
            st.sampled_from([State.ATTEMPTING, State.WAITING, State.DELIVERED, State.FAILED]),
        ),
        max_size=8,
    )
)
def test_whatever_the_log_says_at_most_one_sender_may_call_at_most_once(log):
    """Each who was let go wrote a claim before; whoever reads the same log agrees who that is."""
    once = command(delivery="at_most_once")
    readers = {by: view(by=by) for by in ("us", "them", "others")}
    for seen in readers.values():
        for by, state in log:
            note(seen, once, state, by=by)
        for by in readers:
            note(seen, once, State.ATTEMPTING, by=by)
    going = [by for by, seen in readers.items() if isinstance(seen.verdict(once, NOW_MS), Go)]

    assert len(going) <= 1


def test_attempts_are_forgotten_a_day_after_their_command_expired_and_not_before():
    seen = view()
    note(seen, command(), State.DELIVERED)
    note(seen, command("open", delivery="at_most_once"), State.ATTEMPTING)
    end_ms = NOW_MS + HOUR_MS + GRACE_MS

    assert list(seen.attempts.pop_expired(end_ms)) == []
    assert [name for name, _ in seen.attempts.pop_expired(end_ms + 1)] == ["c1"]
    assert seen.attempts.get("c1") is None
    assert seen.attempts.get("open") is not None
