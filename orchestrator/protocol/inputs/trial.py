"""What is wrong with inputs that only shows when their rules are tried.

`orchestrator check` and `publish` call it after the catalog has found nothing: it holds the data
that a rule makes against what the contract asks of the type, and plays the examples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from orchestrator.catalog.findings import Finding, instead, quoted, shortened
from orchestrator.catalog.vocabulary import EXAMPLES, known
from orchestrator.errors import EventRejected
from orchestrator.protocol.codec import REASONS
from orchestrator.protocol.commit.transaction import TopicPartition
from orchestrator.protocol.inputs.mapping import TIMESTAMP_TYPES, Mapping
from orchestrator.protocol.inputs.schemas import Schemas
from orchestrator.protocol.inputs.values import Fraction, Size, plain
from orchestrator.protocol.payloads import data_fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.catalog.inputs import InputFile
    from orchestrator.core.language.inputs import Example, Expected, Input, Sample
    from orchestrator.protocol.inputs.mapping import MappedEvent

EVENT_BYTES_MAX: Final = 1_000_000
# What the vocabulary leaves to the producer, in a form that every type takes.
_STAND_INS: Final[dict[str, Any]] = {"attributes": {"a": 1}, "utm": {"a": "1"}, "proof": "form"}


class TrialRecord(NamedTuple):
    """A record that stands on no topic."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_type: int = 0


def trial_findings(file: InputFile) -> Iterator[Finding]:
    """Yield what shows when the rules are tried."""
    for name, one in file.inputs.items():
        for number, rule in enumerate(one.rules):
            fault = _lack(rule.type, frozenset(rule.data))
            if fault is not None:
                message = f"{name}: rule {number + 1}: {rule.type}: {fault}"
                yield file.finding(message, name, "rules", number, "data")
        for number, example in enumerate(one.examples):
            for message in _example_faults(name, one, example):
                said = f"{name}: example {quoted(example.says)}: {message}"
                yield file.finding(said, name, "examples", number)


class Fate(NamedTuple):
    """What becomes of a record, in lines for people."""

    lines: tuple[str, ...]
    refused: bool = False


def told(name: str, declared: Input, record: TrialRecord) -> Fate:
    """Return what becomes of one record of an input in JSON."""
    mapping = Mapping(name, declared, Schemas(), EVENT_BYTES_MAX)
    try:
        events = mapping.events(TopicPartition(declared.topic, 0), record)
    except EventRejected as rejected:
        return Fate((f"dead letter: {rejected.reason}: {rejected.detail}",), refused=True)
    shown = (orjson.dumps(orjson.loads(one.value), option=orjson.OPT_INDENT_2) for one in events)
    return Fate(tuple(one.decode() for one in shown) or ("ignored: nothing becomes of it",))


def _lack(event_type: str, fields: frozenset[str]) -> str | None:
    """Return which data the contract asks for and a rule does not give."""
    example = EXAMPLES.get(event_type)
    if example is None:
        return None
    whole = {name: _STAND_INS.get(name, value) for name, value in known(dict(example)).items()}
    whole |= {name: _STAND_INS[name] for name in example.keys() & _STAND_INS.keys()}
    fault = data_fault(event_type, {k: v for k, v in whole.items() if k in fields})
    return fault if fault is not None and fault.endswith("is missing") else None


def _example_faults(name: str, declared: Input, example: Example) -> Iterator[str]:
    if example.refused is not None and example.refused not in REASONS:
        yield f"refused: there is no reason {quoted(example.refused)}" + instead(
            example.refused, REASONS
        )
        return
    try:
        events = _events(name, declared, example.record)
    except EventRejected as rejected:
        if example.refused != rejected.reason:
            yield f"becomes a dead letter, {rejected.reason}: {rejected.detail}"
        return
    if example.refused is not None:
        yield f"is not refused; it becomes {_what(events)}"
        return
    if example.ignored or len(events) != len(example.gives):
        if events or not example.ignored:
            yield f"becomes {_what(events)}"
        return
    for event, expected in zip(events, example.gives, strict=True):
        yield from _differences(orjson.loads(event.value), expected)


def _events(name: str, declared: Input, sample: Sample) -> list[MappedEvent]:
    mapping = Mapping(name, declared, Schemas(), EVENT_BYTES_MAX)
    headers = tuple((header, text.encode()) for header, text in sample.headers.items())
    key = sample.key.encode() if isinstance(sample.key, str) else None
    value = sample.value
    data = value.encode() if isinstance(value, str) else None
    record = TrialRecord(sample.offset, sample.timestamp, key, data, headers)
    if value is None or (data is not None and declared.format == "json"):
        return mapping.events(TopicPartition(declared.topic, sample.partition), record)
    size = Size()
    seen = {
        "value": plain(_typed(value), size),
        "key": plain(_typed(sample.key), size),
        "headers": dict(sample.headers),
        "topic": declared.topic,
        "partition": sample.partition,
        "offset": sample.offset,
        "timestamp": sample.timestamp,
        "timestamp_type": TIMESTAMP_TYPES[0],
    }
    return mapping.mapped(seen, size, record)


def _typed(value: Any) -> Any:
    """Return a value as YAML had it; a number with a fraction is what JSON would make of it."""
    match value:
        case float():
            return Fraction.of(repr(value))
        case dict():
            return {name: _typed(one) for name, one in value.items()}
        case list():
            return [_typed(one) for one in value]
        case _:
            return value


def _what(events: list[MappedEvent]) -> str:
    if not events:
        return "nothing: no rule applies, or its list is empty"
    types = [str(orjson.loads(event.value)["type"]) for event in events]
    return f"{len(events)} event{'' if len(events) == 1 else 's'}: {', '.join(types)}"


def _differences(event: dict[str, Any], expected: Expected) -> Iterator[str]:
    wanted = expected.model_dump(mode="json", exclude_none=True, exclude={"data"})
    for word, value in wanted.items():
        given = event.get(word, False if word == "backfill" else None)
        if given != value:
            yield f"{word}: is {_shown(given)}, not {_shown(value)}"
    if expected.data is None:
        return
    for field in sorted({*event["data"], *expected.data}):
        given, value = event["data"].get(field), expected.data.get(field)
        if given != value:
            yield f"data.{field}: is {_shown(given)}, not {_shown(value)}"


def _shown(value: Any) -> str:
    return "not there" if value is None else shortened(orjson.dumps(value).decode())
