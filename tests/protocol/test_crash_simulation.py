"""The state machine of the commit, crashed at every point on a simulated broker.

What is judged is what stands on the topics: every input decided once, and every customer's visible
effects equal to what the core says when it is told the same inputs in the recorded order.
"""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime

import msgspec
import orjson
import pytest

from orchestrator.core.customer import (
    Customer,
    decode_customer,
    encode_customer,
    encoded_is_paused,
    wake_at_ms,
)
from orchestrator.core.decide import decide
from orchestrator.core.event import Resumed, TimerFired, Visit
from orchestrator.core.language.shop import Shop
from orchestrator.core.pauses import Pause, Pauses
from orchestrator.protocol.codec import decode_event
from orchestrator.protocol.commit.machine import CommitMachine
from orchestrator.protocol.commit.meta import JOURNEYS_KEY, META_KEY
from orchestrator.protocol.commit.rounds import RESUMED, Cursor
from orchestrator.protocol.commit.transaction import TopicPartition
from orchestrator.protocol.home import home_partition
from orchestrator.protocol.outputs import encode_command
from tests.core.builders import journey, send, shop_of, wait
from tests.protocol.simulated_kafka import NAMES, PARTITIONS, Cluster, Worker, journey_log

SEEDS = range(40)

JOURNEYS = shop_of(
    journey(
        "cart",
        "cart.abandoned",
        [wait("soon", "1m"), send("reminder"), wait("later", "10m"), send("last", "push")],
        exits=["purchase"],
        key="event.data.cart_id",
    ),
    journey("season", "product.viewed", [wait("pause", "5m"), send("sale")], exits=["purchase"]),
    journey(
        "post_purchase",
        "purchase",
        [send("thank_you"), wait("few", "20m"), send("review", "sms")],
        kind="transactional",
        key="event.data.order_id",
        exits=["order.cancelled"],
    ),
    # At ten, which comes while workers crash; everybody who is known then.
    journey("news", None, [send("news")], schedule={"cron": "0 10 * * *", "rate": 20}),
    journey("lapsed", None, [send("miss_you")], absence={"of": "purchase", "for": "30m"}),
    journey(
        "collector",
        "product.viewed",
        [
            {"id": "n", "set": {"seen": "trigger.data.sku"}},
            {"id": "t", "emit": {"event": "tent.seen", "data": {"sku": "trigger.data.sku"}}},
        ],
        reentry={"after": "2s"},
    ),
    journey("tents", "tent.seen", [send("tents", "push")], reentry="always"),
    journey("seen", None, [send("seen")], segment="has(profile.seen)"),
    shop=Shop(events={"tent.seen": ("sku",)}),
)
TEN = 1_795_341_600_000
# What is paused after each part of a history; at the end nothing is.
PAUSED = (
    [Pause("channel/push", "eva", "stop")],
    [Pause("global", "eva", "stop"), Pause("channel/sms", "eva", "stop", transactional=True)],
    [Pause("journey/cart", "eva", "stop")],
    [],
    [Pause("global", "ben", "stop", transactional=True)],
    [],
)


def produce_history(cluster, count):
    """Put a seeded history on the input topics: repeats, poison and wrong partitions among it."""
    rng = random.Random(cluster.rng.random())
    for number in range(count):
        customer = f"c{rng.randrange(6)}"
        kind = rng.choice(["product.viewed", "cart.abandoned", "purchase", "order.cancelled"])
        data = {
            "product.viewed": {"sku": "tent"},
            "cart.abandoned": {"cart_id": f"k{number}", "items": [{"sku": "tent", "quantity": 1}]},
            "purchase": {
                "order_id": f"o{number}",
                "total": "9.00",
                "currency": "EUR",
                "items": [{"sku": "tent", "quantity": 1}],
            },
            "order.cancelled": {"order_id": f"o{rng.randrange(count)}"},
        }[kind]
        event = {
            "specversion": "1.0",
            "id": f"e{number - rng.choice((0, 0, 0, 0, 1))}",
            "source": "/shop",
            "type": kind,
            "subject": customer,
            "time": "2026-11-22T10:00:00Z",
            "data": data,
        }
        value = orjson.dumps(event) if rng.random() > 0.03 else b"{poison"
        home = home_partition(customer.encode(), PARTITIONS)
        place = rng.choice(
            [TopicPartition("touchpoints", home)] * 6
            + [TopicPartition("touchpoints", (home + 1) % PARTITIONS)]
            + [TopicPartition("stores", rng.randrange(2))]
        )
        cluster.log.append(place, customer.encode(), value)


def run_cluster(seed, worker=Worker):
    """Run one seeded history to its end."""
    cluster = Cluster(seed, JOURNEYS)
    cluster.worker = worker
    cluster.log.now_ms = TEN - 4_000
    cluster.start_worker()
    for paused in PAUSED:
        produce_history(cluster, 15)
        cluster.run(200)
        cluster.pause(*paused)
        cluster.run(50)
    cluster.settle()
    return cluster


def header(record, name):
    return dict(record.headers)[name].decode()


def is_told(record):
    """Whether a record of the forward topic is an event that a journey told."""
    return "fw_topic" not in dict(record.headers)


def consumed_places(cluster):
    """Count how often each input record shows as decided, dead-lettered or sent home."""
    seen = Counter()
    for entries in journey_log(cluster).values():
        for entry in entries:
            cause = entry["cause"]
            if cause["kind"] == "event":
                seen[cause["topic"], cause["partition"], cause["offset"]] += 1
    for topic, prefix in ((NAMES.dead_letters, "dl"), (NAMES.forward, "fw")):
        for _, record in cluster.visible(topic):
            if topic == NAMES.forward and is_told(record):
                continue
            place = (
                header(record, f"{prefix}_topic"),
                int(header(record, f"{prefix}_partition")),
                int(header(record, f"{prefix}_offset")),
            )
            seen[place] += 1
    return seen


def violations(cluster):
    """Return everything on the topics that must not be so."""
    found = []
    seen = consumed_places(cluster)
    # A dead letter of a forwarded record names where the record stood first.
    from_forward = Counter(
        place for place, times in seen.items() for _ in range(times - 1) if times > 1
    )
    dead = sum(1 for _ in cluster.visible(NAMES.dead_letters))
    decided = sum(len(entries) for entries in journey_log(cluster).values())
    timers = sum(
        entry["cause"]["kind"] != "event"
        for entries in journey_log(cluster).values()
        for entry in entries
    )
    forwarded = sum(not is_told(record) for _, record in cluster.visible(NAMES.forward))
    inputs = sum(len(list(cluster.visible(topic))) for topic in NAMES.inputs)
    if inputs != decided - timers + dead + forwarded:
        found.append(f"consumed {decided - timers + dead + forwarded} of {inputs} inputs")
    for topic in NAMES.inputs:
        for place, record in cluster.visible(topic):
            times = seen[topic, place.partition, record.offset]
            if topic != NAMES.forward and times == 0:
                found.append(f"lost {topic}/{place.partition}/{record.offset}")
            if times - from_forward[topic, place.partition, record.offset] > 1:
                found.append(f"doubled {topic}/{place.partition}/{record.offset}")
    for worker in cluster.workers.values():
        for home in worker.machine.homes.values():
            held = {one for one, value in home.states.items() if encoded_is_paused(value)}
            if home.paused != held:
                found.append(
                    f"{home.index} takes {len(home.paused ^ held)} wrongly for held or not"
                )
    return found + visits_missed(cluster) + replay_differences(cluster)


def visits_missed(cluster):
    """Return who was there at ten and did not get the news, or got them twice."""
    found = []
    for customer, entries in journey_log(cluster).items():
        was_there = millis(entries[0]["now"]) < TEN - 100
        times = sum(
            one["kind"] == "entered" and one["journey"] == "news"
            for entry in entries
            for one in entry["entries"]
        )
        if times > 1 or (was_there and times == 0):
            found.append(f"{customer} got the news {times} times")
    return found


def replay_differences(cluster):
    """Decide every customer's recorded inputs again and compare with what is visible."""
    found = []
    commands, states = {}, {}
    for topic in ("commands", "promotional"):
        for place, record in cluster.visible(topic):
            document = orjson.loads(record.value)
            if commands.setdefault(document["id"], record.value) is not record.value:
                found.append(f"doubled command in {place}")
    for _, record in cluster.visible(NAMES.changelog):
        if record.key not in (META_KEY, JOURNEYS_KEY):
            states[record.key] = record.value
    expected = {}
    for customer_id, entries in journey_log(cluster).items():
        customer = Customer(customer_id)
        for entry in entries:
            named = msgspec.convert(entry.get("paused", ()), tuple[Pause, ...])
            journeys = JOURNEYS.pausing(Pauses(named))
            decision = decide(journeys, customer, input_of(cluster, entry), millis(entry["now"]))
            customer = decode_customer(encode_customer(decision.customer))
            expected |= {c.id: encode_command(c) for c in decision.commands}
        if states.get(customer_id.encode()) != encode_customer(customer):
            found.append(f"state of {customer_id} differs")
        if wake_at_ms(customer) is not None:
            found.append(f"a wait of {customer_id} never fired")
    if expected != commands:
        found.append(f"{len(expected.keys() ^ commands.keys())} commands lost or invented")
    return found


def input_of(cluster, entry):
    """Return the input of a journey-log record, read from the log again."""
    cause = entry["cause"]
    if cause["kind"] == "timer":
        return TimerFired(millis(cause["due"]))
    if cause["kind"] == "resumed":
        return Resumed(cause["revision"])
    if cause["kind"] == "visit":
        occurrence = cause["occurrence"]
        occurrence_ms = None if occurrence is None else millis(occurrence)
        return Visit(cause["journey"], cause["version"], occurrence_ms)
    record = cluster.log.records[TopicPartition(cause["topic"], cause["partition"])][
        cause["offset"]
    ]
    return decode_event(
        record.key, record.value, record.headers, event_bytes_max=100_000, forwarded=True
    )


def millis(text):
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def test_the_histories_hold_customers_and_let_them_go():
    causes, kinds = Counter(), Counter()
    for entries in journey_log(run_cluster(1)).values():
        causes.update(entry["cause"]["kind"] for entry in entries)
        kinds.update(one["kind"] for entry in entries for one in entry["entries"])

    assert causes["resumed"] > 3
    assert kinds["held"] > 5


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_or_doubled_whatever_crashes_freezes_or_joins(seed):
    assert violations(run_cluster(seed)) == []


class NoFence(Worker):
    """Planted: the broker is not told the generation."""

    def fence(self, transaction):
        pass

    def abort_open_transactions_on(self, place):
        pass


class KeepsEverything(Worker):
    """Planted: partitions that come back after somebody else had them are not loaded again."""

    def join(self):
        class Keeps(CommitMachine):
            def on_assigned(self, generation, member, homes):
                self.kept = getattr(self, "kept", {}) | self.homes
                needed = super().on_assigned(generation, member, homes)
                for index in needed & self.kept.keys():
                    self.homes[index] = self.kept[index]
                    self._loading.discard(index)
                return needed - self.kept.keys()

        self.machine.__class__ = Keeps
        super().join()


class StartsFromGroupOffsets(Worker):
    """Planted: positions come from the group's offsets as they stood before the last commit."""

    def load(self, index):
        loaded = super().load(index)
        if loaded.meta is None:
            return loaded
        behind = {topic: max(0, at - 1) for topic, at in loaded.meta.positions.items()}
        meta = type(loaded.meta)(
            **{f: getattr(loaded.meta, f) for f in loaded.meta.__struct_fields__}
            | {"positions": behind}
        )
        return loaded._replace(meta=meta)


class ForgetsRounds(Worker):
    """Planted: how far a round was is not read at recovery."""

    def load(self, index):
        loaded = super().load(index)
        if loaded.meta is None:
            return loaded
        return loaded._replace(meta=msgspec.structs.replace(loaded.meta, rounds={}))


class TakesAResumeAsDone(Worker):
    """Planted: after a takeover nobody is visited any more whom a pause had held."""

    def load(self, index):
        loaded = super().load(index)
        if loaded.meta is None:
            return loaded
        rounds = {**loaded.meta.rounds, RESUMED: Cursor(self.log.pauses.revision)}
        return loaded._replace(meta=msgspec.structs.replace(loaded.meta, rounds=rounds))


class DoesNotReadControl(Worker):
    """Planted: what is paused is never taken over after the start."""

    def read_control(self):
        if self.pauses is self.log.pauses or self.machine.homes:
            return
        super().read_control()


class ForgetsWaits(Worker):
    """Planted: the index of waits is not rebuilt at recovery."""

    def join(self):
        super().join()
        for home in self.machine.homes.values():
            for customer in home.states:
                home.waits.set(customer, None)


class DropsTheOpenGroup(Worker):
    """Planted: a revocation throws away what is decided, and keeps the states."""

    def drain(self):
        self.machine.on_revoked()
        self.machine._open = None
        self.machine._touched, self.machine._moved = set(), {}
        super().drain()


@pytest.mark.parametrize(
    "defect",
    [
        NoFence,
        KeepsEverything,
        StartsFromGroupOffsets,
        ForgetsRounds,
        TakesAResumeAsDone,
        DoesNotReadControl,
        ForgetsWaits,
        DropsTheOpenGroup,
    ],
)
def test_the_judge_finds_a_planted_defect(defect):
    for seed in SEEDS:
        try:
            if violations(run_cluster(seed, defect)):
                return
        except (AssertionError, LookupError, RuntimeError) as error:
            pytest.fail(f"the simulation itself failed: {error!r}")
    pytest.fail(f"{defect.__name__} was not found in {len(SEEDS)} histories")
