"""Faust's consumer, delivering one message for each fetch, valued with the batches in it.

Faust keeps the group membership, the assignor and the life cycle; the path of every single event
is replaced. Positions come from the state machine alone: Faust's acks and commits are off.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.errors import (
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)
from faust.serializers import codecs
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from orchestrator.errors import DependencyError
from orchestrator.protocol.commit.transaction import Batch, TopicPartition
from orchestrator.runtime.coordination import client_id
from orchestrator.runtime.shell.pacing import Pacing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sized

    from orchestrator.runtime.shell.app import Shell

# Faust hard-codes 1,500 ms: a partition that missed a fetch would wait that long for the next.
_FETCH_MAX_WAIT_MS: Final = 50
_IDLE_SECONDS: Final = 0.02
CODEC: Final = "batch"
# What Faust reports while it works is of no use to an operator; its warnings are.
FAUST_LOG: Final = logging.getLogger("faust.shell")
FAUST_LOG.setLevel(logging.WARNING)


class _PassThrough(codecs.Codec):
    """Batches are decoded by the protocol room."""

    def _loads(self, s: Any) -> Any:
        return s

    def _dumps(self, s: Any) -> Any:
        return s


codecs.register(CODEC, _PassThrough())


class _Listener(driver.ConsumerRebalanceListener):
    """Captures the member id with the generation: both belong to every batch that follows."""

    async def on_partitions_assigned(self, assigned: Any) -> None:
        coordinator = self._thread._ensure_consumer()._coordinator  # noqa: SLF001
        self._thread.app.group_member = coordinator.member_id
        await super().on_partitions_assigned(assigned)


class _NoThread:
    """Stands where Faust starts a thread, and serves on the worker's own loop instead.

    The thread had to take the interpreter from a busy decision loop several times for every fetch,
    and on a machine that is full each time takes milliseconds.
    """

    def __init__(self, service: _Client) -> None:
        self._service = service
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._serving = self._service.parent_loop.create_task(self._service.serve())

    def stop(self) -> None:
        """Return at once; `_Client` has said that it is shut down before."""


class _Client(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread without a thread, with our client settings."""

    logger = FAUST_LOG
    Worker = _NoThread

    async def serve(self) -> None:
        """Live as long as the service does."""
        await self._serve()

    async def call_thread(self, fun: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the client where it runs, which is here."""
        called = fun(*args, **kwargs)
        return await called if inspect.isawaitable(called) else called

    async def _keepalive2(self) -> None:
        """Watch no thread."""

    async def _gather_remaining_tasks(self) -> None:
        """Cancel nothing: the tasks of this loop are the worker's."""

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:  # noqa: ARG002
        app: Shell = self.app
        settings = app.settings
        self._assignor = app.assignor
        milliseconds = 1000
        return AIOKafkaConsumer(
            **app.client_options,
            group_id=settings.app_id,
            # Others know by this name whose transactions they must not abort.
            client_id=client_id(settings.app_id, settings.slot),
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            # "none" makes a position outside the log an error; anything else skips in silence.
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=_FETCH_MAX_WAIT_MS,
            max_poll_interval_ms=int(10 * settings.watchdog_seconds * milliseconds),
            session_timeout_ms=int(settings.session_timeout_seconds * milliseconds),
            rebalance_timeout_ms=int(settings.session_timeout_seconds * milliseconds),
            heartbeat_interval_ms=int(settings.heartbeat_interval_seconds * milliseconds),
        )

    def seek_all(self, positions: Mapping[TopicPartition, int], changelog: str) -> None:
        """Move to the positions and forget what was fetched from elsewhere."""
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        consumer.pause(*(tp for tp in assigned if tp.topic == changelog))
        for place, position in positions.items():
            tp = ClientPartition(*place)
            if tp in assigned:
                # An error noted for a partition without a committed offset is out of date now.
                consumer._fetcher._records.pop(tp, None)  # noqa: SLF001
                consumer.seek(tp, position)

    async def seek_all_async(self, positions: Mapping[TopicPartition, int], changelog: str) -> None:
        """Run `seek_all` where Faust calls the client."""
        self.seek_all(positions, changelog)


class BatchConsumer(driver.Consumer):
    """Yields batches; every one carries where its fetch began and under which generation.

    All of a fetch go in one Faust message: each message passes the event loop several times, and
    eight of them in a row would stand behind as many slices of deciding.
    """

    logger = FAUST_LOG
    RebalanceListener = _Listener

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seeks = 0
        # Assignments of the client: the one whose positions were sought, and the one given up.
        self._sought: Any = None
        self._revoked: Any = None
        self._next_offsets: dict[TopicPartition, int] = {}
        app: Shell = self.app
        self._pacing = Pacing(
            idle_wait_ms=_FETCH_MAX_WAIT_MS, gather_seconds=app.settings.fetch_gather_seconds
        )

    def _new_consumer_thread(self) -> _Client:
        return _Client(self, loop=self.loop, thread_loop=self.loop, beacon=self.beacon)

    @property
    def _positioned(self) -> bool:
        """Whether the client reads from where the state machine said, of what it owns now."""
        return self._sought is not None and self._sought is self._assignment()

    def _assignment(self) -> Any:
        subscription = self._thread._ensure_consumer()._subscription.subscription  # noqa: SLF001
        return None if subscription is None else subscription.assignment

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Read nothing more until the state machine says from where."""
        self.forget_positions()
        await super().on_partitions_revoked(revoked)

    def forget_positions(self) -> None:
        """Trust no seek any more that is not of the next assignment."""
        self._sought, self._revoked = None, self._assignment()

    async def perform_seek(self) -> None:
        """Seek every input partition to the next offset that the state machine will decide.

        Faust may call this for a generation whose partitions were revoked a moment ago. What is
        assigned next has no position yet, and asking for one would end the worker.
        """
        self._sought = None
        self._seeks += 1
        app: Shell = self.app
        positions = app.driver.machine.positions()
        await self._thread.call_thread(
            self._thread.seek_all_async, positions, app.driver.names.changelog
        )
        self._next_offsets = positions
        self._read_offset.update({TP(*place): None for place in positions})
        assignment = self._assignment()
        self._sought = None if assignment is self._revoked else assignment

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109 - Faust's signature.
        """Fetch once, and yield one message with a batch for each partition that had records."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        app: Shell = self.app
        await app.driver.wait_for_room()
        # Right after an assignment Faust counts the changelog's partitions among the active ones;
        # they have no position here, and asking for one would end the worker.
        inputs = app.driver.names.inputs
        held = app.driver.held
        active = {
            tp for tp in self._get_active_partitions() if tp.topic in inputs and tp not in held
        }
        if not active or not self._positioned:
            await asyncio.sleep(_IDLE_SECONDS)
            return
        seeks, generation = self._seeks, app.consumer_generation_id
        try:
            records = await self._getmany(active_partitions=active, timeout=timeout)
            self._pace(records)
        except (
            NoOffsetForPartitionError,
            OffsetOutOfRangeError,
            TopicAuthorizationFailedError,
        ) as error:
            if seeks != self._seeks or not self._positioned:
                return  # A fetch of the old assignment met the new one before its first seek.
            app.driver.give_up(DependencyError(f"reading input: {error!r}; nothing was skipped"))
            raise
        if self.should_stop or not records:
            return
        if seeks != self._seeks or generation != app.consumer_generation_id:
            # What was fetched belongs to another position; it is read again from the right one.
            if self.flow_active and self._positioned:
                await self.perform_seek()
            return
        assignment = self._assignment()
        batches = []
        for tp, found in records.items():
            place = TopicPartition(tp.topic, tp.partition)
            state = assignment.state_value(tp) if assignment is not None else None
            last = found[-1]
            # Beyond the last record may lie transaction markers, which are read as well.
            end = max(last.offset + 1, (state.position or 0) if state is not None else 0)
            start, self._next_offsets[place] = self._next_offsets[place], end
            batches.append(Batch(place, generation, start, end, found))
        yield TP(*batches[0].source), self._message(batches)

    def _pace(self, records: Mapping[Any, Sized] | None) -> None:
        """Let the next fetches gather records while many come."""
        count = sum(map(len, records.values())) if records else 0
        terms = self._pacing.fetched(count, time.monotonic())
        app: Shell = self.app
        app.driver.stretch = self._pacing.stretch
        fetcher = self._thread._ensure_consumer()._fetcher  # noqa: SLF001
        # aiokafka reads both for each request.
        fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms = terms  # noqa: SLF001

    @property
    def coordinated(self) -> bool:
        """Whether a broker coordinates the group; without one nothing can be committed."""
        return self._thread._ensure_consumer()._coordinator.coordinator_id is not None  # noqa: SLF001

    def unread(self) -> dict[TopicPartition, int]:
        """Return how many offsets lie between what is fetched and the stable end, by partition."""
        assignment = self._assignment()
        if assignment is None or not self._positioned:
            return {}
        unread = {}
        for place in self._next_offsets:
            state = assignment.state_value(ClientPartition(*place))
            if state is not None and state.has_valid_position:
                end = state.lso if state.lso is not None else state.highwater
                unread[place] = max(0, (end or 0) - state.position)
        return unread

    def _message(self, batches: list[Batch]) -> ConsumerMessage:
        first = batches[0]
        last = first.records[-1]
        tp = TP(*first.source)
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000,
            0,  # Its type; nobody reads it.
            {},
            b"",
            batches,
            None,
            0,
            len(batches),
            tp,
            generation_id=first.generation,
        )


class BatchTransport(driver.Transport):
    """Faust's Kafka transport with the consumer above."""

    Consumer = BatchConsumer
