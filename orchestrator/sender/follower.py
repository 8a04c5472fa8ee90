"""Follows partitions to their ends, and says when everything that was visible has been read.

Each lane has one, for the partitions it owns: attempts, cancels on the lane itself, fences, and
`control`. A cancel or a fence that a reader could see when `caught_up` was called has been handed
to `take` when it returns; that is the check right before a hand-over.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_READ_MS: Final = 20
# The broker answers as soon as there is something; this only bounds an idle request.
_FETCH_WAIT_MS: Final = 500
# Between two looks at whether a fetch under way has arrived.
_LOOK_SECONDS: Final = 0.001


class FollowerStopped(Exception):
    """The partitions were given away while somebody waited for their ends."""


class Ends:
    """Asks where logs begin and end, on a connection where no fetch waits before it."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._consumer = AIOKafkaConsumer(
            **options, group_id=None, isolation_level="read_committed", enable_auto_commit=False
        )

    async def start(self) -> None:
        """Connect."""
        await self._consumer.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()

    async def first(self, places: list[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Return the first offset that is left of each partition."""
        found: Mapping[TopicPartition, int] = await self._consumer.beginning_offsets(places)
        return found

    async def of(self, places: list[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Return the last stable offset of each partition."""
        found: Mapping[TopicPartition, int] = await self._consumer.end_offsets(places)
        return found


class Follower:
    """Follows some partitions from given offsets until it is stopped.

    `take` is called in log order for every record; it must not wait, and does not raise.
    """

    def __init__(
        self,
        options: dict[str, Any],
        ends: Ends,
        starts: Mapping[TopicPartition, int],
        take: Callable[[Any], None],
    ) -> None:
        self._options = options
        self._ends = ends
        self._starts = dict(starts)
        self._take = take
        self._places = list(self._starts)
        self._round: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self._stopped = False

    async def start(self) -> None:
        """Begin to follow."""
        self._consumer = AIOKafkaConsumer(
            **self._options,
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            fetch_max_wait_ms=_FETCH_WAIT_MS,
        )
        await self._consumer.start()
        self._consumer.assign(self._places)
        for place, offset in self._starts.items():
            self._consumer.seek(place, offset)
        self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stop following; who waits in `caught_up` gets FollowerStopped."""
        self._stopped = True
        for task in (self._round, self._following):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task
        await self._consumer.stop()

    async def caught_up(self) -> None:
        """Return when all that was visible at the time of this call has been taken.

        Calls share rounds: one that comes while a round is under way waits for the next one,
        because the ends that this round asked for may be older than the call. Raises
        FollowerStopped, and what the broker refuses.
        """
        try:
            await self._next_round()
        except asyncio.CancelledError:
            if self._stopped:
                raise FollowerStopped from None
            raise

    async def _next_round(self) -> None:
        if self._stopped:
            raise FollowerStopped
        under_way = self._round
        if under_way is not None and not under_way.done():
            await asyncio.wait([under_way])
            if self._stopped:
                raise FollowerStopped
        # Whoever is first of those who waited begins the round of them all.
        if self._round is None or self._round is under_way or self._round.done():
            self._round = asyncio.create_task(self._read_to_ends())
        # Shielded: one who gives up waiting must not end the round of the others.
        await asyncio.shield(self._round)

    async def _read_to_ends(self) -> None:
        assert self._following is not None
        lacking = dict(await self._ends.of(self._places))
        while True:
            for place in list(lacking):
                if await self._consumer.position(place) >= lacking[place]:
                    del lacking[place]
            if not lacking:
                return
            if self._following.done():
                await self._following
            await asyncio.sleep(_LOOK_SECONDS)

    async def _follow(self) -> None:
        # A position moves in the same step in which its records are returned, and nothing else
        # runs before they are taken; so a position that was reached is also taken.
        while True:
            for records in (await self._consumer.getmany(timeout_ms=_READ_MS)).values():
                for record in records:
                    self._take(record)
