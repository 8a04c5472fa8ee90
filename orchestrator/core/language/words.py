"""The words of a step: what one step of a journey can do.

`catalog` reads YAML into these models, `rules/advance` does what they say. Field descriptions are
the reference that authors get.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from orchestrator.core.command import CommandClass
from orchestrator.core.expressions.condition import Expression
from orchestrator.core.language.scalars import (
    Condition,
    Duration,
    EventType,
    Model,
    Name,
    Text,
    TimeOfDay,
    listed,
    parse_duration,
)


class Variable(Model):
    """A template variable: where its value comes from, and what to say when there is none."""

    value: Condition
    """Expression over `profile`, `enrollment`, `trigger`."""
    default: str | int | float | bool | None = None
    """Used when the value is missing or empty. Without a default the send is refused."""

    @model_validator(mode="before")
    @classmethod
    def _from_expression(cls, value: object) -> object:
        return {"value": value} if isinstance(value, str | Expression) else value


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str | Mapping) else value


class Send(Model):
    """Emit one message, on one channel unless it says `all`."""

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
    offer: Name | None = None
    """The offer of `offers.yaml` that it tells. It goes out only if that may be promised to this
    customer now; the template sees `offer.text`, `offer.until`, `offer.code` (when there is one)
    and `offer.provisional`. It expires with the promise."""
    or_: Annotated[tuple[Name, ...], BeforeValidator(_listed)] = Field(
        default=(), alias="or", max_length=8
    )
    """Other channels that may take its place: `push` or `[push, sms]`. It goes out on one of them:
    the customer's own choice (`profile.preferred_channel`), else where they respond most, else in
    this order, and only where they can be reached."""
    patience: Duration | None = None
    """How long the message may take to arrive. It expires then, and goes out on the next channel
    five minutes later; at once when the sender reports that it bounced, failed or was dropped.
    Without it, the journey goes on as soon as the message is out."""
    all_: bool = Field(default=False, alias="all")
    """Whether it goes out on all of these channels, not on one."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Every channel that it may take, in the order of the journey."""
        return (self.channel, *self.or_)

    def on(self, channel: str) -> Send:
        """Return the same message for one of its channels."""
        return self.model_copy(update={"channel": channel, "or_": ()})

    @model_validator(mode="after")
    def _chooses(self) -> Send:
        if not self.or_ and (self.patience is not None or self.all_):
            word = "all" if self.all_ else "patience"
            raise ValueError(f"{word}: there is one channel only; write others under `or`")
        if self.all_ and self.patience is not None:
            raise ValueError("patience: it goes out on all channels, so there is none to try next")
        if len(set(self.channels)) < len(self.channels):
            raise ValueError("or: a channel stands here twice")
        return self


class Audience(Model):
    """Add the customer to, or remove them from, an audience of an ads channel."""

    channel: Name = "ads"
    """A channel of `channels.yaml` with kind `audience`."""
    add: Name | None = None
    """The audience to add the customer to. Who leaves the journey leaves it too."""
    remove: Name | None = None
    """The audience to remove the customer from."""


class Task(Model):
    """Ask a person to do something; closed when the enrollment ends."""

    channel: Name = "callcenter"
    """A channel of `channels.yaml` with kind `task`."""
    template: Text
    """What to do: a name that the people there know."""
    queue: Name | None = None
    """Which of our people shall do it. Default: the channel's queue."""
    variables: Mapping[Name, Variable] = Field(default_factory=dict, max_length=64)
    """What they have to know; a bare expression is short for `{value: …}`."""
    expires_after: Duration | None = None
    """After this time, counted from when the step was due, it need not be done any more."""


class Weekday(StrEnum):
    """A day of the week."""

    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


class Heard(Model):
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


class Until(Model):
    """What ends a wait before its time, and where that leads."""

    event: EventType | None = None
    """Event type; see `reset_on` for which ones count."""
    when: Condition | None = None
    """With an event: condition over `event`, `profile`, `trigger`, `enrollment`. Alone: condition
    over `profile`, `trigger`, `enrollment`; when it is true already, nobody waits."""
    next: Name
    """A later step to go on with."""


class Wait(Model):
    """Stay in this step for a time, until a time of day or a weekday, or until a date.

    A bare duration is short for `{for: …}`. Local time is by the customer's `profile.zone` (an IANA
    zone, like `Europe/Madrid`), else the journey's `zone`, else the shop's. A time that the clocks
    skip in spring means the first instant after it; one that they show twice, the first.
    """

    for_: Duration = Field(default=0, alias="for")
    """How long. With `time` or `weekday`: at least so long, then until that time."""
    time: TimeOfDay | None = None
    """Until this local time, like `"09:00"`: today's when it is still to come, else tomorrow's."""
    best_time: bool = False
    """Until the hour of the day in which this customer responds most; `wait: best_time` is short
    for it. What they have named, `profile.preferred_hour` (0 to 23, or `"19:00"`), counts before
    anything learned. It is learned from `message.opened`, `message.clicked` and `message.replied`,
    of which an older one counts half as much as one four weeks later; who has answered little is
    thought to be like the shop's `best_hours`. Hours that are quiet for the message that comes next
    are no best ones. Who is in that hour already goes on with the next minute; with `for`, who is
    in it when that is over goes on then. The journey log says which hour it is, and why.
    """
    within: Duration = 86_400_000
    """With `best_time`: the best of the hours that come in this time, from 1h up to 1d, which is
    a day of the calendar. With `for`, counted from its end."""
    weekday: Annotated[tuple[Weekday, ...], BeforeValidator(listed)] = ()
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
    ranked: bool = False
    """Arms of `until` are written best first, and the wait goes on when one has come, in case a
    better one comes too; the best ends it at once. Without it, the first that comes ends it."""
    reset_on: Annotated[tuple[Heard, ...], BeforeValidator(listed), Field(max_length=16)] = ()
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
        if value == "best_time":
            return {"best_time": True}
        parse_duration(value)
        return {"for": value}


class Arm(Model):
    """One arm of a branch; without `when` it is the else arm and must be last."""

    when: Condition | None = None
    """Condition over `profile`, `trigger`, `enrollment`."""
    next: Name
    """A later step to go on with."""


class Share(Model):
    """One way of a split."""

    weight: int = Field(ge=1, le=10_000)
    """Its part of the customers, against the sum of all weights."""
    next: Name
    """A later step to go on with."""


class Holdout(Model):
    """Leave some customers out, to see what the journey is worth.

    Who is held out follows from the customer id and the group alone: it is the same whenever they
    come, on every machine.
    """

    percent: float = Field(gt=0, lt=100)
    """How many of a hundred are left out."""
    group: Name | None = None
    """Journeys with the same group leave out the same customers. Default: the journey's name."""
    next: Name | None = None
    """A later step for who is left out. By default they end here, with the label `holdout`."""


class Setting(Model):
    """What a profile attribute is set to: the value of an expression, or a constant."""

    value: Condition | None = None
    """Expression over `profile`, `enrollment`, `trigger`. One that is missing sets nothing."""
    to: str | int | float | bool | None = None
    """A constant."""

    @model_validator(mode="before")
    @classmethod
    def _from_expression(cls, value: object) -> object:
        return {"value": value} if isinstance(value, str | Expression) else value

    @model_validator(mode="after")
    def _says_one(self) -> Setting:
        if (self.value is None) == (self.to is None):
            raise ValueError("say value (an expression) or to (a constant), one of them")
        return self


class Ask(Model):
    """Ask one question in one channel; the answer becomes an attribute of the profile.

    The answer is `data.answer` of the `message.replied` to it. A customer is asked once for each
    attribute, and not at all when it is known.
    """

    attribute: Name
    """The attribute that the answer is written to."""
    channel: Name
    """A channel of `channels.yaml` with kind `message`."""
    template: Text
    """Name of the template of the question."""
    variables: Mapping[Name, Variable] = Field(default_factory=dict, max_length=64)
    """Template variables; a bare expression is short for `{value: …}`."""
    command_class: CommandClass | None = Field(default=None, alias="class")
    """`transactional`, `service` or `promotional`; the journey's kind unless given."""
    expires_after: Duration | None = None
    """After this time, counted from when the step was due, it is not sent. Default: the shop's."""


class Emit(Model):
    """Tell an event of the shop's own about this customer; it may enter and exit journeys."""

    event: EventType
    """An event type that `shop.yaml` declares."""
    data: Mapping[Name, Variable] = Field(default_factory=dict, max_length=64)
    """Its data; a bare expression is short for `{value: …}`. What is missing is left out."""


class Webhook(Model):
    """Tell another system, through the sender of a channel of kind `webhook`."""

    template: Text
    """What to tell: a name that the receiver knows."""
    channel: Name = "webhook"
    """A channel of `channels.yaml` with kind `webhook`."""
    variables: Mapping[Name, Variable] = Field(default_factory=dict, max_length=64)
    """What the receiver gets; a bare expression is short for `{value: …}`."""
    expires_after: Duration | None = None
    """After this time, counted from when the step was due, it is not sent. Default: the shop's."""
