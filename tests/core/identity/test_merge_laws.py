"""Two ids know the same together, in whatever order and however often it is put together."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import msgpack

from orchestrator.core.customer import (
    Cause,
    Consent,
    Contact,
    Customer,
    Habits,
    Kin,
    Order,
    OrderLine,
    Product,
    RememberedExit,
)
from orchestrator.core.encoded.state import decode_customer, encode_customer
from orchestrator.core.identity.merge import united
from orchestrator.core.rules.dedupe import Seen, remember, remember_time, seen_before
from tests.core.builders import START, event
from tests.core.identity.profiles import profile

if TYPE_CHECKING:
    from orchestrator.core.event import Event

EXAMPLES = 1_500
SORTED = msgpack.Encoder(order="sorted")
PROFILES = st.integers(0, 2**32).map(profile)


def known(customer: Customer) -> bytes:
    """Return what two ids can share, byte for byte: not what belongs to one of them.

    Only the order of fields in what producers have sent says nothing.
    """
    return SORTED.encode(
        Customer(
            **{
                name: getattr(customer, name)
                for name in customer.__struct_fields__
                if name not in {"id", "sequence", "enrollments", "fence", "hours", "contact"}
            },
            id="",
            contact=shared_contact(customer.contact),
        )
    )


def shared_contact(contact: Contact) -> Contact:
    fields: dict[str, Any] = {name: getattr(contact, name) for name in contact.__struct_fields__}
    return Contact(**{**fields, "responses": {}})


@settings(max_examples=EXAMPLES, deadline=None)
@given(PROFILES, PROFILES)
@example(profile(186868), profile(401326257))
def test_it_does_not_matter_which_id_comes_first(one, other):
    assert known(united(one, other)) == known(united(other, one))


@settings(max_examples=EXAMPLES, deadline=None)
@given(PROFILES, PROFILES, PROFILES)
def test_it_does_not_matter_which_two_of_three_are_merged_first(one, other, third):
    assert known(united(united(one, other), third)) == known(united(one, united(other, third)))


@settings(max_examples=EXAMPLES, deadline=None)
@given(PROFILES, PROFILES)
def test_a_merge_that_is_made_again_changes_nothing(one, other):
    once = united(one, other)

    assert known(united(once, other)) == known(once)
    assert known(united(once, one)) == known(once)
    assert known(united(one, one)) == known(one)


@settings(max_examples=200, deadline=None)
@given(PROFILES, PROFILES)
def test_the_union_is_stored_and_read_as_it_is(one, other):
    once = united(one, other)

    assert decode_customer(encode_customer(once)) == once


@settings(max_examples=200, deadline=None)
@given(PROFILES, PROFILES)
def test_what_belongs_to_an_id_stays_its_own(one, other):
    merged = united(one, other)

    assert (merged.id, merged.sequence, merged.hours) == (one.id, one.sequence, one.hours)
    assert merged.contact.responses == one.contact.responses


def window(*events: tuple[Event, int]) -> Customer:
    seen, times = b"", b""
    for one, at_ms in events:
        seen, times = remember(seen, one), remember_time(times, at_ms)
    return Customer("ana", seen=seen, seen_times=times)


def test_what_either_id_has_seen_lately_is_known():
    first = window(*((event("x", f"a{n}"), START + 2_000 * n) for n in range(64)))
    second = window(*((event("x", f"b{n}"), START + 2_000 * n + 1_000) for n in range(64)))

    merged = united(first, second)

    assert len(merged.seen) == 64 * 12
    assert len(merged.seen_times) == 64 * 4
    for n in range(64):
        expected = Seen.REPEATED if n >= 32 else Seen.NEW
        assert seen_before(merged.seen, event("x", f"a{n}")) is expected
        assert seen_before(merged.seen, event("x", f"b{n}")) is expected


def test_an_event_after_the_union_is_its_newest():
    merged = united(
        window(*((event("x", f"a{n}"), START + n) for n in range(40))),
        window(*((event("x", f"b{n}"), START + n) for n in range(40))),
    )
    seen = remember(merged.seen, event("x", "new"))

    assert len(seen) == 64 * 12
    assert seen_before(seen, event("x", "new")) is Seen.REPEATED


def test_a_window_from_before_times_were_kept_counts_as_the_oldest():
    old = Customer("ana", seen=window(*((event("x", f"o{n}"), 0) for n in range(40))).seen)
    new = window(*((event("x", f"n{n}"), START + n) for n in range(40)))

    merged = united(old, new)

    assert all(seen_before(merged.seen, event("x", f"n{n}")) is Seen.REPEATED for n in range(40))


@pytest.mark.parametrize("no_came_later", [False, True])
def test_a_no_under_either_id_is_a_no_whichever_came_later(no_came_later):
    yes = Consent(True, START, "/shop", "yes")
    no = Consent(False, START + (1 if no_came_later else -1), "/web", "no")
    ana = Customer("ana", contact=Contact(consents={"email/promotional": yes}))
    web = Customer("web-1", contact=Contact(consents={"email/promotional": no}))

    assert united(ana, web).contact.consents == {"email/promotional": no}


def test_an_order_cancelled_under_one_id_is_cancelled():
    line = OrderLine(Product("tent"), 1)
    bought = Customer("ana", orders=(Order("1", START, (line,)),))
    cancelled = Customer("web-1", orders=(Order("1", START + 5, cancelled=True),))

    assert united(bought, cancelled).orders == (Order("1", START + 5, cancelled=True),)


def test_the_newest_exits_of_both_stay():
    def exits(name: str, first: int) -> tuple[RememberedExit, ...]:
        return tuple(
            RememberedExit("purchase", START + first + 2 * n, Cause("/shop", f"{name}{n}"), {})
            for n in range(32)
        )

    merged = united(Customer("ana", exits=exits("a", 0)), Customer("web-1", exits=exits("b", 1)))

    assert len(merged.exits) == 32
    assert min(one.time_ms for one in merged.exits) == START + 32


def test_of_questions_asked_under_many_ids_no_message_is_forgotten():
    ids = [Customer(f"web-{n}", asked={"size": f"m{n}", "colour": f"k{n}"}) for n in range(4)]
    merged = reduce(united, ids)

    assert merged.asked == {"size": "m3", "colour": "k3"}
    assert merged.kin == Kin(
        asked=tuple(
            (name, f"{mark}{n}")
            for name, mark in (("colour", "k"), ("size", "m"))
            for n in range(3)
        )
    )


def test_what_was_learned_of_an_id_counts_once_however_often_it_comes():
    web = Customer("web-1", kin=Kin(habits={"web-1": Habits(START)}))
    ana = united(Customer("ana"), web)

    assert united(ana, web).kin == Kin(habits={"web-1": Habits(START)})
