"""Avro and Protobuf as Confluent's serializers write them, by schemas that a registry serves."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import pytest
from confluent_kafka.schema_registry import Schema as ConfluentSchema
from confluent_kafka.schema_registry import SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.errors import DependencyError, EventRejected
from orchestrator.protocol.inputs import Schemas, UnknownSchema
from orchestrator.protocol.inputs.schemas import Schema
from orchestrator.protocol.inputs.values import Size, read_value
from orchestrator.runtime.registry.client import SchemaRegistry
from orchestrator.settings import Settings
from tests.schema_registry import SchemaRegistryServer

CONTEXT = SerializationContext("orders", MessageField.VALUE)
MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "total", "type": MONEY},
        {"name": "paid", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "rate", "type": "double"},
        {"name": "raw", "type": "bytes"},
        {"name": "note", "type": ["null", "string"]},
        {"name": "big", "type": "long"},
    ],
}


@pytest.fixture
def registry():
    with SchemaRegistryServer() as server:
        yield server


@pytest.fixture
def confluent(registry):
    """Confluent's own client, for the producers."""
    return SchemaRegistryClient({"url": registry.url})


async def fetched(url, data, **login):
    """Return the schemas that some bytes ask for."""
    schemas = Schemas()
    client = SchemaRegistry(Settings.load(schema_registry_url=url, **login))
    try:
        schema_id = schemas.missing(data)
        assert schema_id is not None
        schema = await client.fetch(schema_id)
        if schema is None:
            schemas.refuse(schema_id)
        else:
            schemas.put(schema_id, schema)
    finally:
        await client.close()
    return schemas


async def read(registry, data, form):
    return read_value(data, form, await fetched(registry.url, data), Size())


async def test_avro_is_read_by_its_writers_schema_and_money_stays_exact(registry, confluent):
    data = AvroSerializer(confluent, json.dumps(ORDER))(
        {
            "total": Decimal("129.10"),
            "paid": dt.datetime(2026, 11, 22, 10, tzinfo=dt.UTC),
            "day": dt.date(2026, 11, 22),
            "rate": 0.1,
            "raw": b"\xff\x00",
            "note": None,
            "big": 2**62,
        },
        CONTEXT,
    )

    assert await read(registry, data, "avro") == {
        "total": "129.10",
        "paid": "2026-11-22T10:00:00Z",
        "day": "2026-11-22",
        "rate": "0.1",
        "raw": "/wA=",
        "note": None,
        "big": 2**62,
    }


async def test_avro_that_refers_to_another_schema_is_read_with_it(registry, confluent):
    money = {"type": "record", "name": "shop.Money", "fields": [{"name": "gross", "type": MONEY}]}
    order = {"type": "record", "name": "Order", "fields": [{"name": "sum", "type": "shop.Money"}]}
    confluent.register_schema("money", ConfluentSchema(json.dumps(money), "AVRO"))
    reference = SchemaReference("shop.Money", "money", 1)
    serialize = AvroSerializer(
        confluent, ConfluentSchema(json.dumps(order), "AVRO", [reference]), lambda one, _: one
    )

    data = serialize({"sum": {"gross": Decimal("5.00")}}, CONTEXT)

    assert await read(registry, data, "avro") == {"sum": {"gross": "5.00"}}


def protobuf_classes():
    """Return the messages of a small file: one after another, and one inside another."""
    file = descriptor_pb2.FileDescriptorProto(name="shop/order.proto", package="shop")
    file.syntax = "proto3"
    file.dependency.append("google/protobuf/timestamp.proto")
    file.message_type.add(name="Customer").field.add(name="number", number=1, type=9, label=1)
    order = file.message_type.add(name="Order")
    order.enum_type.add(name="Status").value.add(name="OPEN", number=0)
    order.enum_type[0].value.add(name="PAID", number=1)
    for name, number, kind, type_name in (
        ("status", 1, 14, ".shop.Order.Status"),
        ("cents", 2, 3, None),
        ("rate", 3, 1, None),
        ("customer", 4, 11, ".shop.Customer"),
        ("paid_at", 5, 11, ".google.protobuf.Timestamp"),
        ("quantity", 6, 5, None),
    ):
        order.field.add(name=name, number=number, type=kind, label=1, type_name=type_name)
    order.nested_type.add(name="Line").field.add(name="sku", number=1, type=9, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)

    def class_of(name):
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))

    return class_of("shop.Order"), class_of("shop.Order.Line"), class_of("shop.Customer")


async def test_protobuf_is_read_as_its_standard_writes_json(registry, confluent):
    order_class, line_class, customer_class = protobuf_classes()
    order = order_class(status=1, cents=12910, rate=0.5, customer={"number": "ana"})
    order.paid_at.FromJsonString("2026-11-22T10:00:00Z")

    for message, expected in (
        (
            order,
            {
                "status": "PAID",
                "cents": "12910",
                "rate": "0.5",
                "customer": {"number": "ana"},
                "paid_at": "2026-11-22T10:00:00Z",
                "quantity": 0,
            },
        ),
        (line_class(sku="tent-2"), {"sku": "tent-2"}),
        (customer_class(number="ana"), {"number": "ana"}),
    ):
        serialize = ProtobufSerializer(type(message), confluent)
        assert await read(registry, serialize(message, CONTEXT), "protobuf") == expected


async def test_json_of_a_registrys_serializer_needs_no_registry(confluent):
    schema = '{"title": "Order", "type": "object"}'
    data = JSONSerializer(schema, confluent)({"order_no": "A-1"}, CONTEXT)

    assert read_value(data, "json", Schemas(), Size()) == {"order_no": "A-1"}


async def test_a_schema_that_is_not_there_refuses_the_record_and_is_asked_for_again(registry):
    data = b"\0\0\0\0\x63?"
    schemas = await fetched(registry.url, data)

    with pytest.raises(EventRejected, match="the registry knows no schema 99"):
        schemas.decode(data, "avro")
    assert schemas.missing(data) is None
    schemas.forget_refused()
    assert schemas.missing(data) == 99
    with pytest.raises(UnknownSchema):
        schemas.decode(data, "avro")


async def test_a_schema_of_another_kind_refuses_the_record(registry, confluent):
    data = AvroSerializer(confluent, '"string"')("hello", CONTEXT)

    with pytest.raises(EventRejected, match="schema 1 is not protobuf"):
        await read(registry, data, "protobuf")


async def test_a_registry_that_is_away_or_refuses_us_is_no_word_about_the_record():
    with SchemaRegistryServer(user=("shop", "secret")) as registry:
        client = SchemaRegistry(Settings.load(schema_registry_url=registry.url))
        with pytest.raises(DependencyError, match="it answers 401"):
            await client.fetch(1)
        registry.away = True
        with pytest.raises(DependencyError, match="it answers 503"):
            await client.fetch(1)
    with pytest.raises(DependencyError, match="schema registry: "):
        await client.fetch(1)
    await client.close()


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (
            {"type": "record", "name": "N", "fields": [{"name": "n", "type": ["null", "N"]}]},
            "N holds itself",
        ),
        ({"type": "array", "items": "null"}, "lists of what takes no bytes"),
        (
            {"type": "array", "items": {"type": "record", "name": "E", "fields": []}},
            "lists of what takes no bytes",
        ),
        ({"type": "nonsense"}, "UnknownType"),
    ],
)
def test_a_schema_by_which_few_bytes_could_stop_a_worker_is_not_read(schema, why):
    schemas = Schemas()
    schemas.put(1, Schema("AVRO", json.dumps(schema)))

    with pytest.raises(EventRejected, match=why):
        schemas.decode(b"\0\0\0\0\1" + b"\2" * 100_000, "avro")


KNOWN = Schemas()
KNOWN.put(1, Schema("AVRO", json.dumps(ORDER)))


@settings(deadline=None, max_examples=300)
@given(st.sampled_from([b"", b"\0\0\0\0\1", b"\0\0\0\0\2"]), st.binary())
@example(b"\0\0\0\0\1", b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f")
def test_any_bytes_are_a_value_or_refused(frame, data):
    def outcome():
        try:
            return read_value(frame + data, "avro", KNOWN, Size())
        except EventRejected as rejected:
            return rejected.reason, rejected.detail
        except UnknownSchema as unknown:
            return unknown.schema_id

    assert outcome() == outcome()
