"""One record of another team's topic → the events that the rules of `inputs.yaml` make of it.

The group commit calls `Mapping.events` for every record of a mapped topic, and sends what comes of
it home on the forward topic. It is total: events, none, or the `EventRejected` that makes the
record a dead letter; and pure: the same record and schemas give the same bytes. All events of a
record are whole before the first is sent.
"""

from __future__ import annotations

import math
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import cel
import orjson

from orchestrator.core.expressions.comparison import MONEY_FIELDS
from orchestrator.core.expressions.formula import DECIMAL, ELEMENT, RECORD, Formula
from orchestrator.errors import EventRejected
from orchestrator.protocol import codec, outputs
from orchestrator.protocol.codec import EMPTY_VALUE, SCHEMA, TOO_LARGE
from orchestrator.protocol.inputs.schemas import Schemas, UnknownSchema
from orchestrator.protocol.inputs.values import Size, look_up, numbers, read_value, scaled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from collections.abc import Mapping as MappingOf

    from orchestrator.core.language.inputs import Input, Instant, Rule, Taken
    from orchestrator.protocol.commit.transaction import SourceRecord, TopicPartition

EVENTS_MAX: Final = 100
# Every event carries its record, and all of a record's go in one transaction.
CARRIED_BYTES_MAX: Final = 4 * 1024 * 1024
# Steps through lists, and values handed to CEL, for all expressions of one record; a step takes
# one to two microseconds.
STEPS_MAX: Final = 100_000
TIMESTAMP_TYPES: Final = {0: "CreateTime", 1: "LogAppendTime"}
_UNITS_MS: Final = {"s": Decimal(1000), "ms": Decimal(1), "us": Decimal("0.001")}
_EPOCH_CHARACTERS_MAX: Final = 32
_TRACE: Final = "traceparent"


class MappedEvent(NamedTuple):
    """An event as it goes home: the customer's id, the structured CloudEvent, its headers."""

    customer_id: bytes
    value: bytes
    headers: outputs.WrittenHeaders


class _Missing(Exception):
    """An expression names something that the record has not."""


class Mapping:
    """The rules of one input, for every record of its topic."""

    def __init__(self, name: str, declared: Input, schemas: Schemas, event_bytes_max: int) -> None:
        self.name: Final = name
        self.declared: Final = declared
        self._schemas: Final = schemas
        self._event_bytes_max: Final = event_bytes_max
        self._source: Final = declared.source or f"/inputs/{name}"
        self._framed: Final = not declared.formats.isdisjoint({"avro", "protobuf"})

    def missing_schemas(self, records: Iterable[SourceRecord]) -> set[int]:
        """Return the ids of the schemas that have to be fetched before these are mapped."""
        if not self._framed:
            return set()
        wanted = {
            self._schemas.missing(data)
            for record in records
            for data, form in (
                (record.value, self.declared.format),
                (record.key, self.declared.key),
            )
            if form in {"avro", "protobuf"}
        }
        return {one for one in wanted if one is not None}

    def events(self, source: TopicPartition, record: SourceRecord) -> list[MappedEvent]:
        """Return the events of a record; none when it is to be ignored. Raises EventRejected."""
        if record.value is None:
            if self.declared.empty == "ignore":
                return []
            raise EventRejected(EMPTY_VALUE, "the record has no value")
        length = len(record.value) + len(record.key or b"")
        if length > self._event_bytes_max:
            raise EventRejected(TOO_LARGE, f"{length} bytes, the limit is {self._event_bytes_max}")
        try:
            seen, size = self._seen(source, record)
        except UnknownSchema as unknown:
            # The runtime fetches what `missing_schemas` names before a record comes here.
            why = f"the registry's schema {unknown.schema_id} was not fetched"
            raise EventRejected(SCHEMA, why) from None
        return self.mapped(seen, size, record)

    def mapped(self, seen: dict[str, Any], size: Size, record: SourceRecord) -> list[MappedEvent]:
        """Return the events of a record that is read already. Raises EventRejected."""
        view = _View(seen, size)
        for number, rule in enumerate(self.declared.rules, 1):
            if view.holds(rule.when, f"rule {number}: when"):
                return list(self._told(rule, view, record))
        if self.declared.unmatched == "ignore":
            return []
        raise EventRejected(SCHEMA, f"no rule of {self.name} applies")

    def _seen(self, source: TopicPartition, record: SourceRecord) -> tuple[dict[str, Any], Size]:
        """Return what expressions call `record`."""
        size, declared = Size(), self.declared
        assert record.value is not None
        value = read_value(record.value, declared.format, self._schemas, size)
        key = record.key
        return {
            "value": value,
            "key": None if key is None else read_value(key, declared.key, self._schemas, size),
            "headers": _texts(record.headers),
            "topic": source.topic,
            "partition": source.partition,
            "offset": record.offset,
            "timestamp": record.timestamp,
            "timestamp_type": TIMESTAMP_TYPES.get(record.timestamp_type, "CreateTime"),
        }, size

    def _told(self, rule: Rule, view: _View, record: SourceRecord) -> Iterator[MappedEvent]:
        if rule.each is None:
            yield self._event(rule, view, record, "")
            return
        items = view.required(rule.each, "each")
        if not isinstance(items, list):
            raise EventRejected(SCHEMA, "each: is not a list")
        if len(items) > EVENTS_MAX:
            raise EventRejected(TOO_LARGE, f"each: {len(items)} items, the limit is {EVENTS_MAX}")
        carried_bytes = len(items) * len(record.value or b"")
        if carried_bytes > CARRIED_BYTES_MAX:
            why = f"each: {carried_bytes} bytes, as each of {len(items)} events carries the record"
            raise EventRejected(TOO_LARGE, f"{why}; the limit is {CARRIED_BYTES_MAX}")
        for index, item in enumerate(items):
            view.turn_to(item, index)
            yield self._event(rule, view, record, f"/{index}")

    def _event(self, rule: Rule, view: _View, record: SourceRecord, part: str) -> MappedEvent:
        seen = view.record
        if rule.id is None:
            event_id = f"{seen['topic']}/{seen['partition']}/{seen['offset']}{part}"
        else:
            event_id = _identifier(view.required(rule.id, "id"), "id")
        document: dict[str, Any] = {
            "specversion": "1.0",
            "id": event_id,
            "source": self._source,
            "type": rule.type,
            "subject": _identifier(view.required(rule.subject, "subject"), "subject"),
            "data": dict(_data(rule.data, view)),
        }
        if rule.time is not None:
            document["time"] = _instant(rule.time, view)
        if rule.backfill is not None and view.holds(rule.backfill, "backfill"):
            document["backfill"] = True
        value = _encoded(document)
        trace = seen["headers"].get(_TRACE)
        # What is sent home must be readable there: the same decoder says so here.
        event = codec.decode_event(
            None,
            value,
            () if trace is None else ((_TRACE, trace.encode()),),
            event_bytes_max=self._event_bytes_max,
            record_time_ms=record.timestamp,
        )
        headers = outputs.event_headers(event.id, event.type, event.traceparent)
        return MappedEvent(event.subject.encode(), value, headers)


def mappings(
    inputs: MappingOf[str, Input], schemas: Schemas, *, event_bytes_max: int
) -> dict[str, Mapping]:
    """Return the mapping of each topic."""
    return {one.topic: Mapping(name, one, schemas, event_bytes_max) for name, one in inputs.items()}


class _View:
    """One record as expressions see it: exact for values, with floats for conditions.

    Handing a value to CEL costs more than most expressions, so a context holds no root that is not
    asked for, and that of the record alone serves all elements of a list.
    """

    __slots__ = ("_contexts", "_element", "_size", "_steps", "record")

    def __init__(self, record: dict[str, Any], size: Size) -> None:
        self.record = record
        self._size = size
        self._element: dict[str, Any] = {}
        self._contexts: dict[tuple[bool, bool, bool], cel.Context] = {}
        self._steps = 0

    def turn_to(self, item: Any, index: int) -> None:
        """Let expressions see one element of a list."""
        self._element = {"item": item, "index": index}
        self._contexts = {kind: one for kind, one in self._contexts.items() if not kind[1]}

    def holds(self, condition: Formula | None, place: str) -> bool:
        """Whether a condition is true; none is true, one over a missing value is false."""
        if condition is None:
            return True
        try:
            value = self._evaluated(condition, place, compares=True)
        except _Missing:
            return False
        if value is True or value is False:
            return bool(value)
        raise EventRejected(SCHEMA, f"{place}: is neither true nor false")

    def required(self, formula: Formula, place: str) -> Any:
        """Return a value that has to be there. Raises EventRejected, naming the place."""
        try:
            value = self.value(formula, place)
        except _Missing as missing:
            raise EventRejected(SCHEMA, f"{place}: {missing}") from None
        if value is None:
            raise EventRejected(SCHEMA, f"{place}: is null")
        return value

    def value(self, formula: Formula, place: str) -> Any:
        """Return an expression's value. Raises _Missing, or EventRejected naming the place."""
        if formula.path is None:
            return self._evaluated(formula, place, compares=False)
        try:
            return look_up({RECORD: self.record} | self._element, formula.path)
        except KeyError as error:
            raise _Missing(_no(error)) from None

    def _evaluated(self, formula: Formula, place: str, *, compares: bool) -> Any:
        self._count(_steps(self._size.longest, formula.loops), place)
        context = self._context(formula, place, compares=compares and self._size.fractions)
        try:
            return formula.evaluate(context)
        except (KeyError, IndexError) as error:
            raise _Missing(_no(error)) from None
        except Exception as error:  # noqa: BLE001 - The binding raises many types; all are data's.
            # Its sentences quote names and types of CEL, never a value of the record.
            reason = str(error).split(". ", 1)[0] if isinstance(error, TypeError) else "fails"
            raise EventRejected(SCHEMA, f"{place}: {reason[:200]}") from None

    def _count(self, steps: int, place: str) -> None:
        """Refuse a record on which the expressions would work for too long."""
        self._steps += steps
        if self._steps > STEPS_MAX:
            longest = self._size.longest
            why = f"{place}: lists of up to {longest} are too much work for the expressions"
            raise EventRejected(TOO_LARGE, why)

    def _context(self, formula: Formula, place: str, *, compares: bool) -> cel.Context:
        """Return a context with the roots that an expression reads."""
        whole, element = RECORD in formula.roots, not formula.roots.isdisjoint(ELEMENT)
        kind = (whole, element, compares)
        context = self._contexts.get(kind)
        if context is None:
            self._count(self._size.values if whole else 1, place)
            seen = ({RECORD: self.record} if whole else {}) | (self._element if element else {})
            context = cel.Context(numbers(seen) if compares else seen)
            context.add_function(DECIMAL, scaled)
            self._contexts[kind] = context
        return context


def _steps(longest: int, loops: int) -> int:
    """Return how much work an expression may be; `map` and `filter` copy their list at each step.

    Measured: 1,000 elements take 30 ms, 19,000 take 50 s.
    """
    return 1 if not loops else longest**loops + longest**2 // 8


def _no(error: Exception) -> str:
    name = str(error).strip("'\"")
    return f"there is no {name[:64]}"


def _data(fields: MappingOf[str, Taken], view: _View) -> Iterator[tuple[str, Any]]:
    for name, taken in fields.items():
        place = f"data.{name}"
        try:
            value = view.value(taken.value, place)
            why = "is null"
        except _Missing as missing:
            value, why = None, str(missing)
        if value is None:
            if taken.optional:
                continue
            value = taken.default
        if value is None:
            raise EventRejected(SCHEMA, f"{place}: {why}")
        yield name, _written(value, name, place)


def _written(value: Any, name: str, place: str, depth: int = 0) -> Any:
    """Return what an expression gave as JSON; money that came through a float is refused."""
    match value:
        case bool() | int() | None:
            return value
        case str():
            return str(value)
        case float():
            if name in MONEY_FIELDS:
                why = "is money in floating point; take it as it is, or write decimal(cents, 2)"
                raise EventRejected(SCHEMA, f"{place}: {why}")
            if not math.isfinite(value):
                raise EventRejected(SCHEMA, f"{place}: is no number that JSON has")
            return value
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case dict() if depth < codec.NESTING_MAX:
            return {
                str(key): _written(one, str(key), f"{place}.{key}", depth + 1)
                for key, one in value.items()
            }
        case list() | tuple() if depth < codec.NESTING_MAX:
            return [
                _written(one, name, f"{place}[{number}]", depth + 1)
                for number, one in enumerate(value)
            ]
        case _:
            raise EventRejected(SCHEMA, f"{place}: is nothing that JSON has")


def _identifier(value: Any, place: str) -> str:
    if isinstance(value, str):
        return str(value)
    if type(value) is int:
        return str(value)
    raise EventRejected(SCHEMA, f"{place}: must be text or a whole number")


def _instant(time: Instant, view: _View) -> str:
    """Return when it happened, as RFC 3339; the decoder judges text that came as such."""
    value = view.required(time.value, "time")
    if time.unit == "rfc3339":
        if not isinstance(value, str):
            raise EventRejected(SCHEMA, "time: is no text; say its unit, s, ms or us")
        return str(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise EventRejected(SCHEMA, f"time: is no number of {time.unit} since 1970")
    text = str(value)
    try:
        if len(text) > _EPOCH_CHARACTERS_MAX:
            raise InvalidOperation  # noqa: TRY301 - It is none, however many digits it has.
        time_ms = Decimal(text) * _UNITS_MS[time.unit]
    except InvalidOperation:
        raise EventRejected(SCHEMA, f"time: is no number of {time.unit} since 1970") from None
    if not time_ms.is_finite() or not 0 <= time_ms <= outputs.LAST_MS:
        raise EventRejected(SCHEMA, f"time: is not between 1970 and 9999 in {time.unit}")
    return outputs.rfc3339(int(time_ms))


def _texts(headers: Sequence[tuple[str, bytes | None]]) -> dict[str, str]:
    """Return the headers that are text, by name; of several the last one."""
    texts = {}
    for name, value in headers:
        try:
            texts[name] = (value or b"").decode()
        except UnicodeDecodeError:
            continue
    return texts


def _encoded(document: dict[str, Any]) -> bytes:
    try:
        # CEL hands maps out in any order; the same record has to give the same bytes.
        return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise EventRejected(SCHEMA, "data: cannot be written as JSON") from error
