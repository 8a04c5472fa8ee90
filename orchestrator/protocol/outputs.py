"""Everything the worker writes besides state, as bytes: commands, fences, journey log, headers.

The group commit calls these while it encodes a transaction, before it begins one. The structs are
the public form, field by field; `protocol/schema` generates the JSON Schemas from them. The same
input always gives the same bytes. Times become RFC 3339 in UTC with milliseconds; a time beyond
what RFC 3339 can say is written as its last instant, for an encoder must never stop a worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType, field, json

from orchestrator.core.command import SOURCE, Command, CommandClass, CommandType
from orchestrator.core.decision import LogEntry, ToldEvent
from orchestrator.core.event import Resumed
from orchestrator.core.pauses import Pause
from orchestrator.core.people.context import TaskContext
from orchestrator.protocol.causes import MergeCause, NoticeCause, SharedCause, StateCause

if TYPE_CHECKING:
    from orchestrator.core.customer import FenceEntry
    from orchestrator.core.event import Event, Visit

Headers = Sequence[tuple[str, bytes | None]]
WrittenHeaders = list[tuple[str, bytes | None]]

CONTENT_TYPE: Final = b"application/cloudevents+json"
# A detail is for people; headers count against the size of a record.
DETAIL_CHARACTERS_MAX: Final = 500

LAST_MS: Final = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z, the last time that RFC 3339 can say."""

Timestamp = Annotated[
    str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-11-22T10:00:00.000Z"])
]
Mode = Annotated[str, Meta(extra_json_schema={"enum": ["test", "live"]})]
Delivery = Annotated[str, Meta(extra_json_schema={"enum": ["at_most_once", "at_least_once"]})]
Class = Annotated[str, Meta(extra_json_schema={"enum": [one.value for one in CommandClass]})]
LogOutcome = Annotated[str, Meta(extra_json_schema={"enum": ["applied", "duplicate", "ignored"]})]
SequenceNumber = Annotated[
    int, Meta(ge=1, description="Rises by one with each command of a customer id, without a gap.")
]


class CausedBy(Struct, frozen=True, gc=False):
    """The event that led to a command."""

    source: str
    id: str


class PromiseData(Struct, frozen=True, gc=False):
    """What a message promises: the offer's words, its code, and until when it can be redeemed.

    There is no code when the offer has none, and while the promise is `provisional`: to somebody
    who is not known yet.
    """

    text: str
    code: str | None
    valid_until: Timestamp
    provisional: bool


class CommandData(Struct, frozen=True, kw_only=True, gc=False):
    """What every command says."""

    channel: str
    command_class: Class = field(name="class")
    mode: Mode
    journey: str
    journey_version: int
    step: str
    enrollment: str


class MessageSend(CommandData, frozen=True, kw_only=True, gc=False):
    """Send a message, not before `not_before` and not after `expires_at`."""

    recipient: Mapping[str, str] | None
    locale: str | None
    template: str | None
    variables: Mapping[str, Any] | None
    content: Mapping[str, str] | None
    offer: str | None
    not_before: Timestamp | None
    expires_at: Timestamp
    delivery: Delivery
    caused_by: CausedBy
    sequence: SequenceNumber
    promise: PromiseData | UnsetType = UNSET


class TaskCreate(MessageSend, frozen=True, kw_only=True, gc=False):
    """Let a person do something: on which `queue` it waits, and what they have to know."""

    queue: str
    context: TaskContext


class Cancel(CommandData, frozen=True, kw_only=True, gc=False):
    """Do not send, or recall, the commands whose ids are in `cancels`."""

    cancels: tuple[str, ...]
    expires_at: Timestamp
    delivery: Delivery
    caused_by: CausedBy
    sequence: SequenceNumber


class AudienceChange(CommandData, frozen=True, kw_only=True, gc=False):
    """Put the customer into an audience of the ads channel, or take them out."""

    audience: str | None
    recipient: Mapping[str, str] | None
    expires_at: Timestamp
    delivery: Delivery
    caused_by: CausedBy
    sequence: SequenceNumber


COMMAND_DATA: Final[dict[CommandType, type[MessageSend | Cancel | AudienceChange]]] = {
    CommandType.MESSAGE_SEND: MessageSend,
    CommandType.MESSAGE_CANCEL: Cancel,
    CommandType.AUDIENCE_ADD: AudienceChange,
    CommandType.AUDIENCE_REMOVE: AudienceChange,
    CommandType.TASK_CREATE: TaskCreate,
    CommandType.TASK_CLOSE: Cancel,
}


class CommandEnvelope(Struct, frozen=True, gc=False):
    """A command as a structured CloudEvent."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: Timestamp
    data: MessageSend | Cancel | AudienceChange


class FencedEnrollment(Struct, frozen=True, gc=False):
    """A promotional enrollment that is over: drop its commands up to `sequence`.

    The enrollment `*` stands for every one of the customer, who was erased.
    """

    enrollment: str
    ended_at: Timestamp
    sequence: int
    expires_at: Timestamp


class Fence(Struct, frozen=True, gc=False):
    """The value of a record on `fences`; its key is the customer id."""

    enrollments: tuple[FencedEnrollment, ...]


class Origin(Struct, frozen=True, gc=False):
    """Where a producer's record stood first."""

    topic: str
    partition: int
    offset: int


class EventCause(Struct, frozen=True, tag="event", tag_field="kind", omit_defaults=True, gc=False):
    """A consumed record: where it stood and which event it held.

    `subject` is the id that the event names, when that was absorbed into this customer. `origin` is
    where the record stood before it was forwarded home; absent when it was not.
    """

    topic: str
    partition: int
    offset: int
    source: str
    id: str
    type: str
    time: Timestamp
    subject: str | None = None
    origin: Origin | None = None


class TimerCause(Struct, frozen=True, tag="timer", tag_field="kind", gc=False):
    """A wait that came due."""

    due: Timestamp


class VisitCause(Struct, frozen=True, tag="visit", tag_field="kind", gc=False):
    """A journey looked at a customer: at a time of its table, or because it is new."""

    journey: str
    version: int
    occurrence: Timestamp | None = None


class ResumedCause(Struct, frozen=True, tag="resumed", tag_field="kind", gc=False):
    """What is paused has changed; `revision` is the next offset of `control` by then."""

    revision: int


LogCause = EventCause | TimerCause | VisitCause | ResumedCause | NoticeCause


class LogRecord(Struct, frozen=True, omit_defaults=True, gc=False):
    """The value of a record on `journey-log`: one decided input and everything it did.

    `paused` names the pauses that it has met, by scope; it is absent when there were none.
    """

    customer: str
    now: Timestamp
    cause: (
        EventCause | TimerCause | VisitCause | ResumedCause | MergeCause | StateCause | SharedCause
    )
    outcome: LogOutcome
    definitions: str
    entries: tuple[LogEntry, ...]
    paused: tuple[Pause, ...] = ()


class Position(Struct, frozen=True, gc=False):
    """Where a record came from first, and when it was stamped there."""

    topic: str
    partition: int
    offset: int
    time_ms: int


_encoder = json.Encoder()


@lru_cache(maxsize=4096)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339(time_ms: int) -> str:
    """Return the time in UTC with milliseconds, as every record we write spells it."""
    second, millisecond = divmod(min(max(time_ms, 0), LAST_MS), 1000)
    return f"{_second(second)}.{millisecond:03d}Z"


def event_cause(
    position: Position,
    event: Event,
    *,
    customer: str | None = None,
    origin: Position | None = None,
) -> LogCause:
    """Return the cause of a decision about an event, made for this customer; else its subject.

    `origin` is where its record stood first, when it was forwarded.
    """
    first = None
    if origin is not None and origin != position:
        first = Origin(origin.topic, origin.partition, origin.offset)
    return EventCause(
        topic=position.topic,
        partition=position.partition,
        offset=position.offset,
        source=event.source,
        id=event.id,
        type=event.type,
        time=rfc3339(event.time_ms),
        subject=None if customer in (None, event.subject) else event.subject,
        origin=first,
    )


def timer_cause(due_ms: int) -> LogCause:
    """Return the cause of a decision about a wait."""
    return TimerCause(rfc3339(due_ms))


def visit_cause(visit: Visit | Resumed) -> LogCause:
    """Return the cause of a decision about a visit: a journey's, or that after a resume."""
    if isinstance(visit, Resumed):
        return ResumedCause(visit.revision)
    occurrence_ms = visit.occurrence_ms
    occurrence = None if occurrence_ms is None else rfc3339(occurrence_ms)
    return VisitCause(visit.journey, visit.version, occurrence)


def encode_told(event: ToldEvent) -> bytes:
    """Return an event that a step tells, as the structured CloudEvent that producers write."""
    return _encoder.encode(
        {
            "specversion": "1.0",
            "id": event.id,
            "source": SOURCE,
            "type": event.type,
            "subject": event.subject,
            "time": rfc3339(event.time_ms),
            "data": event.data,
        }
    )


def told_headers(event: ToldEvent) -> WrittenHeaders:
    """Return the headers of an event that a step tells."""
    return event_headers(event.id, event.type, event.traceparent)


def encode_command(command: Command) -> bytes:
    """Return the command's structured CloudEvent."""
    data: MessageSend | Cancel | AudienceChange
    common: dict[str, Any] = {
        "channel": command.channel,
        "command_class": command.command_class.value,
        "mode": command.mode,
        "journey": command.journey,
        "journey_version": command.journey_version,
        "step": command.step,
        "enrollment": command.enrollment,
        "expires_at": rfc3339(command.expires_at_ms),
        "delivery": command.delivery,
        "caused_by": CausedBy(command.caused_by.source, command.caused_by.id),
        "sequence": command.sequence,
    }
    kind = COMMAND_DATA[command.type]
    if issubclass(kind, MessageSend):
        not_before_ms = command.not_before_ms
        people: dict[str, Any] = (
            {"queue": command.queue or command.channel, "context": command.context}
            if kind is TaskCreate
            else {}
        )
        data = kind(
            **common,
            **people,
            recipient=command.recipient,
            locale=command.locale,
            template=command.template,
            variables=command.variables,
            content=command.content,
            offer=command.offer,
            not_before=None if not_before_ms is None else rfc3339(not_before_ms),
            promise=_promise(command),
        )
    elif issubclass(kind, Cancel):
        data = Cancel(**common, cancels=command.cancels)
    else:
        data = AudienceChange(
            **common,
            audience=command.audience,
            recipient=command.recipient,
        )
    return _encoder.encode(
        CommandEnvelope(
            specversion="1.0",
            id=command.id,
            source=SOURCE,
            type=command.type.value,
            subject=command.customer,
            time=rfc3339(command.time_ms),
            data=data,
        )
    )


def _promise(command: Command) -> PromiseData | UnsetType:
    said = command.promise
    if said is None:
        return UNSET
    return PromiseData(said.text, said.code, rfc3339(said.valid_until_ms), said.provisional)


def command_headers(command: Command) -> WrittenHeaders:
    """Return the headers of a command, so that a sender can route without parsing."""
    return event_headers(command.id, command.type.value, command.traceparent)


def event_headers(event_id: str, event_type: str, traceparent: str | None) -> WrittenHeaders:
    """Return the headers of a structured CloudEvent, so that a reader can route without parsing."""
    headers: WrittenHeaders = [
        ("content-type", CONTENT_TYPE),
        ("ce_id", event_id.encode()),
        ("ce_type", event_type.encode()),
    ]
    if traceparent is not None:
        headers.append(("traceparent", traceparent.encode()))
    return headers


def encode_fence(entries: Iterable[FenceEntry]) -> bytes | None:
    """Return the value for `fences`; None, which compaction removes, when nothing is fenced."""
    enrollments = tuple(
        FencedEnrollment(
            entry.enrollment,
            rfc3339(entry.ended_at_ms),
            entry.sequence,
            rfc3339(entry.expires_at_ms),
        )
        for entry in entries
    )
    return _encoder.encode(Fence(enrollments)) if enrollments else None


def encode_log(
    *,
    customer: str,
    now_ms: int,
    cause: LogCause,
    outcome: str,
    definitions_hash: str,
    entries: tuple[LogEntry, ...] = (),
    paused: tuple[Pause, ...] = (),
) -> bytes:
    """Return one journey-log record; also duplicates get one, so that everything can be counted."""
    return _encoder.encode(
        LogRecord(customer, rfc3339(now_ms), cause, outcome, definitions_hash, entries, paused)
    )


def dead_letter_headers(
    headers: Headers, *, reason: str, detail: str, origin: Position, now_ms: int
) -> WrittenHeaders:
    """Return the record's own headers followed by why and where from.

    Of a forwarded record, `origin` is where it stood first (`read_forward`), so that a replay puts
    it back to an input topic, and its headers are `without_forward(headers)`.
    """
    return [
        *headers,
        ("dl_reason", reason.encode()),
        ("dl_detail", detail[:DETAIL_CHARACTERS_MAX].encode("utf-8", "replace")),
        ("dl_topic", origin.topic.encode()),
        ("dl_partition", b"%d" % origin.partition),
        ("dl_offset", b"%d" % origin.offset),
        ("dl_time", rfc3339(now_ms).encode()),
    ]
