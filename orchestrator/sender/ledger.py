"""Writes what a sender says: attempts, reports, dead letters. Each call returns when it is durable.

The order in which `handover` calls these is the promise: the record of the outcome, then the
report, and only then may the command's offset be committed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaProducer

from orchestrator.protocol.outputs import Position, dead_letter_headers
from orchestrator.sender.rules.attempts import attempt_of, encode_attempt
from orchestrator.sender.rules.feedback import encode_feedback, feedback

if TYPE_CHECKING:
    from orchestrator.sender.names import Names
    from orchestrator.sender.rules.attempts import Attempt, State
    from orchestrator.sender.rules.command import Command, Unreadable

_REQUEST_BYTES_MAX: Final = 8 * 1024 * 1024


class Ledger:
    """One producer: idempotent, and acknowledged by all replicas."""

    def __init__(self, options: dict[str, Any], names: Names, *, partitions: int, by: str) -> None:
        self._options = options
        self._names = names
        self._partitions = partitions
        self._by = by

    async def start(self) -> None:
        """Connect."""
        self._producer = AIOKafkaProducer(
            **self._options,
            acks="all",
            enable_idempotence=True,
            max_request_size=_REQUEST_BYTES_MAX,
        )
        await self._producer.start()

    async def stop(self) -> None:
        """Write what is under way, and disconnect."""
        await self._producer.stop()

    async def record(
        self, command: Command, state: State, *, reason: str = "", provider_id: str = ""
    ) -> Attempt:
        """Write what happened to a command, and return the record."""
        attempt = attempt_of(
            command, state, by=self._by, now_ms=now_ms(), reason=reason, provider_id=provider_id
        )
        await self._attempt(command.id, command.place.partition, encode_attempt(attempt))
        return attempt

    async def forget(self, command_id: str, attempt: Attempt) -> None:
        """Remove an attempt that nobody needs any more; it does no harm if this is lost."""
        await self._producer.send(
            self._names.attempts,
            None,
            key=command_id.encode(),
            partition=attempt.place.partition % self._partitions,
        )

    async def _attempt(self, command_id: str, partition: int, value: bytes) -> None:
        await self._producer.send_and_wait(
            self._names.attempts,
            value,
            key=command_id.encode(),
            # Where the owner of the lane's partition looks for it.
            partition=partition % self._partitions,
        )

    async def report(self, command: Command, attempt: Attempt) -> None:
        """Tell the orchestrator what became of a command, if anybody waits for it."""
        event = feedback(command, attempt)
        if event is not None:
            key, value, headers = encode_feedback(event)
            # aiokafka's default partitioner is Kafka's: the event finds its home at once.
            await self._producer.send_and_wait(
                self._names.feedback, value, key=key, headers=headers
            )

    async def dead_letter(self, record: Any, error: Unreadable) -> None:
        """Put aside a record that is no command, as it came."""
        headers = dead_letter_headers(
            record.headers,
            reason=error.reason,
            detail=error.detail,
            origin=Position(record.topic, record.partition, record.offset, record.timestamp),
            now_ms=now_ms(),
        )
        await self._producer.send_and_wait(
            self._names.dead_letters, record.value, key=record.key, headers=headers
        )


def now_ms() -> int:
    """Return the wall clock."""
    return time.time_ns() // 1_000_000
