"""The two requests of a transaction that name every partition, written by hand.

aiokafka's own structs cost more than deciding does when a transaction touches thirty partitions;
a request of known layout is a few packed numbers around bytes. Versions are spoken by Apache Kafka
3.9 and 4.x: AddPartitionsToTxn v0 and Produce v7. Field lists are from the Kafka protocol guide.
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
_TWO_INT32: Final = struct.Struct(">ii")
_PRODUCER: Final = struct.Struct(">qh")
_PRODUCE_HEAD: Final = struct.Struct(">hii")
_ADDED: Final = struct.Struct(">ih")
_PRODUCED: Final = struct.Struct(">ihqqq")


class Writer(NamedTuple):
    """Who produces: the transactional id and what the coordinator gave it."""

    transactional_id: str
    producer_id: int
    epoch: int


class Codes(Response):
    """The error code of every partition that a response names; 0 is none."""

    SCHEMA = Schema()
    LAYOUT: ClassVar[struct.Struct]
    START: ClassVar[int]

    def __init__(self, codes: dict[TopicPartition, int]) -> None:
        self.codes = codes

    @classmethod
    def decode(cls, data: BytesIO | bytes) -> Self:
        """Read topics, partitions and codes; what else a partition tells is not asked for."""
        body = data if isinstance(data, bytes) else data.read()
        codes: dict[TopicPartition, int] = {}
        at = cls.START
        (topics,) = _INT32.unpack_from(body, at)
        at += 4
        for _ in range(topics):
            (length,) = _INT16.unpack_from(body, at)
            topic = body[at + 2 : at + 2 + length].decode()
            at += 2 + length
            (partitions,) = _INT32.unpack_from(body, at)
            at += 4
            for _ in range(partitions):
                index, code, *_ = cls.LAYOUT.unpack_from(body, at)
                codes[TopicPartition(topic, index)] = code
                at += cls.LAYOUT.size
        return cls(codes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.codes})"


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


class AddPartitionsResponse(Codes):
    """Which partitions are part of the transaction now."""

    API_KEY = 24
    API_VERSION = 0
    LAYOUT = _ADDED
    START = 4  # Behind the throttle time.


class ProduceResponse(Codes):
    """Which partitions have their records."""

    API_KEY = 0
    API_VERSION = 7
    LAYOUT = _PRODUCED
    START = 0


class _AddPartitionsV0(_ByHand):
    API_KEY = 24
    API_VERSION = 0
    RESPONSE_TYPE = AddPartitionsResponse


class _ProduceV7(_ByHand):
    API_KEY = 0
    API_VERSION = 7
    RESPONSE_TYPE = ProduceResponse


_AddPartitionsStruct: TypeAlias = _AddPartitionsV0
_ProduceStruct: TypeAlias = _ProduceV7


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
    """Write one batch to each of these partitions, acknowledged by all in-sync replicas."""

    API_KEY: ClassVar[int] = 0

    def __init__(
        self, writer: Writer, batches: Mapping[TopicPartition, Any], *, timeout_ms: int
    ) -> None:
        by_topic = _by_topic(batches)
        head = _PRODUCE_HEAD.pack(_ACKS_ALL, timeout_ms, len(by_topic))
        parts: list[Any] = [_string(writer.transactional_id), head]
        for topic, places in by_topic.items():
            parts += _string(topic), _INT32.pack(len(places))
            for place in places:
                batch = batches[place]
                parts += _TWO_INT32.pack(place.partition, len(batch)), batch
        self._body = b"".join(parts)

    def build(self, request_struct_class: type[_ProduceStruct]) -> _ProduceStruct:
        """Return the struct to send."""
        return request_struct_class(self._body)


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
