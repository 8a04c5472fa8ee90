"""Makes recorded decisions again: same input, same order, same `now`, so the same bytes.

`cli/replay` reads the topics and calls `redo` for every record of the journey log, in its order,
then `leftover` once. Nothing here knows Kafka. What cannot be told, because a record has expired or
other journeys had decided, is counted and never called a difference.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import orjson

from orchestrator.core.customer import Cause, Customer
from orchestrator.core.decide import decide
from orchestrator.core.decision import Decision, Outcome
from orchestrator.core.encoded.state import decode_customer, encode_customer
from orchestrator.core.event import Event, Input, Resumed, TimerFired, Visit
from orchestrator.core.identity.notices import AddressClaimed, MergeAsked
from orchestrator.core.pauses import Pauses
from orchestrator.errors import EventRejected
from orchestrator.protocol import codec, outputs
from orchestrator.protocol.causes import MergeCause, SharedCause, StateCause
from orchestrator.protocol.forward.notices import read_notice
from orchestrator.protocol.forward.way import read_forward
from orchestrator.protocol.outputs import (
    EventCause,
    LogRecord,
    Position,
    ResumedCause,
    TimerCause,
    VisitCause,
)
from orchestrator.simulator.scenario import parse_instant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.core.command import Command
    from orchestrator.core.journeys import Journeys
    from orchestrator.protocol.commit.names import TopicNames

# The causes that are a record, without which the decision cannot be made again.
RECORDED: Final = (EventCause, StateCause, SharedCause)
NO_RECORD: Final = "the record that the log names as the cause is no longer on its topic"
OTHER_JOURNEYS: Final = "decided with other journeys than these"
AFTER_UNKNOWN: Final = "after a decision that could not be made again"
UNKNOWN_PAST: Final = "something came before the oldest record of the journey log"
COMMAND_EXPIRED: Final = "a command that its topic no longer keeps"

_records: Final = msgspec.json.Decoder(LogRecord)


class Recorded(NamedTuple):
    """One committed record, wherever it stands."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int = 0

    @property
    def place(self) -> str:
        """Where it stands, as people name it."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class Mismatch(NamedTuple):
    """Something on a topic that is not what the decision gives when it is made again."""

    place: str
    what: str
    recorded: str = ""
    recomputed: str = ""


class Step(NamedTuple):
    """One decision, made again. `decision` is None when it could not be."""

    record: LogRecord | None
    decision: Decision | None
    cause: Recorded | None
    mismatches: tuple[Mismatch, ...] = ()


class Rules(NamedTuple):
    """What every decision has in common; `trimmed` names partitions that lost their oldest part.

    `journeys` returns those of a content hash, or None when nobody has them any more.
    """

    journeys: Callable[[str], Journeys | None]
    names: TopicNames
    event_bytes_max: int
    trimmed: frozenset[tuple[str, int]] = frozenset()


class Replay:
    """The customers of one home partition, from their first recorded decision on."""

    def __init__(
        self, rules: Rules, home: int, commands: Mapping[tuple[str, str], list[Recorded]]
    ) -> None:
        self._rules: Final = rules
        self._trimmed_log: Final = (rules.names.journey_log, home) in rules.trimmed
        self._states: dict[str, bytes] = {}
        self._unknown: set[str] = set()
        self._commands: Final = {place: list(found) for place, found in commands.items()}
        self._last_offsets: dict[tuple[str, int, str], int] = {}
        self.identical = 0
        self.skipped: Counter[str] = Counter()

    def redo(self, log: Recorded, cause: Recorded | None) -> Step:
        """Make the decision of one log record again. `cause` is None for a wait, or when gone."""
        try:
            record = _records.decode(log.value or b"")
            now_ms = parse_instant(record.now)
        except (msgspec.DecodeError, ValueError) as error:
            return Step(None, None, cause, (Mismatch(log.place, f"is no log record: {error}"),))
        if reason := self._why_not(record, cause):
            self._unknown.add(record.customer)
            self.skipped[reason] += 1
            return Step(record, None, cause)
        what = self._input(record, cause)
        if isinstance(what, Mismatch):
            return Step(record, None, cause, (what,))
        before = self._customer(record.customer)
        journeys = self._rules.journeys(record.definitions)
        assert journeys is not None, "asked before"
        if record.paused:
            journeys = journeys.pausing(Pauses(record.paused))
        decision = decide(journeys, before, what, now_ms)
        if decision.outcome is Outcome.APPLIED:
            self._states[record.customer] = encode_customer(decision.customer)
        mismatches = [*self._log_faults(record, decision, log, what, cause)]
        for command in decision.commands:
            mismatches += self._command_faults(command)
        if mismatches and self._trimmed_log:
            # Its own past may have expired with the oldest part of the log; that proves nothing.
            self._unknown.add(record.customer)
            self.skipped[UNKNOWN_PAST] += 1
            return Step(record, None, cause)
        self.identical += not mismatches
        return Step(record, decision, cause, tuple(mismatches))

    def leftover(self, settled: Mapping[tuple[str, int], int]) -> list[Mismatch]:
        """Return the commands that no decision made, among those below the settled offsets."""
        return [
            Mismatch(one.place, "no recorded decision makes this command", _text(one.value))
            for found in self._commands.values()
            for one in found
            if (one.key or b"").decode("utf-8", "replace") not in self._unknown
            and one.offset < settled.get((one.topic, one.partition), 0)
            and not self._trimmed_log
        ]

    def _why_not(self, record: LogRecord, cause: Recorded | None) -> str | None:
        if record.customer in self._unknown:
            return AFTER_UNKNOWN
        if self._rules.journeys(record.definitions) is None:
            return OTHER_JOURNEYS
        named = record.cause
        gone = isinstance(named, RECORDED) and cause is None
        if gone and (named.topic, named.partition) in self._rules.trimmed:  # type: ignore[union-attr]  # Only a record is gone.
            return NO_RECORD
        return None

    def _input(self, record: LogRecord, cause: Recorded | None) -> Input | Mismatch:
        named = record.cause
        if isinstance(named, TimerCause):
            return TimerFired(parse_instant(named.due))
        if isinstance(named, VisitCause):
            occurrence = named.occurrence
            occurrence_ms = None if occurrence is None else parse_instant(occurrence)
            return Visit(named.journey, named.version, occurrence_ms)
        if isinstance(named, ResumedCause):
            return Resumed(named.revision)
        if isinstance(named, MergeCause):
            asked = Cause(named.source, named.id)
            return MergeAsked(record.customer, named.survivor, asked)
        place = f"{named.topic}/{named.partition}/{named.offset}"
        if cause is None:
            return Mismatch(place, "the journey log names this record as a cause; it is not there")
        if not isinstance(named, EventCause):
            return _told(cause, place)
        forwarded = cause.topic == self._rules.names.forward
        way = read_forward(cause.headers) if forwarded else None
        try:
            return codec.decode_event(
                cause.key,
                cause.value,
                cause.headers,
                event_bytes_max=self._rules.event_bytes_max,
                forwarded=forwarded,
                record_time_ms=way.origin.time_ms if way is not None else cause.timestamp_ms,
            )
        except EventRejected as rejected:
            return Mismatch(place, f"was decided, and is now a dead letter: {rejected}")

    def _log_faults(
        self,
        record: LogRecord,
        decision: Decision,
        log: Recorded,
        what: Input,
        cause: Recorded | None,
    ) -> list[Mismatch]:
        named = record.cause
        if isinstance(what, Event) and cause is not None:
            at = Position(cause.topic, cause.partition, cause.offset, cause.timestamp_ms)
            origin = self._origin(record, cause)
            named = outputs.event_cause(at, what, customer=decision.customer.id, origin=origin)
        value = outputs.encode_log(
            customer=decision.customer.id,
            now_ms=decision.now_ms,
            cause=named,
            outcome=decision.outcome.value,
            definitions_hash=record.definitions,
            entries=decision.entries,
            paused=decision.paused,
        )
        if value == log.value:
            return []
        was, again = orjson.loads(log.value or b"null"), orjson.loads(value)
        found = [
            Mismatch(log.place, name, *_both(one, other))
            for name, one, other in _different("", was, again)
        ]
        return found or [Mismatch(log.place, "same content, other bytes", *_both(was, again))]

    def _origin(self, record: LogRecord, cause: Recorded) -> Position | None:
        """Return where a forwarded record stood first; older releases did not note it."""
        noted = isinstance(record.cause, outputs.EventCause) and record.cause.origin is not None
        way = read_forward(cause.headers) if noted else None
        return None if way is None else way.origin

    def _command_faults(self, command: Command) -> list[Mismatch]:
        names = self._rules.names
        topic = (names.promotional if command.promotional_lane else names.commands)[command.channel]
        found = self._commands.get((topic, command.id), [])
        if not found:
            if any(trimmed == topic for trimmed, _ in self._rules.trimmed):
                self.skipped[COMMAND_EXPIRED] += 1
                return []
            return [Mismatch(topic, f"command {command.id} of step {command.step} is not there")]
        recorded = found.pop(0)
        faults = []
        value = outputs.encode_command(command)
        if recorded.value != value or recorded.key != command.customer.encode():
            both = _both(_text(recorded.value), value.decode())
            faults.append(Mismatch(recorded.place, f"command {command.id}", *both))
        if list(recorded.headers) != list(outputs.command_headers(command)):
            both = str(recorded.headers), str(outputs.command_headers(command))
            faults.append(Mismatch(recorded.place, f"headers of command {command.id}", *both))
        lane = (topic, recorded.partition, command.customer)
        if recorded.offset <= self._last_offsets.get(lane, -1):
            faults.append(
                Mismatch(recorded.place, "stands before an older command of the customer")
            )
        self._last_offsets[lane] = recorded.offset
        return faults

    def _customer(self, customer_id: str) -> Customer:
        value = self._states.get(customer_id)
        return Customer(customer_id) if value is None else decode_customer(value)


def _told(cause: Recorded, place: str) -> Input | Mismatch:
    """Return what another owner had told."""
    try:
        notice = read_notice(cause.key, cause.value, cause.headers)
    except EventRejected as rejected:
        return Mismatch(place, f"was decided, and is now a dead letter: {rejected}")
    if isinstance(notice, AddressClaimed):
        return Mismatch(place, "was decided, and is about no customer")
    return notice


def command_place(record: Recorded) -> tuple[str, str]:
    """Return under what a recorded command is looked for: its topic and its id."""
    marks = dict(record.headers)
    return record.topic, marks.get("ce_id", b"").decode("utf-8", "replace")


def _different(name: str, was: Any, again: Any) -> list[tuple[str, Any, Any]]:
    """Return the innermost values that differ, with where they stand."""
    if isinstance(was, dict) and isinstance(again, dict):
        return [
            one
            for key in {**was, **again}
            for one in _different(f"{name}.{key}".lstrip("."), was.get(key), again.get(key))
        ]
    if isinstance(was, list) and isinstance(again, list) and len(was) == len(again):
        return [
            one
            for at, (left, right) in enumerate(zip(was, again, strict=True))
            for one in _different(f"{name}[{at}]", left, right)
        ]
    return [] if was == again else [(name, was, again)]


def _both(recorded: Any, recomputed: Any) -> tuple[str, str]:
    """Return two values as text: JSON, or as they are when they are text already."""

    def text(value: Any) -> str:
        return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()

    return text(recorded), text(recomputed)


def _text(value: bytes | None) -> str:
    return "nothing" if value is None else value.decode("utf-8", "replace")
