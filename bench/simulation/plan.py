"""What a seed lets happen: a list of acts, each of which stands for itself.

`plan_of` is the only place where chance has a say. Any act may be left out of a plan and the rest
still means something: that is how `shrink` works. `play` lets a plan happen, and come to rest.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bench.crash.pausing import SCOPES as PAUSED
from bench.crash.plan import STORE_PARTITIONS, Size, tell
from bench.simulation.cluster import PROCESSES, SLOTS, Cluster
from bench.simulation.shops import PARTITIONS, guarded, people
from orchestrator.core.pauses import Pause
from orchestrator.protocol.commit.transaction import TopicPartition
from orchestrator.protocol.outputs import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.simulation.shops import Shop


class Act(NamedTuple):
    """One thing that happens. `kind` is a method of `Playing`; the rest is what it takes."""

    kind: str
    about: tuple[Any, ...] = ()


class Plan(NamedTuple):
    """One history to be. `flavour` says in which shop, and by which judges."""

    seed: int
    flavour: str
    acts: tuple[Act, ...]


def plan_of(seed: int) -> Plan:
    """Return the plan of a seed."""
    chance = random.Random(seed)
    flavour = FLAVOURS[seed % len(FLAVOURS)]
    happens = _guarded(seed, chance) if flavour == "guarded" else _people(flavour, chance)
    return Plan(seed, flavour, tuple(_among_faults(chance, happens, slow=flavour != "guarded")))


# -- What customers do ------------------------------------------------------------------------

# Who is one person, and by which words: chains, both directions, and an address that is shared.
GROUPS: Final = (("ana", "web-1", "web-2", "anabel"), ("ben", "web-4"), ("dora", "dina"))
PAIRS: Final = (("web-1", "ana"), ("web-1", "web-2"), ("ana", "anabel"), ("ben", "web-4"))
FLAVOURS: Final = ("guarded", "merges", "erasures", "guarded", "merges", "both")
SCOPES: Final = ("global", "channel/push", "channel/email", "journey/cart", "journey/season")
WAYS: Final = ("home", "astray", "stores", "open", "aborted")
# What ends a story is not taken back by its producer.
SURELY: Final = 900
REPORTS: Final = ("message.delivered", "message.opened", "message.bounced", "message.dropped")


def _guarded(seed: int, chance: random.Random) -> Iterator[list[Act]]:
    """Yield the story of the crash run, cut down to a few customers of one minute."""
    size = Size(events=30, customers=3, rate=1.0, pauses=(), pause_seconds=0)
    now_ms = 0
    happenings = list(_words(chance, int(size.seconds * 1_000))) if seed % 2 else []
    for one in tell(seed, size, guarded().start_ms, PARTITIONS):
        output = (one.key, one.value, one.headers)
        about = (one.topic, one.partition, output, one.lane)
        happenings.append((one.at_ms, Act("record", about)))
    for at_ms, act in sorted(happenings, key=lambda one: one[0]):
        acts = [Act("live", (at_ms - now_ms,))] if at_ms > now_ms else []
        now_ms = max(now_ms, at_ms)
        acts.append(act)
        if chance.random() < 0.3:
            kind = chance.choice((*REPORTS, "message.failed", "message.failed"))
            acts.append(Act("report", (chance.randrange(1000), kind)))
        yield acts


def _words(chance: random.Random, length_ms: int) -> Iterator[tuple[int, Act]]:
    """Yield who pauses what when: holding or dropping, and resumed before the end."""
    for scope in chance.sample(PAUSED, chance.choice((1, 2, 3))):
        begin_ms = int(length_ms * chance.uniform(0, 0.6))
        end_ms = begin_ms + int(length_ms * chance.uniform(0.1, 0.6))
        kill, wide = chance.random() < 0.3, scope.startswith(("global", "channel"))
        words = (kill, wide and chance.random() < 0.5, f"wrong at {begin_ms} ms")
        yield begin_ms, Act("say", (scope, True, *words))
        if not kill and chance.random() < 0.25:
            # What held first drops now.
            yield (begin_ms + end_ms) // 2, Act("say", (scope, True, True, *words[1:]))
        yield end_ms, Act("say", (scope, False, *words))


def _people(flavour: str, chance: random.Random) -> Iterator[list[Act]]:
    """Yield what a few people do, under all their ids."""
    for number in range(chance.choice((10, 16, 24))):
        acts = [Act("pass_time", (chance.choice((0, 5, 200, 900, 1_500, 2_500)),))]
        acts.append(_anything(flavour, number, chance))
        dice = chance.random()
        if dice < 0.15:
            acts.append(Act("repeat", (chance.randrange(20),)))
        elif dice < 0.18:
            acts.append(Act("poison", (chance.randrange(1 << 16),)))
        elif dice < 0.21 and flavour != "guarded":
            scopes = chance.sample(SCOPES, chance.choice((0, 1, 1, 2)))
            acts.append(Act("pause", tuple((one, chance.random() < 0.3) for one in scopes)))
        yield acts
    if flavour == "merges":
        for pair in chance.sample(PAIRS, len(PAIRS)):
            yield [_identify(900 + PAIRS.index(pair), chance, pair)]
        for about, ids in enumerate(GROUPS):
            if ids[0] == "dora":
                yield [_share(950, "dora", chance), _share(951, "dina", chance)]
            yield [Act("pass_time", (200,)), _buys(970 + about, chance.choice(ids), chance)]


def _anything(flavour: str, number: int, chance: random.Random) -> Act:
    """Return an event of anybody."""
    ids = [one for group in GROUPS for one in group]
    customer = chance.choice(ids if flavour != "erasures" else ids[:4])
    merges, erases = flavour in {"merges", "both"}, flavour in {"erasures", "both"}
    dice = chance.randrange(20)
    if dice < 5:
        return _event(number, "product.viewed", customer, {"sku": "tent"}, chance)
    if dice < 9:
        data = {"cart_id": f"k{chance.randrange(3)}", "items": [{"sku": "tent", "quantity": 1}]}
        return _event(number, "cart.abandoned", customer, data, chance)
    if dice < 12:
        return _buys(number, customer, chance)
    if dice < 13:
        order = {"order_id": f"o{chance.randrange(number + 1)}"}
        return _event(number, "order.cancelled", customer, order, chance, name="again")
    if dice < 16 and merges:
        return _identify(number, chance, chance.choice(PAIRS))
    if dice < 16 and erases:
        return _event(number, "customer.erased", customer, {}, chance)
    if dice < 17 and flavour == "both":
        return _event(number, "customer.erased", customer, {}, chance)
    return Act("report", (chance.randrange(1000), chance.choice(REPORTS)))


def _event(
    number: int, kind: str, customer: str, data: Any, chance: random.Random, *, name: str = "e"
) -> Act:
    """Return an event, now and then late, astray, or in its producer's own transaction."""
    dice = chance.random()
    age_ms = chance.randrange(300) if dice < 0.85 else chance.choice((2_000, 8_000, 3_600_000))
    way = chance.choices(WAYS, (80, 6, 8, 3, 0 if number >= SURELY else 3))[0]
    sent = (age_ms, way, chance.randrange(99))
    return Act("event", (f"{name}{number}", kind, customer, json.dumps(data), sent))


def _buys(number: int, customer: str, chance: random.Random) -> Act:
    items = [{"sku": "tent", "quantity": 1}]
    data = {"order_id": f"o{number}", "total": "9.00", "currency": "EUR", "items": items}
    return _event(number, "purchase", customer, data, chance)


def _identify(number: int, chance: random.Random, pair: tuple[str, str]) -> Act:
    """Say that two ids are one customer: in either direction, at either or a third one."""
    ids = chance.sample(pair, 2)
    data = {"anonymous_id": ids[0], "customer_id": ids[1]}
    about = chance.choice((*pair, *pair, "desk"))
    return _event(number, "profile.identified", about, data, chance)


def _share(number: int, customer: str, chance: random.Random) -> Act:
    email = chance.choice(("Dora@x.example", " dora@X.example "))
    return _event(number, "profile.updated", customer, {"attributes": {"email": email}}, chance)


# -- What goes wrong --------------------------------------------------------------------------


def _among_faults(
    chance: random.Random, happens: Iterator[list[Act]], *, slow: bool
) -> Iterator[Act]:
    """Let workers work between what happens, and die, sleep, wake and start."""
    if chance.random() < 0.4:
        yield Act("be_patient", (60_000,))
    yield Act("start", (0,))
    faults = chance.choice((0.3, 0.6, 1.0))
    for acts in happens:
        yield from acts
        for _ in range(chance.choice((0, 2, 6, 12, 20))):
            yield Act("work", (chance.randrange(1 << 20),))
            if chance.random() < 0.15:
                yield Act("marker", (chance.randrange(64),))
            if chance.random() < 0.1:
                yield Act("pass_time", (chance.choice((1, 3, 20)),))
        if chance.random() < faults * 0.7:
            yield from _fault(chance, "pass_time" if slow else "live")


def _fault(chance: random.Random, passing: str) -> Iterator[Act]:
    number = chance.randrange(SLOTS)
    dice = chance.random()
    if dice < 0.3:
        yield Act("start", (chance.randrange(PROCESSES),))
    elif dice < 0.5:
        yield Act("kill", (number, chance.random() < 0.4))
        if chance.random() < 0.5:
            yield Act("start", (number,))
    elif dice < 0.55:
        yield Act("stop", (number,))
        yield Act("start", (number,))
    elif dice < 0.72:
        yield Act("sleep", (number,))
        if chance.random() < 0.7:
            yield Act(passing, (6_100,))
    elif dice < 0.85:
        yield Act("wake", (number,))
    elif dice < 0.9:
        yield Act("arrive")
    elif dice < 0.95:
        yield Act("end_foreign")
    else:
        yield Act(passing, (6_100,))


FAULTS: Final = frozenset({"kill", "stop", "sleep", "wake", "start", "arrive"})


def everywhere(seed: int, every: int = 1) -> Iterator[Plan]:
    """Yield a seed's plan without its faults, and with a death behind each action of a worker."""
    plan = plan_of(seed)
    calm = tuple(act for act in plan.acts if act.kind not in FAULTS)
    calm = (Act("start", (0,)), Act("start", (1,)), *calm)
    actions = play(plan._replace(acts=calm)).actions
    for number in range(1, actions + 1, every):
        yield plan._replace(acts=(Act("die_after", (number,)), *calm))


# -- Letting it happen ------------------------------------------------------------------------


class Playing:
    """A plan that happens to a cluster. Each method is a kind of act."""

    def __init__(self, shop: Shop, tell: Callable[[str], None] | None) -> None:
        self.cluster = Cluster(shop, tell)
        self.held: dict[str, Pause] = {}

    def record(self, topic: str, partition: int, output: tuple, lane: str) -> None:
        """Produce a record as it is."""
        self.cluster.put(TopicPartition(topic, partition), *output, lane=lane)

    def event(
        self, name: str, kind: str, customer: str, data: str, sent: tuple[int, str, int]
    ) -> None:
        """Produce an event of now, or of some time ago, on one of the ways that there are."""
        age_ms, way, number = sent
        cluster = self.cluster
        body = {
            "specversion": "1.0",
            "id": name,
            "source": "/shop",
            "type": kind,
            "subject": customer,
            "time": rfc3339(cluster.broker.now_ms - age_ms),
            "data": json.loads(data),
        }
        if way == "stores":
            place = TopicPartition("stores", number % STORE_PARTITIONS)
            cluster.put(place, customer.encode(), json.dumps(body).encode())
        else:
            lane = way if way in {"aborted", "open"} else "plain"
            cluster.put_home(body, astray=way == "astray" and 1 + number % 3, lane=lane)

    def poison(self, number: int) -> None:
        """Produce what nobody can read."""
        value = (b"{poison", None, b"[]", b"\xff")[number % 4]
        place = TopicPartition("touchpoints", number // 4 % PARTITIONS)
        self.cluster.put(place, f"c{number % 7}".encode(), value)

    def pause(self, *scopes: tuple[str, bool]) -> None:
        """Replace what is paused."""
        self.held = {}
        for scope, transactional in scopes:
            allowed = transactional and scope.startswith(("global", "channel"))
            self.held[scope] = Pause(scope, "eva", "stop", transactional=allowed)
        self.cluster.pause(tuple(self.held.values()))

    def say(self, scope: str, paused: bool, kill: bool, transactional: bool, why: str) -> None:  # noqa: FBT001
        """Pause or resume one scope."""
        if not paused and scope not in self.held:
            return
        self.held.pop(scope, None)
        if paused:
            self.held[scope] = Pause(scope, "eva@shop.example", why, kill, transactional)
        self.cluster.pause(tuple(self.held.values()))

    def kill(self, number: int, late: bool) -> None:  # noqa: FBT001
        """Kill a process."""
        self.cluster.kill(number, late=late)


def shop_for(flavour: str) -> Shop:
    """Return the shop of a flavour."""
    return guarded() if flavour == "guarded" else people()


def play(plan: Plan, tell: Callable[[str], None] | None = None) -> Cluster:
    """Let a plan happen, then let everything come to rest."""
    playing = Playing(shop_for(plan.flavour), tell)
    cluster = playing.cluster
    for kind, about in plan.acts:
        getattr(playing if hasattr(playing, kind) else cluster, kind)(*about)
    cluster.say("", "-- from here on nothing goes wrong any more --")
    cluster.settle()
    return cluster
