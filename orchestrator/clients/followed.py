"""Reads a compacted topic of one partition to its end, and follows what comes after.

`clients/definitions` reads journeys with it, `followed/pauses` what is paused. Who takes partitions
over asks `caught_up` first, so that nothing is decided by what was true before.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from orchestrator.clients.records import install_lenient_records

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

_POLL_MS: Final = 1_000
_RECORD_BYTES_MAX: Final = 8 * 1024 * 1024


class FollowedTopic:
    """The topic, for one process. `take` gets every record, in order."""

    def __init__(
        self, client_options: dict[str, Any], topic: str, take: Callable[[Any], None]
    ) -> None:
        self._options = client_options
        self._place = TopicPartition(topic, 0)
        self._take = take
        self._consumer: AIOKafkaConsumer | None = None
        # Has a connection of its own: a question would wait for the fetch that is under way.
        self._asked: AIOKafkaConsumer | None = None
        self._starting = asyncio.Lock()
        self._caught_up = asyncio.Condition()
        self._position = 0
        self._settled = 0

    async def read(self, *, begin: int = 0) -> None:
        """Read from an offset, on the first call, to the present end."""
        consumer = await self._started(begin)
        end = (await consumer.end_offsets([self._place]))[self._place]
        while self._position < end:
            await self._fetch(consumer)

    async def follow(self, settle: Callable[[], Awaitable[None]], *, begin: int = 0) -> None:
        """Read on until cancelled; `settle` is called whenever something was read."""
        consumer = await self._started(begin)
        while True:
            async with self._caught_up:
                self._settled = self._position
                self._caught_up.notify_all()
            if await self._fetch(consumer):
                await settle()

    async def caught_up(self) -> None:
        """Return when everything that is on the topic now has been settled by `follow`."""
        await self._started(0)
        async with self._starting:
            if self._asked is None:
                self._asked = await self._new_consumer()
        end = (await self._asked.end_offsets([self._place]))[self._place]
        async with self._caught_up:
            await self._caught_up.wait_for(lambda: self._settled >= end)

    async def write(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Write records one after the other; returns when the broker has them."""
        producer = AIOKafkaProducer(
            **self._options,
            acks="all",
            enable_idempotence=True,
            compression_type="gzip",
            max_request_size=_RECORD_BYTES_MAX,
        )
        try:
            await producer.start()
            for key, value in records:
                await producer.send_and_wait(
                    self._place.topic, value, key=key, partition=self._place.partition
                )
        finally:
            await producer.stop()

    async def stop(self) -> None:
        """Close the connections."""
        for consumer in (self._consumer, self._asked):
            if consumer is not None:
                await consumer.stop()
        self._consumer = self._asked = None

    async def _fetch(self, consumer: AIOKafkaConsumer) -> bool:
        """Take what the next fetch brings; return whether it was anything."""
        fetched = (await consumer.getmany(timeout_ms=_POLL_MS)).get(self._place, ())
        for record in fetched:
            self._take(record)
        # Not the last record's offset: compaction and markers leave gaps.
        self._position = await consumer.position(self._place)
        return bool(fetched)

    async def _started(self, begin: int) -> AIOKafkaConsumer:
        async with self._starting:
            if self._consumer is None:
                install_lenient_records()
                consumer = await self._new_consumer()
                consumer.assign([self._place])
                consumer.seek(self._place, begin)
                self._consumer, self._position = consumer, begin
            return self._consumer

    async def _new_consumer(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            **self._options,
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        try:
            await consumer.start()
        except BaseException:
            await consumer.stop()  # It would go on looking for the broker.
            raise
        return consumer
