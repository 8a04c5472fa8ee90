"""Where `orchestrator simulate --history` has its events from: a file, or a topic."""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING, Any, Final

import click

from orchestrator.clients.records import install_lenient_records
from orchestrator.clients.security import check_connection, client_options
from orchestrator.demo.stage import partitions_of, read_to_end
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from orchestrator.demo.stage import Received
    from orchestrator.protocol.outputs import Headers
    from orchestrator.settings import Settings

TOPIC: Final = "topic:"
_BATCH: Final = 1_000


def recorded(settings: Settings, source: str) -> Iterator[tuple[bytes, Headers]]:
    """Yield values and headers of recorded events; of a topic in the order of their timestamps.

    Raises UsageError for a file that is not there, DependencyError for a topic.
    """
    if source.startswith(TOPIC):
        yield from _of_topic(settings, source.removeprefix(TOPIC))
        return
    try:
        with click.open_file(source, "rb") as lines:
            for line in lines:
                yield line, ()
    except OSError as error:
        raise UsageError(
            f"--history: {source}: {error.strerror}; allowed: a file, - or {TOPIC}NAME"
        ) from error


def _of_topic(settings: Settings, topic: str) -> Iterator[tuple[bytes, Headers]]:
    """Step an asynchronous reading from here, some records at a time."""
    install_lenient_records()
    with asyncio.Runner() as runner:
        records = _merged(settings, topic)
        while batch := runner.run(_some(records)):
            for record in batch:
                if record.value is not None:
                    yield record.value, record.headers


async def _some(records: AsyncIterator[Received]) -> list[Received]:
    """Return the next records; none at the end."""
    batch: list[Received] = []
    while len(batch) < _BATCH and (record := await anext(records, None)) is not None:
        batch.append(record)
    return batch


async def _merged(settings: Settings, topic: str) -> AsyncIterator[Received]:
    """Yield what all partitions hold now, oldest first."""
    await check_connection(settings)
    options: dict[str, Any] = client_options(settings)
    readers = [
        read_to_end(options, {place: None}) for place in await partitions_of(options, (topic,))
    ]
    waiting: list[tuple[int, int, Received]] = []
    for number, reader in enumerate(readers):
        if (first := await anext(reader, None)) is not None:
            waiting.append((first.timestamp_ms, number, first))
    heapq.heapify(waiting)
    while waiting:
        _, number, record = waiting[0]
        yield record
        following = await anext(readers[number], None)
        if following is None:
            heapq.heappop(waiting)
        else:
            heapq.heapreplace(waiting, (following.timestamp_ms, number, following))
