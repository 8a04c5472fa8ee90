"""The senders of the demo: what a channel's desk does with commands, without any network.

`demo/day` reads commands and fences with `read_committed`, hands them in, and asks what is due.
A real sender follows the same rules: nothing before its turn, nothing cancelled, nothing for a
fenced enrollment, checked right before the hand-over; and it reports what became of each command.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from orchestrator.demo.story import event

if TYPE_CHECKING:
    from collections.abc import Mapping

# The promotional e-mail provider of this shop works off a queue: here a purchase can overtake.
SLOW: Final = {("email", True): 8.0}
PROMPT_SECONDS: Final = 0.0
ON_CANCEL: Final = frozenset({"message.cancel", "task.close"})


@dataclass(frozen=True, slots=True)
class Command:
    """One command as a sender sees it."""

    id: str
    type: str
    customer: str
    channel: str
    promotional: bool
    journey: str
    enrollment: str
    step: str
    sequence: int
    template: str | None
    audience: str | None
    cancels: tuple[str, ...]
    cause: str

    @classmethod
    def read(cls, envelope: Mapping[str, Any]) -> Command:
        """Read a command's envelope; fields that this sender does not know are ignored."""
        data = envelope["data"]
        return cls(
            id=envelope["id"],
            type=envelope["type"],
            customer=envelope["subject"],
            channel=data["channel"],
            promotional=data["class"] == "promotional",
            journey=data["journey"],
            enrollment=data["enrollment"],
            step=data["step"],
            sequence=data["sequence"],
            template=data.get("template"),
            audience=data.get("audience"),
            cancels=tuple(data.get("cancels") or ()),
            cause=data["caused_by"]["id"],
        )


@dataclass(slots=True)
class Desk:
    """All channels' queues of one shop, and what must not be sent any more."""

    waiting: list[tuple[float, int, Command]] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    fences: dict[str, Mapping[str, int]] = field(default_factory=dict)
    _arrivals: itertools.count[int] = field(default_factory=itertools.count)

    def take(self, command: Command, at: float) -> None:
        """Accept a command; a cancel counts at once, whatever stands in the queue before it."""
        if command.type in ON_CANCEL:
            self.cancelled.update(command.cancels)
            return
        hold = SLOW.get((command.channel, command.promotional), PROMPT_SECONDS)
        heapq.heappush(self.waiting, (at + hold, next(self._arrivals), command))

    def fence(self, customer: str, value: Mapping[str, Any] | None) -> None:
        """Remember a customer's fence record; None removes it."""
        enrollments = value["enrollments"] if value else ()
        self.fences[customer] = {one["enrollment"]: one["sequence"] for one in enrollments}

    def due(self, at: float) -> list[Command]:
        """Return the commands whose turn has come, oldest first."""
        ready: list[Command] = []
        while self.waiting and self.waiting[0][0] <= at:
            ready.append(heapq.heappop(self.waiting)[2])
        return ready

    def obstacle(self, command: Command) -> str | None:
        """Return why a command must not be handed over, or None: the last look before the call."""
        if command.id in self.cancelled:
            return "cancelled"
        fenced = self.fences.get(command.customer, {}).get(command.enrollment)
        if fenced is not None and command.sequence <= fenced:
            return "fenced"
        return None


def report(command: Command, obstacle: str | None) -> dict[str, Any]:
    """Return the event by which a sender tells what became of a command."""
    data: dict[str, Any] = {"command_id": command.id}
    if obstacle is not None:
        kind = "message.dropped"
        data["reason"] = obstacle
    elif command.type.startswith("audience."):
        kind = "audience.applied"
    else:
        kind = "message.delivered"
    told = event(f"{command.id}-report", kind, command.customer, data)
    return {**told, "source": f"/senders/{command.channel}"}
