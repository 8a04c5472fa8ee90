"""From a Kafka record to an event, or to the reason why it becomes a dead letter.

The worker calls `decode_event` for every record it consumes; `core/decide` takes the result. It is
total: for any bytes it returns an `Event` or raises `EventRejected`, by the contract's table.
Structured CloudEvents and binary ones (`ce_*` headers) are read. What is written stands in
`protocol/outputs` and is offered here too; what the data of each type must hold stands in
`protocol/payloads`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final

import orjson

from orchestrator.core.event import BODY_BYTES, IDENTITY_BYTES, Event
from orchestrator.errors import EventRejected
from orchestrator.protocol.outputs import (
    LAST_MS,
    command_headers,
    dead_letter_headers,
    encode_command,
    encode_fence,
    encode_log,
)
from orchestrator.protocol.payloads import data_fault

__all__ = [
    "REASONS",
    "command_headers",
    "dead_letter_headers",
    "decode_event",
    "encode_command",
    "encode_fence",
    "encode_log",
]

INVALID_JSON: Final = "invalid_json"
TOO_LARGE: Final = "too_large"
SCHEMA: Final = "schema"
EMPTY_VALUE: Final = "empty_value"
KEY_SUBJECT_MISMATCH: Final = "key_subject_mismatch"
ID_REUSED: Final = "id_reused"
PARTITIONER_MISMATCH: Final = "partitioner_mismatch"
TOO_MANY_HOPS: Final = "too_many_hops"
STATE_TOO_LARGE: Final = "state_too_large"
# The closed list of the contract, in its order; also the metric's label values.
REASONS: Final = (
    INVALID_JSON,
    TOO_LARGE,
    SCHEMA,
    EMPTY_VALUE,
    KEY_SUBJECT_MISMATCH,
    ID_REUSED,
    PARTITIONER_MISMATCH,
    TOO_MANY_HOPS,
    STATE_TOO_LARGE,
)

NESTING_MAX: Final = 64
CUSTOMER_ID_BYTES_MAX: Final = 256

Headers = Sequence[tuple[str, bytes | None]]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
# `datetime.fromisoformat` reads much more than RFC 3339 (dates without a time, weeks, no zone).
_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_NO_HEADERS: Final[Mapping[str, bytes | None]] = {}
_TYPE_WORDS: Final = {dict: "an object", list: "a list", bool: "true or false"}


def decode_event(
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    *,
    event_bytes_max: int,
    forwarded: bool = False,
    record_time_ms: int | None = None,
) -> Event:
    """Return the event that a record holds. Raises EventRejected, and nothing else.

    CloudEvents makes `time` optional: an event without it happened when its record was stamped,
    which is `record_time_ms`. `forwarded` says that the record came from the forward topic.
    """
    if value is None:
        raise EventRejected(EMPTY_VALUE, "the record has no value")
    if len(value) > event_bytes_max:
        raise EventRejected(TOO_LARGE, f"{len(value)} bytes, the limit is {event_bytes_max}")
    marks = {name.lower(): mark for name, mark in headers} if headers else _NO_HEADERS
    document = _parse(value)
    attributes = _attributes(document, marks)

    if attributes.get("specversion") != "1.0":
        raise _wrong("specversion", attributes.get("specversion"), 'must be "1.0"')
    event_id = _text(attributes, "id")
    source = _text(attributes, "source")
    event_type = _text(attributes, "type")
    subject = _text(attributes, "subject")
    customer = subject.encode()
    if len(customer) > CUSTOMER_ID_BYTES_MAX:
        raise EventRejected(SCHEMA, f"subject: is longer than {CUSTOMER_ID_BYTES_MAX} bytes")
    if "\0" in source:
        # It separates source and id in the identity.
        raise EventRejected(SCHEMA, "source: holds a NUL character")
    time_ms = _time_ms(attributes.get("time"), record_time_ms)
    data = _data(attributes)
    if fault := data_fault(event_type, data):
        raise EventRejected(SCHEMA, fault)
    backfill = _backfill(attributes.get("backfill"), marks)
    if key is not None and key != customer and not forwarded:
        raise EventRejected(KEY_SUBJECT_MISMATCH, "the record's key is not the event's subject")

    body = orjson.dumps([event_type, subject, data], option=orjson.OPT_SORT_KEYS)
    return Event(
        source=source,
        id=event_id,
        type=event_type,
        subject=subject,
        time_ms=time_ms,
        data=data,
        identity=blake2b(f"{source}\0{event_id}".encode(), digest_size=IDENTITY_BYTES).digest(),
        body=blake2b(body, digest_size=BODY_BYTES).digest(),
        backfill=backfill,
        traceparent=_traceparent(attributes, marks),
    )


def _parse(value: bytes) -> Any:
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        # The parser's position helps the producer; the error object also carries the document.
        detail = f"{error.msg}: line {error.lineno} column {error.colno}"
        raise EventRejected(INVALID_JSON, detail) from None
    # Counting brackets is far cheaper than walking, and nearly every event has only a few.
    if value.count(b"{") + value.count(b"[") > NESTING_MAX and too_deep(document):
        raise EventRejected(INVALID_JSON, f"nesting is over {NESTING_MAX}")
    return document


def too_deep(document: Any) -> bool:
    """Whether objects and lists stand deeper than allowed; level by level, never recursive."""
    level = [document] if isinstance(document, dict | list) else []
    for _ in range(NESTING_MAX):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return True


def _inside(outer: dict[str, Any] | list[Any]) -> Iterable[Any]:
    inner = outer.values() if isinstance(outer, dict) else outer
    return [value for value in inner if isinstance(value, dict | list)]


def _attributes(document: Any, marks: Mapping[str, bytes | None]) -> dict[str, Any]:
    """Return the CloudEvents attributes, with `data`, of a structured or binary record.

    Structured records may carry copies of attributes as `ce_*` headers, so the content type decides
    first, and only `ce_specversion` makes a record binary.
    """
    if marks:
        content_type = (marks.get("content-type") or b"").strip().lower()
        if content_type.startswith(b"application/cloudevents-batch"):
            raise EventRejected(SCHEMA, "content-type: batches are not read, send single events")
        structured = content_type.startswith(b"application/cloudevents")
        if not structured and "ce_specversion" in marks:
            attributes: dict[str, Any] = {
                name[3:]: _header_text(name, mark)
                for name, mark in marks.items()
                if name.startswith("ce_") and mark is not None
            }
            attributes["data"] = document
            return attributes
    if not isinstance(document, dict):
        raise EventRejected(SCHEMA, "the value is not a CloudEvents object")
    return document


def _header_text(name: str, mark: bytes) -> str:
    try:
        return mark.decode()
    except UnicodeDecodeError:
        raise EventRejected(SCHEMA, f"{name[3:]}: the header is not UTF-8") from None


def _text(attributes: dict[str, Any], name: str) -> str:
    value = attributes.get(name)
    if type(value) is str and value:
        return value
    raise _wrong(name, value, "must be text")


def _wrong(name: str, value: Any, rule: str) -> EventRejected:
    """Return the refusal of an attribute, without quoting its value: details are read by many."""
    if value is None:
        rule = "is missing"
    elif value == "":
        rule = "must not be empty"
    return EventRejected(SCHEMA, f"{name}: {rule}")


def _time_ms(value: Any, record_time_ms: int | None) -> int:
    if value is None:
        # Kafka stamps -1 when a producer of an old format gave no time, and takes any other number.
        if record_time_ms is None or not 0 <= record_time_ms <= LAST_MS:
            raise EventRejected(SCHEMA, "time: is missing")
        return record_time_ms
    if type(value) is not str or _RFC3339.fullmatch(value) is None:
        raise _wrong("time", value, 'must look like "2026-11-22T10:00:00Z"')
    try:
        moment = datetime.fromisoformat(value.upper())
    except ValueError:
        raise EventRejected(SCHEMA, "time: is not a date and time that exists") from None
    time_ms = (moment - _EPOCH) // _MILLISECOND
    if time_ms < 0:
        # State keeps times in six unsigned bytes; no touchpoint is older than the web.
        raise EventRejected(SCHEMA, "time: is before 1970")
    return time_ms


def _data(attributes: dict[str, Any]) -> dict[str, Any]:
    data = attributes.get("data")
    if type(data) is dict:
        return data
    if data is not None:
        raise EventRejected(
            SCHEMA, f"data: must be an object, not {_TYPE_WORDS.get(type(data), 'a single value')}"
        )
    if attributes.get("data_base64") is not None:
        raise EventRejected(SCHEMA, "data_base64: is not read, send data as JSON")
    return {}


def _backfill(attribute: Any, marks: Mapping[str, bytes | None]) -> bool:
    """Whether the event is history; a spelling that is neither must not trigger journeys."""
    mark = marks.get("backfill")
    value = attribute if mark is None else mark.decode("ascii", "replace")
    if value is None or value is False:
        return False
    if value is True:
        return True
    match value.lower() if isinstance(value, str) else value:
        case "true":
            return True
        case "false":
            return False
    raise EventRejected(SCHEMA, "backfill: must be true or false")


def _traceparent(attributes: dict[str, Any], marks: Mapping[str, bytes | None]) -> str | None:
    """Return the W3C trace context; a malformed one is ignored, as that standard asks."""
    mark = marks.get("traceparent")
    value = attributes.get("traceparent") if mark is None else mark.decode("ascii", "replace")
    if isinstance(value, str) and _TRACEPARENT.fullmatch(value):
        return value
    return None
