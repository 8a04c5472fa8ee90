"""Who owns what, and which effects are committed together: the rules of the commit, as values.

The driver tells what happened (`on_assigned`, `on_loaded`, `on_batch`, `on_revoked`,
`on_committed`) and asks what to do (`decide`, `seal`, `positions`); nothing here waits or sends.
Inputs are decided as they arrive, into the open group; `seal` closes it into one transaction when
the one before is committed. A failed transaction is not an input: the worker ends, and recovery
reads what the log says.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.core.encoded.state import STATE_FORMAT, UnknownStateFormat
from orchestrator.errors import DependencyError, InvariantViolated
from orchestrator.protocol.commit.group import SLICE_SECONDS, OpenGroup, Rules
from orchestrator.protocol.commit.meta import (
    JOURNEYS_KEY,
    META_FORMAT,
    META_KEY,
    Meta,
    check_journeys,
    encode_journeys,
    encode_meta,
    journey_digests,
)
from orchestrator.protocol.commit.partition import CustomerPartition, Loaded
from orchestrator.protocol.commit.rounds import Rounds
from orchestrator.protocol.commit.transaction import Batch, TopicPartition, Transaction
from orchestrator.protocol.commit.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.core.pauses import Pauses
    from orchestrator.metrics import GroupStats
    from orchestrator.protocol.commit.group import GroupBounds
    from orchestrator.protocol.commit.rounds import Cursor

# From this many takeovers without progress on, a partition's groups shrink by this factor each.
STARTS_TOLERATED: Final = 3
SHRINK_FACTOR: Final = 8
# After an event others are expected for so long; they would wait for what is in flight.
EVENTS_COME_MS: Final = 100


class Writer(NamedTuple):
    """Who this worker is, as its meta records say it."""

    slot: str
    transactional_ids: tuple[str, ...]


class Clocks(NamedTuple):
    """Wall and monotonic time of the worker, milliseconds."""

    wall_ms: int
    monotonic_ms: int


class CommitMachine:
    """The state machine of one worker."""

    def __init__(self, rules: Rules, bounds: GroupBounds, writer: Writer) -> None:
        self._rules = rules
        self._bounds = bounds
        self._writer = writer
        self._digests = journey_digests(rules.journeys)
        self._journeys_value = encode_journeys(self._digests)
        self._queue: deque[Batch] = deque()
        self._queued_records = 0
        self._queued_positions: dict[TopicPartition, int] = {}
        self._taken = 0  # Records of the first queued batch that are decided.
        self._open: OpenGroup | None = None
        self._open_timed = 0  # Due waits and visits among its inputs.
        self._event_ms = -EVENTS_COME_MS  # When an event was decided last.
        self._waits, self._visits = Turns(), Turns()
        self._touched: set[int] = set()
        self._moved: dict[TopicPartition, int] = {}
        self._loading: set[int] = set()
        # Partitions whose record of the journeys is not yet that of the ones we run.
        self._journeys_untold: set[int] = set()
        self._revoking = False
        self.generation = -1
        self.member = ""
        self.homes: dict[int, CustomerPartition] = {}
        self.elsewhere: dict[TopicPartition, int] = {}
        self.in_flight: Transaction | None = None

    # -- Journeys and pauses ------------------------------------------------------------------

    def adopt(self, rules: Rules) -> None:
        """Decide by other journeys from the next input on; never in the middle of a group.

        Raises DependencyError for a journey whose content changed under its version.
        """
        if self._open is not None:
            raise InvariantViolated("journeys were changed in the middle of a group")
        self.check(rules)
        digests = journey_digests(rules.journeys)
        self._digests = digests
        self._journeys_value = encode_journeys(digests)
        self._journeys_untold = set(self.homes)
        self._decide_by(rules, self._rules.journeys.pauses)

    def pause(self, pauses: Pauses) -> None:
        """Let these be in force from the next input on; never in the middle of a group."""
        if self._open is not None:
            raise InvariantViolated("what is paused was changed in the middle of a group")
        self._decide_by(self._rules, pauses)

    def _decide_by(self, rules: Rules, pauses: Pauses) -> None:
        self._rules = rules._replace(journeys=rules.journeys.pausing(pauses))
        for home in self.homes.values():
            home.rounds = self._rounds(home.rounds.cursors())

    def check(self, rules: Rules) -> None:
        """Raise DependencyError for a journey whose content changed under its version."""
        check_journeys(self._journeys_value, journey_digests(rules.journeys), where="definitions")

    def _rounds(self, cursors: Mapping[str, Cursor]) -> Rounds:
        rules = self._rules
        return Rounds(rules.journeys, cursors, partitions=rules.names.partitions)

    # -- Ownership ---------------------------------------------------------------------------

    def on_assigned(self, generation: int, member: str, homes: Iterable[int]) -> frozenset[int]:
        """Take a new assignment; return the partitions of customers that must be loaded.

        What stays is kept only when this member was in the group without a gap: then nobody
        else can have owned it in between.
        """
        if self._open is not None or self.in_flight is not None:
            raise InvariantViolated("a new assignment came before the old one was committed")
        wanted = frozenset(homes)
        stayed = member == self.member and generation == self.generation + 1
        self.homes = {
            index: home
            for index, home in self.homes.items()
            if stayed and home.owned and index in wanted
        }
        self.elsewhere = {}
        self._drop_queue()
        self._revoking = False
        self.generation = generation
        self.member = member
        self._loading = set(wanted - self.homes.keys())
        return frozenset(self._loading)

    def on_loaded(self, generation: int, index: int, loaded: Loaded, clocks: Clocks) -> None:
        """Take the state of a partition; ignored when the assignment changed meanwhile.

        Raises DependencyError for journeys that changed under their version, and for state of a
        newer release.
        """
        if generation != self.generation or index not in self._loading:
            return
        where = f"{self._rules.names.changelog}/{index}"
        try:
            loaded.contents.check_formats()
        except UnknownStateFormat as error:
            raise DependencyError(f"{where}: {error}; upgrade this worker") from error
        if loaded.contents.journeys is not None:
            check_journeys(loaded.contents.journeys, self._digests, where=where)
        if loaded.meta is not None:
            self._check_inputs(loaded.meta.positions, where)
        if loaded.meta is None and loaded.contents.states:
            raise InvariantViolated(f"{where} holds customers and no meta record")
        rounds = self._rounds(loaded.meta.rounds if loaded.meta is not None else {})
        self.homes[index] = CustomerPartition(
            index, loaded, rounds, monotonic_ms=clocks.monotonic_ms
        )
        self._loading.discard(index)

    def _check_inputs(self, positions: Mapping[str, int], where: str) -> None:
        """Refuse an input topic whose partition count is no longer that of the homes.

        Its customers would hash elsewhere, and the positions recorded here would mean nothing.
        """
        names = self._rules.names
        for topic in positions:
            if topic in names.inputs and topic not in names.home_inputs:
                raise DependencyError(
                    f"{topic} has {names.inputs[topic]} partitions and {where} knows it with "
                    f"{names.partitions}: a partition count must never change"
                )

    def on_position(self, generation: int, source: TopicPartition, position: int) -> None:
        """Take where to go on reading an input partition that is nobody's home."""
        if generation == self.generation:
            self.elsewhere[source] = position

    def on_revoked(self) -> None:
        """Stop deciding; what is decided is still committed, what is queued is dropped."""
        self._revoking = True
        self._drop_queue()

    @property
    def loaded(self) -> bool:
        """Whether every assigned partition has its state."""
        return not self._loading

    @property
    def drained(self) -> bool:
        """Whether nothing decided is left to commit."""
        return self._open is None and self.in_flight is None

    def positions(self) -> dict[TopicPartition, int]:
        """Return the next offset to read of every input partition that is owned."""
        positions = dict(self.elsewhere)
        for index, home in self.homes.items():
            if home.owned:
                positions |= {TopicPartition(t, index): p for t, p in home.positions.items()}
        return positions | self._queued_positions

    def oldest_ms(self) -> dict[TopicPartition, int]:
        """Return the timestamp of each input's oldest record that is read and not committed.

        Asked by the exposition's thread: it looks at copies, which may be a moment old.
        """
        oldest: dict[TopicPartition, int] = {}
        flight = self.in_flight
        if flight is not None and flight.stats.recorded_ms:
            oldest = dict.fromkeys(flight.offsets, flight.stats.recorded_ms[0])
        for batch in self._queue.copy():
            oldest.setdefault(batch.source, batch.records[0].timestamp)
        return oldest

    # -- Deciding ----------------------------------------------------------------------------

    def on_batch(self, batch: Batch) -> None:
        """Queue what was read. A batch of another generation is dropped: it is read again."""
        if batch.generation != self.generation or self._revoking or not batch.records:
            return
        expected = self._queued_positions.get(batch.source)
        if expected is None:
            expected = self._position(batch.source)
        if batch.start != expected:
            raise InvariantViolated(
                f"{batch.source.topic}/{batch.source.partition}: read from {batch.start}, "
                f"but {expected} is the next to decide"
            )
        self._queue.append(batch)
        self._queued_records += len(batch.records)
        self._queued_positions[batch.source] = batch.end

    @property
    def group_open(self) -> bool:
        """Whether something is decided that no transaction holds yet."""
        return self._open is not None

    @property
    def open_inputs(self) -> int:
        """How many decided inputs wait for the next transaction."""
        return self._open.inputs if self._open is not None else 0

    @property
    def queued_records(self) -> int:
        """How many records wait to be decided."""
        return self._queued_records

    @property
    def group_full(self) -> bool:
        """Whether the open group has reached its bounds and must be committed first."""
        group = self._open
        return group is not None and (
            group.inputs >= self._records_max() or group.bytes >= self._bounds.bytes_max
        )

    def decide(self, inputs_max: int, clocks: Clocks) -> int:
        """Decide up to so many inputs into the open group: events, then due waits, then visits.

        Of waits and visits no more than a transaction may carry. Returns how many; 0 when there is
        nothing to decide or no room.
        """
        if self._revoking:
            return 0
        decided, until = 0, self._rules.stopwatch() + SLICE_SECONDS
        while self._queue and decided < inputs_max and not self.group_full:
            decided += self._decide_queued(inputs_max - decided, until, clocks)
            if self._rules.stopwatch() > until:
                return decided
        if decided:
            self._event_ms = clocks.monotonic_ms
        room = min(inputs_max - decided, self._timed_max(clocks.monotonic_ms) - self._open_timed)
        timed = self._waits.take(self.homes, room, lambda home: self._fire(home, clocks))
        timed += self._visits.take(self.homes, room - timed, lambda home: self._visit(home, clocks))
        self._open_timed += timed
        return decided + timed

    def _timed_max(self, monotonic_ms: int) -> int:
        """Return how many waits and visits the open group may hold: fewer while events come."""
        beside_events = monotonic_ms - self._event_ms < EVENTS_COME_MS
        return self._bounds.beside_max if beside_events else self._bounds.timed_max

    def next_due_in_ms(self, monotonic_ms: int) -> int | None:
        """Return how long until the earliest wait or visit is due; 0 when one is, else None."""
        if self._revoking:
            return None
        soonest: list[int] = []
        for home in self.homes.values():
            if not home.owned:
                continue
            now_ms = home.clock.now_ms(monotonic_ms)
            due = (home.waits.next_due_ms(), home.rounds.next_due_ms(now_ms))
            soonest += [max(0, due_ms - now_ms) for due_ms in due if due_ms is not None]
        return min(soonest, default=None)

    def _decide_queued(self, inputs_max: int, until: float, clocks: Clocks) -> int:
        batch = self._queue[0]
        group = self._group()
        home = self._home(batch.source)
        if self._taken == 0:
            newest_ms = max(record.timestamp for record in batch.records)
            if home is not None and home.clock.observe(newest_ms, **clocks._asdict()):
                group.stats.capped += 1
        now_ms = home.clock.now_ms(clocks.monotonic_ms) if home is not None else clocks.wall_ms
        room = min(inputs_max, self._records_max() - group.inputs)
        taken = batch.records[self._taken : self._taken + room]
        done = 0
        for record in taken:
            group.add_record(home, batch.source, record, now_ms=now_ms)
            done += 1
            if group.bytes >= self._bounds.bytes_max or self._rules.stopwatch() > until:
                break
        self._taken += done
        self._queued_records -= done
        if self._taken == len(batch.records):
            self._queue.popleft()
            self._taken = 0
            self._move(batch.source, batch.end)
        else:
            self._move(batch.source, batch.records[self._taken - 1].offset + 1)
        return done

    def _fire(self, home: CustomerPartition, clocks: Clocks) -> bool:
        """Decide the partition's next due wait; return whether there was one, and room."""
        now_ms = home.clock.now_ms(clocks.monotonic_ms)
        due = None if self.group_full else home.waits.pop_due(now_ms)
        if due is None:
            return False
        self._group().add_wait(home, due[0], due_ms=due[1], now_ms=now_ms)
        self._touched.add(home.index)
        return True

    def _visit(self, home: CustomerPartition, clocks: Clocks) -> bool:
        """Decide the partition's next visit; return whether there was anything to do, and room."""
        now_ms = home.clock.now_ms(clocks.monotonic_ms)
        due_ms = home.rounds.next_due_ms(now_ms)
        if due_ms is None or due_ms > now_ms or self.group_full:
            return False
        before = home.rounds.cursors()
        # Who has come in the open group is there too, though no state of theirs is written yet.
        known = home.states if self._open is None else self._open.customers(home)
        visit = home.rounds.next_visit(known, home.contents.paused, now_ms)
        if visit is not None:
            self._group().add_visit(home, *visit, now_ms=now_ms)
        elif home.rounds.cursors() != before:
            self._group()  # Nobody to visit, and that is worth remembering.
        else:
            return False
        self._touched.add(home.index)
        return True

    # -- Committing --------------------------------------------------------------------------

    def seal_takeover(self, clocks: Clocks) -> Transaction | None:
        """Return the transaction that makes the loaded partitions ours; None without any.

        Its meta record is the record of our own from which an empty partition's clock starts.
        """
        taken = sorted(index for index, home in self.homes.items() if not home.owned)
        if not self.loaded or not taken or self._revoking:
            return None
        group = OpenGroup(self._rules)
        offsets: dict[TopicPartition, int] = {}
        for index in taken:
            home = self.homes[index]
            home.clock.observe(clocks.wall_ms, **clocks._asdict())
            group.produce_meta(index, META_KEY, self._meta(home, clocks))
            group.produce_meta(index, JOURNEYS_KEY, self._journeys_value)
            offsets |= {TopicPartition(t, index): p for t, p in home.positions.items()}
        return self._begin(group, offsets, frozenset(taken))

    def seal(self, clocks: Clocks) -> Transaction | None:
        """Close the open group into a transaction, unless one is still in flight."""
        group = self._open
        if group is None or self.in_flight is not None:
            return None
        group.seal_states(self.homes)
        offsets = dict(self._moved)
        for index in sorted(self._touched):
            home = self.homes[index]
            home.starts = 0
            group.produce_meta(index, META_KEY, self._meta(home, clocks))
            if index in self._journeys_untold:
                group.produce_meta(index, JOURNEYS_KEY, self._journeys_value)
                self._journeys_untold.discard(index)
            offsets |= {TopicPartition(t, index): p for t, p in home.positions.items()}
        self._open = None
        self._open_timed = 0
        self._touched = set()
        self._moved = {}
        return self._begin(group, offsets, frozenset())

    def on_committed(self) -> GroupStats:
        """Take the broker's word that the transaction in flight is committed; return its counts."""
        transaction = self.in_flight
        if transaction is None:
            raise InvariantViolated("a commit was acknowledged that nobody made")
        self.in_flight = None
        for index in transaction.takeover:
            if index in self.homes:
                self.homes[index].owned = True
        return transaction.stats

    def _begin(
        self,
        group: OpenGroup,
        offsets: Mapping[TopicPartition, int],
        takeover: frozenset[int],
    ) -> Transaction:
        if not offsets or self.in_flight is not None:
            raise InvariantViolated("a transaction needs offsets, and the one before it must end")
        self.in_flight = Transaction(
            self.generation, self.member, group.outputs, offsets, group.stats, takeover
        )
        return self.in_flight

    def _meta(self, home: CustomerPartition, clocks: Clocks) -> bytes:
        return encode_meta(
            Meta(
                format=META_FORMAT,
                state_format=STATE_FORMAT,
                positions=home.positions,
                generation=self.generation,
                slot=self._writer.slot,
                transactional_ids=self._writer.transactional_ids,
                clock_ms=home.clock.now_ms(clocks.monotonic_ms),
                starts=home.starts,
                content_hash=self._rules.journeys.content_hash,
                rounds=home.rounds.cursors(),
            )
        )

    # -- Small parts -------------------------------------------------------------------------

    def _group(self) -> OpenGroup:
        if self._open is None:
            self._open = OpenGroup(self._rules)
        return self._open

    def _home(self, source: TopicPartition) -> CustomerPartition | None:
        if source.topic not in self._rules.names.home_inputs:
            return None
        return self.homes[source.partition]

    def _position(self, source: TopicPartition) -> int | None:
        if source.topic in self._rules.names.home_inputs:
            home = self.homes.get(source.partition)
            return home.positions[source.topic] if home is not None and home.owned else None
        return self.elsewhere.get(source)

    def _move(self, source: TopicPartition, position: int) -> None:
        """Advance a position, in the open group's transaction."""
        if source.topic in self._rules.names.home_inputs:
            self.homes[source.partition].positions[source.topic] = position
            self._touched.add(source.partition)
        else:
            self.elsewhere[source] = position
            self._moved[source] = position

    def _records_max(self) -> int:
        starts = max((home.starts for home in self.homes.values()), default=0)
        shrinks = max(0, starts - STARTS_TOLERATED)
        return max(1, int(self._bounds.records_max // SHRINK_FACTOR**shrinks))

    def _drop_queue(self) -> None:
        self._queue.clear()
        self._queued_records = 0
        self._queued_positions = {}
        self._taken = 0
