"""What is packed by hand is what aiokafka's own structs would read, and the other way round."""

from __future__ import annotations

from io import BytesIO

import pytest
from aiokafka.protocol.transaction import (
    AddPartitionsToTxnRequest_v0,
    AddPartitionsToTxnResponse_v0,
)
from aiokafka.protocol.types import (
    CompactArray,
    CompactBytes,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
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
_TAGS = ("tags", TaggedFields)
_NAME = CompactString("utf-8")
# By the Kafka protocol guide, Produce v9 to v12.
_REQUEST = Schema(
    ("transactional_id", _NAME),
    ("acks", Int16),
    ("timeout_ms", Int32),
    (
        "topics",
        CompactArray(
            ("name", _NAME),
            ("partitions", CompactArray(("index", Int32), ("records", CompactBytes), _TAGS)),
            _TAGS,
        ),
    ),
    _TAGS,
)
_RESPONSE = Schema(
    (
        "topics",
        CompactArray(
            ("name", _NAME),
            (
                "partitions",
                CompactArray(
                    ("index", Int32),
                    ("error_code", Int16),
                    ("base_offset", Int64),
                    ("log_append_time_ms", Int64),
                    ("log_start_offset", Int64),
                    (
                        "record_errors",
                        CompactArray(("batch_index", Int32), ("message", _NAME), _TAGS),
                    ),
                    ("error_message", _NAME),
                    _TAGS,
                ),
            ),
            _TAGS,
        ),
    ),
    ("throttle_time_ms", Int32),
    _TAGS,
)
# What a partition tells beside its code: nothing, or which records were refused and why.
_MORE = st.sampled_from([([], None, {}), ([(3, "too old", {})], "ñ" * 200, {})])


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


@given(_WRITERS, st.dictionaries(_PLACES, st.binary(max_size=200), max_size=20))
def test_records_are_sent_by_the_layout_of_the_guide(
    writer: Writer, batches: dict[TopicPartition, bytes]
) -> None:
    ours = Produce(writer, batches, timeout_ms=500, adding=True).prepare(_VERSIONS).encode()
    topics = [
        (topic, [(index, batches[TopicPartition(topic, index)], {}) for index in indexes], {})
        for topic, indexes in _in_order(list(batches))
    ]
    assert ours == _REQUEST.encode((writer.transactional_id, -1, 500, topics, {}))


@given(st.dictionaries(_PLACES, st.integers(-1, 120), max_size=20))
def test_the_code_of_every_added_partition_is_read(codes: dict[TopicPartition, int]) -> None:
    answer = AddPartitionsToTxnResponse_v0(
        7,
        [
            (topic, [(index, codes[TopicPartition(topic, index)]) for index in indexes])
            for topic, indexes in _in_order(list(codes))
        ],
    )
    assert AddPartitionsResponse.decode(BytesIO(answer.encode())).codes == codes


@given(st.dictionaries(_PLACES, st.tuples(st.integers(-1, 120), _MORE), max_size=20))
def test_the_code_of_every_written_partition_is_read(
    told: dict[TopicPartition, tuple[int, tuple[list[object], str | None, dict[int, bytes]]]],
) -> None:
    topics = []
    for topic, indexes in _in_order(list(told)):
        partitions = []
        for index in indexes:
            code, more = told[TopicPartition(topic, index)]
            partitions.append((index, code, 900, -1, 0, *more))
        topics.append((topic, partitions, {}))
    answer = _RESPONSE.encode((topics, 7, {}))
    codes = {place: code for place, (code, _) in told.items()}
    assert ProduceResponse.decode(BytesIO(answer)).codes == codes


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


@pytest.mark.parametrize("broker", [{0: (0, 11), 24: (0, 5)}, {0: (3, 13), 24: (0, 5)}])
def test_kafka_3_9_and_4_take_the_same_versions_until_the_cluster_has_the_newer_transactions(
    broker: dict[int, tuple[int, int]],
) -> None:
    writer = Writer("shop-tx0", 7, 1)
    assert Produce(writer, {}, timeout_ms=1, adding=False).prepare(broker).API_VERSION == 11
    assert Produce(writer, {}, timeout_ms=1, adding=True).prepare(broker).API_VERSION == 12
    assert AddPartitions(writer, []).prepare(broker).API_VERSION == 0


def test_a_request_in_a_log_tells_nothing_of_its_records() -> None:
    place = TopicPartition("commands.email", 3)
    batches = {place: b"ana@example.org"}
    request = Produce(Writer("shop-tx0", 7, 1), batches, timeout_ms=1, adding=False)
    assert repr(request.prepare({0: (3, 12)})) == "_ProduceV11(55 bytes)"
