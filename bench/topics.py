"""What stands on a topic, read from its beginning to its end, for those who judge a run."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import orjson
from confluent_kafka import Consumer, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from confluent_kafka import Message

# Nobody answers for so long but a broker that is gone, or an open transaction.
ANSWER_SECONDS: Final = 10.0


def read_topic(
    client: Mapping[str, Any], topic: str, *, isolation: str = "read_committed"
) -> Iterator[tuple[bytes | None, bytes | None, dict[str, bytes]]]:
    """Yield key, value and headers of every record; `client` holds librdkafka's settings.

    Raises TimeoutError when the end cannot be reached.
    """
    for message in read_messages(client, topic, isolation=isolation):
        headers: Any = message.headers() or []
        yield message.key(), message.value(), dict(headers)


def read_messages(
    client: Mapping[str, Any], topic: str, *, isolation: str = "read_committed"
) -> Iterator[Message]:
    """Yield every record as the client has it, for those who ask for its timestamp.

    Raises TimeoutError when the end cannot be reached.
    """
    reading = {
        "group.id": "reader",
        "isolation.level": isolation,
        "enable.auto.commit": False,
        "enable.partition.eof": True,
    }
    consumer = Consumer({**client, **reading})
    try:
        partitions = consumer.list_topics(topic, timeout=ANSWER_SECONDS).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        ended: set[int | None] = set()
        while len(ended) < len(partitions):
            message = consumer.poll(ANSWER_SECONDS)
            if message is None:
                raise TimeoutError(f"{topic} does not answer, or has an open transaction")
            if message.error():  # The only one that is reported here is the end of a partition.
                ended.add(message.partition())
            else:
                yield message
    finally:
        consumer.close()


def decoded(value: bytes | None) -> Any:
    """Return a record's JSON, or the value as it is when it holds none."""
    with contextlib.suppress(orjson.JSONDecodeError, TypeError):
        return orjson.loads(value)  # type: ignore[arg-type] # None is no JSON either.
    return value


def end_offsets(client: Mapping[str, Any], topic: str) -> int:
    """Return how much was written to a topic; markers count, so it is more than its records."""
    consumer = Consumer({**client, "group.id": "watcher"})
    try:
        partitions = consumer.list_topics(topic, timeout=ANSWER_SECONDS).topics[topic].partitions
        places = [TopicPartition(topic, number) for number in partitions]
        return sum(consumer.get_watermark_offsets(place, ANSWER_SECONDS)[1] for place in places)
    finally:
        consumer.close()
