"""The decision in the making: what the rules write into and `decide` seals.

A draft starts from the customer as stored; rules add commands and log entries and replace
enrollments. Nothing leaves it before `seal`, so a decision is all or nothing by construction.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, assert_never

from msgspec import Struct, msgpack
from msgspec.structs import replace

from orchestrator.core.command import Command, CommandClass, CommandPromise, CommandType
from orchestrator.core.contact import removing
from orchestrator.core.customer import (
    Cause,
    Customer,
    Enrollment,
    FenceEntry,
    JourneyMemory,
    OpenCommand,
    earliest_ms,
)
from orchestrator.core.decision import Decision, Emitted, LogEntry, MessageFinal, Outcome, ToldEvent
from orchestrator.core.expressions.condition import Scope
from orchestrator.core.people.context import TaskContext
from orchestrator.core.people.recent import noted

if TYPE_CHECKING:
    from orchestrator.core.customer import Attribute, Promise
    from orchestrator.core.event import Event
    from orchestrator.core.identity.notices import Notice
    from orchestrator.core.journeys import Journeys
    from orchestrator.core.pauses import Pause
    from orchestrator.core.rules.advance import Walk
    from orchestrator.core.rules.guard.checks import Attempt

_ID_BYTES: Final = 16
# What becomes of a task that nobody has closed in time.
EXPIRED: Final = "expired"
_encode_parts: Final = msgpack.Encoder().encode


class Instruction(Struct, frozen=True, gc=False):
    """What a step asks for; `Draft.emit` adds who, why, and in which order.

    `visit` counts the visits of the step and `note` tells apart what one visit emits more than
    once; both go into the id of the command.
    """

    type: CommandType
    step: str
    channel: str
    command_class: CommandClass
    expires_at_ms: int
    delivery: str = "at_least_once"
    visit: int = 1
    note: str = ""
    template: str | None = None
    variables: Mapping[str, Any] | None = None
    content: Mapping[str, str] | None = None
    audience: str | None = None
    cancels: tuple[str, ...] = ()
    offer: str | None = None
    promise: CommandPromise | None = None
    queue: str | None = None
    context: TaskContext | None = None
    sent_under: str | None = None


class Draft:
    """One decision while the rules work on it.

    `enrollments` and the other parts of the state start as the stored ones; a rule that changes
    one replaces it, so that the stored customer stays as it is.
    """

    __slots__ = (
        "asked",
        "attributes",
        "business",
        "cause",
        "commands",
        "contact",
        "contenders",
        "customer",
        "derived",
        "earned",
        "enrollments",
        "entries",
        "erased",
        "event",
        "exits",
        "exits_dropped",
        "fence",
        "hours",
        "journeys",
        "kin",
        "memories",
        "notices",
        "now_ms",
        "orders",
        "paused",
        "promises",
        "promoted",
        "scope_",
        "seen",
        "seen_times",
        "sequence",
        "told",
        "watches",
    )

    def __init__(
        self,
        journeys: Journeys,
        customer: Customer,
        now_ms: int,
        event: Event | None,
        cause: Cause | None = None,
    ) -> None:
        self.journeys: Final = journeys
        self.customer: Final = customer
        self.now_ms: Final = now_ms
        self.event: Final = event
        # What a notice names as its reason, where there is no event.
        self.cause: Final = cause
        self.seen = customer.seen
        self.seen_times = customer.seen_times
        self.business = customer.business
        self.attributes = customer.attributes
        self.orders = customer.orders
        self.enrollments = customer.enrollments
        self.memories = customer.memories
        self.exits = customer.exits
        self.fence = customer.fence
        self.sequence = customer.sequence
        self.watches = customer.watches
        self.asked = customer.asked
        self.promises = customer.promises
        self.contact = customer.contact
        self.earned = customer.earned
        self.hours = customer.hours
        self.erased = customer.erased
        self.kin = customer.kin
        self.notices: list[Notice] = []
        self.derived = customer.derived
        # Promotions that wait for the arbitration, and the enrollment that has sent one.
        self.contenders: list[tuple[Walk, Attempt]] = []
        self.promoted: str | None = None
        self.told: list[ToldEvent] = []
        self.paused: dict[str, Pause] = {}
        self.exits_dropped = 0
        self.commands: list[Command] = []
        self.entries: list[LogEntry] = []
        self.scope_: Scope | None = None

    @property
    def scope(self) -> Scope:
        """What expressions see; opened when the first one is evaluated, after the event applied."""
        if self.scope_ is None:
            self.scope_ = self.scope_over(self.event)
        return self.scope_

    @property
    def scope_before(self) -> Scope:
        """What expressions over the profile saw before this decision."""
        reads = self.journeys.reads_of_profile
        lens = self.journeys.lens
        return Scope(self.customer.attributes, self.now_ms, event=None, reads=reads, lens=lens)

    def scope_over(self, event: Event | None) -> Scope:
        """Open a scope in which `event` is this one, with the customer's present profile."""
        journeys = self.journeys
        if event is None:
            reads = journeys.reads_when_due
        else:
            reads = journeys.reads_on.get(event.type, journeys.reads_set_off)
        return Scope(
            self.attributes,
            self.now_ms,
            event=event,
            reads=reads,
            promises=self.promises,
            lens=journeys.lens,
        )

    def change_attributes(self, attributes: Mapping[str, Attribute]) -> None:
        """Replace the profile; what is evaluated from here on sees the new one."""
        self.attributes = attributes
        self.scope_ = None

    def change_promises(self, promises: Mapping[str, Promise]) -> None:
        """Replace the promise ledger; what is evaluated from here on sees the new one."""
        self.promises = promises
        self.scope_ = None

    def cause_of(self, enrollment: Enrollment) -> Cause:
        """Return the event of this decision; what a timer does, the entering event caused."""
        event = self.event
        if event is None:
            return enrollment.cause if self.cause is None else self.cause
        return Cause(event.source, event.id)

    def expires_at_ms(
        self, command_class: CommandClass, due_ms: int, after_ms: int | None = None
    ) -> int:
        """Return until when a command may be acted on: its own time, else the shop's."""
        if after_ms is not None:
            return due_ms + after_ms
        expiry = self.journeys.shop.expires_after
        match command_class:
            case CommandClass.PROMOTIONAL:
                return due_ms + expiry.promotional
            case CommandClass.SERVICE:
                return due_ms + expiry.service
            case CommandClass.TRANSACTIONAL:
                return due_ms + expiry.transactional
            case _:
                assert_never(command_class)

    def log(self, entry: LogEntry) -> None:
        """Add one entry for the journey log."""
        self.entries.append(entry)

    def put(self, enrollment: Enrollment) -> None:
        """Add an enrollment, or replace the one with its id."""
        for index, held in enumerate(self.enrollments):
            if held.id == enrollment.id:
                before, after = self.enrollments[:index], self.enrollments[index + 1 :]
                self.enrollments = (*before, enrollment, *after)
                return
        self.enrollments = (*self.enrollments, enrollment)

    def drop(self, enrollment: Enrollment) -> None:
        """Remove an enrollment from the state."""
        self.enrollments = tuple(e for e in self.enrollments if e.id != enrollment.id)

    def entered_before(self, journey: str) -> int:
        """Return the last ordinal of a journey; who comes after an erasure begins behind its."""
        memory = self.memories.get(journey)
        if memory is not None:
            return memory.entries
        return 0 if self.erased is None else self.erased.entries

    def remember(self, journey: str, memory: JourneyMemory) -> None:
        """Replace what is known about a journey beyond its enrollments."""
        self.memories = {**self.memories, journey: memory}

    def forget_expired(self) -> None:
        """Let go of open commands that nobody may act on any more, and of what only they kept.

        A membership of an audience does not expire. That a task was not done is worth a line.
        """
        now_ms = self.now_ms
        for enrollment in self.enrollments:
            for command in enrollment.open_commands:
                if _is_expired(command, now_ms):
                    self._forget_expired_of(enrollment)
                    break

    def _forget_expired_of(self, enrollment: Enrollment) -> None:
        left = []
        for command in enrollment.open_commands:
            if not _is_expired(command, self.now_ms):
                left.append(command)
            elif command.kind == "task":
                self.log(MessageFinal(command.id, enrollment.id, EXPIRED))
        self.put_open(enrollment, tuple(left))

    def put_open(self, enrollment: Enrollment, still_open: tuple[OpenCommand, ...]) -> None:
        """Replace an enrollment's open commands; who has run to the end goes with the last."""
        if enrollment.step is None and not still_open:
            self.drop(enrollment)
        else:
            self.put(replace(enrollment, open_commands=still_open))

    def fence_off(self, entry: FenceEntry) -> None:
        """Add an enrollment to the customer's fences, without those that no longer matter."""
        kept = (held for held in self.fence if held.expires_at_ms >= self.now_ms)
        self.fence = (*kept, entry)

    def emit(self, enrollment: Enrollment, instruction: Instruction) -> Command:
        """Give birth to a command: its id and sequence are fixed here, for ever."""
        self.sequence += 1
        cause = self.cause_of(enrollment)
        command = Command(
            id=command_id(self.customer.id, enrollment.id, cause, instruction),
            type=instruction.type,
            customer=self.customer.id,
            time_ms=self.now_ms,
            channel=instruction.channel,
            command_class=instruction.command_class,
            mode=self.journeys.mode,
            journey=enrollment.journey,
            journey_version=enrollment.version,
            step=instruction.step,
            enrollment=enrollment.id,
            caused_by=cause,
            sequence=self.sequence,
            expires_at_ms=instruction.expires_at_ms,
            delivery=instruction.delivery,
            recipient=self.journeys.recipients.get(instruction.channel),
            locale=self.locale(),
            template=instruction.template,
            variables=instruction.variables,
            content=instruction.content,
            audience=instruction.audience,
            cancels=instruction.cancels,
            offer=instruction.offer,
            promise=instruction.promise,
            queue=instruction.queue,
            context=instruction.context,
            sent_under=instruction.sent_under,
            traceparent=None if self.event is None else self.event.traceparent,
        )
        self.commands.append(command)
        if command.type is CommandType.AUDIENCE_REMOVE:
            self.contact = removing(self.contact, command.id, self.now_ms)
        elif command.type is CommandType.MESSAGE_SEND and self.journeys.tells_people(command):
            self.contact = noted(self.contact, command)
        self.log(
            Emitted(
                command=command.id,
                type=command.type,
                channel=command.channel,
                command_class=command.command_class,
                enrollment=enrollment.id,
                step=command.step,
                sequence=command.sequence,
            )
        )
        return command

    def locale(self) -> str:
        """Return the customer's locale, else the shop's."""
        attribute = self.attributes.get("locale")
        if attribute is not None and isinstance(attribute.value, str) and attribute.value:
            return attribute.value
        return self.journeys.shop.locale

    def seal(self) -> Decision:
        """Return the whole decision."""
        before = self.customer
        customer = Customer(
            id=before.id,
            sequence=self.sequence,
            now_ms=self.now_ms,
            seen=self.seen,
            business=self.business,
            attributes=self.attributes,
            orders=self.orders,
            enrollments=self.enrollments,
            memories=self.memories,
            exits=self.exits,
            fence=self.fence,
            extensions=before.extensions,
            watches=self.watches,
            asked=self.asked,
            promises=self.promises,
            contact=self.contact,
            earned=self.earned,
            hours=self.hours,
            erased=self.erased,
            seen_times=self.seen_times,
            kin=self.kin,
            derived=self.derived,
        )
        return Decision(
            outcome=Outcome.APPLIED,
            customer=customer,
            now_ms=self.now_ms,
            commands=tuple(self.commands),
            entries=tuple(self.entries),
            fence=None if self.fence is before.fence else self.fence,
            wake_at_ms=earliest_ms(self.enrollments, self.watches, self.erased, self.derived),
            exits_dropped=self.exits_dropped,
            told=tuple(self.told),
            paused=tuple(self.paused[scope] for scope in sorted(self.paused)),
            notices=tuple(self.notices),
        )


def command_id(customer: str, enrollment: str, cause: Cause, instruction: Instruction) -> str:
    """Derive the id of a command from what makes it this one; MessagePack keeps the parts apart."""
    parts = (
        customer,
        enrollment,
        instruction.step,
        instruction.visit,
        instruction.channel,
        instruction.type.value,
        instruction.note,
        cause.source,
        cause.id,
    )
    return derived_id(parts)


def derived_id(parts: tuple[str | int, ...]) -> str:
    """Return the id that follows from these parts, 32 hexadecimal digits."""
    return blake2b(_encode_parts(parts), digest_size=_ID_BYTES).hexdigest()


def _is_expired(command: OpenCommand, now_ms: int) -> bool:
    return command.expires_at_ms < now_ms and command.kind != "audience"
