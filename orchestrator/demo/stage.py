"""The demo's hands on Kafka: a producer of events, readers of everything that is committed.

`demo/day` says what to send and what to do with what was read; `explain` and the audit use
`read_to_end`. Everything is read with `read_committed`, as the contract asks of senders.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, errors
from aiokafka.admin import AIOKafkaAdminClient

from orchestrator.errors import DependencyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

POLL_MS: Final = 200
STALL_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Received:
    """One committed record and the moment at which this process could read it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    at: float
    timestamp_ms: int = 0


def consumer(client_options: Mapping[str, Any], **options: Any) -> AIOKafkaConsumer:
    """Return a consumer without a group, which sees only what is committed."""
    return AIOKafkaConsumer(
        **client_options,
        **options,
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
    )


class Till:
    """Sends the shop's events and tells when the broker has them."""

    def __init__(self, client_options: Mapping[str, Any], topic: str) -> None:
        self._producer = AIOKafkaProducer(**client_options, acks="all", linger_ms=0)
        self._topic = topic
        self._in_flight: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect."""
        await self._producer.start()

    async def stop(self) -> None:
        """Wait for the last acknowledgement, then hang up."""
        if self._in_flight:
            await asyncio.gather(*self._in_flight, return_exceptions=True)
        await self._producer.stop()

    async def send(
        self,
        event: Mapping[str, Any],
        accepted: Callable[[str, float], None],
        *,
        keyed: bool = True,
    ) -> None:
        """Stamp and send one event; `accepted` hears of its acknowledgement."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        await self.send_bytes(
            orjson.dumps({**event, "time": now}),
            lambda at: accepted(event["id"], at),
            key=event["subject"].encode() if keyed else None,
        )

    async def send_bytes(
        self, value: bytes, accepted: Callable[[float], None], *, key: bytes | None
    ) -> None:
        """Send any bytes: some producers write nonsense."""
        future = await self._producer.send(self._topic, value, key=key)
        task = asyncio.create_task(_acknowledge(future, accepted))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)


async def _acknowledge(future: asyncio.Future[Any], accepted: Callable[[float], None]) -> None:
    await future
    accepted(time.perf_counter())


class Reader:
    """Follows new topics from their beginning and hands every committed record to `receive`."""

    def __init__(
        self,
        client_options: Mapping[str, Any],
        topics: Iterable[str],
        receive: Callable[[Received], None],
    ) -> None:
        # A short wait at the broker costs nothing and lets a stop be quick.
        self._client_options = client_options
        self._consumer = consumer(client_options, fetch_max_wait_ms=POLL_MS)
        self._topics = tuple(topics)
        self._receive = receive

    async def start(self) -> dict[TopicPartition, int]:
        """Stand at the beginning of every partition, and return these positions."""
        partitions = await partitions_of(self._client_options, self._topics)
        await self._consumer.start()
        self._consumer.assign(partitions)
        # The topics are new. Asking for their ends would wait for the last leader.
        for partition in partitions:
            self._consumer.seek(partition, 0)
        return dict.fromkeys(partitions, 0)

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            fetched = await self._consumer.getmany(timeout_ms=POLL_MS)
            at = time.perf_counter()
            for partition, records in fetched.items():
                for record in records:
                    self._receive(_received(partition, record, at))

    async def caught_up(self, topic: str, partition: int) -> None:
        """Return when everything committed on a partition by now has been received."""
        where = TopicPartition(topic, partition)
        end = (await self._consumer.end_offsets([where]))[where]
        while await self._consumer.position(where) < end:  # noqa: ASYNC110 - there is no event for it.
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Hang up."""
        await self._consumer.stop()


async def partitions_of(
    client_options: Mapping[str, Any], topics: Iterable[str]
) -> list[TopicPartition]:
    """Return every partition of the topics. Raises when one does not exist or is denied."""
    admin = AIOKafkaAdminClient(**client_options)
    await admin.start()
    try:
        answers = await admin.describe_topics(list(topics))
    finally:
        await admin.close()
    for answer in answers:
        if answer["error_code"]:
            reason = errors.for_code(answer["error_code"]).__name__
            raise DependencyError(
                f"topic {answer['topic']}: {reason}; `orchestrator topics` creates what is missing"
            )
    return [
        TopicPartition(answer["topic"], partition)
        for answer in answers
        for partition in range(len(answer["partitions"]))
    ]


async def read_to_end(
    client_options: Mapping[str, Any],
    begins: Mapping[TopicPartition, int | None],
) -> AsyncIterator[Received]:
    """Yield what is committed now, from the given positions.

    None begins at the oldest record; a negative number counts back from the end.
    """
    client = consumer(client_options)
    await client.start()
    try:
        partitions = list(begins)
        client.assign(partitions)
        ends = await client.end_offsets(partitions)
        oldest = await client.beginning_offsets(partitions)
        for partition, begin in begins.items():
            wanted = ends[partition] + begin if begin is not None and begin < 0 else begin or 0
            client.seek(partition, max(oldest[partition], wanted))
        moved = time.monotonic()
        while True:
            # A position passes control records and aborted ones too, so it is what ends this.
            behind = [tp for tp in partitions if await client.position(tp) < ends[tp]]
            if not behind:
                return
            if time.monotonic() - moved > STALL_SECONDS:
                names = ", ".join(f"{tp.topic}[{tp.partition}]" for tp in behind)
                raise DependencyError(f"cannot read to the end of {names}")
            fetched = await client.getmany(*behind, timeout_ms=POLL_MS)
            at = time.perf_counter()
            for partition, records in fetched.items():
                moved = time.monotonic()
                for record in records:
                    if record.offset < ends[partition]:
                        yield _received(partition, record, at)
    finally:
        await client.stop()


def _received(partition: TopicPartition, record: Any, at: float) -> Received:
    return Received(
        topic=partition.topic,
        partition=partition.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
        at=at,
        timestamp_ms=record.timestamp,
    )
