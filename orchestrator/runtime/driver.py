"""Drives the state machine: feeds it batches, clocks and loads, and runs its transactions.

One task decides in slices and seals a transaction whenever none is in flight; so a lone event is
committed at once, and under load groups grow by themselves to what arrived meanwhile. Whatever
fails ends the process: a restart recovers from the log.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NoReturn

import structlog
from aiokafka.errors import ProducerFenced, TopicAuthorizationFailedError

from orchestrator.clients.security import bulk_options
from orchestrator.errors import DependencyError, OrchestratorError, UsageError, WorkerGaveUp
from orchestrator.failpoint import Failpoint
from orchestrator.metrics import InputStatus, Metrics, PartitionStatus
from orchestrator.protocol.commit.group import GroupBounds
from orchestrator.protocol.commit.machine import Clocks, CommitMachine, Writer
from orchestrator.protocol.commit.transaction import Batch, TopicPartition, Transaction
from orchestrator.runtime.coordination import Coordination, client_id, transactional_id
from orchestrator.runtime.producer import FencedProducer
from orchestrator.runtime.recovery import BulkLoader, Source, ask_removals
from orchestrator.runtime.registry.client import SchemaRegistry
from orchestrator.runtime.registry.waiting import SchemaGate
from orchestrator.runtime.standby import Standby

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from orchestrator.core.pauses import Pauses
    from orchestrator.metrics import GroupStats
    from orchestrator.protocol.commit.group import Rules
    from orchestrator.protocol.inputs import Schemas
    from orchestrator.settings import Settings

_log = structlog.get_logger()

# Two in turn: while the broker writes the markers of one transaction, the next can begin.
PRODUCERS: Final = 2
# Inputs decided before the loop gets to look at the network again: some milliseconds.
_SLICE_INPUTS: Final = 64
# Read ahead of the decisions; more would only grow memory and age.
_QUEUED_RECORDS_MAX: Final = 20_000
_SLOT_POLL_SECONDS: Final = 0.25
_WAIT_POLL_SECONDS_MAX: Final = 1.0
_IGNORED_TOLD_SECONDS: Final = 60.0


def clocks() -> Clocks:
    """Read both clocks; the only place where the worker asks for the time."""
    return Clocks(time.time_ns() // 1_000_000, time.monotonic_ns() // 1_000_000)


def _topics(error: TopicAuthorizationFailedError) -> str:
    """Return the topics that a refusal names: one, or a set of them."""
    named = error.args[0] if error.args else "a topic"
    return named if isinstance(named, str) else ", ".join(sorted(named))


async def _nothing_new() -> None:
    """Stand in for a look at the broker's metadata."""


class Driver:
    """The worker's side of the commit. Lives on the event loop of Faust's app."""

    def __init__(
        self,
        settings: Settings,
        client_options: dict[str, Any],
        rules: Rules,
        metrics: Metrics,
        schemas: Schemas,
    ) -> None:
        self.names = rules.names
        self.schemas = schemas
        self._mappings = rules.mappings
        self.failpoint = Failpoint(settings.failpoint)
        self.progress = 0
        self._settings = settings
        self._options = client_options
        self._metrics = metrics
        self._timeout_ms = int(settings.transaction_timeout_seconds * 1000)
        ids = tuple(
            transactional_id(settings.app_id, settings.slot, turn) for turn in range(PRODUCERS)
        )
        self.machine = CommitMachine(
            rules,
            GroupBounds(
                settings.group_records_max,
                settings.group_bytes_max,
                settings.group_timed_max,
                settings.group_beside_max,
            ),
            Writer(settings.slot, ids),
        )
        self._producers = [
            FencedProducer(
                client_options | {"client_id": client_id(settings.app_id, settings.slot)},
                transactional_id=identity,
                transaction_timeout_ms=self._timeout_ms,
                failpoint=self.failpoint,
            )
            for identity in ids
        ]
        self._loader = BulkLoader(
            client_options,
            bulk_options(settings),
            settings.app_id,
            transaction_timeout_ms=self._timeout_ms,
        )
        self.standby = Standby(client_options, rules.names.changelog)
        self._turn = 0
        # When the next transaction may begin, on the clock of `perf_counter`.
        self._begin_at = 0.0
        # By how much the load makes that interval longer.
        self.stretch = 1.0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._room = asyncio.Event()
        self._landed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._gate: SchemaGate | None = None
        self._ignored: Counter[str] = Counter()
        self._ignored_told = time.monotonic()
        self._coming: Rules | None = None
        self._pausing: Pauses | None = None
        # Return when the worker knows all that its topics of journeys and pauses say by then.
        self.followed: list[Callable[[], Awaitable[None]]] = []
        self.partition_count: Callable[[str], int | None] = lambda _topic: None
        self.look_again: Callable[[], Awaitable[object]] = _nothing_new
        self.unread: Callable[[], dict[TopicPartition, int]] = dict

    # -- Life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Claim the slot, fence its former worker, and begin to decide."""
        await self._claim_slot()
        if self._settings.schema_registry_url:
            registry = SchemaRegistry(self._settings)
            self._gate = SchemaGate(
                registry, self.schemas, self._queue, self._metrics.waiting, self._spawn
            )
        for producer in self._producers:
            await producer.start()
        self._spawn(self._run())
        if self._settings.standby:
            self._spawn(self.standby.run())

    async def _claim_slot(self) -> None:
        """Wait until the slot's former worker has left the group; refuse a slot that is in use."""
        identity = client_id(self._settings.app_id, self._settings.slot)
        deadline = time.monotonic() + 2 * self._settings.session_timeout_seconds + 1
        async with Coordination(self._options, self._settings.app_id) as coordination:
            while True:
                users = [m for m in await coordination.members() if m.client_id == identity]
                if not users:
                    return
                if time.monotonic() > deadline:
                    raise UsageError(
                        f"slot: {self._settings.slot!r} is in use by a worker on {users[0].host}; "
                        "allowed: a name of its own for each worker"
                    )
                await asyncio.sleep(_SLOT_POLL_SECONDS)

    async def stop(self) -> None:
        """Close what is open besides the Kafka clients."""
        if self._gate is not None:
            await self._gate.stop()

    def give_up(self, error: BaseException) -> NoReturn:
        """End the process at once; what was not committed is decided again by whoever is next."""
        known = isinstance(error, OrchestratorError)
        code = error.exit_code if isinstance(error, OrchestratorError) else WorkerGaveUp.exit_code
        _log.error("worker gives up", error=str(error) if known else repr(error), exit_code=code)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guarded(self, work: Any) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - crash-only: whatever it is ends us.
            self.give_up(error)

    # -- Journeys and pauses -----------------------------------------------------------------

    def adopt(self, rules: Rules) -> None:
        """Decide by other journeys as soon as the open group is sealed.

        Raises DependencyError for a journey whose content changed under its version.
        """
        if self.machine.group_open:
            self.machine.check(rules)
            self._coming = rules
            self._wake.set()
        else:
            self._coming = None
            self.machine.adopt(rules)
            self.names, self._mappings = rules.names, rules.mappings

    def pause(self, pauses: Pauses) -> None:
        """Let these be in force as soon as the open group is sealed."""
        self._pausing = pauses
        self._adopt_coming()
        self._wake.set()

    def _adopt_coming(self) -> None:
        if self.machine.group_open:
            return
        if self._coming is not None:
            self.adopt(self._coming)
        if self._pausing is not None:
            self.machine.pause(self._pausing)
            self._pausing = None

    # -- Ownership ---------------------------------------------------------------------------

    async def take_over(
        self, generation: int, member: str, assigned: Iterable[TopicPartition]
    ) -> None:
        """Load what is newly ours, and commit that we own it. May be cancelled by a rebalance."""
        self.failpoint.reach("assigned")
        await self._drained()
        # Whoever had a partition before us may run what was published a moment ago; their customers
        # may be in versions that only those journeys know, or held by a pause.
        await asyncio.gather(*(caught_up() for caught_up in self.followed))
        self._adopt_coming()
        partitions = list(assigned)
        await self.look_again()
        self._check_counts()
        homes = {index for topic, index in partitions if topic == self.names.changelog}
        needed = self.machine.on_assigned(generation, member, homes)
        self._metrics.assigned(generation)
        self.standby.follow(set(range(self.names.partitions)) - homes)
        if needed:
            self.failpoint.reach("recovery_started")
            await self._load(generation, needed)
            self.failpoint.reach("recovery_loaded")
        elsewhere = [
            place
            for place in partitions
            if place.topic in self.names.inputs and place.topic not in self.names.home_inputs
        ]
        await self._position_elsewhere(generation, elsewhere)
        while self.machine.in_flight is not None:  # Waits of partitions that stayed.
            self._landed.clear()
            await self._landed.wait()
        takeover = self.machine.seal_takeover(clocks())
        if takeover is not None:
            # A task of its own: a rebalance may cancel us, but never a transaction half way.
            await asyncio.shield(self._spawn(self._commit(takeover)))

    def _check_counts(self) -> None:
        """Stop when an input topic has grown: its keys would hash to other partitions."""
        for topic, expected in self.names.inputs.items():
            count = self.partition_count(topic)
            if count is not None and count != expected and topic in self.names.mapped:
                raise WorkerGaveUp(f"{topic} has {count} partitions now; a restart reads them all")
            if count is not None and count != expected:
                raise DependencyError(
                    f"{topic} has {count} partitions now and had {expected} when this worker "
                    "started: a partition count must never change"
                )

    async def revoke(self) -> None:
        """Commit what is decided, drop what is queued. Called inside the rebalance callback."""
        self.machine.on_revoked()
        if self._gate is not None:
            self._gate.drop()
        self.failpoint.reach("revoked")
        await self._drained()

    async def _load(self, generation: int, needed: Iterable[int]) -> None:
        source = Source(self.names.changelog, self.names.home_inputs)
        # Without a standby, what a rebalance cuts short is not kept: nobody would read it on.
        copies = self.standby.copies if self._settings.standby else {}
        loaded, report = await self._loader.load(source, needed, copies)
        for index in sorted(loaded):
            self.machine.on_loaded(generation, index, loaded[index], clocks())
            await asyncio.sleep(0)
        # What was loaded lives as long as the partition; the collector need not look at it.
        gc.collect()
        gc.freeze()
        self._spawn(ask_removals(self.machine))
        self._metrics.recovered(seconds=report.seconds, records=report.records)
        self._metrics.takeover_waited(report.waited_seconds)
        _log.info("recovered", **report._asdict())

    async def _position_elsewhere(self, generation: int, places: list[TopicPartition]) -> None:
        if not places:
            return
        async with Coordination(self._options, self._settings.app_id) as coordination:
            committed = await coordination.stable_offsets(
                places, transaction_timeout_ms=self._timeout_ms
            )
        first = await self._loader.first_offsets(places)
        for place in places:
            position = committed.get(place, first[place])
            if position < first[place]:
                raise DependencyError(
                    f"{place.topic}/{place.partition}: the next event to forward is at "
                    f"{position}, but the log begins at {first[place]}; nothing was skipped"
                )
            self.machine.on_position(generation, place, position)

    # -- Deciding and committing -------------------------------------------------------------

    def on_batch(self, batch: Batch) -> None:
        """Take a batch from the agent."""
        mapping = self._mappings.get(batch.source.topic)
        if mapping is not None and self._gate is not None:
            self._gate.take(mapping, batch)
        else:
            self._queue(batch)

    @property
    def held(self) -> frozenset[TopicPartition]:
        """The partitions of which nothing more is to be read until their schemas are there."""
        return frozenset() if self._gate is None else self._gate.places

    def _queue(self, batch: Batch) -> None:
        self.machine.on_batch(batch)
        if self.machine.queued_records >= _QUEUED_RECORDS_MAX:
            self._room.clear()
        self._wake.set()

    async def wait_for_room(self) -> None:
        """Return when the machine wants to read more."""
        if self.machine.queued_records >= _QUEUED_RECORDS_MAX:
            await self._room.wait()

    async def _run(self) -> None:
        machine = self.machine
        budget = self._settings.group_decide_seconds
        spent = 0.0
        while True:
            self._wake.clear()
            self._adopt_coming()
            if machine.open_inputs == 0:
                spent = 0.0
            started = time.perf_counter()
            decided = machine.decide(_SLICE_INPUTS, clocks()) if spent < budget else 0
            spent += time.perf_counter() - started
            if machine.queued_records < _QUEUED_RECORDS_MAX:
                self._room.set()
            if machine.in_flight is None and time.perf_counter() >= self._begin_at:
                self._seal()
            if decided:
                await asyncio.sleep(0)
                continue
            if machine.drained:
                self._idle.set()
            await self._sleep_until_due()

    def _seal(self) -> None:
        """Begin the transaction of the open group, if there is one."""
        transaction = self.machine.seal(clocks())
        if transaction is None:
            return
        # A lone event finds this long past; what comes in a row shares transactions.
        interval_seconds = self.stretch * self._settings.group_interval_seconds
        self._begin_at = time.perf_counter() + interval_seconds
        self.failpoint.reach("after_decide")
        if transaction.stats.lateness_seconds:
            self.failpoint.reach("timer_decided")
        for (side,) in transaction.stats.merges:
            self.failpoint.reach(f"{side}_decided")
        self._spawn(self._commit(transaction))

    async def _sleep_until_due(self) -> None:
        machine = self.machine
        left_ms = machine.next_due_in_ms(clocks().monotonic_ms)
        seconds = _WAIT_POLL_SECONDS_MAX
        if left_ms is not None and (left_ms or machine.in_flight is None):
            seconds = min(seconds, left_ms / 1000)
        if machine.group_open and machine.in_flight is None:
            seconds = self._begin_at - time.perf_counter()
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _commit(self, transaction: Transaction) -> None:
        producer = self._producers[self._turn]
        self._turn = (self._turn + 1) % PRODUCERS
        started = time.perf_counter()
        try:
            await producer.commit(transaction, self._settings.app_id)
        except ProducerFenced:
            self._metrics.transaction_failed("fenced")
            raise
        except TopicAuthorizationFailedError as error:
            self._metrics.transaction_failed("aborted")
            raise DependencyError(
                f"our user lacks the right to Write to {_topics(error)}; nothing was skipped"
            ) from error
        except Exception:
            self._metrics.transaction_failed("unknown")
            raise
        seconds = time.perf_counter() - started
        stats = self.machine.on_committed()
        for (side,) in stats.merges:
            self.failpoint.reach(f"{side}_committed")
        self.progress += 1
        self._note_ignored(stats)
        self._metrics.observe_group(
            stats, committed_ms=clocks().wall_ms, transaction_seconds=seconds
        )
        self._landed.set()
        self._wake.set()

    def _note_ignored(self, stats: GroupStats) -> None:
        """Log what the rules of inputs leave alone, once in a while."""
        for (name,), count in stats.ignored_records.items():
            self._ignored[name] += count
        if self._ignored and time.monotonic() - self._ignored_told > _IGNORED_TOLD_SECONDS:
            self._ignored_told = time.monotonic()
            _log.info("records ignored, no rule of their input applies", **self._ignored)
            self._ignored.clear()

    async def _drained(self) -> None:
        """Return when nothing decided is left to commit."""
        while not self.machine.drained:
            self._idle.clear()
            self._wake.set()
            await self._idle.wait()

    # -- Looking -----------------------------------------------------------------------------

    def lag(self) -> int:
        """Return how many inputs are not committed yet; a transaction in flight counts as one."""
        held = self.held  # They wait for somebody else; a restart would not help them.
        unread = sum(count for place, count in self.unread().items() if place not in held)
        undecided = unread + self.machine.queued_records
        return undecided + (not self.machine.drained)

    def statuses(self) -> list[PartitionStatus]:
        """Return how each owned partition stands; read by the exposition's thread."""
        now = clocks()
        positions, unread = self.machine.positions(), self.unread()
        oldest = self.machine.oldest_ms()
        statuses = []
        for index, home in sorted(self.machine.homes.copy().items()):
            removals = home.contents.removals.copy()
            inputs = []
            for topic, position in home.positions.copy().items():
                place = TopicPartition(topic, index)
                queued = max(0, positions.get(place, position) - position)
                lag = unread.get(place, 0) + queued
                inputs.append(InputStatus(topic, position, lag, oldest.get(place)))
            statuses.append(
                PartitionStatus(
                    partition=index,
                    customers=home.customers,
                    state_bytes=home.contents.state_bytes,
                    waits_pending=len(home.waits),
                    waits_due=home.waits.count_due(home.clock.now_ms(now.monotonic_ms)),
                    visits_left=home.rounds.left,
                    inputs=tuple(inputs),
                    customers_held=len(home.contents.paused),
                    oldest_removal_ms=min(removals.values(), default=None),
                )
            )
        return statuses

    def other_inputs(self) -> list[tuple[int, InputStatus]]:
        """Return how each owned partition stands that is nobody's home; the same thread reads."""
        positions, unread = self.machine.positions(), self.unread()
        oldest = self.machine.oldest_ms()
        held = {} if self._gate is None else self._gate.waiting()
        statuses = []
        for place, position in self.machine.elsewhere.copy().items():
            records, since_ms = held.get(place, (0, None))
            queued = max(0, positions.get(place, position) - position)
            lag = unread.get(place, 0) + queued + records
            status = InputStatus(place.topic, position, lag, oldest.get(place, since_ms))
            statuses.append((place.partition, status))
        return statuses
