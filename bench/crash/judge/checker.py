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

from bench.crash.judge.history import History, Place, Record, home_of
from bench.crash.judge.laws import judge_laws
from bench.crash.judge.pauses import PAUSE_LAG_MS, judge_pauses
from bench.crash.judge.person import Occurrence, Person, understand
from bench.crash.judge.records import (
    CommandLine,
    FenceLine,
    LogLine,
    Reading,
    Violation,
    read,
    show,
)
from bench.crash.judge.reference import Model
from bench.crash.judge.waits import AHEAD_MS_MAX, judge_waits
from orchestrator.core.customer import decode_customer

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
}
REACHING: Final = frozenset({"message.send", "audience.add", "task.create"})
"""Commands that reach the customer; what takes back may and must follow an exit."""
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
    journeys: Path,
    *,
    acknowledged: Mapping[Place, int] | None = None,
    lateness_ms_max: int = LATENESS_MS_MAX,
    event_bytes_max: int = 1_000_000,
    pause_lag_ms: int = PAUSE_LAG_MS,
) -> Report:
    """Judge a history after everything has come to rest."""
    reading = read(history)
    counts: Counter[str] = Counter()
    model = Model(journeys)
    events = {
        place: understand(record, event_bytes_max, forwarded=place[0] == history.names.forward)
        for place, record in reading.inputs.items()
    }
    _judge_broker(reading, acknowledged or {})
    _judge_accounts(reading, events, counts)
    _judge_order(reading)
    _judge_commands(reading, counts)
    _judge_fences(reading, model)
    lateness = judge_waits(reading, lateness_ms_max, counts)
    judge_laws(reading, model, events)
    judge_pauses(reading, model, pause_lag_ms, lateness_ms_max)
    people = _judge_effects(reading, model, events)
    _judge_reused(reading, people, events)
    _judge_state(reading, people)
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


def _judge_accounts(reading: Reading, events: Events, counts: Counter[str]) -> None:
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
        if found[0][0] not in _allowed(reading, record, events[place]):
            reading.report("wrong", f"{found[0][0]} at {show([found[0][1]])}", place)
    for place, found in uses.items():
        what, where = found[0]
        reading.report("wrong", f"{what}: {show([place])}, which no committed reader sees", where)


def _allowed(reading: Reading, record: Record, event: Occurrence | str) -> set[str]:
    """Return what may have become of a record, judged by itself."""
    names = reading.history.names
    home_topic = len(reading.history.topics[record.topic]) == names.partitions
    arrived = record.topic == names.forward
    customer = event.subject if isinstance(event, Occurrence) else (record.key or b"").decode()
    at_home = home_topic and home_of(customer, names.partitions) == record.partition
    if not arrived and not at_home:
        return (
            {"forwarded"}
            if record.key or isinstance(event, Occurrence)
            else {f"dead letter {event}"}
        )
    if isinstance(event, str):
        return {f"dead letter {event}"}
    allowed = {"applied", "duplicate", "dead letter id_reused"}
    # Without a key, nobody can see from outside that it is at home.
    return allowed if record.key or arrived else {*allowed, "forwarded"}


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
            if line.source is None:
                continue
            topic, partition, offset = reading.arrival(line.source)
            if offset <= last.get((topic, partition), -1):
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


def _judge_fences(reading: Reading, model: Model) -> None:
    """Every promotional enrollment that is over is fenced, and nothing promotional follows."""
    fenced: dict[tuple[str, str], FenceLine] = {}
    records: dict[str, set[Place]] = defaultdict(set)
    for fence in reading.fences:
        records[fence.customer].add(fence.record.place)
        first = fenced.setdefault((fence.customer, fence.enrollment), fence)
        if first.sequence != fence.sequence:
            reading.report(
                "promotional",
                f"the fence of {fence.enrollment} moved from {first.sequence} to {fence.sequence}",
                fence.record.place,
            )
    ends, turns = _fenced_ends(reading, model)
    for (customer, enrollment), (sequence, line) in ends.items():
        found = fenced.get((customer, enrollment))
        if found is None:
            reading.report(
                "promotional",
                f"{enrollment} of {customer} is over, but not fenced",
                line.record.place,
            )
        elif found.sequence != sequence:
            reading.report(
                "promotional",
                f"{enrollment} of {customer} is fenced at {found.sequence}, not at {sequence}",
                found.record.place,
            )
    for customer, places in records.items():
        if len(places) > turns[customer]:
            reading.report(
                "doubled",
                f"{len(places)} fence records of {customer}, {turns[customer]} decisions made one",
                max(places),
            )
    for command in reading.commands:
        key = (command.customer, str(command.data["enrollment"]))
        if not command.promotional or command.type not in REACHING:
            continue
        bounds = [ends[key][0]] if key in ends else []
        bounds += [fenced[key].sequence] if key in fenced else []
        if bounds and command.sequence > min(bounds):
            reading.report(
                "promotional",
                f"{command.id} of {key[1]} has sequence {command.sequence}, over at {min(bounds)}",
                command.record.place,
            )
    for key, fence in fenced.items():
        if key not in ends:
            reading.report(
                "promotional", f"{key[1]} of {key[0]} is fenced, but not over", fence.record.place
            )


def _fenced_ends(
    reading: Reading, model: Model
) -> tuple[dict[tuple[str, str], tuple[int, LogLine]], Counter[str]]:
    """Return the sequence before each end that must be fenced, and how many decisions did that."""
    ends: dict[tuple[str, str], tuple[int, LogLine]] = {}
    turns: Counter[str] = Counter()
    for customer, lines in reading.by_customer.items():
        sequence = 0
        for line in lines:
            over = [entry for entry in line.of_kind("ended") if model.ends_fenced(entry)]
            turns[customer] += bool(over)
            for entry in over:
                ends.setdefault((customer, entry["enrollment"]), (sequence, line))
            emitted = [entry["sequence"] for entry in line.of_kind("emitted")]
            sequence = max([sequence, *emitted])
    return ends, turns


def _judge_effects(reading: Reading, model: Model, events: Events) -> dict[str, Person]:
    """Replay every customer on the model; what differs is named with the log line."""
    commands = {command.id: command for command in reading.commands}
    people = {}
    for customer, lines in reading.by_customer.items():
        person = people[customer] = Person(customer)
        for line in lines:
            event = None
            if line.source is not None:
                event = events.get(reading.arrival(line.source))
                if not isinstance(event, Occurrence):
                    # Accounts have told it; the replay cannot go on without the event.
                    person.astray = True
                    break
            faults = model.replay(person, line, event, commands)
            for kind, what in faults:
                reading.report(kind, f"{customer}: {what}", line.record.place)
            if faults:
                # One difference leads to others; the first one is the finding.
                person.astray = True
                break
    return people


def _judge_reused(reading: Reading, people: Mapping[str, Person], events: Events) -> None:
    """Find, for a dead letter `id_reused`, the event of that id that said something else."""
    for origin, reason, record in reading.dead:
        event = events.get(reading.arrival(origin))
        if reason != "id_reused" or not isinstance(event, Occurrence):
            continue
        person = people.get(event.subject)
        if person is not None and person.astray:
            continue
        before = person.ever.get((event.source, event.id)) if person is not None else None
        if before is None or before == event.body:
            reading.report("lost", f"{event.id} was refused as reused, but is not", record.place)


def _judge_state(reading: Reading, people: Mapping[str, Person]) -> None:
    """Compare where the changelog ends with where log and commands end."""
    names = reading.history.names
    last = {}
    for record in reading.history.of(names.changelog):
        last[record.partition, record.key] = record
    numbers: dict[str, int] = defaultdict(int)
    for command in reading.commands:
        numbers[command.customer] = max(numbers[command.customer], command.sequence)
    seen = set()
    for (partition, key), record in last.items():
        if key is None or key[:1] == b"\xff" or record.value is None:
            continue
        customer = key.decode()
        seen.add(customer)
        if partition != home_of(customer, names.partitions):
            reading.report("state", f"{customer} is stored away from home", record.place)
            continue
        state = decode_customer(record.value)
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
