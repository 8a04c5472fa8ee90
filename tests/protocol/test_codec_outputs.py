"""What the worker writes is byte for byte the contract's form."""

from __future__ import annotations

import json

import pytest

from orchestrator.core.command import Command, CommandClass, CommandPromise, CommandType
from orchestrator.core.customer import Cause, FenceEntry
from orchestrator.core.decision import Ended, EndReason, Moved
from orchestrator.protocol.codec import (
    command_headers,
    dead_letter_headers,
    decode_event,
    encode_command,
    encode_fence,
    encode_log,
    forward_headers,
    read_forward,
    without_forward,
)
from orchestrator.protocol.outputs import Forward, Position, event_cause, rfc3339, timer_cause

NOW_MS = 1_795_341_600_123
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def command(command_type: CommandType = CommandType.MESSAGE_SEND, **changes) -> Command:
    return Command(
        **(
            {
                "id": "c0ffee",
                "type": command_type,
                "customer": "ana",
                "time_ms": NOW_MS,
                "channel": "email",
                "command_class": CommandClass.TRANSACTIONAL,
                "mode": "test",
                "journey": "post_purchase",
                "journey_version": 1,
                "step": "thank_you",
                "enrollment": "post_purchase/1001#1",
                "caused_by": Cause("/shop", "ord-1001"),
                "sequence": 12,
                "expires_at_ms": NOW_MS + 3_600_000,
                "delivery": "at_least_once",
                "recipient": {"address_ref": "profile.email"},
                "locale": "es-ES",
                "template": "thank_you",
                "variables": {"first_name": "Ana"},
                "content": {"subject": "Gracias", "text": "Hola Ana"},
            }
            | changes
        )
    )


def test_a_message_has_the_contracts_fields_in_the_contracts_order() -> None:
    written = encode_command(command())

    assert written.decode() == (
        '{"specversion":"1.0","id":"c0ffee","source":"/orchestrator","type":"message.send",'
        '"subject":"ana","time":"2026-11-22T10:00:00.123Z","data":{"channel":"email",'
        '"class":"transactional","mode":"test","journey":"post_purchase","journey_version":1,'
        '"step":"thank_you","enrollment":"post_purchase/1001#1",'
        '"recipient":{"address_ref":"profile.email"},"locale":"es-ES","template":"thank_you",'
        '"variables":{"first_name":"Ana"},"content":{"subject":"Gracias","text":"Hola Ana"},'
        '"offer":null,"not_before":null,"expires_at":"2026-11-22T11:00:00.123Z",'
        '"delivery":"at_least_once","caused_by":{"source":"/shop","id":"ord-1001"},'
        '"sequence":12}}'
    )


@pytest.mark.parametrize("command_type", CommandType)
def test_every_type_says_what_it_needs(command_type: CommandType) -> None:
    written = json.loads(
        encode_command(command(command_type, cancels=("c1", "c2"), audience="tents"))
    )

    assert written["type"] == command_type.value
    data = written["data"]
    for name in ("channel", "class", "mode", "enrollment", "expires_at", "sequence", "caused_by"):
        assert name in data
    match command_type:
        case CommandType.MESSAGE_CANCEL | CommandType.TASK_CLOSE:
            assert data["cancels"] == ["c1", "c2"]
        case CommandType.AUDIENCE_ADD | CommandType.AUDIENCE_REMOVE:
            assert data["audience"] == "tents"
        case CommandType.MESSAGE_SEND | CommandType.TASK_CREATE:
            assert data["template"] == "thank_you"


def test_the_same_command_is_always_the_same_bytes() -> None:
    assert encode_command(command()) == encode_command(command())


def test_command_headers_route_without_parsing() -> None:
    assert command_headers(command(traceparent=TRACE)) == [
        ("content-type", b"application/cloudevents+json"),
        ("ce_id", b"c0ffee"),
        ("ce_type", b"message.send"),
        ("traceparent", TRACE.encode()),
    ]


def test_a_fence_names_each_enrollment_that_is_over() -> None:
    fence = encode_fence((FenceEntry("promo/1#1", NOW_MS, 11, NOW_MS + 1),))

    assert json.loads(fence or b"") == {
        "enrollments": [
            {
                "enrollment": "promo/1#1",
                "ended_at": "2026-11-22T10:00:00.123Z",
                "sequence": 11,
                "expires_at": "2026-11-22T10:00:00.124Z",
            }
        ]
    }


def test_a_pruned_fence_is_removed_by_compaction() -> None:
    assert encode_fence(()) is None


def test_the_log_tells_cause_outcome_and_entries() -> None:
    event = decode_event(
        b"ana",
        b'{"specversion":"1.0","id":"1","source":"/shop","type":"search.done","subject":"ana",'
        b'"time":"2026-11-22T10:00:00Z"}',
        [],
        event_bytes_max=1_000,
    )
    entries = (
        Ended("promo/1#1", "promo", 1, EndReason.EXIT, "wait", ("c1",)),
        Moved("post/1#1", "later", NOW_MS),
    )
    record = encode_log(
        customer="ana",
        now_ms=NOW_MS,
        cause=event_cause(Position("touchpoints", 3, 17, NOW_MS), event),
        outcome="applied",
        definitions_hash="ab" * 32,
        entries=entries,
    )

    written = json.loads(record)
    ended, moved = written.pop("entries")
    assert (ended["kind"], ended["reason"], ended["cancelled"]) == ("ended", "exit", ["c1"])
    assert moved == {
        "kind": "moved",
        "enrollment": "post/1#1",
        "step": "later",
        "wake_at_ms": NOW_MS,
        "detail": None,
    }
    assert written == {
        "customer": "ana",
        "now": "2026-11-22T10:00:00.123Z",
        "cause": {
            "kind": "event",
            "topic": "touchpoints",
            "partition": 3,
            "offset": 17,
            "source": "/shop",
            "id": "1",
            "type": "search.done",
            "time": "2026-11-22T10:00:00.000Z",
        },
        "outcome": "applied",
        "definitions": "ab" * 32,
    }


def test_the_log_of_a_wait_names_when_it_was_due() -> None:
    record = encode_log(
        customer="ana",
        now_ms=NOW_MS,
        cause=timer_cause(NOW_MS - 1),
        outcome="applied",
        definitions_hash="ab",
    )

    assert json.loads(record)["cause"] == {"kind": "timer", "due": "2026-11-22T10:00:00.122Z"}


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1970-01-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (10**18, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_a_time_outside_of_the_calendar_stops_nobody(time_ms: int, text: str) -> None:
    assert rfc3339(time_ms) == text


def test_a_dead_letter_keeps_its_headers_and_says_where_it_stood() -> None:
    headers = dead_letter_headers(
        [("x", b"\xff"), ("x", None)],
        reason="schema",
        detail="data.items[0].sku: is missing",
        origin=Position("touchpoints", 3, 17, NOW_MS),
        now_ms=NOW_MS,
    )

    assert headers == [
        ("x", b"\xff"),
        ("x", None),
        ("dl_reason", b"schema"),
        ("dl_detail", b"data.items[0].sku: is missing"),
        ("dl_topic", b"touchpoints"),
        ("dl_partition", b"3"),
        ("dl_offset", b"17"),
        ("dl_time", b"2026-11-22T10:00:00.123Z"),
    ]


def test_the_way_of_a_forwarded_record_is_read_back_and_removed() -> None:
    own = [("content-type", b"application/json"), ("x", None)]
    way = Forward(Position("touchpoints", 3, 17, NOW_MS), hops=1)
    further = Forward(way.origin, hops=2)

    once = forward_headers(own, way)
    twice = forward_headers(once, further)

    assert read_forward(once) == way
    assert read_forward(twice) == further
    assert without_forward(twice) == own


@pytest.mark.parametrize(
    "damage",
    [("fw_hops", b"x"), ("fw_topic", b"\xff"), ("fw_offset", None), ("fw_partition", b"9" * 5_000)],
)
def test_a_damaged_way_is_no_way(damage) -> None:
    headers = forward_headers([], Forward(Position("touchpoints", 3, 17, NOW_MS), hops=1))

    assert read_forward([*headers, damage]) is None


@pytest.mark.parametrize("code", ["TEN", None])
def test_a_message_that_tells_an_offer_says_what_it_promises(code: str | None) -> None:
    """The offer's name stays where the contract has it; what is promised stands beside it."""
    promise = CommandPromise("10 % off", code, NOW_MS + 1, provisional=code is None)

    data = json.loads(encode_command(command(offer="ten", promise=promise)))["data"]

    assert data["offer"] == "ten"
    assert data["promise"] == {
        "text": "10 % off",
        "code": code,
        "valid_until": "2026-11-22T10:00:00.124Z",
        "provisional": code is None,
    }


def test_a_command_is_a_valid_cloud_event_for_our_own_reader() -> None:
    written = command()
    event = decode_event(
        b"ana", encode_command(written), command_headers(written), event_bytes_max=10_000
    )

    assert (event.id, event.source, event.type) == ("c0ffee", "/orchestrator", "message.send")


def test_the_contracts_fields_are_all_written() -> None:
    """A field that CONTRACT names in its example is in ours, and the other way round."""
    example = {
        "channel", "class", "mode", "journey", "journey_version", "step", "enrollment",
        "recipient", "locale", "template", "variables", "content", "offer", "not_before",
        "expires_at", "delivery", "caused_by", "sequence",
    }  # fmt: skip

    assert set(json.loads(encode_command(command()))["data"]) == example
