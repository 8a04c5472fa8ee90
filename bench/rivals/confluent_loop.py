"""The bare transactional loop over confluent-kafka: consume, decide, produce, commit, again.

What an engineer writes who wants exactly once without a framework: one consumer in a group, one
transactional producer, states in a dict with a changelog that is read back when partitions are
assigned. It writes what the worker writes, in one transaction for whatever a poll brought. There
is no dead letter, no timer, no check of anything: this is the floor, not a product.
"""

from __future__ import annotations

import gc
import os
from typing import Final

import orjson
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from bench.rivals.job import META_KEY, Job, Record, Surroundings

BATCH_RECORDS_MAX: Final = 500
RESTORE_RECORDS: Final = 5_000


class Loop:
    """One consumer, one producer, a dict of states per partition."""

    def __init__(self, around: Surroundings, settings: dict[str, dict[str, object]]) -> None:
        self._around = around
        self._job = Job(around.prefix, around.app_id)
        self._states: dict[int, dict[bytes, bytes]] = {}
        shared = {"bootstrap.servers": around.bootstrap_servers, "log_level": 3}
        self._shared = shared
        self._consumer = Consumer(
            shared
            | {
                "group.id": around.app_id,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
            }
            | settings.get("consumer", {})
        )
        self._producer = Producer(
            shared
            | {"transactional.id": around.app_id, "partitioner": "murmur2_random"}
            | settings.get("producer", {})
        )

    def run(self) -> None:
        """Work until killed."""
        self._producer.init_transactions(60)
        self._consumer.subscribe(list(self._job.topics.inputs), on_assign=self._restore)
        gc.freeze()
        while True:
            first = self._consumer.poll(1.0)
            if first is None or first.error():
                continue
            self._commit([first, *self._consumer.consume(BATCH_RECORDS_MAX - 1, 0)])

    def _commit(self, messages: list[Message]) -> None:
        """Decide a batch; a customer's state is written once, however many events it had."""
        changed: dict[bytes, tuple[int, bytes]] = {}
        positions: dict[tuple[str, int], int] = {}
        self._producer.begin_transaction()
        for message in messages:
            states = self._states[message.partition()]
            record = Record(
                message.topic(),
                message.partition(),
                message.offset(),
                message.timestamp()[1],
                message.key(),
                message.value(),
            )
            state, outputs = self._job.of(record, states.get(record.key))
            states[record.key] = state
            changed[record.key] = (record.partition, state)
            positions[record.topic, record.partition] = record.offset + 1
            for output in outputs:
                self._producer.produce(
                    output.topic, output.value, output.key, headers=list(output.headers)
                )
        changelog = self._job.topics.changelog
        for key, (partition, state) in changed.items():
            self._producer.produce(changelog, state, key, partition)
        for (topic, partition), offset in positions.items():
            meta = self._job.meta(topic, partition, offset)
            self._producer.produce(changelog, meta.value, meta.key, partition)
        offsets = [TopicPartition(*place, offset) for place, offset in positions.items()]
        self._producer.send_offsets_to_transaction(
            offsets, self._consumer.consumer_group_metadata(), 60
        )
        self._producer.commit_transaction(60)

    def _restore(self, _consumer: Consumer, assigned: list[TopicPartition]) -> None:
        """Read back the states of the partitions that we were given."""
        reader = Consumer(
            self._shared
            | {
                "group.id": f"{self._around.app_id}-restore",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            }
        )
        changelog = self._job.topics.changelog
        reader.assign([TopicPartition(changelog, place.partition, 0) for place in assigned])
        left = {place.partition for place in assigned}
        for partition in left:
            self._states[partition] = {}
        while left:
            for message in reader.consume(RESTORE_RECORDS, 0.1):
                if message.error():  # The end of a partition; nothing else is reported here.
                    left.discard(message.partition())
                elif message.key() != META_KEY:
                    self._states[message.partition()][message.key()] = message.value()
        reader.close()


if __name__ == "__main__":
    Loop(Surroundings.load(), orjson.loads(os.environ.get("BENCH_SETTINGS", "{}"))).run()
