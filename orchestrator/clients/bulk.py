"""Reads stretches of a log as fast as the machine can: librdkafka fetches and parses beside us.

aiokafka reads in the interpreter, which costs about twice as much a record. Does not block, and
wants no thread: what a thread makes is kept in memory of its own, and what was freed before in that
of the others is not used again.
"""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

import structlog
from confluent_kafka import Consumer, KafkaError, TopicPartition

from orchestrator.errors import DependencyError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from confluent_kafka import Message

_log = structlog.get_logger()

# Taken at once at most: a few milliseconds.
_MESSAGES: Final = 1_000
_READING: Final = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    # Behind the last record may lie a marker: the end is told, or it would be waited for.
    "enable.partition.eof": True,
    "check.crcs": True,
    "fetch.wait.max.ms": 20,
    # Fetched ahead of us at most, and asked again at once when there is room: it waits a second.
    "queued.max.messages.kbytes": 65_536,
    "fetch.queue.backoff.ms": 1,
}


class Stretch(NamedTuple):
    """What to read of a partition: from `start` on, at least what lies before `end`.

    Nobody goes on writing it meanwhile: all that is committed is read.
    """

    topic: str
    partition: int
    start: int
    end: int


class Record(Protocol):
    """A record as librdkafka gives it, of a topic whose records all have a key."""

    def error(self) -> KafkaError | None: ...  # noqa: D102
    def topic(self) -> str: ...  # noqa: D102
    def partition(self) -> int: ...  # noqa: D102
    def offset(self) -> int: ...  # noqa: D102
    def key(self) -> bytes: ...  # noqa: D102
    def value(self) -> bytes | None: ...  # noqa: D102


def read_stretches(
    options: dict[str, Any], group_id: str, stretches: Sequence[Stretch]
) -> Generator[list[Record], None, None]:
    """Yield the committed records of the stretches, each partition's in order.

    A list is empty when nothing more is here yet; the caller waits a moment. `options` are those of
    `bulk_options`; `group_id` names us, no group is joined. Raises DependencyError when the broker
    refuses a partition.
    """
    unread = [one for one in stretches if one.start < one.end]
    if not unread:
        return
    ends = {(one.topic, one.partition): one.end for one in unread}
    consumer = Consumer(
        options | _READING | {"group.id": group_id, "error_cb": _tell},
        logger=logging.getLogger("librdkafka"),
    )
    with closing(consumer):
        consumer.assign([TopicPartition(one.topic, one.partition, one.start) for one in unread])
        while ends:
            yield _records(consumer.consume(_MESSAGES, 0), ends)


def _records(messages: list[Message], ends: dict[tuple[str, int], int]) -> list[Record]:
    """Return those that are records, and note of which partitions the end was told."""
    read = cast("list[Record]", messages)
    records = [one for one in read if one.error() is None]
    if len(records) < len(read):
        for one in read:
            error = one.error()
            if error is not None:
                _take(error, one, ends)
    return records


def _take(error: KafkaError, told: Record, ends: dict[tuple[str, int], int]) -> None:
    place = told.topic(), told.partition()
    if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - It has no other name.
        # A refusal of the group, by which we are known, names no partition.
        named = f"reading {place[0]}/{place[1]}: " if told.topic() else ""
        raise DependencyError(f"{named}{error.str()}; nothing was skipped")
    if place in ends and told.offset() >= ends[place]:
        del ends[place]


def _tell(error: KafkaError) -> None:
    """Log what librdkafka goes on after by itself: a broker that is away, or does not let us in."""
    _log.warning("reading in bulk", error=error.str())
