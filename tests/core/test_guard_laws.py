"""What the guard promises under any journeys, caps and histories, judged on what a provider got.

`FakeProvider` takes commands as a channel's sender would: late, never after their expiry, never
after a cancel, and it reports what it did. The judge knows the rules, not the guard.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.calendar import minute_of_day, zone_named
from orchestrator.core.command import Command, CommandType
from orchestrator.core.customer import Customer, wake_at_ms
from orchestrator.core.decide import decide
from orchestrator.core.decision import Ended, Entered, Held, SendRefused
from orchestrator.core.encoded.state import decode_customer, encode_customer
from orchestrator.core.event import TimerFired
from orchestrator.core.journeys import Journeys
from orchestrator.core.language.shop import Channel, Shop
from tests.core.builders import DAY, HOUR, MINUTE, START, event, journey, send, wait

if TYPE_CHECKING:
    from orchestrator.core.decision import Decision
    from orchestrator.core.event import Event, Input
    from orchestrator.core.language.journey import Journey

CHANNELS = {
    "email": Channel(kind="message", address_ref="profile.email"),
    "push": Channel(kind="message", address_ref="profile.push_token"),
    "web": Channel(kind="message", needs_consent=False, quiet_hours="none"),
}
TYPES = ("product.viewed", "cart.abandoned", "search.done")
PROVIDER_DELAYS = (0, MINUTE, 23 * HOUR)
# A sender that works in batches hands over at once what was emitted hours apart.
BATCH = 6 * HOUR


@st.composite
def promotions(draw: st.DrawFn, name: str) -> Journey:
    """Return a journey that writes several times."""
    steps: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 4))):
        channel = draw(st.sampled_from(sorted(CHANNELS)))
        lasts = draw(st.sampled_from(["30m", "6h", "24h"]))
        steps.append(send(f"s{number}", channel=channel, expires_after=lasts))
        if draw(st.booleans()):
            steps.append(wait(f"w{number}", draw(st.sampled_from(["20m", "5h", "1d"]))))
    kind = draw(st.sampled_from(["promotional"] * 4 + ["service", "transactional"]))
    made = journey(
        name, draw(st.sampled_from(TYPES)), steps, kind=kind, exits=["purchase"], reentry="always"
    )
    return made.model_copy(update={"priority": draw(st.sampled_from([10, 50, 90]))})


CAPS = st.fixed_dictionaries(
    {"max": st.integers(1, 3), "per": st.sampled_from(["1h", "1d", "3d"])},
    optional={"channel": st.sampled_from(["email", "push"]), "journey": st.just("j0")},
)
SHOPS = st.fixed_dictionaries(
    {
        "caps": st.lists(CAPS, max_size=3),
        "quiet_hours": st.sampled_from([None, {"from": "21:00", "to": "09:00"}]),
    },
    optional={
        "spacing": st.sampled_from(["0s", "2h"]),
        "zone": st.sampled_from(["UTC", "Europe/Madrid", "Asia/Kathmandu"]),
        "handoff_timeout": st.just("3h"),
    },
)


@dataclass
class FakeProvider:
    """Takes each message some time after it was emitted, and reports that."""

    chance: random.Random
    waiting: list[tuple[int, Command]] = field(default_factory=list)
    got: list[tuple[int, Command]] = field(default_factory=list)

    def take(self, command: Command, now: int) -> None:
        if command.type is CommandType.MESSAGE_CANCEL:
            self.waiting = [one for one in self.waiting if one[1].id not in command.cancels]
        elif command.type is CommandType.MESSAGE_SEND:
            later = self.chance.choice([*PROVIDER_DELAYS, BATCH - now % BATCH, BATCH - now % BATCH])
            self.waiting.append((now + later, command))

    def next_at(self) -> int | None:
        return min((at for at, _ in self.waiting), default=None)

    def hand_over(self, now: int) -> list[tuple[str, Command]]:
        """Hand over what is due; return what is to be reported."""
        due = [one for one in self.waiting if one[0] <= now]
        self.waiting = [one for one in self.waiting if one[0] > now]
        reports = []
        for at, command in due:
            if at > command.expires_at_ms:
                reports.append(("message.dropped", command))
            else:
                self.got.append((at, command))
                reports.append(("message.delivered", command))
        return reports


@dataclass
class Life:
    """One customer, the clock, and everything the judge writes down."""

    journeys: Journeys
    provider: FakeProvider
    customer: Customer = field(default_factory=lambda: Customer("ana"))
    now: int = START
    count: int = 0
    consents: dict[str, bool] = field(default_factory=dict)
    talking_until: int = 0
    open_journeys: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def happen(self, type_: str, **data: Any) -> None:
        self.count += 1
        one = event(type_, f"e{self.count}", at=self.now, **data)
        self._note(one)
        self._decide(one)

    def pass_time(self, duration: int) -> None:
        until = self.now + duration
        while True:
            times = (wake_at_ms(self.customer), self.provider.next_at())
            at = min((one for one in times if one is not None), default=until + 1)
            if at > until:
                break
            self.now = max(self.now, at)
            for outcome, command in self.provider.hand_over(self.now):
                reason = {"reason": "expired"} if outcome == "message.dropped" else {}
                self.happen(outcome, command_id=command.id, **reason)
            due = wake_at_ms(self.customer)
            if due is not None and due <= self.now:
                self._decide(TimerFired(due))
        self.now = until

    def _note(self, one: Event) -> None:
        match one.type:
            case "consent.updated":
                self.consents[one.data["channel"]] = one.data["granted"]
            case "handoff.started":
                timeout = self.journeys.shop.handoff_timeout
                self.talking_until = max(self.talking_until, self.now + timeout)
            case "handoff.ended":
                self.talking_until = 0
            case _:
                pass

    def _decide(self, one: Input) -> None:
        decision = decide(self.journeys, self.customer, one, self.now)
        stored = encode_customer(decision.customer)
        assert decode_customer(stored) == decision.customer
        self.customer = decision.customer
        for entry in decision.entries:
            if isinstance(entry, Entered):
                self.open_journeys.add(entry.enrollment)
            elif isinstance(entry, Ended):
                self.open_journeys.discard(entry.enrollment)
        self._judge(decision)
        for command in decision.commands:
            self.provider.take(command, self.now)

    def _judge(self, decision: Decision) -> None:
        kinds = {key: journey.kind for key, journey in self.journeys.versions.items()}
        for entry in decision.entries:
            stopped = isinstance(entry, SendRefused | Held) and entry.reason != "expired"
            if stopped and kinds[entry.journey, 1] == "transactional":
                self.faults.append(f"a transactional message: {entry.reason}")
        sends = [one for one in decision.commands if one.type is CommandType.MESSAGE_SEND]
        promotional = [one for one in sends if one.command_class == "promotional"]
        if len({one.enrollment for one in promotional}) > 1:
            self.faults.append("two promotions at one instant")
        for command in promotional:
            channel = CHANNELS[command.channel]
            if channel.needs_consent and not self.consents.get(command.channel):
                self.faults.append(f"no consent for {command.channel}")
            if self.now < self.talking_until:
                self.faults.append("a promotion while a person talks")
        quiet = self.journeys.shop.quiet_hours
        zone = zone_named(self.journeys.shop.zone)
        assert zone is not None
        for command in sends:
            counts = command.command_class != "transactional" and command.channel != "web"
            if quiet is not None and counts and quiet.holds(minute_of_day(self.now, zone)):
                self.faults.append("a message in quiet hours")
            if command.expires_at_ms < self.now:
                self.faults.append("sent after its expiry")

    def over_caps(self) -> list[str]:
        """Return every cap that what arrived exceeds in some window."""
        found = []
        for cap in self.journeys.shop.caps:
            times = sorted(
                at
                for at, one in self.provider.got
                if one.command_class == "promotional"
                and cap.channel in (None, one.channel)
                and cap.journey in (None, one.journey)
            )
            for first, last in zip(times, times[cap.max :], strict=False):
                if last - first < cap.per:
                    found.append(f"{cap.max + 1} within {last - first} ms, allowed {cap.max}")
        return found


HAPPENINGS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.sampled_from(TYPES)),
        st.tuples(st.just("enter"), st.sampled_from(TYPES)),
        st.tuples(st.just("consent"), st.tuples(st.sampled_from(["email", "push"]), st.booleans())),
        st.tuples(st.just("wait"), st.sampled_from([MINUTE, HOUR, 3 * HOUR, 7 * HOUR])),
        st.tuples(
            st.just("tell"), st.sampled_from(["purchase", "handoff.started", "handoff.ended"])
        ),
    ),
    min_size=12,
    max_size=40,
)


@settings(max_examples=250, deadline=None)
@given(
    made=st.integers(1, 4).flatmap(lambda n: st.tuples(*(promotions(f"j{i}") for i in range(n)))),
    shop=SHOPS,
    history=HAPPENINGS,
    seed=st.integers(0, 999),
)
def test_nothing_reaches_a_customer_that_may_not(made, shop, history, seed):
    chance = random.Random(seed)
    life = Life(Journeys(Shop.model_validate(shop), CHANNELS, made), FakeProvider(chance))
    for channel in ("email", "push"):
        life.happen("consent.updated", channel=channel, granted=True, proof="p", **PROMOTIONAL)
    for what, about in history:
        match what:
            case "enter":
                life.happen(about, sku="tent")
            case "consent":
                channel, granted = about
                said = {"channel": channel, "granted": granted, "proof": "p"}
                life.happen("consent.updated", **said, **PROMOTIONAL)
            case "wait":
                life.pass_time(about)
            case _:
                more = {"order_id": f"{life.count}", "items": []} if about == "purchase" else {}
                life.happen(about, **more)
    life.pass_time(30 * DAY)

    assert life.faults == []
    assert life.over_caps() == []
    # Whoever is held is let go: every journey comes to its end.
    assert life.open_journeys == set()
    assert wake_at_ms(life.customer) is None


PROMOTIONAL = {"class": "promotional"}


@settings(max_examples=100, deadline=None)
@given(
    made=st.tuples(*(promotions(f"j{i}") for i in range(3))),
    shop=SHOPS,
    entered=st.lists(st.sampled_from(TYPES), min_size=1, max_size=6),
)
def test_every_step_that_sends_is_sent_refused_or_ended_by_an_exit(made, shop, entered):
    """Nothing gets lost between the guard's answers: each send of each enrollment has one."""
    journeys = Journeys(Shop.model_validate(shop), CHANNELS, made)
    customer, now, answers, started = Customer("ana"), START, [], []
    inputs: list[Input] = [event(one, f"e{n}", at=START) for n, one in enumerate(entered)]
    for turn in range(400):
        if turn < len(inputs):
            one = inputs[turn]
        elif (due := wake_at_ms(customer)) is not None:
            now = max(now, due)
            one = TimerFired(due)
        else:
            break
        decision = decide(journeys, customer, one, now)
        customer = decision.customer
        for entry in decision.entries:
            if isinstance(entry, Entered):
                started.append((entry.enrollment, entry.journey))
            elif isinstance(entry, SendRefused):
                answers.append((entry.enrollment, entry.step))
            elif isinstance(entry, Held):
                assert entry.until_ms > now
        answers += [
            (command.enrollment, command.step)
            for command in decision.commands
            if command.type is CommandType.MESSAGE_SEND
        ]
    else:
        raise AssertionError("it goes round without an end")

    steps = {one.name: [step.id for step in one.steps if step.send] for one in made}
    expected = [(enrollment, step) for enrollment, name in started for step in steps[name]]
    assert sorted(answers) == sorted(expected)


@settings(max_examples=150, deadline=None)
@given(
    pauses=st.lists(st.sampled_from(["10m", "50m", "2h", "5h"]), min_size=6, max_size=12),
    per=st.sampled_from(["1h", "3h", "6h"]),
    most=st.integers(1, 2),
    lasts=st.sampled_from(["6h", "24h"]),
    seed=st.integers(0, 999),
)
def test_no_window_holds_too_many_however_late_the_sender_is(pauses, per, most, lasts, seed):
    """Emitted hours apart and handed over together would be over the cap for the customer."""
    steps: list[dict[str, Any]] = []
    for number, pause in enumerate(pauses):
        steps += [send(f"s{number}", expires_after=lasts), wait(f"w{number}", pause)]
    shop = Shop.model_validate({"caps": [{"max": most, "per": per}]})
    provider = FakeProvider(random.Random(seed))
    life = Life(Journeys(shop, CHANNELS, [journey("j0", TYPES[0], steps)]), provider)
    life.happen("consent.updated", channel="email", granted=True, proof="p", **PROMOTIONAL)
    life.happen(TYPES[0], sku="tent")
    life.pass_time(10 * DAY)

    assert life.over_caps() == []
