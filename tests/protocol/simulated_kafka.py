"""A log, a group coordinator and workers, small enough to crash thousands of times a second.

The workers run the real state machine and the real core. Everything that a broker does for the
commit is here and nothing else: transactions become visible whole, a stale generation is refused,
a new owner waits until no transaction on its partition is open.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field

import orjson

from orchestrator.core.pauses import NO_PAUSES, Pauses
from orchestrator.protocol.commit.group import GroupBounds, Limits, Rules
from orchestrator.protocol.commit.machine import Clocks, CommitMachine, Writer
from orchestrator.protocol.commit.meta import JOURNEYS_KEY, META_KEY, decode_meta
from orchestrator.protocol.commit.names import TopicNames
from orchestrator.protocol.commit.partition import Loaded
from orchestrator.protocol.commit.transaction import Batch, TopicPartition, Transaction

PARTITIONS = 3
# Of the seven inputs of a transaction.
TIMED_MAX = 3
NAMES = TopicNames(
    inputs={"touchpoints": PARTITIONS, "forward": PARTITIONS, "stores": 2},
    forward="forward",
    changelog="changelog",
    journey_log="journey-log",
    fences="fences",
    dead_letters="dead-letters",
    commands=dict.fromkeys(("email", "sms", "push", "ads", "callcenter"), "commands"),
    promotional=dict.fromkeys(("email", "sms", "push", "ads", "callcenter"), "promotional"),
    command_partitions={"commands": PARTITIONS, "promotional": PARTITIONS},
    partitions=PARTITIONS,
)


@dataclass(frozen=True)
class Record:
    """One visible record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple = ()


@dataclass
class Log:
    """The broker: visible records, open transactions, the group and its offsets."""

    records: dict = field(default_factory=lambda: defaultdict(list))
    open_transactions: dict = field(default_factory=dict)  # By worker.
    group_offsets: dict = field(default_factory=dict)
    generation: int = 0
    members: dict = field(default_factory=dict)  # Member to its partitions of customers.
    now_ms: int = 1_795_341_600_000
    pauses: Pauses = NO_PAUSES  # What the topic `control` says.

    def append(self, place, key, value, headers=()):
        """Make a record visible, stamped with the time."""
        log = self.records[place]
        log.append(Record(len(log), self.now_ms, key, value, tuple(headers)))

    def rebalance(self, members):
        """Give the partitions to these members, in a new generation."""
        self.generation += 1
        members = sorted(members)
        self.members = {
            member: [p for p in range(PARTITIONS) if members[p % len(members)] == member]
            for member in members
        }


class RefusedError(Exception):
    """The broker refused a transaction; the worker ends."""


class Worker:
    """One process: a state machine and at most one transaction under way."""

    def __init__(self, name, log, journeys, rng):
        self.name, self.log, self.rng = name, log, rng
        limits = Limits(event_bytes_max=100_000, state_bytes_max=100_000)
        rules = Rules(journeys, NAMES, limits, lambda: 0.0)
        self.machine = CommitMachine(
            rules, GroupBounds(7, 50_000, TIMED_MAX), Writer(name, (f"{name}-tx0",))
        )
        self.phase = 0
        self.transaction: Transaction | None = None
        self.fetched = {}
        self.started_ms = log.now_ms
        self.pauses = NO_PAUSES

    def clocks(self):
        """Both clocks; monotonic time began at some other point for every worker."""
        return Clocks(self.log.now_ms, self.log.now_ms - self.started_ms)

    # -- A transaction, one broker call at a time ---------------------------------------------

    def begin(self, transaction):
        """Start the transaction that the machine sealed."""
        if transaction is not None:
            timed = len(transaction.stats.lateness_seconds) + sum(transaction.stats.visits.values())
            assert timed <= TIMED_MAX, "a purchase would wait for this transaction"
            self.transaction, self.phase = transaction, 0

    def step_transaction(self):
        """Make one broker call: produce, offsets, end."""
        transaction, log = self.transaction, self.log
        if self.phase == 0:
            log.open_transactions[self.name] = {
                "touches": {*transaction.outputs, *transaction.offsets},
                "aborted": False,
            }
        elif log.open_transactions[self.name]["aborted"]:
            raise RefusedError("fenced by an initialisation of the transactional id")
        elif self.phase == 1:
            self.fence(transaction)
        else:
            del log.open_transactions[self.name]
            for place, outputs in transaction.outputs.items():
                for output in outputs:
                    log.append(place, *output)
            log.group_offsets.update(transaction.offsets)
            self.transaction = None
            self.machine.on_committed()
            return
        self.phase += 1

    def fence(self, transaction):
        """The group coordinator's answer to the offsets."""
        current = self.log.generation == transaction.generation
        if not current or transaction.member not in self.log.members:
            raise RefusedError("illegal generation")

    # -- The rest of a driver -----------------------------------------------------------------

    def join(self):
        """Take the assignment of the present generation, load it, own it."""
        log, machine = self.log, self.machine
        self.read_control()
        owned = log.members[self.name]
        needed = machine.on_assigned(log.generation, self.name, owned)
        for index in sorted(needed):
            self.abort_open_transactions_on(TopicPartition(NAMES.changelog, index))
            machine.on_loaded(log.generation, index, self.load(index), self.clocks())
        for place in (TopicPartition("stores", n) for n in range(2) if n in owned):
            # What `require_stable` waits for: no offset of an open transaction is pending.
            self.abort_open_transactions_on(place)
            position = log.group_offsets.get(place, 0)
            machine.on_position(log.generation, place, position)
        takeover = machine.seal_takeover(self.clocks())
        if takeover is not None:
            self.begin(takeover)
            while self.transaction is not None:
                self.step_transaction()
        self.fetched = machine.positions()

    def abort_open_transactions_on(self, place):
        """End what a former owner left open; it is no member any more."""
        for name, open_one in self.log.open_transactions.items():
            if name != self.name and place in open_one["touches"]:
                open_one["aborted"] = True

    def load(self, index):
        """Read the changelog as the bulk loader does."""
        place = TopicPartition(NAMES.changelog, index)
        content = {record.key: record.value for record in self.log.records[place]}
        meta = content.pop(META_KEY, None)
        journeys = content.pop(JOURNEYS_KEY, None)
        return Loaded(
            content,
            decode_meta(meta, where="test") if meta is not None else None,
            journeys,
            {"touchpoints": 0, "forward": 0},
        )

    def fetch(self):
        """Read a few records of one partition into the queue."""
        places = [p for p, at in self.fetched.items() if at < len(self.log.records[p])]
        if places:
            place = self.rng.choice(sorted(places))
            start = self.fetched[place]
            records = self.log.records[place][start : start + self.rng.randint(1, 9)]
            end = records[-1].offset + 1
            self.fetched[place] = end
            self.machine.on_batch(Batch(place, self.machine.generation, start, end, records))

    def read_control(self):
        """Take over what is paused now, between two groups."""
        if self.pauses is not self.log.pauses and not self.machine.group_open:
            self.pauses = self.log.pauses
            self.machine.pause(self.pauses)

    def work(self):
        """Do one thing that a driver may do next."""
        if self.pauses is not self.log.pauses and self.rng.random() < 0.3:
            self.read_control()
        match self.rng.randrange(4):
            case 0:
                self.fetch()
            case 1:
                self.machine.decide(self.rng.randint(1, 5), self.clocks())
            case 2 if self.transaction is None:
                self.begin(self.machine.seal(self.clocks()))
            case _ if self.transaction is not None:
                self.step_transaction()

    def drain(self):
        """Commit what is decided, as a revocation does."""
        self.machine.on_revoked()
        while not self.machine.drained:
            if self.transaction is None:
                self.begin(self.machine.seal(self.clocks()))
            else:
                self.step_transaction()


class Cluster:
    """Workers that come and go over one log, by a seed."""

    worker = Worker

    def __init__(self, seed, journeys):
        self.rng = random.Random(seed)
        self.log = Log()
        self.journeys = journeys
        self.workers = {}
        self.frozen = {}
        self.born = 0

    def start_worker(self):
        """Add a worker under a new member id."""
        self.born += 1
        name = f"w{self.born}"
        self.workers[name] = self.worker(name, self.log, self.journeys, self.rng)
        self.rebalance()

    def rebalance(self):
        """Drain the living, assign anew, let them load in any order."""
        for name, worker in list(self.workers.items()):
            self.guarded(name, worker.drain)
        if self.workers:
            self.log.rebalance(self.workers)
            for name in self.rng.sample(sorted(self.workers), len(self.workers)):
                if name in self.workers:
                    self.guarded(name, self.workers[name].join)

    def guarded(self, name, act):
        """A worker that is refused ends; nobody else notices but by its silence."""
        try:
            act()
        except RefusedError:
            self.workers.pop(name, None)
            self.frozen.pop(name, None)

    def crash(self, name):
        """Kill -9: whatever was under way stays open until somebody aborts it."""
        del self.workers[name]
        self.rebalance()

    def freeze(self, name):
        """SIGSTOP past the session time-out: the group gives the worker up, it does not know."""
        self.frozen[name] = self.workers.pop(name)
        self.rebalance()

    def run(self, steps):
        """Let things happen in random order."""
        for _ in range(steps):
            self.log.now_ms += self.rng.choice((0, 1, 20))
            chance = self.rng.random()
            if not self.workers or (chance < 0.004 and len(self.workers) < 3):
                self.start_worker()
            elif chance < 0.008:
                self.crash(self.rng.choice(sorted(self.workers)))
            elif chance < 0.012:
                self.freeze(self.rng.choice(sorted(self.workers)))
            elif chance < 0.1 and self.frozen:
                # A zombie goes on where it stood.
                name = self.rng.choice(sorted(self.frozen))
                self.guarded(name, self.frozen[name].work)
            elif self.workers:
                name = self.rng.choice(sorted(self.workers))
                self.guarded(name, self.workers[name].work)

    def settle(self):
        """Let everything be decided, and every wait come due."""
        if not self.workers:
            self.start_worker()
        for name in list(self.frozen):
            for _ in range(20):
                if name in self.frozen:
                    self.guarded(name, self.frozen[name].work)
        quiet = 0
        while quiet < 40:
            self.log.now_ms += 60_000
            before = sum(map(len, self.log.records.values()))
            for name in sorted(self.workers):
                for _ in range(30):
                    if name in self.workers:
                        self.guarded(name, self.workers[name].work)
            quiet = quiet + 1 if sum(map(len, self.log.records.values())) == before else 0

    def pause(self, *pauses):
        """Replace what is paused."""
        self.log.pauses = Pauses(pauses, self.log.pauses.revision + 1)

    def visible(self, topic):
        """All visible records of a topic, with their places."""
        for place in sorted(p for p in self.log.records if p.topic == topic):
            for record in self.log.records[place]:
                yield place, record


def journey_log(cluster):
    """Return the decoded journey log in log order, by customer."""
    by_customer = defaultdict(list)
    for _, record in cluster.visible(NAMES.journey_log):
        entry = orjson.loads(record.value)
        by_customer[entry["customer"]].append(entry)
    return by_customer
