"""What is a command, what is none, and what is told about one."""

from __future__ import annotations

import contextlib
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.protocol.codec import decode_event
from orchestrator.protocol.home import home_partition
from orchestrator.sender.names import homes_of
from orchestrator.sender.rules.attempts import State, attempt_of
from orchestrator.sender.rules.command import Place, Unreadable, decode_command
from orchestrator.sender.rules.feedback import encode_feedback, feedback
from tests.sender.builders import LANE, NOW_MS, command, envelope

SAMPLES = Path(__file__).parents[2] / "schemas" / "samples" / "valid"
PLACE = Place(LANE, 0, 0)


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("command.*.json")), ids=lambda one: one.stem)
def test_every_command_of_the_contract_is_read(sample):
    decoded = decode_command(sample.read_bytes(), PLACE)

    assert decoded is not None
    assert decoded.id == orjson.loads(sample.read_bytes())["id"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"expires_at": "tomorrow"}, "data.expires_at"),
        ({"expires_at": "2026-11-22T10:00:00"}, "data.expires_at"),
        ({"command_class": "spam"}, "data.class"),
        ({"mode": "prod"}, "data.mode"),
        ({"delivery": "exactly_once"}, "data.delivery"),
        ({"sequence": "5"}, "sequence"),
        ({"subject": ""}, "subject"),
        ({"type": "message.cancel"}, "data.cancels"),
    ],
)
def test_what_is_wrong_is_named(changes, named):
    with pytest.raises(Unreadable, match=named):
        decode_command(orjson.dumps(envelope(**changes)), PLACE)


@given(st.binary(max_size=200) | st.none())
def test_no_bytes_raise_anything_but_unreadable(value):
    with contextlib.suppress(Unreadable):
        decode_command(value, PLACE)


def test_unknown_types_and_fields_are_ignored():
    assert decode_command(orjson.dumps(envelope(type="message.sing")), PLACE) is None
    assert decode_command(orjson.dumps(envelope(colour="blue")), PLACE) is not None


@pytest.mark.parametrize(
    ("type_", "state", "reason", "told"),
    [
        ("message.send", State.DELIVERED, "", "message.delivered"),
        ("message.send", State.BOUNCED, "smtp_550", "message.bounced"),
        ("message.send", State.FAILED, "unknown", "message.failed"),
        ("message.send", State.DROPPED, "fenced", "message.dropped"),
        ("audience.remove", State.DELIVERED, "", "audience.applied"),
        ("task.create", State.DELIVERED, "", None),
        ("task.create", State.DROPPED, "expired", "message.dropped"),
        ("task.close", State.DELIVERED, "", None),
        ("message.cancel", State.DROPPED, "test", None),
    ],
)
def test_each_outcome_is_told_as_an_event_that_the_orchestrator_accepts(type_, state, reason, told):
    changes = {"cancels": ["c9"]} if type_ in ("task.close", "message.cancel") else {}
    one = command(type=type_, **changes)
    event = feedback(one, attempt_of(one, state, by="us", now_ms=NOW_MS, reason=reason))
    if told is None:
        assert event is None
        return
    key, value, headers = encode_feedback(event)
    decoded = decode_event(key, value, headers, event_bytes_max=10_000)

    assert (decoded.type, decoded.data["command_id"]) == (told, "c1")
    assert decoded.data.get("reason", "") == reason


def test_telling_the_same_again_is_the_same_event_and_another_outcome_is_not():
    one = command()
    bodies = [
        feedback(one, attempt_of(one, state, by=by, now_ms=now_ms, reason=reason))
        for by, now_ms, state, reason in (
            ("us", 1, State.DROPPED, "fenced"),
            ("them", 2, State.DROPPED, "fenced"),
            ("us", 1, State.DROPPED, "expired"),
        )
    ]
    same, again, other = ((body["id"], body["type"], body["data"]) for body in bodies)

    assert same == again
    assert same[0] != other[0]


@given(st.text(min_size=1), st.integers(1, 24), st.integers(1, 24))
def test_a_customers_fence_is_among_what_the_owner_of_the_lane_follows(customer, lane, fences):
    key = customer.encode("utf-8", "replace")
    followed = homes_of(home_partition(key, lane), lane_partitions=lane, partitions=fences)

    assert home_partition(key, fences) in followed
