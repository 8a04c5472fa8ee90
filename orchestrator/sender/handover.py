"""One command on its way to the provider: the last look, the call, and what becomes of it.

`sender` starts `run` for each command whose turn has come. Everything that could say no is read up
to its end first; between that verdict and the call nothing waits. Then, in this order: the outcome
is recorded, reported, and the command let go, which allows its offset to be committed.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, assert_never

import structlog
from msgspec.structs import replace

from orchestrator.sender.follower import FollowerStopped
from orchestrator.sender.ledger import now_ms
from orchestrator.sender.rules import command as kinds
from orchestrator.sender.rules.attempts import State, attempt_of
from orchestrator.sender.rules.outcome import (
    REASON_CHARACTERS_MAX,
    Bounced,
    Delivered,
    Failed,
    Outcome,
    Retry,
    Unknown,
)
from orchestrator.sender.rules.verdict import Drop, Go, Hold, Lost, Repeat, Verdict, Wait

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.sender.lane_reader import LaneReader, Shared
    from orchestrator.sender.rules.attempts import Attempt, Attempts
    from orchestrator.sender.rules.command import Command
    from orchestrator.sender.rules.lane import Entry

    Call = Callable[[Command], Awaitable[Outcome]]

_log = structlog.get_logger()

UNKNOWN = "unknown"


class HandOver:
    """Hands over the commands of one sender."""

    def __init__(self, shared: Shared, deliver: Call, recall: Call | None) -> None:
        self._shared = shared
        self._deliver = deliver
        self._recall = recall

    async def run(self, reader: LaneReader, entry: Entry, go: Go) -> bool:
        """Check once more and call; return whether the provider was called."""
        command = replace(entry.command, attempt=go.attempt)
        if not await self._up_to_date(reader, command) or entry.dropped:
            return False
        # Without a view the partition is being given away: nothing is begun any more.
        view = reader.view
        verdict = Wait(now_ms()) if view is None else view.verdict(command, now_ms())
        if view is None or not isinstance(verdict, Go):
            await self.settle(reader, entry, verdict, claimed=command.once)
            return False
        call = self._call_for(command)
        if call is None:
            reader.lane.done(entry)
            return False
        if command.type == kinds.CANCEL:
            command = replace(command, cancels=_handed_over(command, view.attempts))
            if not command.cancels:
                reader.lane.done(entry)
                return False
        outcome = await self._call(reader, command, call)
        await self._end(reader, entry, command, outcome)
        return True

    async def settle(
        self, reader: LaneReader, entry: Entry, verdict: Verdict, *, claimed: bool = False
    ) -> None:
        """Do what a verdict other than Go asks for."""
        lane, command = reader.lane, entry.command
        match verdict:
            case Wait() | Hold():
                if claimed:
                    # Nothing was sent, and nobody must think that something may have been.
                    await self._shared.ledger.record(command, State.WAITING)
                if isinstance(verdict, Wait):
                    lane.wait(entry, verdict.until_ms)
                else:
                    lane.hold(entry)
            case Drop("duplicate"):
                # The attempts keep what became of the first one.
                attempt = attempt_of(
                    command,
                    State.DROPPED,
                    by=self._shared.by,
                    now_ms=now_ms(),
                    reason="duplicate",
                )
                self._shared.telemetry.count(reader.label, "dropped", "duplicate")
                await self._report(reader, entry, attempt)
            case Drop(reason):
                await self._final(reader, entry, command, State.DROPPED, reason)
            case Repeat(attempt):
                await self._report(reader, entry, attempt)
            case Lost(attempt):
                again = replace(command, attempt=attempt.attempt)
                await self._final(reader, entry, again, State.FAILED, UNKNOWN)
            case Go():
                raise AssertionError("what may go is handed over, not settled")
            case _:
                assert_never(verdict)

    async def _up_to_date(self, reader: LaneReader, command: Command) -> bool:
        """Claim what must not be tried twice, then read all that was visible by now."""
        started = time.monotonic()
        if command.once:
            self._shared.failpoint.reach("before_claim")
            await self._shared.ledger.record(command, State.ATTEMPTING)
            self._shared.failpoint.reach("claimed")
        follower = reader.follower
        if follower is None:
            return False
        try:
            await follower.caught_up()
        except FollowerStopped:
            return False
        self._shared.telemetry.checked(reader.label, time.monotonic() - started)
        return True

    def _call_for(self, command: Command) -> Call | None:
        return self._recall if command.type == kinds.CANCEL else self._deliver

    async def _call(self, reader: LaneReader, command: Command, call: Call) -> Outcome:
        self._shared.failpoint.reach("before_call")
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._shared.options.call_seconds):
                outcome = await call(command)
        except TimeoutError:
            outcome = Unknown("timeout")
        except Exception as error:  # noqa: BLE001 - Whatever a team's code raises, nobody knows.
            # The text of a foreign error may hold an address.
            _log.warning("the call raised", error=type(error).__name__, command=command.id)
            outcome = Unknown("exception")
        self._shared.telemetry.called(reader.label, time.monotonic() - started)
        self._shared.failpoint.reach("after_call")
        return outcome

    async def _end(
        self, reader: LaneReader, entry: Entry, command: Command, outcome: Outcome
    ) -> None:
        match outcome:
            case Delivered(provider_id):
                await self._final(
                    reader, entry, command, State.DELIVERED, provider_id=provider_id[:256]
                )
            case Bounced(reason):
                await self._final(reader, entry, command, State.BOUNCED, reason)
            case Failed(reason):
                await self._final(reader, entry, command, State.FAILED, reason)
            case Unknown() if command.once:
                await self._final(reader, entry, command, State.FAILED, UNKNOWN)
            case Retry(reason, after_seconds) | Unknown(reason, after_seconds):
                await self._again(reader, entry, command, reason, after_seconds)
            case _:
                assert_never(outcome)

    async def _again(
        self,
        reader: LaneReader,
        entry: Entry,
        command: Command,
        reason: str,
        after_seconds: float | None,
    ) -> None:
        await self._shared.ledger.record(command, State.WAITING, reason=_short(reason))
        self._shared.telemetry.count(reader.label, "retried")
        seconds = after_seconds if after_seconds is not None else self._backoff(command.attempt)
        until_ms = now_ms() + int(seconds * 1000)
        if not command.ends_something:
            until_ms = min(until_ms, command.expires_at_ms)
        reader.lane.wait(entry, until_ms)

    def _backoff(self, attempt: int) -> float:
        """Double the wait with each try; half of it is chance, so that many do not come at once."""
        options = self._shared.options
        longest = options.retry_seconds * 2.0 ** min(attempt - 1, 30)
        return min(longest, options.retry_seconds_max) * random.uniform(0.5, 1.0)  # noqa: S311 - No secret.

    async def _final(
        self,
        reader: LaneReader,
        entry: Entry,
        command: Command,
        state: State,
        reason: str = "",
        *,
        provider_id: str = "",
    ) -> None:
        attempt = await self._shared.ledger.record(
            command, state, reason=_short(reason), provider_id=provider_id
        )
        self._shared.failpoint.reach("outcome_recorded")
        self._shared.telemetry.count(reader.label, state.value, attempt.reason)
        await self._report(reader, entry, attempt)

    async def _report(self, reader: LaneReader, entry: Entry, attempt: Attempt) -> None:
        await self._shared.ledger.report(entry.command, attempt)
        self._shared.failpoint.reach("reported")
        reader.lane.done(entry)


def _handed_over(command: Command, attempts: Attempts) -> tuple[str, ...]:
    """Return what a provider may have got of what a cancel names."""
    return tuple(
        command_id
        for command_id in command.cancels
        if (attempt := attempts.get(command_id)) is not None and attempt.state is not State.DROPPED
    )


def _short(reason: str) -> str:
    return " ".join(reason.split())[:REASON_CHARACTERS_MAX]
