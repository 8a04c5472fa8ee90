"""What this worker must know of the others: who is in the group, whose transactions are open.

Read-only questions to the brokers, and one act: initialising the transactional id of a writer that
is gone, which aborts what it left open.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import CoordinationType
from aiokafka.errors import KafkaError, for_code
from tenacity import retry, retry_if_exception, stop_after_delay, wait_exponential

from orchestrator.errors import DependencyError
from orchestrator.protocol.commit.transaction import TopicPartition
from orchestrator.runtime.requests import ListTransactions, StableOffsetFetch

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

_UNSTABLE_OFFSET_COMMIT: Final = 88
_RETRY_SECONDS: Final = 0.05
_OPEN_STATES: Final = ["Ongoing", "PrepareAbort", "PrepareCommit"]


def _retriable(error: BaseException) -> bool:
    return isinstance(error, KafkaError) and bool(error.retriable)


# A coordinator that is just being elected answers a moment later.
_retried = retry(
    retry=retry_if_exception(_retriable),
    wait=wait_exponential(multiplier=0.05, max=1.0),
    stop=stop_after_delay(30),
    reraise=True,
)


class Member(NamedTuple):
    """A member of the consumer group; the client id names its slot."""

    client_id: str
    host: str


def client_id(app_id: str, slot: str) -> str:
    """Return the client id by which a slot's worker is known in the group."""
    return f"{app_id}-{slot}"


def transactional_id(app_id: str, slot: str, turn: int) -> str:
    """Return the transactional id of one of a slot's producers."""
    return f"{client_id(app_id, slot)}-tx{turn}"


class Coordination:
    """Questions to the brokers about a consumer group and its transactions."""

    def __init__(self, client_options: dict[str, Any], app_id: str) -> None:
        self._options = client_options
        self._app_id = app_id

    async def __aenter__(self) -> Self:
        self._admin = AIOKafkaAdminClient(**self._options)
        await self._admin.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._admin.close()

    @_retried
    async def members(self) -> list[Member]:
        """Return the members that the group has now."""
        found = []
        for response in await self._admin.describe_consumer_groups([self._app_id]):
            for error_code, _, state, _, _, members, *_ in response.groups:
                if error_code or state == "Dead":
                    continue
                found += [Member(member[1], member[2]) for member in members]
        return found

    @_retried
    async def stable_offsets(
        self, partitions: Iterable[TopicPartition], *, transaction_timeout_ms: int
    ) -> dict[TopicPartition, int]:
        """Return the group's committed offsets once no transaction on them is open."""
        by_topic: dict[str, list[int]] = defaultdict(list)
        for topic, partition in partitions:
            by_topic[topic].append(partition)
        if not by_topic:
            return {}
        topics: list[tuple[str, list[int], dict[int, bytes]]] = [
            (topic, indexes, {}) for topic, indexes in by_topic.items()
        ]
        client = self._admin._client  # noqa: SLF001 - raw requests need it.
        while True:
            node_id = await client.coordinator_lookup(CoordinationType.GROUP, self._app_id)
            await client.ready(node_id)
            response = await client.send(node_id, StableOffsetFetch(self._app_id, topics, True, {}))
            entries = [
                (TopicPartition(topic, index), offset, code)
                for topic, found, _ in response.topics
                for index, offset, _, _, code, _ in found
            ]
            codes = {code for _, _, code in entries} | {response.error_code}
            if not codes - {0}:
                return {place: offset for place, offset, _ in entries if offset >= 0}
            wrong = codes - {0, _UNSTABLE_OFFSET_COMMIT}
            if wrong and not any(for_code(code).retriable for code in wrong):
                raise DependencyError(
                    f"offsets of group {self._app_id}: {for_code(min(wrong)).__name__}"
                )
            await self.abort_dead_writers(transaction_timeout_ms)
            await asyncio.sleep(_RETRY_SECONDS)

    async def abort_dead_writers(self, transaction_timeout_ms: int) -> list[str]:
        """End the open transactions of writers of ours that are no longer in the group.

        Returns their transactional ids.
        """
        alive = {member.client_id for member in await self.members()}
        aborted = []
        for writer in await self._open_transactions():
            owner, separator, _ = writer.rpartition("-tx")
            if separator and owner.startswith(f"{self._app_id}-") and owner not in alive:
                await self._initialise(writer, transaction_timeout_ms)
                aborted.append(writer)
        return aborted

    async def _open_transactions(self) -> list[str]:
        client = self._admin._client  # noqa: SLF001 - raw requests need it.
        found = []
        for broker in client.cluster.brokers():
            try:
                await client.ready(broker.nodeId)
                response = await client.send(broker.nodeId, ListTransactions(_OPEN_STATES, [], {}))
            except KafkaError:
                continue  # That broker's transactions time out by themselves.
            found += [writer for writer, _, _, _ in response.transaction_states]
        return sorted(found)

    async def _initialise(self, writer: str, transaction_timeout_ms: int) -> None:
        producer = AIOKafkaProducer(
            **self._options,
            transactional_id=writer,
            transaction_timeout_ms=transaction_timeout_ms,
            retry_backoff_ms=20,
        )
        await producer.start()
        await producer.stop()
