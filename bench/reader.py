"""The collector: a `read_committed` consumer of post-purchase messages, and their arithmetic.

`run` starts `collect` in a process of its own before the load and tells it through a pipe how many
purchases to expect. What is measured is the whole way: from the instant at which the purchase was
meant to be sent until the first command of its post-purchase journey can be read.
"""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from confluent_kafka import Consumer, KafkaException, TopicPartition
from hdrh.histogram import HdrHistogram

from bench.events import intended_ns

if TYPE_CHECKING:
    from collections.abc import Iterable
    from multiprocessing.connection import Connection

JOURNEY: Final = "post_purchase"
TOPIC: Final = "commands.email"
YOUNG_SECONDS_MAX: Final = 15.0
HIGHEST_US: Final = 3_600_000_000
PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)
Sample = tuple[int, int]
"""Intended instant and the instant it was visible, both CLOCK_MONOTONIC nanoseconds."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What the collector saw: a sample per purchase, and commands beside the first ones."""

    samples: tuple[Sample, ...]
    repeated: int
    commands: int


def consumer_config(bootstrap_servers: str, group: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": bootstrap_servers,
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        # A fetch is answered as soon as there is something; asking more often heats the broker.
        "fetch.wait.max.ms": 250,
        "fetch.min.bytes": 1,
        "socket.nagle.disable": True,
        # The broker ends before its clients do; nobody needs to read that they noticed.
        "log_level": 2,
    }


def command_partitions(consumer: Consumer, topic_prefix: str) -> list[TopicPartition]:
    """Return every partition of the topic that a purchase's first command is on, at its end."""
    wanted = f"{topic_prefix}{TOPIC}"
    topics = consumer.list_topics(timeout=10).topics
    ends = []
    for name, topic in topics.items():
        if name == wanted:
            # The end at this moment, not at the first fetch: nothing sent later is missed.
            ends += [
                TopicPartition(name, partition, _end(consumer, name, partition))
                for partition in topic.partitions
            ]
    return ends


def _end(consumer: Consumer, topic: str, partition: int) -> int:
    """Return the end of a partition, which may be too young to have a leader."""
    deadline = time.monotonic() + YOUNG_SECONDS_MAX
    while True:
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1]
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def collect(bootstrap_servers: str, topic_prefix: str, pipe: Connection) -> None:
    """Read until the expected number of purchases is visible or time is up, then report.

    The parent receives "ready", sends (purchases expected, seconds to wait), receives Collected.
    """
    consumer = Consumer(consumer_config(bootstrap_servers, f"{topic_prefix}bench-reader"))
    consumer.assign(command_partitions(consumer, topic_prefix))
    consumer.poll(1.0)
    gc.freeze()
    pipe.send("ready")
    visible: dict[str, int] = {}
    commands = repeated = 0
    expected, deadline = 1 << 62, float("inf")
    while len(visible) < expected and time.monotonic() < deadline:
        message = consumer.poll(0.02)
        # The parent speaks once, at the end of the load; asking it rarely keeps the loop short.
        if (message is None or commands % 256 == 0) and deadline == float("inf") and pipe.poll():
            expected, seconds = pipe.recv()
            deadline = time.monotonic() + seconds
        if message is None or message.error():
            continue
        now_ns = time.monotonic_ns()
        commands += 1
        purchase = purchase_of(message.value())
        if purchase is not None:
            repeated += purchase in visible
            visible.setdefault(purchase, now_ns)
    consumer.close()
    samples = tuple(
        (sent_ns, seen_ns)
        for purchase, seen_ns in visible.items()
        if (sent_ns := intended_ns(purchase)) is not None
    )
    pipe.send(Collected(samples, repeated, commands))


def purchase_of(value: bytes) -> str | None:
    """Return the id of the purchase that a first post-purchase command answers, or None."""
    command = orjson.loads(value)
    data = command["data"]
    if command["type"] != "message.send" or data["journey"] != JOURNEY:
        return None
    return data["caused_by"]["id"]


def histogram(samples: Iterable[Sample]) -> HdrHistogram:
    """Return the waits of the samples in microseconds."""
    waits = HdrHistogram(1, HIGHEST_US, 3)
    for intended, seen in samples:
        waits.record_value(min(HIGHEST_US, max(1, (seen - intended) // 1000)))
    return waits


def percentiles(waits: HdrHistogram) -> dict[str, float]:
    """Return the percentiles and the maximum in milliseconds."""
    named = {f"p{level:g}": waits.get_value_at_percentile(level) / 1000 for level in PERCENTILES}
    return named | {"max": waits.get_max_value() / 1000}


def drift_ms(samples: Iterable[Sample]) -> float:
    """Return how much the median wait grew from the first to the last quarter of the run.

    A system that keeps up has a flat line; one that falls behind does not, whatever its p99.
    """
    ordered = sorted(samples)
    quarter = len(ordered) // 4
    if quarter == 0:
        return 0.0
    first = sorted(seen - intended for intended, seen in ordered[:quarter])
    last = sorted(seen - intended for intended, seen in ordered[-quarter:])
    return (last[quarter // 2] - first[quarter // 2]) / 1e6
