"""The floor: what exactly once costs in Python with aiokafka alone, and so the bar for the worker.

Reads `read_committed` in a group, decides with the same core, and writes the same records in the
same transactions: produce, await every acknowledgement, offsets, end. What arrives while a
transaction is in flight is decided meanwhile and goes into the next one; two producers take turns,
because the broker is not ready for a producer's next transaction until it has written the last
one's markers. There is no Faust here, no recovery, no fencing by generation and no second worker:
this is not a product.
"""

from __future__ import annotations

import asyncio
import gc
from itertools import chain, cycle
from typing import Final

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.rivals.effects import Output, Record, effects_of
from orchestrator.protocol.home import home_partition
from orchestrator.settings import Settings

PRODUCERS: Final = 2
# Well under the broker's limit of a mebibyte, far over what a partition gets in one group.
BATCH_BYTES_MAX: Final = 512 * 1024
# Decided before the loop gets to look at the network again.
SLICE_RECORDS: Final = 64
# The default waits 100 ms when an offset commit meets a transaction that is just ending, and a
# fetch that was sent for empty partitions holds up the others for half a second.
RETRY_BACKOFF_MS: Final = 2
FETCH_WAIT_MS_MAX: Final = 50


class Group:
    """What the next transaction holds, by topic and partition."""

    def __init__(self) -> None:
        self.size = 0
        self.written: dict[tuple[str, int], list[Output]] = {}
        self.changed: dict[bytes, int] = {}
        self.offsets: dict[TopicPartition, int] = {}

    def add(self, output: Output, partition: int) -> None:
        """Take in one more record."""
        self.written.setdefault((output.topic, partition), []).append(output)


class Floor:
    """One consumer, a dict of states, two transactional producers in turn."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._effects = effects_of(settings)
        self._states: dict[bytes, bytes] = {}
        self._group = Group()
        self._changed = asyncio.Condition()
        self._consumer = AIOKafkaConsumer(
            *self._effects.topics.inputs,
            bootstrap_servers=settings.bootstrap_servers,
            group_id=settings.app_id,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS_MAX,
        )
        self._producers = [
            AIOKafkaProducer(
                bootstrap_servers=settings.bootstrap_servers,
                transactional_id=f"{settings.app_id}-floor-{number}",
                acks="all",
                linger_ms=0,
                max_batch_size=BATCH_BYTES_MAX,
                retry_backoff_ms=RETRY_BACKOFF_MS,
                transaction_timeout_ms=int(settings.transaction_timeout_seconds * 1000),
            )
            for number in range(PRODUCERS)
        ]
        self._counts: dict[str, int] = {}

    async def run(self) -> None:
        """Work until killed."""
        for producer in self._producers:
            await producer.start()
        for topic in (self._effects.topics.changelog, *self._effects.written):
            self._counts[topic] = len(await self._producers[0].partitions_for(topic))
        await self._consumer.start()
        gc.freeze()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read())
            tasks.create_task(self._commit())

    async def _read(self) -> None:
        """Decide what arrives, a slice at a time, as long as the open group has room."""
        size_max = self._settings.group_records_max
        while True:
            fetched = await self._consumer.getmany(timeout_ms=1_000)
            records = list(chain.from_iterable(fetched.values()))
            for start in range(0, len(records), SLICE_RECORDS):
                async with self._changed:
                    await self._changed.wait_for(lambda: self._group.size < size_max)
                    self._decide(records[start : start + SLICE_RECORDS])
                    self._changed.notify_all()
                await asyncio.sleep(0)

    async def _commit(self) -> None:
        for producer in cycle(self._producers):
            async with self._changed:
                await self._changed.wait_for(lambda: self._group.size)
                written = self._seal()
                offsets = self._group.offsets
                self._group = Group()
                self._changed.notify_all()
            await producer.begin_transaction()
            futures = []
            for (topic, partition), outputs in written.items():
                futures += await self._produce(producer, topic, partition, outputs)
            await asyncio.gather(*futures)
            await producer.send_offsets_to_transaction(offsets, self._settings.app_id)
            await producer.commit_transaction()

    def _decide(self, records: list[Record]) -> None:
        group = self._group
        for record in records:
            state, outputs = self._effects.of(record, self._states.get(record.key))
            self._states[record.key] = state
            group.changed[record.key] = record.partition
            for output in outputs:
                group.add(output, self._partition(output, record.partition))
            group.offsets[TopicPartition(record.topic, record.partition)] = record.offset + 1
        group.size += len(records)

    def _seal(self) -> dict[tuple[str, int], list[Output]]:
        """Complete the group: a customer's state is written once, however many events it had."""
        group, changelog = self._group, self._effects.topics.changelog
        for key, partition in group.changed.items():
            group.add(Output(changelog, key, self._states[key]), partition)
        for (topic, partition), offset in group.offsets.items():
            group.add(self._effects.meta(topic, partition, offset), partition)
        return group.written

    def _partition(self, output: Output, home: int) -> int:
        """Return where the default partitioner puts it; equal counts spare the hash."""
        count = self._counts[output.topic]
        if count == self._settings.partitions:
            return home
        return home_partition(output.key, count)

    async def _produce(
        self, producer: AIOKafkaProducer, topic: str, partition: int, outputs: list[Output]
    ) -> list[asyncio.Future]:
        """Send the outputs of one partition in as few batches as they fit in."""
        batch, futures = producer.create_batch(), []
        for output in outputs:
            fields = {"key": output.key, "value": output.value, "headers": list(output.headers)}
            if batch.append(timestamp=None, **fields) is None:
                futures.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                batch.append(timestamp=None, **fields)
        futures.append(await producer.send_batch(batch, topic, partition=partition))
        return futures


async def _main() -> None:
    await Floor(Settings.load()).run()


if __name__ == "__main__":
    uvloop.run(_main())
