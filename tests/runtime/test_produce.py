"""What is packed by hand is what aiokafka's own structs would read, and the other way round."""

from __future__ import annotations

from io import BytesIO

import pytest
from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7
from aiokafka.protocol.transaction import (
    AddPartitionsToTxnRequest_v0,
    AddPartitionsToTxnResponse_v0,
)
from aiokafka.record import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.protocol.commit.transaction import Output, TopicPartition
from orchestrator.runtime.produce import (
    AddPartitions,
    AddPartitionsResponse,
    Produce,
    ProduceResponse,
    Writer,
    batches_of,
    sequence_after,
)

_INT64 = st.integers(0, 2**63 - 1)
_WRITERS = st.builds(Writer, st.text(max_size=20), _INT64, st.integers(0, 2**15 - 1))
_PLACES = st.builds(
    TopicPartition, st.sampled_from(["a", "commands.email", "señales"]), st.integers(0, 2**31 - 1)
)
_HEADERS = st.lists(st.tuples(st.text(max_size=9), st.none() | st.binary(max_size=20)), max_size=4)
_OUTPUTS = st.builds(
    Output, st.none() | st.binary(max_size=9), st.none() | st.binary(max_size=300), _HEADERS
)
# Versions of a broker that speaks everything.
_VERSIONS = {0: (3, 13), 24: (0, 5)}


def _in_order(places: list[TopicPartition]) -> list[tuple[str, list[int]]]:
    by_topic: dict[str, list[int]] = {}
    for topic, partition in places:
        by_topic.setdefault(topic, []).append(partition)
    return list(by_topic.items())


@given(_WRITERS, st.lists(_PLACES, unique=True, max_size=20))
def test_partitions_are_added_as_the_library_would(
    writer: Writer, places: list[TopicPartition]
) -> None:
    ours = AddPartitions(writer, places).prepare(_VERSIONS).encode()
    name, producer_id, epoch = writer
    theirs = AddPartitionsToTxnRequest_v0(name, producer_id, epoch, _in_order(places))
    assert ours == theirs.encode()


@given(_WRITERS, st.dictionaries(_PLACES, st.binary(max_size=50), max_size=20))
def test_records_are_sent_as_the_library_would(
    writer: Writer, batches: dict[TopicPartition, bytes]
) -> None:
    ours = Produce(writer, batches, timeout_ms=500).prepare(_VERSIONS).encode()
    topics = [
        (topic, [(index, batches[TopicPartition(topic, index)]) for index in indexes])
        for topic, indexes in _in_order(list(batches))
    ]
    theirs = ProduceRequest_v7(writer.transactional_id, -1, 500, topics)
    assert ours == theirs.encode()


@given(st.dictionaries(_PLACES, st.integers(-1, 120), max_size=20))
def test_the_code_of_every_partition_is_read(codes: dict[TopicPartition, int]) -> None:
    topics = _in_order(list(codes))
    added = AddPartitionsToTxnResponse_v0(
        7, [(t, [(i, codes[TopicPartition(t, i)]) for i in indexes]) for t, indexes in topics]
    )
    produced = ProduceResponse_v7(
        [
            (t, [(i, codes[TopicPartition(t, i)], 900, -1, 0) for i in indexes])
            for t, indexes in topics
        ],
        7,
    )
    assert AddPartitionsResponse.decode(BytesIO(added.encode())).codes == codes
    assert ProduceResponse.decode(BytesIO(produced.encode())).codes == codes


@given(_WRITERS, st.lists(_OUTPUTS, min_size=1, max_size=20), st.integers(0, 2**31 - 1))
def test_records_come_back_from_their_batches(
    writer: Writer, outputs: list[Output], sequence: int
) -> None:
    batches = batches_of(writer, outputs, sequence)

    read = MemoryRecords(b"".join(bytes(batch.content) for batch in batches))
    found = []
    while read.has_next():
        batch = read.next_batch()
        assert (batch.producer_id, batch.producer_epoch) == writer[1:]
        assert batch.is_transactional
        assert batch.validate_crc()
        found += [Output(record.key, record.value, list(record.headers)) for record in batch]
    assert found == [output._replace(headers=list(output.headers)) for output in outputs]
    assert sequence_after(sequence, batches) == (sequence + len(outputs)) % 2**31


def test_what_does_not_fit_one_batch_goes_on_in_the_next_with_the_next_number() -> None:
    writer = Writer("shop-tx0", 7, 1)
    outputs = [Output(b"c", b"x" * 400_000, []) for _ in range(5)]

    batches = batches_of(writer, outputs, 2**31 - 2)

    assert [batch.records for batch in batches] == [2, 2, 1]
    sequences = [MemoryRecords(bytes(b.content)).next_batch().base_sequence for b in batches]
    assert sequences == [2**31 - 2, 0, 2]


@pytest.mark.parametrize("broker", [{0: (0, 11), 24: (0, 5)}, {0: (3, 12), 24: (0, 5)}])
def test_kafka_3_9_and_4_take_the_same_versions(broker: dict[int, tuple[int, int]]) -> None:
    writer = Writer("shop-tx0", 7, 1)
    assert Produce(writer, {}, timeout_ms=1).prepare(broker).API_VERSION == 7
    assert AddPartitions(writer, []).prepare(broker).API_VERSION == 0


def test_a_request_in_a_log_tells_nothing_of_its_records() -> None:
    place = TopicPartition("commands.email", 3)
    request = Produce(Writer("shop-tx0", 7, 1), {place: b"ana@example.org"}, timeout_ms=1)
    assert repr(request.prepare({0: (3, 12)})) == "_ProduceV7(63 bytes)"
