"""The public form of the topics, read back: log lines, commands, fences, dead letters, forwards.

Everything here follows CONTRACT and the JSON of the journey log, and is written apart from the
worker's own codec, so that one mistake does not excuse the other. The checker takes the result.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from msgspec import msgpack

from bench.crash.judge.kin import INDEX_BYTE, rank
from orchestrator.core.encoded.state import decode_customer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.crash.judge.history import History, Place, Record
    from orchestrator.core.customer import Customer


HOPS_MAX: Final = 16
"""So often a record may be sent on: to its home, and for each merge of its customer."""
TOLD: Final = frozenset({"merge", "state", "shared"})
"""The causes in the journey log that another owner has told."""
_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must not be, and where it can be looked at."""

    kind: str
    what: str
    place: Place | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the machine-readable form."""
        topic, partition, offset = self.place or (None, None, None)
        return {
            "kind": self.kind,
            "what": self.what,
            "topic": topic,
            "partition": partition,
            "offset": offset,
        }


@dataclass(frozen=True, slots=True)
class LogLine:
    """One decided input, as the journey log tells it. `source` is that of an event only.

    `told` is where a notice of another owner stands, or the event or notice by which somebody
    learned that they are another one. `about` is the survivor of a merge, and whose state came.
    """

    record: Record
    customer: str
    now_ms: int
    source: Place | None
    due_ms: int | None
    event: tuple[str, str] | None
    outcome: str
    entries: tuple[Mapping[str, Any], ...]
    kind: str = "event"
    told: Place | None = None
    about: str | None = None
    paused: tuple[Mapping[str, Any], ...] = ()
    """The pauses that the decision has met."""
    revision: int | None = None
    """Of what is paused, when a change of that is the cause."""

    def of_kind(self, kind: str) -> list[Mapping[str, Any]]:
        """Return the entries of one kind."""
        return [entry for entry in self.entries if entry["kind"] == kind]


@dataclass(frozen=True, slots=True)
class CommandLine:
    """One record of a command topic."""

    record: Record
    id: str
    type: str
    customer: str
    data: Mapping[str, Any]

    @property
    def sequence(self) -> int:
        """The customer's running number."""
        return int(self.data["sequence"])

    @property
    def promotional(self) -> bool:
        """Whether its class is promotional."""
        return bool(self.data["class"] == "promotional")


@dataclass(frozen=True, slots=True)
class FenceLine:
    """One enrollment of one record of `fences`."""

    record: Record
    customer: str
    enrollment: str
    sequence: int
    ended_at_ms: int
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class Word:
    """One record of `control`: since when a scope is paused, or is not any more."""

    record: Record
    scope: str
    paused: bool
    said: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Notice:
    """What one owner tells another on the forward topic, and how often it was sent on.

    `about` says it all: of a merge the survivor and the cause, of a state the absorbed id and the
    cause, of an address the customer and whether they have it no longer, or who shares it.
    """

    record: Record
    kind: str
    key: bytes
    about: tuple[Any, ...]
    hops: int

    @property
    def said(self) -> tuple[Any, ...]:
        """What was told, and how often it had been sent on by then: equal for equal words."""
        return self.kind, self.key, self.about, self.hops


@dataclass(slots=True)
class Reading:
    """All topics, understood. What cannot be understood is a violation of its own."""

    history: History
    log: list[LogLine] = field(default_factory=list)
    by_customer: dict[str, list[LogLine]] = field(default_factory=lambda: defaultdict(list))
    commands: list[CommandLine] = field(default_factory=list)
    fences: list[FenceLine] = field(default_factory=list)
    inputs: dict[Place, Record] = field(default_factory=dict)
    forwards: dict[Place, Record] = field(default_factory=dict)
    """By the place that a record was forwarded from."""
    ways: dict[tuple[Place, int], Record] = field(default_factory=dict)
    """Forwarded records by where they stood first and how often they were sent on."""
    notices: list[Notice] = field(default_factory=list)
    controls: list[Word] = field(default_factory=list)
    """What somebody said about pauses, in the order of the topic."""
    dead: list[tuple[Place, str, Record]] = field(default_factory=list)
    """The place a dead letter names, its reason, and the dead letter."""
    violations: list[Violation] = field(default_factory=list)

    def report(self, kind: str, what: str, place: Place | None = None) -> None:
        """Add a violation."""
        self.violations.append(Violation(kind, what, place))

    def arrival(self, place: Place) -> Place:
        """Return where a record was decided: a forwarded one where it arrived."""
        for _ in range(HOPS_MAX):
            forward = self.forwards.get(place)
            if forward is None:
                break
            place = forward.place
        return place

    def people(self) -> list[tuple[str, list[LogLine]]]:
        """Return the lines of each customer; who is absorbed comes before who absorbs them."""
        ordered = sorted(self.by_customer, key=rank, reverse=True)
        return [(customer, self.by_customer[customer]) for customer in ordered]


def duration_ms(text: str) -> int:
    """Read `3d` or `20s`."""
    return int(text[:-1]) * _UNITS_MS[text[-1]]


def milliseconds(text: str) -> int:
    """Read an RFC 3339 instant."""
    instant = datetime.fromisoformat(text)
    return round(instant.timestamp() * 1000)


def read(history: History) -> Reading:
    """Read all topics of a history."""
    reading = Reading(history)
    names = history.names
    for topic in history.consumed_topics():
        for record in history.of(topic):
            reading.inputs[record.place] = record
    _each(reading, names.forward, _read_forward)
    _link(reading)
    _each(reading, names.dead_letters, _read_dead_letter)
    _each(reading, names.journey_log, _read_log)
    _each(reading, names.fences, _read_fence)
    _each(reading, names.control, _read_control)
    for topic in history.command_topics():
        _each(reading, topic, _read_command)
    return reading


def _each(reading: Reading, topic: str, reader: Any) -> None:
    for record in reading.history.of(topic):
        try:
            reader(reading, record)
        except (KeyError, TypeError, ValueError) as error:
            reading.report(
                "wrong", f"{topic} holds a record that is not its form: {error!r}", record.place
            )


def _origin(record: Record, prefix: str) -> Place:
    topic = record.header(f"{prefix}_topic")
    if topic is None:
        raise ValueError(f"no header {prefix}_topic")
    return (
        topic,
        int(record.header(f"{prefix}_partition") or "x"),
        int(record.header(f"{prefix}_offset") or "x"),
    )


def _read_forward(reading: Reading, record: Record) -> None:
    hops = int(record.header("fw_hops") or "x")
    if hops > HOPS_MAX:
        reading.report("hops", f"was sent on {hops} times", record.place)
    if record.header("fw_kind") is not None:
        reading.notices.append(read_notice(record, hops))
        return
    origin = _origin(record, "fw")
    if (origin, hops) in reading.ways:
        text = f"{_show(origin)} was forwarded twice as number {hops} of its way"
        reading.report("doubled", text, record.place)
        return
    reading.ways[origin, hops] = record


def _link(reading: Reading) -> None:
    """Find for each forwarded record the one that it was made of."""
    for (origin, hops), record in reading.ways.items():
        before = reading.ways.get((origin, hops - 1))
        if hops > 1 and before is None:
            text = f"{_show(origin)} was sent on for the {hops}th time, but not before"
            reading.report("wrong", text, record.place)
        reading.forwards[origin if before is None else before.place] = record


def read_notice(record: Record, hops: int) -> Notice:
    """Read a record of the forward topic that is no event."""
    kind, key, value = record.header("fw_kind") or "", record.key or b"", record.value or b""
    cause = (record.header("fw_source"), record.header("fw_id"))
    match kind:
        case "merge":
            about: tuple[Any, ...] = (record.header("fw_into"), *cause)
        case "state":
            about = (state_of(value).id, *cause)
        case "claim":
            about = (record.header("fw_by"), value.decode(), record.header("fw_ended") == "1")
        case "shared":
            digest = next(value for name, value in record.headers if name == "fw_sha256")
            about = (record.header("fw_by"), digest, tuple(msgpack.decode(value)))
        case _:
            raise ValueError(f"there is no notice {kind}")
    return Notice(record, kind, key, about, hops)


def state_of(value: bytes) -> Customer:
    """Read how the changelog and a leaving state hold a customer."""
    return decode_customer(value)


def newest_states(history: History) -> Iterator[tuple[str, Record, bytes]]:
    """Yield each customer that the changelog ends with, its record, and the record's value."""
    last = {
        (record.partition, record.key): record for record in history.of(history.names.changelog)
    }
    for (_, key), record in last.items():
        if key is None or key[:1] in {INDEX_BYTE, b"\xff"} or record.value is None:
            continue
        yield key.decode(), record, record.value


def _read_dead_letter(reading: Reading, record: Record) -> None:
    reading.dead.append((_origin(record, "dl"), record.header("dl_reason") or "", record))


def _read_log(reading: Reading, record: Record) -> None:
    value = json.loads(record.value or b"")
    cause = value["cause"]
    kind = cause["kind"]
    line = LogLine(
        record=record,
        customer=value["customer"],
        now_ms=milliseconds(value["now"]),
        source=(cause["topic"], cause["partition"], cause["offset"]) if kind == "event" else None,
        kind=kind,
        told=(cause["topic"], cause["partition"], cause["offset"]) if kind in TOLD else None,
        about=cause.get("survivor") or cause.get("absorbed"),
        due_ms=milliseconds(cause["due"]) if kind == "timer" else None,
        event=(cause["source"], cause["id"]) if "source" in cause else None,
        outcome=value["outcome"],
        entries=tuple(value["entries"]),
        paused=tuple(value.get("paused", ())),
        revision=cause["revision"] if kind == "resumed" else None,
    )
    if record.key != line.customer.encode():
        reading.report("wrong", "the log record's key is not its customer", record.place)
    reading.log.append(line)
    reading.by_customer[line.customer].append(line)


def _read_fence(reading: Reading, record: Record) -> None:
    if record.value is None:
        return
    customer = (record.key or b"").decode()
    for entry in json.loads(record.value)["enrollments"]:
        reading.fences.append(
            FenceLine(
                record,
                customer,
                entry["enrollment"],
                entry["sequence"],
                milliseconds(entry["ended_at"]),
                milliseconds(entry["expires_at"]),
            )
        )


def _read_control(reading: Reading, record: Record) -> None:
    said = json.loads(record.value or b"{}")
    scope = (record.key or b"").decode()
    reading.controls.append(Word(record, scope, bool(said.get("paused")), said))


def _read_command(reading: Reading, record: Record) -> None:
    value = json.loads(record.value or b"")
    command = CommandLine(record, value["id"], value["type"], value["subject"], value["data"])
    if record.key != command.customer.encode():
        reading.report("wrong", "the command's key is not its subject", record.place)
    channel = command.data["channel"]
    lane = f"{reading.history.names.commands_prefix}{channel}"
    if record.topic not in {lane, f"{lane}.promotional"}:
        reading.report("wrong", f"a command of {channel} on another channel's topic", record.place)
    if command.sequence < 1:
        raise ValueError("sequence is below 1")
    reading.commands.append(command)


def _show(place: Place) -> str:
    return "{}[{}]@{}".format(*place)


def show(places: Sequence[Place]) -> str:
    """Write places as people look them up."""
    return ", ".join(map(_show, places))
