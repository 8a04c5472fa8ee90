"""The contract's tables of events and dead letters, row by row, on the codec."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.errors import EventRejected
from orchestrator.protocol.codec import REASONS, decode_event
from orchestrator.protocol.payloads import PAYLOADS

BYTES_MAX = 1_000_000
PURCHASE = {
    "order_id": "1001",
    "total": "129.00",
    "currency": "EUR",
    "items": [{"sku": "tent-2", "category": "outdoor", "quantity": 1, "price": "129.00"}],
}
TENT = {"items": [{"sku": "tent-2"}]}
# Every type of the contract with exactly what it requires.
REQUIRED: dict[str, dict[str, Any]] = {
    "purchase": PURCHASE,
    "order.cancelled": {"order_id": "1001"},
    "order.returned": {"order_id": "1001"},
    "payment.pending": {"order_id": "1001"},
    "payment.failed": {"order_id": "1001"},
    "product.viewed": {"sku": "tent-2"},
    "cart.updated": {"cart_id": "c-1"} | TENT,
    "cart.abandoned": {"cart_id": "c-1"} | TENT,
    "search.done": {},
    "store.visited": {},
    "ad.clicked": {"utm": {"campaign": "spring"}},
    "newsletter.subscribed": {},
    "geo.entered": {},
    "profile.updated": {"attributes": {"country": "ES"}},
    "profile.identified": {"anonymous_id": "web-1", "customer_id": "ana"},
    "consent.updated": {"channel": "sms", "class": "promotional", "granted": True, "proof": "f-1"},
    "offer.requested": {"offer": "spring-10"},
    "offer.shown": {"offer": "spring-10"},
    "offer.accepted": {"offer": "spring-10"},
    "offer.rejected": {"offer": "spring-10"},
    "offer.redeemed": {"offer": "spring-10"},
    "product.back_in_stock": {"sku": "tent-2"},
    "price.dropped": {"sku": "tent-2"},
    "task.claimed": {"task_id": "t-1"},
    "task.closed": {"task_id": "t-1"},
    "enrollment.exit_requested": {"enrollment": "promo/1#1"},
    "handoff.started": {},
    "handoff.ended": {},
    "case.opened": {},
    "case.closed": {},
    "message.delivered": {"command_id": "cmd-1"},
    "message.opened": {"command_id": "cmd-1"},
    "message.clicked": {"command_id": "cmd-1"},
    "message.replied": {"command_id": "cmd-1"},
    "message.bounced": {"command_id": "cmd-1"},
    "message.failed": {"command_id": "cmd-1"},
    "message.unsubscribed": {"command_id": "cmd-1"},
    "message.dropped": {"command_id": "cmd-1", "reason": "fenced"},
    "audience.applied": {"command_id": "cmd-1"},
    "customer.erased": {},
}


def envelope(**changes: Any) -> dict[str, Any]:
    """Return the contract's purchase with some attributes changed; None removes one."""
    event = {
        "specversion": "1.0",
        "id": "ord-1001",
        "source": "/shop",
        "type": "purchase",
        "subject": "ana",
        "time": "2026-11-22T10:00:00Z",
        "data": PURCHASE,
    } | changes
    return {name: value for name, value in event.items() if value is not ...}


def encode(**changes: Any) -> bytes:
    return json.dumps(envelope(**changes)).encode()


def decode(value: bytes | None, *, key: bytes | None = b"ana", headers=(), **options: Any):
    return decode_event(key, value, headers, **({"event_bytes_max": BYTES_MAX} | options))


def rejection(value: bytes | None, **options: Any) -> tuple[str, str]:
    with pytest.raises(EventRejected) as caught:
        decode(value, **options)
    return caught.value.reason, caught.value.detail


def test_the_contracts_example_is_read_completely() -> None:
    event = decode(encode())

    assert (event.source, event.id, event.type, event.subject) == (
        "/shop",
        "ord-1001",
        "purchase",
        "ana",
    )
    assert event.time_ms == 1_795_341_600_000
    assert event.data == PURCHASE
    assert (event.backfill, event.traceparent) == (False, None)
    assert (len(event.identity), len(event.body)) == (8, 4)


def test_the_table_here_names_every_known_type_and_no_other() -> None:
    assert set(REQUIRED) == set(PAYLOADS)


@pytest.mark.parametrize("event_type", REQUIRED)
def test_a_known_type_with_its_required_data_is_an_event(event_type: str) -> None:
    event = decode(encode(type=event_type, data=REQUIRED[event_type]))

    assert (event.type, event.data) == (event_type, REQUIRED[event_type])


@pytest.mark.parametrize(
    ("event_type", "missing"),
    [(event_type, name) for event_type, data in REQUIRED.items() for name in data],
)
def test_a_known_type_without_a_required_field_is_told_which(event_type: str, missing: str) -> None:
    data = {name: value for name, value in REQUIRED[event_type].items() if name != missing}

    assert rejection(encode(type=event_type, data=data)) == (
        "schema",
        f"data.{missing}: is missing",
    )


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"specversion": ...}, "specversion: is missing"),
        ({"specversion": "0.3"}, 'specversion: must be "1.0"'),
        ({"id": ...}, "id: is missing"),
        ({"id": ""}, "id: must not be empty"),
        ({"id": 7}, "id: must be text"),
        ({"source": None}, "source: is missing"),
        ({"source": "a\0b"}, "source: holds a NUL character"),
        ({"type": ["purchase"]}, "type: must be text"),
        ({"subject": ...}, "subject: is missing"),
        ({"subject": ""}, "subject: must not be empty"),
        ({"subject": "ñ" * 128 + "x"}, "subject: is longer than 256 bytes"),
        ({"time": "yesterday"}, 'time: must look like "2026-11-22T10:00:00Z"'),
        ({"time": "2026-11-22T10:00:00"}, 'time: must look like "2026-11-22T10:00:00Z"'),
        ({"time": 1_795_341_600_000}, 'time: must look like "2026-11-22T10:00:00Z"'),
        ({"time": "2026-02-30T10:00:00Z"}, "time: is not a date and time that exists"),
        ({"time": "1969-12-31T23:59:59Z"}, "time: is before 1970"),
        ({"data": [1]}, "data: must be an object, not a list"),
        ({"data": "x"}, "data: must be an object, not a single value"),
        ({"data": ..., "data_base64": "e30="}, "data_base64: is not read, send data as JSON"),
        ({"data": ...}, "data.order_id: is missing"),
        ({"backfill": "perhaps"}, "backfill: must be true or false"),
        ({"backfill": 1}, "backfill: must be true or false"),
        (
            {"data": PURCHASE | {"order_id": 1001}},
            "data.order_id: must be text, not a whole number",
        ),
        ({"data": PURCHASE | {"order_id": ""}}, "data.order_id: must not be empty"),
        ({"data": PURCHASE | {"items": []}}, "data.items: must not be empty"),
        ({"data": PURCHASE | {"items": {}}}, "data.items: must be a list, not an object"),
        ({"data": PURCHASE | {"items": [{}]}}, "data.items[0].sku: is missing"),
        (
            {"data": PURCHASE | {"items": [{"sku": "a"}, {"sku": None}]}},
            "data.items[1].sku: must be text, not null",
        ),
        (
            {"data": PURCHASE | {"items": [{"sku": "a", "quantity": 0}]}},
            "data.items[0].quantity: must be at least 1",
        ),
        ({"data": PURCHASE | {"total": "12,90"}}, 'data.total: must look like "129.00"'),
        ({"data": PURCHASE | {"total": True}}, "data.total: must be a number or text, not true"),
        ({"data": PURCHASE | {"currency": "euro"}}, 'data.currency: must look like "EUR"'),
        (
            {"type": "message.dropped", "data": {"command_id": "c", "reason": "secret"}},
            "data.reason: must be one of fenced, expired, cancelled, duplicate, killed, test",
        ),
        (
            {"type": "ad.clicked", "data": {"utm": 5}},
            "data.utm: must be text or an object, not a whole number",
        ),
    ],
)
def test_what_is_wrong_with_an_event_is_named(changes: dict[str, Any], detail: str) -> None:
    reason, told = rejection(encode(**changes))

    assert reason == "schema"
    assert told.startswith(detail)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"not json",
        b"{",
        b"\xff\xfe",
        b'{"a":NaN}',
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e999]",
        b"[" + b"9" * 5_000 + b"]",
        b'["\\ud800"]',
        b'["\xed\xa0\x80"]',
        b"[" * 1_000_000,
        b'{"a":' * 150_000,
        b"[" * 500 + b"]" * 500,
    ],
    ids=lambda value: repr(value[:12]),
)
def test_what_is_not_strict_json_is_invalid_json(value: bytes) -> None:
    assert rejection(value, event_bytes_max=2_000_000)[0] == "invalid_json"


def test_nesting_of_64_is_read_and_65_is_refused() -> None:
    def nested(depth: int) -> bytes:
        inner: Any = {}
        for _ in range(depth - 3):
            inner = [inner]
        return encode(type="custom", data={"deep": inner})

    assert decode(nested(64)).type == "custom"
    assert rejection(nested(65)) == ("invalid_json", "nesting is over 64")


def test_many_brackets_side_by_side_are_not_nesting() -> None:
    data = {"list": [[] for _ in range(500)], "text": "[{" * 100}

    assert decode(encode(type="custom", data=data)).data == data


@pytest.mark.parametrize("value", [b"null", b"[]", b'"text"', b"7", b"true", b"{}"])
def test_json_that_is_not_the_envelope_is_a_schema_fault(value: bytes) -> None:
    assert rejection(value)[0] == "schema"


def test_a_null_value_is_an_empty_value() -> None:
    assert rejection(None)[0] == "empty_value"


def test_the_limit_is_the_size_of_the_value() -> None:
    """A forwarded record gains a key and headers on its way and must not become too large."""
    value = encode()
    headers = [("name", b"mark")]

    assert decode(value, headers=headers, event_bytes_max=len(value)).id == "ord-1001"
    assert rejection(value, event_bytes_max=len(value) - 1) == (
        "too_large",
        f"{len(value)} bytes, the limit is {len(value) - 1}",
    )


def test_an_oversized_record_is_told_so_before_it_is_parsed() -> None:
    assert rejection(b"[" * 2_000_000)[0] == "too_large"


def test_a_key_that_is_not_the_subject_is_refused_unless_forwarded() -> None:
    assert rejection(encode(), key=b"bob")[0] == "key_subject_mismatch"
    assert rejection(encode(), key=b"")[0] == "key_subject_mismatch"
    assert rejection(encode(), key=b"\xff")[0] == "key_subject_mismatch"
    assert decode(encode(), key=b"bob", forwarded=True).subject == "ana"


def test_a_record_without_a_key_is_an_event_of_its_subject() -> None:
    assert decode(encode(), key=None).subject == "ana"


def test_a_customer_id_of_256_bytes_is_accepted() -> None:
    subject = "ñ" * 128

    assert decode(encode(subject=subject), key=subject.encode()).subject == subject


@pytest.mark.parametrize("total", ["129.00", "-5", "0", 129, 129.5, "129.123456789"])
def test_money_is_a_decimal_string_or_a_number(total: Any) -> None:
    assert decode(encode(data=PURCHASE | {"total": total})).data["total"] == total


def test_unknown_fields_are_kept_and_unknown_types_are_events() -> None:
    data = PURCHASE | {"gift": {"wrapped": True}}

    assert decode(encode(data=data, shopversion="7")).data == data
    assert decode(encode(type="loyalty.scanned", data={"card": 5})).data == {"card": 5}
    assert decode(encode(type="loyalty.scanned", data=...)).data == {}


@pytest.mark.parametrize(
    ("time", "time_ms"),
    [
        ("2026-11-22T10:00:00.123Z", 1_795_341_600_123),
        ("2026-11-22T10:00:00.123999999Z", 1_795_341_600_123),
        ("2026-11-22T11:00:00+01:00", 1_795_341_600_000),
        ("2026-11-22t10:00:00z", 1_795_341_600_000),
        ("1970-01-01T00:00:00Z", 0),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ],
)
def test_times_are_rfc_3339_with_any_zone(time: str, time_ms: int) -> None:
    assert decode(encode(time=time)).time_ms == time_ms


def test_an_event_without_a_time_happened_when_its_record_was_stamped() -> None:
    assert decode(encode(time=...), record_time_ms=5).time_ms == 5
    for stamp in (-1, 2**62, None):
        assert rejection(encode(time=...), record_time_ms=stamp) == ("schema", "time: is missing")


@pytest.mark.parametrize(
    ("changes", "headers", "backfill"),
    [
        ({"backfill": True}, [], True),
        ({"backfill": "true"}, [], True),
        ({"backfill": False}, [], False),
        ({}, [("backfill", b"true")], True),
        ({}, [("backfill", b"TRUE")], True),
        ({"backfill": True}, [("backfill", b"false")], False),
    ],
)
def test_history_is_marked_by_header_or_attribute(changes, headers, backfill) -> None:
    assert decode(encode(**changes), headers=headers).backfill is backfill


def test_the_trace_context_comes_from_the_header_else_the_attribute() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    other = trace.replace("4b", "5b")

    assert decode(encode(), headers=[("traceparent", trace.encode())]).traceparent == trace
    assert decode(encode(traceparent=trace)).traceparent == trace
    assert (
        decode(encode(traceparent=other), headers=[("traceparent", trace.encode())]).traceparent
        == trace
    )
    assert decode(encode(traceparent="broken")).traceparent is None


def binary(**changes: Any) -> tuple[bytes, list[tuple[str, bytes]]]:
    event = envelope(**changes)
    data = event.pop("data")
    headers = [(f"ce_{name}", value.encode()) for name, value in event.items()]
    return json.dumps(data).encode(), [("content-type", b"application/json"), *headers]


def test_binary_mode_gives_the_same_event_as_structured_mode() -> None:
    value, headers = binary()

    assert decode(value, headers=headers) == decode(encode())


def test_structured_mode_wins_when_copies_of_attributes_stand_in_headers() -> None:
    headers = [
        ("content-type", b"application/cloudevents+json; charset=UTF-8"),
        ("ce_specversion", b"1.0"),
        ("ce_id", b"another"),
    ]

    assert decode(encode(), headers=headers) == decode(encode())


def test_binary_mode_names_what_is_wrong() -> None:
    value, headers = binary()

    without_type = [header for header in headers if header[0] != "ce_type"]
    assert rejection(value, headers=without_type) == ("schema", "type: is missing")
    not_text = [(name, b"\xff" if name == "ce_id" else mark) for name, mark in headers]
    assert rejection(value, headers=not_text) == ("schema", "id: the header is not UTF-8")
    assert rejection(b"", headers=headers)[0] == "invalid_json"
    assert rejection(b"[]", headers=headers)[0] == "schema"
    empty = [(name, None if name == "ce_id" else mark) for name, mark in headers]
    assert rejection(value, headers=empty) == ("schema", "id: is missing")


def test_batches_of_events_are_refused() -> None:
    headers = [("content-type", b"application/cloudevents-batch+json")]

    assert rejection(b"[]", headers=headers)[0] == "schema"


def test_a_repeat_and_a_reused_id_can_be_told_apart() -> None:
    first = decode(encode())
    reordered = json.dumps(dict(reversed(envelope().items()))).encode()
    again = decode(reordered)
    later = decode(encode(time="2027-01-01T00:00:00Z"))
    other_data = decode(encode(data=PURCHASE | {"total": "1.00"}))
    other_source = decode(encode(source="/shop2"))

    assert (again.identity, again.body) == (first.identity, first.body)
    assert (later.identity, later.body) == (first.identity, first.body)
    assert other_data.identity == first.identity
    assert other_data.body != first.body
    assert other_source.identity != first.identity


def test_no_refusal_quotes_a_value_of_the_event() -> None:
    """Details become headers and log lines, and values may be personal."""
    secret = "ana@example.org"
    for changes in (
        {"id": [secret]},
        {"time": secret},
        {"specversion": secret},
        {"backfill": secret},
        {"data": PURCHASE | {"total": secret}},
        {"data": {secret: 1}},
        {"type": "message.dropped", "data": {"command_id": "c", "reason": secret}},
    ):
        assert secret not in rejection(encode(**changes))[1]
    assert secret not in rejection(f'{{"{secret}": x'.encode())[1]


def test_the_reasons_are_the_contracts() -> None:
    assert REASONS == (
        "invalid_json",
        "too_large",
        "schema",
        "empty_value",
        "key_subject_mismatch",
        "id_reused",
        "partitioner_mismatch",
        "too_many_hops",
        "state_too_large",
    )
