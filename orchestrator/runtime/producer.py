"""A transactional producer whose offsets are fenced by the group's generation, and its order.

`commit` is the one place where the rules of the commit are executed: begin, produce all, await
every record, offsets under generation and member, end. The machine encoded everything before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaProducer, OffsetAndMetadata, TopicPartition
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import IllegalOperation, ProducerFenced
from aiokafka.producer.sender import Sender, TxnOffsetCommitHandler

from orchestrator.errors import WorkerGaveUp
from orchestrator.runtime.requests import FencedOffsetCommit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.failpoint import Failpoint
    from orchestrator.protocol.commit.transaction import Output, Transaction

# Illegal generation, unknown member, fenced instance: this worker was given up by the group.
_GIVEN_UP: Final = frozenset({22, 25, 82})
# Below the broker's default for a batch (1,048,588 bytes) with room for headers of the batch.
_BATCH_BYTES_MAX: Final = 900_000
# Our own topics take records of this size; the widest is a dead letter with its reason.
_REQUEST_BYTES_MAX: Final = 8 * 1024 * 1024
# A transaction that begins before the markers of the last one are written is asked to come again.
_RETRY_BACKOFF_MS: Final = 2
_AWAY_SECONDS: Final = 0.1
_REASON_SECONDS: Final = 1.0


class _FencedHandler(TxnOffsetCommitHandler):
    """Sends offsets by TxnOffsetCommit v3."""

    def create_request(self) -> FencedOffsetCommit:
        manager = self._sender._txn_manager  # noqa: SLF001 - aiokafka offers no other way.
        by_topic: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for tp, offset in sorted(self._offsets.items()):
            by_topic[tp.topic].append((tp.partition, offset.offset, -1, offset.metadata or "", {}))
        return FencedOffsetCommit(
            manager.transactional_id,
            self._group_id,
            manager.producer_id,
            manager.producer_epoch,
            self._sender.generation,
            self._sender.member,
            None,
            [(topic, partitions, {}) for topic, partitions in by_topic.items()],
            {},
        )

    def handle_response(self, resp: Any) -> float | None:
        codes = {code for _, partitions, _ in resp.topics for _, code, _ in partitions}
        if codes & _GIVEN_UP:
            raise ProducerFenced

        class _AsV0:
            errors: Final = [
                (topic, [(index, code) for index, code, _ in partitions])
                for topic, partitions, _ in resp.topics
            ]

        backoff: float | None = super().handle_response(_AsV0)
        return backoff


class _FencedSender(Sender):
    """aiokafka's sender with the fenced offsets, and with a say in when they go.

    `hold_offsets` keeps them back while the group is already being added to the transaction: that
    round trip then passes beside the one of the records, not after it.
    """

    generation = -1
    member = ""
    hold_offsets = False

    def _maybe_do_transactional_request(self) -> Any:
        manager = self._txn_manager
        if self.hold_offsets and not manager.partitions_to_add() and manager.offsets_to_commit():
            return None
        return super()._maybe_do_transactional_request()

    def release_offsets(self) -> None:
        """Let the offsets go."""
        self.hold_offsets = False
        self._txn_manager.notify_task_waiter()

    async def _do_txn_offset_commit(self, offsets: Any, group_id: str) -> None:
        if not offsets:
            return
        node_id = await self._find_coordinator(CoordinationType.GROUP, group_id)
        await _FencedHandler(self, offsets, group_id).do(node_id)


class _PatientClient(AIOKafkaClient):
    """aiokafka's client, asking a broker that is away ten times a second and not five hundred.

    Its one back-off is for answers like "come again in a moment" as well, where 2 ms are right.
    """

    async def ready(self, *args: Any, **kwargs: Any) -> bool:
        connected: bool = await super().ready(*args, **kwargs)
        if not connected:
            await asyncio.sleep(_AWAY_SECONDS)
        return connected

    async def _metadata_update(self, *args: Any) -> bool:
        updated: bool = await super()._metadata_update(*args)
        if not updated:
            await asyncio.sleep(_AWAY_SECONDS)
        return updated


class FencedProducer:
    """One transactional id. `commit` may be called again only after it returned."""

    def __init__(
        self,
        client_options: dict[str, Any],
        *,
        transactional_id: str,
        transaction_timeout_ms: int,
        failpoint: Failpoint,
    ) -> None:
        self._failpoint = failpoint
        self._timeout_seconds = 2 * transaction_timeout_ms / 1000
        self._options = client_options | {
            "transactional_id": transactional_id,
            "transaction_timeout_ms": transaction_timeout_ms,
        }

    async def start(self) -> None:
        """Connect and initialise the transactional id: whoever had it before is fenced."""
        # The client wants to be made on the loop that it will run on.
        self._producer = AIOKafkaProducer(
            **self._options,
            acks="all",
            linger_ms=0,
            retry_backoff_ms=_RETRY_BACKOFF_MS,
            max_batch_size=_BATCH_BYTES_MAX,
            max_request_size=_REQUEST_BYTES_MAX,
        )
        # The constructor has no seam for these; same objects, our offset commit and patience.
        self._producer._sender.__class__ = _FencedSender  # noqa: SLF001
        self._producer.client.__class__ = _PatientClient
        await self._producer.start()

    async def stop(self) -> None:
        """Close the connections; an open transaction stays for the next initialisation."""
        await self._producer.stop()

    async def commit(self, transaction: Transaction, group_id: str) -> None:
        """Make all effects visible, or raise: then nobody may assume that they are not."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._commit(transaction, group_id)
        except (TimeoutError, IllegalOperation):
            await self._raise_reason(transaction)
            raise

    async def _raise_reason(self, transaction: Transaction) -> None:
        """Raise why a transaction stood still, where the client knows it and kept it to itself."""
        ended = self._producer._txn_manager.wait_for_transaction_end()  # noqa: SLF001
        if ended.done() and not ended.cancelled() and ended.exception() is not None:
            raise ended.exception()
        client = self._producer.client
        # What it knows may be older than the deletion of a topic.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(client.force_metadata_update(), _REASON_SECONDS)
        asked = {topic for topic, _ in transaction.outputs} & set(client._topics)  # noqa: SLF001
        if missing := sorted(asked - client.cluster.topics()):
            raise WorkerGaveUp(
                f"{', '.join(missing)}: no such topic any more; a restart makes what is ours"
            )

    async def _commit(self, transaction: Transaction, group_id: str) -> None:
        producer, reach = self._producer, self._failpoint.reach
        sender, manager = producer._sender, producer._txn_manager  # noqa: SLF001
        sender.generation, sender.member = transaction.generation, transaction.member
        offsets = {
            TopicPartition(topic, partition): OffsetAndMetadata(offset, "")
            for (topic, partition), offset in transaction.offsets.items()
        }
        await producer.begin_transaction()
        reach("after_begin")
        sender.hold_offsets = True
        futures = []
        for (topic, partition), outputs in transaction.outputs.items():
            futures += await self._hand_over(topic, partition, outputs)
        offsets_sent = manager.add_offsets_to_txn(offsets, group_id)
        reach("after_produce")
        # Awaited before the offsets: a commit does not fail when a record was refused, and a
        # worker stopped in between must leave its records visible as an open transaction.
        await asyncio.gather(*futures)
        reach("after_acks")
        sender.release_offsets()
        await offsets_sent
        reach("after_offsets")
        await producer.commit_transaction()
        reach("after_end")

    async def _hand_over(
        self, topic: str, partition: int, outputs: Sequence[Output]
    ) -> list[asyncio.Future[Any]]:
        """Put one partition's records into as few batches as they fit; return what to await."""
        futures = []
        batch = self._producer.create_batch()
        for key, value, headers in outputs:
            while batch.append(key=key, value=value, timestamp=None, headers=list(headers)) is None:
                futures.append(await self._producer.send_batch(batch, topic, partition=partition))
                batch = self._producer.create_batch()
        futures.append(await self._producer.send_batch(batch, topic, partition=partition))
        return futures
