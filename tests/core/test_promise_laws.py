"""What holds for offers under every journey and every history, found out by Hypothesis.

The life of `test_laws` goes on here with offers: journeys tell them, pages and agents ask,
checkouts redeem, orders come back, senders drop messages, and all of its own laws hold as well.
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from orchestrator.core.customer import Promise
from orchestrator.core.decision import (
    OfferGranted,
    OfferRedeemed,
    OfferRefused,
    Promised,
    PromiseEnd,
    PromiseEnded,
    RedemptionUndone,
)
from orchestrator.core.language.journey import Entry, Exit, Step
from orchestrator.core.offers.ledger import PROMISES_MAX, became, is_open, merged, open_names
from orchestrator.core.people.proposals import NotProposed, Proposal, next_best
from tests.core.builders import HOUR, event, item, send, shop_of
from tests.core.test_laws import LifeOfACustomer, journeys

if TYPE_CHECKING:
    from orchestrator.core.customer import Customer
    from orchestrator.core.decision import Decision
    from orchestrator.core.journeys import Journeys
    from orchestrator.core.language.journey import Journey

OFFERS: dict[str, dict[str, Any]] = {
    "ten": {"valid_for": "5h", "again": "always", "code": "TEN"},
    "free": {"gives": {"free_shipping": True}, "again": {"after": "1h"}, "valid_for": "2d"},
    "gift": {"gives": {"gift": "mug"}, "stacks_with": ["ten"], "until": "2026-11-28"},
    "access": {"gives": {"other": "access"}, "excludes": ["free"], "channels": ["email"]},
    "welcome": {
        "acquisition": True,
        "known_when": "has(profile.name)",
        "qualifies": 'profile.tier != "gold"',
        "otherwise": {"template": "hello_again", "variables": {"name": "profile.name"}},
        "code": "W",
    },
}
# What the guard asks of messages on a channel; who asks for one offer is not asked it.
NOT_ASKED_OF_PAGES = ("suppressed", "no_consent", "frequency_cap", "handoff")
ONCE = [name for name, offer in OFFERS.items() if offer.get("again", "once") == "once"]
NAMES = st.sampled_from([*OFFERS, *OFFERS, "nothing", "TEN"])
ORDERS = st.sampled_from("1234")
ATTRIBUTES = st.fixed_dictionaries(
    {}, optional={"name": st.just("Ana"), "tier": st.sampled_from(["gold", "none"])}
)


OFFERED = st.sampled_from(list(OFFERS))


@st.composite
def telling(draw: st.DrawFn, name: str, version: int) -> Journey:
    """Return any small journey, with messages before its steps and among them that tell offers."""
    drawn = draw(journeys(name, version))
    first = [
        {**send(f"t{number}", offer=draw(OFFERED), expires_after="9h"), "next": None}
        for number in range(draw(st.integers(0, 2)))
    ]
    steps = [Step.model_validate(step) for step in first]
    for step in drawn.steps:
        told = draw(st.none() | OFFERED) if step.send is not None else None
        word = step.send and step.send.model_copy(update={"offer": told})
        steps.append(step.model_copy(update={"send": word}))
    on = draw(st.sampled_from([None, "product.viewed", "offer.rejected"]))
    entry = drawn.entry if on is None else Entry.model_validate({"on": on})
    exits = [Exit(on="offer.rejected")] if draw(st.booleans()) else drawn.exits
    return drawn.model_copy(update={"steps": tuple(steps), "entry": entry, "exits": tuple(exits)})


@st.composite
def shops(draw: st.DrawFn, version: int = 1) -> Journeys:
    """Return up to three journeys that tell offers."""
    count = draw(st.integers(1, 3))
    return shop_of(*(draw(telling(f"j{n}", version)) for n in range(count)), offers=OFFERS)


class LifeWithOffers(LifeOfACustomer):
    """One customer, any journeys, any history, and offers."""

    def __init__(self) -> None:
        super().__init__()
        self.promised: Counter[str] = Counter()
        self.taken_back: Counter[str] = Counter()

    @initialize(shop=shops())
    def open_shop(self, shop: Journeys) -> None:
        self.shop = shop

    @rule(shop=shops(version=2), keeps=st.booleans())
    def the_shop_is_redeployed(self, shop: Journeys, keeps: bool) -> None:  # noqa: FBT001 - Drawn.
        old = self.shop.versions if keeps else {}
        pauses = self.shop.pauses
        self.shop = shop_of(*({**old, **shop.versions}).values(), offers=OFFERS).pausing(pauses)

    @rule(name=NAMES, channel=st.sampled_from([None, "email", "web"]))
    def somebody_asks(self, name: str, channel: str | None) -> None:
        best = next_best(self.shop, self.customer, self.now, channel)
        decision = self.happens("offer.requested", offer=name, channel=channel)

        answers = [e for e in decision.entries if isinstance(e, OfferGranted | OfferRefused)]
        assert [answer.offer for answer in answers] == [name]
        told = {one.offer: one for one in (*best.proposed, *best.not_proposed)}
        assert sorted(told) == sorted(OFFERS), "about an offer nothing was said, or twice"
        match told.get(name), answers[0]:
            case Proposal() as one, OfferGranted() as granted:
                assert (one.expires_at_ms, one.provisional) == (
                    granted.expires_at_ms,
                    granted.provisional,
                )
            case NotProposed() as one, answer if one.reason not in NOT_ASKED_OF_PAGES:
                assert isinstance(answer, OfferRefused)
                assert (one.reason, one.detail, one.otherwise) == (
                    answer.reason,
                    answer.detail,
                    answer.otherwise,
                )
            case one, answer:
                assert one is None or isinstance(one, NotProposed), answer

    @rule(name=NAMES)
    def the_customer_rejects(self, name: str) -> None:
        self.happens("offer.rejected", offer=name)

        assert name not in open_names(self.customer.promises, self.customer.now_ms)

    @rule(name=NAMES, order=st.sampled_from("1234"), backfill=st.integers(0, 9))
    def a_checkout_redeems(self, name: str, order: str, backfill: int) -> None:
        self.happens("offer.redeemed", backfill=backfill == 0, offer=name, order_id=order)

    @rule(names=st.lists(NAMES, max_size=3), order=st.integers(1, 30))
    def the_customer_buys(self, names: list[str], order: int) -> None:
        self.happens("purchase", offers=names, order_id=f"{order}", items=[item("mug")])

    @rule(order=st.integers(1, 30), whole=st.booleans())
    def an_order_comes_back(self, order: int, whole: bool) -> None:  # noqa: FBT001 - Drawn.
        items = None if whole else [item("mug")]
        self.happens("order.returned", order_id=f"{order}", items=items)

    @precondition(lambda self: self.commands)
    @rule(choice=st.integers(0, 10**6), reason=st.sampled_from(["expired", "duplicate"]))
    def a_sender_drops(self, choice: int, reason: str) -> None:
        command = self.commands[choice % len(self.commands)].id
        self.happens("message.dropped", command_id=command, reason=reason)

    def happens(self, type_: str, *, backfill: bool = False, **data: Any) -> Decision:
        number = f"o{len(self.told)}"
        one = event(type_, number, at=self.now, backfill=backfill, **data)
        self.told.append(one)
        return self.take(one)

    def check(self, before: Customer, decision: Decision) -> None:
        super().check(before, decision)
        now, after = decision.now_ms, decision.customer.promises
        new = [entry for entry in decision.entries if isinstance(entry, Promised)]
        self.promised.update(entry.offer for entry in new)
        for entry in decision.entries:
            match entry:
                case PromiseEnded(reason=reason) if reason is not PromiseEnd.REJECTED:
                    self.taken_back[entry.offer] += 1
                case RedemptionUndone(open=False):
                    self.taken_back[entry.offer] += 1
                case OfferRedeemed():
                    assert became(before.promises[entry.offer]) in (None, PromiseEnd.RECALLED)
                case _:
                    pass
        covered = {n: p.expires_at_ms for n, p in before.promises.items() if is_open(p, now)}
        covered |= {entry.offer: entry.expires_at_ms for entry in new}
        for command in decision.commands:
            if command.offer is not None:
                assert command.promise is not None
                assert command.expires_at_ms <= covered[command.offer]
                assert command.promise.valid_until_ms == covered[command.offer]
                assert not (command.promise.provisional and command.promise.code)
                assert not self.shop.pauses.of(
                    journey=command.journey,
                    channel=command.channel,
                    command_class=command.command_class,
                    offer=command.offer,
                )
        for one, other in combinations(open_names(after, now), 2):
            assert not self.shop.offers.clash(one, other), f"{one} and {other} are both open"

    @invariant()
    def limits_hold(self) -> None:
        for name in ONCE:
            assert self.promised[name] <= 1 + self.taken_back[name]

    @invariant()
    def the_ledger_is_bounded(self) -> None:
        assert len(self.customer.promises) <= PROMISES_MAX
        assert self.customer.promises.keys() <= OFFERS.keys()


LifeWithOffers.TestCase.settings = settings(
    phases=[Phase.generate],
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestLifeWithOffers = LifeWithOffers.TestCase

HAPPENS = st.one_of(
    st.tuples(st.just("offer.requested"), st.fixed_dictionaries({"offer": NAMES})),
    st.tuples(st.just("offer.rejected"), st.fixed_dictionaries({"offer": NAMES})),
    st.tuples(
        st.just("purchase"),
        st.fixed_dictionaries({"offers": st.lists(NAMES, max_size=3), "order_id": ORDERS}),
    ),
    st.tuples(
        st.just("offer.redeemed"), st.fixed_dictionaries({"offer": NAMES, "order_id": ORDERS})
    ),
    st.tuples(st.just("order.cancelled"), st.fixed_dictionaries({"order_id": ORDERS})),
    st.tuples(st.just("profile.updated"), st.fixed_dictionaries({"attributes": ATTRIBUTES})),
    st.tuples(st.just("nothing"), st.fixed_dictionaries({})),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(HAPPENS, st.sampled_from([0, 1, HOUR, 6 * HOUR])), max_size=30))
def test_whatever_pages_agents_and_checkouts_say_promises_stay_lawful(history):
    life = LifeWithOffers()
    life.open_shop(shop_of(offers=OFFERS))
    for (type_, data), duration in history:
        life.now += duration
        life.happens(type_, **data)
        life.limits_hold()
        life.the_ledger_is_bounded()


TIMES = st.integers(0, 5)
TEXTS = st.none() | st.sampled_from(["", "a", "b"])
PROMISES = st.builds(
    Promise,
    granted_ms=TIMES,
    expires_at_ms=TIMES,
    enrollment=TEXTS,
    channel=TEXTS,
    provisional=st.booleans(),
    command=TEXTS,
    redeemed_ms=st.none() | TIMES,
    order=TEXTS,
    closed_ms=st.none() | TIMES,
    closed=TEXTS,
    also=st.lists(st.sampled_from("ab"), max_size=2).map(tuple),
)
LEDGERS = st.dictionaries(st.sampled_from(["ten", "free", "gift"]), PROMISES)


class TestMerging:
    @settings(max_examples=300, deadline=None)
    @given(one=LEDGERS, other=LEDGERS, third=LEDGERS)
    def test_it_does_not_matter_in_which_order_and_how_often_ledgers_become_one(
        self, one, other, third
    ):
        assert merged(one, other) == merged(other, one)
        assert merged(merged(one, other), third) == merged(one, merged(other, third))
        assert merged(one, one) == one
        assert merged(merged(one, other), other) == merged(one, other)

    @given(one=LEDGERS, other=LEDGERS)
    def test_nothing_that_either_holds_is_forgotten(self, one, other):
        both = merged(one, other)

        assert both.keys() == one.keys() | other.keys()
        for ledger in (one, other):
            for name, promise in ledger.items():
                assert both[name].granted_ms >= promise.granted_ms
                assert (both[name].redeemed_ms or 0) >= (promise.redeemed_ms or 0)
                assert (both[name].closed_ms or 0) >= (promise.closed_ms or 0)

    @pytest.mark.parametrize(
        ("redeemed_ms", "granted_ms", "open_"), [(10, 5, False), (10, 20, True)]
    )
    def test_a_promise_is_open_when_it_was_made_after_the_redemption_under_the_other_id(
        self, redeemed_ms, granted_ms, open_
    ):
        one = {"ten": Promise(granted_ms=1, expires_at_ms=100, redeemed_ms=redeemed_ms, order="1")}
        other = {"ten": Promise(granted_ms=granted_ms, expires_at_ms=100)}

        promise = merged(one, other)["ten"]

        assert is_open(promise, 50) is open_
        assert promise.order == "1"
