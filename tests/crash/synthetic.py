"""A history without a broker: the real decisions and the real codec along an in-memory log.

The tests judge it as it is, then spoil it in one place and expect the checker to name that place.
It shares nothing with the checker but the plan of the load.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from bench.crash.__main__ import CHANNELS
from bench.crash.furnish import furnish
from bench.crash.judge.history import History, Names, Record, murmur2
from bench.crash.pausing import Said, script
from bench.crash.plan import STRUCTURED, Planned, Size, encode, rfc3339, tell
from orchestrator.catalog import load
from orchestrator.core.event import Resumed
from orchestrator.core.pauses import Pause, Pauses
from orchestrator.protocol.commit.group import Limits, OpenGroup, Rules
from orchestrator.protocol.commit.held.contents import Contents
from orchestrator.protocol.commit.names import TopicNames
from orchestrator.protocol.commit.partition import CustomerPartition, Loaded
from orchestrator.protocol.commit.rounds import Rounds
from orchestrator.protocol.commit.transaction import Output, TopicPartition

PARTITIONS = 4
START_MS = 1_795_000_000_000
# So much happens that every kind of story is told, and so little that it takes one second.
SIZE = Size(events=400, customers=25, rate=5, pauses=(0.5,), pause_seconds=9)
# With so many ids, merges and erasures that hardly anybody stays who they are.
KIN = Size(events=500, customers=21, rate=6, pauses=(0.5,), pause_seconds=9, kin=0.5)
# So long a record is on its way to another owner, at most.
WAY_MS_MAX = 1_500
REPORTED = 0.4
NEVER_MS = 1 << 60
# A wait fires up to 40 ms after it is due, so that it may see a word on a pause later than it is.
SHOP_LAG_MS = 50

REPORTS = (
    ("message.delivered",),
    ("message.opened",),
    ("message.opened",),
    ("message.bounced",),
    ("message.failed", "busy"),
    ("message.failed", "unknown"),
    ("message.dropped", "expired"),
    ("message.dropped", "duplicate"),
)


class Source(NamedTuple):
    """A record as the worker is handed it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class World:
    """Topics in memory, one worker that never dies, and a clock that jumps."""

    def __init__(self, seed: int, journeys: Path) -> None:
        self.names = Names("", "crash", PARTITIONS, ("touchpoints", "stores"))
        self.history = History(self.names)
        self.random = random.Random(seed)
        self.counter = itertools.count()
        commands = {channel: f"commands.{channel}" for channel in CHANNELS}
        promotional = {channel: f"{topic}.promotional" for channel, topic in commands.items()}
        self.rules = Rules(
            journeys=load(journeys, "test"),
            names=TopicNames(
                inputs={"touchpoints": PARTITIONS, "stores": 3, self.names.forward: PARTITIONS},
                forward=self.names.forward,
                changelog=self.names.changelog,
                journey_log=self.names.journey_log,
                fences=self.names.fences,
                dead_letters=self.names.dead_letters,
                commands=commands,
                promotional=promotional,
                command_partitions=dict.fromkeys(
                    (*commands.values(), *promotional.values()), PARTITIONS
                ),
                partitions=PARTITIONS,
            ),
            limits=Limits(1_000_000, 900_000),
            stopwatch=lambda: 0.0,
        )
        loaded = {topic: 0 for topic, n in self.rules.names.inputs.items() if n == PARTITIONS}
        self.homes = {
            index: CustomerPartition(
                index,
                Loaded(Contents(), None, loaded),
                Rounds(self.rules.journeys, {}, partitions=PARTITIONS),
                monotonic_ms=0,
            )
            for index in range(PARTITIONS)
        }
        self.offsets: dict[TopicPartition, int] = {}
        self.to_come: list[tuple[int, int, Planned]] = []
        self.on_the_way: list[tuple[int, int, Record]] = []
        self.arrived_ms: dict[int, int] = {}
        self.paused: dict[str, Pause] = {}
        for topic, count in (("stores", 3), ("touchpoints", 4), (self.names.forward, 4)):
            self.history.topics[topic] = {partition: [] for partition in range(count)}

    def control(self, said: Said) -> None:
        """Let somebody pause or resume when its time has come."""
        value = json.dumps(said.as_json(rfc3339(START_MS + said.at_ms))).encode()
        self.schedule(Planned(said.at_ms, "control", "control", 0, said.scope.encode(), value))

    def follow(self, record: Record, now_ms: int) -> None:
        """Let the workers take a word on a pause over, and visit everybody whom one holds."""
        said = json.loads(record.value)
        self.paused.pop(said["scope"], None)
        if said["paused"]:
            words = (said["kill"], said.get("transactional", False))
            self.paused[said["scope"]] = Pause(said["scope"], said["by"], said["reason"], *words)
        pauses = Pauses(self.paused.values(), record.offset + 1)
        journeys = self.rules.journeys.pausing(pauses)
        self.rules = self.rules._replace(journeys=journeys)
        for home in self.homes.values():
            for customer in sorted(home.contents.paused):
                group = OpenGroup(self.rules)
                group.add_visit(home, customer, Resumed(pauses.revision), now_ms=now_ms)
                self.commit(group, now_ms)

    def schedule(self, planned: Planned) -> None:
        """Let a producer send a record when its time has come."""
        heapq.heappush(self.to_come, (planned.at_ms, next(self.counter), planned))

    def run(self) -> None:
        """Go on until nobody sends and nobody waits any more."""
        while True:
            due = min(
                (
                    (at, index)
                    for index, home in self.homes.items()
                    if (at := home.waits.next_due_ms()) is not None
                ),
                default=None,
            )
            told_ms = START_MS + self.to_come[0][0] if self.to_come else NEVER_MS
            due_ms = NEVER_MS if due is None else due[0]
            if self.on_the_way and self.on_the_way[0][0] <= min(told_ms, due_ms):
                arrives_ms, _, record = heapq.heappop(self.on_the_way)
                self.decide(record, arrives_ms)
            elif self.to_come and told_ms <= due_ms:
                at_ms, _, planned = heapq.heappop(self.to_come)
                self.consume(planned, START_MS + at_ms)
            elif due is not None:
                self.fire(due[1], due[0] + self.random.randrange(40))
            else:
                return

    def consume(self, planned: Planned, now_ms: int) -> None:
        """Put a record into its topic, and let the worker decide it."""
        said = Output(planned.key, planned.value, planned.headers)
        record = self.append(TopicPartition(planned.topic, planned.partition), now_ms, said)
        if planned.topic == self.names.control:
            self.follow(record, now_ms)
        else:
            self.decide(record, now_ms)

    def decide(self, record: Record, now_ms: int) -> None:
        """Let the worker take one record as a group of its own."""
        group = OpenGroup(self.rules)
        home = self.homes[record.partition] if record.topic != "stores" else None
        source = Source(
            record.offset, record.timestamp_ms, record.key, record.value, record.headers
        )
        group.add_record(
            home, TopicPartition(record.topic, record.partition), source, now_ms=now_ms
        )
        self.commit(group, now_ms)

    def fire(self, index: int, now_ms: int) -> None:
        """Let the worker decide the next due wait of a partition."""
        home = self.homes[index]
        due = home.waits.pop_due(now_ms)
        assert due is not None
        group = OpenGroup(self.rules)
        group.add_wait(home, due[0], due_ms=due[1], now_ms=now_ms)
        self.commit(group, now_ms)

    def commit(self, group: OpenGroup, now_ms: int) -> None:
        """Append what the group says; records on their way home are decided when they arrive."""
        group.seal_states(self.homes)
        forwarded = []
        for target, outputs in group.outputs.items():
            for output in outputs:
                record = self.append(target, now_ms, output)
                if target.topic == self.names.forward:
                    forwarded.append(record)
                elif target.topic.startswith("commands."):
                    self.report(record, now_ms)
        for record in forwarded:
            # A partition is read in its order.
            at_ms = now_ms + self.random.choice((0, 0, 5, 100, WAY_MS_MAX))
            at_ms = max(at_ms, self.arrived_ms.get(record.partition, 0))
            self.arrived_ms[record.partition] = at_ms
            heapq.heappush(self.on_the_way, (at_ms, next(self.counter), record))

    def report(self, command: Record, now_ms: int) -> None:
        """Let the channel's sender report on some of its messages."""
        value = json.loads(command.value)
        if value["type"] != "message.send" or self.random.random() > REPORTED:
            return
        kind, *why = self.random.choice(REPORTS)
        at_ms = now_ms - START_MS + self.random.randrange(6_000)
        body = {
            "specversion": "1.0",
            "id": f"{kind}-{value['id']}",
            "source": "/senders",
            "type": kind,
            "subject": value["subject"],
            "time": rfc3339(START_MS + at_ms),
            "data": {"command_id": value["id"], **({"reason": why[0]} if why else {})},
        }
        data, _ = encode(body, binary=False)
        home = murmur2(command.key) % PARTITIONS
        self.schedule(Planned(at_ms, kind, "touchpoints", home, command.key, data, STRUCTURED))

    def append(self, target: TopicPartition, timestamp_ms: int, said: Output) -> Record:
        """Append to a topic; offsets have gaps, as transaction markers make them."""
        offset = self.offsets.get(target, -1) + 1 + (self.random.random() < 0.1)
        self.offsets[target] = offset
        record = Record(*target, offset, timestamp_ms, said.key, said.value, tuple(said.headers))
        self.history.add(record)
        return record


@cache
def furnished() -> Path:
    """Write the shop of a run that starts at START_MS; return its folder."""
    return furnish(Path(tempfile.mkdtemp(prefix="crash-shop-")) / "journeys", START_MS)


def history_of(seed: int, journeys: Path, size: Size = SIZE) -> History:
    """Return what the topics hold after a run in which nothing went wrong.

    `journeys` is the shop: `furnished()`.
    """
    world = World(seed, journeys)
    for planned in tell(seed, size, START_MS, PARTITIONS):
        if planned.lane != "aborted":
            world.schedule(planned)
    for said in script(seed, size):
        world.control(said)
    world.run()
    return world.history
