"""Who waits for the owner's word: the decision about an event, as soon as it is committed.

One reader of the journey log serves all who wait: `feed` hands every decision to `Answers`, and
who asked is found by the event's source and id. It is read before the read model has taken it in,
so an answer does not wait for the disk; a receipt brings a later read up to it.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.api.model.effects import Position
    from orchestrator.api.model.store import DeadLetter


class Answer(msgspec.Struct, frozen=True):
    """What became of an event: the outcome, and everything that its decision did."""

    outcome: str
    entries: tuple[dict[str, Any], ...] = ()

    def entry(self, *kinds: str) -> dict[str, Any] | None:
        """Return the first entry of these kinds."""
        return next((one for one in self.entries if one.get("kind") in kinds), None)


class Refusal(Exception):
    """The event became a dead letter."""

    def __init__(self, letter: DeadLetter) -> None:
        super().__init__(letter.reason)
        self.letter = letter


_answers = msgspec.json.Decoder(Answer)


class Answers:
    """All who wait in this process."""

    def __init__(self) -> None:
        self._by_cause: dict[tuple[str, str], asyncio.Future[Answer]] = {}
        self._by_position: dict[Position, asyncio.Future[Answer]] = {}
        self._positions: dict[asyncio.Future[Answer], Position] = {}

    def __bool__(self) -> bool:
        return bool(self._by_cause)

    @contextmanager
    def expected(self, source: str, event_id: str) -> Iterator[asyncio.Future[Answer]]:
        """Wait for the decision about an event; enter before it is written, or it may be missed."""
        cause = (source, event_id)
        future = self._by_cause[cause] = asyncio.get_running_loop().create_future()
        try:
            yield future
        finally:
            if self._by_cause.get(cause) is future:
                del self._by_cause[cause]
            position = self._positions.pop(future, None)
            if position is not None:
                self._by_position.pop(position, None)

    def stands(self, position: Position, future: asyncio.Future[Answer]) -> None:
        """Note where the event stands, by which a dead letter names it."""
        if not future.done():
            self._by_position[position] = future
            self._positions[future] = position

    def decided(self, source: str, event_id: str, record: bytes) -> None:
        """Take in a decision; `record` is the value of the journey log."""
        future = self._by_cause.pop((source, event_id), None)
        if future is not None and not future.done():
            try:
                future.set_result(_answers.decode(record))
            except msgspec.DecodeError as error:
                future.set_exception(error)

    def refused(self, position: Position, letter: DeadLetter) -> None:
        """Take in a dead letter."""
        future = self._by_position.pop(position, None)
        if future is not None and not future.done():
            future.set_exception(Refusal(letter))
