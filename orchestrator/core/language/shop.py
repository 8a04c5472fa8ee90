"""What holds for a whole shop: `shop.yaml` and `channels.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator, model_validator

from orchestrator.core.command import CommandClass
from orchestrator.core.language.attributes import (
    DERIVED_MAX,
    SEGMENTS_MAX,
    Currency,
    DerivedAttribute,
)
from orchestrator.core.language.scalars import (
    Condition,
    Duration,
    EventType,
    Locale,
    Model,
    Name,
    Text,
    TimeOfDay,
)
from orchestrator.core.language.stages import STAGES_MAX, CustomerStage

Hour = Annotated[int, Field(ge=0, le=23)]
Weight = Annotated[int, Field(ge=0, le=1_000)]
# When people read what shops write to them: a first time in the morning, most in the evening.
_MORNING: Final = {7: 1, 8: 2, 9: 3, 10: 4, 11: 3, 12: 3, 13: 2, 14: 1, 15: 1}
_EVENING: Final = {16: 1, 17: 2, 18: 3, 19: 4, 20: 5, 21: 4, 22: 2}
BEST_HOURS: Final[Mapping[int, int]] = _MORNING | _EVENING
# Caps keep what they count in the customer's state.
CAP_MS_MAX = 90 * 86_400_000


class Ownership(Model):
    """How long a bought product is not promoted again to its buyer."""

    default: Duration = 180 * 86_400_000
    categories: Mapping[str, Duration] = Field(default_factory=dict)
    """Other durations for named categories."""
    replenishable: tuple[str, ...] = ()
    """Categories that are bought again and again: never owned."""


class Expiry(Model):
    """How long a message may wait for its sender, by class, where the step says nothing."""

    promotional: Duration = 24 * 3_600_000
    service: Duration = 72 * 3_600_000
    transactional: Duration = 72 * 3_600_000


class QuietHours(Model):
    """Hours of the day, in the customer's zone, in which nothing rings.

    `{from: "21:00", to: "09:00"}` goes over midnight. What is due then waits until they end, and
    everything is checked again.
    """

    from_: TimeOfDay = Field(alias="from")
    """The local time at which they begin."""
    to: TimeOfDay
    """The local time at which they end."""

    @model_validator(mode="after")
    def _ends(self) -> QuietHours:
        if self.from_ == self.to:
            raise ValueError("from and to are the same time; leave quiet_hours out for none")
        return self

    def holds(self, minute: int) -> bool:
        """Whether this minute of the day is quiet."""
        if self.from_ < self.to:
            return self.from_ <= minute < self.to
        return minute >= self.from_ or minute < self.to


class Cap(Model):
    """At most so many messages to one customer in any window of time.

    The window ends at the moment of each message; it is no calendar day. Counted is what was
    emitted and neither cancelled nor reported dropped.
    """

    max: int = Field(ge=1, le=100)
    """How many."""
    per: Duration
    """The length of the window, at most 90 days."""
    channel: Name | None = None
    """Only messages on this channel count, and are held to it."""
    journey: Name | None = None
    """Only messages of this journey."""
    command_class: CommandClass = Field(default=CommandClass.PROMOTIONAL, alias="class")
    """`promotional` or `service`."""

    @model_validator(mode="after")
    def _is_possible(self) -> Cap:
        if self.command_class is CommandClass.TRANSACTIONAL:
            raise ValueError("class: transactional messages have no caps")
        if not 0 < self.per <= CAP_MS_MAX:
            raise ValueError("per: is at least 1s and at most 90d")
        return self


class Shop(Model):
    """What holds for the whole shop (`shop.yaml`)."""

    zone: str = "UTC"
    """IANA zone of customers for whom neither their profile nor the journey names one."""
    locale: str = "en"
    """Language of customers who name none, like `en` or `es-ES`."""
    currency: Currency | None = None
    """The currency in which sums of money are made where an attribute names none: `EUR`."""
    owned_for: Ownership = Ownership()
    """How long a bought product is not promoted again to its buyer."""
    expires_after: Expiry = Expiry()
    """How long a message may wait for its sender, where the step says nothing."""
    quiet_hours: QuietHours | None = None
    """Hours in which promotional and service messages wait: `{from: "21:00", to: "09:00"}`. A
    channel or a journey may say otherwise."""
    caps: tuple[Cap, ...] = Field(default=(), max_length=32)
    """How many messages a customer gets at most, like `{max: 3, per: 7d}`."""
    spacing: Duration = 0
    """How long a promotional message waits at least after the one before, of whatever journey."""
    handoff_timeout: Duration = 24 * 3_600_000
    """How long promotions wait after `handoff.started` when no `handoff.ended` comes."""
    best_hours: Mapping[Hour, Weight] = Field(default=BEST_HOURS)
    """How well the hours of the day suit customers of whom nothing is known, for `wait:
    best_time`: `{9: 2, 20: 5}`. Only the proportions count; an hour that is not named has 0. By
    default a morning with its best at 10 and an evening with its best at 20."""
    stages: tuple[CustomerStage, ...] = Field(default=(), max_length=STAGES_MAX)
    """The stages that customers come through, in order; conditions read `profile.stage`. What
    events say of an attribute with that name is then ignored."""
    attributes: Mapping[Name, DerivedAttribute] = Field(
        default_factory=dict, max_length=DERIVED_MAX
    )
    """Attributes that follow from events, by name: `total_spent: {sum: total, on: purchase}`.
    Conditions and templates read `profile.total_spent`. What events say of an attribute with such
    a name is ignored."""
    segments: Mapping[Name, Condition] = Field(default_factory=dict, max_length=SEGMENTS_MAX)
    """Conditions over `profile` by the name of a segment: `big_spenders: profile.total_spent >=
    500`. A journey is entered by one (`segment: big_spenders`), and conditions ask for it
    (`"big_spenders" in segments`)."""
    snippets: Mapping[Locale, Mapping[Name, str]] = Field(default_factory=dict)
    """The brand's own words, by language: `{{ snippets.signature }}` in a template."""
    forbidden_words: Mapping[Locale, tuple[Text, ...]] = Field(default_factory=dict)
    """Words that no template may say, by language; those under `all` in none."""
    discount_words: Mapping[Locale, tuple[Text, ...]] = Field(default_factory=dict)
    """Words that promise a discount, by language: no template may say them, or a percentage, unless
    its message tells an offer. They stand in place of ours for that language."""
    messages_per_week_max: int | None = Field(default=None, ge=1)
    """How many promotional messages one customer may get in a week at the very worst, counted by
    `orchestrator check` over all journeys."""
    events: Mapping[EventType, tuple[Text, ...]] = Field(default_factory=dict)
    """Event types of the shop's own, and further data fields of the standard ones. A type of its
    own with no field listed may carry any."""

    @field_validator("best_hours")
    @classmethod
    def _has_a_best_hour(cls, hours: Mapping[int, int]) -> Mapping[int, int]:
        if not any(hours.values()):
            raise ValueError("no hour has a weight; name at least one, like {20: 1}")
        return hours


class Channel(Model):
    """One channel of `channels.yaml`."""

    kind: Literal["message", "audience", "task", "webhook"]
    """`message` goes to a customer, `webhook` to another system; `audience` is a list that an ad
    platform keeps, `task` waits for a person."""
    address_ref: str | None = None
    """Where the sender finds the address, for example `profile.email`."""
    partitions: int = Field(default=8, ge=1, le=1000)
    """Partitions of its command topics."""
    queue: Name | None = None
    """Of a channel of kind `task`: the queue of tasks whose step names none. Default: its name."""
    needs_consent: bool = True
    """Whether promotional messages on it need the customer's recorded consent. `false` is for what
    people only see on your own pages."""
    quiet_hours: QuietHours | Literal["none"] | None = None
    """Its own quiet hours, or `none`. Default: the shop's, for channels of kind `message`."""

    @model_validator(mode="after")
    def _queues_tasks(self) -> Channel:
        if self.queue is not None and self.kind != "task":
            raise ValueError("queue: only a channel of kind task has one")
        return self
