"""What a worker reads from where, when one rebalance follows the other at once."""

import asyncio
from types import SimpleNamespace

from aiokafka.consumer.subscription_state import Subscription
from aiokafka.structs import TopicPartition

from orchestrator.runtime.shell.consumer import BatchConsumer

HOME = TopicPartition("touchpoints", 0)


class Rebalanced(BatchConsumer):
    """The consumer on a real subscription of the client, without a broker and without Faust."""

    def __init__(self):
        self._seeks, self._sought, self._revoked, self._next_offsets = 0, None, None, {}
        self._read_offset = {}
        self.subscription = Subscription({HOME.topic})
        client = SimpleNamespace(_subscription=SimpleNamespace(subscription=self.subscription))
        self._thread = SimpleNamespace(
            _ensure_consumer=lambda: client, call_thread=_done, seek_all_async=None
        )
        self.app = SimpleNamespace(
            driver=SimpleNamespace(
                machine=SimpleNamespace(positions=dict), names=SimpleNamespace(changelog="log")
            )
        )

    def assign(self):
        """Be given the partition, as the client is after each round of the group."""
        self.subscription._assign({HOME})


async def _done(*_):
    await asyncio.sleep(0)


async def test_a_worker_reads_once_it_was_told_from_where():
    consumer = Rebalanced()
    consumer.assign()

    assert not consumer._positioned
    await consumer.perform_seek()

    assert consumer._positioned


async def test_a_seek_of_the_round_before_says_nothing_about_the_next_assignment():
    consumer = Rebalanced()
    consumer.assign()
    consumer.forget_positions()  # The next round begins.
    await consumer.perform_seek()  # Faust was still busy with the first round.

    assert not consumer._positioned
    consumer.assign()

    assert not consumer._positioned
    await consumer.perform_seek()
    assert consumer._positioned


async def test_a_new_assignment_has_to_be_positioned_anew():
    consumer = Rebalanced()
    consumer.assign()
    await consumer.perform_seek()

    consumer.assign()

    assert not consumer._positioned
