"""The class that a channel team holds: it takes commands off both lanes and calls the provider.

It wires the room: two `lane_reader`s fill two lanes, this file says whose turn it is, `handover`
does the rest. Something that cannot be known to have held ends the sender with WorkerGaveUp; a
supervisor starts it again, and it goes on from what the topics say.
"""

from __future__ import annotations

import asyncio
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.errors import KafkaError

from orchestrator.clients.records import install_lenient_records
from orchestrator.clients.security import client_options
from orchestrator.errors import OrchestratorError, WorkerGaveUp
from orchestrator.failpoint import SENDER, Failpoint
from orchestrator.metrics import serve
from orchestrator.sender.follower import Ends
from orchestrator.sender.handover import HandOver
from orchestrator.sender.lane_reader import LaneReader, Shared
from orchestrator.sender.ledger import Ledger, now_ms
from orchestrator.sender.names import Names
from orchestrator.sender.options import Options
from orchestrator.sender.preparation import prepare
from orchestrator.sender.rules.lane import REPEAT_WAIT_MS
from orchestrator.sender.rules.rate import Gate
from orchestrator.sender.rules.verdict import Go
from orchestrator.sender.telemetry import LANES, Telemetry

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from orchestrator.sender.handover import Call
    from orchestrator.sender.rules.lane import Entry, Lane
    from orchestrator.settings import Settings

_log = structlog.get_logger()

_IDLE_SECONDS: Final = 1.0


class Sender:
    """Delivers the commands of one channel; run as many as there are partitions, all alike.

    `deliver` gets a command that may go out now and returns what became of it; it must pass
    `command.id` to the provider as idempotency key. `recall` gets a `message.cancel` whose
    `cancels` names what was handed over before, for providers that can take something back.
    Both are called from several tasks at once, never for two commands of a lane's customer.
    """

    def __init__(
        self,
        settings: Settings,
        channel: str,
        deliver: Call,
        *,
        recall: Call | None = None,
        options: Options | None = None,
    ) -> None:
        self._settings = settings
        self._names = Names.of(settings, channel)
        self._deliver = deliver
        self._recall = recall
        self._options = options or Options()
        self._failpoint = Failpoint(settings.failpoint, SENDER)
        self.telemetry = Telemetry(channel)
        self._gate = Gate(
            in_flight_max=self._options.in_flight_max, per_second=self._options.per_second
        )
        self._readers: tuple[LaneReader, ...] = ()
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._stopping = False
        self._failure: BaseException | None = None

    @property
    def ready(self) -> bool:
        """Whether at least one lane has all that it needs to hand over."""
        return any(reader.view is not None for reader in self._readers)

    def stop(self) -> None:
        """Begin nothing more; `run` returns when what is under way has ended."""
        self._stopping = True
        self._news.set()

    async def run(self) -> None:
        """Deliver until `stop` is called.

        Raises DependencyError and UsageError before anything is delivered, WorkerGaveUp later.
        """
        install_lenient_records()
        partitions = await prepare(self._settings, self._names)
        try:
            await self._run(partitions)
        except KafkaError as error:
            raise WorkerGaveUp(f"sender: {type(error).__name__}: {error}") from error

    async def _run(self, partitions: Any) -> None:
        connection = client_options(self._settings)
        by = uuid.uuid4().hex
        ends = Ends(connection)
        ledger = Ledger(connection, self._names, partitions=partitions[self._names.attempts], by=by)
        shared = Shared(
            client_options=connection,
            names=self._names,
            partitions=partitions,
            options=self._options,
            ends=ends,
            ledger=ledger,
            telemetry=self.telemetry,
            failpoint=self._failpoint,
            session_seconds=self._settings.session_timeout_seconds,
            heartbeat_seconds=self._settings.heartbeat_interval_seconds,
            by=by,
            wake=self._news.set,
        )
        hand_over = HandOver(shared, self._deliver, self._recall)
        self._readers = tuple(
            LaneReader(shared, topic, label)
            for topic, label in zip(self._names.lanes, LANES, strict=True)
        )
        self._watch()
        server = self._serve()
        parts: tuple[Any, ...] = (ends, ledger, *self._readers)
        started = []
        try:
            for part in parts:
                await part.start()
                started.append(part)
            reading = [asyncio.create_task(reader.run()) for reader in self._readers]
            for task in reading:
                task.add_done_callback(self._note_failure)
            try:
                await self._dispatch(hand_over)
            finally:
                await self._wind_up(reading)
        finally:
            for part in reversed(started):
                await part.stop()
            if server is not None:
                server.close()

    async def _dispatch(self, hand_over: HandOver) -> None:
        _log.info("sender started", channel=self._names.channel)
        while not self._stopping:
            if self._failure is not None:
                raise self._failure
            self._news.clear()
            seconds = self._begin_what_may(hand_over)
            try:
                async with asyncio.timeout(seconds):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _begin_what_may(self, hand_over: HandOver) -> float:
        """Begin everything whose turn it is; return after how many seconds to look again."""
        wait_ms = _IDLE_SECONDS * 1000
        for reader in self._readers:
            view, lane, now = reader.view, reader.lane, now_ms()
            if view is None:
                continue
            due_ms = lane.due(now)
            if due_ms is not None:
                wait_ms = min(wait_ms, due_ms - now)
            promotional = reader is self._readers[-1]
            while (entry := lane.next()) is not None:
                if lane.repeats(entry):
                    lane.wait(entry, now + REPEAT_WAIT_MS)
                    lane.free(entry)
                    continue
                verdict = view.verdict(entry.command, now)
                if not isinstance(verdict, Go):
                    self._begin(reader, entry, hand_over.settle(reader, entry, verdict))
                elif self._gate.enter(now, promotional=promotional):
                    self._begin(
                        reader, entry, self._through_gate(hand_over, reader, entry, verdict)
                    )
                else:
                    lane.put_back(entry)
                    token_ms = self._gate.wait_ms(now, promotional=promotional)
                    wait_ms = wait_ms if token_ms is None else min(wait_ms, token_ms)
                    break
        return max(wait_ms, 1.0) / 1000

    def _begin(self, reader: LaneReader, entry: Entry, work: Coroutine[Any, Any, None]) -> None:
        async def settled() -> None:
            try:
                await work
            finally:
                reader.lane.free(entry)
                reader.end()
                self._news.set()

        reader.begin()
        task = asyncio.create_task(settled())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._note_failure)

    async def _through_gate(
        self, hand_over: HandOver, reader: LaneReader, entry: Entry, go: Go
    ) -> None:
        called = False
        try:
            called = await hand_over.run(reader, entry, go)
        finally:
            self._gate.leave(called=called)

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error
            self._news.set()

    async def _wind_up(self, reading: list[asyncio.Task[None]]) -> None:
        """Let calls end that are under way, then stop reading."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._options.call_seconds)
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        if self._failure is not None and not isinstance(
            self._failure, KafkaError | OrchestratorError
        ):
            raise WorkerGaveUp(f"sender: {type(self._failure).__name__}") from self._failure

    def _watch(self) -> None:
        self.telemetry.watch_in_flight(lambda: self._gate.in_flight)
        for reader in self._readers:
            lane, label = reader.lane, reader.label
            self.telemetry.watch("in_hand", label, lane.__len__)
            self.telemetry.watch("held", label, partial(_held, lane))
            self.telemetry.watch("oldest_age_seconds", label, reader.oldest_age_seconds)

    def _serve(self) -> Any:
        options = self._options
        if not options.metrics_port:
            return None
        registry = self.telemetry.registry
        return serve(registry, options.metrics_host, options.metrics_port, lambda: self.ready)


def _held(lane: Lane) -> float:
    return lane.held
