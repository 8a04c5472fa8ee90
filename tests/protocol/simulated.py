"""A cluster of the simulation (`bench/simulation`) with journeys of a test's own."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import orjson

from bench.simulation.cluster import Cluster
from bench.simulation.shops import LIMITS, names_of, shop_of
from orchestrator.protocol.commit.group import Rules
from orchestrator.protocol.commit.transaction import TopicPartition
from tests.core.builders import CHANNELS

NAMES = names_of(CHANNELS)


def rules(journeys):
    """Return what a worker decides by."""
    return Rules(journeys, NAMES, LIMITS, lambda: 0.0)


def one_worker(journeys):
    """Return a cluster in which one worker owns everything, and that worker."""
    cluster = Cluster(shop_of("test", journeys, Path()))
    cluster.start(0)
    cluster.work_on()
    return cluster, cluster.awake[0]


def store_visited(customer, name):
    """Return the event that somebody came into a store."""
    return {
        "specversion": "1.0",
        "id": name,
        "source": "/shop",
        "type": "store.visited",
        "subject": customer,
        "time": "2026-11-22T09:59:00Z",
        "data": {},
    }


def visit_store(cluster, customer, name):
    """Let somebody come into a store; the record stands on partition 0, home or not."""
    place = TopicPartition("touchpoints", 0)
    cluster.put(place, customer.encode(), orjson.dumps(store_visited(customer, name)))


def journey_log(cluster):
    """Return the decoded journey log in log order, by customer."""
    by_customer = defaultdict(list)
    for record in cluster.committed(NAMES.journey_log):
        entry = orjson.loads(record.value)
        by_customer[entry["customer"]].append(entry)
    return by_customer
