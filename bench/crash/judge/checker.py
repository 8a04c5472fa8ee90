"""The judge. From the topics alone: was anything lost, doubled, out of order, late, wrong.

`judge` takes a `History` (from Kafka, or built by a test) and returns a report. Structure is judged
here: accounts of every consumed record, order, ids, sequences, fences, waits, state. What the
effects should have been is judged by `reference`, which replays every customer's inputs in the
recorded order with the recorded `now`.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bench.crash.judge.fences import judge_fences
from bench.crash.judge.history import History, Place, Record, home_of
from bench.crash.judge.laws import judge_laws
from bench.crash.judge.pauses import PAUSE_LAG_MS, judge_pauses
from bench.crash.judge.person import Occurrence, Person, understand
from bench.crash.judge.records import (
    CommandLine,
    LogLine,
    Reading,
    Violation,
    newest_states,
    read,
    show,
    state_of,
)
from bench.crash.judge.reference import Model
from bench.crash.judge.replay import Replay
from bench.crash.judge.telling import Telling, judge_ways
from bench.crash.judge.waits import AHEAD_MS_MAX, judge_waits

if TYPE_CHECKING:
    from pathlib import Path

KINDS: Final = {
    "lost": "lost",
    "doubled": "doubled",
    "order": "out of order",
    "promotional": "promotional-after-purchase",
    "gap": "sequence gaps",
    "wait": "waits lost or early",
    "late": "waits too late",
    "wrong": "wrong effects",
    "state": "state differs",
    "cap": "over a cap",
    "consent": "without consent",
    "quiet": "in quiet hours",
    "promise": "contradicting promises",
    "twice": "on two channels",
    "lane": "transactional refused",
    "pause": "against a pause",
    "held": "held and not answered once",
    "identity": "not one customer",
    "erased": "after an erasure",
    "hops": "forwarded for ever",
}
LATENESS_MS_MAX: Final = 300_000
"""So late may a wait be in a run whose faults follow each other; a takeover is far shorter."""

Events = Mapping[Place, Occurrence | str]
"""What each consumed record holds: an event, or the reason why there is none."""


@dataclass(slots=True)
class Report:
    """What was judged, and what was found."""

    violations: list[Violation]
    counts: Counter[str]
    lateness_ms: list[int] = field(default_factory=list)

    @property
    def found(self) -> Counter[str]:
        """Violations by kind."""
        return Counter(violation.kind for violation in self.violations)

    def summary(self) -> str:
        """Return the one line that a person reads."""
        found = self.found
        return ", ".join(f"{name} {found[kind]}" for kind, name in KINDS.items())

    def as_json(self) -> dict[str, Any]:
        """Return the machine-readable form; at most a thousand violations are spelled out."""
        late = sorted(self.lateness_ms)
        return {
            "passed": not self.violations,
            "summary": self.summary(),
            "found": {name: self.found[kind] for kind, name in KINDS.items()},
            "counts": dict(sorted(self.counts.items())),
            "wait_lateness_ms": {
                "p50": late[len(late) // 2] if late else None,
                "p99": late[len(late) * 99 // 100] if late else None,
                "max": late[-1] if late else None,
            },
            "violations": [violation.as_json() for violation in self.violations[:1000]],
        }


def judge(
    history: History,
    journeys: Path | Model,
    *,
    acknowledged: Mapping[Place, int] | None = None,
    lateness_ms_max: int = LATENESS_MS_MAX,
    event_bytes_max: int = 1_000_000,
    pause_lag_ms: int = PAUSE_LAG_MS,
) -> Report:
    """Judge a history after everything has come to rest.

    `journeys` is their folder, or what was read from there before.
    """
    reading = read(history)
    counts: Counter[str] = Counter()
    model = journeys if isinstance(journeys, Model) else Model(journeys)
    notices = {notice.record.place for notice in reading.notices}
    events = {
        place: understand(record, event_bytes_max, forwarded=place[0] == history.names.forward)
        for place, record in reading.inputs.items()
        if place not in notices
    }
    telling = Telling(reading)
    _judge_broker(reading, acknowledged or {})
    _judge_accounts(reading, events, telling.became, counts)
    judge_ways(reading, telling.became)
    telling.judge_homes(history.names.partitions)
    _judge_order(reading)
    _judge_commands(reading, counts)
    judge_fences(reading, model)
    lateness = judge_waits(reading, lateness_ms_max, counts)
    judge_laws(reading, model, events)
    judge_pauses(reading, model, pause_lag_ms, lateness_ms_max)
    replay = Replay(reading, model, events)
    telling.judge(replay.claims if replay.is_whole else None)
    _judge_reused(reading, replay.people, events)
    _judge_state(reading, replay.people)
    for notice in reading.notices:
        counts[f"notice {notice.kind}"] += 1
    return Report(reading.violations, counts, lateness)


def _judge_broker(reading: Reading, acknowledged: Mapping[Place, int]) -> None:
    """Find what the broker acknowledged, or nothing below means anything."""
    for place in reading.history.standing:
        reading.report("lost", "readers stand here, before a transaction that nobody ends", place)
    for place, checksum in acknowledged.items():
        if place[2] < 0:
            _judge_unplaced(reading, place, checksum)
            continue
        record = reading.inputs.get(place)
        if record is None:
            reading.report("lost", "acknowledged by the broker, but not in the topic", place)
        elif zlib.crc32(record.value or b"") != checksum:
            reading.report("wrong", "the broker acknowledged other bytes", place)


def _judge_unplaced(reading: Reading, place: Place, checksum: int) -> None:
    """Find a record that was acknowledged without a place anywhere in its partition."""
    topic, partition, _ = place
    records = reading.history.topics.get(topic, {}).get(partition, ())
    if not any(zlib.crc32(record.value or b"") == checksum for record in records):
        reading.report("lost", f"acknowledged, but not in {topic}[{partition}]", place)


def _judge_accounts(
    reading: Reading, events: Events, became: Mapping[str, str], counts: Counter[str]
) -> None:
    """Every consumed record was applied, a duplicate, forwarded or dead-lettered: exactly one."""
    uses: dict[Place, list[tuple[str, Place]]] = defaultdict(list)
    for origin, record in reading.forwards.items():
        uses[origin].append(("forwarded", record.place))
    for line in reading.log:
        if line.source is not None:
            uses[reading.arrival(line.source)].append((line.outcome, line.record.place))
    for origin, reason, record in reading.dead:
        uses[reading.arrival(origin)].append((f"dead letter {reason}", record.place))
    for place, record in reading.inputs.items():
        found = uses.pop(place, [])
        if place not in events:
            continue  # What an owner tells another one; `telling` looks after that.
        counts["consumed"] += 1
        counts[found[0][0] if found else "lost"] += 1
        if not found:
            reading.report("lost", "a consumed record left no trace", place)
            continue
        if len(found) > 1:
            kinds = ", ".join(f"{what} at {show([where])}" for what, where in found)
            reading.report(
                "doubled", f"{show([place])} was consumed more than once: {kinds}", found[-1][1]
            )
        if found[0][0] not in _allowed(reading, record, events[place], became):
            reading.report("wrong", f"{found[0][0]} at {show([found[0][1]])}", place)
    for place, found in uses.items():
        what, where = found[0]
        reading.report("wrong", f"{what}: {show([place])}, which no committed reader sees", where)


def _allowed(
    reading: Reading, record: Record, event: Occurrence | str, became: Mapping[str, str]
) -> set[str]:
    """Return what may have become of a record, judged by itself."""
    names = reading.history.names
    home_topic = len(reading.history.topics[record.topic]) == names.partitions
    arrived = record.topic == names.forward
    customer = event.subject if isinstance(event, Occurrence) else (record.key or b"").decode()
    if arrived:
        customer = (record.key or b"").decode()
    at_home = home_topic and home_of(customer, names.partitions) == record.partition
    if not arrived and not at_home:
        return (
            {"forwarded"}
            if record.key or isinstance(event, Occurrence)
            else {f"dead letter {event}"}
        )
    if isinstance(event, str):
        return {f"dead letter {event}"}
    allowed = {"applied", "duplicate", "ignored", "dead letter id_reused"}
    # Without a key, nobody can see from outside that it is at home.
    goes_on = customer in became or not (record.key or arrived)
    return {*allowed, "forwarded"} if goes_on else allowed


def _judge_order(reading: Reading) -> None:
    """Per customer, effects follow the order of the inputs, and time never goes back."""
    partitions = reading.history.names.partitions
    for customer, lines in reading.by_customer.items():
        home = home_of(customer, partitions)
        last: dict[tuple[str, int], int] = {}
        now_ms = 0
        for line in lines:
            if line.record.partition != home:
                reading.report(
                    "order", f"{customer} was decided away from home {home}", line.record.place
                )
            if line.now_ms < now_ms:
                reading.report("order", f"time went back for {customer}", line.record.place)
            now_ms = max(now_ms, line.now_ms)
            heard = line.told if line.source is None else reading.arrival(line.source)
            if heard is None:
                continue
            topic, partition, offset = heard
            # Who learns that they are another one becomes it at the same place.
            if offset + (line.kind == "merge") <= last.get((topic, partition), -1):
                reading.report(
                    "order",
                    f"{show([(topic, partition, offset)])} was decided late",
                    line.record.place,
                )
            last[topic, partition] = max(offset, last.get((topic, partition), -1))
            arrived = reading.inputs.get((topic, partition, offset))
            if arrived is not None and line.now_ms < arrived.timestamp_ms - AHEAD_MS_MAX:
                reading.report(
                    "order", "decided with a clock behind its own event", line.record.place
                )


def _judge_commands(reading: Reading, counts: Counter[str]) -> None:
    """Commands are those of the log, each once, numbered without a gap."""
    by_id: dict[str, CommandLine] = {}
    last: dict[tuple[str, int, str], int] = {}
    numbers: dict[str, list[CommandLine]] = defaultdict(list)
    for command in reading.commands:
        counts[f"command {command.type}"] += 1
        place = command.record.place
        before = by_id.setdefault(command.id, command)
        if before is not command:
            same = "the same" if before.record.value == command.record.value else "other"
            reading.report(
                "doubled",
                f"command {command.id} again, with {same} bytes as at "
                f"{show([before.record.place])}",
                place,
            )
            continue
        numbers[command.customer].append(command)
        lane = (command.record.topic, command.record.partition, command.customer)
        if command.sequence <= last.get(lane, 0):
            reading.report("order", f"sequence {command.sequence} after {last[lane]}", place)
        last[lane] = max(command.sequence, last.get(lane, 0))
    for customer, commands in numbers.items():
        _judge_numbers(reading, customer, commands)
    told: set[str] = set()
    for line in reading.log:
        for entry in line.of_kind("emitted"):
            _judge_emitted(reading, line, entry, by_id.get(entry["command"]), told)
    for command in by_id.values():
        if command.id not in told:
            reading.report(
                "doubled", f"command {command.id} was never decided", command.record.place
            )


def _judge_numbers(reading: Reading, customer: str, commands: list[CommandLine]) -> None:
    expected = 1
    for command in sorted(commands, key=lambda command: command.sequence):
        if command.sequence < expected:
            reading.report(
                "gap",
                f"{customer}: sequence {command.sequence} was given twice",
                command.record.place,
            )
        elif command.sequence > expected:
            reading.report(
                "gap",
                f"{customer}: {expected} to {command.sequence - 1} are missing",
                command.record.place,
            )
        expected = max(expected, command.sequence + 1)


def _judge_emitted(
    reading: Reading,
    line: LogLine,
    entry: Mapping[str, Any],
    command: CommandLine | None,
    told: set[str],
) -> None:
    """Hold an `emitted` entry of the log and its command side by side."""
    name = entry["command"]
    if name in told:
        reading.report("doubled", f"the log emits command {name} twice", line.record.place)
    told.add(name)
    if command is None:
        reading.report("lost", f"command {name} was decided, but is on no topic", line.record.place)
        return
    data = command.data
    sides = (
        (entry["type"], command.type),
        (entry["channel"], data["channel"]),
        (entry["command_class"], data["class"]),
        (entry["enrollment"], data["enrollment"]),
        (entry["step"], data["step"]),
        (entry["sequence"], data["sequence"]),
        (line.customer, command.customer),
    )
    if any(logged != sent for logged, sent in sides):
        reading.report("wrong", f"log and command {name} differ", command.record.place)


def _judge_reused(reading: Reading, people: Mapping[str, Person], events: Events) -> None:
    """Find, for a dead letter `id_reused`, the event of that id that said something else."""
    for origin, reason, record in reading.dead:
        event = events.get(reading.arrival(origin))
        if reason != "id_reused" or not isinstance(event, Occurrence):
            continue
        place = reading.arrival(origin)
        record_there = reading.inputs.get(place)
        forwarded = record_there is not None and place[0] == reading.history.names.forward
        key = record_there.key if record_there is not None and forwarded else None
        person = people.get(event.subject if key is None else key.decode())
        if person is not None and person.astray:
            continue
        before = person.ever.get((event.source, event.id)) if person is not None else None
        if not before or before == {event.body}:
            reading.report("lost", f"{event.id} was refused as reused, but is not", record.place)


def _judge_state(reading: Reading, people: Mapping[str, Person]) -> None:
    """Compare where the changelog ends with where log and commands end."""
    names = reading.history.names
    numbers: dict[str, int] = defaultdict(int)
    for command in reading.commands:
        numbers[command.customer] = max(numbers[command.customer], command.sequence)
    seen = set()
    for customer, record, value in newest_states(reading.history):
        seen.add(customer)
        if record.partition != home_of(customer, names.partitions):
            reading.report("state", f"{customer} is stored away from home", record.place)
            continue
        state = state_of(value)
        person = people.get(customer)
        if state.sequence != numbers[customer]:
            reading.report(
                "state",
                f"{customer} has sequence {state.sequence} in the state, "
                f"{numbers[customer]} on the topics",
                record.place,
            )
        if person is None or person.astray:
            continue
        for what in person.differences(state):
            reading.report("state", f"{customer}: {what}", record.place)
    for customer, person in people.items():
        if person.changed and customer not in seen:
            reading.report(
                "state", f"{customer} has no state", reading.by_customer[customer][-1].record.place
            )
