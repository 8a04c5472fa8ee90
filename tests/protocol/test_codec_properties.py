"""For any bytes at all, the codec returns an event or a reason of the contract, and nothing else.

Hypothesis looks for small counterexamples; the mutation run goes wide: 200,000 records made from
valid ones with a fixed seed.
"""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.core.event import Event
from orchestrator.errors import EventRejected
from orchestrator.protocol.codec import REASONS, decode_event
from orchestrator.protocol.payloads import PAYLOADS

MUTATED_RECORDS = 200_000
BYTES_MAX = 4_096

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
names = st.sampled_from(
    ["specversion", "id", "source", "type", "subject", "time", "data", "backfill", "data_base64"]
)
header_names = st.sampled_from(
    ["content-type", "ce_specversion", "ce_id", "ce_type", "ce_time", "backfill", "traceparent"]
) | st.text(max_size=8)
headers_of_any_kind = st.lists(st.tuples(header_names, st.none() | st.binary(max_size=20)))


def outcome(
    key: bytes | None, value: bytes | None, headers: Any = (), bytes_max: int = BYTES_MAX
) -> Event | str:
    """Return the event or the reason; anything else that is raised fails the test."""
    try:
        event = decode_event(key, value, headers, event_bytes_max=bytes_max, record_time_ms=1)
    except EventRejected as rejected:
        rejected.detail.encode()
        # A ValueError here is a reason that the contract does not know.
        return REASONS[REASONS.index(rejected.reason)]
    assert 1 <= len(event.subject.encode()) <= 256
    assert (len(event.identity), len(event.body)) == (8, 4)
    assert isinstance(event.data, dict)
    # State keeps times in six unsigned bytes.
    assert 0 <= event.time_ms < 2**48
    return event


@given(
    key=st.none() | st.binary(max_size=8),
    value=st.none() | st.binary(max_size=200),
    headers=headers_of_any_kind,
)
def test_any_bytes_are_an_event_or_a_reason(key, value, headers) -> None:
    outcome(key, value, headers)


@given(document=json_values, headers=headers_of_any_kind)
def test_any_json_is_an_event_or_a_reason(document, headers) -> None:
    outcome(None, json.dumps(document).encode(), headers)


@given(
    attributes=st.dictionaries(names, json_values),
    event_type=st.sampled_from(sorted(PAYLOADS)),
    data=json_values,
)
def test_any_envelope_of_a_known_type_is_an_event_or_a_reason(attributes, event_type, data) -> None:
    document = {
        "specversion": "1.0",
        "id": "1",
        "source": "/s",
        "type": event_type,
        "subject": "ana",
        "time": "2026-11-22T10:00:00Z",
        "data": data,
    }
    outcome(None, json.dumps(document).encode())
    outcome(None, json.dumps(document | attributes).encode())


# Whole numbers beyond 64 bits become doubles in JSON and would not come back as they went in.
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@settings(max_examples=60)
@given(data=st.dictionaries(st.text(max_size=8), plain_values), subject=st.text(min_size=1))
def test_both_modes_and_any_order_of_fields_give_the_same_event(data, subject) -> None:
    attributes = {
        "specversion": "1.0",
        "id": "ñ-1",
        "source": "/shop",
        "type": "custom.thing",
        "subject": subject,
        "time": "2026-11-22T10:00:00.001Z",
    }
    headers = [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
    backwards = dict(reversed((attributes | {"data": dict(reversed(data.items()))}).items()))

    # A record's size is bounded as a whole, and one mode writes more into its value than the other.
    assume(len(json.dumps(backwards)) < BYTES_MAX // 2)
    structured = outcome(subject.encode(), json.dumps(attributes | {"data": data}).encode())
    binary = outcome(subject.encode(), json.dumps(data).encode(), headers)
    reordered = outcome(subject.encode(), json.dumps(backwards).encode())

    assert structured == binary == reordered
    if isinstance(structured, Event):
        assert structured.data == data


TOKENS = (
    b"NaN",
    b"Infinity",
    b"1e999",
    b"-",
    b"9" * 400,
    b'"\\ud800"',
    b"\xed\xa0\x80",
    b"\x00",
    b"\xff",
    b"[" * 80,
    b'{"a":' * 80,
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b",",
    b'"',
    b"}",
    b"\\",
    b'"time":"9999-12-31T23:59:59-23:59"',
    b'"time":"0001-01-01T00:00:00+23:59"',
    b'"quantity":18446744073709551615',
    b'"total":1e308',
)


def mutate(value: bytes, dice: random.Random) -> bytes:
    """Return the record with one to three small damages."""
    damaged = bytearray(value)
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(damaged) + 1)
        match dice.randrange(5):
            case 0:
                damaged[at : at + 1] = bytes((dice.randrange(256),))
            case 1:
                del damaged[at : at + dice.randint(1, 12)]
            case 2:
                damaged[at:at] = dice.choice(TOKENS)
            case 3:
                end = at + dice.randint(1, 20)
                damaged[at:end] = dice.choice(TOKENS)
            case _:
                start = dice.randrange(len(damaged) + 1)
                damaged[at:at] = damaged[start : start + dice.randint(1, 40)]
    return bytes(damaged)


def test_two_hundred_thousand_damaged_records_each_find_their_reason() -> None:
    dice = random.Random(20261122)
    item = {"sku": "tent-2", "quantity": 1, "price": "129.00"}
    seeds = [
        json.dumps(
            {
                "specversion": "1.0",
                "id": f"id-{number}",
                "source": "/shop",
                "type": event_type,
                "subject": "ana",
                "time": "2026-11-22T10:00:00Z",
                "backfill": False,
                "data": {
                    "order_id": "1001",
                    "cart_id": "c-1",
                    "items": [item],
                    "sku": "tent-2",
                    "total": 129.5,
                    "currency": "EUR",
                    "command_id": "c",
                    "reason": "test",
                    "attributes": {"country": "ES"},
                },
            }
        ).encode()
        for number, event_type in enumerate(PAYLOADS)
    ]
    found: dict[str, int] = {}
    for number in range(MUTATED_RECORDS):
        became = outcome(b"ana", mutate(seeds[number % len(seeds)], dice))
        name = became if isinstance(became, str) else "event"
        found[name] = found.get(name, 0) + 1

    assert sum(found.values()) == MUTATED_RECORDS
    assert {"event", "invalid_json", "schema", "key_subject_mismatch"} <= set(found)
