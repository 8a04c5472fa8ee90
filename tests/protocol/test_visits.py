"""Visits stand behind live events: in the group that is open, and in how long it becomes."""

import orjson

from orchestrator.protocol.commit.group import Limits, Rules
from orchestrator.protocol.commit.transaction import TopicPartition
from tests.core.builders import journey, send, shop_of
from tests.protocol.simulated_kafka import NAMES, TIMED_MAX, Cluster

HELLO = journey("hello", "store.visited", [send("hello")], kind="service")
CAKE = journey("cake", None, [send("cake")], date={"of": "profile.birthday", "yearly": True})


def appear(cluster, *customers):
    for customer in customers:
        document = {
            "specversion": "1.0",
            "id": f"v-{customer}",
            "source": "/shop",
            "type": "store.visited",
            "subject": customer,
            "time": "2026-11-22T10:00:00Z",
            "data": {},
        }
        place = TopicPartition("touchpoints", 0)
        cluster.log.append(place, customer.encode(), orjson.dumps(document))


def begun():
    """Return a worker whose new journey has to visit twenty customers."""
    cluster = Cluster(1, shop_of(HELLO))
    cluster.start_worker()
    (worker,) = cluster.workers.values()
    appear(cluster, *(f"c{number}" for number in range(20)))
    cluster.settle()
    journeys = shop_of(HELLO, CAKE)
    worker.machine.adopt(Rules(journeys, NAMES, Limits(100_000, 100_000), lambda: 0.0))
    cluster.log.now_ms += 60_000
    return cluster, worker


def decided(worker):
    """Decide all that there is room for; return the transaction that it becomes."""
    while worker.machine.decide(100, worker.clocks()):
        pass
    return worker.machine.seal(worker.clocks())


def test_one_transaction_visits_few_and_leaves_the_rest_to_the_next_ones():
    cluster, worker = begun()

    visits = []
    while (transaction := decided(worker)) is not None:
        visits.append(sum(transaction.stats.visits.values()))
        worker.machine.on_committed()
        cluster.log.now_ms += 60_000

    assert max(visits) == TIMED_MAX
    assert sum(visits) == 20


def test_events_that_come_while_visits_are_decided_go_into_the_same_transaction():
    cluster, worker = begun()
    assert worker.machine.decide(100, worker.clocks()) == TIMED_MAX
    appear(cluster, "late-1", "late-2", "late-3")
    while worker.machine.queued_records < 3:
        worker.fetch()

    transaction = decided(worker)

    assert sum(transaction.stats.visits.values()) == TIMED_MAX
    assert sum(transaction.stats.events.values()) == 3


def test_the_partitions_have_their_turn_one_after_the_other():
    """Few partitions in one transaction, and none of them stands behind another's backlog."""
    cluster, worker = begun()

    turns = []
    while (transaction := decided(worker)) is not None:
        turns.append({place.partition for place in transaction.offsets})
        worker.machine.on_committed()
        cluster.log.now_ms += 60_000

    # In the first two the rounds begin, each with the few whose time has come by then.
    assert turns[2:5] == [{1}, {2}, {0}]
