"""The state of one customer: exactly what `decide` reads, and nothing else.

Encoded as MessagePack arrays (`encoded/state.py`; positions are the schema), so a record stays
small and its bytes are invisible to the garbage collector. Timelines are built from the journey
log, never from here. All times are epoch milliseconds, UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Raw, Struct, field

from orchestrator.core.derived.kept import NO_DERIVED, Derived

# How much is remembered. The contract names 64 events and 90 days; SEMANTICS.md the rest.
SEEN_EVENTS_MAX: Final = 64
BUSINESS_KEY_MS: Final = 90 * 86_400_000
REMEMBERED_EXITS_MAX: Final = 32
REMEMBERED_EXIT_MS: Final = 72 * 3_600_000
ENDED_KEYS_MAX: Final = 256
SENT_MAX: Final = 16
ENDED_KEY_MS: Final = 30 * 86_400_000
# What a person is told of the last messages.
RECENT_MAX: Final = 2
ABSORBED_MAX: Final = 256
HABITS_MAX: Final = 16
# Questions that were asked under several ids: as many messages may still be answered.
ASKED_AGAIN_MAX: Final = 64
# Why an enrollment is held at a step: somebody has paused what the step would send.
PAUSED: Final = "paused"


class Cause(Struct, frozen=True, array_like=True, gc=False):
    """The event that started something, as the commands name it in `caused_by`."""

    source: str
    id: str


class Product(Struct, frozen=True, array_like=True, gc=False):
    """What an enrollment or an order line is about; `family` groups variants of one product."""

    sku: str
    family: str | None = None
    category: str | None = None


class Attribute(Struct, frozen=True, array_like=True, gc=False):
    """A profile attribute; the newest by (event time, source, id) wins."""

    value: Any
    time_ms: int
    source: str
    id: str


class OrderLine(Struct, frozen=True, array_like=True, gc=False):
    """One line of an order; `returned` counts pieces that came back or were cancelled."""

    product: Product
    quantity: int
    returned: int = 0


class Order(Struct, frozen=True, array_like=True, gc=False):
    """A purchase, kept while it can still make a product `owned`.

    `cancelled` may be true before the purchase itself is known: topics are not ordered.
    """

    order_id: str
    time_ms: int
    lines: tuple[OrderLine, ...] = ()
    cancelled: bool = False


class OpenCommand(Struct, frozen=True, array_like=True, gc=False):
    """A command that was emitted and is not final: an exit has to cancel it.

    `kind` is "message", "audience" or "task"; `audience` names the audience of an `audience.add`,
    `offer` the offer that a message tells. A task is `claimed_by` who works on it, and
    `created_ms` says since when it waits. `customer` is the id that it was emitted under, when that
    was absorbed into this one since: what takes it back has to go where it went.
    """

    id: str
    kind: str
    channel: str
    command_class: str
    step: str
    sequence: int
    expires_at_ms: int
    audience: str | None = None
    offer: str | None = None
    claimed_by: str | None = None
    claimed_ms: int | None = None
    created_ms: int | None = None
    customer: str | None = None


class Enrollment(Struct, frozen=True, array_like=True, gc=False):
    """One customer in one journey.

    `step` is the wait the customer stands in; None when the journey has run to its end and only
    `open_commands` keep it here (they must still be cancelled by an exit).
    `entry_time_ms` is the event time of the entry (the exit rule compares it), `entered_at_ms`
    the decision's now. `trigger` holds the part of the entering event's data that steps read.
    `sent` names the newest messages, where a wait or a goal asks what becomes of them;
    `best_arm` is the best arm of a ranked wait that has come; `goal_ms` says when the goal was
    reached. Who is `held` at a step that may not act yet (the value says why) stands in that step;
    `due_ms` is when it was due first, `tried` are the channels on which it went out already, and
    `awaited` is the message whose delivery decides whether another one is tried.
    """

    id: str
    journey: str
    version: int
    key: str | None
    entry_time_ms: int
    entered_at_ms: int
    cause: Cause
    step: str | None = None
    wake_at_ms: int | None = None
    visits: Mapping[str, int] = field(default_factory=dict)
    products: tuple[Product, ...] = ()
    trigger: Mapping[str, Any] = field(default_factory=dict)
    open_commands: tuple[OpenCommand, ...] = ()
    longest_expires_at_ms: int = 0
    extensions: Mapping[str, Raw] = field(default_factory=dict)
    sent: tuple[str, ...] = ()
    last_sent_ms: int | None = None
    best_arm: int | None = None
    goal_ms: int | None = None
    held: str | None = None
    due_ms: int | None = None
    tried: tuple[str, ...] = ()
    awaited: str | None = None


class JourneyMemory(Struct, frozen=True, array_like=True, gc=False):
    """What re-entry needs to know about a journey after its enrollments are gone.

    `entries` counts all entries ever and is the last ordinal; `ended_keys` are (instance key,
    ended at) of the last 30 days; `occurrence_ms` is the last time of the calendar that entered.
    """

    entries: int
    last_entry_ms: int
    last_end_ms: int | None = None
    ended_keys: tuple[tuple[str, int], ...] = ()
    occurrence_ms: int | None = None


class Watch(Struct, frozen=True, array_like=True, gc=False):
    """A date or an absence that will enter a journey.

    `due_ms` is when, None when there is nothing to come. `since_ms` is when what is missed came
    last. `version` is the journey's for which this was worked out.
    """

    version: int
    due_ms: int | None = None
    since_ms: int | None = None


class RememberedExit(Struct, frozen=True, array_like=True, gc=False):
    """An event that exits journeys, kept for entries that are learned late.

    `data` is the part of the event that exit conditions read.
    """

    type: str
    time_ms: int
    cause: Cause
    data: Mapping[str, Any]


class Promise(Struct, frozen=True, array_like=True, gc=False):
    """An offer that was promised to the customer, and what became of it.

    `enrollment` is None when a page or a person asked. `command` and `also` are the messages that
    tell it while nobody knows whether one has arrived; `command` is None when it was told for
    certain. `provisional` until we know who this is. `redeemed_ms` and `order`
    say what it was last redeemed with, `closed_ms` and `closed` when and why it was taken back:
    both are over when the promise was made anew after them.
    """

    granted_ms: int
    expires_at_ms: int
    enrollment: str | None = None
    channel: str | None = None
    provisional: bool = False
    command: str | None = None
    redeemed_ms: int | None = None
    order: str | None = None
    closed_ms: int | None = None
    closed: str | None = None
    also: tuple[str, ...] = ()


class FenceEntry(Struct, frozen=True, array_like=True, gc=False):
    """A promotional enrollment that is over; senders drop its commands up to `sequence`."""

    enrollment: str
    ended_at_ms: int
    sequence: int
    expires_at_ms: int


class Consent(Struct, frozen=True, array_like=True, gc=False):
    """The customer's word on one class of messages on one channel; the newest counts."""

    granted: bool
    time_ms: int
    source: str
    id: str


class Sent(Struct, frozen=True, array_like=True, gc=False):
    """A message that frequency caps count.

    `time_ms` is when it was emitted, or when it reached the customer once a sender has said so.
    Until `expires_at_ms` it may still be handed over; 0 when it was. One that was cancelled or
    dropped does not count, unless it turns out to have been handed over.
    """

    id: str
    time_ms: int
    channel: str
    command_class: str
    journey: str
    expires_at_ms: int = 0
    counts: bool = True


class Response(Struct, frozen=True, array_like=True, gc=False):
    """How much a customer responds on a channel: `score` as it was on a `day` since the epoch."""

    score: int
    day: int


class Removal(Struct, frozen=True, array_like=True, gc=False):
    """A removal from an ads audience that the platform has not applied yet."""

    command: str
    time_ms: int


class Recent(Struct, frozen=True, array_like=True, gc=False):
    """A message of late, and what became of it, for a person who talks to the customer next."""

    id: str
    time_ms: int
    channel: str
    template: str
    journey: str
    fate: str = "sent"
    fate_ms: int | None = None


class Contact(Struct, frozen=True, array_like=True, gc=False):
    """Whether and how a customer may be reached.

    `consents` are by channel and class (`email/promotional`); `bounced` says by channel since when
    its address is dead; `talking_until_ms` is until when one of our people talks to the customer;
    `promoted_ms` is when the newest promotional message was emitted; `responses` are by
    channel; `removals` are those from audiences that nobody has acknowledged, oldest first;
    `recent` are the newest messages, newest last.
    """

    consents: Mapping[str, Consent] = field(default_factory=dict)
    bounced: Mapping[str, int] = field(default_factory=dict)
    sends: tuple[Sent, ...] = ()
    talking_until_ms: int = 0
    promoted_ms: int = 0
    responses: Mapping[str, Response] = field(default_factory=dict)
    removals: tuple[Removal, ...] = ()
    recent: tuple[Recent, ...] = ()


NO_CONTACT: Final = Contact()


class AnsweredHours(Struct, frozen=True, array_like=True, gc=False):
    """In which hours of the day the customer responds, by their own clock.

    `counts` are 24 numbers of two bytes, big-endian. They halve from one period to the next;
    `period` is the one, counted from 1970, as of which they stand here.
    """

    period: int
    counts: bytes


class Erased(Struct, frozen=True, array_like=True, gc=False):
    """That the customer was forgotten: nothing that happened up to `at_ms` counts any more.

    `entries` is the highest ordinal of an enrollment by then, so that no id is used twice;
    `fenced_until_ms` is until when senders may still meet what was recalled.
    """

    at_ms: int
    entries: int = 0
    fenced_until_ms: int | None = None


class Habits(Struct, frozen=True, array_like=True, gc=False):
    """What was learned of an absorbed id until then; it never changes afterwards.

    `as_of_ms` is when it was absorbed.
    """

    as_of_ms: int
    hours: AnsweredHours | None = None
    responses: Mapping[str, Response] = field(default_factory=dict)


class Kin(Struct, frozen=True, array_like=True, gc=False):
    """The other ids of one customer.

    `merged_into` is the id that this one was absorbed into: then nothing but `sequence` stands
    beside it, and `fenced_until_ms`, until when senders may meet what was recalled. `absorbed` are
    the ids that are this customer too, with when they were absorbed; `habits` are what was learned
    of them. `asked` are (attribute, message) of questions that were asked under a second id:
    `Customer.asked` names one message of each.
    """

    merged_into: str | None = None
    absorbed: Mapping[str, int] = field(default_factory=dict)
    habits: Mapping[str, Habits] = field(default_factory=dict)
    asked: tuple[tuple[str, str], ...] = ()
    fenced_until_ms: int | None = None


NO_KIN: Final = Kin()


class Customer(Struct, frozen=True, array_like=True, gc=False):
    """Everything `decide` knows about one customer id.

    `seen` is 12 bytes an event (identity digest, body digest), oldest first, at most 64.
    `business` is 14 bytes a key (digest, 6-byte big-endian epoch milliseconds), oldest first.
    `watches` are by journey name; `asked` maps an attribute to the command that asked for it;
    `promises` are by the name of the offer.
    `extensions` holds what a newer release of the same format wrote and this one keeps untouched.
    `earned` are the events that count for a stage, by stage and event type: 6 bytes each.
    `erased` stays when the customer is forgotten, also while a new life goes on beside it.
    `seen_times` says when the newest of `seen` were decided: 4 bytes of seconds each, same order.
    `kin` is None for who has one id only, which most have.
    """

    id: str
    sequence: int = 0
    now_ms: int = 0
    seen: bytes = b""
    business: bytes = b""
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    orders: tuple[Order, ...] = ()
    enrollments: tuple[Enrollment, ...] = ()
    memories: Mapping[str, JourneyMemory] = field(default_factory=dict)
    exits: tuple[RememberedExit, ...] = ()
    fence: tuple[FenceEntry, ...] = ()
    extensions: Mapping[str, Raw] = field(default_factory=dict)
    watches: Mapping[str, Watch] = field(default_factory=dict)
    asked: Mapping[str, str] = field(default_factory=dict)
    contact: Contact = NO_CONTACT
    promises: Mapping[str, Promise] = field(default_factory=dict)
    earned: Mapping[str, bytes] = field(default_factory=dict)
    hours: AnsweredHours | None = None
    erased: Erased | None = None
    derived: Derived = NO_DERIVED
    seen_times: bytes = b""
    kin: Kin | None = None

    @property
    def merged_into(self) -> str | None:
        """The id that this one was absorbed into, or None."""
        return None if self.kin is None else self.kin.merged_into

    @property
    def absorbed(self) -> Mapping[str, int]:
        """The ids that are this customer too, with when they were absorbed."""
        return (self.kin or NO_KIN).absorbed


def oldest_removal_ms(customer: Customer) -> int | None:
    """Return when the oldest removal that nobody has acknowledged was emitted, or None."""
    removals = customer.contact.removals
    return removals[0].time_ms if removals else None


def wake_at_ms(customer: Customer) -> int | None:
    """Return the customer's earliest due time, or None."""
    if customer.kin is not None and customer.kin.merged_into is not None:
        return customer.kin.fenced_until_ms
    return earliest_ms(customer.enrollments, customer.watches, customer.erased, customer.derived)


def earliest_ms(
    enrollments: Iterable[Enrollment],
    watches: Mapping[str, Watch],
    erased: Erased | None,
    derived: Derived,
) -> int | None:
    """Return the earliest time at which a wait is over, something enters or leaves a window.

    The fences of who was erased have an end too.
    """
    earliest = derived.due_ms
    if erased is not None and erased.fenced_until_ms is not None:
        fenced_ms = erased.fenced_until_ms
        earliest = fenced_ms if earliest is None else min(earliest, fenced_ms)
    for one in enrollments:
        due_ms = one.wake_at_ms
        if due_ms is not None and (earliest is None or due_ms < earliest):
            earliest = due_ms
    for watch in watches.values() if watches else ():
        due_ms = watch.due_ms
        if due_ms is not None and (earliest is None or due_ms < earliest):
            earliest = due_ms
    return earliest
