"""Values in a schema registry's frame, decoded by schemas that the runtime has fetched.

The frame is Confluent's: a zero byte, the schema's id in four bytes, for Protobuf which message of
the file it is, then the value as Avro or Protobuf writes it. Decoding is pure: with the same
schemas the same bytes give the same value. Libraries are loaded when a schema wants them.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from orchestrator.errors import EventRejected
from orchestrator.protocol.codec import SCHEMA
from orchestrator.protocol.inputs.values import FRAME_BYTE, FRAME_BYTES

# Of a file of messages: how deep the one that is meant may stand, and in how many of its kind.
_INDEXES_MAX: Final = 16
_VARINT_BYTES_MAX: Final = 5

Decode = Callable[[bytes], Any]


class UnknownSchema(Exception):
    """A record names a schema that is not there yet."""

    def __init__(self, schema_id: int) -> None:
        super().__init__(schema_id)
        self.schema_id = schema_id


class UnsafeSchema(ValueError):
    """A schema by which a small record could stop a worker."""


class Schema(NamedTuple):
    """A schema as a registry serves it: its type (`AVRO`, `PROTOBUF`), its text, what it refers to.

    The text of Avro is JSON; that of Protobuf a file descriptor in base64. `references` are the
    texts of the schemas that it names, in the order in which they can be read, by that name.
    """

    type: str
    text: str
    references: tuple[tuple[str, str], ...] = ()


class Schemas:
    """The schemas that have been fetched, by id; one a process, filled by the runtime."""

    __slots__ = ("_absent", "_decoders")

    def __init__(self) -> None:
        self._decoders: dict[tuple[int, str], Decode] = {}
        self._absent: dict[int, str] = {}

    def put(self, schema_id: int, schema: Schema) -> None:
        """Take a schema that was fetched. One that cannot be used is told by every record of it."""
        kind = schema.type.lower()
        self._absent.pop(schema_id, None)
        try:
            compiled = {"avro": _avro, "protobuf": _protobuf}[kind](schema)
        except Exception as error:  # noqa: BLE001 - Libraries raise many types for a bad schema.
            why = str(error) if isinstance(error, UnsafeSchema) else type(error).__name__
            self._absent[schema_id] = f"the registry's schema {schema_id} is not read: {why}"
            return
        self._decoders[schema_id, kind] = compiled

    def refuse(self, schema_id: int) -> None:
        """Take the registry's word that there is no such schema."""
        self._absent[schema_id] = f"the registry knows no schema {schema_id}"

    def forget_refused(self) -> None:
        """Ask again for what was not there; it may be registered by now."""
        self._absent.clear()

    def missing(self, data: bytes | None) -> int | None:
        """Return the id of the schema that has to be fetched before this can be decoded."""
        if data is None or len(data) < FRAME_BYTES or data[0] != FRAME_BYTE:
            return None
        schema_id = int.from_bytes(data[1:FRAME_BYTES], "big")
        known = schema_id in self._absent or any(known == schema_id for known, _ in self._decoders)
        return None if known else schema_id

    def decode(self, data: bytes, form: str) -> Any:
        """Return what framed bytes say. Raises EventRejected, or UnknownSchema."""
        if len(data) < FRAME_BYTES or data[0] != FRAME_BYTE:
            raise EventRejected(SCHEMA, f"is not {form} in the frame of a schema registry")
        schema_id = int.from_bytes(data[1:FRAME_BYTES], "big")
        decoder = self._decoders.get((schema_id, form))
        if decoder is None:
            if (why := self._absent.get(schema_id)) is not None:
                raise EventRejected(SCHEMA, why)
            if self.missing(data) is None:
                raise EventRejected(SCHEMA, f"the registry's schema {schema_id} is not {form}")
            raise UnknownSchema(schema_id)
        try:
            return decoder(data[FRAME_BYTES:])
        except EventRejected:
            raise
        except Exception as error:  # noqa: BLE001 - Libraries raise many types for bad bytes.
            what = f"is not {form} of the registry's schema {schema_id} ({type(error).__name__})"
            raise EventRejected(SCHEMA, what) from None


NO_SCHEMAS: Final = Schemas()


def _avro(schema: Schema) -> Decode:
    import fastavro.schema  # noqa: PLC0415 - An extra.
    from fastavro import schemaless_reader  # noqa: PLC0415 - As above.

    named: dict[str, Any] = {}
    for _name, text in schema.references:
        fastavro.schema.parse_schema(msgspec.json.decode(text), named_schemas=named)
    parsed = fastavro.schema.parse_schema(msgspec.json.decode(schema.text), named_schemas=named)
    _refuse_unsafe(parsed, named, frozenset())

    def decode(payload: bytes) -> Any:
        stream = io.BytesIO(payload)
        value = schemaless_reader(stream, parsed, None)
        if stream.tell() != len(payload):
            raise EventRejected(SCHEMA, "bytes follow the end of the value")
        return value

    return decode


def _refuse_unsafe(schema: Any, named: Mapping[str, Any], above: frozenset[str]) -> None:
    """Raise UnsafeSchema for what lets few bytes ask for endless work.

    Types that hold themselves: the reader's recursion in C has no limit, and a record of some
    thousand bytes ends the process. Lists of what takes no bytes: they may claim billions of it.
    """
    match schema:
        case str() if schema in above:
            raise UnsafeSchema(f"{schema[:100]} holds itself")
        case str():
            if schema in named:
                _refuse_unsafe(named[schema], named, above)
        case list():
            for option in schema:
                _refuse_unsafe(option, named, above)
        case dict():
            inside = above | {schema["name"]} if "name" in schema else above
            if isinstance(schema.get("type"), dict | list):
                _refuse_unsafe(schema["type"], named, inside)
            for field in schema.get("fields", ()):
                _refuse_unsafe(field["type"], named, inside)
            for part in ("items", "values"):
                if part in schema:
                    _refuse_unsafe(schema[part], named, inside)
            if "items" in schema and _weightless(schema["items"], named):
                raise UnsafeSchema("it has lists of what takes no bytes")


def _weightless(schema: Any, named: Mapping[str, Any]) -> bool:
    """Whether values of a type may take no bytes; of one that does not hold itself."""
    match schema:
        case str():
            return _weightless(named[schema], named) if schema in named else schema == "null"
        case {"type": "null"} | {"type": "fixed", "size": 0}:
            return True
        case {"type": "record" | "error"}:
            return all(_weightless(field["type"], named) for field in schema["fields"])
        case {"type": dict() as inner}:
            return _weightless(inner, named)
        case _:  # A union takes at least the byte that says which.
            return False


def _protobuf(schema: Schema) -> Decode:
    from google.protobuf import (  # noqa: PLC0415 - An extra.
        descriptor_pb2,
        descriptor_pool,
        json_format,
        message_factory,
    )

    pool = descriptor_pool.DescriptorPool()
    _add_well_known(pool)
    for name, text in schema.references:
        imported = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(text))
        imported.name = name
        pool.Add(imported)
    file = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(schema.text))
    file.name = file.name or "value.proto"
    pool.Add(file)
    described = pool.FindFileByName(file.name)

    def decode(payload: bytes) -> Any:
        indexes, start = _message_indexes(payload)
        top = list(described.message_types_by_name.values())
        kind = top[indexes[0]]
        for index in indexes[1:]:
            kind = kind.nested_types[index]
        message = message_factory.GetMessageClass(kind).FromString(payload[start:])
        return json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )

    return decode


def _add_well_known(pool: Any) -> None:
    """Add what every Protobuf compiler brings along, so that schemas may import it."""
    from google.protobuf import (  # noqa: PLC0415 - An extra.
        any_pb2,
        descriptor_pb2,
        duration_pb2,
        empty_pb2,
        field_mask_pb2,
        struct_pb2,
        timestamp_pb2,
        wrappers_pb2,
    )

    for module in (
        *(any_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2, timestamp_pb2),
        *(wrappers_pb2, descriptor_pb2),
    ):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)


def _message_indexes(payload: bytes) -> tuple[list[int], int]:
    """Read which message of its file a value is; a lone zero is short for the first one."""
    count, at = _zigzag(payload, 0)
    if count == 0:
        return [0], at
    if not 0 < count <= _INDEXES_MAX:
        raise EventRejected(SCHEMA, "the frame names no message of the schema")
    indexes = []
    for _ in range(count):
        index, at = _zigzag(payload, at)
        if index < 0:
            raise EventRejected(SCHEMA, "the frame names no message of the schema")
        indexes.append(index)
    return indexes, at


def _zigzag(payload: bytes, at: int) -> tuple[int, int]:
    """Read a whole number as Protobuf and Avro write it; return it and where it ends."""
    number = 0
    for taken in range(_VARINT_BYTES_MAX):
        byte = payload[at + taken]
        number |= (byte & 0x7F) << (7 * taken)
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at + taken + 1
    raise EventRejected(SCHEMA, "the frame names no message of the schema")
