"""The journey language: frozen models of what authors write, and the index that `decide` uses.

`catalog` reads YAML into these models and is the only writer; the core only reads them. Field
descriptions are the reference that authors get. Durations are milliseconds inside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from orchestrator.core.command import CommandClass
from orchestrator.core.condition import Expression

_DURATION_UNITS_MS: Final = {
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}
_DURATION = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
_ISO_DURATION = re.compile(
    r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", re.ASCII
)
_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
DURATION_MS_MAX: Final = 10 * 366 * 86_400_000
# A page of steps; also the bound on the steps of one decision (`rules/advance`).
STEPS_MAX: Final = 64
NAME_PATTERN: Final = r"^[a-z][a-z0-9_]{0,63}$"


def parse_duration(value: object) -> int:
    """Turn `3d`, `1h30m` or `PT2H` into milliseconds. Raises ValueError with what is allowed."""
    match = None
    if isinstance(value, str):
        match = _DURATION.fullmatch(value) or _ISO_DURATION.fullmatch(value)
    if match is None or not any(match.groups()):
        raise ValueError(f"{value!r} is not a duration; write 30m, 12h, 3d, 2w, 1d12h or PT2H")
    milliseconds = sum(
        int(count or 0) * _DURATION_UNITS_MS[unit]
        for count, unit in zip(match.groups(), ("w", "d", "h", "m", "s"), strict=True)
    )
    if milliseconds > DURATION_MS_MAX:
        raise ValueError(f"{value!r} is longer than ten years")
    return milliseconds


Duration = Annotated[
    int,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "examples": ["30m", "12h", "3d", "2w", "PT2H"]}),
]
Condition = Annotated[
    Expression,
    BeforeValidator(Expression.parse),
    PlainSerializer(lambda expression: expression.source),
    WithJsonSchema({"type": "string", "description": "A CEL expression."}),
]


def parse_time_of_day(value: object) -> int:
    """Turn `09:00` into the minute of the day. Raises ValueError with what is allowed."""
    match = _TIME_OF_DAY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'{value!r} is not a time of day; write one like "09:00" or "17:30"')
    return int(match[1]) * 60 + int(match[2])


TimeOfDay = Annotated[
    int,
    BeforeValidator(parse_time_of_day),
    WithJsonSchema({"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"}),
]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
EVENT_TYPE_PATTERN: Final = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$"
EventType = Annotated[str, StringConstraints(pattern=EVENT_TYPE_PATTERN, max_length=128)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, use_attribute_docstrings=True
    )


class Stage(StrEnum):
    """Where in the relationship a journey talks to the customer."""

    AWARENESS = "awareness"
    CONSIDERATION = "consideration"
    PURCHASE = "purchase"
    SERVICE = "service"
    ADVOCACY = "advocacy"


class After(_Model):
    """Re-entry after a time since the last entry or end, whichever is later."""

    after: Duration


class Entry(_Model):
    """How a customer gets into a journey."""

    on: str
    """Event type that enters."""
    when: Condition | None = None
    """Condition over `event` and `profile`, after the event was applied to the profile."""
    key: Condition | None = None
    """Instance key: one enrollment for each value. Without it, one at a time."""
    about: Condition | None = None
    """The products it is about: objects with `sku` and optional `family`, `category`.

    A list (`event.data.items`) or one object (`event.data`); a plain path is looked up fastest.
    """
    reentry: Literal["once", "always"] | After = "always"
    """`once`, `always` (after the last one ended) or `{after: 7d}`."""
    max_age: Duration = 72 * 3_600_000
    """An older event updates the profile and enters nothing."""


class Exit(_Model):
    """An event that ends the enrollment at once, in whatever step it stands."""

    on: str
    """Event type that exits."""
    when: Condition | None = None
    """Condition over `event`, `profile`, `trigger`, and `enrollment`: `skus`, `families`, `key`."""
    then: Send | None = None
    """A last message, sent in the same decision; never promotional."""


class Variable(_Model):
    """A template variable: where its value comes from, and what to say when there is none."""

    value: Condition
    """Expression over `profile`, `enrollment`, `trigger`."""
    default: str | int | float | bool | None = None
    """Used when the value is missing or empty. Without a default the send is refused."""

    @model_validator(mode="before")
    @classmethod
    def _from_expression(cls, value: object) -> object:
        return {"value": value} if isinstance(value, str | Expression) else value


class Send(_Model):
    """Emit one message on one channel."""

    channel: Name
    """A channel of `channels.yaml` with kind `message`."""
    template: Text
    """Name of the template that the sender renders."""
    variables: Mapping[Name, Variable] = Field(default_factory=dict, max_length=64)
    """Template variables; a bare expression is short for `{value: …}`."""
    command_class: CommandClass | None = Field(default=None, alias="class")
    """`transactional`, `service` or `promotional`; the journey's kind unless given."""
    expires_after: Duration | None = None
    """After this time, counted from when the step was due, it is not sent. Default: the shop's."""
    delivery: Literal["at_least_once", "at_most_once"] | None = None
    """Default `at_most_once` for promotional, `at_least_once` for the others."""


class Audience(_Model):
    """Add the customer to, or remove them from, an audience of an ads channel."""

    channel: Name = "ads"
    add: Name | None = None
    remove: Name | None = None


class Task(_Model):
    """Ask a person to do something; closed when the enrollment ends."""

    channel: Name = "callcenter"
    template: Text
    variables: Mapping[Name, Variable] = Field(default_factory=dict, max_length=64)
    expires_after: Duration | None = None


class Weekday(StrEnum):
    """A day of the week."""

    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


class Heard(_Model):
    """An event to listen for.

    Reports of senders (`message.clicked`) count when they are about a message of this enrollment,
    other events when they are not older than its entry.
    """

    event: EventType
    """Event type."""
    when: Condition | None = None
    """Condition over `event`, `profile`, `trigger` and `enrollment`."""

    @model_validator(mode="before")
    @classmethod
    def _from_type(cls, value: object) -> object:
        return {"event": value} if isinstance(value, str) else value


class Until(_Model):
    """What ends a wait before its time, and where that leads."""

    event: EventType | None = None
    """Event type; see `reset_on` for which ones count."""
    when: Condition | None = None
    """With an event: condition over `event`, `profile`, `trigger`, `enrollment`. Alone: condition
    over `profile`, `trigger`, `enrollment`; when it is true already, nobody waits."""
    next: Name
    """A later step to go on with."""


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str | Mapping) else value


class Wait(_Model):
    """Stay in this step for a time, until a time of day or a weekday, or until a date.

    A bare duration is short for `{for: …}`. Local time is by the customer's `profile.zone` (an IANA
    zone, like `Europe/Madrid`), else the journey's `zone`, else the shop's. A time that the clocks
    skip in spring means the first instant after it; one that they show twice, the first.
    """

    for_: Duration = Field(default=0, alias="for")
    """How long. With `time` or `weekday`: at least so long, then until that time."""
    time: TimeOfDay | None = None
    """Until this local time, like `"09:00"`: today's when it is still to come, else tomorrow's."""
    weekday: Annotated[tuple[Weekday, ...], BeforeValidator(_listed)] = ()
    """Until the next of these days, `monday` or `[monday, thursday]`, at `time` or as it begins.
    On the day itself, when its time is over: until the next."""
    date: Condition | None = None
    """Until a date of the customer, like `profile.renewal_date`: `2026-12-24`, at `time` or as the
    day begins, or a date with a time. One that has passed skips the wait; one that is missing or
    no date ends the enrollment, reason `step_failed` (ask for it in a branch before)."""
    before: Duration = 0
    """So long before `date`; whole days are days of the calendar."""
    after: Duration = 0
    """So long after `date`."""
    yearly: bool = False
    """The next day of a year that is like `date`: a birthday. 29 February is the 28th elsewhen."""

    until: tuple[Until, ...] = Field(default=(), max_length=16)
    """What ends the wait earlier: the first that comes, in written order when several do. The
    rest of the wait says how long at most; who waited so long goes on at the step's `next`."""
    reset_on: Annotated[tuple[Heard, ...], BeforeValidator(_listed), Field(max_length=16)] = ()
    """Events that start the wait anew, like a repeat of the trigger: `cart.updated` or
    `{event: cart.updated, when: event.data.cart_id == enrollment.key}`."""

    @property
    def weekdays(self) -> frozenset[int]:
        """The days as numbers, Monday is 0."""
        return frozenset(list(Weekday).index(day) for day in self.weekday)

    @property
    def skippable(self) -> bool:
        """Whether somebody may pass without waiting."""
        at_once = any(arm.event is None for arm in self.until)
        return at_once or (self.date is not None and not self.yearly)

    @model_validator(mode="before")
    @classmethod
    def _from_duration(cls, value: object) -> object:
        if isinstance(value, Mapping | cls):
            return value
        parse_duration(value)
        return {"for": value}


class Arm(_Model):
    """One arm of a branch; without `when` it is the else arm and must be last."""

    when: Condition | None = None
    next: Name


class Step(_Model):
    """One step: a name and one word (`send`, `wait`, `branch`, `audience`, `task`, `go_to`, `end`).

    `next` names a later step to go on with; by default it is the one below.
    """

    id: Name
    send: Send | None = None
    wait: Wait | None = None
    branch: tuple[Arm, ...] | None = Field(default=None, max_length=32)
    audience: Audience | None = None
    task: Task | None = None
    go_to: Name | None = None
    """The step to go on with, further down or further up. Every way round contains a wait that
    cannot be skipped. What is visited again sends again."""
    end: Text | None = None
    next: Name | None = None


class Journey(_Model):
    """One journey, as its YAML file says it."""

    name: Name
    version: int = Field(ge=1)
    owner: Text
    kind: CommandClass
    stage: Stage
    priority: int = Field(default=50, ge=0, le=100)
    description: str = ""
    zone: str | None = None
    """IANA zone of customers whose profile names none. Default: the shop's."""
    entry: Entry
    exits: tuple[Exit, ...] = Field(default=(), max_length=32)
    steps: tuple[Step, ...] = Field(min_length=1, max_length=STEPS_MAX)


class Ownership(_Model):
    """How long a bought product is not promoted again to its buyer."""

    default: Duration = 180 * 86_400_000
    categories: Mapping[str, Duration] = Field(default_factory=dict)
    """Other durations for named categories."""
    replenishable: tuple[str, ...] = ()
    """Categories that are bought again and again: never owned."""


class Expiry(_Model):
    """How long a message may wait for its sender, by class, where the step says nothing."""

    promotional: Duration = 24 * 3_600_000
    service: Duration = 72 * 3_600_000
    transactional: Duration = 72 * 3_600_000


class Shop(_Model):
    """What holds for the whole shop (`shop.yaml`)."""

    zone: str = "UTC"
    locale: str = "en"
    owned_for: Ownership = Ownership()
    expires_after: Expiry = Expiry()
    events: Mapping[EventType, tuple[Text, ...]] = Field(default_factory=dict)
    """Event types of the shop's own, and further data fields of the standard ones. A type of its
    own with no field listed may carry any."""


class Channel(_Model):
    """One channel of `channels.yaml`."""

    kind: Literal["message", "audience", "task"]
    address_ref: str | None = None
    """Where the sender finds the address, for example `profile.email`."""
    partitions: int = Field(default=8, ge=1, le=1000)


Exit.model_rebuild()
