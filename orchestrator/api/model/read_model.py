"""What the routes ask: one customer's state and timeline, people per step, journeys, pauses.

Everything it answers was committed by a worker; `wait_for` holds a question back until a given
event has had its effect here.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog

from orchestrator.api.model.feed import Feed, Sources
from orchestrator.api.model.store import Bounds, Entry
from orchestrator.catalog.bundle import load_files
from orchestrator.clients.control import ControlTopic
from orchestrator.clients.definitions import Definitions
from orchestrator.clients.security import client_options
from orchestrator.core.encoded.state import decode_customer
from orchestrator.errors import OrchestratorError
from orchestrator.protocol.commit.group import HOPS_MAX
from orchestrator.protocol.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.api.model.answers import Answers
    from orchestrator.api.model.effects import Position, Refused
    from orchestrator.api.model.progress import Behind
    from orchestrator.api.model.tasks import Queue, Waiting, Wanted
    from orchestrator.api.telemetry import Telemetry
    from orchestrator.clients.definitions import Published
    from orchestrator.core.customer import Customer
    from orchestrator.core.encoded.places import Place
    from orchestrator.core.journeys import Journeys
    from orchestrator.protocol.control import Control
    from orchestrator.protocol.definitions import Bundle, Current
    from orchestrator.settings import Settings

_log = structlog.get_logger()

_DAY_MS: Final = 86_400_000


class NotYet(Exception):
    """The effect of an event is not here within the time that was allowed."""


class NeverApplied(Exception):
    """The event became a dead letter; `refused` says where and why."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.letter.reason)
        self.refused = refused


class ReadModel:
    """One process's view of all customers; everything but `wait_for` answers at once.

    `journeys` are those that are published, with what is paused; None before anything was.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        options = client_options(settings)
        topics = Topics.of(settings, {})
        sources = Sources(
            topics.changelog, topics.journey_log, topics.dead_letters, settings.partitions
        )
        bounds = Bounds(settings.api_timeline_days * _DAY_MS, settings.api_timeline_entries_max)
        self._settings: Final = settings
        self._feed: Final = Feed(options, sources, bounds, telemetry)
        self.definitions: Final = Definitions(options, topics.definitions)
        self.control: Final = ControlTopic(options, topics.control)
        self._learned = False
        self.journeys: Journeys | None = None

    async def start(self) -> None:
        """Open the file, and learn which journeys run and what is paused."""
        await self._feed.start(self._settings.api_data_dir)
        await self.control.read()
        published = await self.definitions.read()
        if published.current is not None:
            await self._adopt_current(published)
        self._learned = True

    async def run(self) -> None:
        """Feed until cancelled; whatever ends one part ends all."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._feed.run())
            group.create_task(self.definitions.follow(self._adopt))
            group.create_task(self.control.followed.follow(self._pause))

    async def stop(self) -> None:
        """Close connections and file."""
        await self.definitions.stop()
        await self.control.stop()
        await self._feed.stop()

    @property
    def ready(self) -> bool:
        """Whether everything that was there at the start is known here."""
        return self._learned and self._feed.caught_up

    @property
    def published(self) -> Published:
        """What was published, and which of it runs."""
        return self.definitions.published

    @property
    def paused(self) -> tuple[Control, ...]:
        """What is paused now."""
        return self.control.controls.paused

    @property
    def answers(self) -> Answers:
        """Where to wait for what the owner of a customer says."""
        return self._feed.answers

    def behind(self) -> Behind:
        """Return how far behind the topics it is; the exposition's thread asks."""
        return self._feed.behind()

    def state(self, customer_id: str) -> bytes | None:
        """Return a customer's newest changelog value."""
        return self._feed.store.state(customer_id.encode())

    def customer(self, customer_id: str) -> Customer | None:
        """Return a customer by any of their ids; None for one of which nothing is known.

        An id that was absorbed answers with the survivor. Raises UnknownStateFormat for a state
        that a newer release has written.
        """
        for _ in range(HOPS_MAX):
            state = self.state(customer_id)
            if state is None:
                return None
            customer = decode_customer(state)
            if customer.merged_into is None:
                return customer
            customer_id = customer.merged_into
        return None

    def timeline(
        self, customer_id: str, *, before: int | None = None, limit: int = 1_000
    ) -> list[Entry]:
        """Return journey-log records of a customer, the newest first, of all their ids."""
        customer = self.customer(customer_id)
        ids = [customer_id] if customer is None else [customer.id, *customer.absorbed]
        keys = [one.encode() for one in ids]
        return self._feed.store.timeline(keys, before=before, limit=limit)

    def people(self) -> dict[Place, int]:
        """Return how many people stand in each step of each journey."""
        return self._feed.store.people()

    def tasks(self, wanted: Wanted, limit: int) -> list[Waiting]:
        """Return open tasks, the most urgent or the oldest first."""
        return self._feed.store.tasks(self.journeys, wanted, limit)

    def queues(self) -> list[Queue]:
        """Return every queue in which something waits."""
        return self._feed.store.queues(self.journeys, self.now_ms())

    def customers(self) -> int:
        """Return how many customers are known."""
        return self._feed.store.customers()

    def now_ms(self) -> int:
        """Return the time as answers mean it: epoch milliseconds of this machine's clock."""
        return time.time_ns() // 1_000_000

    async def wait_for(self, positions: Iterable[Position], *, seconds: float) -> None:
        """Return when the effects of these records are here.

        Raises NotYet after so many seconds, and NeverApplied when one is a dead letter.
        """
        pending, refused = list(positions), None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    # Taken before looking, so that no change falls between.
                    changed = self._feed.changed
                    pending, found = self._feed.effects.pending(
                        pending, self._feed.store.dead_letter
                    )
                    refused = refused or found
                    if not pending:
                        break
                    await changed.wait()
        except TimeoutError:
            raise NotYet from None
        if refused is not None:
            raise NeverApplied(refused)

    async def _adopt(self, bundle: Bundle, current: Current) -> None:
        mode = self._settings.mode
        # Compiling takes a moment, and the loop has people to answer meanwhile.
        journeys = await asyncio.to_thread(load_files, bundle.files, mode)
        self.journeys = journeys.pausing(self.control.controls.pauses())
        _log.info("journeys taken over", journeys=current.content_hash[:12])

    async def _adopt_current(self, published: Published) -> None:
        """Adopt what runs; customers can be asked about without it, should it be unreadable."""
        try:
            bundle, current = published.running, published.current
            assert bundle is not None
            assert current is not None
            await self._adopt(bundle, current)
        except OrchestratorError as error:
            _log.error("journeys not taken over", reason=str(error))

    async def _pause(self) -> None:
        if self.journeys is not None:
            self.journeys = self.journeys.pausing(self.control.controls.pauses())
