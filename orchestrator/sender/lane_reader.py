"""Reads one lane: its group membership, its tables, and the offsets that may be committed.

`sender` runs one for each lane, so that neither a rebalance nor a backlog of one holds up the
other. Nothing is handed over before the tables of the partitions are read up to their ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from orchestrator.errors import DependencyError
from orchestrator.sender.follower import Follower
from orchestrator.sender.ledger import now_ms
from orchestrator.sender.names import homes_of
from orchestrator.sender.rules import command as kinds
from orchestrator.sender.rules.attempts import Attempts
from orchestrator.sender.rules.command import Place, Unreadable, decode_command
from orchestrator.sender.rules.lane import Lane
from orchestrator.sender.rules.obstacles import Cancels, Controls, Fences
from orchestrator.sender.rules.verdict import View

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.failpoint import Failpoint
    from orchestrator.sender.follower import Ends
    from orchestrator.sender.ledger import Ledger
    from orchestrator.sender.names import Names
    from orchestrator.sender.options import Options
    from orchestrator.sender.telemetry import Telemetry

_log = structlog.get_logger()

_READ_MS: Final = 200
_READ_RECORDS_MAX: Final = 500
# Ready commands beyond this are left on the topic; the follower reads cancels past them.
_READY_MAX: Final = 1_000
_COMMIT_SECONDS: Final = 1.0
_PRUNE_SECONDS: Final = 60.0
_REVOKE_GRACE_SECONDS: Final = 5.0
_GROUP_MOVED_ON: Final = (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)


@dataclass(frozen=True, slots=True)
class Shared:
    """What both lanes of a sender share."""

    client_options: dict[str, Any]
    names: Names
    partitions: Mapping[str, int]
    options: Options
    ends: Ends
    ledger: Ledger
    telemetry: Telemetry
    failpoint: Failpoint
    session_seconds: float
    heartbeat_seconds: float
    by: str
    wake: Callable[[], None]
    """Tells the sender that something may be handed over."""


class LaneReader(ConsumerRebalanceListener):
    """One lane of one sender."""

    def __init__(self, shared: Shared, topic: str, label: str) -> None:
        self._shared = shared
        self.label = label
        self.lane = Lane(topic)
        self.view: View | None = None
        """None while nothing may be handed over."""
        self.follower: Follower | None = None
        self._topic = topic
        self._assigned: set[TopicPartition] | None = None
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._fault: DependencyError | None = None
        self._committed: dict[int, int] = {}

    async def start(self) -> None:
        """Join the group."""
        options = self._shared.options
        self._consumer = AIOKafkaConsumer(
            **self._shared.client_options,
            group_id=self._shared.names.group(self._topic),
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            session_timeout_ms=int(self._shared.session_seconds * 1000),
            heartbeat_interval_ms=int(self._shared.heartbeat_seconds * 1000),
            # A rebalance waits for the calls under way, so that their outcome is not in doubt.
            rebalance_timeout_ms=int((options.call_seconds + 2 * _REVOKE_GRACE_SECONDS) * 1000),
        )
        await self._consumer.start()
        self._consumer.subscribe([self._topic], listener=self)

    async def stop(self) -> None:
        """Commit and leave the group; calls under way have ended before."""
        await self._commit()
        if self.follower is not None:
            await self.follower.stop()
        await self._consumer.stop()

    def begin(self) -> None:
        """Note a hand-over; a rebalance waits for its end."""
        self._under_way += 1
        self._idle.clear()

    def end(self) -> None:
        """Note the end of a hand-over."""
        self._under_way -= 1
        if not self._under_way:
            self._idle.set()

    def oldest_age_seconds(self) -> float:
        """Return the age of the oldest command that is not final; 0 when there is none."""
        oldest = self.lane.oldest()
        return 0.0 if oldest is None else max(0.0, (now_ms() - oldest.born_ms) / 1000)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Begin nothing more, let what is under way end, commit, let go."""
        self.view = None
        self._assigned = None
        with contextlib.suppress(TimeoutError):
            seconds = self._shared.options.call_seconds + _REVOKE_GRACE_SECONDS
            await asyncio.wait_for(self._idle.wait(), seconds)
        await self._commit()
        self.lane.revoke(tp.partition for tp in revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Leave the loading to `run`: the group must not wait for it."""
        self._assigned = set(assigned)

    async def run(self) -> None:
        """Read until cancelled. Raises what the broker refuses."""
        committed_at = pruned_at = time.monotonic()
        while True:
            if self.view is None and self._assigned is not None:
                await self._load(self._assigned)
            self._hold_back()
            fetched = await self._consumer.getmany(
                timeout_ms=_READ_MS, max_records=_READ_RECORDS_MAX
            )
            if self.view is not None:
                await self._take(fetched)
            now = time.monotonic()
            if now - committed_at >= _COMMIT_SECONDS:
                committed_at = now
                await self._commit()
            if now - pruned_at >= _PRUNE_SECONDS:
                pruned_at = now
                await self._prune()

    async def _load(self, assigned: set[TopicPartition]) -> None:
        """Read all that stands about these partitions, then begin with them."""
        if self.follower is not None:
            await self.follower.stop()
            self.follower = None
        if not assigned:
            self._assigned = None
            return
        started = time.monotonic()
        first = await self._shared.ends.first(list(assigned))
        offsets = {}
        for tp in assigned:
            committed = await self._consumer.committed(tp)
            offsets[tp] = first[tp] if committed is None else max(committed, first[tp])
        view = View(
            attempts=Attempts(self._topic),
            cancels=Cancels(),
            fences=Fences(),
            controls=Controls(),
            allowed=self._shared.options.allowed,
            by=self._shared.by,
        )
        follower = Follower(
            self._shared.client_options,
            self._shared.ends,
            self._starts(offsets),
            lambda record: self._follow(view, record),
        )
        await follower.start()
        self.follower = follower
        await follower.caught_up()
        if self._fault is not None:
            raise self._fault
        if self._assigned != assigned:
            return  # Given away again meanwhile; `run` loads what we have now.
        for tp, offset in offsets.items():
            # What was fetched before the tables stood was passed over.
            self._consumer.seek(tp, offset)
            self.lane.assign(tp.partition, offset)
        self._committed = {tp.partition: offset for tp, offset in offsets.items()}
        self.view = view
        self._shared.failpoint.reach("loaded")
        _log.info(
            "lane ready",
            topic=self._topic,
            partitions=sorted(tp.partition for tp in assigned),
            attempts=len(view.attempts),
            fences=len(view.fences),
            seconds=round(time.monotonic() - started, 3),
        )
        await self._prune()

    def _starts(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Return what is followed: tables from their beginning, the lane from where we read."""
        names, counts = self._shared.names, self._shared.partitions
        starts = dict(offsets)
        starts[TopicPartition(names.control, 0)] = 0
        for tp in offsets:
            starts[TopicPartition(names.attempts, tp.partition % counts[names.attempts])] = 0
            homes = homes_of(
                tp.partition,
                lane_partitions=counts[self._topic],
                partitions=counts[names.fences],
            )
            starts |= {TopicPartition(names.fences, home): 0 for home in homes}
        return starts

    def _follow(self, view: View, record: Any) -> None:
        names = self._shared.names
        if record.topic == names.attempts:
            attempt = view.attempts.apply(record.key, record.value)
            count = self._shared.partitions[names.attempts]
            if attempt is not None and attempt.place.partition % count != record.partition:
                self._fault = DependencyError(
                    f"{names.attempts}: its partition count was changed to {count}, so what was "
                    "sent can no longer be found; create it with the count that it had"
                )
        elif record.topic == names.fences:
            if not view.fences.apply(record.key, record.value):
                _log.warning("a fence cannot be read", **_where(record))
        elif record.topic == names.control:
            if not view.controls.apply(record.key, record.value):
                _log.warning("a control record cannot be read", **_where(record))
            self.lane.release()
            self._shared.wake()
        else:
            self._follow_cancels(view, record)

    def _follow_cancels(self, view: View, record: Any) -> None:
        """Look ahead on the lane for what takes commands back."""
        kind = dict(record.headers).get("ce_type")
        if kind is not None and kind.decode("utf-8", "replace") not in kinds.CANCELLING:
            return
        # What cannot be read becomes a dead letter when its turn comes.
        with contextlib.suppress(Unreadable):
            command = decode_command(record.value, _place(record))
            if command is not None:
                view.cancels.take(command)

    def _hold_back(self) -> None:
        """Leave on the topic what is too much to have in hand."""
        options = self._shared.options
        full = self.lane.ready >= _READY_MAX or len(self.lane) >= options.in_hand_max
        assignment = self._consumer.assignment()
        if full:
            self._consumer.pause(*assignment)
        elif paused := self._consumer.paused() & assignment:
            self._consumer.resume(*paused)

    async def _take(self, fetched: Mapping[TopicPartition, list[Any]]) -> None:
        for records in fetched.values():
            for record in records:
                try:
                    command = decode_command(record.value, _place(record))
                except Unreadable as error:
                    await self._shared.ledger.dead_letter(record, error)
                    self._shared.telemetry.dead_letter(self.label)
                    _log.warning("not a command", reason=error.reason, **_where(record))
                    command = None
                else:
                    if command is None:
                        self._shared.telemetry.count(self.label, "ignored")
                if command is None:
                    self.lane.passed(record.partition, record.offset)
                    continue
                if command.type in kinds.CANCELLING and self.view is not None:
                    # The follower may come here later than we do.
                    self.view.cancels.take(command)
                    self.lane.hurry(command.cancels)
                self.lane.take(command, now_ms())
        if fetched:
            self._shared.wake()

    async def _commit(self) -> None:
        positions = self.lane.positions()
        news = {
            TopicPartition(self._topic, partition): offset
            for partition, offset in positions.items()
            if offset > self._committed.get(partition, 0)
        }
        if not news:
            return
        try:
            await self._consumer.commit(news)
        except _GROUP_MOVED_ON:
            # The group has moved on; who owns the partition now reads again what we have done,
            # and finds it done.
            return
        self._committed |= {tp.partition: offset for tp, offset in news.items()}
        self._shared.failpoint.reach("position_committed")

    async def _prune(self) -> None:
        if self.view is None:
            return
        view = self.view
        view.fences.forget(now_ms())
        view.cancels.prune(self.lane)
        for command_id, attempt in view.attempts.pop_expired(now_ms()):
            await self._shared.ledger.forget(command_id, attempt)


def _place(record: Any) -> Place:
    return Place(record.topic, record.partition, record.offset)


def _where(record: Any) -> dict[str, Any]:
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}
