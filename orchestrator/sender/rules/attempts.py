"""What was tried and what became of it: the records on `attempts.<channel>`, and their meaning.

The topic is read in log order by whoever owns the partition, so all readers see the same. It is
also how two senders that both believe to own a command settle who calls the provider: each writes
a claim, reads up to the end, and the first claim in the log holds. Pure; `follower` feeds it.
"""

from __future__ import annotations

import heapq
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from msgspec import MsgspecError, Struct, json
from msgspec.structs import replace

from orchestrator.protocol.outputs import rfc3339
from orchestrator.sender.rules.command import Place, Unreadable, time_ms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.sender.rules.command import Command

_DAY_MS: Final = 24 * 60 * 60 * 1000
# A record that is read again after its command expired must still be known for what it was: a
# sender that was away longer finds it expired, which sends nothing either.
GRACE_MS: Final = _DAY_MS


class State(StrEnum):
    """How far a command has come. `WAITING`: certainly not sent, to be tried again."""

    ATTEMPTING = "attempting"
    WAITING = "waiting"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    FAILED = "failed"
    DROPPED = "dropped"


FINAL: Final = frozenset({State.DELIVERED, State.BOUNCED, State.FAILED, State.DROPPED})


class Attempt(Struct, frozen=True, gc=False):
    """The value of a record on `attempts.<channel>`; its key is the command id.

    `by` names the run of the sender that wrote it; `once` says that the attempt must never be
    repeated; `place` is where the command's record stood, which tells a repeated reading from a
    command that was written twice.
    """

    state: State
    attempt: int
    at: str
    by: str
    once: bool
    place: Place
    expires_at: str
    reason: str = ""
    provider_id: str = ""

    @property
    def final(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in FINAL


def attempt_of(
    command: Command,
    state: State,
    *,
    by: str,
    now_ms: int,
    reason: str = "",
    provider_id: str = "",
) -> Attempt:
    """Return the record of what happened to a command now."""
    return Attempt(
        state=state,
        attempt=command.attempt,
        at=rfc3339(now_ms),
        by=by,
        once=command.once,
        place=command.place,
        expires_at=rfc3339(command.expires_at_ms),
        reason=reason,
        provider_id=provider_id,
    )


def encode_attempt(attempt: Attempt) -> bytes:
    """Return the value for the topic."""
    return json.encode(attempt)


_decoder: Final = json.Decoder(Attempt)


class Attempts:
    """The attempts of some partitions of one lane, as the log tells them."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._by_id: dict[str, Attempt] = {}
        # When a final attempt may be forgotten, soonest first.
        self._ends: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, command_id: str) -> Attempt | None:
        """Return what holds for a command, or None when it was never tried."""
        return self._by_id.get(command_id)

    def apply(self, key: bytes | None, value: bytes | None) -> Attempt | None:
        """Take in the next record of the log; return what it says, if it is of this lane.

        A record that cannot be read changes nothing: it cannot make anything be sent twice that
        would not be sent twice without it.
        """
        if key is None:
            return None
        command_id = key.decode("utf-8", "replace")
        if value is None:
            self._by_id.pop(command_id, None)
            return None
        try:
            attempt = _decoder.decode(value)
        except (MsgspecError, UnicodeDecodeError):
            return None
        if attempt.place.topic != self._topic:
            return None
        # A million attempts hold few different runs and one topic.
        place = attempt.place._replace(topic=self._topic)
        attempt = replace(attempt, by=sys.intern(attempt.by), place=place)
        before = self._by_id.get(command_id)
        if before is None or _follows(before, attempt):
            self._by_id[command_id] = attempt
            if attempt.final:
                ends_ms = max(_read_ms(attempt.expires_at), _read_ms(attempt.at)) + GRACE_MS
                heapq.heappush(self._ends, (ends_ms, command_id))
        return attempt

    def pop_expired(self, now_ms: int) -> Iterator[tuple[str, Attempt]]:
        """Forget what nobody needs any more, and yield it: the caller removes it from the log."""
        while self._ends and self._ends[0][0] < now_ms:
            _, command_id = heapq.heappop(self._ends)
            attempt = self._by_id.pop(command_id, None)
            if attempt is not None:
                yield command_id, attempt


def _follows(before: Attempt, after: Attempt) -> bool:
    """Whether a later record counts: the first end holds, and so does the first claim."""
    if before.final:
        return False
    claimed = before.state is State.ATTEMPTING and before.once
    return not claimed or after.final or after.by == before.by


def _read_ms(text: str) -> int:
    try:
        return time_ms("", text)
    except Unreadable:
        return 0
