"""What compaction leaves of a log is read, to its end."""

import struct

from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition

from orchestrator.clients.records import LenientRecords

PRODUCER = 7
# Where the attributes and the number of records stand in a batch, and where its records begin.
ATTRIBUTES, COUNT, RECORDS = 21, 57, 61
CONTROL = 0x20
COMMIT = struct.pack(">hh", 0, 1)
ABORT = struct.pack(">hh", 0, 0)


def batch(offset, *, key=b"ana", control=False, empty=False):
    """Return the bytes of a transactional batch of one record, as a broker stores it."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, PRODUCER, 0, 0, 10_000)
    builder.append(0, 1_000, key, b"state", [])
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, offset)
    if control:
        (attributes,) = struct.unpack_from(">h", data, ATTRIBUTES)
        struct.pack_into(">h", data, ATTRIBUTES, attributes | CONTROL)
    if empty:
        del data[RECORDS:]
        struct.pack_into(">i", data, COUNT, 0)
        struct.pack_into(">i", data, 8, len(data) - 12)
    return bytes(data)


def read(*batches, aborted=()):
    """Return the offsets that a committed reader gets, and where it would read on."""
    records = PartitionRecords(
        TopicPartition("changelog", 0),
        LenientRecords(b"".join(batches)),
        list(aborted),
        0,
        None,
        None,
        False,
        READ_COMMITTED,
    )
    return [record.offset for record in records], records.next_fetch_offset


def test_the_empty_batch_of_a_marker_that_was_compacted_away_holds_up_nobody():
    assert read(batch(3), batch(4, control=True, empty=True), batch(9)) == ([3, 9], 10)


def test_an_empty_batch_at_the_end_is_read_past():
    assert read(batch(3), batch(4, control=True, empty=True)) == ([3], 5)


def test_an_empty_batch_of_records_is_read_past():
    assert read(batch(3, empty=True), batch(4)) == ([4], 5)


def test_markers_that_are_there_are_no_records():
    assert read(batch(3), batch(4, control=True, key=COMMIT), batch(5)) == ([3, 5], 6)


def test_what_was_aborted_is_not_read_and_what_comes_after_its_marker_is():
    told = read(
        batch(3), batch(4, control=True, key=ABORT), batch(5), aborted=[(PRODUCER, 3)]
    )  # fmt: skip

    assert told == ([5], 6)
