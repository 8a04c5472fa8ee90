"""How records of other teams' topics become events: `inputs.yaml`.

`catalog/inputs` reads it into these models, `protocol/inputs` does what they say before the core
sees anything. Field descriptions are the reference that authors get.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from orchestrator.core.expressions.formula import Formula
from orchestrator.core.language.scalars import EventType, Model, Text, listed

RULES_MAX: Final = 32
FIELDS_MAX: Final = 64
_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")


def parse_topic(value: object) -> str:
    """Check the name of a topic. Raises ValueError with what is allowed."""
    if isinstance(value, str) and _TOPIC.fullmatch(value):
        return value
    raise ValueError(f'{value!r:.60} is no name of a topic; write letters, digits, ".", "_", "-"')


RecordFormula = Annotated[
    Formula,
    BeforeValidator(Formula.parse),
    PlainSerializer(lambda formula: formula.source),
    WithJsonSchema(
        {
            "type": "string",
            "description": "A CEL expression.",
            "examples": ["record.value.order_no"],
        }
    ),
]
Field_ = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Topic = Annotated[
    str,
    BeforeValidator(parse_topic),
    WithJsonSchema({"type": "string", "pattern": f"^{_TOPIC.pattern}$"}),
]
Instead = Literal["dead_letter", "ignore"]


class Taken(Model):
    """A field of the event's data: where its value comes from."""

    value: RecordFormula
    """Expression over `record` (and `item`, `index` in a rule with `each`)."""
    default: str | int | bool | None = None
    """Used when the value is missing or null. Money is text: `"0.00"`."""
    optional: bool = False
    """Leave the field out when its value is missing or null. Otherwise the record is a dead
    letter."""

    @model_validator(mode="before")
    @classmethod
    def _from_expression(cls, value: object) -> object:
        return {"value": value} if isinstance(value, str | Formula) else value

    @model_validator(mode="after")
    def _one_way(self) -> Taken:
        if self.optional and self.default is not None:
            raise ValueError("default and optional are both set; say one of them")
        return self


class Instant(Model):
    """When the event happened: where it comes from, and how it is written there."""

    value: RecordFormula
    """Expression over `record`."""
    unit: Literal["rfc3339", "s", "ms", "us"] = "rfc3339"
    """`rfc3339` for text like `2026-11-22T10:00:00Z`; `s`, `ms` or `us` for a number of these since
    1970."""

    @model_validator(mode="before")
    @classmethod
    def _from_expression(cls, value: object) -> object:
        return {"value": value} if isinstance(value, str | Formula) else value


class Rule(Model):
    """One kind of record, and the event that it becomes."""

    when: RecordFormula | None = None
    """Condition over `record`. The first rule whose condition is true is taken; one over something
    that is not there is false. Default: always."""
    each: RecordFormula | None = None
    """A list in the record, of which every element becomes an event of its own: all of them or,
    when one is refused, none. The other expressions see it as `item`, and its place as `index`."""
    type: EventType
    """The event's type, by the contract or declared in `shop.yaml` under `events`."""
    subject: RecordFormula
    """The customer id: text, or a whole number, which becomes text."""
    id: RecordFormula | None = None
    """What identifies the event, so that a repeat is known again. Default: topic, partition and
    offset, so that a producer's repeat is a new event."""
    time: Instant | None = None
    """When it happened. Default: when the record was stamped."""
    backfill: RecordFormula | None = None
    """Condition: whether it is history, which fills profiles and triggers nothing."""
    data: Mapping[Field_, Taken] = Field(default_factory=dict, max_length=FIELDS_MAX)
    """The event's data; a bare expression is short for `{value: …}`."""


class Sample(Model):
    """A record to try the rules on."""

    value: Any = None
    """What the topic holds: text is the JSON as it stands there, a mapping is read already."""
    key: Any = None
    """The record's key, read already."""
    headers: Mapping[str, str] = Field(default_factory=dict)
    """Its headers."""
    partition: int = Field(default=0, ge=0)
    """Where it stands."""
    offset: int = Field(default=0, ge=0)
    """Where it stands in there."""
    timestamp: int = Field(default=1_795_341_600_000, ge=0)
    """When it was stamped, in epoch milliseconds. Default: 2026-11-22T10:00:00Z."""


class Expected(Model):
    """An event as an example expects it. What is not written may be anything; `data` is whole."""

    type: EventType
    """Its type."""
    subject: Text | None = None
    """Its customer."""
    id: Text | None = None
    """Its id."""
    source: Text | None = None
    """Its source."""
    time: Text | None = None
    """When it happened, as the event says it."""
    backfill: bool | None = None
    """Whether it is history."""
    data: Mapping[str, Any] | None = None
    """All of its data."""


class Example(Model):
    """A record and what has to become of it; `orchestrator check` tries it."""

    says: Text
    """What it shows, in a sentence."""
    record: Sample
    """The record."""
    gives: Annotated[tuple[Expected, ...], BeforeValidator(listed)] = ()
    """The event, or the list of events, that it becomes."""
    refused: Text | None = None
    """The reason for which it becomes a dead letter: `schema`, `invalid_json`, `empty_value` …"""
    ignored: bool = False
    """It is left alone."""

    @model_validator(mode="after")
    def _one_end(self) -> Example:
        if (bool(self.gives) + (self.refused is not None) + self.ignored) != 1:
            raise ValueError("say what becomes of the record: gives, refused or ignored")
        return self


class Input(Model):
    """A topic of somebody else's, and how its records become events."""

    topic: Topic
    """Its full name; no prefix is put before it. It is read, never created or written."""
    format: Literal["json", "avro", "protobuf"] = "json"
    """How values are written. `avro` and `protobuf` want a schema registry and the extra
    `registry`; JSON with a registry's frame around it is read as well."""
    key: Literal["text", "json", "avro", "protobuf"] = "text"
    """How keys are written. A key of `text` that is not UTF-8 is null."""
    source: Text | None = None
    """The events' source. Default: `/inputs/` and the name of the input."""
    unmatched: Instead = "dead_letter"
    """What becomes of a record to which no rule applies; `ignore` only counts it."""
    empty: Instead = "dead_letter"
    """What becomes of a record without a value, as deletions in compacted topics are."""
    compacted: bool = False
    """The broker may keep only the newest record of each key, and that is enough. Otherwise a
    compacted topic is refused: of a customer's events it would keep the last."""
    rules: tuple[Rule, ...] = Field(min_length=1, max_length=RULES_MAX)
    """The first whose `when` is true is taken."""
    examples: tuple[Example, ...] = Field(default=(), max_length=100)
    """Records and what has to become of them."""

    @property
    def formats(self) -> frozenset[str]:
        """How its values and keys are written."""
        return frozenset({self.format, self.key})

    @property
    def wants_registry(self) -> bool:
        """Whether a schema registry has to say what its records mean."""
        return not self.formats.isdisjoint({"avro", "protobuf"})
