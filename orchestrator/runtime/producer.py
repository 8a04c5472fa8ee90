"""A transactional producer whose offsets are fenced by the group's generation, and its order.

`commit` is the one place where the rules of the commit are executed: begin, produce all, await
every record, offsets under generation and member, end. The machine encoded everything before.

A transaction here is known as a whole before it begins. So it needs none of the waiting, batching
and handing over of a general producer: one request for each leader carries its records, one its
offsets, one ends it. Where the cluster has transactions of version 2 (KIP-890), these three are
all; before, partitions and group are added by requests of their own. aiokafka keeps the
connections, the metadata and the encoding of records.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    ProducerFenced,
    RequestTimedOutError,
    for_code,
)
from aiokafka.protocol.transaction import AddOffsetsToTxnRequest, EndTxnRequest
from aiokafka.protocol.transaction import InitProducerIdRequest as InitialiseRequest

from orchestrator import __version__
from orchestrator.errors import WorkerGaveUp
from orchestrator.runtime.produce import (
    AddPartitions,
    Batched,
    Produce,
    Writer,
    batches_of,
    sequence_after,
)
from orchestrator.runtime.requests import (
    ApiVersions,
    EndTransaction,
    FencedOffsetCommit,
    transaction_version,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.failpoint import Failpoint
    from orchestrator.protocol.commit.transaction import Output, TopicPartition, Transaction

_log = structlog.get_logger()

# Somebody else has this transactional id (invalid epoch, fenced), or the group has given this
# worker up (illegal generation, unknown member, fenced instance).
_FENCED: Final = frozenset({47, 90, 22, 25, 82})
# Another node coordinates now, or soon will.
_MOVED: Final = frozenset({15, 16})
# It loads, the markers of the transaction before are being written, or a topic is just created.
_BUSY: Final = frozenset({14, 51, 3})
# Not looked at, because another partition of the same request was refused.
_NOT_ATTEMPTED: Final = 55
# Unknown partition, no leader or another one, timed out, cut off, too few replicas, storage,
# epochs of leaders: sent again, and numbered so that nothing can be written twice.
_LEADERLESS: Final = frozenset({3, 5, 6, 7, 13, 19, 20, 56, 74, 75})
_CUT_OFF: Final = 13
_WRITTEN: Final = frozenset({0, 46})  # 46: this very batch is in the log.
_AWAY: Final = (KafkaConnectionError, NodeNotReadyError, RequestTimedOutError)
# A transaction that begins before the markers of the last one are written comes again so soon.
_BUSY_SECONDS: Final = 0.002
_AWAY_SECONDS: Final = 0.1

_NAME: Final = "journey-orchestrator"
_JOINING_VERSION: Final = 2

_TRANSACTION: Final = CoordinationType.TRANSACTION
_GROUP: Final = CoordinationType.GROUP


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
        self._options = client_options
        self._failpoint = failpoint
        self._timeout_ms = transaction_timeout_ms
        self._timeout_seconds = 2 * transaction_timeout_ms / 1000
        self._writer = Writer(transactional_id, -1, -1)
        self._coordinators: dict[CoordinationType, int] = {}
        # Of every partition the number of its next record; the broker refuses gaps and repeats.
        self._sequences: defaultdict[TopicPartition, int] = defaultdict(int)
        self._topics: set[str] = set()  # Whose leaders the client is asked to know.
        # The cluster's, once started.
        self.transaction_version = 0
        self._waiting_for = "the broker"

    async def start(self) -> None:
        """Connect and initialise the transactional id: whoever had it before is fenced."""
        # The client wants to be made on the loop that it will run on.
        self._client = AIOKafkaClient(**self._options)
        await self._client.bootstrap()
        name = self._writer.transactional_id
        answer = await self._ask(_TRANSACTION, name, InitialiseRequest(name, self._timeout_ms))
        self._become(answer)
        versions = await self._ask(_TRANSACTION, name, ApiVersions(_NAME, __version__, {}))
        self.transaction_version = transaction_version(versions)

    @property
    def _joining(self) -> bool:
        """Whether records and offsets bring their partitions and the group with them."""
        return self.transaction_version >= _JOINING_VERSION

    def _become(self, answer: Any) -> None:
        """Write as whom the coordinator names, and number the records anew."""
        name = self._writer.transactional_id
        self._writer = Writer(name, answer.producer_id, answer.producer_epoch)
        self._sequences.clear()

    async def stop(self) -> None:
        """Close the connections; an open transaction stays for the next initialisation."""
        await self._client.close()

    async def commit(self, transaction: Transaction, group_id: str) -> None:
        """Make all effects visible, or raise: then nobody may assume that they are not."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._commit(transaction, group_id)
        except TimeoutError as error:
            if missing := self._missing(transaction):
                raise WorkerGaveUp(
                    f"{', '.join(missing)}: no such topic any more; a restart makes what is ours"
                ) from error
            raise WorkerGaveUp(
                f"a transaction was not committed within {self._timeout_seconds:g} s; "
                f"it last waited for {self._waiting_for}"
            ) from error

    async def _commit(self, transaction: Transaction, group_id: str) -> None:
        reach = self._failpoint.reach
        reach("after_begin")
        # The group joins the transaction beside its records. Its offsets follow them: a worker
        # stopped in between must leave its records visible as an open transaction.
        await asyncio.gather(self._write(transaction.outputs), self._join(group_id))
        reach("after_acks")
        await self._send_offsets(transaction, group_id)
        reach("after_offsets")
        await self._end()
        reach("after_end")

    async def _join(self, group_id: str) -> None:
        """Make the group part of the transaction, where its offsets do not."""
        if self._joining:
            return
        name, producer_id, epoch = self._writer
        await self._ask(
            _TRANSACTION, name, AddOffsetsToTxnRequest(name, producer_id, epoch, group_id)
        )

    async def _end(self) -> None:
        name, producer_id, epoch = self._writer
        if self._joining:
            request = EndTransaction(name, producer_id, epoch, True, {})
            self._become(await self._ask(_TRANSACTION, name, request))
        else:
            await self._ask(_TRANSACTION, name, EndTxnRequest(name, producer_id, epoch, True))

    async def _send_offsets(self, transaction: Transaction, group_id: str) -> None:
        """Send the offsets under generation and member, by which a worker given up is refused."""
        by_topic: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for (topic, partition), offset in sorted(transaction.offsets.items()):
            by_topic[topic].append((partition, offset, -1, "", {}))
        request = FencedOffsetCommit(
            self._writer.transactional_id,
            group_id,
            self._writer.producer_id,
            self._writer.epoch,
            transaction.generation,
            transaction.member,
            None,
            [(topic, partitions, {}) for topic, partitions in by_topic.items()],
            {},
            joining=self._joining,
        )
        await self._ask(_GROUP, group_id, request)

    def _missing(self, transaction: Transaction) -> list[str]:
        """Return the topics that the broker does not know, though it was asked for them."""
        return sorted({topic for topic, _ in transaction.outputs} - self._client.cluster.topics())

    # -- Records -----------------------------------------------------------------------------

    async def _write(self, outputs: Mapping[TopicPartition, Sequence[Output]]) -> None:
        """Make the partitions part of the transaction, and await every record in the log."""
        if not outputs:
            return
        writer, sequences = self._writer, self._sequences
        added: asyncio.Future[Any] | None = None
        if not self._joining:
            request = AddPartitions(writer, outputs)
            added = asyncio.ensure_future(self._ask(_TRANSACTION, writer.transactional_id, request))
            await asyncio.sleep(0)  # The request is on its way while the records are encoded.
        unsent: dict[TopicPartition, list[Batched]] = {}
        for place, records in outputs.items():
            batches = batches_of(writer, records, sequences[place])
            sequences[place] = sequence_after(sequences[place], batches)
            unsent[place] = batches
        await self._look_up({place.topic for place in outputs})
        if added is not None:
            await added
        while unsent:
            await self._send_first(unsent)

    async def _send_first(self, unsent: dict[TopicPartition, list[Batched]]) -> None:
        """Send the first batch of every partition; a request takes one of each."""
        by_leader: dict[int, dict[TopicPartition, Any]] = defaultdict(dict)
        for place, batches in unsent.items():
            by_leader[await self._leader(place)][place] = batches[0].content
        sent = [asyncio.ensure_future(self._produce(*request)) for request in by_leader.items()]
        await asyncio.sleep(0)  # Connected or not: who is connected has sent after it.
        self._failpoint.reach("after_produce")
        answers = await asyncio.gather(*sent)
        refused: dict[int, TopicPartition] = {}
        for place, code in chain.from_iterable(codes.items() for codes in answers):
            if code not in _WRITTEN:
                refused[code] = place
                continue
            del unsent[place][0]
            if not unsent[place]:
                del unsent[place]
        if refused:
            await self._before_again(refused)

    async def _before_again(self, refused: Mapping[int, TopicPartition]) -> None:
        """Wait until it makes sense to send again, or raise what waiting cannot mend."""
        if refused.keys() & _FENCED:
            raise ProducerFenced
        final = refused.keys() - _LEADERLESS - _BUSY
        if final:
            code = min(final)
            raise for_code(code)("{}/{}".format(*refused[code]))
        code = min(refused)
        self._waiting_for = "{}/{}: {}".format(*refused[code], for_code(code).__name__)
        await asyncio.sleep(_BUSY_SECONDS)
        if refused.keys() & _LEADERLESS:
            await self._client.force_metadata_update()

    async def _produce(
        self, node: int, batches: Mapping[TopicPartition, Any]
    ) -> Mapping[TopicPartition, int]:
        """Return the error code of every partition."""
        request = Produce(self._writer, batches, timeout_ms=self._timeout_ms, adding=self._joining)
        try:
            answer = await self._client.send(node, request)
        except _AWAY as error:
            _log.warning("records not acknowledged", node=node, error=repr(error))
            await asyncio.sleep(_AWAY_SECONDS)
            return dict.fromkeys(batches, _CUT_OFF)
        codes: Mapping[TopicPartition, int] = answer.codes
        return codes

    async def _look_up(self, topics: set[str]) -> None:
        """Let the client know where topics are that were not written to before."""
        new = [self._client.add_topic(topic) for topic in sorted(topics - self._topics)]
        self._topics |= topics
        for known in new:
            await known

    async def _leader(self, place: TopicPartition) -> int:
        """Return the node to send a partition's records to, when there is one."""
        while True:
            node: int | None = self._client.cluster.leader_for_partition(place)
            if node is not None and node >= 0:
                return node
            self._waiting_for = f"a leader of {place.topic}/{place.partition}"
            await asyncio.sleep(_AWAY_SECONDS)
            await self._client.force_metadata_update()

    # -- Coordinators ------------------------------------------------------------------------

    async def _ask(self, kind: CoordinationType, key: str, request: Any) -> Any:
        """Ask a coordinator until it has done it; raise what cannot become better by waiting."""
        while True:
            node = await self._coordinator(kind, key)
            try:
                answer = await self._client.send(node, request, group=ConnectionGroup.COORDINATION)
            except _AWAY as error:
                _log.warning("coordinator did not answer", node=node, error=repr(error))
                self._coordinators.pop(kind, None)
                self._waiting_for = f"the coordinator of {key!r}"
                await asyncio.sleep(_AWAY_SECONDS)
                continue
            codes = _codes(answer)
            if not codes:
                return answer
            if codes.keys() & _FENCED:
                raise ProducerFenced
            final = codes.keys() - _MOVED - _BUSY - {_NOT_ATTEMPTED}
            if final:
                code = min(final)
                raise for_code(code)(codes[code] or key)
            code = min(codes)
            self._waiting_for = f"{codes[code] or key}: {for_code(code).__name__}"
            if codes.keys() & _MOVED:
                self._coordinators.pop(kind, None)
            await asyncio.sleep(_BUSY_SECONDS)

    async def _coordinator(self, kind: CoordinationType, key: str) -> int:
        """Return the node that coordinates a transactional id, or a group."""
        while kind not in self._coordinators:
            try:
                node = await self._client.coordinator_lookup(kind, key)
            except KafkaError as error:
                if not error.retriable:
                    raise type(error)(key) from error
                self._waiting_for = f"the coordinator of {key!r}: {error!r}"
                await asyncio.sleep(_AWAY_SECONDS)
                await self._client.force_metadata_update()
                continue
            if await self._client.ready(node, group=ConnectionGroup.COORDINATION):
                self._coordinators[kind] = node
            else:
                await asyncio.sleep(_AWAY_SECONDS)
        return self._coordinators[kind]


def _codes(answer: Any) -> dict[int, str]:
    """Return the error codes of an answer, each with a partition that has it."""
    if hasattr(answer, "codes"):
        return {code: f"{topic}/{index}" for (topic, index), code in answer.codes.items() if code}
    if hasattr(answer, "topics"):
        return {
            code: f"{topic}/{index}"
            for topic, partitions, _ in answer.topics
            for index, code, _ in partitions
            if code
        }
    return {answer.error_code: ""} if answer.error_code else {}
