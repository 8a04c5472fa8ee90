"""Takes events in: checks each as the worker will, writes it, and answers when the broker has it.

`Ingest.accept` is for every route that writes an event. The key is the subject and the partition
that of Kafka's default partitioner, so that the record is at home where it lands.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from orchestrator.api.model.effects import Position
from orchestrator.errors import EventRejected
from orchestrator.protocol.codec import decode_event
from orchestrator.protocol.home import home_partition
from orchestrator.protocol.outputs import event_headers, rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.api.telemetry import Telemetry
    from orchestrator.core.event import Event

_log = structlog.get_logger()

_REQUEST_BYTES_MAX: Final = 8 * 1024 * 1024
_ANSWER_MS: Final = 5_000
_STOP_SECONDS: Final = 5.0


class Checked(NamedTuple):
    """An event that a worker will accept, and its bytes."""

    event: Event
    value: bytes


class Unavailable(Exception):
    """The broker has not said that it has the event; it may have it. Sending it again is safe."""


class Ingest:
    """Writes events to one input topic."""

    def __init__(
        self,
        options: dict[str, Any],
        topic: str,
        telemetry: Telemetry,
        *,
        event_bytes_max: int,
    ) -> None:
        self.topic: Final = topic
        self._options = options
        self._telemetry = telemetry
        self._event_bytes_max = event_bytes_max
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect."""
        producer = AIOKafkaProducer(
            **self._options,
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            max_request_size=_REQUEST_BYTES_MAX,
            request_timeout_ms=_ANSWER_MS,
            linger_ms=1,
        )
        await producer.start()
        self._producer = producer

    async def stop(self) -> None:
        """Write what is under way, and disconnect.

        What the broker does not take in time is given up: who sent it was told that it has not said
        that it has it. The client itself would wait for a broker that is gone without an end.
        """
        if self._producer is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._producer.stop()

    def check(self, document: Any, *, now_ms: int | None = None) -> Checked:
        """Return the event of a CloudEvents object. Raises EventRejected naming the field."""
        if isinstance(document, dict) and document.get("time") is None:
            # The time of acceptance, not of writing: a repeat of a request tells the same event.
            document = document | {"time": rfc3339(_now_ms() if now_ms is None else now_ms)}
        value = orjson.dumps(document)
        try:
            event = decode_event(None, value, (), event_bytes_max=self._event_bytes_max)
        except EventRejected:
            self._telemetry.took_in("rejected")
            raise
        return Checked(event, value)

    async def accept(self, events: Sequence[Checked]) -> list[Position]:
        """Write events; return where they stand, in their order, when the broker has all of them.

        Raises Unavailable when it does not say so in time.
        """
        producer = self._producer
        assert producer is not None
        try:
            async with asyncio.timeout(_ANSWER_MS / 1000):
                partitions = len(await producer.partitions_for(self.topic))
                written = [await self._send(producer, one, partitions) for one in events]
                metadata = await asyncio.gather(*written)
        except (KafkaError, TimeoutError) as error:
            self._telemetry.took_in("unavailable", len(events))
            _log.warning("the broker does not take events", error=type(error).__name__)
            raise Unavailable from error
        self._telemetry.took_in("accepted", len(events))
        return [Position(one.topic, one.partition, one.offset) for one in metadata]

    async def _send(
        self, producer: AIOKafkaProducer, one: Checked, partitions: int
    ) -> asyncio.Future[Any]:
        event = one.event
        key = event.subject.encode()
        future: asyncio.Future[Any] = await producer.send(
            self.topic,
            one.value,
            key=key,
            partition=home_partition(key, partitions),
            headers=event_headers(event.id, event.type, event.traceparent),
        )
        return future


def cloud_event(
    *,
    source: str,
    event_id: str,
    event_type: str,
    subject: str,
    data: Mapping[str, Any],
    time_text: str | None = None,
) -> dict[str, Any]:
    """Return the CloudEvents object of an event that a route writes."""
    document: dict[str, Any] = {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": event_type,
        "subject": subject,
        "data": dict(data),
    }
    if time_text is not None:
        document["time"] = time_text
    return document


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
