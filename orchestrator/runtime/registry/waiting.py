"""Holds back batches until the schemas of their records are there.

The driver hands it every batch of a mapped topic. A registry that is away stops nobody else: only
the partitions whose records it has to explain are read no further, and wait as long as it takes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import structlog

from orchestrator.errors import DependencyError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from orchestrator.protocol.commit.transaction import Batch, TopicPartition
    from orchestrator.protocol.inputs import Mapping, Schemas
    from orchestrator.runtime.registry.client import SchemaRegistry

_log = structlog.get_logger()

_RETRY_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
# What the registry did not know may be registered by now; asking more often helps nobody.
_ASK_AGAIN_SECONDS: Final = 60.0


class SchemaGate:
    """The batches that wait, in order for each partition; lives on the worker's loop."""

    def __init__(
        self,
        registry: SchemaRegistry,
        schemas: Schemas,
        deliver: Callable[[Batch], None],
        waiting: Callable[[int], None],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._registry = registry
        self._schemas = schemas
        self._deliver = deliver
        self._waiting = waiting
        self._spawn = spawn
        self._held: dict[TopicPartition, deque[tuple[Mapping, Batch]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._forgot = time.monotonic()

    @property
    def places(self) -> frozenset[TopicPartition]:
        """The partitions that are not to be read on now."""
        return frozenset(self._held)

    def waiting(self) -> dict[TopicPartition, tuple[int, int | None]]:
        """Return how many records of each partition wait, and the timestamp of the oldest.

        Asked by the exposition's thread: it looks at copies, which may be a moment old.
        """
        found: dict[TopicPartition, tuple[int, int | None]] = {}
        for place, held in self._held.copy().items():
            batches = [batch.records for _, batch in held.copy()]
            oldest_ms = batches[0][0].timestamp if batches else None
            found[place] = sum(map(len, batches)), oldest_ms
        return found

    def take(self, mapping: Mapping, batch: Batch) -> None:
        """Deliver a batch, at once if everything about it is known and nothing is before it."""
        if time.monotonic() - self._forgot > _ASK_AGAIN_SECONDS:
            self._forgot = time.monotonic()
            self._schemas.forget_refused()
        if batch.source not in self._held and not mapping.missing_schemas(batch.records):
            self._deliver(batch)
            return
        self._held.setdefault(batch.source, deque()).append((mapping, batch))
        self._tell()
        if self._task is None or self._task.done():
            self._task = self._spawn(self._release())

    def drop(self) -> None:
        """Forget what waits: its partitions were taken away, and who has them reads it again."""
        self._held.clear()
        self._tell()

    async def stop(self) -> None:
        """Stop fetching."""
        self.drop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._registry.close()

    async def _release(self) -> None:
        failures = 0
        while self._held:
            try:
                for place in tuple(self._held):
                    await self._release_one(place)
                failures = 0
            except DependencyError as error:
                pause = _RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)]
                failures += 1
                _log.warning(
                    "records wait for the schema registry",
                    reason=str(error),
                    partitions=len(self._held),
                    seconds=pause,
                )
                await asyncio.sleep(pause)

    async def _release_one(self, place: TopicPartition) -> None:
        """Deliver what a partition holds, oldest first. Raises DependencyError."""
        while waiting := self._held.get(place):
            mapping, batch = waiting[0]
            for schema_id in sorted(mapping.missing_schemas(batch.records)):
                schema = await self._registry.fetch(schema_id)
                if schema is None:
                    self._schemas.refuse(schema_id)
                else:
                    self._schemas.put(schema_id, schema)
            if self._held.get(place) is not waiting:
                continue  # Dropped, and perhaps held anew, while we asked.
            waiting.popleft()
            if not waiting:
                del self._held[place]
            self._tell()
            self._deliver(batch)

    def _tell(self) -> None:
        self._waiting(sum(len(batch.records) for held in self._held.values() for _, batch in held))
