"""A transaction on a real Kafka: all of it or nothing, for one writer, under one generation.

Each test runs on a cluster with transactions of version 2, where records and offsets bring their
partitions and the group with them, and on one with those of version 0, where requests do.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import MessageSizeTooLargeError, ProducerFenced
from aiokafka.structs import TopicPartition as KafkaPartition

from orchestrator.broker import EmbeddedBroker
from orchestrator.errors import WorkerGaveUp
from orchestrator.failpoint import Failpoint
from orchestrator.metrics import GroupStats
from orchestrator.protocol.commit.transaction import Output, TopicPartition, Transaction
from orchestrator.runtime.producer import FencedProducer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

PARTITIONS = 3


@pytest.fixture(scope="module", params=[2, 0], ids=["version-2", "version-0"])
def cluster(request, tmp_path_factory) -> Iterator[EmbeddedBroker]:
    """A broker whose cluster has transactions of a version."""
    folder = tmp_path_factory.mktemp("kafka")
    features = {"transaction.version": request.param}
    with EmbeddedBroker(folder, heap_mb=256, features=features) as broker:
        yield broker


class Place:
    """Names of one test, and what a reader of committed records finds there."""

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self.name = f"t{uuid.uuid4().hex[:10]}"
        self.group = f"{self.name}-group"
        self.offset = 0

    def producer(self, *, slot: str = "one", timeout_ms: int = 20_000) -> FencedProducer:
        return FencedProducer(
            {"bootstrap_servers": self.servers},
            transactional_id=f"{self.name}-{slot}",
            transaction_timeout_ms=timeout_ms,
            failpoint=Failpoint(""),
        )

    def transaction(self, *values: bytes, generation: int = -1, topic: str = "") -> Transaction:
        """Return one that writes these to every partition, and an offset."""
        self.offset += 1
        outputs = [Output(b"c-1", value, [("kind", b"test")]) for value in values]
        return Transaction(
            generation,
            "" if generation < 0 else "somebody",
            {TopicPartition(topic or self.name, index): outputs for index in range(PARTITIONS)},
            {TopicPartition(self.name, 0): self.offset},
            GroupStats(),
        )

    async def make(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers)
        await admin.start()
        limits = {"max.message.bytes": str(4 * 1024 * 1024)}
        await admin.create_topics([NewTopic(self.name, PARTITIONS, 1, topic_configs=limits)])
        await admin.close()

    async def committed(self) -> tuple[list[list[bytes]], int | None]:
        """Return the values of every partition, and the group's offset."""
        reader = AIOKafkaConsumer(
            bootstrap_servers=self.servers,
            group_id=self.group,
            isolation_level="read_committed",
            enable_auto_commit=False,
            fetch_max_wait_ms=50,
            max_partition_fetch_bytes=8 * 1024 * 1024,
        )
        await reader.start()
        places = [KafkaPartition(self.name, index) for index in range(PARTITIONS)]
        reader.assign(places)
        await reader.seek_to_beginning()
        found: dict[int, list[bytes]] = {index: [] for index in range(PARTITIONS)}
        quiet = 0
        while quiet < 4:
            fetched = await reader.getmany(timeout_ms=150)
            quiet = 0 if fetched else quiet + 1
            for place, records in fetched.items():
                found[place.partition] += [record.value for record in records]
        offset = await reader.committed(places[0])
        await reader.stop()
        return list(found.values()), offset


@pytest.fixture
async def place(cluster) -> Place:
    """A topic and a group of one test."""
    one = Place(cluster.bootstrap_servers)
    await one.make()
    return one


async def test_the_version_of_the_cluster_is_found(place, request) -> None:
    producer = place.producer()
    await producer.start()
    await producer.stop()
    assert f"version-{producer.transaction_version}" in request.node.callspec.id


async def test_transactions_follow_each_other_and_all_of_them_is_read(place) -> None:
    producer = place.producer()
    await producer.start()
    for number in range(20):
        await producer.commit(place.transaction(b"%d-a" % number, b"%d-b" % number), place.group)
    await producer.stop()

    values, offset = await place.committed()
    expected = [b"%d-%s" % (number, which) for number in range(20) for which in (b"a", b"b")]
    assert values == [expected] * PARTITIONS
    assert offset == 20


async def test_two_writers_take_turns(place) -> None:
    producers = [place.producer(slot=slot) for slot in ("one", "two")]
    for producer in producers:
        await producer.start()
    for number in range(10):
        await producers[number % 2].commit(place.transaction(b"%d" % number), place.group)
    for producer in producers:
        await producer.stop()

    values, offset = await place.committed()
    assert values == [[b"%d" % number for number in range(10)]] * PARTITIONS
    assert offset == 10


async def test_offsets_alone_make_a_transaction(place) -> None:
    producer = place.producer()
    await producer.start()
    await producer.commit(place.transaction()._replace(outputs={}), place.group)
    await producer.commit(place.transaction(b"after"), place.group)
    await producer.stop()

    assert await place.committed() == ([[b"after"]] * PARTITIONS, 2)


async def test_what_fills_several_batches_stays_in_order(place) -> None:
    producer = place.producer()
    await producer.start()
    large = [b"%d" % number + b"x" * 400_000 for number in range(7)]
    await producer.commit(place.transaction(*large), place.group)
    await producer.commit(place.transaction(b"last"), place.group)
    await producer.stop()

    values, _ = await place.committed()
    assert values == [[*large, b"last"]] * PARTITIONS


async def test_a_connection_that_breaks_within_a_transaction_is_made_again(place) -> None:
    producer = place.producer()
    await producer.start()

    async def cut() -> None:
        for _ in range(40):
            await asyncio.sleep(0.02)
            for connection in list(producer._client._conns.values()):
                connection.close()

    cutting = asyncio.create_task(cut())
    number = 0
    while not cutting.done() or number < 10:
        await producer.commit(place.transaction(b"%d" % number), place.group)
        number += 1
    await producer.stop()

    values, offset = await place.committed()
    assert values == [[b"%d" % one for one in range(number)]] * PARTITIONS
    assert offset == number


async def test_who_takes_the_transactional_id_fences_its_former_writer(place) -> None:
    former, present = place.producer(), place.producer()
    await former.start()
    await former.commit(place.transaction(b"before"), place.group)
    await present.start()
    with pytest.raises(ProducerFenced):
        await former.commit(place.transaction(b"of a zombie"), place.group)
    await present.commit(place.transaction(b"after"), place.group)
    await former.stop()
    await present.stop()

    values, _ = await place.committed()
    assert values == [[b"before", b"after"]] * PARTITIONS


async def test_a_worker_whom_the_group_does_not_know_commits_nothing(place) -> None:
    producer = place.producer()
    await producer.start()
    with pytest.raises(ProducerFenced):
        await producer.commit(place.transaction(b"late", generation=3), place.group)
    await producer.stop()
    successor = place.producer()
    await successor.start()  # Aborts what is open.
    await successor.stop()

    assert await place.committed() == ([[]] * PARTITIONS, None)


async def test_a_record_that_the_topic_refuses_ends_the_writer_with_its_place(place) -> None:
    producer = place.producer()
    await producer.start()
    with pytest.raises(MessageSizeTooLargeError, match=f"{place.name}/"):
        await producer.commit(place.transaction(b"x" * 5_000_000), place.group)
    await producer.stop()


async def test_a_topic_that_is_not_there_is_named_when_time_is_up(place) -> None:
    producer = place.producer(timeout_ms=1_000)
    await producer.start()
    transaction = place.transaction(b"x", topic="missing-topic")
    with pytest.raises(WorkerGaveUp, match=r"^missing-topic: no such topic any more"):
        await producer.commit(transaction, place.group)
    await producer.stop()
