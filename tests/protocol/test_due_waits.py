"""Waits that come due all at once stand behind live events, and purchases wait for few of them."""

from datetime import datetime

import orjson
import pytest

from bench.simulation.shops import PARTITIONS
from bench.simulation.worker import TIMED_MAX
from orchestrator.protocol.commit.machine import EVENTS_COME_MS
from tests.core.builders import DAY, journey, send, shop_of, wait
from tests.protocol.simulated import NAMES, one_worker, rules, store_visited

LATER = journey("later", "store.visited", [wait("w", "1d"), send("later")], kind="service")
CAKE = journey("cake", None, [send("cake")], date={"of": "profile.birthday", "yearly": True})
WAITING = 20
MINUTE_MS = 60_000


def appear(cluster, *customers):
    for customer in customers:
        cluster.put_home(store_visited(customer, f"v-{customer}"))


def all_due():
    """Return a worker with twenty customers whose waits have come due since a minute at most."""
    cluster, worker = one_worker(shop_of(LATER))
    appear(cluster, *(f"c{number}" for number in range(WAITING)))
    cluster.work_on()
    cluster.pass_time(DAY)
    return cluster, worker


def decided(worker):
    """Decide all that there is room for; return the transaction that it becomes."""
    while worker.machine.decide(100, worker.clocks()):
        pass
    return worker.machine.seal(worker.clocks())


def transactions(cluster, worker):
    """Commit one transaction after the other, a minute apart."""
    while (transaction := decided(worker)) is not None:
        yield transaction
        worker.machine.on_committed()
        cluster.pass_time(MINUTE_MS)


def sent(transaction):
    """Return whom the transaction sends something."""
    return [
        output.key
        for place, outputs in transaction.outputs.items()
        if place.topic in NAMES.command_partitions
        for output in outputs
    ]


def lateness_seconds(transaction):
    """Return how late the journey log says that each wait is."""
    for place, outputs in transaction.outputs.items():
        if place.topic == NAMES.journey_log:
            for entry in (orjson.loads(output.value) for output in outputs):
                now, due = entry["now"], entry["cause"]["due"]
                yield (datetime.fromisoformat(now) - datetime.fromisoformat(due)).total_seconds()


def test_one_transaction_fires_few_waits_and_leaves_the_rest_to_the_next_ones():
    cluster, worker = all_due()

    sends = [sent(transaction) for transaction in transactions(cluster, worker)]

    assert max(map(len, sends)) == TIMED_MAX
    assert sorted(key for keys in sends for key in keys) == sorted(
        b"c%d" % number for number in range(WAITING)
    )


def test_an_event_is_decided_before_any_due_wait_and_in_the_same_transaction():
    cluster, worker = all_due()
    appear(cluster, "late-1", "late-2", "late-3")
    while worker.machine.queued_records < 3:
        worker.act("fetch", 8)

    worker.machine.decide(3, worker.clocks())
    first = worker.machine.open_inputs, worker.machine.queued_records
    transaction = decided(worker)

    assert first == (3, 0)
    assert sum(transaction.stats.events.values()) == 3
    assert len(transaction.stats.lateness_seconds) == TIMED_MAX


@pytest.mark.parametrize(
    ("since_ms", "fired"), [(0, 1), (EVENTS_COME_MS - 1, 1), (EVENTS_COME_MS, TIMED_MAX)]
)
def test_while_events_come_fewer_waits_share_a_transaction(since_ms, fired):
    cluster, worker = all_due()
    machine = worker.machine
    machine._bounds = machine._bounds._replace(beside_max=1)
    appear(cluster, "late")
    while machine.queued_records < 1:
        worker.act("fetch", 8)
    machine.decide(1, worker.clocks())
    with_the_event = decided(worker)
    machine.on_committed()
    cluster.pass_time(since_ms)

    after_it = decided(worker)

    assert len(with_the_event.stats.lateness_seconds) == 1
    assert len(after_it.stats.lateness_seconds) == fired


def test_an_event_that_comes_while_waits_are_decided_goes_into_the_same_transaction():
    cluster, worker = all_due()
    assert worker.machine.decide(100, worker.clocks()) == TIMED_MAX
    appear(cluster, "late")
    while not worker.machine.queued_records:
        worker.act("fetch", 8)

    transaction = decided(worker)

    assert sum(transaction.stats.events.values()) == 1
    assert len(transaction.stats.lateness_seconds) == TIMED_MAX


def test_the_partitions_have_their_turn_one_after_the_other():
    """Few partitions in one transaction, and none of them stands behind another's backlog."""
    cluster, worker = all_due()

    turns = [
        {place.partition for place in transaction.offsets}
        for transaction in transactions(cluster, worker)
    ]

    assert [len(turn) for turn in turns[:PARTITIONS]] == [1] * PARTITIONS
    assert set.union(*turns[:PARTITIONS]) == set(range(PARTITIONS))


def test_how_late_a_wait_is_counts_until_it_is_decided():
    """A wait that was left to a later transaction is later by the time in between."""
    cluster, worker = all_due()

    counted, logged = [], []
    for transaction in transactions(cluster, worker):
        counted.append(sorted(transaction.stats.lateness_seconds))
        logged.append(sorted(lateness_seconds(transaction)))

    assert counted == logged
    assert counted[-1][0] >= counted[0][-1] + 300


def test_waits_and_visits_have_one_bound_and_waits_go_first():
    cluster, worker = all_due()
    journeys = shop_of(LATER, CAKE)
    worker.machine.adopt(rules(journeys))

    stats = [transaction.stats for transaction in transactions(cluster, worker)]
    timed = [(len(one.lateness_seconds), sum(one.visits.values())) for one in stats]

    assert max(map(sum, timed)) == TIMED_MAX
    assert timed[0] == (TIMED_MAX, 0)
    assert tuple(map(sum, zip(*timed, strict=True))) == (WAITING, WAITING)
