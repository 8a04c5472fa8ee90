"""The producer: malformed records at a rate, with valid purchases between them; own process."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Producer

from bench.events import customer_id, event_bytes, event_id
from bench.load import producer_config
from bench.malformed.records import HUGE_BYTES, malformed

if TYPE_CHECKING:
    from bench.systems import Deployment

# A valid purchase after so many malformed records, by customers whom nobody else touches.
PURCHASE_EVERY: Final = 50
PURCHASE_CUSTOMERS: Final = 2_000
PURCHASE_CUSTOMERS_FROM: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Feed:
    """How many malformed records, how many a second, from which seed."""

    count: int
    rate: float
    seed: int


@dataclass(slots=True)
class Fed:
    """What was produced: how many malformed records, and the instants of the valid purchases."""

    records: int = 0
    refused_by_client: int = 0
    purchases: set[int] = field(default_factory=set)


def send(deployment: Deployment, feed: Feed) -> Fed:
    """Produce everything and return when the broker has it."""
    config = producer_config(deployment.bootstrap_servers)
    producer = Producer(config | {"linger.ms": 5, "message.max.bytes": HUGE_BYTES * 2})
    fed, chance = Fed(), Random(feed.seed)
    records = malformed(feed.count, feed.seed, deployment.partitions, time.time_ns())
    topic, started = deployment.input_topic, time.monotonic()
    for number, record in enumerate(records):
        if number % PURCHASE_EVERY == 0:
            instant = time.monotonic_ns()
            customer = PURCHASE_CUSTOMERS_FROM + chance.randrange(PURCHASE_CUSTOMERS)
            identity = event_id(instant, number)
            value = event_bytes("purchase", identity, customer, time.time_ns(), chance)
            _produce(producer, topic, value, key=customer_id(customer))
            fed.purchases.add(instant)
        place = {} if record.partition is None else {"partition": record.partition}
        headers = list(record.headers)
        _produce(producer, topic, record.value, key=record.key, headers=headers, **place)
        fed.records += 1
        while (ahead := started + number / feed.rate - time.monotonic()) > 0:
            producer.poll(0)
            time.sleep(min(ahead, 0.01))
    fed.refused_by_client = producer.flush(60)
    return fed


def _produce(producer: Producer, topic: str, value: bytes | None, **rest: Any) -> None:
    while True:
        try:
            producer.produce(topic, value=value, **rest)
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return
