"""From a record's bytes to everything that its decision writes: what floor and stock Faust share.

The same loader, codec and `decide` as the worker's, and the same bytes on the same topics, so that
the systems of a table differ only in how records get in and effects get out. There is no
forwarding, no dead letter and no timer here: the load has none, and a surprise ends the system.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from bench.rivals.job import Job
from orchestrator import catalog
from orchestrator.core.customer import Customer
from orchestrator.core.decide import decide
from orchestrator.core.encoded.state import STATE_FORMAT, decode_customer, encode_customer
from orchestrator.protocol.codec import decode_event
from orchestrator.protocol.commit.meta import META_FORMAT, META_KEY, Meta, encode_meta
from orchestrator.protocol.outputs import (
    Position,
    command_headers,
    encode_command,
    encode_fence,
    encode_log,
    event_cause,
)
from orchestrator.protocol.topics import Topics

if TYPE_CHECKING:
    from orchestrator.settings import Settings

Headers = Sequence[tuple[str, bytes | None]]


class Record(NamedTuple):
    """A Kafka record, whichever client delivered it; `timestamp` is epoch milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: Headers


class Output(NamedTuple):
    """One record to write. Its partition is the default partitioner's."""

    topic: str
    key: bytes
    value: bytes | None
    headers: Headers = ()


class Effects:
    """Decides records one after the other; the caller keeps the states.

    `written` are the topics that `of` may name.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._journeys = catalog.load(settings.journeys, settings.mode)
        self.topics = Topics.of(settings, self._journeys.channels)
        names = self.topics.names()
        self.written = (
            names.fences,
            names.journey_log,
            *names.commands.values(),
            *names.promotional.values(),
        )
        self._clocks_ms: dict[int, int] = {}

    def of(self, record: Record, state: bytes | None) -> tuple[bytes, list[Output]]:
        """Return the customer's next state and what is written beside it."""
        event = decode_event(
            record.key,
            record.value,
            record.headers,
            event_bytes_max=self._settings.event_bytes_max,
            record_time_ms=record.timestamp,
        )
        now_ms = max(self._clocks_ms.get(record.partition, 0), record.timestamp)
        self._clocks_ms[record.partition] = now_ms
        customer = decode_customer(state) if state else Customer(id=event.subject)
        decision = decide(self._journeys, customer, event, now_ms)
        outputs = [
            Output(
                self.topics.commands(command.channel, promotional=command.promotional_lane),
                record.key,
                encode_command(command),
                command_headers(command),
            )
            for command in decision.commands
        ]
        if decision.fence is not None:
            outputs.append(Output(self.topics.fences, record.key, encode_fence(decision.fence)))
        position = Position(record.topic, record.partition, record.offset, record.timestamp)
        log = encode_log(
            customer=event.subject,
            now_ms=decision.now_ms,
            cause=event_cause(position, event),
            outcome=decision.outcome.value,
            definitions_hash=self._journeys.content_hash,
            entries=decision.entries,
        )
        outputs.append(Output(self.topics.journey_log, record.key, log))
        return encode_customer(decision.customer), outputs

    def meta(self, topic: str, partition: int, offset: int) -> Output:
        """Return the record about a partition that the worker writes in every transaction."""
        meta = Meta(
            format=META_FORMAT,
            state_format=STATE_FORMAT,
            positions={topic: offset},
            generation=1,
            slot=self._settings.slot,
            transactional_ids=(f"{self._settings.app_id}-0-0", f"{self._settings.app_id}-0-1"),
            clock_ms=self._clocks_ms.get(partition, 0),
            starts=0,
            content_hash=self._journeys.content_hash,
        )
        return Output(self.topics.changelog, META_KEY, encode_meta(meta))


def effects_of(settings: Settings) -> Effects | Job:
    """Return what a system of `make bench` decides with, or of `make bench-rivals` (BENCH_JOB)."""
    if os.environ.get("BENCH_JOB") == "px":
        return Job(settings.topic_prefix, settings.app_id)
    return Effects(settings)
