"""The day itself: visitors come, Ana buys, a worker dies, and everything is counted.

`cli/demo` opens the shop (broker, topics) and calls `play`; this file starts the workers, plays the
plan of `demo/story`, lets `demo/desk` send, fills the books of `demo/ledger`, hands frames to
`demo/picture`, and at the end counts everything once more from the topics.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any, Final

import orjson
from rich.markup import escape

from orchestrator.clients.security import client_options
from orchestrator.demo.ana import Screens, Sight, in_words
from orchestrator.demo.desk import Command, Desk, report
from orchestrator.demo.judge.two_worlds import Comparison, TwoWorlds
from orchestrator.demo.ledger import (
    AFTER_PURCHASE,
    Ledger,
    Summary,
    for_audit,
    percentile,
    summarize,
)
from orchestrator.demo.picture import Show, View, WorkerLine
from orchestrator.demo.shop import first_message
from orchestrator.demo.silos.loops import Silos
from orchestrator.demo.stage import Reader, Received, Till, read_to_end
from orchestrator.demo.story import (
    ANA,
    ANAS_STEPS,
    Touch,
    anas_old_tab,
    anas_order,
    anas_way,
    day_plan,
)
from orchestrator.demo.supervisor import Worker, WorkerState, supervise_workers
from orchestrator.protocol.home import home_partition
from orchestrator.timeline.explanation import Explanation, explain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.core.journeys import Journeys
    from orchestrator.protocol.topics import Topics
    from orchestrator.settings import Settings
    from orchestrator.timeline.record import LogRecord

READY_SECONDS: Final = 90.0
FRAME_SECONDS: Final = 0.25
DESK_SECONDS: Final = 0.01
# Ana buys this long after her e-mail went to its slow provider.
HESITATION_SECONDS: Final = 3.5
# If no e-mail comes, she buys anyway; the summary then says that nothing could be recalled.
PATIENCE_SECONDS: Final = 20.0
OLD_TAB_SECONDS: Final = 2.5
# After the takeover of a killed worker's partitions: session timeout, recovery, and room.
SETTLE_SECONDS: Final = 60.0
STORY_LINES: Final = 40
# Feedback for every promotional command and for some of the others, as real senders are.
FEEDBACK_EVERY: Final = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """How large the day is."""

    customers: int = 240
    seconds: float = 30.0
    seed: int = 1
    workers: int = 2
    kill: bool = True


@dataclass(frozen=True, slots=True)
class Shop:
    """Where the day takes place: settings of this deployment, its topics and its journeys."""

    settings: Settings
    topics: Topics
    journeys: Journeys


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is left of the day."""

    summary: Summary
    screens: Screens
    explanation: Explanation
    comparison: Comparison
    restarts: Mapping[str, int]

    @property
    def holds(self) -> bool:
        """Whether every purchase had its effect once, and no promise to customers was broken."""
        return self.summary.verdict.holds and not self.comparison.broken


async def play(shop: Shop, plan: Plan, show: Show, log: IO[str]) -> Outcome:
    """Play the day and return its audited outcome."""
    day = _Day(shop, plan, show, log)
    try:
        async with asyncio.TaskGroup() as group:
            outcome = group.create_task(day.run())
    except BaseExceptionGroup as errors:
        # One task's failure cancels the others; the first is the one to tell.
        raise errors.exceptions[0] from None
    return outcome.result()


class _Day:
    """One run of the day; lives for as long as `play`."""

    def __init__(self, shop: Shop, plan: Plan, show: Show, log: IO[str]) -> None:
        self._shop = shop
        self._plan = plan
        self._show = show
        options = client_options(shop.settings)
        self._options = options
        thanks = next(j for j in shop.journeys.current if j.name == AFTER_PURCHASE)
        self._ledger = Ledger(first_step=first_message(thanks))
        self._desk = Desk()
        self._worlds = TwoWorlds(shop.journeys.channels)
        self._screens = Screens()
        self._story: deque[tuple[float, str]] = deque(maxlen=STORY_LINES)
        self._kills: list[float] = []
        self._begin = time.perf_counter()
        self._open = False
        topics = shop.topics
        names = topics.names()
        self._commands = frozenset((*names.commands.values(), *names.promotional.values()))
        self._till = Till(options, topics.inputs[0])
        self._silos = Silos(options, topics.inputs[0], shop.settings)
        self._read = (*self._commands, topics.journey_log, topics.fences, topics.dead_letters)
        self._reader = Reader(options, (*self._read, *self._silos.topics), self._receive)
        self._supervisor = supervise_workers(
            shop.settings, plan.workers, on_change=self._on_worker, log=log
        )

    async def run(self) -> Outcome:
        """Open, play, settle, close, count."""
        self._show.step(f"Starting {self._plan.workers} workers …")
        supervising = asyncio.create_task(self._supervisor.run())
        try:
            await self._silos.start()
            begins = await self._reader.start()
            await self._till.start()
            await _first(supervising, self._supervisor.ready(READY_SECONDS))
            await _first(supervising, self._play())
        finally:
            await self._supervisor.stop()
            supervising.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await supervising
            await self._till.stop()
            await self._reader.stop()
            await self._silos.stop()
        return await self._audit(begins)

    async def _play(self) -> None:
        self._begin = time.perf_counter()
        self._open = True
        self._tell("The shop opens")
        reading, drawing, sending = background = [
            asyncio.create_task(task)
            for task in (self._follow(), self._draw(), self._work_the_desk())
        ]
        try:
            async with asyncio.timeout(self._plan.seconds + 2 * SETTLE_SECONDS):
                visits = _all(self._visitors(), self._ana(), self._power_cut())
                await _first(reading, _first(sending, visits))
                sending.cancel()
                self._tell("The shop closes; the last events are being worked off")
                await _first(reading, self._settled())
        except TimeoutError:
            self._tell("[red]Time is up, and not everything has been worked off[/]")
        finally:
            drawing.cancel()
            self._show.draw(self._view())
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)

    # --- What the visitors do.

    async def _visitors(self) -> None:
        plan = day_plan(
            customers=self._plan.customers, seconds=self._plan.seconds, seed=self._plan.seed
        )
        touches = sorted([*plan, *anas_way()], key=lambda touch: touch.at)
        nonsense_at = self._plan.seconds * 0.3
        nonsense = False
        for touch in touches:
            await self._until(touch.at)
            if touch.at > nonsense_at and not nonsense:
                nonsense = True
                await self._send_nonsense()
            if touch.event["subject"] == ANA and touch.event["type"] in ANAS_STEPS:
                self._tell(ANAS_STEPS[touch.event["type"]])
            await self._send(touch)

    async def _send_nonsense(self) -> None:
        """One producer has a bad day. It stops nobody."""
        self._ledger.sent += 1

        def accepted(at: float) -> None:
            self._ledger.on_accepted("", at)

        self._tell("A till writes half a record: it becomes a dead letter and stops nobody")
        await self._till.send_bytes(b'{"specversion":"1.0","id":"cut-o', accepted, key=b"c-0001")

    async def _ana(self) -> None:
        while not self._email_is_on_its_way() and self._now() < PATIENCE_SECONDS:  # noqa: ASYNC110 - a reader's state.
            await asyncio.sleep(DESK_SECONDS)
        await asyncio.sleep(HESITATION_SECONDS)
        self._tell("[bold]Ana buys the tent[/]")
        self._screens.purchase_at = self._now()
        await self._send(Touch(self._screens.purchase_at, anas_order()))
        await asyncio.sleep(OLD_TAB_SECONDS)
        self._tell(
            "A cart with the tent is left in an old tab of Ana's: she owns it, nobody chases her"
        )
        await self._send(Touch(self._now(), anas_old_tab()))

    def _email_is_on_its_way(self) -> bool:
        return any(
            entry.channel == "email" and entry.sight is Sight.ON_ITS_WAY and "cart" in entry.text
            for entry in self._screens.entries
        )

    async def _power_cut(self) -> None:
        """Kill a worker in the middle, once Ana's e-mail has met its end."""
        if not self._plan.kill:
            return
        await self._until(self._plan.seconds * 0.5)
        latest = self._plan.seconds * 0.8
        while not self._email_has_met_its_end() and self._now() < latest:  # noqa: ASYNC110 - a reader's state.
            await asyncio.sleep(DESK_SECONDS)
        slot = max(self._supervisor.workers)
        at = self._now()
        pid = self._supervisor.kill(slot)
        if pid is not None:
            self._kills.append(at)
            self._tell(
                f"[bold red]kill -9 {pid}: worker {slot} is gone, in the middle of its work[/]"
            )

    def _email_has_met_its_end(self) -> bool:
        return any(entry.note for entry in self._screens.panel("email"))

    async def _send(self, touch: Touch) -> None:
        self._ledger.on_sent(touch.event, due=touch.at, repeat=touch.repeat)
        self._worlds.touchpoints.on_sent(touch.event, self._now())
        await self._till.send(touch.event, self._on_accepted, keyed=touch.keyed)

    def _on_accepted(self, event_id: str, at: float) -> None:
        self._ledger.on_accepted(event_id, at - self._begin)
        self._worlds.touchpoints.on_accepted(event_id, at - self._begin)

    # --- What comes back.

    async def _follow(self) -> None:
        """Read what is committed, and let the silos read; without either the day is not one."""
        await asyncio.gather(self._reader.run(), self._silos.run())

    def _receive(self, record: Received) -> None:
        at = record.at - self._begin
        if record.topic in self._commands:
            if record.value is not None:
                self._on_command(orjson.loads(record.value), at)
        elif record.topic == self._shop.topics.journey_log:
            self._ledger.on_log_value(record.value)
        elif record.topic == self._shop.topics.fences:
            value = orjson.loads(record.value) if record.value else None
            customer = (record.key or b"").decode()
            self._desk.fence(customer, value)
            self._worlds.touchpoints.on_fence(customer, value, at)
        elif record.topic in self._silos.topics:
            self._silos.take(record.value or b"", at)
        else:
            self._ledger.on_dead_letter(record.headers)

    def _on_command(self, envelope: Mapping[str, Any], at: float) -> None:
        purchase = self._ledger.on_command(envelope, at)
        if purchase is not None:
            self._worlds.touchpoints.on_effect(purchase.event, envelope["time"], at)
        command = Command.read(envelope)
        self._desk.take(command, at)
        if command.customer != ANA:
            return
        entry = self._screens.on_command(command, at)
        if entry is not None and self._screens.purchase_at is not None:
            self._tell(in_words(entry))

    async def _work_the_desk(self) -> None:
        while True:
            await asyncio.sleep(DESK_SECONDS)
            self._worlds.closed_at = at = self._now()
            self._silos.deliver_due(at)
            due = self._desk.providers.due(at)
            for command, _ in due:
                if not command.promotional:
                    await self._hand_over(command)
            await self._promote([(command, since) for command, since in due if command.promotional])

    async def _promote(self, due: list[tuple[Command, float]]) -> None:
        if not due:
            return
        began_at = self._now()
        await self._look_at_fences([command for command, _ in due])
        for command, ordered_at in due:
            if await self._hand_over(command):
                self._worlds.on_handed_over(
                    command, ordered_at=ordered_at, began_at=began_at, ended_at=self._now()
                )

    async def _look_at_fences(self, due: list[Command]) -> None:
        """Read the fences of these customers to their end: the rule before every hand-over."""
        partitions = {
            home_partition(command.customer.encode(), self._shop.settings.partitions)
            for command in due
        }
        fences = self._shop.topics.fences
        await asyncio.gather(*(self._reader.caught_up(fences, one) for one in partitions))

    async def _hand_over(self, command: Command) -> bool:
        """Hand a command over, unless something stands in its way; say whether it went out."""
        obstacle = self._desk.obstacle(command)
        at = self._now()
        if obstacle is not None:
            self._ledger.dropped[obstacle] += 1
        if command.customer == ANA:
            if obstacle is None:
                self._screens.on_handed_over(command, at)
            else:
                entry = self._screens.on_dropped(command, obstacle, at)
                if entry is not None:
                    self._tell(f"The slow sender's turn for “{entry.text}”: {obstacle}, not sent")
        # A task is over when a person closes it.
        told = command.promotional or command.sequence % FEEDBACK_EVERY == 0
        if obstacle or (told and command.type != "task.create"):
            await self._send(Touch(at, report(command, obstacle)))
        return obstacle is None

    # --- What is shown.

    def _now(self) -> float:
        return time.perf_counter() - self._begin

    async def _until(self, at: float) -> None:
        await asyncio.sleep(max(0.0, at - self._now()))

    def _tell(self, text: str) -> None:
        at = self._now()
        self._story.append((at, text))
        self._show.tell(at, text)

    def _on_worker(self, worker: Worker) -> None:
        if not self._open:
            if worker.state is WorkerState.READY:
                self._show.step(f"Worker {worker.slot} is ready.")
            return
        match worker.state:
            case WorkerState.STARTING:
                self._tell(f"worker {worker.slot} starts again (pid {worker.pid})")
            case WorkerState.READY:
                since = ""
                if self._kills:
                    since = f", {self._now() - self._kills[-1]:.1f} s after the kill"
                self._tell(
                    f"[green]worker {worker.slot} is ready with {worker.partitions} of "
                    f"{self._shop.settings.partitions} partitions{since}[/]"
                )
            case WorkerState.DIED if worker.exit_code != -9:
                words = escape(worker.last_words())
                self._tell(
                    f"[red]worker {worker.slot} ended with code {worker.exit_code}[/]: {words}"
                )
            case _:
                pass

    async def _draw(self) -> None:
        while True:
            self._show.draw(self._view())
            await asyncio.sleep(FRAME_SECONDS)

    def _view(self) -> View:
        ledger, now = self._ledger, self._now()
        latencies = ledger.latencies_ms()
        # An accepted purchase is only then called lost when nothing can still be on its way.
        late = sum(
            1
            for event in ledger.waiting
            if now - (ledger.purchases[event].acknowledged or now) > SETTLE_SECONDS
        )
        return View(
            elapsed=now,
            seconds=self._plan.seconds,
            entries=tuple(replace(entry) for entry in self._screens.entries),
            workers=tuple(
                WorkerLine(w.slot, w.state, w.pid, w.restarts, w.partitions)
                for w in self._supervisor.workers.values()
            ),
            counters={
                "events": ledger.accepted,
                "purchases": sum(1 for p in ledger.purchases.values() if p.acknowledged),
                "exits": ledger.exits,
                "enrollments": ledger.enrollments,
            },
            commands=dict(ledger.commands),
            refusals=dict(ledger.refusals),
            latencies_ms=latencies,
            p50_ms=percentile(latencies, 0.5),
            p99_ms=percentile(latencies, 0.99),
            waiting=len(ledger.waiting),
            lost=late,
            doubled=sum(count - 1 for count in ledger.command_ids.values() if count > 1),
            story=tuple(self._story),
        )

    # --- How it ends.

    async def _settled(self) -> None:
        """Return when every accepted event has left its trace and every worker is well again."""
        while not self._is_settled():  # noqa: ASYNC110 - a reader's state.
            await asyncio.sleep(DESK_SECONDS)

    def _is_settled(self) -> bool:
        ledger = self._ledger
        traced = sum(ledger.outcomes.values()) + sum(ledger.dead_letters.values())
        return (
            ledger.accepted == ledger.sent
            and traced >= ledger.accepted
            and not ledger.waiting
            and all(w.state is WorkerState.READY for w in self._supervisor.workers.values())
        )

    async def _audit(self, begins: Mapping[Any, int]) -> Outcome:
        """Count everything again, from the topics alone."""
        audit = for_audit(self._ledger)
        anas: list[LogRecord] = []
        own = {tp: begin for tp, begin in begins.items() if tp.topic in self._read}
        async for record in read_to_end(self._options, own):
            if record.topic in self._commands:
                audit.on_command(orjson.loads(record.value or b"null"), record.at - self._begin)
            elif record.topic == self._shop.topics.journey_log:
                noted = audit.on_log_value(record.value)
                if noted is not None and noted.customer == ANA:
                    anas.append(noted)
            elif record.topic == self._shop.topics.dead_letters:
                audit.on_dead_letter(record.headers)
        summary = summarize(
            self._ledger, audit, seconds=self._plan.seconds, kills=tuple(self._kills)
        )
        workers = self._supervisor.workers.values()
        return Outcome(
            summary=summary,
            screens=self._screens,
            explanation=explain(ANA, anas),
            comparison=self._worlds.compare(self._silos.delivered, customer=ANA),
            restarts={worker.slot: worker.restarts for worker in workers},
        )


async def _all(*coroutines: Any) -> None:
    async with asyncio.TaskGroup() as group:
        for coroutine in coroutines:
            group.create_task(coroutine)


async def _first(guard: asyncio.Future[Any], work: Any) -> None:
    """Do the work; when the guard ends first, its error is the reason to stop."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({guard, task}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            guard.result()
        await task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task
