"""What the topics say after a run: every record that a `read_committed` reader gets, with offsets.

`read_history` is the only place of the judge that talks to Kafka, by a client that the worker does
not use; the tests build a `History` in memory instead. Everything here is dumb on purpose: times
are epoch milliseconds, values stay bytes, nothing is interpreted but names and homes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LEADER_ATTEMPTS: Final = 20
STANDING_SECONDS: Final = 45.0
"""Longer than the broker lets any transaction of a run stay open."""
Place = tuple[str, int, int]
"""Topic, partition and offset."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record as a consumer sees it."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def place(self) -> Place:
        """Where it stands."""
        return (self.topic, self.partition, self.offset)

    def header(self, name: str) -> str | None:
        """Return the last header of that name as text, or None."""
        for header, value in reversed(self.headers):
            if header == name:
                return value.decode("utf-8", "replace") if value is not None else None
        return None


@dataclass(frozen=True, slots=True)
class Names:
    """The topics of one deployment, by the contract's table."""

    prefix: str
    app_id: str
    partitions: int
    inputs: tuple[str, ...]

    @property
    def forward(self) -> str:
        """Records on their way home."""
        return f"{self.prefix}{self.app_id}-forward"

    @property
    def fences(self) -> str:
        """Enrollments that are over."""
        return f"{self.prefix}fences"

    @property
    def journey_log(self) -> str:
        """What was decided, why, and when."""
        return f"{self.prefix}journey-log"

    @property
    def dead_letters(self) -> str:
        """What could not be applied."""
        return f"{self.prefix}dead-letters"

    @property
    def control(self) -> str:
        """What somebody has paused."""
        return f"{self.prefix}control"

    @property
    def changelog(self) -> str:
        """One record per customer."""
        return f"{self.prefix}{self.app_id}-customers-changelog"

    @property
    def commands_prefix(self) -> str:
        """How the name of every command topic begins."""
        return f"{self.prefix}commands."

    @property
    def input_topics(self) -> tuple[str, ...]:
        """The input topics by their full names."""
        return tuple(f"{self.prefix}{name}" for name in self.inputs)


@dataclass(slots=True)
class History:
    """All records of all topics of a deployment; per partition in the order of their offsets."""

    names: Names
    topics: dict[str, dict[int, list[Record]]] = field(default_factory=dict)
    standing: list[Place] = field(default_factory=list)
    """Where a reader could go no further: an open transaction that nobody ends."""

    def add(self, record: Record) -> None:
        """Append a record; the caller keeps the order of offsets."""
        self.topics.setdefault(record.topic, {}).setdefault(record.partition, []).append(record)

    def of(self, topic: str) -> Iterator[Record]:
        """Yield the records of a topic, partition by partition."""
        partitions = self.topics.get(topic, {})
        for partition in sorted(partitions):
            yield from partitions[partition]

    def command_topics(self) -> tuple[str, ...]:
        """Return the topics on which commands travel."""
        prefix = self.names.commands_prefix
        return tuple(sorted(topic for topic in self.topics if topic.startswith(prefix)))

    def consumed_topics(self) -> tuple[str, ...]:
        """Return the topics that the workers read: the inputs and the forward topic."""
        return (*self.names.input_topics, self.names.forward)


def murmur2(data: bytes) -> int:
    """Return Kafka's default hash of a key, already made positive as its partitioner does."""
    mask = 0xFFFFFFFF
    multiplier = 0x5BD1E995
    length = len(data)
    state = 0x9747B28C ^ length
    whole = length & ~3
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little")
        word = (word * multiplier) & mask
        word ^= word >> 24
        word = (word * multiplier) & mask
        state = ((state * multiplier) & mask) ^ word
    if length & 3:
        state ^= int.from_bytes(data[whole:], "little")
        state = (state * multiplier) & mask
    state ^= state >> 13
    state = (state * multiplier) & mask
    state ^= state >> 15
    return state & 0x7FFFFFFF


def home_of(customer: str, partitions: int) -> int:
    """Return the home partition of a customer."""
    return murmur2(customer.encode()) % partitions


def read_history(bootstrap_servers: str, names: Names) -> History:
    """Read every topic of the deployment from its first to its last offset."""
    history = History(names)
    # The ends are asked for as an uncommitted reader sees them: behind an open transaction.
    scout = _consumer(bootstrap_servers, "read_uncommitted")
    try:
        for topic, partitions in _topics_of(scout, names):
            history.topics[topic] = {partition: [] for partition in range(partitions)}
        waiting = {
            (topic, partition): _end_of(scout, TopicPartition(topic, partition))
            for topic, partitions in history.topics.items()
            for partition in partitions
        }
    finally:
        scout.close()
    consumer = _consumer(bootstrap_servers, "read_committed")
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in waiting])
        _drain(consumer, history, waiting)
    finally:
        consumer.close()
    return history


def _end_of(consumer: Consumer, place: TopicPartition) -> int:
    """Return the end of a partition; its leader may just be coming back."""
    for attempt in range(LEADER_ATTEMPTS):
        try:
            return int(consumer.get_watermark_offsets(place, timeout=30)[1])
        except KafkaException:
            if attempt == LEADER_ATTEMPTS - 1:
                raise
            time.sleep(0.5)
    raise AssertionError("unreachable")


def _consumer(bootstrap_servers: str, isolation: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "crash-judge",
            "log_level": 0,
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": 65_536,
        }
    )


def _topics_of(consumer: Consumer, names: Names) -> Iterator[tuple[str, int]]:
    own = {
        *names.input_topics,
        names.forward,
        names.fences,
        names.journey_log,
        names.dead_letters,
        names.control,
        names.changelog,
    }
    for topic, metadata in sorted(consumer.list_topics(timeout=30).topics.items()):
        if topic in own or topic.startswith(names.commands_prefix):
            yield topic, len(metadata.partitions)


def _drain(
    consumer: Consumer,
    history: History,
    waiting: Mapping[tuple[str, int], int],
) -> None:
    """Read on until the position of every partition has passed its end."""
    left = {place for place, end in waiting.items() if end > 0}
    moved_at = time.monotonic()
    while left:
        if time.monotonic() - moved_at > STANDING_SECONDS:
            # A reader stands in front of an open transaction for as long as that is open.
            places = consumer.position([TopicPartition(*place) for place in sorted(left)])
            history.standing = [(one.topic, one.partition, one.offset) for one in places]
            return
        for message in consumer.consume(5_000, timeout=0.5):
            moved_at = time.monotonic()
            place = (message.topic(), message.partition())
            error = message.error()
            if error is None:
                history.add(_record(message))
            elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - Its public name.
                raise KafkaException(error)
            elif message.offset() >= waiting[place]:
                left.discard(place)


def _record(message: object) -> Record:
    headers = message.headers() or []  # type: ignore[attr-defined]
    return Record(
        topic=message.topic(),  # type: ignore[attr-defined]
        partition=message.partition(),  # type: ignore[attr-defined]
        offset=message.offset(),  # type: ignore[attr-defined]
        timestamp_ms=message.timestamp()[1],  # type: ignore[attr-defined]
        key=message.key(),  # type: ignore[attr-defined]
        value=message.value(),  # type: ignore[attr-defined]
        headers=tuple((name, value or b"") for name, value in headers),
    )
