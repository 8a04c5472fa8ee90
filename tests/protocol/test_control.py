"""The records of `control`: what they say, and what is refused by writer and reader."""

import jsonschema
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.pauses import Pause
from orchestrator.errors import DependencyError, UsageError
from orchestrator.protocol.control import (
    Control,
    Controls,
    checked,
    decode_control,
    encode_control,
    scope_of,
)
from orchestrator.protocol.schema import control_schema

AT = "2026-11-22T10:00:00Z"
RECORD = {
    "scope": "journey/winter_sale",
    "paused": True,
    "kill": False,
    "by": "eva@shop.example",
    "reason": "wrong price",
    "at": AT,
}
BAD = {
    "an unknown kind": {"scope": "campaign/x"},
    "no name": {"scope": "journey/"},
    "a name for everything": {"scope": "global/x"},
    "an end of line": {"scope": "journey/x\n"},
    "nobody": {"by": ""},
    "no reason": {"reason": ""},
    "a novel": {"reason": "x" * 257},
    "no time": {"at": "yesterday"},
    "a word for a fact": {"paused": "yes"},
    "transactional of a journey": {"transactional": True},
}


def control(**fields):
    return Control(**{**RECORD, **fields})


def take(controls, offset, record):
    value = None if record is None else orjson.dumps(record)
    key = (record or RECORD)["scope"].encode()
    controls.take(offset, key, value, where="control/0/0")


def test_a_record_is_written_as_the_contract_says_it():
    key, value = encode_control(control())

    assert key == b"journey/winter_sale"
    assert value == orjson.dumps(RECORD)
    assert decode_control(key, value, where="here") == control()


def test_transactional_is_said_only_when_it_is_meant():
    _, value = encode_control(control(scope="global", transactional=True))

    assert orjson.loads(value) == RECORD | {"scope": "global", "transactional": True}


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD)
def test_the_reader_refuses_what_does_not_say_clearly_what_is_meant(fields):
    record = RECORD | fields

    with pytest.raises(DependencyError, match="is no word about a pause"):
        decode_control(record["scope"].encode(), orjson.dumps(record), where="control/0/7")


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD)
def test_the_writer_refuses_it_too(fields):
    with pytest.raises(UsageError):
        checked(control(**fields))


def test_a_record_under_another_key_is_refused():
    with pytest.raises(DependencyError, match="the key is"):
        decode_control(b"global", orjson.dumps(RECORD), where="control/0/7")


@pytest.mark.parametrize("name", RECORD)
def test_every_field_is_required(name):
    record = {key: value for key, value in RECORD.items() if key != name}

    with pytest.raises(DependencyError):
        decode_control(b"journey/winter_sale", orjson.dumps(record), where="here")


@given(st.binary(max_size=40))
def test_no_bytes_stop_the_reader(value):
    controls = Controls()
    take(controls, 0, RECORD)

    with pytest.raises(DependencyError):
        controls.take(1, b"journey/winter_sale", value, where="here")

    assert [one.scope for one in controls.paused] == ["journey/winter_sale"]
    assert controls.next_offset == 2


@pytest.mark.parametrize("fields", [{}, {"scope": "global", "transactional": True}])
def test_what_is_written_is_valid_under_the_schema(fields):
    _, value = encode_control(control(**fields))

    jsonschema.validate(orjson.loads(value), control_schema())


def test_the_newest_record_of_a_scope_counts():
    controls = Controls()
    take(controls, 0, RECORD)
    take(controls, 1, RECORD | {"scope": "channel/sms", "kill": True})
    take(controls, 2, RECORD | {"paused": False})

    assert controls.pauses().all == (
        Pause("channel/sms", "eva@shop.example", "wrong price", kill=True),
    )
    assert controls.pauses().revision == 3


def test_a_record_without_value_resumes_its_scope():
    controls = Controls()
    take(controls, 0, RECORD)
    take(controls, 1, None)

    assert controls.paused == ()
    assert controls.pauses().revision == 2


def test_a_scope_is_a_kind_and_a_name_and_everything_has_none():
    assert scope_of("journey", "sale") == "journey/sale"
    assert scope_of("global", None) == "global"


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("jorney", "x", 'did you mean "journey"'),
        ("global", "x", "global has no name"),
        ("channel", None, "say which channel"),
    ],
)
def test_a_scope_that_makes_no_sense_is_refused_with_what_is_allowed(kind, name, told):
    with pytest.raises(UsageError, match=told):
        scope_of(kind, name)
