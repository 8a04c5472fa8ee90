"""A customer is forgotten: what ends and is recalled, what stays, and what no longer counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.core.command import CommandType
from orchestrator.core.customer import Cause
from orchestrator.core.decision import CustomerErased, Ended, EndReason, Outcome
from orchestrator.core.encoded.state import encode_customer
from orchestrator.core.event import Resumed
from orchestrator.core.identity.notices import MergeAsked, StateMoved
from orchestrator.core.rules.erasure import EVERY_ENROLLMENT, FENCE_GRACE_MS, is_forgotten
from orchestrator.protocol import outputs
from tests.core.builders import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    START,
    Story,
    event,
    item,
    journey,
    purchase,
    send,
    shop_of,
    wait,
)
from tests.core.test_laws import DATA, TYPES, shops

if TYPE_CHECKING:
    from orchestrator.core.decision import Decision
    from orchestrator.core.event import Event
    from orchestrator.core.journeys import Journeys

CART = journey(
    "cart",
    "cart.abandoned",
    [{"id": "add", "audience": {"add": "left_carts"}}, send("mail"), wait("w", "1h"), send("b")],
    key="event.data.cart_id",
    reentry="always",
)
CARE = journey(
    "care", "purchase", [{"id": "call", "task": {"template": "call"}}, wait("w", "30d")],
    kind="service",
)  # fmt: skip


def erased(event_id: str = "erase", *, at: int, **fields: Any) -> Event:
    return event("customer.erased", event_id, at=at, **fields)


def abandoned(number: int, *, at: int) -> Event:
    return event("cart.abandoned", f"c{number}", at=at, cart_id=f"cart-{number}")


def written(decision: Decision) -> bytes:
    """Everything of a decision that topics keep, but the fence."""
    log = outputs.encode_log(
        customer=decision.customer.id,
        now_ms=decision.now_ms,
        cause=outputs.timer_cause(0),
        outcome=decision.outcome,
        definitions_hash="",
        entries=decision.entries,
    )
    return log + b"".join(map(outputs.encode_command, decision.commands))


def lived(*journeys: Any) -> Story:
    """A customer with a cart left behind, an order and a name."""
    story = Story(shop_of(*(journeys or (CART, CARE))))
    story.tell(
        event(
            "profile.updated", "p", attributes={"email": "ana@example.com", "zone": "Asia/Tokyo"}
        ),
        abandoned(1, at=START),
        purchase("order-1", "tent"),
    )
    story.now += MINUTE
    return story


def test_everything_open_is_recalled_and_everything_known_is_gone():
    story = lived()
    numbered = story.customer.sequence

    decision = story.tell(erased(at=story.now))

    kinds = [command.type for command in decision.commands]
    assert sorted(kinds) == ["audience.remove", "message.cancel", "task.close"]
    assert [c.sequence for c in decision.commands] == [numbered + n for n in (1, 2, 3)]
    cancelled = {one for c in decision.commands for one in c.cancels}
    assert cancelled == {c.id for c in story.commands if c.type in ("message.send", "task.create")}
    customer = story.customer
    assert is_forgotten(customer)
    assert (customer.sequence, customer.attributes, customer.orders) == (numbered + 3, {}, ())
    assert (customer.enrollments, customer.memories, customer.exits) == ((), {}, ())
    assert (customer.seen, customer.business, customer.watches) == (b"", b"", {})


def test_the_log_says_that_it_happened_and_names_no_cart():
    story = lived()

    decision = story.tell(erased(at=story.now))

    assert CustomerErased(story.now, 2) in decision.entries
    ended = [entry for entry in decision.entries if isinstance(entry, Ended)]
    assert {(one.enrollment, one.reason) for one in ended} == {
        ("cart#1", EndReason.ERASED),
        ("care#1", EndReason.ERASED),
    }
    for known in (b"cart-1", b"order-1", b"ana@example", b"Tokyo", b"tent"):
        assert known not in written(decision)
        assert known not in encode_customer(story.customer)


def test_an_audience_that_two_enrollments_share_is_left_once():
    story = lived()
    story.tell(abandoned(2, at=story.now))

    decision = story.tell(erased(at=story.now))

    assert [c.type for c in decision.commands].count(CommandType.AUDIENCE_REMOVE) == 1


def test_promotions_are_fenced_by_name_for_senders_and_without_names_in_the_state():
    story = lived()
    last = story.customer.sequence

    decision = story.tell(erased(at=story.now))

    assert [(one.enrollment, one.sequence) for one in decision.fence or ()] == [
        ("cart/cart-1#1", last),
        (EVERY_ENROLLMENT, last),
    ]
    assert [one.enrollment for one in story.customer.fence] == [EVERY_ENROLLMENT]


def test_the_fence_is_lifted_when_no_sender_can_meet_anything_behind_it():
    story = lived()
    fence = story.tell(erased(at=story.now)).fence or ()
    until = max(one.expires_at_ms for one in fence) + FENCE_GRACE_MS
    assert story.wake_at == until

    story.pass_time(until - story.now - 1)
    assert story.customer.fence != ()
    story.pass_time(1)

    assert story.decisions[-1].fence == ()
    assert story.customer.fence == ()
    assert story.wake_at is None


def test_who_had_nothing_promotional_has_no_fence_and_no_wait():
    story = Story(shop_of(CARE))
    story.tell(purchase("1", "tent"))

    decision = story.tell(erased(at=START))

    assert decision.fence is None
    assert decision.wake_at_ms is None


def test_an_older_fence_whose_names_say_something_is_taken_back_with_the_rest():
    story = Story(shop_of(journey("c", "cart.abandoned", [wait("w", "3d")], exits=["purchase"])))
    story.tell(event("cart.abandoned", "c"))
    assert story.tell(purchase("1", "tent")).fence
    story.now += DAY

    decision = story.tell(erased(at=story.now))

    assert decision.fence == ()
    assert story.customer.fence == ()


@pytest.mark.parametrize("type_", ["purchase", "profile.updated", "customer.erased", "new.type"])
@pytest.mark.parametrize("age", [0, 1, 90 * DAY])
def test_what_is_not_younger_is_ignored_and_changes_nothing(type_, age):
    story = lived()
    story.tell(erased(at=story.now))
    before, at = story.customer, story.now - age
    story.now += HOUR
    data = {"order_id": "2", "items": [item("tent")], "attributes": {"email": "ana@example.com"}}

    decision = story.tell(event(type_, "late", at=at, **data))

    assert decision.outcome is Outcome.IGNORED
    assert (decision.commands, decision.entries, decision.fence) == ((), (), None)
    assert story.customer == before


def test_the_same_erasure_again_does_nothing():
    story = lived()
    first = erased(at=story.now)
    story.tell(first)
    before = story.customer
    story.now += MINUTE

    assert story.tell(first).outcome is Outcome.IGNORED
    assert story.customer == before


def test_a_later_erasure_of_nobody_moves_the_line_and_says_nothing_to_senders():
    story = lived()
    story.tell(erased(at=story.now))
    story.now += HOUR

    decision = story.tell(erased("again", at=story.now))

    assert decision.outcome is Outcome.APPLIED
    assert decision.commands == ()
    assert story.tell(purchase("2", "tent", at=story.now)).outcome is Outcome.IGNORED
    assert story.customer.fence, "senders may still meet what the first one recalled"


def test_a_younger_event_begins_anew_and_the_sequence_goes_on():
    story = lived()
    story.tell(erased(at=story.now))
    numbered = story.customer.sequence
    story.now += SECOND

    decision = story.tell(abandoned(7, at=story.now))

    assert [c.sequence for c in decision.commands] == [numbered + 1, numbered + 2]
    assert list(story.standing_in) == ["cart/cart-7#2"], "no id is used twice"
    assert story.customer.attributes == {}
    assert not is_forgotten(story.customer)
    assert story.tell(purchase("old", "mug", at=START)).outcome is Outcome.IGNORED


def test_a_new_life_may_be_forgotten_too():
    story = lived()
    story.tell(erased(at=story.now))
    story.now += SECOND
    story.tell(abandoned(7, at=story.now))
    story.now += SECOND

    decision = story.tell(erased("again", at=story.now))

    assert {c.type for c in decision.commands} == {"message.cancel", "audience.remove"}
    assert is_forgotten(story.customer)
    story.now += SECOND
    story.tell(abandoned(8, at=story.now))
    assert list(story.standing_in) == ["cart/cart-8#3"]


def test_fences_of_the_old_life_stay_beside_those_of_the_new():
    exiting = journey("c", "cart.abandoned", [send("a"), wait("w", "1h")], exits=["purchase"])
    story = Story(shop_of(exiting))
    story.tell(event("cart.abandoned", "c"))
    story.now += MINUTE
    story.tell(erased(at=story.now))
    story.now += MINUTE
    story.tell(event("cart.abandoned", "c2", at=story.now))

    decision = story.tell(purchase("1", "tent", at=story.now))

    assert [one.enrollment for one in decision.fence or ()] == [EVERY_ENROLLMENT, "c#2"]


def test_somebody_unknown_can_be_erased_before_older_events_arrive():
    story = Story(shop_of(CART))

    assert story.tell(erased(at=START)).outcome is Outcome.APPLIED
    assert story.tell(abandoned(1, at=START - HOUR)).outcome is Outcome.IGNORED


def test_history_can_erase_too():
    story = lived()

    decision = story.tell(erased(at=story.now, backfill=True))

    assert decision.commands
    assert is_forgotten(story.customer)


def test_an_erasure_of_the_future_is_one_of_now():
    story = lived()

    story.tell(erased(at=story.now + 10 * DAY))
    story.now += MINUTE

    assert story.tell(abandoned(7, at=story.now)).outcome is Outcome.APPLIED


@pytest.mark.parametrize(
    "type_",
    [
        *("message.delivered", "message.dropped", "message.replied", "message.unsubscribed"),
        *("task.claimed", "task.closed", "enrollment.exit_requested", "profile.identified"),
    ],
)
def test_nobody_comes_back_by_a_report_on_what_is_gone_or_by_a_merge(type_):
    story = lived()
    command = story.commands[-1].id
    story.tell(erased(at=story.now))
    before = story.customer
    story.now += MINUTE

    decision = story.tell(event(type_, "r", at=story.now, command_id=command, task_id=command))

    assert decision.outcome is Outcome.IGNORED
    assert story.customer == before


def test_what_a_step_had_told_before_does_not_bring_anybody_back():
    telling = journey("j", "purchase", [{"id": "t", "emit": {"event": "vip.reached"}}])
    story = Story(shop_of(telling))
    story.now += SECOND
    told = story.tell(purchase("1", "tent")).told[0]
    story.tell(erased(at=START + 1))

    late = event(told.type, told.id, at=told.time_ms, source="/orchestrator")

    assert story.tell(late).outcome is Outcome.IGNORED


def test_the_platform_acknowledges_the_removal_of_who_was_erased():
    story = lived()
    decision = story.tell(erased(at=story.now))
    removal = next(c.id for c in decision.commands if c.type is CommandType.AUDIENCE_REMOVE)
    assert [one.command for one in story.customer.contact.removals] == [removal]
    story.now += MINUTE

    decision = story.tell(event("audience.applied", "a", at=story.now, command_id=removal))

    assert decision.outcome is Outcome.APPLIED
    assert story.customer.contact.removals == ()
    assert is_forgotten(story.customer)


def test_no_journey_visits_who_was_erased_and_no_resume_wakes_them():
    letter = journey("letter", None, [send("a")], schedule={"cron": "0 9 * * *"})
    story = Story(shop_of(letter, CART))
    story.tell(erased(at=START))
    before = story.customer

    assert story.visit("letter").entries == ()
    story.decisions.append(story.decisions[-1])
    story._take(Resumed(1))

    assert story.customer == before


def test_no_journey_hears_of_an_erasure():
    farewell = journey(
        "j",
        "purchase",
        [wait("w", "1d")],
        exits=[{"on": "customer.erased", "then": {"channel": "email", "template": "bye"}}],
    )
    story = Story(shop_of(farewell, journey("k", "customer.erased", [send("a")])))
    story.tell(purchase("1", "tent"))

    story.tell(erased(at=START))

    assert story.sent == []


# -- Other ids of the same customer --------------------------------------------------------------

ASKED = Cause("/shop", "i1")


def test_a_merge_into_or_out_of_who_was_erased_does_nothing():
    story = lived()
    story.tell(erased(at=story.now))
    before = story.customer
    cookie = Story(shop_of(CART), "web-1")
    cookie.tell(event("cart.abandoned", "c", customer="web-1", cart_id="k"))

    into = story._take(StateMoved("ana", cookie.customer, ASKED))
    out = story._take(MergeAsked("ana", "aaa", ASKED))

    assert [one.outcome for one in (into, out)] == [Outcome.IGNORED] * 2
    assert [(one.commands, one.notices, one.entries) for one in (into, out)] == [((), (), ())] * 2
    assert story.customer == before


def test_the_ids_that_were_absorbed_stay_so_that_nothing_that_comes_for_them_counts():
    story = Story(shop_of(CART))
    cookie = Story(shop_of(CART), "web-1")
    cookie.tell(event("cart.abandoned", "c", customer="web-1", cart_id="k"))
    story.tell(event("profile.updated", "p", attributes={"name": "Ana"}))
    handed = cookie._take(MergeAsked("web-1", "ana", ASKED)).notices[0]
    story._take(handed)
    story.now += MINUTE

    story.tell(erased(at=story.now))

    assert is_forgotten(story.customer)
    assert set(story.customer.absorbed) == {"web-1"}
    late = event("cart.abandoned", "late", at=START + 1, customer="web-1", cart_id="k2")
    assert story.tell(late).outcome is Outcome.IGNORED


def test_owners_of_addresses_are_told_that_this_customer_has_them_no_longer():
    story = lived()

    decision = story.tell(erased(at=story.now))

    assert [(one.by, one.customer, one.ended) for one in decision.notices] == [
        ("email", "ana", True)
    ]


def test_what_an_absorbed_id_was_made_to_forget_goes_on_to_nobody():
    cookie = Story(shop_of(CART), "web-1")
    cookie.now = START + HOUR
    cookie.tell(event("customer.erased", "e", at=cookie.now, customer="web-1"))
    cookie.now = START + 2 * HOUR
    cookie.tell(event("cart.abandoned", "c", at=cookie.now, customer="web-1", cart_id="k"))
    cookie._take(MergeAsked("web-1", "ana", ASKED))

    old = event("cart.abandoned", "old", at=START + 1, customer="web-1", cart_id="k0")
    new = event("cart.abandoned", "new", at=cookie.now, customer="web-1", cart_id="k1")

    assert cookie.tell(old).outcome is Outcome.IGNORED
    assert cookie.tell(new).outcome is Outcome.MOVED


# -- Laws ----------------------------------------------------------------------------------------

SECRET = "canary"


def _secret(value: Any) -> Any:
    """Return data whose every text is one that can be searched for."""
    if isinstance(value, dict):
        return {key: _secret(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_secret(one) for one in value]
    return f"{SECRET}-{value}" if isinstance(value, str) else value


HISTORY = st.lists(
    st.tuples(st.sampled_from(TYPES), DATA, st.sampled_from([0, 1, MINUTE, 5 * HOUR])),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(shop=shops(), history=HISTORY, after=HISTORY, gap=st.sampled_from([0, SECOND, DAY]))
def test_nothing_of_any_life_is_left_and_no_older_event_counts(
    shop: Journeys, history: list[Any], after: list[Any], gap: int
):
    every = [*shop.versions.values(), CART, CARE]
    story = Story(shop_of(*every, shop=shop.shop))
    told = []
    for number, (type_, data, pause) in enumerate(history):
        story.now += pause
        secret = {**_secret(data), "cart_id": f"{SECRET}-{number}"}
        told.append(event(type_, f"{SECRET}-e{number}", at=story.now, **secret))
        story.tell(told[-1])
        if pause:
            story.pass_time(0)

    decision = story.tell(erased(at=story.now))

    stored = encode_customer(story.customer)
    assert SECRET.encode() not in stored
    assert all(one.identity not in stored and one.body not in stored for one in told)
    assert len(stored) < 200 + 60 * len(story.customer.contact.removals)
    assert SECRET.encode() not in written(decision)
    line = story.now
    story.now += gap
    before = story.customer
    for one in told:
        assert story.tell(one).outcome is Outcome.IGNORED
    assert story.customer == before
    for number, (type_, data, pause) in enumerate(after):
        story.now += pause
        outcome = story.tell(event(type_, f"a{number}", at=story.now, **data)).outcome
        assert (outcome is Outcome.IGNORED) == (story.now <= line)
    story.pass_time(5 * DAY)
    assert [c.sequence for c in story.commands] == list(range(1, len(story.commands) + 1))
    assert len({c.id for c in story.commands}) == len(story.commands)
