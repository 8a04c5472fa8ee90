"""The senders of the demo: what a channel's desk does with commands, without any network.

`demo/day` reads commands and fences with `read_committed`, hands them in, and asks what is due.
A real sender follows the same rules: nothing before its turn, nothing cancelled, nothing for a
fenced enrollment, checked right before the hand-over; and it reports what became of each command.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from orchestrator.demo.judge.evidence import Delivery, Kind, skus_of
from orchestrator.demo.judge.sayings import saying
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
    offer: str | None
    audience: str | None
    skus: frozenset[str]
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
            offer=data.get("offer"),
            audience=data.get("audience"),
            skus=skus_of(data.get("variables") or {}),
            cancels=tuple(data.get("cancels") or ()),
            cause=data["caused_by"]["id"],
        )


T = TypeVar("T")


@dataclass(slots=True)
class Providers(Generic[T]):
    """The slow and the quick providers of all channels: whatever is given to them waits its turn.

    The silos' sends wait in the same queues as our commands, each world in its own copy.
    """

    waiting: list[tuple[float, int, float, T]] = field(default_factory=list)
    _arrivals: itertools.count[int] = field(default_factory=itertools.count)

    def take(self, one: T, at: float, *, channel: str, promotional: bool) -> None:
        """Accept something to send."""
        hold = SLOW.get((channel, promotional), PROMPT_SECONDS)
        heapq.heappush(self.waiting, (at + hold, next(self._arrivals), at, one))

    def due(self, at: float) -> list[tuple[T, float]]:
        """Return what has its turn, oldest first, each with the time at which it was taken."""
        ready: list[tuple[T, float]] = []
        while self.waiting and self.waiting[0][0] <= at:
            _, _, taken_at, one = heapq.heappop(self.waiting)
            ready.append((one, taken_at))
        return ready


@dataclass(slots=True)
class Desk:
    """All channels' queues of one shop, and what must not be sent any more."""

    providers: Providers[Command] = field(default_factory=Providers)
    cancelled: set[str] = field(default_factory=set)
    fences: dict[str, Mapping[str, int]] = field(default_factory=dict)

    def take(self, command: Command, at: float) -> None:
        """Accept a command; a cancel counts at once, whatever stands in the queue before it."""
        if command.type in ON_CANCEL:
            self.cancelled.update(command.cancels)
            return
        self.providers.take(command, at, channel=command.channel, promotional=command.promotional)

    def fence(self, customer: str, value: Mapping[str, Any] | None) -> None:
        """Remember a customer's fence record; None removes it."""
        enrollments = value["enrollments"] if value else ()
        self.fences[customer] = {one["enrollment"]: one["sequence"] for one in enrollments}

    def obstacle(self, command: Command) -> str | None:
        """Return why a command must not be handed over, or None: the last look before the call."""
        if command.id in self.cancelled:
            return "cancelled"
        fenced = self.fences.get(command.customer, {}).get(command.enrollment)
        if fenced is not None and command.sequence <= fenced:
            return "fenced"
        return None


def delivery(command: Command, *, ordered_at: float, began_at: float, ended_at: float) -> Delivery:
    """Return what the judge is told of a promotional command that was handed over."""
    name = command.template or command.audience or command.step
    return Delivery(
        customer=command.customer,
        channel=command.channel,
        kind=Kind(command.type),
        name=name,
        saying=saying(name, command.offer),
        skus=command.skus,
        trigger=command.cause,
        ordered_at=ordered_at,
        began_at=began_at,
        ended_at=ended_at,
    )


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
