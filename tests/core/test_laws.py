"""What holds for every journey and every history, found out by Hypothesis.

`LifeOfACustomer` lives random lives under random journeys, with duplicates, reused ids, late
events, reports, outages, pauses and redeployments, and checks the laws after every decision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.catalog.rules.paths import rests
from orchestrator.core.command import Command, CommandType
from orchestrator.core.customer import Customer, wake_at_ms
from orchestrator.core.decide import decide
from orchestrator.core.decision import Decision, Emitted, Ended, Entered, Outcome, ToldEvent
from orchestrator.core.encoded.state import decode_customer, encode_customer
from orchestrator.core.event import Event, Input, Resumed, TimerFired, Visit
from orchestrator.core.language.journey import Step
from orchestrator.core.language.shop import Shop
from orchestrator.core.pauses import Pause, Pauses
from orchestrator.core.rules.advance import OPEN_COMMANDS_MAX, STEPS_PER_WALK_MAX
from orchestrator.core.rules.learning.stages import SPARE_MARKS
from tests.core.builders import HOUR, START, Story, event, item, journey, send, shop_of, wait

if TYPE_CHECKING:
    from orchestrator.core.journeys import Journeys
    from orchestrator.core.language.journey import Journey

SKUS = ("tent", "boots", "mug")
TYPES = ("product.viewed", "cart.abandoned", "purchase", "order.returned", "profile.updated")
TIED = "event.data.items.exists(i, i.sku in enrollment.skus)"
CONDITIONS = st.sampled_from(
    [None, "event.data.n > 2", 'profile.tier == "gold"', "event.data.sku > 5", "event.type != ''"]
)
WAITS: list[Any] = [
    *("1m", "1h", "3d", {"time": "02:30"}, {"for": "1d", "time": "09:00"}),
    *("best_time", {"for": "30m", "best_time": True, "within": "3h"}),
    {"weekday": ["monday", "thursday"]},
    {"date": "profile.renewal", "before": "1d"},
    {"date": "profile.renewal", "yearly": True, "time": "09:00"},
]
UNTIL: list[dict[str, Any]] = [
    {"when": 'profile.tier == "gold"'},
    {"event": "product.viewed", "when": "event.data.n > 2"},
    {"event": "purchase", "when": TIED},
    {"event": "message.delivered"},
]
TIMED: list[dict[str, Any]] = [
    {"schedule": {"cron": "*/30 * * * *"}, "when": 'profile.tier == "gold"'},
    {"date": {"of": "profile.renewal", "yearly": True}},
    {"date": {"of": "profile.renewal", "before": "2d"}},
    {"absence": {"of": "product.viewed", "for": "30h"}},
    {"absence": {"of": "purchase", "for": "2h", "when": "event.data.n > 1"}},
    {"segment": 'profile.tier == "gold"'},
    {"segment": 'profile.stage == "customer"'},
]
STAGES = [
    {"name": "visitor"},
    {"name": "seen", "on": {"event": "product.viewed", "when": "event.data.n > 2"}},
    {"name": "customer", "on": "purchase", "requires": ["name"]},
    {"name": "loyal", "on": [{"event": "purchase", "times": 2}, "profile.updated"]},
]
GOALS: list[dict[str, Any]] = [
    {"on": "purchase", "when": "event.data.n > 1"},
    {"on": "profile.updated", "ends": True},
]
RECALLS = {CommandType.MESSAGE_CANCEL, CommandType.AUDIENCE_REMOVE, CommandType.TASK_CLOSE}


@st.composite
def steps(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return up to seven steps; a way round that no wait interrupts is one that `check` refuses."""
    count = draw(st.integers(1, 7))
    drawn = [draw(_step(f"s{number}", count, number)) for number in range(count)]
    assume(rests([Step.model_validate(step) for step in drawn]))
    return drawn


@st.composite
def _step(draw: st.DrawFn, step: str, count: int, number: int) -> dict[str, Any]:
    later = (
        st.integers(number + 1, count - 1).map("s{}".format) if number + 1 < count else st.none()
    )
    next_ = draw(st.one_of(st.none(), later))
    variables = {"name": draw(st.sampled_from(["profile.name", "trigger.data.n + 1", "event.x"]))}
    class_ = draw(st.sampled_from([None, "service", "transactional", "promotional"]))
    if next_ is not None:
        arms = st.sampled_from(UNTIL).map(lambda arm: {**arm, "next": next_})
        until = draw(st.lists(arms, max_size=2))
    else:
        until = []
    reset_on = draw(st.lists(st.sampled_from(TYPES), max_size=1))
    words: list[dict[str, Any]] = [
        {"wait": {"for": "2h", "until": until, "reset_on": reset_on}},
        {"wait": {"for": "2h", "until": until, "ranked": True}},
        {"wait": draw(st.sampled_from(WAITS))},
        {"send": {"channel": "email", "template": step, "class": class_}},
        {"send": {"channel": "sms", "template": step, "expires_after": "1h"}},
        {"send": {"channel": "push", "template": step, "variables": variables}},
        {"audience": {draw(st.sampled_from(["add", "remove"])): "ads"}},
        {"task": {"template": step}},
        {"end": "done"},
        {"holdout": {"percent": 30}},
        {"set": {"tier": {"to": "gold"}}},
        {"set": {"name": "trigger.data.sku"}},
        {"ask": {"attribute": "size", "channel": "email", "template": step}},
        {"emit": {"event": "vip.reached", "data": {"n": "trigger.data.n"}}},
        {"webhook": {"template": step, "expires_after": "1h"}},
        {"go_to": draw(st.integers(0, count - 1).map("s{}".format))},
    ]
    if next_ is not None:
        when = draw(
            st.sampled_from(["trigger.data.n > 1", "profile.tier == 'gold'", "now_ms > 'x'"])
        )
        words.append({"branch": [{"when": when, "next": next_}]})
        other = draw(later)
        shares = [{"weight": 1, "next": next_}, {"weight": 2, "next": other}]
        words.append({"split": shares})
        words.append({"holdout": {"percent": 50, "next": next_}})
    word = draw(st.sampled_from(words))
    leads = word.keys().isdisjoint({"branch", "split", "end", "go_to"})
    return {"id": step, **word, "next": next_ if leads else None}


@st.composite
def journeys(draw: st.DrawFn, name: str, version: int = 1) -> Journey:
    """Return any small journey."""
    exits = st.fixed_dictionaries(
        {
            "on": st.sampled_from(TYPES),
            "when": st.sampled_from([None, None, TIED, "event.data.n > 2"]),
        },
        optional={"then": st.just({"channel": "email", "template": "bye"})},
    )
    by_event = {
        "key": draw(st.sampled_from([None, None, "event.data.sku", "event.id"])),
        "about": draw(st.sampled_from([None, "event.data", "event.data.items", "[event.data]"])),
        "when": draw(CONDITIONS),
    }
    way = draw(st.sampled_from([None, None, None, *TIMED]))
    return journey(
        name,
        draw(st.sampled_from((*TYPES, "vip.reached"))) if way is None else None,
        draw(steps()),
        kind=draw(st.sampled_from(["promotional", "promotional", "service", "transactional"])),
        version=version,
        exits=draw(st.lists(exits, max_size=2)),
        goal=draw(st.sampled_from([None, *GOALS])),
        **(by_event if way is None else way),
        reentry=draw(st.sampled_from(["always", "always", "once", {"after": "1h"}])),
        max_age="5h",
    )


@st.composite
def shops(draw: st.DrawFn, version: int = 1) -> Journeys:
    """Return up to four journeys."""
    drawn = [draw(journeys(f"j{n}", version)) for n in range(draw(st.integers(1, 4)))]
    stages = draw(st.sampled_from([(), STAGES, STAGES[:3]]))
    return shop_of(*drawn, shop=Shop.model_validate({"stages": stages}))


DATA = st.fixed_dictionaries(
    {"n": st.integers(0, 4), "sku": st.sampled_from(SKUS)},
    optional={
        "items": st.lists(st.sampled_from(SKUS).map(item), max_size=2),
        "order_id": st.sampled_from("1234"),
        "attributes": st.fixed_dictionaries(
            {},
            optional={
                "tier": st.just("gold"),
                "name": st.text(),
                "preferred_hour": st.sampled_from([3, "19:00", 25, "soon"]),
                "stage": st.just("loyal"),
                "zone": st.sampled_from(["Asia/Kathmandu", "Europe/Madrid", "Nowhere", 3]),
                "renewal": st.sampled_from(["2026-11-24", "1992-02-29", "soon", None]),
            },
        ),
    },
)
PAUSES = st.lists(
    st.builds(
        Pause,
        st.sampled_from(
            ["global", "channel/email", "channel/ads", "journey/j0", "journey/j1", "offer/ten"]
        ),
        st.just("eva"),
        st.just("because"),
        st.booleans(),
        st.booleans(),
    ),
    max_size=2,
    unique_by=lambda pause: pause.scope,
)
AGES = st.sampled_from([0, 0, 0, 1, HOUR, 6 * HOUR, 80 * HOUR, -HOUR])


class LifeOfACustomer(RuleBasedStateMachine):
    """One customer, any journeys, any history."""

    def __init__(self) -> None:
        super().__init__()
        self.customer = Customer("ana")
        self.now = START
        self.told: list[Event] = []
        self.events_told: list[ToldEvent] = []
        self.commands: list[Command] = []
        self.over: set[str] = set()
        self.recalled: set[str] = set()

    @initialize(shop=shops())
    def open_shop(self, shop: Journeys) -> None:
        self.shop = shop

    @rule(type_=st.sampled_from(TYPES), data=DATA, age=AGES, backfill=st.integers(0, 9))
    def something_happens(self, type_: str, data: dict[str, Any], age: int, backfill: int) -> None:
        one = event(type_, f"e{len(self.told)}", at=self.now - age, backfill=backfill == 0, **data)
        self.told.append(one)
        self.take(one)

    @precondition(lambda self: self.told)
    @rule(choice=st.integers(min_value=1, max_value=64))
    def something_is_repeated(self, choice: int) -> None:
        one, before = self.told[-choice:][0], self.customer
        if one.identity not in before.seen:
            return  # It was a repeat by its business key, so that its id was never taken.

        decision = self.take(one)

        assert decision.outcome is Outcome.DUPLICATE
        assert decision.customer is before
        assert not decision.commands
        assert not decision.entries

    @precondition(lambda self: self.told)
    @rule(n=st.integers(5, 9))
    def an_id_is_reused(self, n: int) -> None:
        last, before = self.told[-1], self.customer
        if not before.seen.endswith(last.identity + last.body):
            return  # It was a repeat by its business key, so that its id was never taken.

        decision = self.take(event(last.type, last.id, at=self.now, n=n))

        assert decision.outcome is Outcome.REJECTED
        assert decision.customer is before

    @precondition(lambda self: self.commands)
    @rule(
        choice=st.integers(0, 10**6),
        outcome=st.sampled_from(
            [
                *("message.delivered", "message.bounced", "message.opened", "message.clicked"),
                *("task.closed", "audience.applied"),
            ]
        ),
    )
    def a_sender_reports(self, choice: int, outcome: str) -> None:
        command = self.commands[choice % len(self.commands)].id
        one = event(outcome, f"f{choice}-{len(self.commands)}", command_id=command, task_id=command)
        self.take(one)

    @rule(duration=st.sampled_from([1, 60_000, HOUR, 25 * HOUR, 200 * HOUR]), fires=st.booleans())
    def time_passes(self, duration: int, fires: bool) -> None:  # noqa: FBT001 - Drawn.
        self.now += duration
        if fires:
            decision = self.take(TimerFired(self.now))

            assert (decision.wake_at_ms or self.now + 1) > self.now, "a wait did not end"

    @rule(choice=st.integers(0, 9), occurs=st.booleans())
    def a_journey_visits(self, choice: int, occurs: bool) -> None:  # noqa: FBT001 - Drawn.
        names = sorted(self.shop.visiting)
        if not names:
            return
        plan = self.shop.visiting[names[choice % len(names)]]
        timed = plan.entry.schedule is not None
        if timed or not occurs:
            at = self.now if timed else None
            decision = self.take(Visit(plan.name, plan.version, at))
            again = self.take(Visit(plan.name, plan.version, at))

            assert not [one for one in again.entries if isinstance(one, Entered)] or not timed
            assert decision.outcome is Outcome.APPLIED

    @rule()
    def what_was_told_comes_back(self) -> None:
        for one in self.events_told[:3]:
            self.take(event(one.type, one.id, at=one.time_ms, source="/orchestrator", **one.data))
        del self.events_told[:3]

    @rule(pauses=PAUSES, visits=st.booleans())
    def somebody_pauses_or_resumes(self, pauses: list[Pause], visits: bool) -> None:  # noqa: FBT001 - Drawn.
        revision = self.shop.pauses.revision + 1
        self.shop = self.shop.pausing(Pauses(pauses, revision))
        if visits:
            self.take(Resumed(revision))

            again = self.take(Resumed(revision))
            assert not again.entries, "a second visit after one resume did something"

    @rule(shop=shops(version=2), keeps=st.booleans())
    def the_shop_is_redeployed(self, shop: Journeys, keeps: bool) -> None:  # noqa: FBT001 - Drawn.
        old = self.shop.versions if keeps else {}
        pauses = self.shop.pauses
        newest = ({**old, **shop.versions}).values()
        self.shop = shop_of(*newest, shop=shop.shop).pausing(pauses)

    def take(self, one: Input) -> Decision:
        before = self.customer
        stored = encode_customer(before)

        decision = decide(self.shop, before, one, self.now)
        replayed = decide(self.shop, decode_customer(stored), one, self.now)

        assert replayed == decision
        if decision.customer is not before:  # Else no record of it has to be made again.
            named = self.shop.pausing(Pauses(decision.paused))
            assert decide(named, before, one, self.now) == decision
        assert encode_customer(replayed.customer) == encode_customer(decision.customer)
        assert encode_customer(before) == stored, "the stored customer was changed"
        assert decode_customer(encode_customer(decision.customer)) == decision.customer
        self.check(before, decision)
        self.customer = decision.customer
        self.commands.extend(decision.commands)
        self.events_told.extend(decision.told)
        return decision

    def check(self, before: Customer, decision: Decision) -> None:
        """Check one decision against everything that came before it."""
        ended: set[str] = set()
        for entry in decision.entries:
            if isinstance(entry, Ended):
                ended.add(entry.enrollment)
                assert "took more than" not in (entry.detail or "")
            elif isinstance(entry, Emitted):
                assert entry.enrollment not in self.over, "a command after the end"
                if entry.enrollment in ended and entry.type not in RECALLS:
                    assert entry.step in ("exit", "otherwise")
                    assert entry.command_class != "promotional"
        told = [one.id for one in decision.told]
        assert len(set(told)) == len(told)
        numbers = [command.sequence for command in decision.commands]
        assert numbers == list(range(before.sequence + 1, before.sequence + 1 + len(numbers)))
        assert decision.customer.sequence == before.sequence + len(numbers)
        emitted = [entry.command for entry in decision.entries if isinstance(entry, Emitted)]
        assert emitted == [command.id for command in decision.commands]
        assert len(emitted) <= STEPS_PER_WALK_MAX * (
            len(before.enrollments) + len(self.shop.current)
        )
        for command in decision.commands:
            assert self.recalled.isdisjoint(command.cancels)
            self.recalled.update(command.cancels)
            assert command.expires_at_ms >= decision.now_ms
            if command.type not in RECALLS:
                class_ = command.command_class
                assert not self.shop.pauses.of(
                    journey=command.journey, channel=command.channel, command_class=class_
                )
        assert decision.now_ms >= before.now_ms
        assert decision.wake_at_ms == wake_at_ms(decision.customer)
        staying = {enrollment.id for enrollment in decision.customer.enrollments}
        self.over.update(ended - staying)

    @invariant()
    def ids_never_repeat(self) -> None:
        assert len({command.id for command in self.commands}) == len(self.commands)

    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(self.customer.seen) <= 64 * 12
        assert len(self.customer.exits) <= 32
        assert sum(map(len, self.customer.earned.values())) <= 4 * 6 * (2 + SPARE_MARKS)
        assert self.customer.hours is None or len(self.customer.hours.counts) == 48
        for enrollment in self.customer.enrollments:
            assert enrollment.step is not None or enrollment.open_commands
            assert len(enrollment.open_commands) <= OPEN_COMMANDS_MAX


LifeOfACustomer.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestLifeOfACustomer = LifeOfACustomer.TestCase


CARTS = journey(
    "cart",
    "cart.abandoned",
    [send("mail"), wait("w", "1h")],
    exits=["purchase", {"on": "cart.updated", "when": "event.data.cart_id == enrollment.key"}],
    key="event.data.cart_id",
)


@settings(max_examples=80, deadline=None)
@given(
    entries=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    purchases=st.lists(st.integers(0, 9), max_size=2),
    updates=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=3),
    data=st.data(),
)
def test_exits_and_entries_end_in_the_same_enrollments_in_any_order_of_arrival(
    entries, purchases, updates, data
):
    history = [
        *(
            event("cart.abandoned", f"c{n}", at=START - t, cart_id=f"{n}")
            for n, t in enumerate(entries)
        ),
        *(
            event("purchase", f"p{n}", at=START - t, order_id=f"{n}")
            for n, t in enumerate(purchases)
        ),
        *(
            event("cart.updated", f"u{n}", at=START - t, cart_id=f"{cart}")
            for n, (t, cart) in enumerate(updates)
        ),
    ]
    story = Story(shop_of(CARTS))
    story.tell(*data.draw(st.permutations(history)))

    exited = {
        n
        for n, t in enumerate(entries)
        if any(p <= t for p in purchases) or any(u <= t and cart == n for u, cart in updates)
    }
    expected = {f"{n}" for n in range(len(entries)) if n not in exited}
    assert {enrollment.key for enrollment in story.customer.enrollments} == expected


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = (
    *("order_id", "items", "sku", "total", "price", "cart_id"),
    *("attributes", "enrollment", "command_id", "task_id"),
)
EVERYTHING = shop_of(
    *(
        journey(
            f"j_{type_.replace('.', '_')}_{number}",
            type_,
            [send("a", variables={"v": "trigger.data.sku"}), wait("w", "1h"), send("b")],
            exits=[{"on": "purchase", "when": when}, {"on": type_, "when": when}],
            when=when,
            key=key,
            about=about,
        )
        for type_ in (*TYPES, "enrollment.exit_requested", "message.delivered", "task.closed")
        for number, (when, key, about) in enumerate(
            [
                (None, None, "event.data"),
                ("size(event.data.items) > 0", "event.data.order_id", "event.data.items"),
                ("event.data.total > 1.0", "event.data.sku", "[event.data]"),
                (TIED, None, None),
            ]
        )
    )
)


@settings(max_examples=80, deadline=None)
@given(
    history=st.lists(
        st.tuples(
            st.sampled_from(list(EVERYTHING.entering)),
            st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, JSON)),
            st.integers(-(10**14), 10**14),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_data_of_any_shape_and_time_is_decided_and_can_be_stored(history):
    story = Story(EVERYTHING)
    for number, (type_, data, at) in enumerate(history):
        assert story.tell(event(type_, f"e{number}", at=at, **data)).outcome != Outcome.REJECTED
    story.pass_time(2 * HOUR)


@pytest.mark.parametrize("now", [-(10**18), 0, 10**18])
def test_a_clock_of_any_kind_is_survived(now):
    story = Story(EVERYTHING, now=now)

    story.tell(event("purchase", "p", at=START, order_id="1", items=[item("tent")]))

    assert 0 <= story.customer.now_ms < 2**48
