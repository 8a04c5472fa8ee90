"""A journey: who gets in, what ends it, and its steps, as frozen models of what authors write.

`catalog` reads YAML into these models and is the only writer; the core only reads them. Field
descriptions are the reference that authors get.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from orchestrator.core.calendar import parse_cron
from orchestrator.core.command import CommandClass
from orchestrator.core.language.attributes import Segment
from orchestrator.core.language.scalars import (
    Condition,
    Duration,
    EventType,
    Model,
    Name,
    Text,
    TimeOfDay,
)
from orchestrator.core.language.words import (
    Arm,
    Ask,
    Audience,
    Emit,
    Holdout,
    Send,
    Setting,
    Share,
    Task,
    Wait,
    Webhook,
)

Cron = Annotated[
    str,
    BeforeValidator(parse_cron),
    WithJsonSchema({"type": "string", "examples": ["0 9 * * 1", "30 8 1 * *"]}),
]
# A page of steps; also the bound on the steps of one decision (`rules/advance`).
STEPS_MAX: Final = 64
# What a step can do, in the order in which people are told; each is a field of `Step`.
STEP_WORDS: Final = (
    *("send", "wait", "branch", "split", "holdout", "set", "ask", "emit", "webhook"),
    *("audience", "task", "go_to", "end"),
)


class Stage(StrEnum):
    """Where in the relationship a journey talks to the customer."""

    AWARENESS = "awareness"
    CONSIDERATION = "consideration"
    PURCHASE = "purchase"
    SERVICE = "service"
    ADVOCACY = "advocacy"


class After(Model):
    """Re-entry after a time since the last entry or end, whichever is later."""

    after: Duration


class Schedule(Model):
    """Entry at times of the calendar, for every customer for whom `when` holds.

    Each customer once for each time. Times that nobody ran at because the shop was down are made up
    for as long as `max_age` says; of several the last. Live events always go first.
    """

    cron: Cron
    """Minute, hour, day of the month, month, day of the week: `0 9 * * 1` is Monday at nine."""
    zone: str | None = None
    """IANA zone of these times. Default: the journey's, else the shop's."""
    rate: int = Field(default=100, ge=1, le=100_000)
    """How many customers a second are looked at, over the whole shop."""


class OnDate(Model):
    """Entry on a date of the customer, in their zone."""

    of: Condition
    """The date: `profile.birthday`, like `1990-02-28`."""
    time: TimeOfDay = 540
    """The local time of the entry; by default 09:00."""
    before: Duration = 0
    """So long before the date; whole days are days of the calendar."""
    after: Duration = 0
    """So long after the date."""
    yearly: bool = False
    """Every year again, like a birthday. 29 February is the 28th elsewhen."""


class Absence(Model):
    """Entry when something has not happened for a time. Who never did it is not absent."""

    of: EventType
    """The event type that has not come."""
    for_: Duration = Field(alias="for")
    """How long it has not come."""
    when: Condition | None = None
    """Condition over `event` and `profile`: other events of the type do not count."""


class Entry(Model):
    """How a customer gets into a journey: one of `on`, `schedule`, `date`, `absence`, `segment`."""

    on: str | None = None
    """Event type that enters."""
    schedule: Schedule | None = None
    """Times of the calendar."""
    date: OnDate | None = None
    """A date of the customer."""
    absence: Absence | None = None
    """Something that has not happened for a time."""
    segment: Segment | None = None
    """A segment of `shop.yaml` by its name, or a condition over `profile`: enters whoever comes
    into it, or for whom it becomes true."""
    when: Condition | None = None
    """Condition over `event` (with `on`) and `profile`, after the event was applied to it."""
    key: Condition | None = None
    """Instance key: one enrollment for each value. Without it, one at a time."""
    about: Condition | None = None
    """The products it is about: objects with `sku` and optional `family`, `category`.

    A list (`event.data.items`) or one object (`event.data`); a plain path is looked up fastest.
    """
    reentry: Literal["once", "always"] | After = "always"
    """`once`, `always` (after the last one ended) or `{after: 7d}`."""
    max_age: Duration = 72 * 3_600_000
    """An older event, or a time longer ago, updates the profile and enters nothing."""

    @property
    def label(self) -> str:
        """What enters, in a word or two."""
        for word in ("schedule", "date", "absence", "segment"):
            if getattr(self, word) is not None:
                return word
        return self.on or ""

    @model_validator(mode="after")
    def _says_one(self) -> Entry:
        ways = ("on", "schedule", "date", "absence", "segment")
        said = [way for way in ways if getattr(self, way) is not None]
        if len(said) != 1:
            raise ValueError(f"say one of {', '.join(ways)}" + (", not several" if said else ""))
        if said != ["on"] and (self.key is not None or self.about is not None):
            raise ValueError("key and about name parts of an event, so they go with `on`")
        if self.segment is not None and self.when is not None:
            raise ValueError("a segment is a condition already; write both into one")
        return self


class Exit(Model):
    """An event that ends the enrollment at once, in whatever step it stands."""

    on: str
    """Event type that exits."""
    when: Condition | None = None
    """Condition over `event`, `profile`, `trigger`, and `enrollment`: `skus`, `families`, `key`."""
    then: Send | None = None
    """A last message, sent in the same decision; never promotional."""


class Goal(Model):
    """What a journey is for. Reached, it stands in the journey log, once for each enrollment."""

    on: EventType
    """Event type that reaches it."""
    when: Condition | None = None
    """Condition over `event`, `profile`, `trigger`, `enrollment`."""
    within: Duration = 7 * 86_400_000
    """It is owed to the last message of this enrollment that is not older than this."""
    ends: bool = False
    """Whether the enrollment ends there."""


class Step(Model):
    """One step: a name and one word that says what to do.

    `next` names a later step to go on with; by default it is the one below.
    """

    id: Name
    """Its name; it stands in commands and in the journey log."""
    send: Send | None = None
    """Emit one message on one channel."""
    wait: Wait | None = None
    """Stay here for a time, until a time or a date, or until something happens."""
    branch: tuple[Arm, ...] | None = Field(default=None, max_length=32)
    """Go on where the first true condition says."""
    split: tuple[Share, ...] | None = Field(default=None, min_length=2, max_length=32)
    """Go different ways by weight; a customer always goes the same one."""
    holdout: Holdout | None = None
    """Leave some customers out."""
    set: Mapping[Name, Setting] | None = Field(default=None, min_length=1, max_length=64)
    """Write attributes of the profile; a bare expression is short for `{value: …}`."""
    ask: Ask | None = None
    """Ask one question, once; the answer becomes an attribute."""
    emit: Emit | None = None
    """Tell an event about this customer."""
    webhook: Webhook | None = None
    """Tell another system."""
    audience: Audience | None = None
    """Add the customer to an ads audience, or remove them from one."""
    task: Task | None = None
    """Let a person do something."""
    go_to: Name | None = None
    """The step to go on with, further down or further up. Every way round contains a wait that
    cannot be skipped. What is visited again sends again."""
    end: Text | None = None
    """The journey is over; the text says how it went, for the journey log."""
    next: Name | None = None
    """A later step to go on with."""


class Journey(Model):
    """One journey, as its YAML file says it."""

    name: Name
    """The name of the file without `.yaml`."""
    version: int = Field(ge=1)
    """Raised with every change of what it does; who is inside finishes on the version entered."""
    owner: Text
    """Who answers for it: a mail address or a team."""
    kind: CommandClass
    """`promotional`, `transactional` or `service`."""
    stage: Stage
    """Where in the relationship it talks to the customer."""
    priority: int = Field(default=50, ge=0, le=100)
    """Which promotion goes first when several want to; more is first."""
    description: str = ""
    """What it does, in a sentence, for people."""
    zone: str | None = None
    """IANA zone of customers whose profile names none. Default: the shop's."""
    quiet_hours: Literal["keep", "ignore"] | None = None
    """Whether its messages keep quiet hours. Default: `keep`, and `ignore` for transactional."""
    entry: Entry
    """How customers get in."""
    exits: tuple[Exit, ...] = Field(default=(), max_length=32)
    """What ends it at once, in whatever step."""
    goal: Goal | None = None
    """What it is for."""
    steps: tuple[Step, ...] = Field(min_length=1, max_length=STEPS_MAX)

    def keeps_quiet(self, command_class: CommandClass) -> bool:
        """Whether its messages of this class wait in quiet hours."""
        if self.quiet_hours is None:
            return command_class is not CommandClass.TRANSACTIONAL
        return self.quiet_hours == "keep"
