"""The two requests of a transaction that name every partition, written by hand.

aiokafka's own structs cost more than deciding does when a transaction touches thirty partitions;
a request of known layout is a few packed numbers around bytes. Field lists are from the Kafka
protocol guide. Produce v11 and v12 are the same bytes: by v12 the broker makes partitions part of
the transaction by itself (KIP-890), before it they are added by AddPartitionsToTxn v0.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, TypeAlias

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Schema
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from orchestrator.protocol.commit.transaction import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from io import BytesIO
    from typing import Self

    from orchestrator.protocol.commit.transaction import Output

# Below the broker's default for a batch (1,048,588 bytes) with room for headers of the batch.
_BATCH_BYTES_MAX: Final = 900_000
_MAGIC: Final = 2
_UNCOMPRESSED: Final = 0
_ACKS_ALL: Final = -1

_INT16: Final = struct.Struct(">h")
_INT32: Final = struct.Struct(">i")
_PRODUCER: Final = struct.Struct(">qh")
_ACKS_AND_TIMEOUT: Final = struct.Struct(">hi")
_ADDED: Final = struct.Struct(">ih")
_PRODUCED: Final = struct.Struct(">ihqqq")
_NO_TAGS: Final = b"\x00"
# No errors of single records, no message, no tags.
_NOTHING_MORE: Final = b"\x01\x00\x00"


class Writer(NamedTuple):
    """Who produces: the transactional id and what the coordinator gave it."""

    transactional_id: str
    producer_id: int
    epoch: int


class Codes(Response):
    """The error code of every partition that a response names; 0 is none."""

    SCHEMA = Schema()

    def __init__(self, codes: dict[TopicPartition, int]) -> None:
        self.codes = codes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.codes})"


class AddPartitionsResponse(Codes):
    """Which partitions are part of the transaction now."""

    API_KEY = 24
    API_VERSION = 0

    @classmethod
    def decode(cls, data: BytesIO | bytes) -> Self:
        """Read topics, partitions and codes."""
        reader = _Reader(data)
        reader.at = 4  # Behind the throttle time.
        codes: dict[TopicPartition, int] = {}
        for _ in range(reader.int32()):
            topic = reader.text(reader.int16())
            for _ in range(reader.int32()):
                index, code = reader.take(_ADDED)
                codes[TopicPartition(topic, index)] = code
        return cls(codes)


class ProduceResponse(Codes):
    """Which partitions have their records."""

    API_KEY = 0
    API_VERSION = 12

    @classmethod
    def decode(cls, data: BytesIO | bytes) -> Self:
        """Read topics, partitions and codes; what else a partition tells is passed over."""
        reader = _Reader(data)
        codes: dict[TopicPartition, int] = {}
        for _ in range(reader.varint() - 1):
            topic = reader.text(reader.varint() - 1)
            for _ in range(reader.varint() - 1):
                index, code, *_ = reader.take(_PRODUCED)
                codes[TopicPartition(topic, index)] = code
                reader.pass_over_errors()
            reader.pass_over_tags()
        return cls(codes)


class _Reader:
    """Reads numbers and texts one after another."""

    def __init__(self, data: BytesIO | bytes) -> None:
        self.body: Final = data if isinstance(data, bytes) else data.read()
        self.at = 0

    def take(self, layout: struct.Struct) -> tuple[int, ...]:
        values = layout.unpack_from(self.body, self.at)
        self.at += layout.size
        return values

    def int16(self) -> int:
        return self.take(_INT16)[0]

    def int32(self) -> int:
        return self.take(_INT32)[0]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.body[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def text(self, length: int) -> str:
        start, self.at = self.at, self.at + length
        return self.body[start : self.at].decode()

    def pass_over(self, length: int) -> None:
        self.at += max(0, length)

    def pass_over_tags(self) -> None:
        for _ in range(self.varint()):
            self.varint()
            self.pass_over(self.varint())

    def pass_over_errors(self) -> None:
        """Pass over the errors of single records, the message and the tags of a partition."""
        if self.body.startswith(_NOTHING_MORE, self.at):
            self.at += len(_NOTHING_MORE)
            return
        for _ in range(self.varint() - 1):
            self.pass_over(4)
            self.pass_over(self.varint() - 1)
            self.pass_over_tags()
        self.pass_over(self.varint() - 1)
        self.pass_over_tags()


class _ByHand(RequestStruct):
    """A request whose body is already bytes; its representation tells none of them."""

    API_KEY = -1
    API_VERSION = -1
    RESPONSE_TYPE = Codes
    SCHEMA = Schema()

    def __init__(self, body: bytes) -> None:
        self._body = body

    def encode(self) -> bytes:
        """Return the body."""
        return self._body

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._body)} bytes)"


class _AddPartitionsV0(_ByHand):
    API_KEY = 24
    API_VERSION = 0
    RESPONSE_TYPE = AddPartitionsResponse


class _ProduceV11(_ByHand):
    FLEXIBLE_VERSION = True
    API_KEY = 0
    API_VERSION = 11
    RESPONSE_TYPE = ProduceResponse


class _ProduceV12(_ProduceV11):
    API_VERSION = 12


_AddPartitionsStruct: TypeAlias = _AddPartitionsV0
_ProduceStruct: TypeAlias = _ProduceV11


class AddPartitions(Request[_AddPartitionsStruct]):
    """Make partitions part of the writer's transaction, and begin it when there is none."""

    API_KEY: ClassVar[int] = 24

    def __init__(self, writer: Writer, partitions: Iterable[TopicPartition]) -> None:
        parts = [_string(writer.transactional_id), _PRODUCER.pack(writer.producer_id, writer.epoch)]
        by_topic = _by_topic(partitions)
        parts.append(_INT32.pack(len(by_topic)))
        for topic, places in by_topic.items():
            parts += _string(topic), _INT32.pack(len(places))
            parts += (_INT32.pack(place.partition) for place in places)
        self._body = b"".join(parts)

    def build(self, request_struct_class: type[_AddPartitionsStruct]) -> _AddPartitionsStruct:
        """Return the struct to send."""
        return request_struct_class(self._body)


class Produce(Request[_ProduceStruct]):
    """Write one batch to each of these partitions, acknowledged by all in-sync replicas.

    `adding` makes the partitions part of the transaction first.
    """

    API_KEY: ClassVar[int] = 0

    def __init__(
        self,
        writer: Writer,
        batches: Mapping[TopicPartition, Any],
        *,
        timeout_ms: int,
        adding: bool,
    ) -> None:
        self._struct = _ProduceV12 if adding else _ProduceV11
        by_topic = _by_topic(batches)
        parts: list[Any] = [
            _compact_string(writer.transactional_id),
            _ACKS_AND_TIMEOUT.pack(_ACKS_ALL, timeout_ms),
            _varint(len(by_topic) + 1),
        ]
        for topic, places in by_topic.items():
            parts += _compact_string(topic), _varint(len(places) + 1)
            for place in places:
                batch = batches[place]
                parts += _INT32.pack(place.partition), _varint(len(batch) + 1), batch, _NO_TAGS
            parts.append(_NO_TAGS)
        parts.append(_NO_TAGS)
        self._body = b"".join(parts)

    def build(self, request_struct_class: type[_ProduceStruct]) -> _ProduceStruct:
        """Return the struct to send."""
        del request_struct_class  # What the broker speaks is not what the transaction wants.
        return self._struct(self._body)


class Batched(NamedTuple):
    """Records as the log will hold them."""

    records: int
    content: Any  # A bytearray.


def batches_of(writer: Writer, outputs: Sequence[Output], sequence: int) -> list[Batched]:
    """Return one partition's records in as few batches as they fit, numbered from `sequence` on."""
    batches: list[Batched] = []
    builder, count = _builder(writer, sequence), 0
    for key, value, headers in outputs:
        told = headers if isinstance(headers, list) else list(headers)
        if builder.append(count, None, key, value, told) is None:
            batches.append(Batched(count, builder.build()))
            sequence = _after(sequence, count)
            builder, count = _builder(writer, sequence), 0
            builder.append(count, None, key, value, told)
        count += 1
    batches.append(Batched(count, builder.build()))
    return batches


def sequence_after(sequence: int, batches: Iterable[Batched]) -> int:
    """Return the number of the record that follows these."""
    return _after(sequence, sum(batch.records for batch in batches))


def _after(sequence: int, records: int) -> int:
    return (sequence + records) % 2**31


def _builder(writer: Writer, sequence: int) -> DefaultRecordBatchBuilder:
    return DefaultRecordBatchBuilder(
        _MAGIC,
        _UNCOMPRESSED,
        is_transactional=1,
        producer_id=writer.producer_id,
        producer_epoch=writer.epoch,
        base_sequence=sequence,
        batch_size=_BATCH_BYTES_MAX,
    )


def _by_topic(partitions: Iterable[TopicPartition]) -> dict[str, list[TopicPartition]]:
    by_topic: dict[str, list[TopicPartition]] = {}
    for place in partitions:
        by_topic.setdefault(place.topic, []).append(place)
    return by_topic


def _string(text: str) -> bytes:
    encoded = text.encode()
    return _INT16.pack(len(encoded)) + encoded


def _compact_string(text: str) -> bytes:
    encoded = text.encode()
    return _varint(len(encoded) + 1) + encoded


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
