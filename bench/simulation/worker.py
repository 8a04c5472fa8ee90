"""One worker: the real state machine, and the least of a driver around it.

It does what `orchestrator/runtime` does, one action at a time, so that `cluster` can stop it
between any two: read, decide, seal, each request of a commit, each step of a takeover. What it
decides and what it writes comes from the real code. Whatever fails ends it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from bench.simulation.kafka import OFFSETS
from orchestrator.core.pauses import NO_PAUSES
from orchestrator.protocol.commit.group import GroupBounds
from orchestrator.protocol.commit.held.contents import Contents
from orchestrator.protocol.commit.machine import Clocks, CommitMachine, Writer
from orchestrator.protocol.commit.partition import Loaded
from orchestrator.protocol.commit.transaction import Batch, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.simulation.cluster import Cluster
    from bench.simulation.kafka import Log
    from orchestrator.protocol.commit.transaction import Transaction

# Due waits and visits, of the seven inputs of a transaction.
TIMED_MAX: Final = 3
BOUNDS: Final = GroupBounds(7, 50_000, TIMED_MAX, TIMED_MAX)
# Two in turn, as the runtime has it: while one's markers are written the other may begin.
PRODUCERS: Final = 2
# A word on a pause is taken over between two groups, and not later than this.
CONTROL_LAG_MS: Final = 2_000
QUEUED_MAX: Final = 20
SKEW_MS: Final = (0, 350, -400)


# In whatever order: where a choice begins to look is the choice.
ACTIONS: Final = ("commit", "fetch", "decide", "group", "control") * 2


class GaveUpError(Exception):
    """A worker finds that something cannot be; no fault of a history may lead to that."""


class Worker:
    """One process in a slot."""

    # The order of the requests of a commit; see `calls`.
    order: tuple[str, ...] = ("begin", "produce", "offsets", "end")

    def __init__(self, number: int, slot: int, cluster: Cluster) -> None:
        self.number = number
        self.cluster = cluster
        self.broker = cluster.broker
        self.names = cluster.shop.names
        self.slot = f"{self.names.forward.removesuffix('-forward')}-s{slot}"
        self.writers = tuple(f"{self.slot}-tx{turn}" for turn in range(PRODUCERS))
        self.skew_ms = SKEW_MS[slot % len(SKEW_MS)]
        self.began_ms = self.broker.now_ms - 1_000 * number
        rules = cluster.shop.rules
        self.machine = CommitMachine(rules, BOUNDS, Writer(self.slot, self.writers))
        self.epochs: list[int] = []
        self.turn = 0
        self.member: str | None = None
        self.pauses = NO_PAUSES
        self.revoked = True
        self.positioned = False
        self.to_load: list[int] | None = None
        self.waits_ms = -1
        self.elsewhere: list[TopicPartition] = []
        self.read: dict[TopicPartition, int] = {}
        self.commits = 0
        self.idle: tuple[int, int] | None = None
        self.transaction: Transaction | None = None
        self.calls: deque[tuple[str, Callable[[], None]]] = deque()

    def clocks(self) -> Clocks:
        """Return both clocks; no worker's wall clock is quite right."""
        now_ms = self.broker.now_ms
        return Clocks(now_ms + self.skew_ms, now_ms - self.began_ms)

    # -- What can be done next ----------------------------------------------------------------

    def next_of(self, order: tuple[str, ...]) -> str | None:
        """Return the first of these actions that would do something now."""
        for action in order:
            if getattr(self, f"can_{action}")():
                return action
        return None

    def can_commit(self) -> bool:
        """Whether a transaction is under way, or wants to be sealed."""
        machine = self.machine
        return self.transaction is not None or (machine.group_open and machine.in_flight is None)

    def can_control(self) -> bool:
        """Whether what is paused has changed, and may be taken over now."""
        return self.pauses is not self.cluster.pauses and not self.machine.group_open

    def can_fetch(self) -> bool:
        """Whether something can be read."""
        if not self.positioned or self.machine.queued_records >= QUEUED_MAX:
            return False
        return any(map(self.is_unread, self.read))

    def can_decide(self) -> bool:
        """Whether there is an input to decide, and room for it."""
        machine = self.machine
        if self.revoked or machine.group_full:
            return False
        if machine.group_open and self.is_deaf():
            return False  # First that group goes, and a word is heard.
        if machine.queued_records:
            return True
        # Waits and visits have a bound of their own; what is due beyond it waits for the next one.
        asked_already = self.idle == (self.broker.now_ms, self.commits)
        return not asked_already and machine.next_due_in_ms(self.clocks()[1]) == 0

    def is_deaf(self) -> bool:
        """Whether what is paused has changed some time ago, unheard; the oldest word counts."""
        unheard = (at for revision, at in self.cluster.said if revision > self.pauses.revision)
        since_ms = next(unheard, self.broker.now_ms)
        return self.broker.now_ms - since_ms > CONTROL_LAG_MS

    def is_unread(self, place: TopicPartition) -> bool:
        """Whether a partition has committed records behind our position."""
        log, position = self.broker.logs[place], self.read[place]
        if position >= len(log.records):
            return False
        return next(log.committed(position), None) is not None

    def can_group(self) -> bool:
        """Whether joining, letting go or taking over can go on."""
        group = self.broker.group
        if self.member is None:
            return self.slot not in group.slots
        if self.member not in group.members or (
            group.rebalancing and self.member not in group.rejoined
        ):
            return not self.revoked or self.machine.drained
        if group.rebalancing:
            return False
        if group.generation != self.machine.generation:
            return self.machine.drained
        if self.to_load is None or self.transaction is not None:
            return False
        if self.waits_ms == self.broker.now_ms:
            return False
        return self.machine.in_flight is None or bool(self.to_load)

    def act(self, action: str, amount: int) -> str:
        """Do one thing; return what it was, in words."""
        return str(getattr(self, f"do_{action}")(amount))

    # -- Reading and deciding -----------------------------------------------------------------

    def do_fetch(self, amount: int) -> str:
        """Read a few records of one partition into the queue."""
        places = [place for place in self.read if self.is_unread(place)]
        place = places[amount % len(places)]
        start, wanted = self.read[place], 1 + amount // len(places) % 9
        log = self.broker.logs[place]
        records = []
        for record in log.committed(start):
            records.append(record)
            if len(records) == wanted:
                break
        end = records[-1].offset + 1
        while end < log.stable_end and log.records[end] is None:
            end += 1  # Markers are read as well.
        self.read[place] = end
        self.machine.on_batch(Batch(place, self.machine.generation, start, end, records))
        return f"reads {show(place)} from {start} to {end}"

    def do_decide(self, amount: int) -> str:
        """Decide a few inputs."""
        if self.is_deaf():
            self.read_control()
        count = self.machine.decide(1 + amount % 5, self.clocks())
        if count == 0:
            self.idle = (self.broker.now_ms, self.commits)
        return f"decides {count}"

    def do_control(self, amount: int) -> str:
        """Take over what is paused now."""
        del amount
        self.read_control()
        return f"hears of {len(self.pauses.all)} pauses"

    def read_control(self) -> None:
        """Take over what is paused now, between two groups."""
        if self.pauses is not self.cluster.pauses and not self.machine.group_open:
            self.pauses = self.cluster.pauses
            self.machine.pause(self.pauses)

    # -- Committing ---------------------------------------------------------------------------

    def do_commit(self, amount: int) -> str:
        """Make the next request of the transaction under way; seal one when there is none."""
        if self.transaction is None:
            self.commits += 1
            transaction = self.machine.seal(self.clocks())
            if transaction is not None:
                self.begin(transaction)
            return "seals a transaction"
        words, call = self.calls.popleft()
        call()
        for _ in range(amount % 4):
            both = (words, self.calls[0][0]) if self.calls else ("",)
            if not all(one.startswith("produces") for one in both):
                break
            also, call = self.calls.popleft()
            words = f"{words}, {also.removeprefix('produces ')}"
            call()
        if not self.calls:
            self.committed()
        return words

    def begin(self, transaction: Transaction) -> None:
        """Lay out the requests that commit a transaction, in the order of the runtime."""
        stats = transaction.stats
        timed = len(stats.lateness_seconds) + sum(stats.visits.values())
        assert timed <= TIMED_MAX, "a purchase would wait for this transaction"
        self.transaction = transaction
        writer, epoch = self.writers[self.turn], self.epochs[self.turn]
        self.turn = (self.turn + 1) % PRODUCERS
        broker = self.broker
        # Only of the takeover that is committed may anything be read.
        requests: dict[str, list[tuple[str, Callable[[], Any]]]] = {
            "begin": [("begins", lambda: broker.begin(writer, epoch))],
            "produce": [
                (
                    f"produces {len(outputs)} to {show(place)}",
                    lambda place=place, outputs=outputs: broker.produce(
                        writer, epoch, place, outputs
                    ),
                )
                for place, outputs in transaction.outputs.items()
            ],
            "offsets": [("sends offsets", lambda: self.send_offsets(writer, epoch, transaction))],
            "end": [("ends its transaction", lambda: broker.end(writer, epoch))],
        }
        self.calls = deque(call for kind in self.order for call in requests[kind])

    def send_offsets(self, writer: str, epoch: int, transaction: Transaction) -> None:
        """Let the broker fence the transaction by the generation of its group."""
        if transaction.offsets:
            about = (transaction.generation, transaction.member)
            self.broker.commit_offsets(writer, epoch, transaction.offsets, about)

    def committed(self) -> None:
        """Take the broker's word."""
        transaction, self.transaction = self.transaction, None
        self.machine.on_committed()
        if transaction is not None and transaction.takeover:
            self.own()

    # -- Owning -------------------------------------------------------------------------------

    def do_group(self, amount: int) -> str:
        """Join, let go, or take over."""
        del amount
        group, broker = self.broker.group, self.broker
        if self.member is None:
            self.epochs = [broker.initialise(writer) for writer in self.writers]
            self.member = group.join(self.slot, broker.now_ms)
            return f"joins as {self.member}"
        given_up = self.member not in group.members
        if given_up or (group.rebalancing and self.member not in group.rejoined):
            if not self.revoked:
                self.revoke()
                return "lets go of its partitions"
            if given_up:
                self.member = group.join(self.slot, broker.now_ms)
                return f"was given up and joins as {self.member}"
            group.rejoin(self.member)
            return "comes to the rebalance"
        if group.generation != self.machine.generation:
            return self.take_over()
        if self.to_load:
            return self.load(self.to_load[0])
        return self.position()

    def revoke(self) -> None:
        """Commit what is decided, drop what is queued."""
        self.machine.on_revoked()
        self.revoked, self.positioned, self.to_load = True, False, None

    def take_over(self) -> str:
        """Take the assignment of the present generation."""
        group = self.broker.group
        assert self.member is not None
        member = group.members[self.member]
        self.read_control()
        needed = self.machine.on_assigned(group.generation, self.member, member.homes)
        self.to_load, self.elsewhere = sorted(needed), list(member.elsewhere)
        self.revoked = self.positioned = False
        return f"gets {list(member.homes)} in generation {group.generation}"

    def load(self, index: int) -> str:
        """Read one changelog partition, once nobody's transaction is open on it."""
        assert self.to_load is not None
        place = TopicPartition(self.names.changelog, index)
        waits_for = self.stand_before(place, self.broker.open_writers(place))
        if waits_for is not None:
            return waits_for
        self.to_load.pop(0)
        loaded = self.assemble(index, self.broker.logs[place])
        self.check_positions(index, loaded)
        self.machine.on_loaded(self.machine.generation, index, loaded, self.clocks())
        return f"loads {len(loaded.contents.states)} states of {show(place)}"

    def stand_before(self, place: TopicPartition, writers: list[str]) -> str | None:
        """End what dead workers left open, and wait for the living."""
        if not writers:
            return None
        dead = [one for one in writers if one.rpartition("-tx")[0] not in self.broker.group.slots]
        for writer in dead:
            self.broker.initialise(writer)
        if dead:
            return f"ends the transactions of {', '.join(dead)} on {show(place)}"
        if not sum(self.cluster.finish(writer) for writer in writers):
            self.waits_ms = self.broker.now_ms  # Until it ends that, or has taken too long.
        return f"waits for {', '.join(writers)} on {show(place)}"

    def assemble(self, index: int, log: Log) -> Loaded:
        """Read a changelog as the bulk loader does."""
        contents = Contents()
        for record in self.changelog(log):
            contents.take(record.key, record.value)
        start_offsets = dict.fromkeys(self.names.home_inputs, 0)
        return Loaded.of(contents, start_offsets, where=str(index))

    def changelog(self, log: Log) -> Any:
        """Return what of a changelog is read."""
        return log.committed(0)

    def check_positions(self, index: int, loaded: Loaded) -> None:
        """Stop when the next input to decide is not in the log."""
        for topic, position in (loaded.meta.positions if loaded.meta is not None else {}).items():
            place = TopicPartition(topic, index)
            if position > len(self.broker.logs[place].records):
                raise GaveUpError(f"the next of {show(place)} is {position}, beyond its end")

    def position(self) -> str:
        """Ask where to read on elsewhere, and make what was loaded ours."""
        machine = self.machine
        for place in self.elsewhere:
            waits_for = self.stand_before(OFFSETS, self.broker.pending_writers(place))
            if waits_for is not None:
                return waits_for
            machine.on_position(machine.generation, place, self.broker.committed_offset(place))
        self.elsewhere = []
        takeover = machine.seal_takeover(self.clocks())
        if takeover is None:
            self.own()
            return "keeps what it has"
        self.begin(takeover)
        self.to_load = None
        return f"seals the takeover of {sorted(takeover.takeover)}"

    def own(self) -> None:
        """Read on from where the state machine stands, unless a rebalance has come meanwhile."""
        self.to_load = None
        if not self.revoked:
            self.positioned = True
            self.read = dict(sorted(self.machine.positions().items()))


def show(place: TopicPartition) -> str:
    """Write a partition as people do."""
    return f"{place.topic}/{place.partition}"
