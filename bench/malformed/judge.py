"""What became of every consumed record, said by the topics alone."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import orjson
from confluent_kafka import Consumer, Message, TopicPartition

from bench.reader import consumer_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.systems import Deployment

READ_SECONDS_MAX: Final = 300.0
Origin = tuple[str, int, int]


@dataclass(slots=True)
class Verdict:
    """What the topics say: what became of each consumed record."""

    consumed: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    lost: list[Origin] = field(default_factory=list)
    doubled: list[Origin] = field(default_factory=list)

    @property
    def balanced(self) -> bool:
        """Consumed = applied + duplicate + forwarded + dead-lettered, and each record once."""
        return self.consumed == self.outcomes.total() and not self.lost and not self.doubled


def judge(deployment: Deployment) -> Verdict:
    """Read input, forward, journey-log and dead-letters from their beginning and compare."""
    verdict = Verdict()
    ends: Counter[Origin] = Counter()
    for message in read_all(deployment, deployment.input_topic):
        ends[message.topic(), message.partition(), message.offset()] = 0
    # A forwarded record is consumed twice: where it came from it ends as forwarded. What becomes
    # of it later is told under the position it came from, or under that on the forward topic.
    forwarded: dict[Origin, Origin] = {}
    for message in read_all(deployment, deployment.forward_topic):
        origin = _origin(message, "fw_")
        forwarded[origin] = message.topic(), message.partition(), message.offset()
        ends[origin] += 1
        ends[forwarded[origin]] = 0
        verdict.outcomes["forwarded"] += 1
    verdict.consumed = len(ends)
    for message in read_all(deployment, f"{deployment.prefix}journey-log"):
        log = orjson.loads(message.value())
        cause = log["cause"]
        if cause["kind"] == "event":
            position = cause["topic"], cause["partition"], cause["offset"]
            ends[forwarded.get(position, position)] += 1
            verdict.outcomes[log["outcome"]] += 1
    for message in read_all(deployment, f"{deployment.prefix}dead-letters"):
        origin = _origin(message, "dl_")
        ends[forwarded.get(origin, origin)] += 1
        verdict.outcomes["dead-lettered"] += 1
        verdict.reasons[dict(message.headers())["dl_reason"].decode()] += 1
    verdict.lost = [origin for origin, count in ends.items() if count == 0]
    verdict.doubled = [origin for origin, count in ends.items() if count > 1]
    return verdict


def _origin(message: Message, mark: str) -> Origin:
    # A record may bring such headers itself; the worker's are the last ones.
    marks = dict(message.headers())
    topic, partition, offset = (marks[f"{mark}{name}"] for name in ("topic", "partition", "offset"))
    return topic.decode(), int(partition), int(offset)


def read_all(deployment: Deployment, topic: str) -> Iterator[Message]:
    """Yield the committed records of a topic up to its present end."""
    config = consumer_config(deployment.bootstrap_servers, f"{deployment.prefix}judge")
    consumer = Consumer(config | {"enable.partition.eof": True})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    open_partitions = set(partitions)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    deadline = time.monotonic() + READ_SECONDS_MAX
    while open_partitions:
        for message in consumer.consume(5_000, timeout=0.2):
            if message.error() is None:
                yield message
            else:  # The end of a partition, where the worker has stopped writing.
                open_partitions.discard(message.partition())
        if time.monotonic() > deadline:
            raise RuntimeError(f"{topic} cannot be read to its end")
    consumer.close()
