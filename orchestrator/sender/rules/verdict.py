"""May this command be handed over now? The order of the checks, and nothing else.

`handover` asks twice: when a command's turn comes, and once more when everything that was visible
at that moment has been read, right before the call. Pure: the same view gives the same verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.sender.rules.attempts import State

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from orchestrator.sender.rules.attempts import Attempt, Attempts
    from orchestrator.sender.rules.command import Command
    from orchestrator.sender.rules.obstacles import Cancels, Controls, Fences

# The contract's reasons of `message.dropped`, in the order of the checks.
DROP_REASONS: Final = ("duplicate", "expired", "cancelled", "fenced", "killed", "test")


@dataclass(frozen=True, slots=True)
class Go:
    """Call the provider."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet: come back then; others go on."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Paused: come back when something is resumed, or when it expires."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Do not send it, and say why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Repeat:
    """It is done, but the report may not have got out: tell the recorded outcome again."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Lost:
    """An attempt that must not be repeated was begun by somebody who did not end it."""

    attempt: Attempt


Verdict = Go | Wait | Hold | Drop | Repeat | Lost


@dataclass(frozen=True, slots=True)
class View:
    """All that a sender knows when it decides."""

    attempts: Attempts
    cancels: Cancels
    fences: Fences
    controls: Controls
    allowed: AbstractSet[str]
    """Customers whom test mode may reach."""
    by: str
    """The name of this run of the sender."""

    def verdict(self, command: Command, now_ms: int) -> Verdict:
        """Return what is to happen to a command now."""
        attempt = self.attempts.get(command.id)
        if attempt is not None and (known := self._known(command, attempt)):
            return known
        # What ends something goes out whatever holds, but for test mode: it touches nobody.
        if not command.ends_something:
            if command.expires_at_ms <= now_ms:
                return Drop("expired")
            # What can only end in a drop is told at once, also while it is not yet its time.
            if command.id in self.cancels:
                return Drop("cancelled")
            if command.promotional and self.fences.covers(command):
                return Drop("fenced")
            standing = self.controls.standing(command)
            if standing == "killed":
                return Drop("killed")
            if command.not_before_ms is not None and command.not_before_ms > now_ms:
                return Wait(command.not_before_ms)
            if standing == "paused":
                return Hold()
        if command.mode == "test" and command.customer not in self.allowed:
            return Drop("test")
        return Go(1 if attempt is None else _next_attempt(attempt, self.by))

    def _known(self, command: Command, attempt: Attempt) -> Verdict | None:
        if attempt.final:
            # The same record again is our own past; another one is a command written twice.
            return Repeat(attempt) if attempt.place == command.place else Drop("duplicate")
        if attempt.once and attempt.state is State.ATTEMPTING and attempt.by != self.by:
            return Lost(attempt)
        return None


def _next_attempt(attempt: Attempt, by: str) -> int:
    """Return the number of this try: a claim of our own is the try itself."""
    claimed = attempt.state is State.ATTEMPTING and attempt.by == by and attempt.once
    return attempt.attempt if claimed else attempt.attempt + 1
