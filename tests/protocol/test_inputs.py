"""Records of other teams' topics become events, or say why not; nothing is rounded or guessed."""

from __future__ import annotations

import json
import string
from typing import Any, NamedTuple

import orjson
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.simulation.shops import PARTITIONS
from orchestrator.core.language.inputs import Input
from orchestrator.errors import EventRejected
from orchestrator.protocol import outputs
from orchestrator.protocol.codec import REASONS, decode_event
from orchestrator.protocol.commit.group import Limits, OpenGroup, Rules
from orchestrator.protocol.commit.intake import intake_of
from orchestrator.protocol.commit.transaction import TopicPartition
from orchestrator.protocol.forward.original import Original
from orchestrator.protocol.forward.way import Forward, forward_headers, read_forward
from orchestrator.protocol.home import home_partition
from orchestrator.protocol.inputs import Mapping, Schemas
from orchestrator.protocol.inputs.mapping import EVENTS_MAX
from orchestrator.protocol.inputs.values import VALUES_MAX, scaled
from tests.protocol.simulated import NAMES

NOW_MS = 1_795_341_600_000
PLACE = TopicPartition("erp", 4)
ORDER = """
status: PAID
order_no: A-1
customer: {number: 4711}
paid_at: "2026-11-22T10:00:00Z"
amount: {gross: "129.10", currency: EUR}
lines: [{article: tent-2, qty: 1, price: "129.10"}]
"""
ORDERS = """
topic: erp
rules:
  - when: record.value.status == "PAID"
    type: purchase
    subject: record.value.customer.number
    id: record.value.order_no + "/paid"
    time: record.value.paid_at
    data:
      order_id: record.value.order_no
      total: record.value.amount.gross
      currency: {value: record.value.amount.currency, default: EUR}
      coupon: {value: record.value.coupon, optional: true}
      items: 'record.value.lines.map(l, {"sku": l.article, "quantity": l.qty, "price": l.price})'
  - when: record.value.status == "VIEWED" && record.value.price > 10.0
    type: product.viewed
    subject: string(record.key)
    data: {sku: record.value.sku, price: record.value.price}
  - when: has(record.value.returned)
    each: record.value.returned
    type: order.returned
    subject: record.value.customer.number
    backfill: record.timestamp < 1000
    data:
      order_id: record.value.order_no
      items: '[{"sku": item.article, "quantity": item.qty, "price": item.price}]'
"""


class Raw(NamedTuple):
    """A record as a client returns it."""

    value: bytes | None
    key: bytes | None = b"k"
    headers: tuple[tuple[str, bytes | None], ...] = ()
    offset: int = 17
    timestamp: int = NOW_MS
    timestamp_type: int = 1


def mapping(text: str = ORDERS, *, event_bytes_max: int = 100_000) -> Mapping:
    declared = Input.model_validate(yaml.safe_load(text))
    return Mapping("orders", declared, Schemas(), event_bytes_max)


def one_rule(**fields: Any) -> str:
    rule = {"type": "quiz.done", "subject": "record.value.who"} | fields
    return orjson.dumps({"topic": "erp", "rules": [rule]}).decode()


def events(record: Raw, text: str = ORDERS) -> list[dict[str, Any]]:
    return [orjson.loads(event.value) for event in mapping(text).events(PLACE, record)]


def refused(record: Raw, text: str = ORDERS) -> str:
    with pytest.raises(EventRejected) as caught:
        mapping(text).events(PLACE, record)
    return f"{caught.value.reason}: {caught.value.detail}"


def value(**changes: Any) -> bytes:
    return orjson.dumps(yaml.safe_load(ORDER) | changes)


def test_a_record_becomes_the_event_that_its_rule_describes() -> None:
    assert events(Raw(value())) == [
        {
            "specversion": "1.0",
            "id": "A-1/paid",
            "source": "/inputs/orders",
            "type": "purchase",
            "subject": "4711",
            "time": "2026-11-22T10:00:00Z",
            "data": {
                "order_id": "A-1",
                "total": "129.10",
                "currency": "EUR",
                "items": [{"sku": "tent-2", "quantity": 1, "price": "129.10"}],
            },
        }
    ]


def test_the_first_rule_that_is_true_is_taken_and_one_over_what_is_not_there_is_not() -> None:
    viewed = {"status": "VIEWED", "sku": "tent-2"}

    assert events(Raw(orjson.dumps(viewed | {"price": 10.5}), key=b"ana"))[0]["subject"] == "ana"
    assert refused(Raw(orjson.dumps(viewed))) == "schema: no rule of orders applies"
    assert refused(Raw(orjson.dumps(viewed | {"price": 9.5}))).startswith("schema: no rule")


def test_who_says_so_has_what_no_rule_asks_for_ignored() -> None:
    text = ORDERS.replace("topic: erp", "topic: erp\nunmatched: ignore\nempty: ignore")

    assert events(Raw(b"{}"), text) == []
    assert events(Raw(None), text) == []
    assert refused(Raw(None)) == "empty_value: the record has no value"


def test_without_an_id_topic_partition_and_offset_tell_events_apart() -> None:
    returned = [{"article": "a", "qty": 1, "price": 5}, {"article": "b", "qty": 2, "price": 7}]
    found = events(Raw(value(status="BACK", returned=returned)))

    assert [event["id"] for event in found] == ["erp/4/17/0", "erp/4/17/1"]
    assert [event["data"]["items"][0]["sku"] for event in found] == ["a", "b"]
    assert "time" not in found[0]  # The record's own time, which the forward topic keeps.


def test_of_a_list_with_one_bad_element_nothing_is_sent() -> None:
    returned = [{"article": "a", "qty": 1, "price": 5}, {"article": "b", "qty": -2, "price": 7}]

    told = refused(Raw(value(status="BACK", returned=returned)))

    assert told == "schema: data.items[0].quantity: must be at least 1"


def test_a_list_of_too_many_is_refused_whole() -> None:
    line = {"article": "a", "qty": 1, "price": 5}

    assert len(events(Raw(value(status="BACK", returned=[line] * EVENTS_MAX)))) == EVENTS_MAX
    told = refused(Raw(value(status="BACK", returned=[line] * (EVENTS_MAX + 1))))
    assert told == f"too_large: each: {EVENTS_MAX + 1} items, the limit is {EVENTS_MAX}"
    heavy = value(status="BACK", returned=[line] * EVENTS_MAX, note="x" * 50_000)
    assert refused(Raw(heavy)).startswith("too_large: each: 5")
    assert events(Raw(value(status="BACK", returned=[]))) == []
    assert refused(Raw(value(status="BACK", returned={}))) == "schema: each: is not a list"


def test_a_missing_value_names_its_field_unless_it_may_be_missing() -> None:
    whole = yaml.safe_load(ORDER)
    assert refused(Raw(value(amount={"currency": "EUR"}))) == (
        "schema: data.total: there is no gross"
    )
    assert refused(Raw(value(customer=None))) == "schema: subject: there is no number"
    assert events(Raw(value(amount={"gross": 5})))[0]["data"]["currency"] == "EUR"
    assert events(Raw(value(coupon="X")))[0]["data"]["coupon"] == "X"
    del whole["paid_at"]
    assert refused(Raw(orjson.dumps(whole))) == "schema: time: there is no paid_at"


def test_what_the_contract_refuses_is_refused_before_it_is_sent_anywhere() -> None:
    amount = {"gross": "much", "currency": "EUR"}

    assert refused(Raw(value(amount=amount))) == 'schema: data.total: must look like "129.00"'
    assert refused(Raw(value(paid_at="yesterday"))).startswith("schema: time: must look like")
    assert refused(Raw(value(customer={"number": ""}))) == "schema: subject: must not be empty"
    assert refused(Raw(value(customer={"number": True}))) == (
        "schema: subject: must be text or a whole number"
    )
    assert refused(Raw(value(customer={"number": "x" * 300}))).startswith("schema: subject: is lon")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"{", "invalid_json: "),
        (b"", "invalid_json: "),
        (b'{"a": NaN}', "invalid_json: "),
        (b'"\xff"', "invalid_json: the text is not UTF-8"),
        (b"[" * 100_000, "too_large: 100001 bytes"),
        (b"[" * 5_000, "invalid_json: nesting is over 64"),
        (b"[" * 65 + b"]" * 65, "invalid_json: nesting is over 64"),
        (b"[" + b"0," * VALUES_MAX + b"0]", "too_large: the record holds more than 20000 values"),
        (b"17", "schema: rule 1: when: "),
    ],
)
def test_bytes_that_say_nothing_have_a_reason(data: bytes, told: str) -> None:
    assert refused(Raw(data)).startswith(told)


def test_json_in_the_frame_of_a_registry_is_read_without_one() -> None:
    assert events(Raw(b"\0\0\0\0\x07" + value()))[0]["id"] == "A-1/paid"


DECIMALS = st.decimals(
    allow_nan=False, allow_infinity=False, places=4, min_value=0, max_value=10**9
)


@settings(deadline=None)
@given(DECIMALS)
def test_money_keeps_every_digit_as_it_was_written(amount: Any) -> None:
    """A number in JSON is decimal text in the event, also inside a list that CEL builds."""
    written = format(amount, "f")
    data = value(amount={"gross": 0}, lines=[{"article": "a", "qty": 1, "price": 0}])
    data = data.replace(b'"gross":0', f'"gross":{written}'.encode())
    data = data.replace(b'"price":0', f'"price":{written}'.encode())

    (event,) = events(Raw(data))

    assert event["data"]["total"] == written
    assert event["data"]["items"][0]["price"] == written


@pytest.mark.parametrize(
    "formula", ["double(record.value.amount)", "1.5", "double(record.value.n) * 1.0", "0.1 + 0.2"]
)
def test_money_in_floating_point_is_refused(formula: str) -> None:
    text = one_rule(data={"total": formula})
    record = Raw(b'{"who": "ana", "amount": 1.10, "n": 3.5}')

    assert refused(record, text).startswith("schema: data.total: is money in floating point")


def test_amounts_in_cents_become_decimal_text() -> None:
    text = one_rule(data={"total": "decimal(record.value.cents, 2)"})

    (event,) = events(Raw(b'{"who": "ana", "cents": 12900}'), text)
    assert event["data"]["total"] == "129.00"
    assert refused(Raw(b'{"who": "ana", "cents": 1.5}'), text).startswith("schema: data.total")


@given(st.integers(-(10**15), 10**15), st.integers(0, 6))
def test_scaling_loses_nothing(unscaled: int, digits: int) -> None:
    text = scaled(unscaled, digits)

    assert int(text.replace(".", "")) == unscaled
    assert len(text.partition(".")[2]) == digits


@pytest.mark.parametrize(
    ("unit", "written", "time"),
    [
        ("s", "1795341600", "2026-11-22T10:00:00.000Z"),
        ("s", "1795341600.25", "2026-11-22T10:00:00.250Z"),
        ("s", '"1795341600"', "2026-11-22T10:00:00.000Z"),
        ("ms", "1795341600001", "2026-11-22T10:00:00.001Z"),
        ("us", "1795341600001999", "2026-11-22T10:00:00.001Z"),
    ],
)
def test_instants_are_read_in_their_unit(unit: str, written: str, time: str) -> None:
    text = one_rule(time={"value": "record.value.at", "unit": unit})

    (event,) = events(Raw(f'{{"who": "ana", "at": {written}}}'.encode()), text)

    assert event["time"] == time


@pytest.mark.parametrize("written", ["-1", "1e99", '"soon"', "true", "[]", "null", "9" * 40])
def test_instants_that_are_none_are_refused(written: str) -> None:
    text = one_rule(time={"value": "record.value.at", "unit": "ms"})

    told = refused(Raw(f'{{"who": "ana", "at": {written}}}'.encode()), text)

    assert told.startswith("schema: time: ")


def test_everything_about_a_record_can_be_read() -> None:
    names = ("topic", "partition", "offset", "timestamp", "timestamp_type", "key")
    data = {name: f"record.{name}" for name in names} | {"origin": "record.headers.origin"}
    record = Raw(b'{"who": "ana"}', headers=(("origin", b"erp"), ("x", b"\xff"), ("n", None)))

    (event,) = events(record, one_rule(data=data))

    assert event["data"] == {
        "topic": "erp",
        "partition": 4,
        "offset": 17,
        "timestamp": NOW_MS,
        "timestamp_type": "LogAppendTime",
        "key": "k",
        "origin": "erp",
    }


def test_work_over_long_lists_is_bounded() -> None:
    data = {"n": "record.value.l.map(a, record.value.l.filter(b, b == a).size())"}
    text = one_rule(data=data)
    few = orjson.dumps({"who": "ana", "l": list(range(100))})
    many = orjson.dumps({"who": "ana", "l": list(range(400))})

    assert events(Raw(few), text)[0]["data"]["n"] == [1] * 100
    assert refused(Raw(many), text).startswith("too_large: data.n: lists of up to 400 are too")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["status", "amount", "lines", "x"]) | st.text(), inner)
    ),
    max_leaves=12,
)
FIELDS = ["status", "order_no", "customer", "paid_at", "amount", "lines", "returned"]
BROKEN = st.dictionaries(st.sampled_from(FIELDS), JSON).map(
    lambda changes: json.dumps(yaml.safe_load(ORDER) | changes).encode()
)
WHOLE = mapping()


@settings(max_examples=400, deadline=None)
@given(
    data=st.binary()
    | JSON.map(lambda one: json.dumps(one).encode())
    | BROKEN
    | st.text(string.printable).map(str.encode),
    key=st.none() | st.binary(),
    headers=st.lists(st.tuples(st.text(), st.none() | st.binary()), max_size=3),
    timestamp=st.integers(-(2**63), 2**63 - 1),
)
@example(data=b"\0\0\0\0\1", key=None, headers=[], timestamp=-1)
def test_any_bytes_give_events_or_a_reason_and_the_same_ones_again(
    data: bytes, key: bytes | None, headers: Any, timestamp: int
) -> None:
    record = Raw(data, key, tuple(headers), timestamp=timestamp)

    def outcome() -> Any:
        try:
            return WHOLE.events(PLACE, record)
        except EventRejected as rejected:
            return rejected.reason, rejected.detail

    first = outcome()

    assert first == outcome()
    assert isinstance(first, list) or first[0] in REASONS
    for event in first if isinstance(first, list) else ():
        read = decode_event(
            event.customer_id,
            event.value,
            event.headers,
            event_bytes_max=100_000,
            record_time_ms=timestamp,
        )
        assert read.subject.encode() == event.customer_id


def group(*records: Raw, text: str = ORDERS) -> OpenGroup:
    names = NAMES._replace(inputs={**NAMES.inputs, "erp": 5}, mapped=frozenset({"erp"}))
    rules = Rules(
        None,  # type: ignore[arg-type] - Nothing is decided on the way in.
        names,
        Limits(100_000, 100_000),
        lambda: 0.0,
        {"erp": mapping(text)},
    )
    opened = OpenGroup(rules)
    for record in records:
        opened.add_record(None, PLACE, record, now_ms=NOW_MS)
    return opened


def test_an_event_goes_home_with_where_its_record_stood_and_the_record_itself() -> None:
    headers = (("origin", b"erp"), ("fw_topic", b"forged"))
    record = Raw(value(), b"order", headers)

    ((target, (output,)),) = group(record).outputs.items()

    assert target == TopicPartition(NAMES.forward, home_partition(b"4711", PARTITIONS))
    assert output.key == b"4711"
    forward = read_forward(output.headers)
    assert forward is not None
    assert forward.origin == outputs.Position("erp", 4, 17, NOW_MS)
    refused = intake_of(target, output, now_ms=NOW_MS, forwarded=True)
    assert refused.written == Original(b"order", value(), list(headers))


def test_what_is_forwarded_again_still_knows_its_record() -> None:
    (((_, (output,))),) = group(Raw(value())).outputs.items()
    forward = read_forward(output.headers)
    assert forward is not None
    again = Forward(forward.origin, 2, forward.original)

    headers = forward_headers(output.headers, again)

    assert read_forward(headers) == again


def test_every_record_is_counted_once_in_what_became_of_it() -> None:
    line = {"article": "a", "qty": 1, "price": 5}
    text = ORDERS.replace("topic: erp", "topic: erp\nunmatched: ignore")
    opened = group(
        Raw(value()), Raw(b"{"), Raw(b"{}"), Raw(value(status="BACK", returned=[line] * 3)),
        text=text,
    )  # fmt: skip

    counts = {outcome: count for (_, outcome), count in opened.stats.events.items()}

    assert counts == {"forwarded": 2, "dead_letter": 1, "ignored": 1}
    assert opened.inputs == 4
    assert opened.stats.ignored_records == {("orders",): 1}
    assert sum(len(written) for written in opened.outputs.values()) == 1 + 1 + 3


def test_a_bad_record_is_a_dead_letter_with_all_that_it_came_with() -> None:
    headers = (("fw_topic", b"theirs"), ("origin", b"erp"))

    ((target, (output,)),) = group(Raw(b"{", b"order", headers)).outputs.items()

    assert target.topic == "dead-letters"
    assert (output.key, output.value) == (b"order", b"{")
    assert tuple(output.headers[:2]) == headers
